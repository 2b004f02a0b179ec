//! The way to a timestamp authority, over HTTP: what anchors a checkpoint beyond us.
//!
//! What it promises:
//!
//! * [`TimestampAuthority::stamp`] returns an answer only if it proves the digest that was asked for, by an authority that
//!   the settings trust; see [`crate::seal::timestamp`]. So plain HTTP is enough for it.
//! * It waits, reads and follows within limits: [`TIME_LIMIT`] as a rule, 64 KiB, no redirect.
//! * An error says in one line what happened, and shows neither secrets of the address nor control characters of the
//!   server.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, Url};

use crate::model::Sha256;
use crate::seal::timestamp::{Authorities, MAX_RESPONSE_BYTES, TimestampError, request, verify};

/// How long an answer may take unless the settings say otherwise. Nobody waits for it but the next checkpoint; free
/// authorities take some seconds when they are busy.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);
/// RFC 3161 §3.4.
const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

/// Which authority to ask, and whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorSettings {
    /// Where: `http://` or `https://`, without user, password and fragment.
    pub url: String,
    /// The certificates that vouch for it: [`Authorities::from_pem`] reads them.
    pub authorities: Authorities,
    /// How long an answer may take, from the connection to its last byte: [`TIME_LIMIT`] as a rule.
    pub timeout: Duration,
}

/// Why there is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The settings cannot be used.
    #[error("the timestamp authority cannot be asked: {reason}")]
    Settings {
        /// What is wrong with them.
        reason: String,
    },
    /// It cannot be reached, or does not answer in time.
    #[error("the timestamp authority {authority} is away: {reason}")]
    Away {
        /// Its address, without secrets.
        authority: String,
        /// What happened.
        reason: String,
    },
    /// It answers, and not with a timestamp.
    #[error("the timestamp authority {authority} gives no timestamp: {reason}")]
    Answer {
        /// Its address, without secrets.
        authority: String,
        /// What it answers.
        reason: String,
    },
    /// It answers with something that proves nothing.
    #[error("the answer of the timestamp authority {authority} proves nothing: {source}")]
    Unproven {
        /// Its address, without secrets.
        authority: String,
        /// What is wrong with it.
        source: TimestampError,
    },
}

/// An authority that can be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TimestampAuthority {
    url: Url,
    client: Client,
    authorities: Authorities,
    timeout: Duration,
}

impl TimestampAuthority {
    /// Gets ready to ask; nobody is asked yet.
    ///
    /// # Errors
    ///
    /// [`AnchorError::Settings`].
    pub fn new(settings: &AnchorSettings) -> Result<Self, AnchorError> {
        let url = address(&settings.url)?;
        let mut builder = Client::builder()
            .user_agent(concat!("hansard/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout);
        if is_loopback(&url) {
            // What is on this machine is never asked for through somebody else's.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| AnchorError::Settings { reason: chain(&error) })?;
        Ok(Self { url, client, authorities: settings.authorities.clone(), timeout: settings.timeout })
    }

    /// A timestamp of `digest`: the whole answer, checked, to be kept as it is. `nonce` is a number that nobody can
    /// guess, new for each question.
    ///
    /// # Errors
    ///
    /// [`AnchorError`], any but [`AnchorError::Settings`]. Asking again later may help.
    pub async fn stamp(&self, digest: Sha256, nonce: u64) -> Result<Vec<u8>, AnchorError> {
        let question = self.client.post(self.url.clone()).header(CONTENT_TYPE, QUERY).header(ACCEPT, REPLY);
        let response = question.body(request(digest, nonce)).send().await.map_err(|error| self.away(error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.answer(format!("it answers {status}; redirects are not followed")));
        }
        if !status.is_success() {
            return Err(self.answer(format!("it answers {status}")));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        if !kind.is_some_and(|kind| is_reply(kind.as_bytes())) {
            return Err(self.answer(kind.map_or_else(
                || "it does not say what its answer is".to_owned(),
                |kind| format!("its answer is {kind:?}, not {REPLY}"),
            )));
        }
        let answer = self.read(response).await?;
        match verify(&answer, digest, Some(nonce), &self.authorities) {
            Ok(_) => Ok(answer),
            Err(TimestampError::Refused { reason }) => Err(self.answer(reason)),
            Err(source) => Err(AnchorError::Unproven { authority: self.shown(), source }),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, AnchorError> {
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(error))? {
            if answer.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(self.answer(format!("its answer is longer than {MAX_RESPONSE_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn away(&self, error: reqwest::Error) -> AnchorError {
        let reason = if error.is_timeout() {
            format!("no answer within {:?}", self.timeout)
        } else {
            chain(&error.without_url())
        };
        AnchorError::Away { authority: self.shown(), reason }
    }

    fn answer(&self, reason: String) -> AnchorError {
        AnchorError::Answer { authority: self.shown(), reason }
    }

    /// Its address; what follows a `?` may be a key.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }
}

/// Reads an address, and repeats nothing of one that it does not take: a secret may be in it.
fn address(text: &str) -> Result<Url, AnchorError> {
    let wrong = |reason: &str| AnchorError::Settings { reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|error| wrong(&format!("its address is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("its address must start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong("its address must not hold a user, a password or a fragment"));
    }
    Ok(url)
}

/// Whether a `Content-Type` is that of an answer, whatever its parameters.
fn is_reply(kind: &[u8]) -> bool {
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(REPLY.as_bytes())
}

/// Whether the URL leads to this machine. `localhost` never leaves it (RFC 6761).
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// An error with its causes, on one line: reqwest's own text leaves out what went wrong.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> AnchorSettings {
        let pem = include_bytes!("../fixtures/timestamps/p256-ca.pem");
        AnchorSettings { url: url.to_owned(), authorities: Authorities::from_pem(pem).unwrap(), timeout: TIME_LIMIT }
    }

    #[test]
    fn an_address_is_of_the_web_and_holds_no_secret() {
        for good in ["http://clock.example", "https://clock.example:8443/tsr?profile=2", "http://127.0.0.1:1"] {
            assert!(TimestampAuthority::new(&settings(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "clock.example",
            "ftp://clock.example",
            "file:///etc/passwd",
            "http://",
            "https://hush@clock.example",
            "https://me:hush@clock.example",
            "https://me:hush@clock.example:port",
            "https://clock.example#hush",
        ] {
            let error = TimestampAuthority::new(&settings(bad)).unwrap_err();
            assert!(matches!(error, AnchorError::Settings { .. }), "{bad}: {error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn what_is_shown_of_an_address_holds_no_key() {
        let authority = TimestampAuthority::new(&settings("https://clock.example/tsr?key=hush")).unwrap();
        assert_eq!(authority.shown(), "https://clock.example/tsr");
    }

    #[test]
    fn an_answer_is_known_by_its_content_type() {
        for good in ["application/timestamp-reply", "Application/Timestamp-Reply ; charset=binary"] {
            assert!(is_reply(good.as_bytes()), "{good}");
        }
        for bad in ["", ";", "text/html", "application/timestamp-query", "application/timestamp-reply2"] {
            assert!(!is_reply(bad.as_bytes()), "{bad}");
        }
    }
}
