//! What a certificate of our own says of itself.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

use super::TlsError;
use crate::model::{Sha256, Timestamp};

/// The first certificate of a chain: whose key proves who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The SHA-256 of its DER: what `openssl x509 -fingerprint -sha256` shows.
    pub fingerprint: Sha256,
    /// The second from which on it is valid.
    pub from: Timestamp,
    /// The last second in which it is.
    pub until: Timestamp,
}

/// How far a certificate is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Far enough.
    Good,
    /// The last tenth of its life: whoever renews it should have done so, at two thirds as is usual or later.
    Late,
    /// Behind it, or before its beginning.
    Invalid,
}

/// The part of a certificate's life that is its last.
const LAST_PART: i64 = 10;

impl Leaf {
    /// The first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn of(pem: &[u8]) -> Result<Self, TlsError> {
        let none = || TlsError::NoCertificate("the certificate's file".to_owned());
        let der = CertificateDer::from_pem_slice(pem).map_err(|_broken| none())?;
        let validity = Certificate::from_der(&der).map_err(|_broken| none())?.tbs_certificate.validity;
        Ok(Self { fingerprint: Sha256::of(&der), from: second(validity.not_before), until: second(validity.not_after) })
    }

    /// Says no if it is not valid at this time.
    ///
    /// # Errors
    ///
    /// Since when, or from when on.
    pub fn check(&self, now: Timestamp) -> Result<(), TlsError> {
        if now.seconds() > self.until.seconds() {
            return Err(TlsError::Expired(self.until));
        }
        if now.seconds() < self.from.seconds() {
            return Err(TlsError::Early(self.from));
        }
        Ok(())
    }
}

impl Leaf {
    /// Where it stands at this time.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let (life, left) = (self.until.seconds() - self.from.seconds(), self.until.seconds() - now.seconds());
        match self.check(now) {
            Err(_) => Standing::Invalid,
            Ok(()) if left < life / LAST_PART => Standing::Late,
            Ok(()) => Standing::Good,
        }
    }
}

fn second(time: Time) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 2, 1));
        let certificate = params.self_signed(&key).unwrap();
        let leaf = Leaf::of(certificate.pem().as_bytes()).unwrap();
        assert_eq!(leaf.fingerprint, Sha256::of(certificate.der()));
        assert_eq!(
            (leaf.from.to_string(), leaf.until.date()),
            ("2026-01-01T00:00:00.000000Z".to_owned(), "2026-02-01".to_owned())
        );
        let at = |seconds: i64| leaf.check(Timestamp::from_seconds(seconds));
        let (first, last) = (leaf.from.seconds(), leaf.until.seconds());
        assert!(at(first).is_ok() && at(last).is_ok());
        assert!(matches!(at(first - 1), Err(TlsError::Early(_))) && matches!(at(last + 1), Err(TlsError::Expired(_))));
        let standing = |seconds: i64| leaf.standing(Timestamp::from_seconds(seconds));
        let day = 24 * 3_600;
        assert_eq!(
            [first - 1, first, last - 4 * day].map(standing),
            [Standing::Invalid, Standing::Good, Standing::Good]
        );
        assert_eq!([last - 3 * day, last, last + 1].map(standing), [Standing::Late, Standing::Late, Standing::Invalid]);
        for broken in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", certificate.pem().get(..90).unwrap()]
        {
            assert!(matches!(Leaf::of(broken.as_bytes()), Err(TlsError::NoCertificate(_))), "{broken}");
        }
    }
}
