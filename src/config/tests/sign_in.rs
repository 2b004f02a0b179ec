//! How people's own tools sign in.

use super::*;
use crate::identity::{KeysAt, Transmitter};

/// The least file with a client of its issuer in a section of its own.
pub(super) const SIGNED_IN: &str =
    concat!(include_str!("../../../fixtures/config/minimal.toml"), "\n[issuer.entra.client]\nid = \"x\"\n");

/// The least file with a client at its issuer, and these sections after it.
/// The least file with an issuer that is asked about its tokens.
pub(super) const ASKED: &str = concat!(
    include_str!("../../../fixtures/config/minimal.toml"),
    "\n[issuer.entra.introspection]\nclient_id = \"x\"\nclient_secret = { file = \"s\" }\n"
);

fn with_client(client: &str, more: &str) -> String {
    let audience = "audience  = \"api://hansard\"\n";
    changed(audience, &format!("{audience}client = {client}\n")) + more
}

#[test]
fn a_client_needs_an_id_and_has_the_rest_by_itself() {
    let client = |written: &str| parse(&with_client(written, "")).unwrap().issuers.remove(0).client.unwrap();
    let expected = IssuerClient {
        id: "hansard-cli".to_owned(),
        scopes: ["profile", "email", "offline_access"].map(str::to_owned).to_vec(),
        resource: None,
        prompt: None,
        redirect: "http://127.0.0.1/".to_owned(),
        token: ClientToken::Access,
    };
    assert_eq!(client("{ id = \"hansard-cli\" }"), expected);
    let rest = "prompt = \"consent\", redirect = \"http://localhost:8250/\", token = \"id\"";
    let all = &format!("{{ id = \"x\", scopes = \"a\", resource = \"api://x\", {rest} }}");
    let expected = IssuerClient {
        id: "x".to_owned(),
        scopes: vec!["a".to_owned()],
        resource: Some("api://x".to_owned()),
        prompt: Some("consent".to_owned()),
        redirect: "http://localhost:8250/".to_owned(),
        token: ClientToken::Id,
    };
    assert_eq!(client(all), expected);
}

#[test]
fn a_browser_is_sent_back_to_this_machine_and_nowhere_else() {
    for elsewhere in ["https://127.0.0.1/", "http://hansard.example/", "http://localhost.example/", "127.0.0.1"] {
        let said = problems(&with_client(&format!("{{ id = \"x\", redirect = \"{elsewhere}\" }}"), ""));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("issuer.entra.client.redirect: expected http:// and this machine"), "{said:?}");
    }
}

#[test]
fn where_people_sign_in_has_an_address_of_its_own_and_a_certificate() {
    let sign_in = |section: &str| with_client("{ id = \"x\" }", &format!("[sign_in]\n{section}\n"));
    let config = parse(&sign_in("address = \"0.0.0.0:8443\"")).unwrap();
    let expected = SignIn { address: "0.0.0.0:8443".parse().unwrap(), listener: "main".to_owned() };
    assert_eq!(config.sign_in, Some(expected));
    for (section, problem) in [
        ("address = \"127.0.0.1:6432\"", "sign_in.address: is that of listener.main too"),
        (
            "address = \"[::1]:1\"\nlistener = \"mian\"",
            "sign_in.listener: there is no [listener.mian]; did you mean \"main\"?",
        ),
    ] {
        let said = problems(&sign_in(section));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].ends_with(problem), "{said:?}");
    }
    let without = problems(&format!("{MINIMAL}[sign_in]\naddress = \"0.0.0.0:8443\"\n"));
    assert!(
        without[0].contains("sign_in: no [issuer.NAME] has a `client`, which people sign in by, or"),
        "{without:?}"
    );
}

#[test]
fn an_issuer_is_listened_to_where_it_is_told_for_whom_it_speaks() {
    const DOOR: &str = "[sign_in]\naddress = \"0.0.0.0:8443\"\n";
    let ends = |ends: &str, client: &str| {
        let audience = "audience  = \"api://hansard\"\n";
        MINIMAL.replace(audience, &format!("{audience}{client}ends = {ends}\n"))
    };
    let read = |text: &str| parse(&format!("{text}{DOOR}")).unwrap().issuers[0].settings.ends.clone().unwrap();
    let with_client = read(&ends("{}", "client = { id = \"cli\" }\n"));
    assert_eq!((with_client.audience, with_client.transmitter), (vec!["cli".to_owned()], None));
    let own = read(&ends("{ audience = \"x\", transmitter = { issuer = \"https://t\", jwks_file = \"k.json\" } }", ""));
    let keys = KeysAt::File("/etc/hansard/k.json".into());
    assert_eq!(own.transmitter, Some(Transmitter { issuer: "https://t".to_owned(), keys }));
    for (ends, door, problem) in [
        (ends("{}", ""), DOOR, "needs the key \"audience\", as there is no `client`"),
        (ends("{ audience = [] }", ""), DOOR, "the list is empty"),
        (ends("{ audience = \"\" }", ""), DOOR, "is empty"),
        (ends("{ audience = \"x\" }", ""), "", "[sign_in], which is missing"),
        (
            ends("{ audience = \"x\", transmitter = { issuer = \"t\", discovery = \"http://t\" } }", ""),
            DOOR,
            "http:// is for loopback; use https://",
        ),
    ] {
        let said = problems(&format!("{ends}{door}"));
        assert!(said.len() == 1 && said[0].contains(problem), "{said:?}");
    }
}

