//! Asking the issuer: its discovery document, then its keys, over HTTPS and with limits on everything; or the file that
//! holds its keys, for an issuer that cannot be asked.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::IdentityError;
use super::claims::marks_development;
use super::keys::KeySet;
use super::refusal::quoted;
use super::settings::{IssuerSettings, KeysAt};
use crate::model::Sha256;

/// OpenID Connect Discovery §4: where an issuer describes itself.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// A client waits for its sign-in meanwhile, and most give up after 10 to 30 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest key sets in use are some 30 KiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Where an issuer's keys are, and how we get at them.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Issuer(PublishedAt),
    File(PathBuf),
}

/// Where an issuer publishes its keys.
#[derive(Debug)]
struct PublishedAt {
    /// What its document may call it.
    names: Vec<String>,
    asker: Asker,
}

/// How an issuer is asked for anything.
#[derive(Debug)]
pub(super) struct Asker {
    name: String,
    discovery: Url,
    client: Client,
}

/// What an issuer published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) keys: KeySet,
    /// The issuer calls itself a development issuer.
    pub(super) development: bool,
    /// How long it wants the keys to be kept.
    pub(super) keep: Option<Duration>,
    /// Of the key set as it came, to see whether it changed.
    pub(super) digest: Sha256,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    #[serde(rename = "hansard_dev")]
    development: Option<Value>,
}

impl Source {
    pub(super) fn new(settings: &IssuerSettings) -> Result<Self, IdentityError> {
        let of = match &settings.keys {
            KeysAt::Discovery(url) => {
                Of::Issuer(PublishedAt { names: settings.names_in_documents(), asker: Asker::new(settings, url)? })
            }
            KeysAt::File(path) => Of::File(path.clone()),
        };
        Ok(Self { name: settings.name.clone(), of })
    }

    /// The issuer's name in config.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether to get at the keys takes next to nothing and can be done each time.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.of, Of::File(_))
    }

    /// Gets the keys.
    pub(super) async fn fetch(&self) -> Result<Published, IdentityError> {
        match &self.of {
            Of::Issuer(issuer) => issuer.fetch().await,
            Of::File(path) => self.read(path).await,
        }
    }

    async fn read(&self, path: &Path) -> Result<Published, IdentityError> {
        let wrong = |reason| IdentityError::KeyFile { issuer: self.name.clone(), path: path.to_owned(), reason };
        let file = path.to_owned();
        let read = tokio::task::spawn_blocking(move || read_file(&file)).await;
        let body = read.map_err(|error| wrong(error.to_string()))?.map_err(wrong)?;
        let keys = KeySet::parse(&body).map_err(wrong)?;
        Ok(Published { keys, development: false, keep: None, digest: Sha256::of(&body) })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() > MAX_BODY_BYTES { Err(format!("it is larger than {MAX_BODY_BYTES} bytes")) } else { Ok(body) }
}

impl PublishedAt {
    /// Asks the issuer for its keys.
    async fn fetch(&self) -> Result<Published, IdentityError> {
        let (body, _) = self.asker.get(&self.asker.discovery).await?;
        let wrong = |reason| self.asker.wrong(&self.asker.discovery, reason);
        let document: Document =
            serde_json::from_slice(&body).map_err(|error| wrong(format!("no discovery document: {error}")))?;
        if !self.names.contains(&document.issuer) {
            let ours = self.names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" or ");
            return Err(wrong(format!(
                "it names the issuer {}, config names {ours}; they must be the same to the letter",
                quoted(&document.issuer),
            )));
        }
        let keys_at = self.asker.safe("jwks_uri", &document.jwks_uri).map_err(wrong)?;
        let (body, keep) = self.asker.get(&keys_at).await?;
        let keys = KeySet::parse(&body).map_err(|reason| self.asker.wrong(&keys_at, reason))?;
        let development = marks_development(document.development.as_ref());
        Ok(Published { keys, development, keep, digest: Sha256::of(&body) })
    }
}

impl Asker {
    /// For an issuer that has a discovery document.
    pub(super) fn of(settings: &IssuerSettings) -> Result<Self, IdentityError> {
        match &settings.keys {
            KeysAt::Discovery(url) => Self::new(settings, url),
            KeysAt::File(_) => {
                let reason = "an issuer whose keys are in a file is not asked anything".to_owned();
                Err(IdentityError::Client { issuer: settings.name.clone(), reason })
            }
        }
    }

