//! Promise 1, identity first: whom the verifier believes, with an issuer that really answers over HTTP.
//!
//! What a single token must be is tested beside the code (`src/identity/tests.rs`). Here stands what takes an issuer:
//! keys that change, an issuer that is away, and documents that are not what they should be; and what takes a running
//! Hansard: that each attack leaves a record.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test that fails says so by panicking")]

#[path = "identity_first/attacks.rs"]
mod attacks;
#[path = "identity_first/bearer.rs"]
mod bearer;
#[path = "identity_first/ended.rs"]
mod ended;
#[path = "identity_first/issuers.rs"]
mod issuers;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hansard::identity::{Algorithm, Cause, IdentityError, IssuerSettings, KeysAt, Pace, Preset, Verifier};
use hansard::model::{Clock, Credential, Timestamp};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const NOW: i64 = 1_795_512_766;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(NOW)
    }
}

/// An issuer on loopback. What it answers can be changed while it runs, and it counts how often it was asked.
struct Issuer {
    url: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

struct Answers {
    discovery: Answer,
    keys: Answer,
    delay: Duration,
}

#[derive(Clone)]
enum Answer {
    Json(Value),
    Redirect(String),
    Status(u16),
    Bytes(usize),
}

type Shared = (Arc<Mutex<Answers>>, Arc<AtomicUsize>);

impl Issuer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers {
            discovery: Answer::Json(json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") })),
            keys: Answer::Json(json!({ "keys": [es256("first")] })),
            delay: Duration::ZERO,
        }));
        let asked = Arc::new(AtomicUsize::new(0));
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .with_state((Arc::clone(&answers), Arc::clone(&asked)));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, answers, asked, server }
    }

    fn settings(&self) -> IssuerSettings {
        settings(KeysAt::Discovery(self.url.clone()))
    }

    fn verifier(&self, pace: Pace) -> Verifier {
        Verifier::with_pace([self.settings()], Arc::new(FixedClock), pace).unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn token(&self, kid: &str) -> Credential {
        token_of(&self.url, kid, &key())
    }

    /// The port is free again when this returns, and nobody answers there.
    async fn go_away(&mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
        // Connections that were accepted live in tasks of their own; this makes them answer like a broken proxy.
        self.set(|answers| (answers.discovery, answers.keys) = (Answer::Status(503), Answer::Status(503)));
    }
}

/// The settings of an issuer whose keys are there.
fn settings(keys: KeysAt) -> IssuerSettings {
    IssuerSettings {
        keys,
        audience: vec!["hansard".to_owned()],
        algorithms: vec![Algorithm::Es256],
        clock_skew: Duration::from_secs(30),
        ..Preset::ALL[0].settings("test")
    }
}

/// A token of somebody called ana.
fn token_of(iss: &str, kid: &str, key: &EncodingKey) -> Credential {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    let claims = json!({ "iss": iss, "aud": "hansard", "sub": "ana", "exp": NOW + 600 });
    Credential::new(jsonwebtoken::encode(&header, &claims, key).unwrap().into_bytes())
}

async fn discovery(State((answers, _)): State<Shared>) -> Response {
    let answer = answers.lock().unwrap().discovery.clone();
    answer.into_response()
}

async fn keys(State((answers, asked)): State<Shared>) -> Response {
    asked.fetch_add(1, Ordering::SeqCst);
    let (answer, delay) = {
        let answers = answers.lock().unwrap();
        (answers.keys.clone(), answers.delay)
    };
    tokio::time::sleep(delay).await;
    answer.into_response()
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(value) => axum::Json(value).into_response(),
            Self::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            Self::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Self::Bytes(count) => vec![b' '; count].into_response(),
        }
    }
}

fn key() -> EncodingKey {
    EncodingKey::from_ec_pem(include_bytes!("../fixtures/tokens/es256.pem")).unwrap()
}

/// A key that nobody has yet.
fn p256() -> Vec<u8> {
    rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes()
}

