//! Our own logins at a target.

use super::*;

const LOGIN: &str = "login    = { user = \"hansard\", password = { file = \"/run/secrets/pg\" } }";

/// The minimal file with these logins, each but for its password, and with more in its identity.
fn with(logins: &[&str], identity: &str) -> String {
    let one = |login: &&str| format!("{{ {login}, password = {{ env = \"P\" }} }}");
    let logins: Vec<String> = logins.iter().map(one).collect();
    format!("{}[identity.entra]\n{identity}\n", changed(LOGIN, &format!("login = [{}]", logins.join(", "))))
}

const IDENTITY: &str = "roles = \"roles\"\ngroups = \"groups\"\nkeep = [\"level\"]";

#[test]
fn several_logins_say_whose_they_are_in_their_order() {
    let written = "user = \"w\", whose = { roles = [\"a\", \"b\"], groups = \"g\", subjects = \"s\", issuers = \"entra\", \
         kind = \"workload\", claims = { level = [3, true] } }";
    let config = parse(&with(&[written, "user = \"r\", require = \"md5\""], IDENTITY)).unwrap();
    let [writer, reader] = config.targets[0].logins.as_slice() else { panic!("{config:?}") };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let whose = Whose {
        roles: texts(&["a", "b"]),
        groups: texts(&["g"]),
        subjects: texts(&["s"]),
        issuers: texts(&["entra"]),
        kind: Some(PrincipalKind::Workload),
        claims: [("level".to_owned(), texts(&["3", "true"]))].into(),
    };
    assert_eq!((writer.user.as_str(), &writer.whose), ("w", &whose));
    assert_eq!((reader.user.as_str(), &reader.whose, reader.require), ("r", &Whose::default(), Require::Md5));
    assert_eq!(config.secrets().len(), 2);
}

#[test]
fn what_could_never_be_somebody_s_is_an_error() {
    let said = |login: &str, identity: &str| problems(&with(&[login], identity)).concat();
    for (login, expected) in [
        ("user = \"u\", whose = {}", "login.whose: says nothing; leave it out"),
        ("user = \"u\", whose = { claims = { team = \"red\" } }", "login.whose.claims.team: no [identity.NAME] keeps"),
        ("user = \"u\", whose = { issuers = \"nobody\" }", "login.whose.issuers: there is no [issuer.nobody]"),
        ("user = \"u\", whose = { kind = \"robot\" }", "login.whose.kind: expected one of \"person\" \"workload\""),
        ("user = \"u\", whose = { role = \"a\" }", "unknown key \"role\"; did you mean \"roles\"?"),
        ("user = \"u\", whose = { roles = [] }", "login.whose.roles: the list is empty"),
    ] {
        let said = said(login, IDENTITY);
        assert!(said.contains(expected), "{login}: {said}");
    }
    let of_pods = "login = { user = \"u\", password = { env = \"P\" }, whose = { groups = \"g\" } }";
    let of_pods = changed(LOGIN, of_pods).replace("[issuer.entra]", "[issuer.entra]\npreset = \"kubernetes\"");
    let unnamed = problems(&of_pods).concat();
    assert!(unnamed.contains("login.whose.groups: no [identity.NAME] says which claim holds groups"), "{unnamed}");
    let twice = with(&["user = \"u\"", "user = \"u\", whose = { subjects = \"s\" }"], IDENTITY);
    assert!(problems(&twice).concat().contains("target.app.login: an earlier login as \"u\" is everybody's"));
    assert!(parse(&with(&["user = \"r\"", "user = \"w\", whose = { roles = \"a\" }"], IDENTITY)).is_ok());
    let many: Vec<&str> = std::iter::repeat_n("user = \"u\", whose = { subjects = \"s\" }", 65).collect();
    assert!(problems(&with(&many, IDENTITY)).concat().contains("target.app.login: has more than 64 logins"));
}
