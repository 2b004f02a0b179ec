//! Each check of a token: a good one passes it, a bad one fails it for the right cause. No network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::fixtures::{self, FixedClock, ISSUER, NOW, Signer, part, token, token_with_header};
use super::*;
use crate::model::{PrincipalKind, TokenFacts};

const ALL: [Signer; 4] = [Signer::Rsa, Signer::Es256, Signer::Es384, Signer::Ed25519];

fn verifier(settings: IssuerSettings, keys: &[Value]) -> Verifier {
    fixtures::verifier(vec![(settings, keys.to_vec())])
}

/// The public halves of all signers but the stranger's.
fn published() -> Vec<Value> {
    ALL.map(fixtures::jwk).to_vec()
}

async fn verify_with(settings: IssuerSettings, presented: impl Into<Vec<u8>>) -> Result<Principal, Refusal> {
    verifier(settings, &published()).verify(Credential::new(presented.into())).await
}

async fn verify(presented: impl Into<Vec<u8>>) -> Result<Principal, Refusal> {
    verify_with(fixtures::settings(), presented).await
}

async fn cause(presented: impl Into<Vec<u8>>) -> Cause {
    verify(presented).await.unwrap_err().cause
}

async fn cause_of(changes: Value) -> Cause {
    cause(token(Signer::Rsa, &changes)).await
}

async fn cause_with(settings: IssuerSettings, changes: Value) -> Option<Cause> {
    verify_with(settings, token(Signer::Rsa, &changes)).await.err().map(|refusal| refusal.cause)
}

#[tokio::test]
async fn a_good_token_of_each_kind_names_its_principal() {
    for signer in ALL {
        let text = token(signer, &json!({}));
        let principal = verify(text.clone()).await.unwrap();
        let token = TokenFacts {
            at_issuer: crate::model::AtIssuer { sub: Some("9f2".to_owned()), sid: None },
            sha256: Sha256::of(text.as_bytes()),
            kid: Some(signer.kid().to_owned()),
            jti: Some("t-1".to_owned()),
            issued: Some(Timestamp::from_seconds(NOW - 60)),
            expires: Timestamp::from_seconds(NOW + 600),
        };
        assert_eq!(
            principal,
            Principal {
                issuer: ISSUER.to_owned(),
                subject: "9f2".to_owned(),
                kind: PrincipalKind::Person,
                display: Some("Ana".to_owned()),
                email: Some("ana@contoso.example".to_owned()),
                roles: vec!["analyst".to_owned()],
                groups: vec!["staff".to_owned()],
                token,
                claims: BTreeMap::new(),
            }
        );
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused_whatever_it_is() {
    assert_eq!(cause("").await, Cause::Missing);
    assert_eq!(cause(vec![b'x'; 1_000_000]).await, Cause::TooLarge);
    assert_eq!(cause(vec![0xff; 65_535]).await, Cause::NotAToken);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let header = part(&json!({ "alg": "RS256" }));
    for bad in [
        "hunter2".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        ".".repeat(65_535),
        "a.b.c".to_owned(),
        "eyJ.eyJ.sig".to_owned(),
        format!("{header}.{header}"),
        format!("{header}.{header}.{header}.{header}.{header}"),
        format!("{}.{}.x", part(&json!([])), part(&json!({ "iss": ISSUER }))),
        format!("{}.{}.x", part(&json!({ "alg": 7 })), part(&json!({ "iss": ISSUER }))),
        format!("{header}.{}.x", base64_of(&deep(20_000))),
        format!("{header}.{}.x", base64_of(r#"{"exp":1e999}"#)),
        format!(" {}", token(Signer::Rsa, &json!({}))),
        format!("{}\n", token(Signer::Rsa, &json!({}))),
        format!("{}==", token(Signer::Rsa, &json!({}))),
    ] {
        assert_eq!(cause(bad.clone()).await, Cause::NotAToken, "{}", bad.get(..60).unwrap_or(&bad));
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_is_refused_even_with_a_fitting_key() {
    for name in ["none", "None", "nOnE", "HS256", "RS512", "ES512", "rs256", ""] {
        let bad = token_with_header(Signer::Rsa, &json!({ "alg": name }));
        assert_eq!(cause(bad).await, Cause::AlgorithmNotAllowed, "{name}");
    }
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&fixtures::claims()));
    assert_eq!(cause(unsigned).await, Cause::AlgorithmNotAllowed);
    let settings = IssuerSettings { algorithms: vec![Algorithm::Es256], ..fixtures::settings() };
    assert_eq!(cause_with(settings, json!({})).await, Some(Cause::AlgorithmNotAllowed));
}

#[tokio::test]
async fn the_public_key_is_no_shared_secret() {
    let modulus = fixtures::jwk(Signer::Rsa)["n"].as_str().unwrap().to_owned();
    let message = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "rsa" })), part(&fixtures::claims()));
    for secret in [modulus.into_bytes(), fixtures::jwk(Signer::Rsa).to_string().into_bytes()] {
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
        assert_eq!(cause(format!("{message}.{signature}")).await, Cause::AlgorithmNotAllowed);
    }
}

