//! TLS on both sides: one provider, named, never chosen by chance; either side may be renewed while connections use it.

mod leaf;
pub(super) mod presented;
mod renewable;
mod web;

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
pub use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use ::ring::digest;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::spki::ObjectIdentifier;

pub use leaf::{Leaf, Standing};
pub use presented::client_certificate;
pub use renewable::Renewable;
pub use web::{Web, web};

use crate::model::Timestamp;

/// What is wrong with a certificate, a key or an authority.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text holds no certificate.
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(String),
    /// The PEM text holds no usable private key.
    #[error("{0} holds no private key in PEM")]
    NoKey(String),
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("the certificate cannot be used: {0}")]
    Unusable(tokio_rustls::rustls::Error),
    /// A certificate of our own has ended.
    #[error("the certificate is not valid any more: it ended at {0}")]
    Expired(Timestamp),
    /// A certificate of our own has not begun.
    #[error("the certificate is not valid yet: it begins at {0}")]
    Early(Timestamp),
    /// The system has no authorities.
    #[error("the system's certificate authorities could not be read, and no ca_file is given")]
    NoAuthorities,
}

/// PostgreSQL's name among the protocols inside TLS (ALPN), as registered with IANA.
pub(super) const PROTOCOL_NAME: &[u8] = b"postgresql";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Our side towards clients: TLS 1.2 and 1.3, from PEM texts. It speaks PostgreSQL inside TLS
/// and says so (ALPN). With `clients`, PEM text from a file, clients are asked for a certificate, and one that these
/// authorities do not vouch for ends the handshake; that none is shown does not, so that a client can be told what it lacks.
///
/// # Errors
///
/// The texts are no certificate and key that fit, or there is no authority.
pub fn acceptor(
    certificate: &[u8],
    key: &[u8],
    clients: Option<(&[u8], &Path)>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = pair(certificate, key)?;
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some((pem, from)) => {
            let roots = Arc::new(authorities(pem, from)?);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated();
            builder.build().map_err(|_empty| TlsError::NoCertificate(from.display().to_string()))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![PROTOCOL_NAME.to_vec()];
    if clients.is_some() {
        // A resumed session would show the certificate of the one before, which may have ended since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// A certificate with those between it and its authority, and its key, from PEM texts.
fn pair(certificate: &[u8], key: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let none = || TlsError::NoCertificate("the certificate's file".to_owned());
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_broken| none())?;
    if chain.is_empty() {
        return Err(none());
    }
    let key = PrivateKeyDer::from_pem_slice(key);
    Ok((chain, key.map_err(|_broken| TlsError::NoKey("the certificate's key".to_owned()))?))
}

/// The authorities in a PEM text from a file; at least one.
fn authorities(pem: &[u8], from: &Path) -> Result<RootCertStore, TlsError> {
    let flaw = || TlsError::NoCertificate(from.display().to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_broken| flaw())?).map_err(TlsError::Unusable)?;
    }
    if roots.is_empty() { Err(flaw()) } else { Ok(roots) }
}

/// Our side towards a database: authority and name are verified. With `trusted`, PEM text from a file, only these
/// are trusted; without, the system's. With `own`, a certificate and its key in PEM, that is shown to a server which asks.
///
/// # Errors
///
/// There is no authority to trust, or the texts of `own` are no certificate and key that fit.
pub fn connector(trusted: Option<(&[u8], &Path)>, own: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match trusted {
        Some((pem, from)) => authorities(pem, from)?,
        None => {
            // Some of a system's certificates may be of kinds that we do not read; one good one is enough to go on.
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoAuthorities);
            }
            roots
        }
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = pair(certificate, key)?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Unusable)?
        }
    };
    Ok(Arc::new(config))
}

/// What a login can be bound to: the hash of the server's certificate by the hash function of its signature, SHA-256 where
/// that is MD5 or SHA-1 (`tls-server-end-point`, RFC 5929 §4.1).
///
/// Nothing if the signature names no hash function by itself (Ed25519), or names it in its parameters (RSA-PSS): for these,
/// servers before PostgreSQL 16 have no binding either.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let read = Certificate::from_der(certificate).ok()?;
    let algorithm = hash_of(read.signature_algorithm.oid)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The hash function to take for a signature algorithm (RFC 3279, 5758, 8017).
fn hash_of(signature: ObjectIdentifier) -> Option<&'static digest::Algorithm> {
    const RSA: &str = "1.2.840.113549.1.1.";
    const ECDSA: &str = "1.2.840.10045.4.";
    let name = signature.to_string();
    match (name.strip_prefix(RSA), name.strip_prefix(ECDSA)) {
        // With MD5, SHA-1 and SHA-256.
        (Some("4" | "5" | "11"), _) | (_, Some("1" | "3.2")) => Some(&digest::SHA256),
        (Some("12"), _) | (_, Some("3.3")) => Some(&digest::SHA384),
        (Some("13"), _) | (_, Some("3.4")) => Some(&digest::SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_point_of(algorithm: &'static rcgen::SignatureAlgorithm) -> (CertificateDer<'static>, Option<Vec<u8>>) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap().self_signed(&key).unwrap();
        let found = end_point(certificate.der());
        (certificate.der().clone(), found)
    }

    #[test]
    fn a_certificate_is_hashed_as_its_signature_says() {
        let (certificate, found) = end_point_of(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(found.unwrap(), digest::digest(&digest::SHA256, &certificate).as_ref());
        let (certificate, found) = end_point_of(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(found.unwrap(), digest::digest(&digest::SHA384, &certificate).as_ref());
        assert_eq!(end_point_of(&rcgen::PKCS_ED25519).1, None);
        assert_eq!(end_point(&CertificateDer::from(vec![0x30, 0])), None);
    }

    #[test]
    fn old_hashes_are_not_taken_and_unknown_ones_not_guessed() {
        let hash = |oid: &str| hash_of(oid.parse().unwrap()).map(digest::Algorithm::output_len);
        for (oid, bytes) in [
            ("1.2.840.113549.1.1.4", Some(32)),
            ("1.2.840.113549.1.1.5", Some(32)),
            ("1.2.840.113549.1.1.11", Some(32)),
            ("1.2.840.113549.1.1.12", Some(48)),
            ("1.2.840.113549.1.1.13", Some(64)),
            ("1.2.840.10045.4.1", Some(32)),
            ("1.2.840.10045.4.3.2", Some(32)),
            ("1.2.840.10045.4.3.4", Some(64)),
            // RSA-PSS, Ed25519.
            ("1.2.840.113549.1.1.10", None),
            ("1.3.101.112", None),
        ] {
            assert_eq!(hash(oid), bytes, "{oid}");
        }
    }
}
