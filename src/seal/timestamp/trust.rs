//! Whom to believe: the authorities that somebody trusts, and whether a signer is certified by one of them.

use std::fmt;
use std::time::Duration;

use der::Decode;
use der::asn1::ObjectIdentifier;
use ring::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, alg_id};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix;

use super::{TimestampError, safe};
use crate::model::Timestamp;

/// `id-kp-timeStamping`, and the bytes of it.
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const TIME_STAMPING_BYTES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
/// `rsaEncryption` without parameters, as some write it.
pub(super) const RSA_WITHOUT_NULL: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// Enough for every root of a large organisation; each is tried for each timestamp.
const MAX_AUTHORITIES: usize = 100;

/// A way to check signatures, and the digest that is part of it.
type Scheme = (&'static digest::Algorithm, &'static dyn SignatureVerificationAlgorithm);

/// Those that are strong enough: RSA from 2048 bits, ECDSA on P-256 and P-384, Ed25519.
static SCHEMES: [Scheme; 14] = [
    (&digest::SHA256, webpki::ring::RSA_PKCS1_2048_8192_SHA256),
    (&digest::SHA384, webpki::ring::RSA_PKCS1_2048_8192_SHA384),
    (&digest::SHA512, webpki::ring::RSA_PKCS1_2048_8192_SHA512),
    (&digest::SHA256, webpki::ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS),
    (&digest::SHA384, webpki::ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS),
    (&digest::SHA512, webpki::ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS),
    (&digest::SHA256, webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY),
    (&digest::SHA384, webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY),
    (&digest::SHA512, webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY),
    (&digest::SHA256, webpki::ring::ECDSA_P256_SHA256),
    (&digest::SHA384, webpki::ring::ECDSA_P256_SHA384),
    (&digest::SHA256, webpki::ring::ECDSA_P384_SHA256),
    (&digest::SHA384, webpki::ring::ECDSA_P384_SHA384),
    // RFC 8419 §3.
    (&digest::SHA512, webpki::ring::ED25519),
];

/// The schemes that a signature may be of: `algorithm` is the content of its `AlgorithmIdentifier`. The digest must be
/// that of the content (RFC 8933), so that there is one strength and not two.
pub(super) fn verifiers(
    algorithm: &[u8],
    digest: &digest::Algorithm,
) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    // RFC 5652 lets RSA be named without its digest.
    let bare = algorithm == alg_id::RSA_ENCRYPTION.as_ref() || algorithm == RSA_WITHOUT_NULL;
    let plain = [alg_id::RSA_PKCS1_SHA256, alg_id::RSA_PKCS1_SHA384, alg_id::RSA_PKCS1_SHA512];
    let fits = |id: alg_id::AlgorithmIdentifier| if bare { plain.contains(&id) } else { id.as_ref() == algorithm };
    let fitting = SCHEMES.iter().filter(|(own, scheme)| *own == digest && fits(scheme.signature_alg_id()));
    fitting.map(|(_, scheme)| *scheme).collect()
}

/// A list of authorities that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// Broken PEM.
    #[error("the authorities' certificates are not in PEM: {reason}")]
    Pem {
        /// What is wrong.
        reason: String,
    },
    /// Nobody to trust.
    #[error("there is no certificate of an authority in it")]
    Empty,
    /// Too many.
    #[error("there are more than {MAX_AUTHORITIES} certificates of authorities in it")]
    TooMany,
    /// Something else.
    #[error("certificate {number} of them cannot be an authority's: {reason}")]
    Certificate {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Certificates of the authorities that are trusted to say the time, or to certify who says it. There is at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl Authorities {
    /// The certificates in a PEM file; what else is in it is passed over.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthoritiesError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_AUTHORITIES + 1).collect();
        Self::new(read.map_err(|error| AuthoritiesError::Pem { reason: error.to_string() })?)
    }

    /// Certificates in DER.
    ///
    /// # Errors
    ///
    /// [`AuthoritiesError`].
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, AuthoritiesError> {
        Self::new(certificates.into_iter().take(MAX_AUTHORITIES + 1).map(CertificateDer::from).collect())
    }

    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, AuthoritiesError> {
        match certificates.len() {
            0 => return Err(AuthoritiesError::Empty),
            1..=MAX_AUTHORITIES => {}
            _ => return Err(AuthoritiesError::TooMany),
        }
        for (at, certificate) in certificates.iter().enumerate() {
            anchor_from_trusted_cert(certificate)
                .map_err(|error| AuthoritiesError::Certificate { number: at + 1, reason: why(&error) })?;
        }
        Ok(Self(certificates))
    }

    fn anchors(&self) -> Vec<TrustAnchor<'_>> {
        // Each was one when this was made.
        self.0.iter().filter_map(|certificate| anchor_from_trusted_cert(certificate).ok()).collect()
    }
}