/// The same key under any name.
fn es256(kid: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(&key(), jsonwebtoken::Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn hurried() -> Pace {
    Pace { between_fetches: Duration::ZERO, between_attempts: Duration::ZERO, ..Pace::default() }
}

async fn cause(verifier: &Verifier, token: Credential) -> Option<Cause> {
    verifier.verify(token).await.err().map(|refusal| refusal.cause)
}

#[tokio::test]
async fn the_first_token_fetches_the_keys_and_later_ones_use_them() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(Pace::default());
    for _ in 0..10 {
        assert_eq!(verifier.verify(issuer.token("first")).await.unwrap().subject, "ana");
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn clients_that_come_together_at_the_start_share_one_answer() {
    let issuer = Issuer::start().await;
    // Without any floor: what keeps them from asking is that they were answered.
    let verifier = issuer.verifier(hurried());
    issuer.set(|answers| answers.delay = Duration::from_millis(100));
    let all = (0..50).map(|_| cause(&verifier, issuer.token("first")));
    assert!(futures::future::join_all(all).await.iter().all(Option::is_none));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_by_its_unknown_name_and_a_withdrawn_one_is_forgotten() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(hurried());
    verifier.warm().await.unwrap();
    issuer.set(|answers| answers.keys = Answer::Json(json!({ "keys": [es256("second")] })));
    assert_eq!(cause(&verifier, issuer.token("second")).await, None);
    assert_eq!(issuer.asked(), 2);
    assert_eq!(cause(&verifier, issuer.token("first")).await, Some(Cause::UnknownKey));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_unknown_keys_at_once_make_one_question() {
    let issuer = Arc::new(Issuer::start().await);
    // Nothing was fetched yet: all of them wait for the first answer, and none may ask again within the floor.
    let verifier = Arc::new(issuer.verifier(Pace::default()));
    issuer.set(|answers| answers.delay = Duration::from_millis(200));
    let all: Vec<_> = (0..1000)
        .map(|number| {
            let (verifier, token) = (Arc::clone(&verifier), issuer.token(&format!("invented-{number}")));
            tokio::spawn(async move { verifier.verify(token).await.unwrap_err().cause })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Cause::UnknownKey);
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_keys_after_the_floor_share_one_question_and_those_within_it_make_none() {
    let issuer = Arc::new(Issuer::start().await);
    let floor = Duration::from_secs(2);
    let verifier = Arc::new(issuer.verifier(Pace { between_fetches: floor, ..Pace::default() }));
    verifier.warm().await.unwrap();
    assert_eq!(cause(&verifier, issuer.token("early")).await, Some(Cause::UnknownKey));
    assert_eq!(issuer.asked(), 1);
    tokio::time::sleep(floor).await;
    issuer.set(|answers| answers.delay = Duration::from_millis(200));
    let all: Vec<_> = (0..1000)
        .map(|number| {
            let (verifier, token) = (Arc::clone(&verifier), issuer.token(&format!("invented-{number}")));
            tokio::spawn(async move { verifier.verify(token).await.is_err() })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(issuer.asked(), 2);
}

/// Half a minute made a second: what 10,000 tokens with invented keys do in a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_unknown_keys_in_a_minute_make_no_storm() {
    let issuer = Arc::new(Issuer::start().await);
    let floor = Duration::from_secs(1);
    let verifier = Arc::new(issuer.verifier(Pace { between_fetches: floor, ..Pace::default() }));
    verifier.warm().await.unwrap();
    let tokens: Vec<Credential> = (0..10_000).map(|number| issuer.token(&format!("invented-{number}"))).collect();
    let began = std::time::Instant::now();
    let mut tokens = tokens.into_iter();
    for wave in 0..20 {
        let next: Vec<_> = tokens.by_ref().take(500).collect();
        let running = next.into_iter().map(|token| {
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.verify(token).await.unwrap_err().cause })
        });
        for one in running.collect::<Vec<_>>() {
            assert_eq!(one.await.unwrap(), Cause::UnknownKey);
        }
        let due = floor * 2 * (wave + 1) / 20;
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    let floors = began.elapsed().as_millis() / floor.as_millis();
    let asked = issuer.asked();
    assert!((2..=2 + floors).contains(&(asked as u128)), "asked {asked} times in {floors} times the floor");
    assert_eq!(cause(&verifier, issuer.token("first")).await, None, "who has a good token is let in all the while");
}

/// Everybody with a key that is published is let in at every moment of a rotation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_under_load_and_nobody_is_turned_away() {
    let issuer = Arc::new(Issuer::start().await);
    let verifier = Arc::new(issuer.verifier(hurried()));
    verifier.warm().await.unwrap();
    for generation in 0..5 {
        let (old, new) = (kid(generation), kid(generation + 1));
        issuer.set(|answers| answers.keys = Answer::Json(json!({ "keys": [es256(&old), es256(&new)] })));
        let running: Vec<_> = (0..400)
            .map(|number| {
                let token = issuer.token(if number % 2 == 0 { &old } else { &new });
                let verifier = Arc::clone(&verifier);
                tokio::spawn(async move { verifier.verify(token).await.map(|who| who.subject) })
            })
            .collect();
        for one in running {
            assert_eq!(one.await.unwrap().unwrap(), "ana");
        }
        issuer.set(|answers| answers.keys = Answer::Json(json!({ "keys": [es256(&new)] })));
    }
    assert_eq!(cause(&verifier, issuer.token(&kid(5))).await, None);
    assert_eq!(cause(&verifier, issuer.token("never")).await, Some(Cause::UnknownKey));
    assert_eq!(cause(&verifier, issuer.token(&kid(4))).await, Some(Cause::UnknownKey), "it was withdrawn");
}

fn kid(generation: u32) -> String {
    if generation == 0 { "first".to_owned() } else { format!("key-{generation}") }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_issuer_is_asked_takes_nothing_from_the_next() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(Pace::default());
    issuer.set(|answers| answers.delay = Duration::from_millis(300));
    let impatient = tokio::time::timeout(Duration::from_millis(50), verifier.verify(issuer.token("first"))).await;
    assert!(impatient.is_err(), "the issuer answered sooner than it was told to");
    assert_eq!(cause(&verifier, issuer.token("first")).await, None);
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn keys_are_kept_while_the_issuer_is_away_but_not_for_ever() {
    let mut issuer = Issuer::start().await;
    let brief = Duration::from_millis(1);
    let stale = Pace { fresh_at_least: brief, fresh_at_most: brief, ..hurried() };
    let patient = issuer.verifier(stale);
    let strict = IssuerSettings { keep_when_away: Duration::from_millis(50), ..issuer.settings() };
    let strict = Verifier::with_pace([strict], Arc::new(FixedClock), stale).unwrap();
    for verifier in [&patient, &strict] {
        verifier.warm().await.unwrap();
    }
    issuer.go_away().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..3 {
        assert_eq!(cause(&patient, issuer.token("first")).await, None);
    }
    let refusal = strict.verify(issuer.token("first")).await.unwrap_err();
    assert_eq!(refusal.cause, Cause::IssuerAway);
    assert!(!refusal.detail.is_empty());
}

#[tokio::test]
async fn stale_keys_are_renewed_behind_the_scenes() {
    let issuer = Issuer::start().await;
    let brief = Duration::from_millis(1);
    let verifier = issuer.verifier(Pace { fresh_at_least: brief, fresh_at_most: brief, ..hurried() });
    verifier.warm().await.unwrap();
    issuer.set(|answers| {
        answers.keys = Answer::Json(json!({ "keys": [es256("first"), es256("second")] }));
        answers.delay = Duration::from_secs(5);
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = std::time::Instant::now();
    assert_eq!(cause(&verifier, issuer.token("first")).await, None);
    assert!(began.elapsed() < Duration::from_secs(3), "the client waited for the issuer");
    for _ in 0..100 {
        if issuer.asked() > 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody asked the issuer for new keys");
}

#[tokio::test]
async fn an_issuer_that_was_away_at_the_start_is_asked_again() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(hurried());
    let good = issuer.answers.lock().unwrap().discovery.clone();
    issuer.set(|answers| answers.discovery = Answer::Status(503));
    assert!(matches!(verifier.warm().await, Err(IdentityError::Away { .. })));
    assert_eq!(cause(&verifier, issuer.token("first")).await, Some(Cause::IssuerAway));
    issuer.set(|answers| answers.discovery = good);
    assert_eq!(cause(&verifier, issuer.token("first")).await, None);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_asked_by_every_client() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(Pace::default());
    issuer.set(|answers| answers.keys = Answer::Status(500));
    for _ in 0..20 {
        assert_eq!(cause(&verifier, issuer.token("first")).await, Some(Cause::IssuerAway));
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn https_is_believed_by_the_configured_root_and_by_no_unknown_one() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(&ca_file, certificate.pem()).unwrap();
    let (url, asked) = over_tls(certificate.der().to_vec(), key.serialize_der()).await;

    let plain = Issuer::start().await;
    let keys = || KeysAt::Discovery(url.clone());
    let settings = |ca_file| [IssuerSettings { keys: keys(), ca_file, ..plain.settings() }];
    let stranger = Verifier::new(settings(None), Arc::new(FixedClock)).unwrap();
    let said = stranger.warm().await.unwrap_err().to_string();
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "a request went out before the certificate was believed");
    Verifier::new(settings(Some(ca_file)), Arc::new(FixedClock)).unwrap().warm().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// An issuer over TLS, one request for each connection; says where it is and how often it was asked.
async fn over_tls(certificate: Vec<u8>, key: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)))
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, issuer) = (Arc::clone(&asked), url.clone());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let body = if request[..read].starts_with(b"GET /jwks ") {
                json!({ "keys": [es256("first")] }).to_string()
            } else {
                json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") }).to_string()
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (url, asked)
}

/// What `warm` says when the issuer answers like this.
async fn complaint(change: impl FnOnce(&str, &mut Answers)) -> String {
    let issuer = Issuer::start().await;
    issuer.set(|answers| change(&issuer.url, answers));
    let verifier = issuer.verifier(hurried());
    let said = verifier.warm().await.unwrap_err().to_string();
    let refused = cause(&verifier, issuer.token("first")).await.unwrap();
    assert!(
        matches!(refused, Cause::IssuerAway | Cause::DevelopmentIssuer | Cause::UnknownKey),
        "a token was refused as {refused}"
    );
    said
}

#[tokio::test]
async fn a_document_that_names_another_issuer_is_not_believed() {
    for other in ["https://issuer.example".to_owned(), String::new()] {
        let said = complaint(|url, answers| {
            answers.discovery = Answer::Json(json!({ "issuer": other, "jwks_uri": format!("{url}/jwks") }));
        })
        .await;
        assert!(said.contains("names the issuer"), "{said}");
    }
    let said = complaint(|url, answers| {
        answers.discovery = Answer::Json(json!({ "issuer": format!("{url}/"), "jwks_uri": format!("{url}/jwks") }));
    })
    .await;
    assert!(said.contains("to the letter"), "{said}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Issuer::start().await;
    let said = complaint(|_, answers| answers.keys = Answer::Redirect(format!("{}/jwks", elsewhere.url))).await;
    assert!(said.contains("redirects are not followed"), "{said}");
    let there = format!("{}/.well-known/openid-configuration", elsewhere.url);
    let said = complaint(|_, answers| answers.discovery = Answer::Redirect(there)).await;
    assert!(said.contains("redirects are not followed"), "{said}");
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn documents_have_a_limit() {
    let said = complaint(|_, answers| answers.discovery = Answer::Bytes(1024 * 1024 + 1)).await;
    assert!(said.contains("larger than 1048576 bytes"), "{said}");
    let said = complaint(|_, answers| answers.keys = Answer::Bytes(64 * 1024 * 1024)).await;
    assert!(said.contains("larger than 1048576 bytes"), "{said}");
}

#[tokio::test]
async fn keys_are_not_fetched_over_plain_http_from_elsewhere() {
    for uri in ["http://keys.example/jwks", "http://10.0.0.1/jwks", "ftp://127.0.0.1/jwks"] {
        let said = complaint(|url, answers| {
            answers.discovery = Answer::Json(json!({ "issuer": url, "jwks_uri": uri }));
        })
        .await;
        assert!(said.contains("is not https"), "{said}");
    }
}

#[tokio::test]
async fn an_issuer_without_usable_keys_or_for_development_is_told_at_the_start() {
    let said = complaint(|_, answers| answers.keys = Answer::Json(json!({ "keys": [] }))).await;
    assert!(said.contains("publishes no key"), "{said}");
    let said = complaint(|_, answers| {
        if let Answer::Json(document) = &mut answers.discovery {
            document["hansard_dev"] = json!(true);
        }
    })
    .await;
    assert!(said.contains("development issuer"), "{said}");
}
