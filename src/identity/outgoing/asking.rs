//! Asking for a token: one question, and again after a while where the answer is to come back.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{ClientProof, Grant, Reading, TokenError, TokenSettings};
use crate::identity::discovery::{asked_at, authorities, chain, is_loopback};
use crate::identity::refusal::quoted;
use crate::identity::token::MAX_TOKEN_BYTES;

/// The version of Azure's account of a machine that is asked for.
const AZURE_VERSION: &str = "2018-02-01";
/// What an assertion is, by its kind (RFC 7523 §2.2).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An answer is a token and some words.
const MAX_ANSWER: usize = 256 << 10;
/// The pause before it is tried again; each is twice the one before, as Azure asks for. Tests cannot wait so long.
const FIRST_PAUSE: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };
/// How often it is tried again. The pauses are half a minute together; Azure takes at most a minute to set an identity up anew,
/// and whoever comes later asks again.
const TRIES_AGAIN: u32 = 5;
/// Longer than this nobody is waited for who names a time to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A token that does not say how long it lives is used for so long.
const UNTOLD: Duration = Duration::from_secs(60);
/// No token is believed to live longer.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// Whom to ask, and how.
#[derive(Debug)]
pub(super) struct Asking {
    settings: TokenSettings,
    endpoint: Url,
    client: Client,
}

/// What an issuer answers. Azure's account of a machine writes numbers as text.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

/// What an issuer answers that gives nothing: the code of RFC 6749 §5.2, and those of Entra. Its sentences are left out,
/// because they may repeat what they were asked.
#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    #[serde(default)]
    error_codes: Vec<u64>,
}

/// One question's answer.
enum Said {
    Token(Zeroizing<String>, Duration),
    /// Come back; after so long, if it says.
    Later(String, Option<Duration>),
}

impl Asking {
    pub(super) fn new(settings: TokenSettings) -> Result<Self, String> {
        let endpoint = Url::parse(&settings.endpoint).map_err(|error| format!("the endpoint is no URL: {error}"))?;
        let is_machine = matches!(settings.grant, Grant::Machine { .. });
        if endpoint.scheme() != "https" && !is_loopback(&endpoint) && !is_machine {
            return Err("the endpoint must begin with https:// (http:// is for one on this machine)".to_owned());
        }
        let mut builder = asked_at(&endpoint);
        if is_machine {
            // Whoever stands between would have the token.
            builder = builder.no_proxy();
        }
        if let Some(path) = &settings.ca_file {
            let blame = |reason| format!("the certificates in {}: {reason}", path.display());
            let roots = authorities(path).map_err(blame)?;
            builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { settings, endpoint, client })
    }

    /// Who is asked; for messages.
    pub(super) fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// Asks until there is an answer, or the pauses are used up: a token, and how long it lives from now on.
    pub(super) async fn ask(&self) -> Result<(Zeroizing<String>, Duration), TokenError> {
        let mut tried = 0;
        loop {
            let (reason, told) = match self.once().await? {
                Said::Token(token, life) => return Ok((token, life)),
                Said::Later(reason, told) => (reason, told),
            };
            if tried == TRIES_AGAIN {
                return Err(TokenError::Away { endpoint: self.endpoint(), reason });
            }
            let pause = FIRST_PAUSE * 2_u32.saturating_pow(tried);
            let pause = told.map_or(pause, |told| told.clamp(pause, LONGEST_PAUSE));
            tried += 1;
            tracing::debug!(of = self.settings.name, reason, seconds = pause.as_secs(), "a token is asked for again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self) -> Result<Said, TokenError> {
        let asked = Instant::now();
        let mut response = match self.question().await?.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Said::Later(chain(&error.without_url()), None)),
        };
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        if self.is_passing(status) {
            return Ok(Said::Later(format!("it answers {status}"), after.map(Duration::from_secs)));
        }
        let body = match self.body(&mut response).await {
            Ok(body) => body,
            Err(reason) => return Ok(Said::Later(reason, None)),
        };
        if status != StatusCode::OK {
            let reason =
                codes(&body).map_or_else(|| format!("it answers {status}"), |codes| format!("{codes} ({status})"));
            return Err(TokenError::Refused { endpoint: self.endpoint(), reason });
        }
        let (token, life) =
            token(&body).map_err(|reason| TokenError::Unusable { endpoint: self.endpoint(), reason })?;
        // The issuer may have counted from when it was asked.
        let left = life.saturating_sub(asked.elapsed());
        if left.is_zero() {
            return Err(TokenError::Unusable { endpoint: self.endpoint(), reason: "its token has ended" });
        }
        Ok(Said::Token(token, left))
    }

