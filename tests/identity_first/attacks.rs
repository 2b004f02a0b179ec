//! Tokens that somebody made up to get in, at a running Hansard: each is refused for its own reason and is on record, before
//! the database or anybody whom the token names is asked anything.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::support::{Hansard, Issuer, Postgres, connect};
use super::{es256, key, p256};

const ISS: &str = "https://attacked.example";

/// A token somebody made, what it is called in the record, and why it is refused.
type Attack = (&'static str, String, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_for_its_own_reason_and_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let hansard = attacked(folder.path());
    let (elsewhere, asked) = theirs();
    let attacks = [headers(&elsewhere), algorithms(), claims(), kinds(), issuers()].concat();
    for (application, token, _) in &attacks {
        let refusal = connect(&hansard.login_by(token.clone(), application)).await.err();
        let refusal = refusal.unwrap_or_else(|| panic!("{application} was let in"));
        let refusal = refusal.as_db_error().unwrap_or_else(|| panic!("{application}: {refusal:?}"));
        assert_eq!(refusal.code().code(), "28P01", "{application}: {refusal:?}");
        assert!(refusal.message().starts_with("hansard:"), "{application}: {refusal:?}");
    }
    let sql = "select application, reason, sqlstate, subject from sessions where kind = 'refused'";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= attacks.len());
    assert_eq!(rows.len(), attacks.len(), "{rows:?}");
    for (application, token, cause) in &attacks {
        let expected = json!({ "application": application, "reason": cause, "sqlstate": "28P01", "subject": null });
        assert!(rows.contains(&expected), "{application}: {:?}", row_of(&rows, application));
        assert!(Postgres::shared().logged(application, 0).is_empty(), "{application} reached the database");
        let signature = token.rsplit('.').next().filter(|part| part.len() > 16);
        assert!(!signature.is_some_and(|part| hansard.log().contains(part)), "{application} is in the log");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "somebody went where a token sent them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_of_two_issuers_is_two_principals_and_a_workload_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let hansard = attacked(folder.path());
    let of = |changes: Value| signed(&json!({ "alg": "ES256", "kid": "first" }), &good(&changes), &key());
    let logins = [
        hansard.login("ana", "by-main"),
        hansard.login_by(of(json!({ "sub": "u-ana" })), "by-other"),
        hansard.login_by(of(json!({ "sub": "nightly", "client": "robot" })), "by-robot"),
    ];
    for login in &logins {
        connect(login).await.unwrap().simple_query("select 1").await.unwrap();
    }
    let rows = |table: &str| {
        let sql = format!("select application, issuer, subject, principal_kind from {table} order by application");
        hansard.archive().query_until(&sql, |rows| rows.len() >= 3)
    };
    let expected = [
        row("by-main", Issuer::shared().url(), "u-ana", "person"),
        row("by-other", ISS, "u-ana", "person"),
        row("by-robot", ISS, "nightly", "workload"),
    ];
    assert_eq!(rows("statements"), expected);
    assert_eq!(rows("sessions"), expected);
}

fn row(application: &str, issuer: &str, subject: &str, kind: &str) -> Value {
    json!({ "application": application, "issuer": issuer, "subject": subject, "principal_kind": kind })
}

/// A Hansard with a second issuer, whose keys are in a file and known here.
fn attacked(folder: &Path) -> Hansard {
    hansard::identity::install_crypto();
    let keys = folder.join("keys.json");
    std::fs::write(&keys, json!({ "keys": [es256("first"), rsa_jwk()] }).to_string()).unwrap();
    let sections = format!(
        "[issuer.attacked]\nissuer = \"{ISS}\"\njwks_file = \"{}\"\naudience = \"api://hansard\"\n\
         [identity.attacked]\nworkload = {{ client = \"robot\" }}\n\n[identity.main]",
        keys.display()
    );
    Hansard::start_edited(&|config| config.replace("[identity.main]", &sections))
}

/// A server of the attacker's, and how often somebody came.
fn theirs() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, asked)
}

