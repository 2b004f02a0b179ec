//! Tokens as the large issuers mint them, with the claims of real ones: what each preset accepts and refuses, and whom it
//! names. Identifiers are made up.

use serde_json::{Value, json};

use super::super::fixtures::{self, NOW, Signer, merged};
use super::super::{Cause, Refusal};
use super::*;
use crate::model::{Credential, Principal, PrincipalKind};

const TENANT: &str = "8b1c7a52-3f0e-4a57-9a51-6f0f3c0de001";
const OTHER_TENANT: &str = "0f9d3e11-52aa-4d0c-8f7e-b3a1c5d2e002";
const STRANGE_TENANT: &str = "77777777-52aa-4d0c-8f7e-b3a1c5d2e003";
const OID: &str = "5d0c9a44-1f2e-4b7a-a4c8-2f6b1e9d0a11";

fn preset(name: &str) -> &'static Preset {
    Preset::named(name).unwrap()
}

/// What an issuer of this kind begins with, for the audience `api://hansard`.
fn settings(name: &str) -> IssuerSettings {
    IssuerSettings { audience: vec!["api://hansard".to_owned()], ..preset(name).settings(name) }
}

fn at(name: &str, url: &str) -> IssuerSettings {
    IssuerSettings { keys: KeysAt::Discovery(url.to_owned()), ..settings(name) }
}

fn requiring(settings: IssuerSettings, claims: &[(&str, &str)]) -> IssuerSettings {
    let wanted = claims.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    IssuerSettings { require_claims: wanted.collect(), ..settings }
}

fn entra() -> IssuerSettings {
    IssuerSettings { tenants: vec![TENANT.to_owned(), OTHER_TENANT.to_owned()], ..settings("entra") }
}

/// Verifies a token with these claims and the issuer's usual header.
async fn ask(settings: IssuerSettings, claims: &Value) -> Result<Principal, Refusal> {
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "rsa" });
    ask_with(settings, &fixtures::jwk(Signer::Rsa), &header, claims).await
}

async fn ask_with(settings: IssuerSettings, key: &Value, header: &Value, claims: &Value) -> Result<Principal, Refusal> {
    let token = fixtures::signed(Signer::Rsa, header, claims);
    fixtures::verifier(vec![(settings, vec![key.clone()])]).verify(Credential::new(token.into())).await
}

