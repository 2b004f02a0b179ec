//! The development issuer: an OpenID provider for the demo, so that it needs no account anywhere.
//!
//! It hands a token to whoever asks, so it must never be trusted outside the demo:
//!
//! * It listens on loopback only, and answers only to its own name there, so that no web page can be made to ask it.
//! * Its key is made anew for each run and never written down.
//! * Its document and each of its tokens say `"hansard_dev": true`, which [`crate::identity::Verifier`] refuses unless
//!   the settings allow it. [`DevelopmentIssuer::settings`] does; config has no key for it, so `serve` cannot.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::identity::{Algorithm, ClaimMap, IssuerSettings, KeysAt, Preset, install_crypto};
use crate::model::Clock;

/// How long its tokens live at most: long enough to look around, too short to be kept.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Somebody in the demo's story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// What to say to the issuer, as `client_id`.
    pub id: &'static str,
    /// `name`.
    pub name: &'static str,
    /// `email`.
    pub email: &'static str,
    /// `sub`.
    pub subject: &'static str,
    /// `roles`.
    pub role: &'static str,
}

/// An analyst: reads.
pub const ANA: Person =
    Person { id: "ana", name: "Ana", email: "ana@demo.example", subject: "demo-ana-9f2", role: "analyst" };
/// A developer: reads and writes.
pub const DEV: Person =
    Person { id: "dev", name: "Dev", email: "dev@demo.example", subject: "demo-dev-41c", role: "developer" };
/// A database administrator: changes tables.
pub const DORA: Person =
    Person { id: "dora", name: "Dora", email: "dora@demo.example", subject: "demo-dora-b07", role: "dba" };
/// An auditor: reads the record.
pub const OTTO: Person =
    Person { id: "otto", name: "Otto", email: "otto@demo.example", subject: "demo-otto-e63", role: "auditor" };
/// All of them.
pub const PEOPLE: [Person; 4] = [ANA, DEV, DORA, OTTO];

/// Why the development issuer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentIssuerError {
    /// The port cannot be had.
    #[error("the development issuer cannot listen on {address}: {source}")]
    Listen {
        /// Where it wanted to.
        address: SocketAddr,
        /// Why it cannot.
        source: io::Error,
    },
    /// A key could not be made.
    #[error("the development issuer cannot make a key: {0}")]
    Key(String),
    /// A token could not be signed.
    #[error("the development issuer cannot sign a token: {0}")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// An issuer that runs until it is dropped.
#[derive(Debug)]
pub struct DevelopmentIssuer {
    signer: Arc<Signer>,
    server: JoinHandle<()>,
}

/// What signs, and what is said about it.
#[derive(Debug)]
struct Signer {
    url: String,
    authority: String,
    audience: String,
    kid: String,
    key: EncodingKey,
    public: Value,
    clock: Arc<dyn Clock>,
}

impl DevelopmentIssuer {
    /// Starts it on a port of 127.0.0.1; 0 takes a free one. Tokens that are had over HTTP are for `audience`.
    ///
    /// # Errors
    ///
    /// The port is taken, or no key can be made.
    pub async fn start(port: u16, audience: &str, clock: Arc<dyn Clock>) -> Result<Self, DevelopmentIssuerError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let blame = |source| DevelopmentIssuerError::Listen { address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(blame)?;
        let authority = listener.local_addr().map_err(blame)?.to_string();
        let signer = Arc::new(Signer::new(authority, audience.to_owned(), clock)?);
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .layer(middleware::from_fn_with_state(Arc::clone(&signer), only_by_its_name))
            .with_state(Arc::clone(&signer));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the development issuer stopped");
            }
        });
        Ok(Self { signer, server })
    }

    /// The issuer's URL: `iss`, and the discovery setting.
    pub fn url(&self) -> &str {
        &self.signer.url
    }

    /// The settings by which the demo, and only the demo, trusts it.
    pub fn settings(&self) -> IssuerSettings {
        let [plain, ..] = Preset::ALL;
        IssuerSettings {
            keys: KeysAt::Discovery(self.signer.url.clone()),
            audience: vec![self.signer.audience.clone()],
            algorithms: vec![Algorithm::Es256],
            clock_skew: Duration::ZERO,
            max_token_age: Some(LIFETIME),
            claims: ClaimMap::default(),
            allow_development: true,
            ..plain.settings("demo")
        }
    }

    /// A token for a person, an audience and a time that is at most [`LIFETIME`].
    ///
    /// # Errors
    ///
    /// The signature failed.
    pub fn issue(&self, person: &Person, audience: &str, lifetime: Duration) -> Result<String, DevelopmentIssuerError> {
        self.signer.issue(person, audience, lifetime)
    }
}

