//! Issuers: presets and what changes them, keys in a file, workloads, and what is refused.

use std::path::PathBuf;

use super::*;
use crate::identity::Preset;

/// The least file with these issuers instead of its own.
fn with(issuers: &str) -> String {
    let (before, rest) = MINIMAL.split_once("[issuer.entra]").unwrap();
    let (_, after) = rest.split_once("[target.app]").unwrap();
    format!("{before}{issuers}\n[target.app]{after}")
}

fn read(issuers: &str) -> Vec<IssuerSettings> {
    let config = parse(&with(issuers)).unwrap_or_else(|problems| panic!("{problems}"));
    config.issuers.into_iter().map(|issuer| issuer.settings).collect()
}

fn only(issuers: &str) -> IssuerSettings {
    let mut read = read(issuers);
    assert_eq!(read.len(), 1);
    read.remove(0)
}

/// The problems without the places.
fn said(issuers: &str) -> Vec<String> {
    problems(&with(issuers)).into_iter().map(|line| line.splitn(3, ':').nth(2).unwrap().trim().to_owned()).collect()
}

const TENANT: &str = "8b1c7a52-3f0e-4a57-9a51-6f0f3c0de001";

#[test]
fn any_number_of_issuers_each_with_what_its_claims_mean() {
    let issuers = read(
        "[issuer.a]\ndiscovery = \"https://a.example\"\naudience = \"x\"\n\
         [issuer.b]\ndiscovery = \"https://b.example\"\naudience = [\"x\", \"y\"]\n\
         [identity.b]\nsubject = \"oid\"\nkeep = \"team\"\n",
    );
    let [a, b] = issuers.as_slice() else { panic!("{issuers:?}") };
    assert_eq!((a.name.as_str(), a.claims.subject.as_str()), ("a", "sub"));
    assert_eq!((b.name.as_str(), b.claims.subject.as_str()), ("b", "oid"));
    assert_eq!((a.claims.keep.len(), b.claims.keep.len(), b.audience.len()), (0, 1, 2));
}

#[test]
fn every_preset_has_a_word_and_every_word_a_preset() {
    for preset in Preset::ALL {
        let issuer = format!(
            "[issuer.i]\npreset = \"{}\"\ndiscovery = \"https://i.example/oauth2/x\"\naudience = \"a\"\n{}",
            preset.name,
            if preset.name == "entra" { format!("tenants = \"{TENANT}\"\n") } else { String::new() },
        );
        let read = only(&issuer);
        let begun = preset.settings("i");
        assert_eq!((read.claims, read.tokens), (begun.claims, begun.tokens), "{}", preset.name);
    }
    let unknown = said("[issuer.i]\npreset = \"keycloak\"\ndiscovery = \"https://i.example\"\naudience = \"a\"\n");
    assert!(unknown[0].starts_with("issuer.i.preset: expected one of \"oidc\" \"entra\" \"okta\""), "{unknown:?}");
}

#[test]
fn entra_is_named_by_its_tenants() {
    let entra = |lines: &str| format!("[issuer.e]\npreset = \"entra\"\naudience = \"a\"\n{lines}\n");
    let one = only(&entra(&format!("tenants = \"{TENANT}\"")));
    assert_eq!(one.keys, KeysAt::Discovery(format!("https://login.microsoftonline.com/{TENANT}/v2.0")));
    let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    assert_eq!(one.accepted(), [v2, format!("https://sts.windows.net/{TENANT}/")]);
    let many = only(&entra("tenants = [\"t1\", \"t2\"]"));
    assert_eq!(many.keys, KeysAt::Discovery("https://login.microsoftonline.com/organizations/v2.0".to_owned()));
    assert_eq!(many.accepted().len(), 4);
    let nobody = ["issuer.e.tenants: at least one tenant is needed: whose tokens are taken is written out"];
    assert_eq!(said(&entra("")), nobody);
    let government = "tenants = \"t1\"\ndiscovery = \"https://login.microsoftonline.us/t1/v2.0\"\n\
                      issuer = \"https://login.microsoftonline.us/{tenantid}/v2.0\"";
    assert_eq!(only(&entra(government)).accepted(), ["https://login.microsoftonline.us/t1/v2.0"]);
}

