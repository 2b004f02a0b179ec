//! A listener that takes tokens by SASL `OAUTHBEARER`: with a real libpq 18, with one that knows no such thing, and byte by byte.

use std::process::Command;

use serde_json::{Value, json};

use super::support::raw::{PROTOCOL, Raw, message};
use super::support::{Hansard, Issuer, Login, Store, lossy, python, repository};

/// A Hansard whose clients sign in at the issuer.
fn bearing() -> Hansard {
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
    Hansard::start_on(Store::Folder, &rules, Issuer::shared(), &|config| {
        config
            .replace("targets = [\"app\"]\n", "targets = [\"app\"]\noauth_bearer = { scope = \"openid db:connect\" }\n")
    })
}

/// What libpq 18 makes of it, with this token.
fn libpq18(login: &Login, token: &str, more: &str) -> Value {
    let Login { port, user, database, application, .. } = login;
    let issuer = Issuer::shared().url();
    let mut command = python();
    command.arg(repository("tests/clients/bearer_libpq18.py"));
    command.arg(format!(
        "host=127.0.0.1 port={port} user={user} dbname={database} application_name={application} sslmode=require \
         require_auth=oauth oauth_issuer={issuer} oauth_client_id=hansard-cli {more}"
    ));
    let output = command.arg("TOKEN").env("TOKEN", token).output().unwrap();
    assert!(!output.stdout.is_empty(), "{}", lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn libpq_18_is_told_where_to_sign_in_and_comes_in_with_the_token_it_gets_there() {
    let hansard = bearing();
    let issuer = Issuer::shared();
    let token = issuer.token("ana");
    let told = libpq18(&hansard.login_by(String::new(), "libpq18"), &token, "");
    assert_eq!(told["answer"], 42, "{told}");
    let configuration = format!("{}/.well-known/openid-configuration", issuer.url());
    assert_eq!(told["asked"], json!([[configuration, "openid db:connect"]]), "{told}");

    let expired = issuer.expired_token("ana", std::time::Duration::from_secs(600));
    let told = libpq18(&hansard.login_by(String::new(), "expired"), &expired, "");
    assert!(told["error"].as_str().unwrap().contains("hansard: your sign-in expired 10 min ago"), "{told}");
    let other = issuer.token_for("ana", "api://other", std::time::Duration::from_secs(60));
    let told = libpq18(&hansard.login_by(String::new(), "other"), &other, "");
    assert!(told["error"].as_str().unwrap().contains("hansard: the token was issued for another service"), "{told}");

    // The first connection of libpq only asked where; nobody was refused for it.
    let sql = "select application, kind, reason from sessions order by application";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let row = |application: &str, kind: &str, reason: &str| json!({ "application": application, "kind": kind, "reason": reason });
    let expected = [
        row("expired", "refused", "expired"),
        row("libpq18", "closed", "client_terminated"),
        row("other", "refused", "wrong_audience"),
    ];
    assert_eq!(rows, expected);
    assert!(hansard.log().contains("a client asked where to sign in"));
}

#[test]
fn a_client_that_knows_no_such_thing_says_so_itself() {
    let hansard = bearing();
    let Login { port, .. } = hansard.login("ana", "x");
    let mut psql = Command::new("psql");
    psql.arg("-X")
        .arg(format!("host=127.0.0.1 port={port} dbname=app user=x sslmode=require"))
        .arg("-c")
        .arg("select 1");
    let said = psql.env("PGPASSWORD", "x").output().unwrap();
    let said = lossy(&said.stderr);
    assert!(said.contains("none of the server's SASL authentication mechanisms are supported"), "{said}");
}

#[test]
fn nobodys_token_goes_in_the_clear_and_what_is_no_message_of_it_is_refused() {
    let hansard = bearing();
    let login = hansard.login("ana", "raw");
    let startup = |raw: &mut Raw| {
        raw.send(&super::support::raw::startup(PROTOCOL, &[("user", "x"), ("database", "app")]));
        raw.next().unwrap()
    };
    let mut plain = Raw::plain(login.port);
    let refused = startup(&mut plain);
    assert_eq!((refused.kind, refused.field('C').as_str()), ('E', "28000"), "before anything of SASL");

    let initial = |text: &str| {
        let text = text.replace('^', "\u{1}");
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        message('p', &[b"OAUTHBEARER\0", &length[..], text.as_bytes()].concat())
    };
    let mut raw = Raw::tls(login.port);
    assert_eq!(startup(&mut raw).body, b"\0\0\0\x0aOAUTHBEARER\0\0");
    raw.send(&initial("n,,^auth=^^"));
    let told = raw.next().unwrap();
    assert_eq!((told.kind, told.body.get(..4)), ('R', Some(&b"\0\0\0\x0b"[..])));
    let told: Value = serde_json::from_slice(told.body.get(4..).unwrap()).unwrap();
    assert_eq!((&told["status"], &told["scope"]), (&json!("invalid_token"), &json!("openid db:connect")));
    raw.send(&message('p', b"\x01"));
    let end = raw.next().unwrap();
    assert_eq!((end.kind, end.field('C').as_str()), ('E', "28000"));

    for bad in ["n,,^auth=Bearer x", "p=x,,^auth=Bearer x^^", "n,a=dora,^auth=Bearer x^^", "n,,^auth=Basic x^^", ""] {
        let mut raw = Raw::tls(login.port);
        startup(&mut raw);
        raw.send(&initial(bad));
        let mut refused = raw.next().unwrap();
        if refused.kind == 'R' {
            raw.send(&message('p', b"\x01"));
            refused = raw.next().unwrap();
        }
        assert_eq!(refused.field('C'), "08P01", "{bad}");
    }
}