#[tokio::test]
async fn a_key_of_another_family_does_not_verify() {
    for (signer, algorithm) in [(Signer::Rsa, "ES256"), (Signer::Es256, "RS256"), (Signer::Ed25519, "ES384")] {
        let bad = token_with_header(signer, &json!({ "alg": algorithm }));
        assert_eq!(cause(bad).await, Cause::UnknownKey, "{signer:?} {algorithm}");
    }
    let bad = token_with_header(Signer::Rsa, &json!({ "alg": "PS256" }));
    assert_eq!(cause(bad).await, Cause::BadSignature);
}

#[tokio::test]
async fn only_a_published_key_for_signatures_signs_anybody_in() {
    assert_eq!(cause(token(Signer::Stranger, &json!({}))).await, Cause::UnknownKey);
    for change in [json!({ "use": "enc" }), json!({ "kty": "oct", "k": "AQAB" })] {
        let keys = [fixtures::merged(fixtures::jwk(Signer::Rsa), &change)];
        let verifier = verifier(fixtures::settings(), &keys);
        let refusal = verifier.verify(Credential::new(token(Signer::Rsa, &json!({})).into())).await.unwrap_err();
        assert_eq!(refusal.cause, Cause::UnknownKey, "{change}");
    }
}

#[tokio::test]
async fn a_signature_by_somebody_else_or_over_something_else_is_refused() {
    assert_eq!(cause(token_with_header(Signer::Stranger, &json!({ "kid": "rsa" }))).await, Cause::BadSignature);
    for signer in ALL {
        let good = token(signer, &json!({}));
        let (message, signature) = good.rsplit_once('.').unwrap();
        let other = token(signer, &json!({ "sub": "somebody else" }));
        assert_eq!(cause(format!("{}.{signature}", other.rsplit_once('.').unwrap().0)).await, Cause::BadSignature);
        assert_eq!(cause(format!("{message}.")).await, Cause::BadSignature);
        assert_eq!(cause(format!("{message}.AAAA")).await, Cause::BadSignature);
        assert_eq!(cause(format!("{message}.%%%%")).await, Cause::NotAToken);
    }
}

#[tokio::test]
async fn of_keys_with_the_same_name_the_one_that_fits_is_found() {
    let twin = fixtures::merged(fixtures::jwk(Signer::Stranger), &json!({ "kid": "rsa" }));
    let verifier = verifier(fixtures::settings(), &[twin, fixtures::jwk(Signer::Rsa)]);
    assert!(verifier.verify(Credential::new(token(Signer::Rsa, &json!({})).into())).await.is_ok());
}

#[tokio::test]
async fn a_token_without_kid_is_accepted_only_if_one_key_can_be_meant() {
    let nameless = token_with_header(Signer::Es256, &json!({ "kid": null }));
    let principal = verify(nameless).await.unwrap();
    assert_eq!(principal.token.kid.as_deref(), Some("es256"));
    let keys = [fixtures::jwk(Signer::Rsa), fixtures::jwk(Signer::Stranger)];
    let two = verifier(fixtures::settings(), &keys);
    let nameless = token_with_header(Signer::Rsa, &json!({ "kid": null }));
    assert_eq!(two.verify(Credential::new(nameless.into())).await.unwrap_err().cause, Cause::UnknownKey);
}

