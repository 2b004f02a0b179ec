//! Our own login: a password, or a token and of whom it is had.

use super::*;

/// The minimal file with another login at its target.
fn with(login: &str) -> String {
    changed(
        "login    = { user = \"hansard\", password = { file = \"/run/secrets/pg\" } }",
        &format!("login = {{ user = \"u\", {login} }}"),
    )
}

fn token(text: &str) -> LoginToken {
    let config = parse(&with(&format!("token = {{ {text} }}"))).unwrap();
    let [Login { proof: LoginProof::Token(token), require: Require::Password, .. }] =
        config.targets[0].logins.as_slice()
    else {
        panic!("{:?}", config.targets)
    };
    token.clone()
}

#[test]
fn a_token_of_ours_is_had_by_a_secret_by_an_assertion_or_of_the_machine() {
    let by_secret = token(
        r#"from = "client_credentials", tenant = "contoso.example", client_id = "c", client_secret = { file = "s" }"#,
    );
    assert_eq!(by_secret.scope.as_deref(), Some("https://ossrdbms-aad.database.windows.net/.default"));
    let secret = Secret::in_file("target.app.login.token.client_secret", "/etc/hansard/s");
    let endpoint = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token".to_owned();
    assert_eq!(by_secret.of, TokenIssuer::ClientCredentials { endpoint, client_id: "c".to_owned(), secret });

    let by_assertion = token(
        r#"from = "workload_identity", endpoint = "https://i.example/token", client_id = "c", assertion_file = "a", resource = "db""#,
    );
    assert_eq!((by_assertion.scope, by_assertion.resource.as_deref()), (None, Some("db")));
    let assertion = Some(Secret::in_file("target.app.login.token.assertion_file", "/etc/hansard/a"));
    let (endpoint, client_id) = (Some("https://i.example/token".to_owned()), Some("c".to_owned()));
    assert_eq!(by_assertion.of, TokenIssuer::WorkloadIdentity { endpoint, client_id, assertion });
    let of_the_pod = token(r#"from = "workload_identity""#);
    assert_eq!(of_the_pod.of, TokenIssuer::WorkloadIdentity { endpoint: None, client_id: None, assertion: None });

    let of_the_machine = token(r#"from = "managed_identity""#);
    assert_eq!(of_the_machine.resource.as_deref(), Some("https://ossrdbms-aad.database.windows.net"));
    assert_eq!(of_the_machine.of, TokenIssuer::ManagedIdentity { endpoint: None, client_id: None });
    let text = with(r#"token = { from = "managed_identity", ca_file = "ca.pem" }"#);
    let file = ("target.app.login.token.ca_file".to_owned(), Path::new("/etc/hansard/ca.pem"));
    assert!(parse(&text).unwrap().files().contains(&file));
    let text = with(
        r#"token = { from = "client_credentials", tenant = "t", client_id = "c", client_secret = { env = "S" } }"#,
    );
    assert_eq!(parse(&text).unwrap().secrets().len(), parse(MINIMAL).unwrap().secrets().len());
}

#[test]
fn a_login_by_token_that_could_not_work_or_be_safe_is_refused() {
    for (login, said) in [
        ("", "target.app.login: the key \"password\" is missing, or \"token\""),
        (
            r#"password = { env = "P" }, token = { from = "managed_identity" }"#,
            "target.app.login.token: a login shows a password or a token, not both",
        ),
        (r#"token = { from = "managed" }"#, "expected one of \"client_credentials\" \"workload_identity\""),
        (r#"token = { from = "managed_identity", client_secrets = { env = "S" } }"#, "did you mean \"client_secret\"?"),
        (
            r#"token = { from = "managed_identity", client_secret = { env = "S" } }"#,
            "client_secret: has no meaning with from = \"managed_identity\"",
        ),
        (
            r#"token = { from = "managed_identity", tenant = "t" }"#,
            "tenant: has no meaning with from = \"managed_identity\"",
        ),
        (r#"token = { from = "managed_identity", endpoint = "http://a.example/t" }"#, "http:// is for loopback"),
        (r#"token = { from = "client_credentials", client_id = "c" }"#, "needs \"tenant\" or \"endpoint\""),
        (r#"token = { from = "client_credentials", client_id = "c" }"#, "needs \"client_secret\""),
        (
            r#"token = { from = "workload_identity", endpoint = "https://a.example/t" }"#,
            "needs \"scope\" or \"resource\"",
        ),
        (
            r#"token = { from = "workload_identity", endpoint = "https://a.example/t", tenant = "t" }"#,
            "is that of the tenant, or of another issuer, not both",
        ),
        (r#"token = { from = "workload_identity", tenant = "a/b" }"#, "a tenant is an identifier or a domain"),
        (
            r#"token = { from = "client_credentials", tenant = "t", client_id = "c", client_secret = "hunter2" }"#,
            "a secret is given by reference",
        ),
        (
            r#"token = { from = "managed_identity" }, require = "any""#,
            "require: a token is a password that is sent as it is",
        ),
    ] {
        let problems = problems(&with(login.trim_end_matches(", "))).join("\n");
        assert!(problems.contains(said) && !problems.contains("hunter2"), "{login}: {problems}");
    }
    let token = r#"token = { from = "managed_identity" } }"#;
    for (upstream, tls) in [("127.0.0.1:5432", "tls = { mode = \"disable\" }"), ("/run/postgresql:5432", "")] {
        let text = with(&format!("{token}\n{tls} #")).replace("pg.internal:5432", upstream);
        let problems = problems(&text).join("\n");
        assert!(problems.contains("login.token: a token is sent over verified TLS only"), "{problems}");
    }
}