/// Who signed, by a certificate that nobody has vouched for yet.
pub(super) struct Signer<'a> {
    der: CertificateDer<'a>,
    certificate: Certificate,
    name: String,
}

impl<'a> Signer<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, TimestampError> {
        let form = TimestampError::Form { part: "the signer's certificate" };
        let certificate = Certificate::from_der(der).or(Err(form))?;
        let name = safe(&certificate.tbs_certificate.subject.to_string());
        Ok(Self { der: CertificateDer::from(der), certificate, name })
    }

    /// Its subject, fit for a terminal.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is this issuer's certificate of this number: both as they stand in DER, without tag and length.
    pub(super) fn was_issued(&self, issuer: &[u8], serial: &[u8]) -> bool {
        EndEntityCert::try_from(&self.der).is_ok_and(|own| own.issuer() == issuer && own.serial() == serial)
    }

    /// Whether its key bears this identifier.
    pub(super) fn has_key_id(&self, id: &[u8]) -> bool {
        let own = self.certificate.tbs_certificate.get::<pkix::SubjectKeyIdentifier>();
        own.is_ok_and(|own| own.is_some_and(|(_, own)| own.0.as_bytes() == id))
    }

    /// Whether its key made the signature by one of the schemes.
    pub(super) fn check_signed(
        &self,
        schemes: &[&dyn SignatureVerificationAlgorithm],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TimestampError> {
        let own = self.end_entity()?;
        // A scheme that the key is not for says so.
        if schemes.iter().any(|scheme| own.verify_signature(*scheme, message, signature).is_ok()) {
            Ok(())
        } else {
            Err(TimestampError::Signature { authority: self.name.clone() })
        }
    }

    /// Whether the certificate is for timestamps and for nothing else (RFC 3161 §2.3).
    pub(super) fn check_may_stamp(&self) -> Result<(), TimestampError> {
        let purpose = |why| Err(TimestampError::Purpose { authority: self.name.clone(), why });
        let certificate = &self.certificate.tbs_certificate;
        match certificate.get::<pkix::ExtendedKeyUsage>() {
            Ok(Some((true, purposes))) if purposes.0 == [TIME_STAMPING] => {}
            Ok(Some((true, _))) => return purpose("its certificate is for something else, or for more than that"),
            Ok(Some((false, _))) => return purpose("its certificate does not mark its purpose as critical"),
            Ok(None) => return purpose("its certificate does not say what it is for"),
            Err(_) => return purpose("its certificate cannot be understood"),
        }
        match certificate.get::<pkix::KeyUsage>() {
            Ok(Some((_, usage))) if !usage.digital_signature() && !usage.non_repudiation() => {
                purpose("its key is not for signatures")
            }
            Ok(_) => Ok(()),
            Err(_) => purpose("its certificate cannot be understood"),
        }
    }

    /// Whether one of `authorities` vouches for it at `time`, by way of the certificates `between`.
    pub(super) fn check_is_trusted(
        &self,
        time: Timestamp,
        between: &[&[u8]],
        authorities: &Authorities,
    ) -> Result<(), TimestampError> {
        let between: Vec<CertificateDer<'_>> = between.iter().copied().map(CertificateDer::from).collect();
        let schemes = SCHEMES.map(|(_, scheme)| scheme);
        // Before 1970 there were no certificates.
        let seconds = u64::try_from(time.seconds()).unwrap_or(0);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (own, anchors) = (self.end_entity()?, authorities.anchors());
        // The signer must say what it is for, and does; the authorities between may leave it open.
        let usage = KeyUsage::required_if_present(TIME_STAMPING_BYTES);
        let path = own.verify_for_usage(&schemes, &anchors, &between, at, usage, None, None);
        path.map(drop).map_err(|error| self.untrusted(&error))
    }

    fn end_entity(&self) -> Result<EndEntityCert<'_>, TimestampError> {
        EndEntityCert::try_from(&self.der).map_err(|error| self.untrusted(&error))
    }

    fn untrusted(&self, error: &Error) -> TimestampError {
        TimestampError::Untrusted { authority: self.name.clone(), why: why(error) }
    }
}

/// What is wrong with a certificate, or with the chain above it.
fn why(error: &Error) -> String {
    let known = match error {
        Error::UnknownIssuer => "no authority that you trust certified it",
        Error::CertExpired { .. } => "a certificate had expired at the time of the timestamp",
        Error::CertNotValidYet { .. } => "a certificate was not valid yet at the time of the timestamp",
        Error::InvalidSignatureForPublicKey => "a certificate is not signed by the one that it names as its issuer",
        Error::CaUsedAsEndEntity => "its certificate is one to make certificates with",
        Error::EndEntityUsedAsCa => "a certificate that is not for that made another",
        Error::RequiredEkuNotFoundContext(_) => "an authority between is not for timestamps",
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "a certificate is signed by an algorithm that is too weak or not known here"
        }
        other => return format!("a certificate cannot be used ({other})"),
    };
    known.to_owned()
}
