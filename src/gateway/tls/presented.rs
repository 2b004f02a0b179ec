//! What a client's certificate says, once an authority of the listener's vouched for it.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Any, Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::TlsError;
use crate::model::{ClientCertificate, Sha256};

/// `id-at-commonName` (RFC 5280, A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The certificate in words; nothing if it cannot be read, though TLS could.
pub(in crate::gateway) fn read(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    let mut read = ClientCertificate {
        subject: certificate.subject.to_string(),
        common_name: None,
        sha256: Sha256::of(der),
        emails: Vec::new(),
        dns_names: Vec::new(),
        uris: Vec::new(),
    };
    let attributes = certificate.subject.0.iter().flat_map(|relative| relative.0.iter());
    let mut names = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    // Of two nobody could say which is meant.
    if let (Some(only), None) = (names.next(), names.next()) {
        read.common_name = text(&only.value);
    }
    if let Some((_, SubjectAltName(names))) = certificate.get::<SubjectAltName>().ok()? {
        for name in names {
            match name {
                GeneralName::Rfc822Name(email) => read.emails.push(email.to_string()),
                GeneralName::DnsName(name) => read.dns_names.push(name.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => read.uris.push(uri.to_string()),
                _ => {}
            }
        }
    }
    Some(read)
}

/// The first certificate of a PEM text, as a listener would read it from a client.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn client_certificate(pem: &[u8]) -> Result<ClientCertificate, TlsError> {
    let none = || TlsError::NoCertificate("the file".to_owned());
    let der = CertificateDer::from_pem_slice(pem).map_err(|_broken| none())?;
    read(&der).ok_or_else(none)
}

/// A `DirectoryString`, in the forms that are still made.
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_is_read_with_all_its_names() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Contoso, Inc.");
            params.distinguished_name.push(DnType::CommonName, "Änne \"A\"");
            params.subject_alt_names = vec![
                SanType::Rfc822Name("anne@contoso.com".try_into().unwrap()),
                SanType::DnsName("laptop-7.contoso.com".try_into().unwrap()),
                SanType::URI("spiffe://contoso.com/anne".try_into().unwrap()),
                SanType::IpAddress([10, 0, 0, 1].into()),
            ];
        });
        let read = read(&der).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("Änne \"A\""));
        assert!(read.subject.starts_with("CN=") && read.subject.ends_with("O=Contoso\\, Inc."), "{}", read.subject);
        assert_eq!(read.sha256, Sha256::of(&der));
        assert_eq!(read.emails, ["anne@contoso.com"]);
        assert_eq!(read.dns_names, ["laptop-7.contoso.com"]);
        assert_eq!(read.uris, ["spiffe://contoso.com/anne"]);
    }

    #[test]
    fn a_certificate_without_names_is_known_by_its_hash() {
        let der = made(|_| {});
        let read = read(&der).unwrap();
        assert_eq!((read.subject.as_str(), read.common_name), ("", None));
        assert!(read.emails.is_empty() && read.dns_names.is_empty() && read.uris.is_empty());
        assert_eq!(super::read(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
