//! The issuer's published keys, reduced to those that may verify a signature.
//!
//! A key set may hold anything: keys for encryption, shared secrets, curves we do not know, private halves. What is not
//! plainly a public key for signatures is left out here, so that later code cannot pick it by mistake.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde::Deserialize;
use serde_json::Value;

use super::settings::Algorithm;

/// Issuers publish fewer than 20; a set beyond this is no key set of an issuer.
const MAX_KEYS: usize = 256;
/// RSA below 2048 bits is not accepted by anybody any more, above 8192 by no implementation (aws-lc).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const RSA: &[Algorithm] =
    &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512];

/// A public key that may verify signatures.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) decoding: DecodingKey,
    /// In whose name it signs, of an issuer that publishes the keys of several together.
    pub(super) issuer: Option<String>,
    algorithms: Vec<Algorithm>,
}

/// The keys of an issuer.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// The keys that a token may have been signed with.
#[derive(Debug)]
pub(super) enum Fitting<'a> {
    /// These; more than one if the issuer gave the same name to several.
    Keys(Vec<&'a Key>),
    /// None: the issuer may have a newer set.
    None,
    /// The token names no key, and several could be meant.
    Ambiguous(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWKS document. Keys that cannot be used are left out; a document that is none is an error.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(body).map_err(|error| format!("no key set: {error}"))?;
        if document.keys.len() > MAX_KEYS {
            return Err(format!("{} keys, more than {MAX_KEYS}", document.keys.len()));
        }
        Ok(Self { keys: document.keys.into_iter().filter_map(Key::usable).collect() })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys for a token whose header says `kid` and `algorithm`.
    pub(super) fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Fitting<'_> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let found: Vec<&Key> = self.keys.iter().filter(fits).collect();
        match found.len() {
            0 => Fitting::None,
            several if several > 1 && kid.is_none() => Fitting::Ambiguous(several),
            _ => Fitting::Keys(found),
        }
    }
}

impl Key {
    fn usable(value: Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        // `k` and `d` are secrets: whoever publishes one has lost the key, or never had one of two halves.
        let secret = value.get("k").is_some() || value.get("d").is_some();
        let for_signatures = match value.get("use") {
            None => true,
            Some(purpose) => purpose == "sig",
        };
        let verifies = match value.get("key_ops") {
            None => true,
            Some(operations) => operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify")),
        };
        if secret || !for_signatures || !verifies {
            return None;
        }
        let size = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok().map(|bytes| bytes.len());
        // The family that the key's own words give it; the type that jsonwebtoken reads must be the same one below.
        let of_family: &[Algorithm] = match (text("kty")?, text("crv")) {
            ("RSA", _) if RSA_BYTES.contains(&size("n")?) => RSA,
            ("EC", Some("P-256")) if (size("x")?, size("y")?) == (32, 32) => &[Algorithm::Es256],
            ("EC", Some("P-384")) if (size("x")?, size("y")?) == (48, 48) => &[Algorithm::Es384],
            ("OKP", Some("Ed25519")) if size("x")? == 32 => &[Algorithm::EdDsa],
            _ => return None,
        };
        let algorithms: Vec<Algorithm> = match value.get("alg") {
            None => of_family.to_vec(),
            Some(only) => of_family.iter().copied().filter(|known| only == known.as_str()).collect(),
        };
        let kid = match value.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        let issuer = match value.get("issuer") {
            None => None,
            Some(issuer) => Some(issuer.as_str()?.to_owned()),
        };
        if algorithms.is_empty() {
            return None;
        }
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let same_type = matches!(
            (&jwk.algorithm, of_family.first()?),
            (AlgorithmParameters::RSA(_), Algorithm::Rs256)
                | (AlgorithmParameters::EllipticCurve(_), Algorithm::Es256 | Algorithm::Es384)
        ) || matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519);
        let decoding = same_type.then(|| DecodingKey::from_jwk(&jwk).ok())??;
        Some(Self { kid, decoding, issuer, algorithms })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{self, Signer};
    use super::*;

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn count(found: &Fitting<'_>) -> usize {
        match found {
            Fitting::Keys(keys) => keys.len(),
            Fitting::None => 0,
            Fitting::Ambiguous(_) => usize::MAX,
        }
    }