impl Drop for DevelopmentIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Signer {
    fn new(authority: String, audience: String, clock: Arc<dyn Clock>) -> Result<Self, DevelopmentIssuerError> {
        install_crypto();
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| DevelopmentIssuerError::Key(error.to_string()))?;
        let key = EncodingKey::from_ec_der(pair.serialized_der());
        let unusable = |error: jsonwebtoken::errors::Error| DevelopmentIssuerError::Key(error.to_string());
        let mut jwk = Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::ES256).map_err(unusable)?;
        // Named after itself, so that a verifier which outlives a run cannot take one run's key for another's.
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(unusable)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        let public = serde_json::to_value(&jwk).map_err(|error| DevelopmentIssuerError::Key(error.to_string()))?;
        Ok(Self { url: format!("http://{authority}"), authority, audience, kid, key, public, clock })
    }

    fn issue(&self, person: &Person, audience: &str, lifetime: Duration) -> Result<String, DevelopmentIssuerError> {
        let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        let now = self.clock.now().seconds();
        let seconds = i64::try_from(lifetime.min(LIFETIME).as_secs()).unwrap_or(0);
        let claims = json!({
            "iss": self.url,
            "aud": audience,
            "sub": person.subject,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(seconds),
            "jti": format!("{:032x}", rand::random::<u128>()),
            "client_id": person.id,
            "name": person.name,
            "email": person.email,
            "roles": [person.role],
            "hansard_dev": true,
        });
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(DevelopmentIssuerError::Sign)
    }
}

/// Against DNS rebinding: a page whose name was made to point here still sends its own name.
async fn only_by_its_name(State(signer): State<Arc<Signer>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host == Some(signer.authority.as_str()) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "the development issuer answers to its own address only\n").into_response()
    }
}

async fn discovery(State(signer): State<Arc<Signer>>) -> Json<Value> {
    let url = &signer.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}/token"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["none"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "hansard_dev": true,
    }))
}

async fn jwks(State(signer): State<Arc<Signer>>) -> Json<Value> {
    Json(json!({ "keys": [signer.public] }))
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_id: String,
}

