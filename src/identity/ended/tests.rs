//! What ends access, what does not, and why.

use serde_json::{Value, json};

use super::super::fixtures::{ISSUER, NOW, Signer, jwk, merged, settings, signed, verifier};
use super::*;

const OTHER: &str = "https://other.example";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn listening() -> Verifier {
    let ends = |audience: &str| Some(Ends { audience: vec![audience.to_owned()], transmitter: None });
    let deaf =
        IssuerSettings { name: "deaf".to_owned(), issuers: vec!["https://deaf.example".to_owned()], ..settings() };
    let other =
        IssuerSettings { name: "other".to_owned(), issuers: vec![OTHER.to_owned()], ends: ends("cli"), ..settings() };
    let ours = IssuerSettings { ends: ends("cli"), ..settings() };
    verifier(vec![(ours, vec![jwk(Signer::Rsa)]), (other, vec![jwk(Signer::Es256)]), (deaf, vec![jwk(Signer::Rsa)])])
}

fn logout_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "cli", "sub": "9f2", "sid": "s-1", "iat": NOW - 5, "exp": NOW + 115, "jti": "l-1",
        "events": { LOGOUT: {} },
    })
}

fn event_claims(events: &Value) -> Value {
    json!({
        "iss": ISSUER, "aud": "cli", "iat": NOW - 5, "jti": "e-1", "events": events,
        "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "9f2" },
    })
}

fn made(typ: &str, changes: &Value) -> String {
    let (header, claims) = (json!({ "alg": "RS256", "kid": "rsa" }), logout_claims());
    let header = if typ.is_empty() { header } else { merged(header, &json!({ "typ": typ })) };
    signed(Signer::Rsa, &header, &merged(claims, changes))
}

fn event(changes: &Value) -> String {
    let header = json!({ "alg": "RS256", "kid": "rsa", "typ": "secevent+jwt" });
    let happened = json!({ REVOKED: { "event_timestamp": NOW - 60 } });
    signed(Signer::Rsa, &header, &merged(event_claims(&happened), changes))
}

async fn heard(token: &str, what: Says) -> Result<Vec<Ended>, Cause> {
    heard_by(&listening(), token, what).await
}

async fn heard_by(verifier: &Verifier, token: &str, what: Says) -> Result<Vec<Ended>, Cause> {
    verifier.ended(Credential::new(token.as_bytes().to_vec()), what).await.map_err(|refusal| refusal.cause)
}

fn issuer() -> String {
    ISSUER.to_owned()
}

#[tokio::test]
async fn a_logout_ends_the_session_that_it_names_or_else_all_of_somebody() {
    let (sid, sub) = ("s-1".to_owned(), "9f2".to_owned());
    let one =
        [Holder::SignIn { issuer: issuer(), sid: sid.clone() }, Holder::Untold { issuer: issuer(), sub: sub.clone() }];
    for (changes, expected) in [
        (json!({}), &one[..]),
        (json!({ "sub": null }), &one[..1]),
        (json!({ "sid": null }), &[Holder::Account { issuer: issuer(), sub }][..]),
    ] {
        for typ in ["logout+jwt", "JWT", ""] {
            let ended = heard(&made(typ, &changes), Says::Logout).await.unwrap();
            let holders: Vec<Holder> = ended.iter().map(|ended| ended.holder.clone()).collect();
            assert_eq!(holders, expected, "{typ} {changes}");
            let of = (ended[0].issued_by, ended[0].issuer.as_str(), ended[0].jti.as_deref());
            assert_eq!(of, (Timestamp::from_seconds(NOW - 5), "test", Some("l-1")));
        }
    }
}

#[tokio::test]
async fn a_logout_token_that_is_not_one_ends_nothing_and_the_cause_says_why() {
    for (changes, cause) in [
        (json!({ "events": null }), Cause::WrongType),
        (json!({ "events": { "http://schemas.openid.net/event/other": {} } }), Cause::WrongType),
        (json!({ "events": { LOGOUT: true } }), Cause::WrongType),
        (json!({ "nonce": "n" }), Cause::WrongType),
        (json!({ "sub": null, "sid": null }), Cause::ClaimMissing),
        (json!({ "aud": "api://hansard" }), Cause::WrongAudience),
        (json!({ "aud": null }), Cause::ClaimMissing),
        (json!({ "iat": null }), Cause::ClaimMissing),
        (json!({ "iat": NOW + 31 }), Cause::NotYetValid),
        (json!({ "iat": NOW - 631, "exp": null }), Cause::TooOld),
        (json!({ "iat": NOW - 600, "exp": NOW - 30 }), Cause::Expired),
        (json!({ "iss": "https://deaf.example" }), Cause::WrongIssuer),
        (json!({ "iss": "https://nobody.example" }), Cause::WrongIssuer),
        // Signed by a key of another issuer.
        (json!({ "iss": OTHER }), Cause::UnknownKey),
    ] {
        assert_eq!(heard(&made("logout+jwt", &changes), Says::Logout).await.unwrap_err(), cause, "{changes}");
    }
    for typ in ["at+jwt", "secevent+jwt", "dpop+jwt"] {
        assert_eq!(heard(&made(typ, &json!({})), Says::Logout).await.unwrap_err(), Cause::WrongType, "{typ}");
    }
    let cut = made("logout+jwt", &json!({}));
    let cut = cut.rsplit_once('.').unwrap().0;
    assert_eq!(heard(&format!("{cut}.AAAA"), Says::Logout).await.unwrap_err(), Cause::BadSignature);
}

