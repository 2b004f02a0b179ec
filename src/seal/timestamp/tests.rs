//! Answers that OpenSSL made, answers that only a forger makes, and what becomes of them.

use super::forger::{self, Statement, Token, der};
use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/timestamps/", $name)).as_slice()
    };
}

const RSA_NONCE: u64 = 0x36D2_6419_D394_AD13;
const P256_NONCE: u64 = 0x5F6F_A654_D2BD_F6E6;

fn digest() -> Sha256 {
    Sha256::of(fixture!("stamped.txt"))
}

fn authorities() -> Authorities {
    let all = [fixture!("rsa-ca.pem"), fixture!("p256-ca.pem"), fixture!("p384-ca.pem")].concat();
    Authorities::from_pem(&all).unwrap()
}

fn check(response: &[u8]) -> Result<Stamp, TimestampError> {
    verify(response, digest(), None, &authorities())
}

/// An answer by our own key, with a change to what it says.
fn saying(change: impl FnOnce(&mut Statement)) -> Vec<u8> {
    let mut statement = Statement::of(digest());
    change(&mut statement);
    Token::of(&statement).answer()
}

/// An answer by our own key, with a change to how it says it.
fn made(change: impl FnOnce(&mut Token)) -> Vec<u8> {
    let mut token = Token::of(&Statement::of(digest()));
    change(&mut token);
    token.answer()
}

fn what(response: &[u8]) -> String {
    check(response).unwrap_err().to_string()
}