fn times() -> Value {
    json!({ "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3_600 })
}

fn token(claims: &Value) -> Value {
    merged(times(), claims)
}

// The shapes.

fn entra_v2() -> Value {
    token(&json!({
        "aud": "api://hansard", "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB", "azp": "e4606526-0b21-4b33-9f4e-93c2f5a1d6b2", "azpacr": "0",
        "name": "Ana Analyst", "oid": OID, "preferred_username": "ana@contoso.com", "rh": "I",
        "roles": ["analyst"], "groups": ["aa11", "bb22"], "scp": "sql.connect",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": TENANT, "uti": "fqiBqXLPj0eQa82S", "ver": "2.0",
    }))
}

fn entra_v1() -> Value {
    token(&json!({
        "aud": "api://hansard", "iss": format!("https://sts.windows.net/{TENANT}/"), "acr": "1",
        "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB", "amr": ["pwd", "mfa"],
        "appid": "e4606526-0b21-4b33-9f4e-93c2f5a1d6b2", "appidacr": "0", "family_name": "Analyst", "given_name": "Ana",
        "ipaddr": "203.0.113.7", "name": "Ana Analyst", "oid": OID, "rh": "I", "scp": "sql.connect",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": TENANT, "unique_name": "ana@contoso.com",
        "upn": "ana@contoso.com", "uti": "fqiBqXLPj0eQa82S", "ver": "1.0",
    }))
}

/// Of an application's own: client credentials or a managed identity.
fn entra_app() -> Value {
    let own = json!({
        "name": null, "preferred_username": null, "scp": null, "groups": null, "sub": OID, "azpacr": "2",
        "roles": ["pipeline"], "xms_mirid": "/subscriptions/1/resourcegroups/etl/providers/Microsoft.ManagedIdentity/x",
    });
    merged(entra_v2(), &own)
}

fn entra_id_token() -> Value {
    merged(entra_v2(), &json!({ "azp": null, "azpacr": null, "scp": null, "nonce": "12345" }))
}

const OKTA_AT: &str = "https://contoso.okta.com/oauth2/aus1a2b3c4d5e6f7g8h9";

fn okta() -> Value {
    token(&json!({
        "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "iss": OKTA_AT, "aud": "api://hansard",
        "cid": "0oabv6kx4qq6h1U5l0h7", "uid": "00uid4BxXw6I6TV4m0g3", "scp": ["openid", "sql.connect"],
        "auth_time": NOW - 70, "sub": "ana@contoso.com", "groups": ["Everyone", "analysts"], "nbf": null,
    }))
}

fn okta_client() -> Value {
    let own = json!({ "uid": null, "auth_time": null, "groups": null, "sub": "0oabv6kx4qq6h1U5l0h7", "scp": ["sql.connect"] });
    merged(okta(), &own)
}

fn google() -> Value {
    token(&json!({
        "iss": "https://accounts.google.com", "azp": "407408718192.apps.googleusercontent.com", "aud": "api://hansard",
        "sub": "110169484474386276334", "hd": "contoso.com", "email": "ana@contoso.com", "email_verified": true,
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q", "name": "Ana Analyst", "picture": "https://lh3.example/photo.jpg", "nbf": null,
    }))
}

fn google_service_account() -> Value {
    token(&json!({
        "iss": "https://accounts.google.com", "azp": "108234567890123456789", "aud": "api://hansard",
        "sub": "108234567890123456789", "email": "nightly@etl.iam.gserviceaccount.com", "email_verified": true, "nbf": null,
    }))
}

fn github() -> Value {
    token(&json!({
        "jti": "example-id", "sub": "repo:octo-org/etl:environment:prod", "environment": "prod", "aud": "api://hansard",
        "ref": "refs/heads/main", "sha": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "repository": "octo-org/etl",
        "repository_owner": "octo-org", "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
        "repository_owner_id": "65", "run_id": "30267", "run_number": "10", "run_attempt": "2",
        "runner_environment": "github-hosted", "actor": "octocat", "workflow": "nightly", "head_ref": "", "base_ref": "",
        "event_name": "schedule", "ref_type": "branch", "ref_protected": "true",
        "workflow_ref": "octo-org/etl/.github/workflows/nightly.yml@refs/heads/main",
        "job_workflow_ref": "octo-org/shared/.github/workflows/oidc.yml@refs/heads/main",
        "iss": "https://token.actions.githubusercontent.com",
    }))
}

fn gitlab() -> Value {
    token(&json!({
        "namespace_id": "72", "namespace_path": "contoso", "project_id": "20", "project_path": "contoso/etl",
        "user_id": "1", "user_login": "ana", "user_email": "ana@contoso.com", "pipeline_id": "574",
        "pipeline_source": "schedule", "job_id": "302", "ref": "main", "ref_type": "branch",
        "ref_path": "refs/heads/main", "ref_protected": "true", "environment": "prod", "environment_protected": "true",
        "runner_id": 1, "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "private", "jti": "235b3a54", "iss": "https://gitlab.com",
        "sub": "project_path:contoso/etl:ref_type:branch:ref:main", "aud": "api://hansard",
    }))
}

fn kubernetes() -> Value {
    token(&json!({
        "aud": ["api://hansard"], "iss": "https://kubernetes.default.svc.cluster.local", "jti": "a1b2c3",
        "kubernetes.io": {
            "namespace": "etl", "node": { "name": "node-7", "uid": "n-1" }, "pod": { "name": "nightly-7d9f", "uid": "p-1" },
            "serviceaccount": { "name": "nightly", "uid": "s-1" }, "warnafter": NOW + 3_000,
        },
        "sub": "system:serviceaccount:etl:nightly",
    }))
}

fn cluster() -> IssuerSettings {
    let issuers = vec!["https://kubernetes.default.svc.cluster.local".to_owned()];
    IssuerSettings { issuers, keys: KeysAt::File("keys.json".into()), ..settings("kubernetes") }
}

// Whom they name.

/// Issuer, subject, kind, display, e-mail, roles, groups.
type Named = (
    String,
    &'static str,
    PrincipalKind,
    Option<&'static str>,
    Option<&'static str>,
    &'static [&'static str],
    &'static [&'static str],
);

type Case = (IssuerSettings, Value, Named);