async fn token(State(signer): State<Arc<Signer>>, Form(request): Form<TokenRequest>) -> Response {
    let refuse = |error: &str, description: &str| {
        let body = json!({ "error": error, "error_description": description });
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    if request.grant_type != "client_credentials" {
        return refuse("unsupported_grant_type", "grant_type is client_credentials here");
    }
    let Some(person) = PEOPLE.iter().find(|person| person.id == request.client_id) else {
        return refuse("invalid_client", "client_id is one of ana, dev, dora, otto");
    };
    match signer.issue(person, &signer.audience, LIFETIME) {
        Ok(token) => {
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": LIFETIME.as_secs() });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "no token was issued");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::identity::{Cause, IdentityError, Verifier};
    use crate::model::{Credential, Timestamp};

    const AUDIENCE: &str = "hansard-demo";

    #[derive(Debug)]
    struct FixedClock(i64);

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(self.0)
        }
    }

    fn at(offset: i64) -> Arc<dyn Clock> {
        Arc::new(FixedClock(1_795_512_766 + offset))
    }

    async fn start() -> DevelopmentIssuer {
        DevelopmentIssuer::start(0, AUDIENCE, at(0)).await.unwrap()
    }

    fn demo_at(issuer: &DevelopmentIssuer, offset: i64) -> Verifier {
        Verifier::new([issuer.settings()], at(offset)).unwrap()
    }

    fn credential(token: &str) -> Credential {
        Credential::new(token.as_bytes().to_vec())
    }

    /// Status and body of the answer to a request with this `Host`.
    async fn ask(issuer: &DevelopmentIssuer, request: &str, host: &str, form: &str) -> (String, String) {
        let mut socket = tokio::net::TcpStream::connect(&issuer.signer.authority).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn the_demo_believes_each_of_the_four_people() {
        let issuer = start().await;
        let verifier = demo_at(&issuer, 0);
        for person in PEOPLE {
            let token = issuer.issue(&person, AUDIENCE, LIFETIME).unwrap();
            let principal = verifier.verify(credential(&token)).await.unwrap();
            assert_eq!((principal.subject.as_str(), principal.name()), (person.subject, person.name));
            assert_eq!((principal.email.as_deref(), principal.roles), (Some(person.email), vec![person.role.into()]));
        }
    }

    #[tokio::test]
    async fn nobody_else_believes_them() {
        let issuer = start().await;
        // What `serve` makes of any config: the field has no key there, and is false.
        let settings = IssuerSettings { allow_development: false, ..issuer.settings() };
        let serve = Verifier::new([settings], at(0)).unwrap();
        assert!(matches!(serve.warm().await, Err(IdentityError::DevelopmentIssuer { .. })));
        let token = issuer.issue(&ANA, AUDIENCE, LIFETIME).unwrap();
        assert_eq!(serve.verify(credential(&token)).await.unwrap_err().cause, Cause::DevelopmentIssuer);
    }

    #[tokio::test]
    async fn a_token_lives_fifteen_minutes_at_most() {
        let issuer = start().await;
        let token = issuer.issue(&DORA, AUDIENCE, Duration::from_secs(86_400)).unwrap();
        assert!(demo_at(&issuer, 899).verify(credential(&token)).await.is_ok());
        let refusal = demo_at(&issuer, 900).verify(credential(&token)).await.unwrap_err();
        assert_eq!(refusal.cause, Cause::Expired);
        let brief = issuer.issue(&DORA, AUDIENCE, Duration::from_secs(1)).unwrap();
        assert_eq!(demo_at(&issuer, 1).verify(credential(&brief)).await.unwrap_err().cause, Cause::Expired);
        let other = issuer.issue(&DORA, "somewhere-else", LIFETIME).unwrap();
        assert_eq!(demo_at(&issuer, 0).verify(credential(&other)).await.unwrap_err().cause, Cause::WrongAudience);
    }

    #[tokio::test]
    async fn each_run_has_a_key_of_its_own() {
        let (one, other) = (start().await, start().await);
        assert_ne!(one.signer.kid, other.signer.kid);
        assert_ne!(one.signer.public, other.signer.public);
        assert!(one.signer.public.get("d").is_none(), "the private half is published");
    }

    #[tokio::test]
    async fn a_token_can_be_had_over_http_by_name() {
        let issuer = start().await;
        let host = issuer.signer.authority.clone();
        let verifier = demo_at(&issuer, 0);
        for person in PEOPLE {
            let form = format!("grant_type=client_credentials&client_id={}", person.id);
            let (status, body) = ask(&issuer, "POST /token", &host, &form).await;
            assert_eq!(status, "200", "{body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let token = body["access_token"].as_str().unwrap();
            assert_eq!(verifier.verify(credential(token)).await.unwrap().subject, person.subject);
            assert_eq!(body["expires_in"], 900);
        }
        for form in ["grant_type=client_credentials&client_id=eve", "grant_type=password&client_id=ana"] {
            assert_eq!(ask(&issuer, "POST /token", &host, form).await.0, "400", "{form}");
        }
        assert_eq!(ask(&issuer, "POST /token", &host, "client_id=ana").await.0, "422");
    }

    #[tokio::test]
    async fn it_is_here_only_and_answers_to_its_own_name_only() {
        let issuer = start().await;
        let address: SocketAddr = issuer.signer.authority.parse().unwrap();
        assert!(address.ip().is_loopback());
        let form = "grant_type=client_credentials&client_id=ana";
        for host in ["evil.example", "localhost", ""] {
            assert_eq!(ask(&issuer, "POST /token", host, form).await.0, "421", "{host}");
            assert_eq!(ask(&issuer, "GET /jwks", host, "").await.0, "421", "{host}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let issuer = start().await;
        let address: SocketAddr = issuer.signer.authority.parse().unwrap();
        let error = DevelopmentIssuer::start(address.port(), AUDIENCE, at(0)).await.unwrap_err();
        assert!(error.to_string().contains(&issuer.signer.authority), "{error}");
    }
}
