//! How people's own tools sign in.

use super::*;

/// The least file with a client of its issuer in a section of its own.
pub(super) const SIGNED_IN: &str =
    concat!(include_str!("../../../fixtures/config/minimal.toml"), "\n[issuer.entra.client]\nid = \"x\"\n");

/// The least file with a client at its issuer, and these sections after it.
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
    assert!(without[0].ends_with("sign_in: no [issuer.NAME] has a `client`, which people sign in by"), "{without:?}");
}

#[test]
fn a_listener_may_have_another_name_outside() {
    let text = format!("{MINIMAL}[listener.main]\npublic = \"db.example.com:5432\"\n");
    let config = parse(&text).unwrap();
    let public = Upstream { host: "db.example.com".to_owned(), port: 5432 };
    assert_eq!(config.listeners[0].public, Some(public));
}