/// Of directories, in which there are people and workloads.
fn of_directories() -> Vec<Case> {
    use PrincipalKind::{Person, Workload};
    let entra_name = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let hd = requiring(settings("google"), &[("hd", "contoso.com")]);
    let of_workloads = Some([("email".to_owned(), vec!["nightly@etl.iam.gserviceaccount.com".to_owned()])].into());
    let accounts = IssuerSettings { require_claims_of_workloads: of_workloads, ..hd.clone() };
    let google_name = "https://accounts.google.com".to_owned();
    let bare = merged(google(), &json!({ "iss": "accounts.google.com" }));
    let ana = Some("ana@contoso.com");
    vec![
        (entra(), entra_v2(), (entra_name.clone(), OID, Person, ana, None, &["analyst"], &["aa11", "bb22"])),
        // A token of the other version is the same person.
        (entra(), entra_v1(), (entra_name.clone(), OID, Person, ana, None, &[], &[])),
        (entra(), entra_app(), (entra_name.clone(), OID, Workload, None, None, &["pipeline"], &[])),
        (
            entra(),
            merged(entra_v2(), &json!({ "idtyp": "app" })),
            (entra_name, OID, Workload, ana, None, &["analyst"], &["aa11", "bb22"]),
        ),
        (
            at("okta", OKTA_AT),
            okta(),
            (OKTA_AT.to_owned(), "00uid4BxXw6I6TV4m0g3", Person, ana, None, &[], &["Everyone", "analysts"]),
        ),
        (
            at("okta", OKTA_AT),
            okta_client(),
            (OKTA_AT.to_owned(), "0oabv6kx4qq6h1U5l0h7", Workload, Some("0oabv6kx4qq6h1U5l0h7"), None, &[], &[]),
        ),
        (hd.clone(), google(), (google_name.clone(), "110169484474386276334", Person, ana, ana, &[], &[])),
        (hd, bare, (google_name.clone(), "110169484474386276334", Person, ana, ana, &[], &[])),
        (
            accounts,
            google_service_account(),
            (
                google_name,
                "108234567890123456789",
                Workload,
                Some("nightly@etl.iam.gserviceaccount.com"),
                Some("nightly@etl.iam.gserviceaccount.com"),
                &[],
                &[],
            ),
        ),
    ]
}

/// Of platforms, in which there are workloads alone.
fn of_platforms() -> Vec<Case> {
    use PrincipalKind::Workload;
    let octo = [("repository_owner_id", "65")];
    vec![
        (
            requiring(settings("github-actions"), &octo),
            github(),
            (
                "https://token.actions.githubusercontent.com".to_owned(),
                "74",
                Workload,
                Some("repo:octo-org/etl:environment:prod"),
                None,
                &[],
                &[],
            ),
        ),
        (
            requiring(settings("gitlab"), &[("namespace_id", "72")]),
            gitlab(),
            (
                "https://gitlab.com".to_owned(),
                "20",
                Workload,
                Some("project_path:contoso/etl:ref_type:branch:ref:main"),
                None,
                &[],
                &[],
            ),
        ),
        (
            cluster(),
            kubernetes(),
            (
                "https://kubernetes.default.svc.cluster.local".to_owned(),
                "system:serviceaccount:etl:nightly",
                Workload,
                Some("system:serviceaccount:etl:nightly"),
                None,
                &[],
                &[],
            ),
        ),
    ]
}

