//! What can be read off a token before anything of it is believed: that it is one, and who says to have issued it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::refusal::{Cause, Refusal, quoted};
use super::settings::Algorithm;
use super::twins;

/// PostgreSQL servers take no longer password (`PG_MAX_AUTH_TOKEN_LENGTH`), so clients cannot be used to sending more.
/// Real tokens stay under 16 KiB; the rest is room for an issuer that lists hundreds of groups.
pub(super) const MAX_TOKEN_BYTES: usize = 65_535;

/// `typ` of an access token (RFC 9068) and of a token that does not say more (RFC 7519). Others are other things: a
/// `logout+jwt` or a `secevent+jwt` is signed by the same key and must not sign anybody in.
const TYPES: [&str; 3] = ["JWT", ACCESS[0], ACCESS[1]];
/// Those of an access token (RFC 9068).
const ACCESS: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// What a token is presented as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// To sign somebody in.
    SignIn,
    /// To say that somebody has logged out (OpenID Connect Back-Channel Logout 1.0 §2.4). Some issuers give it no `typ` of its
    /// own; that it is one, its `events` say.
    Logout,
    /// To say that something happened (RFC 8417).
    Event,
}

impl As {
    /// The `typ` that it may have; none at all is taken but of an event.
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::SignIn => &TYPES,
            Self::Logout => &["logout+jwt", "application/logout+jwt", "JWT"],
            Self::Event => &["secevent+jwt", "application/secevent+jwt"],
        }
    }
}

/// A token as it was presented. Nothing in it is believed yet.
pub(super) struct Presented<'a> {
    pub(super) text: &'a str,
    pub(super) algorithm: String,
    pub(super) kid: Option<String>,
    pub(super) issuer: String,
    /// Whether its header says that it is an access token.
    pub(super) is_access: bool,
}

impl<'a> Presented<'a> {
    pub(super) fn read(bytes: &'a [u8], purpose: As) -> Result<Self, Refusal> {
        if bytes.is_empty() {
            return Err(Refusal::new(Cause::Missing, "the password is empty"));
        }
        if bytes.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::new(Cause::TooLarge, format!("{} bytes", bytes.len())));
        }
        let not_a_token = |detail: &str| Refusal::new(Cause::NotAToken, detail);
        let text = std::str::from_utf8(bytes).map_err(|_| not_a_token("the password is not text"))?;
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, _signature] = parts.as_slice() else {
            return Err(match parts.len() {
                5 => not_a_token("the token is encrypted (five parts); it must be signed only"),
                _ => not_a_token("not three parts with dots between them; the token may be opaque, or cut"),
            });
        };
        let twin = |cause, part: &str, name: &str| Refusal::new(cause, format!("{part} name {} twice", quoted(name)));
        let (header, twice) = object(header).ok_or_else(|| not_a_token("the header is not JSON in base64url"))?;
        if let Some(name) = twice {
            return Err(twin(Cause::NotAToken, "parts of the header", &name));
        }
        let (claims, twice) = object(claims).ok_or_else(|| not_a_token("the claims are not JSON in base64url"))?;
        if let Some(name) = twice {
            return Err(twin(Cause::ClaimMalformed, "the claims", &name));
        }
        Self::of_header(text, &header, &claims, purpose)
    }

    fn of_header(
        text: &'a str,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
        purpose: As,
    ) -> Result<Self, Refusal> {
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Refusal::new(Cause::NotAToken, "the header names no algorithm"));
        };
        // RFC 7515 §4.1.11: who does not understand an extension that is marked critical must refuse.
        if header.contains_key("crit") {
            return Err(Refusal::new(Cause::CriticalHeader, "the header has `crit`"));
        }
        let is_among = |known: &[&str], typ: &str| known.iter().any(|known| known.eq_ignore_ascii_case(typ));
        let is_access = match header.get("typ") {
            None if purpose == As::Event => return Err(Refusal::new(Cause::WrongType, "the header has no `typ`")),
            None => false,
            Some(Value::String(typ)) if is_among(purpose.types(), typ) => is_among(&ACCESS, typ),
            Some(Value::String(typ)) => return Err(Refusal::new(Cause::WrongType, format!("typ is {}", quoted(typ)))),
            Some(_) => return Err(Refusal::new(Cause::NotAToken, "`typ` in the header is not text")),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Refusal::new(Cause::NotAToken, "`kid` in the header is not text")),
        };
        let issuer = match claims.get("iss") {
            Some(Value::String(issuer)) => issuer.clone(),
            Some(_) => return Err(Refusal::new(Cause::ClaimMalformed, "`iss` is not text")),
            None => return Err(Refusal::new(Cause::ClaimMissing, "`iss` is missing")),
        };
        // A name that is not ours is refused later, by its own cause; all else must be a header to jsonwebtoken too.
        if algorithm.parse::<Algorithm>().is_ok() && jsonwebtoken::decode_header(text).is_err() {
            return Err(Refusal::new(Cause::NotAToken, "a member of the header is in no known form"));
        }
        Ok(Self { text, algorithm: algorithm.clone(), kid, issuer, is_access })
    }
}

/// A part of a token as a JSON object, and a member that stands twice in it, if one does. Depth is limited by the reader,
/// size by the token's.
fn object(part: &str) -> Option<(Map<String, Value>, Option<String>)> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    Some((serde_json::from_slice(&json).ok()?, twins::first(&json)))
}