    fn new(settings: &IssuerSettings, url: &str) -> Result<Self, IdentityError> {
        let name = settings.name.clone();
        let (_, discovery) =
            discovery_url(url).map_err(|reason| IdentityError::Client { issuer: name.clone(), reason })?;
        let mut builder = asked_at(&discovery);
        if let Some(path) = &settings.ca_file {
            let blame = |reason| IdentityError::CaFile { issuer: name.clone(), path: path.clone(), reason };
            let roots = authorities(path).map_err(blame)?;
            builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client =
            builder.build().map_err(|error| IdentityError::Client { issuer: name.clone(), reason: chain(&error) })?;
        Ok(Self { name, discovery, client })
    }

    /// Plain HTTP is for an issuer on this machine only; one that is asked over HTTPS cannot lead us away from it.
    pub(super) fn safe(&self, what: &str, at: &str) -> Result<Url, String> {
        let url = Url::parse(at).map_err(|error| format!("its {what} is no URL: {error}"))?;
        let plain_here = url.scheme() == "http" && is_loopback(&url) && self.discovery.scheme() == "http";
        if url.scheme() == "https" || plain_here {
            Ok(url)
        } else {
            Err(format!("its {what} {} is not https", quoted(at)))
        }
    }

    async fn get(&self, url: &Url) -> Result<(Vec<u8>, Option<Duration>), IdentityError> {
        self.answer(self.client.get(url.clone()), url).await
    }

    /// How to ask for the document, or at another address of the issuer.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Where its document is.
    pub(super) fn discovery(&self) -> &Url {
        &self.discovery
    }

    /// What is answered to a request at `url`, and for how long it may be kept.
    pub(super) async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        url: &Url,
    ) -> Result<(Vec<u8>, Option<Duration>), IdentityError> {
        let away = |error: reqwest::Error| IdentityError::Away {
            issuer: self.name.clone(),
            url: url.to_string(),
            reason: chain(&error.without_url()),
        };
        let mut response = request.send().await.map_err(away)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => {
                return Err(self.wrong(url, format!("it answers {status}; redirects are not followed")));
            }
            status => {
                let reason = format!("it answers {status}");
                return Err(IdentityError::Away { issuer: self.name.clone(), url: url.to_string(), reason });
            }
        }
        let keep = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(self.wrong(url, format!("it is larger than {MAX_BODY_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, keep))
    }

    fn wrong(&self, url: &Url, reason: String) -> IdentityError {
        IdentityError::Document { issuer: self.name.clone(), url: url.to_string(), reason }
    }
}

/// The issuer's name and the address of its discovery document, from either of them.
pub(super) fn discovery_url(setting: &str) -> Result<(String, Url), String> {
    let issuer = setting.strip_suffix(WELL_KNOWN).unwrap_or(setting);
    let address = format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer));
    let url = Url::parse(&address).map_err(|error| format!("{} is no URL: {error}", quoted(setting)))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("an issuer's URL has no user, query or fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok((issuer.to_owned(), url)),
        "http" if is_loopback(&url) => Ok((issuer.to_owned(), url)),
        _ => Err(format!("{} must start with https:// (http:// is for an issuer on this machine)", quoted(setting))),
    }
}

/// How whoever is at this address is asked: with limits on everything, and led nowhere else.
pub(super) fn asked_at(url: &Url) -> reqwest::ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("hansard/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT);
    // What is on this machine is never asked for through somebody else's.
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

/// The authorities in a file, of which there is at least one.
pub(super) fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| chain(&error))?;
    if roots.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(roots) }
}

/// Whether the URL leads to this machine. `localhost` never leaves it (RFC 6761).
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The `max-age` of a Cache-Control header.
fn max_age(header: &str) -> Option<Duration> {
    let seconds = header.split(',').find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}

/// An error with its causes: reqwest's own text leaves out what went wrong.
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
    use super::super::claims::DEVELOPMENT;
    use super::*;

    #[test]
    fn the_issuer_and_its_document_are_found_from_either() {
        for (setting, issuer, url) in [
            ("https://a.example", "https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/", "https://a.example/.well-known/openid-configuration"),
            (
                "https://a.example/t/v2.0",
                "https://a.example/t/v2.0",
                "https://a.example/t/v2.0/.well-known/openid-configuration",
            ),
            (
                "https://a.example/t/.well-known/openid-configuration",
                "https://a.example/t",
                "https://a.example/t/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(discovery_url(setting), Ok((issuer.to_owned(), Url::parse(url).unwrap())));
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in ["http://127.0.0.1:8911", "http://localhost:1/x", "http://[::1]:80", "http://127.9.9.9"] {
            assert!(discovery_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://issuer.example",
            "http://127.0.0.1.issuer.example",
            "http://localhost.issuer.example",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
            "https://user@issuer.example",
            "https://issuer.example?tenant=1",
            "https://issuer.example#x",
            "issuer.example",
            "",
        ] {
            assert!(discovery_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_issuer_asked_over_https_cannot_lead_to_plain_http() {
        let source = |discovery: &str| Asker::new(&super::super::fixtures::settings(), discovery).unwrap();
        let far = source("https://issuer.example");
        assert!(far.safe("jwks_uri", "https://keys.example/jwks").is_ok());
        for bad in ["http://keys.example/jwks", "http://127.0.0.1/jwks", "file:///etc/passwd", "", "jwks"] {
            assert!(far.safe("jwks_uri", bad).is_err(), "{bad}");
        }
        let near = source("http://127.0.0.1:1");
        assert!(near.safe("jwks_uri", "http://127.0.0.1:2/jwks").is_ok());
        assert!(near.safe("jwks_uri", "http://keys.example/jwks").is_err());
    }

    #[test]
    fn max_age_is_read_from_cache_control() {
        let seconds = |header| max_age(header).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=3600, must-revalidate"), Some(3600));
        assert_eq!(seconds("Max-Age = \"60\""), Some(60));
        for none in ["no-store", "max-age", "max-age=", "max-age=-1", "s-maxage=5", "max-age=99999999999999999999"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn the_development_mark_has_one_name() {
        let document = format!(r#"{{"issuer":"i","jwks_uri":"j","{DEVELOPMENT}":true}}"#);
        let document: Document = serde_json::from_str(&document).unwrap();
        assert!(marks_development(document.development.as_ref()));
    }
}