#[tokio::test]
async fn a_logout_token_counts_once() {
    let (verifier, token) = (listening(), made("logout+jwt", &json!({})));
    assert!(heard_by(&verifier, &token, Says::Logout).await.is_ok());
    assert_eq!(heard_by(&verifier, &token, Says::Logout).await.unwrap_err(), Cause::TooOld);
    assert!(heard_by(&verifier, &made("logout+jwt", &json!({ "jti": "l-2" })), Says::Logout).await.is_ok());
}

#[tokio::test]
async fn a_security_event_ends_what_its_subject_had_up_to_the_moment_that_it_names() {
    let account = |sub: &str| Holder::Account { issuer: issuer(), sub: sub.to_owned() };
    let sign_in = || Holder::SignIn { issuer: issuer(), sid: "s-1".to_owned() };
    let session = json!({ "format": "opaque", "id": "s-1" });
    let user = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "9f2" });
    for (subject, expected) in [
        (user.clone(), vec![account("9f2")]),
        (json!({ "format": "opaque", "id": "9f2" }), vec![account("9f2")]),
        (
            json!({ "format": "email", "email": "ana@contoso.example" }),
            vec![Holder::Email { issuer: issuer(), email: "ana@contoso.example".to_owned() }],
        ),
        (json!({ "format": "complex", "session": session, "tenant": {} }), vec![sign_in()]),
        (
            json!({ "session": session, "user": user }),
            vec![sign_in(), Holder::Untold { issuer: issuer(), sub: "9f2".to_owned() }],
        ),
        (json!({ "format": "complex", "user": user }), vec![account("9f2")]),
    ] {
        let ended = heard(&event(&json!({ "sub_id": subject })), Says::Event).await.unwrap();
        let holders: Vec<Holder> = ended.iter().map(|ended| ended.holder.clone()).collect();
        assert_eq!(holders, expected, "{subject}");
        assert_eq!(ended[0].issued_by, Timestamp::from_seconds(NOW - 60));
    }
    for (happened, moment) in [
        (json!({}), NOW - 5),
        (json!({ "event_timestamp": (NOW - 7) * 1_000 }), NOW - 7),
        // What it says of the future it cannot know.
        (json!({ "event_timestamp": NOW + 1_000 }), NOW - 5),
    ] {
        let ended = heard(&event(&json!({ "events": { REVOKED: happened } })), Says::Event).await.unwrap();
        assert_eq!(ended[0].issued_by, Timestamp::from_seconds(moment));
    }
    let inside = json!({ "sub_id": null, "events": { REVOKED: { "subject": user } } });
    assert_eq!(heard(&event(&inside), Says::Event).await.unwrap()[0].holder, account("9f2"));
}

#[tokio::test]
async fn an_event_that_ends_nobodys_access_ends_nothing() {
    for name in [
        "https://schemas.openid.net/secevent/ssf/event-type/verification",
        "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change",
        "https://elsewhere.example/caep/event-type/session-revoked",
    ] {
        let ended = heard(&event(&json!({ "events": { name: {} } })), Says::Event).await;
        assert_eq!(ended, Ok(Vec::new()), "{name}");
    }
}

#[tokio::test]
async fn a_security_event_that_is_not_understood_is_refused_whole() {
    let subject = |subject: Value| json!({ "sub_id": subject });
    for (changes, cause) in [
        (subject(json!({ "format": "iss_sub", "iss": OTHER, "sub": "9f2" })), Cause::WrongIssuer),
        (subject(json!({ "format": "iss_sub", "iss": ISSUER })), Cause::ClaimMalformed),
        (subject(json!({ "format": "did", "url": "did:x" })), Cause::ClaimMalformed),
        (subject(json!({ "format": "complex", "device": { "format": "opaque", "id": "d" } })), Cause::ClaimMalformed),
        (subject(json!({})), Cause::ClaimMalformed),
        (subject(json!("9f2")), Cause::ClaimMalformed),
        (json!({ "sub_id": null }), Cause::ClaimMalformed),
        (json!({ "events": null }), Cause::ClaimMissing),
        (json!({ "events": [] }), Cause::ClaimMalformed),
        (json!({ "events": { REVOKED: 7 } }), Cause::ClaimMalformed),
        (json!({ "events": { REVOKED: { "event_timestamp": "soon" } } }), Cause::ClaimMalformed),
        (json!({ "aud": "elsewhere" }), Cause::WrongAudience),
        (json!({ "iat": NOW + 31 }), Cause::NotYetValid),
    ] {
        assert_eq!(heard(&event(&changes), Says::Event).await.unwrap_err(), cause, "{changes}");
    }
    // An access token, or a logout token, says nothing here.
    for typ in ["at+jwt", "logout+jwt", "JWT", ""] {
        assert_eq!(heard(&made(typ, &json!({})), Says::Event).await.unwrap_err(), Cause::WrongType, "{typ}");
    }
}
