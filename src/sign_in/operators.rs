//! What operators and people's tools ask of a recorder, over its door of HTTPS, with their own token.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::http::{chain, client, safe_url};
use super::{Hidden, SignInError};

/// A list of all sessions of a node has a fiftieth of it for each thousand.
const LONGEST_ANSWER: usize = 64 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// What is there.
    Look(&'a str),
    /// That something is done.
    Do(&'a str, &'a Value),
}

/// Asks a recorder at its [`super::address`].
///
/// # Errors
///
/// It does not answer, or says no.
pub async fn operate(
    (address, authorities): (&str, Option<&[u8]>),
    token: &Hidden,
    asked: Asked<'_>,
) -> Result<Value, SignInError> {
    let place = || address.to_owned();
    let (method, path) = match asked {
        Asked::Look(path) => (Method::GET, path),
        Asked::Do(path, _) => (Method::POST, path),
    };
    let url = safe_url(&format!("{address}{path}"))
        .map_err(|reason| SignInError::Address { address: address.to_owned(), reason })?;
    let away = |error: reqwest::Error| SignInError::Away { place: place(), reason: chain(&error.without_url()) };
    let mut request = client(&url, authorities)?.request(method, url).bearer_auth(token.reveal());
    if let Asked::Do(_, what) = asked {
        request = request.json(what);
    }
    let mut response = request.send().await.map_err(away)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(SignInError::Away { place: place(), reason: "its answer does not end".to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    let answer: Option<Value> = serde_json::from_slice(&body).ok();
    let said = answer.as_ref().and_then(|answer| answer.get("error")?.as_str()).map(str::to_owned);
    match (status, answer, said) {
        (status, Some(answer), _) if status.is_success() => Ok(answer),
        (StatusCode::UNAUTHORIZED, _, said) => {
            Err(SignInError::Unbelieved { place: place(), reason: said.unwrap_or_else(|| status.to_string()) })
        }
        (StatusCode::FORBIDDEN, _, Some(reason)) => Err(SignInError::Forbidden { place: place(), reason }),
        (StatusCode::NOT_FOUND, _, Some(reason)) => Err(SignInError::Nothing { reason }),
        (StatusCode::NOT_FOUND, _, None) => {
            let reason = format!("{address} does not do that: its configuration lets nobody");
            Err(SignInError::Nothing { reason })
        }
        (status, _, Some(reason)) if status.is_client_error() => Err(SignInError::Unfit { reason }),
        (status, _, said) => {
            Err(SignInError::Away { place: place(), reason: said.unwrap_or_else(|| format!("it says {status}")) })
        }
    }
}