    /// Whether an answer is one to come back after. Azure's account of a machine says 404 while the identity is set up, and 410
    /// while it is set up anew.
    fn is_passing(&self, status: StatusCode) -> bool {
        let is_machine = matches!(self.settings.grant, Grant::Machine { .. });
        status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || (is_machine && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    async fn question(&self) -> Result<RequestBuilder, TokenError> {
        let TokenSettings { grant, scope, resource, .. } = &self.settings;
        let mut words: Vec<(&str, &str)> = Vec::new();
        words.extend(resource.as_deref().map(|resource| ("resource", resource)));
        let (id, proof) = match grant {
            Grant::Machine { id } => {
                words.push(("api-version", AZURE_VERSION));
                words.extend(id.as_deref().map(|id| ("client_id", id)));
                let address = Url::parse_with_params(self.endpoint.as_str(), words);
                let address = address.map_err(|error| self.wrong(error.to_string()))?;
                return Ok(self.client.get(address).header("Metadata", "true"));
            }
            Grant::Client { id, proof } => (id, proof),
        };
        words.extend(scope.as_deref().map(|scope| ("scope", scope)));
        words.extend([("grant_type", "client_credentials"), ("client_id", id)]);
        let shown;
        match proof {
            ClientProof::Secret(secret) => {
                shown = read(secret).await?;
                words.push(("client_secret", shown.as_str()));
            }
            ClientProof::Assertion(assertion) => {
                shown = read(assertion).await?;
                words.extend([("client_assertion_type", ASSERTION), ("client_assertion", shown.trim())]);
            }
        }
        Ok(self.client.post(self.endpoint.clone()).form(&words))
    }

    fn wrong(&self, reason: String) -> TokenError {
        TokenError::Settings { name: self.settings.name.clone(), reason }
    }

    async fn body(&self, response: &mut Response) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("its answer is larger than {MAX_ANSWER} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Reads what proves us. It may be in a file.
async fn read(secret: &Reading) -> Result<Zeroizing<String>, TokenError> {
    let secret = secret.clone();
    let read = tokio::task::spawn_blocking(move || secret()).await;
    let read = read.map_err(|error| TokenError::Proof(error.to_string()))?;
    read.map(Zeroizing::new).map_err(TokenError::Proof)
}

/// The token in an answer, and how long it lives.
fn token(body: &[u8]) -> Result<(Zeroizing<String>, Duration), &'static str> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_odd| "it is not JSON in a token's form")?;
    let token = Zeroizing::new(answer.access_token.unwrap_or_default());
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("its token is not for the bearer");
    }
    // RFC 6749 A.12. Whatever else is in it would not arrive as it is in a message of PostgreSQL's.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it has no token in printable letters");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("its token is longer than a password can be");
    }
    let seconds = answer.expires_in.as_ref().map(|told| match told {
        Value::String(text) => text.parse().ok(),
        // Some issuers write fractions.
        other => other.as_u64().or_else(|| other.to_string().split('.').next()?.parse().ok()),
    });
    let life = match seconds {
        None => UNTOLD,
        Some(seconds) => {
            Duration::from_secs(seconds.ok_or("how long its token lives is not a number")?.min(LONGEST_LIFE))
        }
    };
    Ok((token, life))
}

/// The codes of a refusal.
fn codes(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let error = refusal.error.filter(|error| error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))?;
    let entra = refusal.error_codes.iter().map(|code| format!(" AADSTS{code}")).collect::<String>();
    Some(format!("{}{entra}", quoted(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_issuers_and_machines_write_it() {
        let read = |body: &str| token(body.as_bytes()).map(|(token, life)| (token.to_string(), life.as_secs()));
        let good = |seconds| Ok(("a.b-_c".to_owned(), seconds));
        assert_eq!(read(r#"{"access_token":"a.b-_c","token_type":"Bearer","expires_in":3599}"#), good(3_599));
        let machine = r#"{"access_token":"a.b-_c","token_type":"Bearer","expires_in":"86399","expires_on":"1"}"#;
        assert_eq!(read(machine), good(86_399));
        assert_eq!(read(r#"{"access_token":"a.b-_c","token_type":"bearer","expires_in":59.7}"#), good(59));
        assert_eq!(read(r#"{"access_token":"a.b-_c"}"#), good(60));
        assert_eq!(read(r#"{"access_token":"a.b-_c","expires_in":99999999999}"#), good(86_400));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\u0000b"}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a","token_type":"DPoP"}"#,
            r#"{"access_token":"a","expires_in":"soon"}"#,
            r#"{"access_token":"a","expires_in":-1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_TOKEN_BYTES + 1))).is_err());
    }

    #[test]
    fn of_a_refusal_the_codes_are_told_and_no_sentence() {
        let entra =
            br#"{"error":"invalid_client","error_description":"AADSTS7000215: hunter2","error_codes":[7000215]}"#;
        assert_eq!(codes(entra).as_deref(), Some("\"invalid_client\" AADSTS7000215"));
        for odd in [&b"hunter2"[..], b"{}", br#"{"error":"Hunter 2"}"#] {
            assert_eq!(codes(odd), None);
        }
    }
}