#[test]
fn an_issuer_is_asked_about_tokens_at_a_pace_where_it_can_be_asked() {
    let asked = |how: &str| MINIMAL.replace("audience  =", &format!("introspection = {{ {how} }}\naudience  ="));
    let id = "client_id = \"us\", client_secret = { file = \"s\" }";
    let config = parse(&asked(id)).unwrap();
    let how = config.issuers[0].introspection.clone().unwrap();
    assert_eq!((how.client_id.as_str(), how.every), ("us", Duration::from_secs(60)));
    assert!(config.secrets().contains(&&how.client_secret));
    for (how, problem) in [
        (format!("{id}, every = \"1s\""), "must be 5s to 1d"),
        ("client_id = \"us\"".to_owned(), "the key \"client_secret\" is missing"),
    ] {
        let said = problems(&asked(&how));
        assert!(said.len() == 1 && said[0].contains(problem), "{said:?}");
    }
    let in_file =
        asked(id).replace("discovery = \"https://login.example/tenant/v2.0\"", "issuer = \"x\"\njwks_file = \"k\"");
    assert!(
        problems(&in_file).iter().any(|said| said.contains("so `discovery` is needed")),
        "{:?}",
        problems(&in_file)
    );
}

#[test]
fn a_listener_by_oauthbearer_says_where_to_sign_in() {
    let listener = |bearer: &str| format!("{MINIMAL}[listener.main]\noauth_bearer = {{{bearer}}}\n");
    let at = parse(&listener("")).unwrap().listeners[0].oauth_bearer.clone().unwrap();
    let configuration = "https://login.example/tenant/v2.0/.well-known/openid-configuration";
    assert_eq!((at.configuration.as_str(), at.scope.as_str()), (configuration, "openid"));
    let asked = "audience  =";
    let client = "client = { id = \"cli\", scopes = [\"api://x/.default\", \"offline_access\"] }";
    let with_client = listener("issuer = \"entra\"").replace(asked, &format!("{client}\n{asked}"));
    let at = parse(&with_client).unwrap().listeners[0].oauth_bearer.clone().unwrap();
    assert_eq!(at.scope, "openid api://x/.default offline_access");
    let in_file =
        listener("").replace("discovery = \"https://login.example/tenant/v2.0\"", "issuer = \"x\"\njwks_file = \"k\"");
    for (text, problem) in [
        (listener("issuer = \"entar\""), "there is no [issuer.entar]"),
        (in_file, "clients find the issuer by its discovery document, and it has none"),
    ] {
        let said = problems(&text);
        assert!(said.len() == 1 && said[0].contains(problem), "{said:?}");
    }
}

#[test]
fn operators_have_a_role_and_a_door() {
    let text = |operators: &str, door: &str| format!("{MINIMAL}[operators]\n{operators}\n{door}");
    const DOOR: &str = "[sign_in]\naddress = \"0.0.0.0:8443\"\n";
    let operators = parse(&text("roles = \"op\"\nissuers = [\"entra\"]", DOOR)).unwrap().operators.unwrap();
    assert_eq!((operators.roles, operators.issuers), (vec!["op".to_owned()], vec!["entra".to_owned()]));
    for (operators, door, problem) in [
        ("roles = \"op\"", "", "[sign_in], which is missing"),
        ("roles = [\"op\", \"\"]", DOOR, "is empty"),
        ("", DOOR, "the key \"roles\" is missing"),
        ("roles = \"op\"\nissuers = \"entar\"", DOOR, "there is no [issuer.entar]"),
    ] {
        let said = problems(&text(operators, door));
        assert!(said.len() == 1 && said[0].contains(problem), "{said:?}");
    }
}

#[test]
fn a_listener_may_have_another_name_outside() {
    let text = format!("{MINIMAL}[listener.main]\npublic = \"db.example.com:5432\"\n");
    let config = parse(&text).unwrap();
    let public = Upstream { host: "db.example.com".to_owned(), port: 5432 };
    assert_eq!(config.listeners[0].public, Some(public));
}
