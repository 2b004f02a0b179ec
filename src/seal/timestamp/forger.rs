//! For tests: timestamps by the Ed25519 key of `fixtures/timestamps/`, right in every byte but those that a test changes.

use ring::signature::Ed25519KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use webpki::EndEntityCert;

use crate::model::Sha256;

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 2;
pub(super) const OCTETS: u8 = 4;
pub(super) const OID: u8 = 6;
pub(super) const UTF8: u8 = 12;
pub(super) const TIME: u8 = 24;

pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
pub(super) const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 1, 4];
pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
pub(super) const BINDING: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 2, 0x0c];
pub(super) const BINDING_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 2, 0x2f];
pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
pub(super) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const POLICY: &[u8] = &[0x2b, 6, 1, 4, 1];

/// One value in DER.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap();
    let head = match (u8::try_from(length), length.to_be_bytes()) {
        (Ok(short), _) if short < 0x80 => vec![tag, short],
        (Ok(short), _) => vec![tag, 0x81, short],
        (Err(_), [high, low]) => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

pub(super) fn algorithm(oid: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&der(OID, &[oid])])
}

pub(super) fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&der(OID, &[kind]), &der(SET, &[value])])
}

/// The certificate of the key.
pub(super) fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../../fixtures/timestamps/ed25519-tsa.pem")).unwrap()
}

/// What the authority says, part by part: the whole DER of each.
pub(super) struct Statement {
    pub(super) version: Vec<u8>,
    pub(super) imprint: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) time: Vec<u8>,
    pub(super) rest: Vec<u8>,
}

impl Statement {
    /// Of `digest`, at the time of the fixtures.
    pub(super) fn of(digest: Sha256) -> Self {
        Self {
            version: der(INTEGER, &[&[1]]),
            imprint: der(SEQUENCE, &[&algorithm(SHA256), &der(OCTETS, &[&digest.0])]),
            serial: der(INTEGER, &[&[0, 0xff]]),
            time: der(TIME, &[b"20270102030405.25Z"]),
            rest: Vec::new(),
        }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        let policy = der(OID, &[POLICY]);
        der(SEQUENCE, &[&self.version, &policy, &self.imprint, &self.serial, &self.time, &self.rest])
    }
}

/// A token, part by part.
pub(super) struct Token {
    pub(super) content: Vec<u8>,
    /// The content's `SET OF Attribute`, in any order.
    pub(super) attributes: Vec<Vec<u8>>,
    pub(super) who: Vec<u8>,
    pub(super) digest: Vec<u8>,
    pub(super) algorithm: Vec<u8>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) unsigned: Vec<u8>,
    pub(super) signers: usize,
    pub(super) content_kind: &'static [u8],
    pub(super) kind: &'static [u8],
}

/// `SigningCertificateV2` or, with SHA-1 and no algorithm, `SigningCertificate`: the hash and what follows it.
pub(super) fn binding(algorithm: &[u8], hash: &[u8], issued: &[u8]) -> Vec<u8> {
    let id = der(SEQUENCE, &[algorithm, &der(OCTETS, &[hash]), issued]);
    der(SEQUENCE, &[&der(SEQUENCE, &[&id])])
}

/// The issuer's name and the number of the certificate, each in DER.
pub(super) fn issued() -> (Vec<u8>, Vec<u8>) {
    let certificate = certificate();
    let own = EndEntityCert::try_from(&certificate).unwrap();
    (der(SEQUENCE, &[own.issuer()]), der(INTEGER, &[own.serial()]))
}

impl Token {
    pub(super) fn of(statement: &Statement) -> Self {
        let content = statement.der();
        let hash = ring::digest::digest(&ring::digest::SHA512, &content);
        let (issuer, serial) = issued();
        Self {
            attributes: vec![
                attribute(CONTENT_TYPE, &der(OID, &[TST_INFO])),
                attribute(MESSAGE_DIGEST, &der(OCTETS, &[hash.as_ref()])),
                attribute(BINDING_V2, &binding(&[], &Sha256::of(&certificate()).0, &[])),
            ],
            content,
            who: der(SEQUENCE, &[&issuer, &serial]),
            digest: algorithm(SHA512),
            algorithm: algorithm(ED25519),
            certificates: vec![certificate().to_vec()],
            unsigned: Vec::new(),
            signers: 1,
            content_kind: TST_INFO,
            kind: SIGNED_DATA,
        }
    }

    /// Puts `attribute` in the place of the one at `at`.
    pub(super) fn swap(&mut self, at: usize, attribute: Vec<u8>) {
        self.attributes[at] = attribute;
    }

    /// Signs it, and grants it in an answer.
    pub(super) fn answer(&self) -> Vec<u8> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("../../../fixtures/timestamps/ed25519-tsa.key"));
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.unwrap().secret_pkcs8_der()).unwrap();
        let attributes = self.attributes.concat();
        let signature = key.sign(&der(SET, &[&attributes]));
        let version = der(INTEGER, &[&[3]]);
        let signer = der(
            SEQUENCE,
            &[
                &version,
                &self.who,
                &self.digest,
                &der(0xa0, &[&attributes]),
                &self.algorithm,
                &der(OCTETS, &[signature.as_ref()]),
                &self.unsigned,
            ],
        );
        let content = der(SEQUENCE, &[&der(OID, &[self.content_kind]), &der(0xa0, &[&der(OCTETS, &[&self.content])])]);
        let data = der(
            SEQUENCE,
            &[
                &version,
                &der(SET, &[&self.digest]),
                &content,
                &der(0xa0, &[&self.certificates.concat()]),
                &der(SET, &[&signer.repeat(self.signers)]),
            ],
        );
        let granted = der(SEQUENCE, &[&der(INTEGER, &[&[0]])]);
        der(SEQUENCE, &[&granted, &der(SEQUENCE, &[&der(OID, &[self.kind]), &der(0xa0, &[&data])])])
    }
}
