//! Several issuers at once: whose people each vouches for, and keys that are in a file.

use std::sync::Arc;
use std::time::Duration;

use hansard::identity::{Cause, IdentityError, IssuerSettings, KeysAt, Verifier};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::{Answer, FixedClock, Issuer, cause, es256, key, p256, settings, token_of};

#[tokio::test]
async fn issuers_that_claim_one_another_s_people_vouch_for_their_own_only() {
    let (ours, theirs) = (Issuer::start().await, Issuer::start().await);
    let their_key = EncodingKey::from_ec_pem(&p256()).unwrap();
    let their_keys = Jwk::from_encoding_key(&their_key, jsonwebtoken::Algorithm::ES256).unwrap();
    let mut their_keys = serde_json::to_value(their_keys).unwrap();
    their_keys["kid"] = json!("first");
    theirs.set(|answers| answers.keys = Answer::Json(json!({ "keys": [their_keys] })));
    let verifier = Verifier::new([ours.settings(), theirs.settings()], Arc::new(FixedClock)).unwrap();

    let a = verifier.verify(ours.token("first")).await.unwrap();
    let b = verifier.verify(token_of(&theirs.url, "first", &their_key)).await.unwrap();
    assert_eq!((a.subject.as_str(), b.subject.as_str()), ("ana", "ana"));
    assert_eq!((a.issuer, b.issuer), (ours.url.clone(), theirs.url.clone()), "the same subject, and two principals");
    // Both call their key the same; each signs in the name of the other.
    assert_eq!(cause(&verifier, token_of(&ours.url, "first", &their_key)).await, Some(Cause::BadSignature));
    assert_eq!(cause(&verifier, token_of(&theirs.url, "first", &key())).await, Some(Cause::BadSignature));
    assert_eq!((ours.asked(), theirs.asked()), (1, 1));
}

#[tokio::test]
async fn nobody_is_asked_about_a_token_of_an_issuer_that_is_not_configured() {
    let (ours, other) = (Issuer::start().await, Issuer::start().await);
    let verifier = Verifier::new([ours.settings()], Arc::new(FixedClock)).unwrap();
    for iss in [other.url.clone(), format!("{}/", ours.url), ours.url.to_uppercase(), String::new()] {
        assert_eq!(cause(&verifier, token_of(&iss, "first", &key())).await, Some(Cause::WrongIssuer), "{iss}");
    }
    assert_eq!((ours.asked(), other.asked()), (0, 0));
}

#[tokio::test]
async fn an_issuer_that_is_away_keeps_nobody_of_another_out() {
    let (mut away, here) = (Issuer::start().await, Issuer::start().await);
    let token = away.token("first");
    let verifier = Verifier::new([away.settings(), here.settings()], Arc::new(FixedClock)).unwrap();
    away.go_away().await;
    assert!(matches!(verifier.warm().await, Err(IdentityError::Away { .. })));
    assert_eq!(here.asked(), 1, "all are asked at the start, whatever the first says");
    assert_eq!(cause(&verifier, here.token("first")).await, None);
    assert_eq!(cause(&verifier, token).await, Some(Cause::IssuerAway));
    assert_eq!(verifier.issuers().map(|(_, answers)| answers).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn two_issuers_of_one_name_are_refused_at_the_start() {
    let issuer = Issuer::start().await;
    let second = IssuerSettings { name: "second".to_owned(), ..issuer.settings() };
    let error = Verifier::new([issuer.settings(), second], Arc::new(FixedClock)).unwrap_err();
    assert!(matches!(error, IdentityError::SameName { .. }), "{error}");
    assert!(error.to_string().starts_with("issuer second has the name http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_when_it_changes_and_kept_when_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let write = |kids: &[&str]| {
        let keys: Vec<Value> = kids.iter().map(|kid| es256(kid)).collect();
        std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    };
    let iss = "https://kubernetes.default.svc";
    let settings = IssuerSettings { issuers: vec![iss.to_owned()], ..settings(KeysAt::File(file.clone())) };
    let verifier = Verifier::new([settings], Arc::new(FixedClock)).unwrap();
    let token = |kid: &str| token_of(iss, kid, &key());
    let error = verifier.warm().await.unwrap_err().to_string();
    assert!(error.starts_with("issuer test: the keys in ") && error.contains("keys.json"), "{error}");

    write(&["first"]);
    assert!(soon(|| cause(&verifier, token("first")), None).await);
    write(&["second"]);
    assert!(soon(|| cause(&verifier, token("second")), None).await, "a key that was put there counts");
    assert!(soon(|| cause(&verifier, token("first")), Some(Cause::UnknownKey)).await, "a withdrawn one does not");
    std::fs::write(&file, "{ \"keys\": [").unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(cause(&verifier, token("second")).await, None, "half a file changes nothing");
    assert_eq!(verifier.issuers().map(|(_, answers)| answers).collect::<Vec<_>>(), [false]);
    write(&["second", "third"]);
    assert!(soon(|| cause(&verifier, token("third")), None).await);
}

/// Whether it becomes so, by the time that a file may take to be read again.
async fn soon<F: Future<Output = Option<Cause>>>(ask: impl Fn() -> F, wanted: Option<Cause>) -> bool {
    for _ in 0..60 {
        if ask().await == wanted {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