/// Headers that say where to find the key, or what it is.
fn headers(elsewhere: &str) -> Vec<Attack> {
    let own = EncodingKey::from_ec_pem(&p256()).unwrap();
    let own_jwk =
        serde_json::to_value(jsonwebtoken::jwk::Jwk::from_encoding_key(&own, Algorithm::ES256).unwrap()).unwrap();
    let with =
        |changes: Value| signed(&merged(json!({ "alg": "ES256", "kid": "first" }), &changes), &good(&json!({})), &own);
    let kid = |kid: &str| signed(&json!({ "alg": "ES256", "kid": kid }), &good(&json!({})), &key());
    vec![
        ("jku", with(json!({ "jku": format!("{elsewhere}/jwks") })), "bad_signature"),
        ("jku-own-kid", with(json!({ "jku": format!("{elsewhere}/jwks"), "kid": "theirs" })), "unknown_key"),
        ("x5u", with(json!({ "x5u": format!("{elsewhere}/cert.pem") })), "bad_signature"),
        ("jwk", with(json!({ "jwk": own_jwk })), "bad_signature"),
        ("jwk-without-kid", with(json!({ "jwk": own_jwk, "kid": null })), "bad_signature"),
        ("kid-path", kid("../../../../../../dev/null"), "unknown_key"),
        ("kid-sql", kid("first' OR '1'='1"), "unknown_key"),
        ("kid-url", kid(&format!("{elsewhere}/jwks")), "unknown_key"),
        ("kid-long", kid(&"first".repeat(2_000)), "unknown_key"),
        ("kid-blank", kid("first "), "unknown_key"),
        ("crit", signed_ours(&json!({ "crit": ["b64"], "b64": false })), "critical_header"),
        (
            "alg-twice",
            signed_text(r#"{"alg":"none","alg":"ES256","kid":"first"}"#, &good(&json!({})).to_string()),
            "not_a_token",
        ),
    ]
}

fn algorithms() -> Vec<Attack> {
    let message = |header: &Value| format!("{}.{}", part(header), part(&good(&json!({}))));
    let none = format!("{}.", message(&json!({ "alg": "none" })));
    // The public key, which everybody has, taken for a shared secret.
    let public = serde_json::to_vec(&rsa_jwk()).unwrap();
    let shared = message(&json!({ "alg": "HS256", "kid": "rsa" }));
    let secret = EncodingKey::from_secret(&public);
    let signature = jsonwebtoken::crypto::sign(shared.as_bytes(), &secret, Algorithm::HS256).unwrap();
    let encrypted = json!({ "alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": "rsa" });
    vec![
        ("alg-none", none, "algorithm_not_allowed"),
        ("alg-hs256", format!("{shared}.{signature}"), "algorithm_not_allowed"),
        ("alg-of-other-key", signed_ours(&json!({ "kid": "rsa" })), "unknown_key"),
        ("jwe", format!("{}.a2V5.aXY.dGV4dA.dGFn", part(&encrypted)), "not_a_token"),
        ("jwe-in-three", format!("{}.c2ln", message(&encrypted)), "algorithm_not_allowed"),
    ]
}

fn claims() -> Vec<Attack> {
    let with = |changes: Value| signed(&json!({ "alg": "ES256", "kid": "first" }), &good(&changes), &key());
    let text = |claims: String| signed_text(r#"{"alg":"ES256","kid":"first"}"#, &claims);
    let begun = |more: &str| good(&json!({})).to_string().replacen('{', &format!("{{{more},"), 1);
    let nested = with(json!({}));
    vec![
        ("sub-twice", text(begun(r#""sub":"root""#)), "claim_malformed"),
        ("sub-twice-escaped", text(begun(r#""s\u0075b":"root""#)), "claim_malformed"),
        ("exp-twice", text(begun(r#""exp":1"#)), "claim_malformed"),
        (
            "exp-beyond-numbers",
            text(good(&json!({ "exp": null })).to_string().replacen('{', r#"{"exp":1e999,"#, 1)),
            "not_a_token",
        ),
        (
            "exp-huge",
            text(good(&json!({ "exp": null })).to_string().replacen('{', r#"{"exp":1e30,"#, 1)),
            "claim_malformed",
        ),
        ("exp-negative", with(json!({ "exp": i64::MIN })), "expired"),
        ("exp-as-text", with(json!({ "exp": "99999999999" })), "claim_malformed"),
        ("exp-missing", with(json!({ "exp": null })), "claim_missing"),
        ("aud-of-others", with(json!({ "aud": "api://other" })), "wrong_audience"),
        ("nested", text(nested), "not_a_token"),
        ("roles-as-object", with(json!({ "roles": { "dba": true } })), "claim_malformed"),
    ]
}

/// Good signatures of the issuer's under tokens that are for something else.
fn kinds() -> Vec<Attack> {
    let with =
        |changes: Value| signed(&json!({ "alg": "ES256", "kid": "first", "typ": "JWT" }), &good(&changes), &key());
    vec![
        ("logout-token", signed_ours(&json!({ "typ": "logout+jwt" })), "wrong_type"),
        ("event-token", signed_ours(&json!({ "typ": "secevent+jwt" })), "wrong_type"),
        ("dpop-proof", signed_ours(&json!({ "typ": "dpop+jwt" })), "wrong_type"),
        ("id-token", with(json!({ "at_hash": "x" })), "wrong_type"),
        ("id-token-nonce", with(json!({ "nonce": "n" })), "wrong_type"),
    ]
}

fn issuers() -> Vec<Attack> {
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("../../fixtures/tokens/rs256.pem")).unwrap();
    let of = |iss: &str| signed(&json!({ "alg": "RS256", "kid": "rsa" }), &good(&json!({ "iss": iss })), &rsa);
    vec![
        ("in-the-name-of-another", of(Issuer::shared().url()), "unknown_key"),
        ("of-an-unknown-issuer", of("https://evil.example"), "wrong_issuer"),
        ("of-an-issuer-beside", of(&format!("{ISS}/")), "wrong_issuer"),
    ]
}

/// The claims of a good token, with changes; a null takes a claim away.
#[expect(clippy::disallowed_methods, reason = "the program that reads the token goes by the machine's clock")]
fn good(changes: &Value) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": ISS, "aud": "api://hansard", "sub": "mallory", "roles": ["workload"], "iat": now, "exp": now + 600,
    });
    merged(claims, changes)
}

fn merged(mut base: Value, changes: &Value) -> Value {
    base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    base.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    base
}

/// Good claims, signed as the issuer would, under a header with changes.
fn signed_ours(changes: &Value) -> String {
    signed(&merged(json!({ "alg": "ES256", "kid": "first" }), changes), &good(&json!({})), &key())
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey) -> String {
    let algorithm = if header["alg"] == "RS256" { Algorithm::RS256 } else { Algorithm::ES256 };
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap())
}

/// Signed by the issuer, to the letter.
fn signed_text(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{message}.{}", jsonwebtoken::crypto::sign(message.as_bytes(), &key(), Algorithm::ES256).unwrap())
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn rsa_jwk() -> Value {
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("../../fixtures/tokens/rs256.pem")).unwrap();
    let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&rsa, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some("rsa".to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn row_of<'r>(rows: &'r [Value], application: &str) -> Option<&'r Value> {
    rows.iter().find(|row| row["application"] == application)
}