    fn with(signer: Signer, changes: &Value) -> Value {
        fixtures::merged(fixtures::jwk(signer), changes)
    }

    #[test]
    fn each_kind_of_public_key_serves_the_algorithms_of_its_family_only() {
        let keys = set(&[
            fixtures::jwk(Signer::Rsa),
            fixtures::jwk(Signer::Es256),
            fixtures::jwk(Signer::Es384),
            fixtures::jwk(Signer::Ed25519),
        ]);
        assert_eq!(keys.len(), 4);
        for (signer, serves) in [
            (Signer::Rsa, RSA),
            (Signer::Es256, &[Algorithm::Es256][..]),
            (Signer::Es384, &[Algorithm::Es384][..]),
            (Signer::Ed25519, &[Algorithm::EdDsa][..]),
        ] {
            for algorithm in Algorithm::ALL {
                let found = count(&keys.fitting(Some(signer.kid()), algorithm));
                assert_eq!(found, usize::from(serves.contains(&algorithm)), "{signer:?} {algorithm}");
            }
        }
    }

    #[test]
    fn what_is_not_plainly_a_public_key_for_signatures_is_left_out() {
        for (why, change) in [
            ("for encryption", json!({ "use": "enc" })),
            ("use is not text", json!({ "use": 1 })),
            ("does not verify", json!({ "key_ops": ["wrapKey"] })),
            ("another algorithm", json!({ "alg": "RSA-OAEP" })),
            ("algorithm of a shared secret", json!({ "alg": "HS256" })),
            ("a private half", json!({ "d": "AQAB" })),
            ("kid is not text", json!({ "kid": 7 })),
            ("its issuer is not text", json!({ "issuer": 7 })),
            ("a weak modulus", json!({ "n": "AQAB" })),
            ("no modulus", json!({ "n": null })),
            ("says EC", json!({ "kty": "EC", "crv": "P-256" })),
            ("says oct", json!({ "kty": "oct" })),
        ] {
            assert_eq!(set(&[with(Signer::Rsa, &change)]).len(), 0, "{why}");
        }
        let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256" });
        let curve = with(Signer::Es256, &json!({ "crv": "P-384" }));
        let short = with(Signer::Ed25519, &json!({ "x": "AQAB" }));
        assert_eq!(set(&[secret, curve, short, json!("text"), json!(null), json!([])]).len(), 0);
    }

    #[test]
    fn a_key_that_names_its_algorithm_serves_no_other() {
        let keys = set(&[with(Signer::Rsa, &json!({ "alg": "PS256", "use": "sig", "key_ops": ["verify"] }))]);
        assert_eq!(count(&keys.fitting(Some("rsa"), Algorithm::Ps256)), 1);
        assert_eq!(count(&keys.fitting(Some("rsa"), Algorithm::Rs256)), 0);
    }

    #[test]
    fn a_token_without_a_key_name_needs_exactly_one_key_that_fits() {
        let keys = set(&[fixtures::jwk(Signer::Rsa), fixtures::jwk(Signer::Es256)]);
        assert_eq!(count(&keys.fitting(None, Algorithm::Es256)), 1);
        assert_eq!(count(&keys.fitting(None, Algorithm::EdDsa)), 0);
        let keys = set(&[fixtures::jwk(Signer::Rsa), fixtures::jwk(Signer::Stranger)]);
        assert!(matches!(keys.fitting(None, Algorithm::Rs256), Fitting::Ambiguous(2)));
    }

    #[test]
    fn keys_of_the_same_name_are_all_tried() {
        let twin = with(Signer::Stranger, &json!({ "kid": "rsa" }));
        assert_eq!(count(&set(&[twin, fixtures::jwk(Signer::Rsa)]).fitting(Some("rsa"), Algorithm::Rs256)), 2);
    }

    #[test]
    fn what_is_no_key_set_is_an_error() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html>"] {
            assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] }).to_string();
        assert!(KeySet::parse(many.as_bytes()).unwrap_err().contains("257 keys"));
    }
}