#[tokio::test]
async fn headers_that_ask_for_more_than_we_understand_are_refused() {
    for crit in [json!(["exp"]), json!([]), json!("b64"), json!({})] {
        let header = fixtures::merged(json!({ "alg": "RS256", "kid": "rsa" }), &json!({ "crit": crit }));
        assert_eq!(cause(fixtures::signed(Signer::Rsa, &header, &fixtures::claims())).await, Cause::CriticalHeader);
    }
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", ""] {
        assert_eq!(cause(token_with_header(Signer::Rsa, &json!({ "typ": typ }))).await, Cause::WrongType, "{typ}");
    }
    for header in [json!({ "typ": 1 }), json!({ "kid": 1 }), json!({ "x5c": 1 }), json!({ "jwk": 1 })] {
        assert_eq!(cause(token_with_header(Signer::Rsa, &header)).await, Cause::NotAToken);
    }
    for typ in [json!("jwt"), json!("AT+JWT"), json!("application/at+jwt"), json!(null)] {
        assert!(verify(token_with_header(Signer::Rsa, &json!({ "typ": typ }))).await.is_ok(), "{typ}");
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused_to_the_letter() {
    for other in ["https://other.example", "https://issuer.example/tenant/", "HTTPS://issuer.example/tenant", ""] {
        assert_eq!(cause_of(json!({ "iss": other })).await, Cause::WrongIssuer, "{other}");
    }
    assert_eq!(cause_of(json!({ "iss": [ISSUER] })).await, Cause::ClaimMalformed);
    assert_eq!(cause_of(json!({ "iss": null })).await, Cause::ClaimMissing);
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    for other in [json!("api://other"), json!(["a", "b"]), json!([]), json!("API://hansard"), json!("api://hansard/")] {
        assert_eq!(cause_of(json!({ "aud": other })).await, Cause::WrongAudience, "{other}");
    }
    for bad in [json!(123), json!({ "api://hansard": 1 }), json!([1]), json!(true)] {
        assert_eq!(cause_of(json!({ "aud": bad })).await, Cause::ClaimMissing, "{bad}");
    }
    assert_eq!(cause_of(json!({ "aud": null })).await, Cause::ClaimMissing);
    assert!(verify(token(Signer::Rsa, &json!({ "aud": ["other", "api://hansard"] }))).await.is_ok());
}

#[tokio::test]
async fn time_is_judged_by_the_given_clock_with_the_configured_skew() {
    let skew = 30;
    for (claim, good, bad, wanted) in [
        ("exp", NOW - skew + 1, NOW - skew, Cause::Expired),
        ("nbf", NOW + skew, NOW + skew + 1, Cause::NotYetValid),
        ("iat", NOW + skew, NOW + skew + 1, Cause::NotYetValid),
    ] {
        assert!(verify(token(Signer::Rsa, &json!({ claim: good }))).await.is_ok(), "{claim} {good}");
        assert_eq!(cause_of(json!({ claim: bad })).await, wanted, "{claim} {bad}");
    }
    let expired = verify(token(Signer::Rsa, &json!({ "exp": NOW - 725 }))).await.unwrap_err();
    assert_eq!(expired.sentence, "your sign-in expired 12 min ago");
    assert_eq!(expired.to_string(), expired.sentence);
}

#[tokio::test]
async fn a_time_that_is_no_number_is_refused_and_a_strange_one_breaks_nothing() {
    assert_eq!(cause_of(json!({ "exp": null })).await, Cause::ClaimMissing);
    for claim in ["exp", "nbf", "iat"] {
        for bad in
            [json!("1795512766"), json!([NOW]), json!({}), json!(true), json!(-0.5), json!(1e300), json!(u64::MAX)]
        {
            assert_eq!(cause_of(json!({ claim: bad })).await, Cause::ClaimMalformed, "{claim} {bad}");
        }
    }
    assert_eq!(cause_of(json!({ "exp": i64::MIN })).await, Cause::Expired);
    assert_eq!(cause_of(json!({ "nbf": i64::MAX })).await, Cause::NotYetValid);
    assert_eq!(cause_of(json!({ "iat": 1e18 })).await, Cause::NotYetValid);
    for fine in [json!({ "exp": 1e18 }), json!({ "exp": i64::MAX }), json!({ "iat": i64::MIN })] {
        assert!(verify(token(Signer::Rsa, &fine)).await.is_ok(), "{fine}");
    }
    let half = verify(token(Signer::Rsa, &json!({ "exp": 1_795_513_000.5 }))).await.unwrap();
    assert_eq!(half.token.expires, Timestamp(1_795_513_000_500_000));
}

#[tokio::test]
async fn a_token_older_than_config_accepts_is_refused() {
    let settings = || IssuerSettings { max_token_age: Some(Duration::from_secs(5_400)), ..fixtures::settings() };
    assert_eq!(cause_with(settings(), json!({ "iat": NOW - 5_430 })).await, None);
    assert_eq!(cause_with(settings(), json!({ "iat": NOW - 5_431 })).await, Some(Cause::TooOld));
    assert_eq!(cause_with(settings(), json!({ "iat": null })).await, Some(Cause::ClaimMissing));
    assert_eq!(cause_with(settings(), json!({ "iat": i64::MIN })).await, Some(Cause::TooOld));
}

#[tokio::test]
async fn the_subject_is_the_claim_that_config_names_and_is_never_guessed() {
    for bad in [json!(null), json!("")] {
        assert_eq!(cause_of(json!({ "sub": bad })).await, Cause::ClaimMissing, "{bad}");
    }
    for bad in [json!(7), json!(["9f2"]), json!({})] {
        assert_eq!(cause_of(json!({ "sub": bad })).await, Cause::ClaimMalformed, "{bad}");
    }
    let mut settings = fixtures::settings();
    settings.claims.subject = "oid".to_owned();
    assert_eq!(cause_with(settings.clone(), json!({})).await, Some(Cause::ClaimMissing));
    let principal = verify_with(settings, token(Signer::Rsa, &json!({ "oid": "o-1" }))).await.unwrap();
    assert_eq!(principal.subject, "o-1");
}

#[tokio::test]
async fn claims_are_found_by_name_or_by_path_and_kept_as_they_are() {
    let mut settings = fixtures::settings();
    settings.claims.roles = Some("realm_access.roles".to_owned());
    settings.claims.groups = Some("https://contoso.example/groups".to_owned());
    settings.claims.display = vec!["absent".to_owned(), "upn".to_owned()];
    settings.claims.keep = ["amr", "realm_access.depth", "absent"].map(str::to_owned).to_vec();
    let changes = json!({
        "realm_access": { "roles": ["dba", "auditor"], "depth": 3 }, "https://contoso.example/groups": ["g1"],
        "upn": "ana@contoso", "amr": ["mfa"], "email": null,
    });
    let principal = verify_with(settings, token(Signer::Rsa, &changes)).await.unwrap();
    assert_eq!((principal.roles, principal.groups), (vec!["dba".into(), "auditor".into()], vec!["g1".to_owned()]));
    assert_eq!((principal.display.as_deref(), principal.email), (Some("ana@contoso"), None));
    let kept = [("amr".to_owned(), json!(["mfa"])), ("realm_access.depth".to_owned(), json!(3))];
    assert_eq!(principal.claims, BTreeMap::from(kept));
}

#[tokio::test]
async fn roles_and_groups_that_cannot_be_read_are_refused_not_dropped() {
    for claim in ["roles", "groups"] {
        for bad in [json!(7), json!([1]), json!(["a", null]), json!({ "a": 1 })] {
            assert_eq!(cause_of(json!({ claim: bad })).await, Cause::ClaimMalformed, "{claim} {bad}");
        }
    }
    let principal = verify(token(Signer::Rsa, &json!({ "roles": null, "groups": [] }))).await.unwrap();
    assert_eq!((principal.roles.len(), principal.groups.len()), (0, 0));
}

#[tokio::test]
async fn required_claims_must_have_exactly_their_value() {
    let require = [("tid", "t-1"), ("email_verified", "true")];
    let settings = || IssuerSettings {
        require_claims: require.map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).into(),
        ..fixtures::settings()
    };
    assert_eq!(cause_with(settings(), json!({ "tid": "t-1", "email_verified": true })).await, None);
    for bad in [json!("t-2"), json!("T-1"), json!(["t-1"]), json!(1)] {
        let changes = json!({ "tid": bad, "email_verified": true });
        assert_eq!(cause_with(settings(), changes.clone()).await, Some(Cause::ClaimMismatch), "{changes}");
    }
    assert_eq!(cause_with(settings(), json!({ "tid": "t-1" })).await, Some(Cause::ClaimMissing));
}