#[tokio::test]
async fn each_preset_names_its_people_and_its_workloads() {
    let cases = of_directories().into_iter().chain(of_platforms());
    for (settings, claims, (issuer, subject, kind, display, email, roles, groups)) in cases {
        let name = settings.name.clone();
        let who =
            ask(settings, &claims).await.unwrap_or_else(|refusal| panic!("{name}: {refusal} ({})", refusal.detail));
        assert_eq!((who.issuer, who.subject.as_str(), who.kind), (issuer, subject, kind), "{name}");
        assert_eq!((who.display.as_deref(), who.email.as_deref()), (display, email), "{name}");
        assert_eq!(
            (who.roles.as_slice(), who.groups.as_slice()),
            (owned(roles).as_slice(), owned(groups).as_slice()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_preset_keeps_what_rules_for_it_are_made_of() {
    let kept = async |settings: IssuerSettings, claims: Value| ask(settings, &claims).await.unwrap().claims;
    let entra = kept(entra(), entra_app()).await;
    assert!(entra["tid"] == TENANT && entra.contains_key("azp") && entra.contains_key("xms_mirid"), "{entra:?}");
    let github = kept(requiring(settings("github-actions"), &[("repository_owner_id", "65")]), github()).await;
    assert_eq!((&github["environment"], &github["repository"]), (&json!("prod"), &json!("octo-org/etl")));
    assert_eq!(github.len(), preset("github-actions").keep.len(), "{github:?}");
    let gitlab = kept(requiring(settings("gitlab"), &[("namespace_id", "72")]), gitlab()).await;
    assert_eq!(gitlab.len(), preset("gitlab").keep.len(), "{gitlab:?}");
    let kubernetes = kept(cluster(), kubernetes()).await;
    assert_eq!(kubernetes["kubernetes.io.namespace"], "etl");
    assert_eq!(kubernetes["kubernetes.io.serviceaccount.uid"], "s-1");
    assert_eq!(kubernetes.len(), 5);
}

#[tokio::test]
async fn each_preset_refuses_what_is_not_meant() {
    let tenant_of = |tid: &str| json!({ "tid": tid, "iss": format!("https://login.microsoftonline.com/{tid}/v2.0") });
    let overage = json!({
        "groups": null, "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": "https://graph.windows.net/x/users/y/getMemberObjects" } },
    });
    let google_hd = || requiring(settings("google"), &[("hd", "contoso.com")]);
    let octo = || requiring(settings("github-actions"), &[("repository_owner_id", "65")]);
    let okta_at = || at("okta", OKTA_AT);
    let group = || requiring(settings("gitlab"), &[("namespace_id", "72")]);
    let cases = [
        (entra(), entra_v2(), tenant_of(STRANGE_TENANT), Cause::WrongIssuer, "a tenant that is not among ours"),
        (entra(), entra_v2(), json!({ "tid": OTHER_TENANT }), Cause::ClaimMismatch, "two tenants in one token"),
        (entra(), entra_v2(), json!({ "tid": null }), Cause::ClaimMissing, "no tenant"),
        (
            entra(),
            entra_v2(),
            json!({ "iss": "https://login.microsoftonline.com/{tenantid}/v2.0" }),
            Cause::WrongIssuer,
            "",
        ),
        (entra(), entra_v2(), json!({ "oid": null }), Cause::ClaimMissing, "nobody for ever"),
        (entra(), entra_v2(), overage, Cause::GroupOverage, "more than 200 groups"),
        (entra(), entra_v2(), json!({ "groups": null, "hasgroups": true }), Cause::GroupOverage, "implicit flow"),
        (entra(), entra_id_token(), json!({}), Cause::WrongType, "an ID token with a nonce"),
        (entra(), entra_id_token(), json!({ "nonce": null }), Cause::WrongType, "and without"),
        (entra(), entra_v1(), json!({ "appid": null }), Cause::WrongType, "of version 1"),
        (entra(), entra_v2(), json!({ "aud": "https://database.windows.net/" }), Cause::WrongAudience, "for Microsoft"),
        (okta_at(), okta(), json!({ "iss": "https://contoso.okta.com" }), Cause::WrongIssuer, "the organisation's own"),
        (okta_at(), okta(), json!({ "cid": null, "scp": null }), Cause::WrongType, "an ID token"),
        (okta_at(), okta(), json!({ "at_hash": "x" }), Cause::WrongType, "an ID token"),
        (okta_at(), okta(), json!({ "uid": 7 }), Cause::ClaimMalformed, "no text"),
        (google_hd(), google(), json!({ "hd": null }), Cause::ClaimMissing, "a private account"),
        (google_hd(), google(), json!({ "hd": "fabrikam.com" }), Cause::ClaimMismatch, "of another domain"),
        (google_hd(), google_service_account(), json!({}), Cause::ClaimMissing, "service accounts were not asked for"),
        (
            octo(),
            github(),
            json!({ "repository_owner_id": "66" }),
            Cause::ClaimMismatch,
            "of another owner of that name",
        ),
        (octo(), github(), json!({ "repository_id": null }), Cause::ClaimMissing, "no repository"),
        (octo(), github(), json!({ "exp": NOW - 60 }), Cause::Expired, "after five minutes"),
        (group(), gitlab(), json!({ "namespace_id": "73" }), Cause::ClaimMismatch, "of another group"),
        (group(), gitlab(), json!({ "iss": "https://gitlab.example" }), Cause::WrongIssuer, "of another server"),
        (
            cluster(),
            kubernetes(),
            json!({ "aud": ["https://kubernetes.default.svc"] }),
            Cause::WrongAudience,
            "for the API",
        ),
        (
            cluster(),
            kubernetes(),
            json!({ "iss": "kubernetes/serviceaccount", "exp": null }),
            Cause::WrongIssuer,
            "legacy",
        ),
    ];
    for (settings, claims, changes, cause, why) in cases {
        let name = settings.name.clone();
        let refusal = ask(settings, &merged(claims, &changes)).await.err();
        assert_eq!(refusal.map(|refusal| refusal.cause), Some(cause), "{name}: {changes} {why}");
    }
}

#[tokio::test]
async fn an_overage_says_what_to_do_and_does_not_count_where_groups_are_not_used() {
    let overage = merged(entra_v2(), &json!({ "groups": null, "hasgroups": true }));
    let refusal = ask(entra(), &overage).await.unwrap_err();
    assert_eq!(refusal.sentence, "the token does not list your groups because there are too many");
    assert!(refusal.hint.contains("use roles, or groups assigned to this application"), "{refusal:?}");
    let mut by_roles = entra();
    by_roles.claims.groups = None;
    assert_eq!(ask(by_roles, &overage).await.unwrap().roles, ["analyst"]);
}

#[tokio::test]
async fn a_key_of_entra_signs_for_the_tenant_that_it_is_of() {
    let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "rsa" });
    let asked = async |key_issuer: &str, claims: Value| {
        let key = merged(fixtures::jwk(Signer::Rsa), &json!({ "issuer": key_issuer }));
        ask_with(entra(), &key, &header, &claims).await.map_err(|refusal| refusal.cause)
    };
    let of_all = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    for claims in [entra_v2(), entra_v1(), entra_app()] {
        assert!(asked(of_all, claims.clone()).await.is_ok());
        assert!(asked(&of(TENANT), claims.clone()).await.is_ok());
        assert_eq!(asked(&of(OTHER_TENANT), claims.clone()).await, Err(Cause::UnknownKey));
        assert_eq!(asked("https://login.microsoftonline.com/9188040d/v2.0", claims).await, Err(Cause::UnknownKey));
    }
}

