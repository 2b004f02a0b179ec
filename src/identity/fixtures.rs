//! For the tests of this room: an issuer's settings, its keys, and tokens of any shape.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::cache::{KeyCache, Pace};
use super::discovery::Source;
use super::keys::KeySet;
use super::presets::Preset;
use super::settings::{Algorithm, ClaimMap, IssuerSettings, KeysAt};
use super::{Issuer, Verifier};
use crate::model::{Clock, Timestamp};

pub(super) const ISSUER: &str = "https://issuer.example/tenant";
pub(super) const NOW: i64 = 1_795_512_766;

#[derive(Debug)]
pub(super) struct FixedClock(pub(super) i64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0)
    }
}

/// The keys in `fixtures/tokens/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Rsa,
    Stranger,
    Es256,
    Es384,
    Ed25519,
}

impl Signer {
    pub(super) fn kid(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Stranger => "stranger",
            Self::Es256 => "es256",
            Self::Es384 => "es384",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa | Self::Stranger => Algorithm::Rs256,
            Self::Es256 => Algorithm::Es256,
            Self::Es384 => Algorithm::Es384,
            Self::Ed25519 => Algorithm::EdDsa,
        }
    }

    pub(super) fn key(self) -> EncodingKey {
        super::install_crypto();
        match self {
            Self::Rsa => EncodingKey::from_rsa_pem(include_bytes!("../../fixtures/tokens/rs256.pem")),
            Self::Stranger => EncodingKey::from_rsa_pem(include_bytes!("../../fixtures/tokens/rs256-stranger.pem")),
            Self::Es256 => EncodingKey::from_ec_pem(include_bytes!("../../fixtures/tokens/es256.pem")),
            Self::Es384 => EncodingKey::from_ec_pem(include_bytes!("../../fixtures/tokens/es384.pem")),
            Self::Ed25519 => EncodingKey::from_ed_pem(include_bytes!("../../fixtures/tokens/ed25519.pem")),
        }
        .unwrap_or_else(|error| unreachable!("a key in fixtures/tokens cannot be read: {error}"))
    }
}

/// The public half, as an issuer publishes it, without `use` and `alg`.
pub(super) fn jwk(signer: Signer) -> Value {
    let jwk = Jwk::from_encoding_key(&signer.key(), signer.algorithm().in_jsonwebtoken());
    let jwk = serde_json::to_value(jwk.unwrap_or_else(|error| unreachable!("{error}"))).unwrap_or_default();
    merged(jwk, &json!({ "kid": signer.kid(), "alg": null }))
}

/// `base` with the members of `changes`; a null takes the member away.
pub(super) fn merged(mut base: Value, changes: &Value) -> Value {
    if let (Some(base), Some(changes)) = (base.as_object_mut(), changes.as_object()) {
        base.extend(changes.clone());
        base.retain(|_, value| !value.is_null());
    }
    base
}

pub(super) fn settings() -> IssuerSettings {
    let [plain, ..] = Preset::ALL;
    IssuerSettings {
        keys: KeysAt::Discovery(ISSUER.to_owned()),
        audience: vec!["api://hansard".to_owned()],
        algorithms: vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa],
        clock_skew: Duration::from_secs(30),
        claims: ClaimMap::default(),
        ..plain.settings("test")
    }
}

/// A verifier of these issuers, each with the keys that it publishes, at [`NOW`]. Nobody is asked for any.
pub(super) fn verifier(issuers: Vec<(IssuerSettings, Vec<Value>)>) -> Verifier {
    super::install_crypto();
    let issuer = |(settings, keys): (IssuerSettings, Vec<Value>)| {
        let keys = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes());
        let keys = keys.unwrap_or_else(|problem| unreachable!("{problem}"));
        let source = Source::new(&settings).unwrap_or_else(|error| unreachable!("{error}"));
        let cache = Arc::new(KeyCache::holding(source, keys));
        Issuer { names: settings.names(), settings, cache, introspector: None }
    };
    let issuers = issuers.into_iter().map(issuer).collect();
    Verifier::of(issuers, Arc::new(FixedClock(NOW)), Pace::default()).unwrap_or_else(|error| unreachable!("{error}"))
}

/// The claims of a good token.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "api://hansard", "sub": "9f2", "exp": NOW + 600, "nbf": NOW - 60, "iat": NOW - 60,
        "jti": "t-1", "email": "ana@contoso.example", "name": "Ana", "roles": ["analyst"], "groups": "staff",
    })
}

/// A token whose claims are the good ones with `changes`.
pub(super) fn token(signer: Signer, changes: &Value) -> String {
    let header = json!({ "typ": "at+jwt", "alg": signer.algorithm().as_str(), "kid": signer.kid() });
    signed(signer, &header, &merged(claims(), changes))
}

/// A good token whose header has `changes`.
pub(super) fn token_with_header(signer: Signer, changes: &Value) -> String {
    let header = json!({ "typ": "at+jwt", "alg": signer.algorithm().as_str(), "kid": signer.kid() });
    signed(signer, &merged(header, changes), &claims())
}

/// A token with exactly this header and these claims.
pub(super) fn signed(signer: Signer, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key(), signer.algorithm().in_jsonwebtoken())
        .unwrap_or_else(|error| unreachable!("{error}"));
    format!("{message}.{signature}")
}

/// A part of a token.
pub(super) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