#[tokio::test]
async fn groups_that_the_issuer_left_out_are_never_read_as_no_groups() {
    let entra = json!({ "groups": null, "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": {} } });
    for overage in [entra.clone(), json!({ "hasgroups": true }), json!({ "hasgroups": "true" })] {
        assert_eq!(cause_of(overage.clone()).await, Cause::GroupOverage, "{overage}");
    }
    assert_eq!(cause_of(json!({ "_claim_names": "groups" })).await, Cause::ClaimMalformed);
    let mut unused = fixtures::settings();
    unused.claims.groups = None;
    assert_eq!(cause_with(unused, entra).await, None, "an issuer whose groups nobody uses may leave them out");
}

#[tokio::test]
async fn a_development_issuer_is_trusted_only_where_that_was_asked_for() {
    for mark in [json!(true), json!("true"), json!(1), json!("no")] {
        assert_eq!(cause_of(json!({ "hansard_dev": mark })).await, Cause::DevelopmentIssuer, "{mark}");
    }
    assert!(verify(token(Signer::Rsa, &json!({ "hansard_dev": false }))).await.is_ok());
    let demo = IssuerSettings { allow_development: true, ..fixtures::settings() };
    assert_eq!(cause_with(demo, json!({ "hansard_dev": true })).await, None);
}