#[tokio::test]
async fn the_same_object_of_two_tenants_is_two_principals() {
    let other = json!({ "tid": OTHER_TENANT, "iss": format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0") });
    let (one, two) =
        (ask(entra(), &entra_v2()).await.unwrap(), ask(entra(), &merged(entra_v2(), &other)).await.unwrap());
    assert_eq!(one.subject, two.subject);
    assert_ne!(one.issuer, two.issuer);
}

#[tokio::test]
async fn an_address_that_the_issuer_does_not_vouch_for_is_nobody_s() {
    let hd = || requiring(settings("google"), &[("hd", "contoso.com")]);
    for unverified in [json!(false), json!("false")] {
        let claims = merged(google(), &json!({ "email_verified": unverified }));
        let who = ask(hd(), &claims).await.unwrap();
        assert_eq!((who.email, who.display.as_deref()), (None, Some("Ana Analyst")));
    }
}

#[tokio::test]
async fn config_can_change_what_a_preset_begins_with() {
    let any = IssuerSettings { tokens: Tokens::Any, ..entra() };
    assert!(ask(any, &entra_id_token()).await.is_ok(), "ID tokens, if somebody wants them");
    let mut strict = IssuerSettings { tokens: Tokens::AtJwt, ..entra() };
    assert_eq!(ask(strict.clone(), &entra_v2()).await.unwrap_err().cause, Cause::WrongType);
    strict.claims.subject = "sub".to_owned();
    let header = json!({ "typ": "at+jwt", "alg": "RS256", "kid": "rsa" });
    let who = ask_with(strict, &fixtures::jwk(Signer::Rsa), &header, &entra_v2()).await.unwrap();
    assert_eq!(who.subject, "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ");
}

#[test]
fn every_preset_is_whole_but_for_what_only_config_can_know() {
    for preset in &Preset::ALL {
        let begun = preset.settings("x");
        let keys: Vec<&str> = begun.problems().into_iter().map(|problem| problem.key).collect();
        let expected: &[&str] = match preset.name {
            "oidc" | "okta" | "kubernetes" => &["discovery", "audience"],
            "entra" => &["audience", "tenants"],
            _ => &["audience"],
        };
        assert_eq!(keys, expected, "{}", preset.name);
        assert!(preset.narrowed_by.is_empty() || preset.discovery.is_some(), "{}", preset.name);
    }
    let names: std::collections::BTreeSet<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
    assert_eq!(names.len(), Preset::ALL.len());
}