#[test]
fn a_request_is_the_one_that_openssl_makes() {
    assert_eq!(request(digest(), RSA_NONCE), fixture!("rsa.tsq"));
    assert_eq!(request(digest(), P256_NONCE), fixture!("p256.tsq"));
    let ends: [(u64, &[u8]); 5] = [
        (0, &[2, 1, 0]),
        (0x7f, &[2, 1, 0x7f]),
        (0x80, &[2, 2, 0, 0x80]),
        (0x100, &[2, 2, 1, 0]),
        (u64::MAX, &[2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (nonce, end) in ends {
        let bytes = request(digest(), nonce);
        assert_eq!(usize::from(bytes[1]) + 2, bytes.len(), "{nonce}");
        assert!(bytes.ends_with(&[end, &CERTIFICATE_PLEASE].concat()), "{nonce}: {bytes:02x?}");
    }
}

#[test]
fn what_openssl_stamped_is_found_with_its_time_and_its_authority() {
    let found = verify(fixture!("rsa.tsr"), digest(), Some(RSA_NONCE), &authorities()).unwrap();
    assert_eq!(found.time.to_string(), "2026-11-25T22:29:04.000000Z");
    assert_eq!(found.accuracy, Some(1_500_100));
    assert_eq!(found.authority, "CN=Example RSA Clock,O=Example Notaries,C=NL");
    assert_eq!((found.serial.as_str(), found.policy.as_str()), ("1F01", "1.3.6.1.4.1.32473.1"));

    let found = verify(fixture!("p256.tsr"), digest(), Some(P256_NONCE), &authorities()).unwrap();
    assert_eq!(found.time.to_string(), "2026-11-25T22:29:04.771225Z");
    assert_eq!(found.authority, "CN=Example P-256 Clock,O=Example Notaries,C=NL");
    // The same content, signed another way.
    assert_eq!(check(fixture!("pss.tsr")).unwrap().time, found.time);

    let found = check(fixture!("p384.tsr")).unwrap();
    assert_eq!(
        (found.time.to_string().as_str(), found.authority.as_str()),
        ("2026-11-25T22:29:04.780000Z", "CN=Example P-384 Clock")
    );
}

#[test]
fn a_timestamp_proves_its_digest_to_those_who_trust_its_authority() {
    let response = fixture!("p256.tsr");
    assert_eq!(verify(response, Sha256::of(b"other"), None, &authorities()), Err(TimestampError::Digest));
    assert_eq!(verify(response, digest(), Some(RSA_NONCE), &authorities()), Err(TimestampError::Nonce));
    assert_eq!(verify(fixture!("p384.tsr"), digest(), Some(1), &authorities()), Err(TimestampError::Nonce));
    let others = Authorities::from_pem(&[fixture!("rsa-ca.pem"), fixture!("p384-ca.pem")].concat()).unwrap();
    assert_eq!(
        verify(response, digest(), None, &others).unwrap_err().to_string(),
        "CN=Example P-256 Clock,O=Example Notaries,C=NL is not trusted: no authority that you trust certified it"
    );
}

#[test]
fn each_thing_that_is_wrong_is_named() {
    let tables: [(&[u8], &str); 14] = [
        (
            fixture!("refused.tsr"),
            "the authority gave no timestamp: it refuses: Message digest algorithm is not supported. (it does not take the digest's algorithm)",
        ),
        (fixture!("no-certificate.tsr"), "the timestamp does not hold the certificate that its signer names"),
        (fixture!("no-attributes.tsr"), "the timestamp has no signed attributes"),
        (fixture!("no-binding.tsr"), "no signed attribute names the signer's certificate"),
        (fixture!("two-signers.tsr"), "the timestamp has 2 signers instead of one"),
        (
            fixture!("weak-digest.tsr"),
            "the timestamp uses the algorithm 1.3.14.3.2.26, which is too weak or not known here",
        ),
        (fixture!("weak-key.tsr"), "the signature is not that of CN=Weak Key, or its key is too weak"),
        (
            fixture!("p384-sha512.tsr"),
            "the timestamp uses the algorithm 1.2.840.10045.4.3.4, which is too weak or not known here",
        ),
        (
            fixture!("not-critical.tsr"),
            "CN=Not Critical is not certified for timestamps: its certificate does not mark its purpose as critical",
        ),
        (
            fixture!("two-purposes.tsr"),
            "CN=Two Purposes is not certified for timestamps: its certificate is for something else, or for more than that",
        ),
        (
            fixture!("another-purpose.tsr"),
            "CN=Another Purpose is not certified for timestamps: its certificate is for something else, or for more than that",
        ),
        (fixture!("ended.tsr"), "CN=Ended is not trusted: a certificate had expired at the time of the timestamp"),
        (
            fixture!("later.tsr"),
            "CN=Later is not trusted: a certificate was not valid yet at the time of the timestamp",
        ),
        (b"", "the answer has not the form that RFC 3161 gives it, in DER"),
    ];
    for (response, message) in tables {
        assert_eq!(what(response), message);
    }
    assert_eq!(check(&vec![0x30; MAX_RESPONSE_BYTES + 1]), Err(TimestampError::TooLong));
}

#[test]
fn no_changed_byte_makes_another_timestamp() {
    for response in [fixture!("rsa.tsr"), fixture!("p256.tsr"), fixture!("p384.tsr")] {
        let good = check(response).unwrap();
        let mut unharmed = 0;
        for at in 0..response.len() {
            for flip in [0x01, 0x80] {
                let mut changed = response.to_vec();
                changed[at] ^= flip;
                match check(&changed) {
                    Ok(found) => {
                        unharmed += 1;
                        assert_eq!(found, good, "byte {at} ^ {flip:02x}");
                    }
                    Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
                }
            }
        }
        // What no signature covers: the list of digests that CMS repeats, versions, parameters, `granted`.
        assert!(unharmed < 50, "{unharmed} of {}", response.len());
    }
}

#[test]
fn no_part_of_a_timestamp_and_nothing_longer_is_one() {
    for response in [fixture!("rsa.tsr"), fixture!("p256.tsr"), fixture!("p384.tsr"), fixture!("refused.tsr")] {
        for length in 0..response.len() {
            assert!(check(&response[..length]).is_err(), "{length}");
        }
        assert!(check(&[response, &[0]].concat()).is_err());
    }
}

#[test]
fn a_timestamp_by_ed25519_is_read_in_each_of_its_forms() {
    let good = check(&saying(|_| {})).unwrap();
    assert_eq!(good.time.to_string(), "2027-01-02T03:04:05.250000Z");
    assert_eq!((good.serial.as_str(), good.accuracy), ("FF", None));
    assert_eq!(good.authority, "CN=Example Ed25519 Clock");

    let (issuer, serial) = forger::issued();
    let names = der(forger::SEQUENCE, &[&der(0xa4, &[&issuer])]);
    let issued = der(forger::SEQUENCE, &[&names, &serial]);
    let sha1 = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &forger::certificate());
    let sha512 = ring::digest::digest(&ring::digest::SHA512, &forger::certificate());
    let old = forger::attribute(forger::BINDING, &forger::binding(&[], sha1.as_ref(), &issued));
    let new = forger::algorithm(forger::SHA512);
    let new = forger::attribute(forger::BINDING_V2, &forger::binding(&new, sha512.as_ref(), &issued));
    for response in [
        made(|token| token.swap(2, old.clone())),
        made(|token| token.swap(2, new.clone())),
        made(|token| token.attributes.push(old.clone())),
        made(|token| token.certificates.insert(0, vec![0x30, 0])),
        made(|token| token.unsigned = vec![0xa1, 0]),
    ] {
        assert_eq!(check(&response).as_ref(), Ok(&good));
    }
}

#[test]
fn a_signer_may_be_named_by_the_identifier_of_its_key_if_it_is_that() {
    let certificate = forger::certificate();
    // Of its extensions the one that OpenSSL writes last.
    let at = certificate.windows(5).position(|window| window == [0x06, 3, 0x55, 0x1d, 0x0e]).unwrap();
    let id = &certificate[at + 9..at + 29];
    assert!(check(&made(|token| token.who = der(0x80, &[id]))).is_ok());
    for other in [der(0x80, &[&id[1..]]), der(0x81, &[id]), der(0x80, &[]), der(forger::SEQUENCE, &[id])] {
        let error = what(&made(|token| token.who = other));
        assert_eq!(error, "the timestamp names two signers: that of its certificate, and another");
    }
}

#[test]
fn signed_attributes_that_contradict_are_refused() {
    let another = Sha256::of(b"another");
    let hash = Sha256::of(&forger::certificate());
    let (issuer, serial) = forger::issued();
    let issued_as = |issuer: &[u8], serial: &[u8]| {
        let names = der(forger::SEQUENCE, &[&der(0xa4, &[issuer])]);
        let issued = der(forger::SEQUENCE, &[&names, serial]);
        forger::attribute(forger::BINDING_V2, &forger::binding(&[], &hash.0, &issued))
    };
    let with = |at: usize, attribute: Vec<u8>| what(&made(|token| token.swap(at, attribute)));
    let bound = |kind: &[u8], value: &[u8]| with(2, forger::attribute(kind, value));
    let bad = "what no authority makes";
    let two = "the timestamp names two signers: that of its certificate, and another";
    let none = "the timestamp does not hold the certificate that its signer names";
    let form = "the name of the signer's certificate has not the form that RFC 3161 gives it, in DER";
    let tables: [(String, &str); 11] = [
        (
            with(0, forger::attribute(forger::CONTENT_TYPE, &der(forger::OID, &[forger::SIGNED_DATA]))),
            "the signed attributes are not those of a timestamp",
        ),
        (with(0, Vec::new()), "the signed attributes are not those of a timestamp"),
        (with(1, Vec::new()), "the timestamp's content is not the one whose digest was signed"),
        (
            with(1, forger::attribute(forger::MESSAGE_DIGEST, &der(forger::OCTETS, &[&another.0]))),
            "the timestamp's content is not the one whose digest was signed",
        ),
        (bound(forger::BINDING_V2, &forger::binding(&[], &another.0, &[])), none),
        (bound(forger::BINDING, &forger::binding(&[], &hash.0, &[])), none),
        (bound(forger::BINDING, &forger::binding(&forger::algorithm(forger::SHA256), &hash.0, &[])), form),
        (bound(forger::BINDING_V2, &der(forger::SEQUENCE, &[&der(forger::SEQUENCE, &[])])), form),
        (with(2, issued_as(&issuer, &der(forger::INTEGER, &[&[7]]))), two),
        (with(2, issued_as(&der(forger::SEQUENCE, &[]), &serial)), two),
        (
            with(2, forger::attribute(forger::BINDING_V2, bad.as_bytes())),
            "a signed attribute has not the form that RFC 3161 gives it, in DER",
        ),
    ];
    for (at, (found, wanted)) in tables.into_iter().enumerate() {
        assert_eq!(found, wanted, "{at}");
    }
    let twice = made(|token| token.attributes.push(token.attributes[1].clone()));
    assert_eq!(what(&twice), "a signed attribute has more than one value, or none");
}

#[test]
fn a_token_that_is_something_else_is_refused() {
    let form = "the token has not the form that RFC 3161 gives it, in DER";
    assert_eq!(what(&made(|token| token.kind = forger::TST_INFO)), form);
    assert_eq!(what(&made(|token| token.content_kind = forger::SIGNED_DATA)), form);
    assert_eq!(what(&made(|token| token.signers = 0)), "the timestamp has 0 signers instead of one");
    assert_eq!(
        what(&made(|token| token.certificates.clear())),
        "the timestamp does not hold the certificate that its signer names"
    );
    // Ed25519 goes with SHA-512 only, and no other key signs by it.
    let sha256 = |token: &mut Token| {
        token.digest = forger::algorithm(forger::SHA256);
        let hash = Sha256::of(&token.content);
        token.swap(1, forger::attribute(forger::MESSAGE_DIGEST, &der(forger::OCTETS, &[&hash.0])));
    };
    assert!(what(&made(sha256)).starts_with("the timestamp uses the algorithm 1.3.101.112"));
    let rsa = made(|token| token.algorithm = der(forger::SEQUENCE, &[super::trust::RSA_WITHOUT_NULL]));
    assert_eq!(what(&rsa), "the signature is not that of CN=Example Ed25519 Clock, or its key is too weak");
    let nothing = made(|token| token.algorithm = der(forger::SEQUENCE, &[]));
    assert_eq!(what(&nothing), "the signature's algorithm has not the form that RFC 3161 gives it, in DER");
}

#[test]
fn a_statement_that_cannot_be_understood_is_refused() {
    let form = "what the authority signed has not the form that RFC 3161 gives it, in DER";
    let extension = |critical: &[u8]| {
        let extension =
            der(forger::SEQUENCE, &[&der(forger::OID, &[&[0x2a, 3, 4]]), critical, &der(forger::OCTETS, &[])]);
        der(0xa1, &[&extension])
    };
    assert!(check(&saying(|it| it.rest = extension(&[]))).is_ok());
    assert_eq!(what(&saying(|it| it.rest = extension(&[1, 1, 0xff]))), form);
    assert_eq!(what(&saying(|it| it.version = der(forger::INTEGER, &[&[2]]))), form);
    assert_eq!(what(&saying(|it| it.serial = der(forger::INTEGER, &[&[0x80]]))), form);
    assert_eq!(what(&saying(|it| it.rest = vec![5, 0])), form);
    // The digest by another algorithm.
    let digest = digest();
    let imprint = der(forger::SEQUENCE, &[&forger::algorithm(forger::SHA512), &der(forger::OCTETS, &[&digest.0])]);
    assert_eq!(check(&saying(|it| it.imprint = imprint)), Err(TimestampError::Digest));
    let large = saying(|it| it.rest = der(forger::INTEGER, &[&[1, 0, 0, 0, 0, 0, 0, 0, 7]]));
    assert_eq!(verify(&large, digest, Some(7), &authorities()), Err(TimestampError::Nonce));
    let seven = saying(|it| it.rest = der(forger::INTEGER, &[&[7]]));
    assert!(verify(&seven, digest, Some(7), &authorities()).is_ok());
}

#[test]
fn a_time_has_up_to_microseconds_and_one_form() {
    let at = |text: &str| check(&saying(|it| it.time = der(forger::TIME, &[text.as_bytes()])));
    for (text, time) in [
        ("20280229235959Z", "2028-02-29T23:59:59.000000Z"),
        ("20280229235959.000001Z", "2028-02-29T23:59:59.000001Z"),
        ("20280229235959.9999999Z", "2028-02-29T23:59:59.999999Z"),
        ("20280229235959.50Z", "2028-02-29T23:59:59.500000Z"),
    ] {
        assert_eq!(at(text).unwrap().time.to_string(), time);
    }
    for text in [
        "",
        "Z",
        "20280229235959",
        "20280229235959.Z",
        "20280229235959.5",
        "20280229235959,5Z",
        "20280229235959+0100",
        "202802292359Z",
        "20280230000000Z",
        "20281301000000Z",
        "20280229240000Z",
        "20280229235960Z",
        "+0280229235959Z",
        "20280229235959.-1Z",
        "19691231235959Z",
        "2028022923595\u{e9}Z",
    ] {
        let form = TimestampError::Form { part: "the time of the timestamp" };
        assert_eq!(at(text), Err(form), "{text}");
    }
    let utc = check(&saying(|it| it.time = der(23, &[b"280229235959Z"])));
    assert_eq!(utc, Err(TimestampError::Form { part: "the time of the timestamp" }));
}

#[test]
fn an_authority_that_says_no_is_quoted_without_its_tricks() {
    let says = |status: u8, rest: &[u8]| {
        let status = der(forger::SEQUENCE, &[&der(forger::INTEGER, &[&[status]]), rest]);
        what(&der(forger::SEQUENCE, &[&status]))
    };
    let text = |text: &str| der(forger::SEQUENCE, &[&der(forger::UTF8, &[text.as_bytes()])]);
    assert_eq!(says(0, &[]), "the authority gave no timestamp: it says granted, and sends none");
    assert_eq!(says(3, &[]), "the authority gave no timestamp: it wants to be asked again later");
    assert_eq!(says(9, &[]), "the authority gave no timestamp: it answers with a status that RFC 3161 does not know");
    assert_eq!(
        says(2, &text("l'\u{e9}tat\n\u{1b}[2J\u{202e}x")),
        "the authority gave no timestamp: it refuses: l'\u{e9}tat\\n\\u{1b}[2J\\u{202e}x"
    );
    // Bit 25 is a failure of its own, bit 1 is none that RFC 3161 knows.
    assert_eq!(
        says(2, &der(3, &[&[6, 0x40, 0, 0, 0x40]])),
        "the authority gave no timestamp: it refuses (for a reason that RFC 3161 does not know) (it has failed)"
    );
    let long = says(2, &text(&"x".repeat(1000)));
    assert!(long.len() < 300 && long.ends_with('…'), "{long}");
}

#[test]
fn authorities_are_certificates_and_there_is_one_at_least() {
    let good = fixture!("p256-ca.pem");
    assert_eq!(format!("{:?}", authorities()), "Authorities(3)");
    assert_eq!(Authorities::from_pem(b""), Err(AuthoritiesError::Empty));
    assert_eq!(Authorities::from_pem(fixture!("ed25519-tsa.key")), Err(AuthoritiesError::Empty));
    assert_eq!(Authorities::from_pem(&good.repeat(101)), Err(AuthoritiesError::TooMany));
    assert!(Authorities::from_pem(&good.repeat(100)).is_ok());
    let broken = Authorities::from_pem(&good[..good.len() / 2]).unwrap_err().to_string();
    assert!(broken.starts_with("the authorities' certificates are not in PEM"), "{broken}");
    let other = [good, b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"].concat();
    let other = Authorities::from_pem(&other).unwrap_err().to_string();
    assert!(other.starts_with("certificate 2 of them cannot be an authority's"), "{other}");
    let certificate = forger::certificate().to_vec();
    assert!(Authorities::from_der([certificate]).is_ok());
}
