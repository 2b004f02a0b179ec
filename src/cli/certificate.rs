//! The certificate of a listener that was given none: self-signed, made at the first start, kept and used again.
//!
//! It protects against those who listen, and against those in between as far as a client compares the fingerprint.

use std::fmt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::private_file::{self, PrivateFileError};
use crate::model::Sha256;

const CERT_FILE: &str = "self-signed.crt";
const KEY_FILE: &str = "self-signed.key";
/// The names by which a client on this machine calls us.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate made here, and its key. `Debug` does not show the key.
pub struct SelfSigned {
    /// The certificate in PEM.
    pub cert_pem: String,
    /// The private key in PEM.
    pub key_pem: String,
    /// The SHA-256 of the certificate's DER: what `openssl x509 -fingerprint -sha256` shows.
    pub fingerprint: Sha256,
    /// Where the certificate is, for clients to copy.
    pub cert_file: PathBuf,
    /// Whether it was made just now.
    pub made: bool,
}

impl SelfSigned {
    /// The fingerprint as tools print it: `AB:CD:…`.
    pub fn fingerprint_text(&self) -> String {
        self.fingerprint.0.map(|byte| format!("{byte:02X}")).join(":")
    }
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned")
            .field("fingerprint", &self.fingerprint)
            .field("cert_file", &self.cert_file)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

/// A self-signed certificate cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written, or others can read the key.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is a certificate whose key is gone.
    #[error("{} has no key beside it: restore {KEY_FILE}, or remove the certificate to have a new one made", cert.display())]
    KeyMissing {
        /// The certificate.
        cert: PathBuf,
    },
    /// A file holds something else.
    #[error("{} does not hold what was written there: remove {CERT_FILE} and {KEY_FILE} to have new ones made", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The certificate cannot be made.
    #[error("a self-signed certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// The certificate kept in `folder`, or a new one for this machine and `names` (host names and addresses by which
/// clients call it; what cannot stand in a certificate is left out).
///
/// # Errors
///
/// The folder cannot be used, or what is in it is not what was put there.
pub fn self_signed(folder: &Path, names: &[String]) -> Result<SelfSigned, CertificateError> {
    let (cert_file, key_file) = (folder.join(CERT_FILE), folder.join(KEY_FILE));
    let Some(cert_pem) = private_file::read_public(&cert_file)? else {
        return make(folder, names);
    };
    let Some(key_pem) = private_file::read(&key_file)? else {
        return Err(CertificateError::KeyMissing { cert: cert_file });
    };
    if KeyPair::from_pem(&key_pem).is_err() {
        return Err(CertificateError::Damaged { path: key_file });
    }
    match CertificateDer::from_pem_slice(cert_pem.as_bytes()) {
        Ok(der) => Ok(SelfSigned { fingerprint: Sha256::of(&der), cert_pem, key_pem, cert_file, made: false }),
        Err(_) => Err(CertificateError::Damaged { path: cert_file }),
    }
}

fn make(folder: &Path, names: &[String]) -> Result<SelfSigned, CertificateError> {
    let mut all: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    for name in names {
        let fits = name.is_ascii() && !name.is_empty() && CertificateParams::new([name.clone()]).is_ok();
        if fits && !all.contains(name) {
            all.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(all)?;
    // Nobody renews it and trust rests on the fingerprint, so it keeps the library's end, which is far away.
    params.distinguished_name.push(DnType::CommonName, "hansard self-signed");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    let (cert_pem, key_pem) = (cert.pem(), key.serialize_pem());
    let (cert_file, key_file) = (folder.join(CERT_FILE), folder.join(KEY_FILE));
    // The key first: a certificate in place says that its key is too.
    private_file::write(&key_file, &key_pem)?;
    private_file::write_public(&cert_file, &cert_pem)?;
    Ok(SelfSigned { fingerprint: Sha256::of(cert.der()), cert_pem, key_pem, cert_file, made: true })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_certificate_is_made_once_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tls");
        let names = ["gate.example".to_owned(), "10.1.2.3".to_owned(), "ünfit".to_owned(), "localhost".to_owned()];
        let first = self_signed(&folder, &names).unwrap();
        let second = self_signed(&folder, &[]).unwrap();
        assert!(first.made && !second.made);
        assert_eq!((&first.cert_pem, &first.key_pem), (&second.cert_pem, &second.key_pem));
        assert_eq!(first.fingerprint_text(), second.fingerprint_text());
        assert_eq!((mode(&folder.join(KEY_FILE)), mode(&first.cert_file) & 0o600), (0o600, 0o600));
        assert!(!format!("{first:?}").contains("PRIVATE"));
        let der = CertificateDer::from_pem_slice(first.cert_pem.as_bytes()).unwrap();
        for name in [b"gate.example".as_slice(), b"localhost", &[10, 1, 2, 3], &[127, 0, 0, 1]] {
            assert!(der.windows(name.len()).any(|window| window == name), "{name:?}");
        }
    }

    #[test]
    fn a_start_that_was_cut_between_the_two_files_makes_both_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), "half").unwrap();
        std::fs::write(dir.path().join("self-signed.new"), "half").unwrap();
        assert!(self_signed(dir.path(), &[]).unwrap().made);
        assert!(!self_signed(dir.path(), &[]).unwrap().made);
    }

    #[test]
    fn a_certificate_without_its_key_or_with_an_open_or_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        self_signed(dir.path(), &[]).unwrap();
        let key = dir.path().join(KEY_FILE);
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
        let exposed = self_signed(dir.path(), &[]);
        assert!(matches!(exposed, Err(CertificateError::File(PrivateFileError::Exposed { mode: 0o640, .. }))));
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&key, "nothing").unwrap();
        assert!(matches!(self_signed(dir.path(), &[]), Err(CertificateError::Damaged { path }) if path == key));
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(self_signed(dir.path(), &[]), Err(CertificateError::KeyMissing { .. })));
    }
}