#[test]
fn an_issuer_that_serves_the_whole_world_is_narrowed_or_refused() {
    for (preset, narrow, no_help) in [
        ("google", "hd = \"contoso.com\"", "email_verified = true"),
        ("github-actions", "repository_owner_id = 65", "ref = \"refs/heads/main\""),
        ("gitlab", "namespace_id = \"4\"", "ref_protected = \"true\""),
    ] {
        let issuer = |lines: &str| format!("[issuer.i]\npreset = \"{preset}\"\naudience = \"a\"\n{lines}\n");
        assert_eq!(read(&issuer(&format!("require_claims = {{ {narrow} }}"))).len(), 1);
        for wide in [String::new(), format!("require_claims = {{ {no_help} }}")] {
            let said = said(&issuer(&wide));
            let wanted = "issuer.i.require_claims: everybody can get a token of this issuer for your audience";
            assert!(said.len() == 1 && said[0].starts_with(wanted), "{said:?}");
        }
        let both = format!("require_claims = {{ {narrow} }}\nrequire_claims_of_workloads = {{ {no_help} }}");
        assert!(said(&issuer(&both))[0].starts_with("issuer.i.require_claims_of_workloads: everybody"), "{preset}");
        assert_eq!(read(&issuer("discovery = \"https://own.example\"")).len(), 1, "a server of one's own");
    }
}

#[test]
fn keys_may_stand_in_a_file_then_the_issuer_has_to_be_named() {
    let file = |lines: &str| format!("[issuer.k]\npreset = \"kubernetes\"\naudience = \"a\"\n{lines}\n");
    let text = with(&file("issuer = \"https://kubernetes.default.svc\"\njwks_file = \"keys.json\""));
    let config = parse(&text).unwrap();
    let path = PathBuf::from("/etc/hansard/keys.json");
    assert_eq!(config.issuers[0].settings.keys, KeysAt::File(path.clone()));
    assert_eq!(config.issuers[0].settings.accepted(), ["https://kubernetes.default.svc"]);
    assert!(config.files().contains(&("issuer.k.jwks_file".to_owned(), path.as_path())));
    let nameless = ["issuer.k.issuer: with `jwks_file`, the `iss` of the tokens is needed"];
    assert_eq!(said(&file("jwks_file = \"keys.json\"")), nameless);
    let both = "jwks_file = \"keys.json\"\ndiscovery = \"https://k.example\"";
    assert_eq!(said(&file(both)), ["issuer.k.jwks_file: the keys are found by `discovery` or in this file, not both"]);
    assert_eq!(said(&file("")), ["issuer.k: the key \"discovery\" is missing"]);
}

#[test]
fn workloads_are_told_by_what_is_written_instead_of_the_preset_s_way() {
    let identity = |lines: &str| {
        let text = format!(
            "[issuer.i]\npreset = \"okta\"\ndiscovery = \"https://o.example/oauth2/x\"\naudience = \"a\"\n\
             [identity.i]\n{lines}\n"
        );
        only(&text).claims
    };
    let begun = identity("");
    assert_eq!((begun.subject.as_str(), begun.workload_subject.as_deref()), ("uid", Some("cid")));
    assert_eq!(begun.workloads.without, ["uid"]);
    let none = identity("workload = false").workloads;
    assert_eq!((none.all, none.with.len(), none.without.len()), (false, 0, 0));
    assert!(identity("workload = true").workloads.all);
    let marked = identity("workload = { kind = [\"job\", 7], sub = \"*@svc\" }\nworkload_without = \"name\"").workloads;
    assert_eq!(
        (marked.with["kind"].as_slice(), marked.with["sub"].as_slice()),
        (["job".to_owned(), "7".to_owned()].as_slice(), ["*@svc".to_owned()].as_slice(),)
    );
    assert_eq!(marked.without, ["name"]);
    assert_eq!(identity("subject = \"sub\"").workload_subject, None, "the subject of everybody");
    let bad = "[issuer.i]\ndiscovery = \"https://o.example\"\naudience = \"a\"\n[identity.i]\nworkload = \"yes\"\n";
    assert_eq!(said(bad), ["identity.i.workload: expected true, false or { claim = value }, found other text"]);
}

#[test]
fn what_no_token_could_be_checked_by_is_refused() {
    let plain = |lines: &str| format!("[issuer.i]\naudience = \"a\"\n{lines}\n");
    let okta = "preset = \"okta\"\ndiscovery = \"https://o.okta.example\"";
    assert!(said(&plain(okta))[0].contains("only custom authorization servers"), "{:?}", said(&plain(okta)));
    let long = "discovery = \"https://i.example\"\nkeep_keys = \"31d\"";
    assert_eq!(said(&plain(long)), ["issuer.i.keep_keys: must be at most 30d"]);
    let tenants = "discovery = \"https://i.example\"\ntenants = \"t\"";
    assert_eq!(said(&plain(tenants)), ["issuer.i.tenants: no name in `issuer` has a place for a tenant, `{tenantid}`"]);
    let twins = "[issuer.a]\ndiscovery = \"https://i.example\"\naudience = \"a\"\n\
                 [issuer.b]\ndiscovery = \"https://i.example\"\naudience = \"b\"\n";
    let expected = "issuer.b: its tokens say that they are from https://i.example, as those of issuer.a do";
    assert_eq!(said(twins), [expected]);
}
