//! How recorders and issuers are asked: over HTTPS, or on this machine; with limits; nobody sends us elsewhere.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};

use super::SignInError;
use super::document::{Document, PATH};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// A document of some hundred targets has a tenth of it.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// A recorder's address in its one form, `https://host:port`: HTTPS unless it says otherwise, which it may on this machine
/// only.
///
/// # Errors
///
/// It is none.
pub fn address(given: &str) -> Result<String, SignInError> {
    let wrong = |reason: &str| SignInError::Address { address: given.to_owned(), reason: reason.to_owned() };
    let full = if given.contains("://") { given.to_owned() } else { format!("https://{given}") };
    let url = safe_url(&full).map_err(|reason| wrong(&reason))?;
    let beyond = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
    if beyond {
        return Err(wrong("the address of a Hansard is a host and perhaps a port, such as https://hansard.example"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Asks a recorder what its people need, at its [`address`]. `authorities` are certificates in PEM that are trusted beside the
/// system's.
///
/// # Errors
///
/// It does not answer, or with something else.
pub async fn document(address: &str, authorities: Option<&[u8]>) -> Result<Document, SignInError> {
    let url = safe_url(&format!("{address}{PATH}"))
        .map_err(|reason| SignInError::Address { address: address.to_owned(), reason })?;
    let away =
        |error: reqwest::Error| SignInError::Away { place: address.to_owned(), reason: chain(&error.without_url()) };
    let other = |reason: String| SignInError::NotHansard { place: address.to_owned(), reason };
    let mut response = client(&url, authorities)?.get(url.clone()).send().await.map_err(away)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_server_error() => {
            return Err(SignInError::Away { place: address.to_owned(), reason: format!("it says {status}") });
        }
        status => return Err(other(format!("{PATH} is answered with {status}"))),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(other(format!("its document is larger than {MAX_DOCUMENT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    let document: Document =
        serde_json::from_slice(&body).map_err(|error| other(format!("its document cannot be read: {error}")))?;
    match document.problem() {
        Some(problem) => Err(other(problem)),
        None => Ok(document),
    }
}

/// A client for what is at `url`.
pub(super) fn client(url: &Url, authorities: Option<&[u8]>) -> Result<Client, SignInError> {
    let mut builder = Client::builder()
        .user_agent(concat!("hansard/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT);
    if is_loopback(url) {
        // What is on this machine is never asked for through somebody else's.
        builder = builder.no_proxy();
    }
    if let Some(pem) = authorities {
        let roots = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|error| SignInError::Authorities { reason: chain(&error) })?;
        if roots.is_empty() {
            return Err(SignInError::Authorities { reason: "no certificate is in the file".to_owned() });
        }
        builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    }
    builder.build().map_err(|error| SignInError::Authorities { reason: chain(&error) })
}

/// A URL that may be asked: over HTTPS, or on this machine; without credentials.
pub(super) fn safe_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not hold credentials".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err("it must begin with https:// (http:// is for this machine only)".to_owned()),
    }
}

/// Whether the URL leads to this machine. `localhost` never leaves it (RFC 6761).
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// An error with its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_and_is_encrypted_unless_it_is_here() {
        for (given, form) in [
            ("hansard.example", "https://hansard.example"),
            ("https://hansard.example/", "https://hansard.example"),
            ("Hansard.Example:8443", "https://hansard.example:8443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(address(given).unwrap(), form);
        }
        for bad in [
            "http://hansard.example",
            "https://u:p@hansard.example",
            "https://hansard.example/x",
            "https://hansard.example/?x",
            "ftp://localhost",
            "",
            "https://",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
