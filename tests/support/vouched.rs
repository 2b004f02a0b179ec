//! Certificates for tests: an authority, and what it vouches for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};

/// An authority.
#[derive(Debug)]
pub(crate) struct Voucher {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Vouched {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Voucher {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's, for localhost and 127.0.0.1.
    pub(crate) fn server(&self) -> Vouched {
        self.server_of(&["localhost", "127.0.0.1"])
    }

    /// A server's, for these names.
    pub(crate) fn server_of(&self, names: &[&str]) -> Vouched {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.vouch(&CertificateParams::new(names).unwrap())
    }

    /// One for 127.0.0.1 that has ended.
    pub(crate) fn server_of_yesterday(&self) -> Vouched {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2020, 1, 1);
        self.vouch(&params)
    }

    /// A client's, of somebody with this name and mail address.
    pub(crate) fn client(&self, name: &str, email: &str) -> Vouched {
        self.vouch(&client(name, email))
    }

    /// The same, but it has ended.
    pub(crate) fn client_of_yesterday(&self, name: &str, email: &str) -> Vouched {
        let mut params = client(name, email);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.vouch(&params)
    }

    fn vouch(&self, params: &CertificateParams) -> Vouched {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = certificate.der().to_vec();
        Vouched { certificate: certificate.pem(), key: key.serialize_pem(), der }
    }
}

fn client(name: &str, email: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Contoso");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(SanType::Rfc822Name(email.try_into().unwrap()));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    params
}

impl Vouched {
    /// Puts both into files of a folder: the certificate, and the key.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        put(&certificate, &self.certificate);
        put(&key, &self.key);
        (certificate, key)
    }
}

/// Puts a text in the place of a file at once, readable for its owner alone, as libpq wants keys.
pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}
