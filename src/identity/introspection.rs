//! Asking an issuer whether a token still holds (RFC 7662): of one that only the issuer can read, what it says, and of any, in
//! the middle of a session, whether it was taken back.
//!
//! Promises: a token goes to the issuer that config names for it and to nobody else, over HTTPS or on this machine; an answer
//! that cannot be understood is no answer; sessions that share a token share an answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::discovery::Asker;
use super::settings::IssuerSettings;
use super::{Cause, IdentityError, Refusal};
use crate::model::Sha256;

/// Tokens whose answer is remembered, some 50 bytes each; beyond, each is asked for anew.
const MOST_REMEMBERED: usize = 100_000;
/// The shortest text that is taken for a token that only its issuer can read: 128 bits in base64.
const SHORTEST: usize = 22;
/// The longest.
const LONGEST: usize = 4_096;

/// How an issuer is asked whether a token still holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Our own client at the issuer.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// How often it is asked about the token of an open session.
    pub every: Duration,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection({}, every {:?}, …)", self.client_id, self.every)
    }
}

/// Asks one issuer.
#[derive(Debug)]
pub(super) struct Introspector {
    settings: Introspection,
    asker: Asker,
    /// Where it is asked, once its document said so.
    endpoint: Mutex<Option<Url>>,
    /// What it said last of a token, and when.
    said: Mutex<HashMap<Sha256, (Instant, bool)>>,
}

#[derive(Deserialize)]
struct Document {
    introspection_endpoint: Option<String>,
}

impl Introspector {
    /// Of an issuer that has a discovery document.
    pub(super) fn new(issuer: &IssuerSettings, settings: Introspection) -> Result<Self, IdentityError> {
        let asker = Asker::of(issuer)?;
        Ok(Self { settings, asker, endpoint: Mutex::default(), said: Mutex::default() })
    }

    pub(super) fn every(&self) -> Duration {
        self.settings.every
    }

    /// What the issuer says of a token; nothing if it does not hold.
    pub(super) async fn claims(&self, token: &str) -> Result<Option<Map<String, Value>>, Refusal> {
        let said = self.ask(token).await.map_err(|reason| Refusal::new(Cause::IssuerAway, reason))?;
        self.remember(Sha256::of(token.as_bytes()), said.is_some());
        Ok(said)
    }

    /// Whether a token holds; by the last answer, if that is not older than half the time between two questions.
    pub(super) async fn holds(&self, token: &str) -> Result<bool, String> {
        let name = Sha256::of(token.as_bytes());
        let known = self.said.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        if let Some((_, holds)) = known.filter(|(at, _)| at.elapsed() < self.settings.every / 2) {
            return Ok(holds);
        }
        let holds = self.ask(token).await?.is_some();
        self.remember(name, holds);
        Ok(holds)
    }

    fn remember(&self, name: Sha256, holds: bool) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MOST_REMEMBERED {
            said.retain(|_, (at, _)| at.elapsed() < self.settings.every);
        }
        if said.len() < MOST_REMEMBERED {
            said.insert(name, (Instant::now(), holds));
        }
    }

    async fn ask(&self, token: &str) -> Result<Option<Map<String, Value>>, String> {
        let endpoint = self.endpoint().await?;
        let Introspection { client_id, client_secret, .. } = &self.settings;
        let (id, secret) = (in_form(client_id), in_form(client_secret));
        let request = self.asker.client().post(endpoint.clone()).form(&[("token", token)]);
        let request = request.header(ACCEPT, "application/json").basic_auth(id, Some(secret));
        let (answer, _) = self.asker.answer(request, &endpoint).await.map_err(|error| error.to_string())?;
        let said: Map<String, Value> = serde_json::from_slice(&answer)
            .map_err(|_| "its answer to what a token is is no JSON object".to_owned())?;
        match said.get("active") {
            Some(Value::Bool(true)) => Ok(Some(said)),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err("its answer does not say whether the token is active".to_owned()),
        }
    }

    async fn endpoint(&self) -> Result<Url, String> {
        if let Some(known) = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(known);
        }
        let at = self.asker.discovery();
        let asked = self.asker.answer(self.asker.client().get(at.clone()), at).await;
        let (body, _) = asked.map_err(|error| error.to_string())?;
        let document: Document =
            serde_json::from_slice(&body).map_err(|error| format!("no discovery document: {error}"))?;
        let endpoint = document.introspection_endpoint.ok_or("its document names no introspection_endpoint")?;
        let endpoint = self.asker.safe("introspection_endpoint", &endpoint)?;
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint.clone());
        Ok(endpoint)
    }
}

/// Whether a text can be a token that only its issuer can read: what nobody types, of what such tokens are made of
/// (RFC 6750 §2.1).
pub(super) fn may_be_opaque(text: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'='))
}

/// A text as a form has it, which is how it goes into a header (RFC 6749 §2.3.1).
fn in_form(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_into_the_header_as_a_form_has_it() {
        assert_eq!(in_form("a b:c%ü-_.*"), "a+b%3Ac%25%C3%BC-_.*");
    }

    #[test]
    fn what_somebody_types_goes_to_no_issuer() {
        for no in ["", "hunter2", "correct horse battery staple", "pässwörter-mit-umlauten", &"x".repeat(4_097)] {
            assert!(!may_be_opaque(no), "{no}");
        }
        assert!(may_be_opaque("YQ8hFG3mZKj0wDdqVjxJ5yqRZ2zUuvMpQk-tB_x"));
    }
}