#[tokio::test]
async fn no_text_of_a_refusal_holds_the_token_or_its_claims() {
    let secret = "s3cr3t-claim";
    for changes in [
        json!({ "exp": 1 }),
        json!({ "sub": [secret] }),
        json!({ "aud": secret }),
        json!({ "roles": { "a": secret } }),
        json!({ "hansard_dev": secret }),
        json!({ "hasgroups": secret }),
    ] {
        let token = token(Signer::Rsa, &fixtures::merged(json!({ "email": secret }), &changes));
        let refusal = verify(token.clone()).await.unwrap_err();
        let said = format!("{refusal:?} {refusal}");
        assert!(!said.contains(secret), "{said}");
        assert!(!token.split('.').any(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn every_cause_has_a_word_of_its_own() {
    let words = [
        Cause::Missing,
        Cause::NotAToken,
        Cause::TooLarge,
        Cause::AlgorithmNotAllowed,
        Cause::WrongType,
        Cause::CriticalHeader,
        Cause::UnknownKey,
        Cause::BadSignature,
        Cause::WrongIssuer,
        Cause::WrongAudience,
        Cause::Expired,
        Cause::NotYetValid,
        Cause::TooOld,
        Cause::ClaimMissing,
        Cause::ClaimMalformed,
        Cause::ClaimMismatch,
        Cause::GroupOverage,
        Cause::IssuerAway,
        Cause::DevelopmentIssuer,
    ]
    .map(Cause::as_str);
    assert_eq!(words.iter().collect::<std::collections::BTreeSet<_>>().len(), words.len());
}

#[test]
fn a_verifier_is_not_made_from_bad_settings() {
    let bad = IssuerSettings { audience: Vec::new(), ..fixtures::settings() };
    let error = Verifier::new([bad], Arc::new(FixedClock(NOW))).unwrap_err();
    assert_eq!(error.to_string(), "issuer test: audience: at least one audience is needed, and none may be empty");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [folder.path().join("absent.pem"), empty] {
        let bad = IssuerSettings { ca_file: Some(file), ..fixtures::settings() };
        assert!(matches!(Verifier::new([bad], Arc::new(FixedClock(NOW))), Err(IdentityError::CaFile { .. })));
    }
}
