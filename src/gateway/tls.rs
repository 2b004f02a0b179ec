//! TLS on both sides: one provider, named, never chosen by chance.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
pub use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use tokio_rustls::rustls::RootCertStore;

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
    /// The system has no authorities.
    #[error("the system's certificate authorities could not be read, and no ca_file is given")]
    NoAuthorities,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Our side towards clients: TLS 1.2 and 1.3, from PEM texts.
///
/// # Errors
///
/// The texts are no certificate and key that fit.
pub fn acceptor(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_broken| TlsError::NoCertificate("the certificate's file".to_owned()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate("the certificate's file".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_broken| TlsError::NoKey("the certificate's key".to_owned()))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Unusable)?;
    Ok(Arc::new(config))
}

/// Our side towards a database: authority and name are verified. With `authorities`, PEM text from `from`, only these
/// are trusted; without, the system's.
///
/// # Errors
///
/// There is no authority to trust.
pub fn connector(authorities: Option<(&[u8], &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some((pem, from)) => {
            let flaw = || TlsError::NoCertificate(from.display().to_string());
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|_broken| flaw())?).map_err(TlsError::Unusable)?;
            }
            if roots.is_empty() {
                return Err(flaw());
            }
        }
        None => {
            // Some of a system's certificates may be of kinds that we do not read; one good one is enough to go on.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoAuthorities);
            }
        }
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        .map_err(TlsError::Unusable)
}
