//! Behind a load balancer: the client's own address is what counts, by the word of those balancers alone that are trusted.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::raw::{PROTOCOL, Raw, errors, kinds, query};
use super::support::{HaProxy, Hansard, Issuer, Login, Store, interrupted, psql, repository, wait_for};
use super::{asleep, assert_alive, closed};

/// Where the balancer of the tests connects from.
const BALANCER: &str = "127.0.0.5";

/// Nobody comes in from here.
const NOT_FROM_THERE: &str = "\n@id(\"not-from-there\")
forbid (principal, action == Action::\"connect\", resource) when { context.client.isInRange(ip(\"192.0.2.128/25\")) };\n";

fn behind_balancer(more: &str) -> Hansard {
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap() + NOT_FROM_THERE;
    let to = format!("targets = [\"app\"]\nproxy_protocol = {{ from = \"{BALANCER}\" }}{more}");
    Hansard::start_on(Store::Folder, &rules, Issuer::shared(), &|config| {
        assert!(config.contains("targets = [\"app\"]"));
        config.replace("targets = [\"app\"]", &to)
    })
}

/// The header of a client over IPv4, before 127.0.0.1:5432.
fn header(client: [u8; 4], port: u16) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &client[..], &[127, 0, 0, 1], &port.to_be_bytes(), &5432_u16.to_be_bytes()]
        .concat()
}

/// The header of a connection that the balancer makes for itself, as HAProxy's health checks do.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A session that begins with these bytes, from where the balancer is.
fn sign_in(login: &Login, begins: &[u8]) -> (Raw, Vec<super::support::raw::Message>) {
    let mut raw = Raw::plain_from(BALANCER, login.port);
    raw.send(begins);
    let mut raw = raw.in_tls();
    let said = raw.ask(login, PROTOCOL, &[]);
    (raw, said)
}

#[test]
fn behind_haproxy_the_clients_address_is_recorded_and_its_cancel_request_arrives() {
    let hansard = behind_balancer("");
    let direct = hansard.login("dev", "balanced");
    let haproxy = HaProxy::start(direct.port, BALANCER, "send-proxy-v2");
    let login = |application: &str| Login { port: haproxy.port(), ..hansard.login("dev", application) };
    let ran = psql(&login("balanced"), "select 'hello';");
    assert_eq!((ran.success, ran.stdout.as_str()), (true, "hello\n"), "{}", ran.stderr);
    let ended = closed(&hansard, "balanced");
    assert_eq!((&ended["client_address"], &ended["balancer_address"]), (&json!("127.0.0.1"), &json!(BALANCER)));
    assert_eq!(hansard.archive().rows_of("balanced", 1)[0]["client_address"], "127.0.0.1");
    let said = interrupted(&login("balanced-cancelled"), "select pg_sleep(600)", || asleep("balanced-cancelled"));
    assert!(said.contains("57014"), "{said}");
    // Past the balancer, a client is where it is.
    assert!(psql(&direct, "select 1;").success);
    let sql = "select balancer_address from sessions where application = 'balanced' and balancer_address is null";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    assert_eq!(rows.len(), 1);
}

#[test]
fn what_a_trusted_balancer_says_is_recorded_and_judged() {
    let hansard = behind_balancer("");
    let (mut raw, said) = sign_in(&hansard.login("dev", "by-header"), &header([192, 0, 2, 7], 40_000));
    assert_eq!(said.last().unwrap().kind, 'Z', "{said:?}");
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    drop(raw);
    let ended = closed(&hansard, "by-header");
    assert_eq!((&ended["client_address"], &ended["client_port"]), (&json!("192.0.2.7"), &json!(40_000)), "{ended}");
    assert_eq!(ended["balancer_address"], BALANCER);
    assert!(hansard.log().contains("\"client\":\"192.0.2.7:40000\""), "the log names the client");

    let (_, said) = sign_in(&hansard.login("dev", "from-there"), &header([192, 0, 2, 200], 40_000));
    assert_eq!(errors(&said), ["28000"]);
    let sql = "select client_address, balancer_address, rules from sessions where application = 'from-there'";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    let expected =
        json!({ "client_address": "192.0.2.200", "balancer_address": BALANCER, "rules": ["not-from-there"] });
    assert_eq!(rows, [expected]);

    // A connection of the balancer's own is its own.
    let (raw, said) = sign_in(&hansard.login("dev", "local"), LOCAL);
    assert_eq!(said.last().unwrap().kind, 'Z', "{said:?}");
    drop(raw);
    let ended = closed(&hansard, "local");
    assert_eq!((&ended["client_address"], &ended["balancer_address"]), (&json!(BALANCER), &Value::Null));
}

#[test]
fn a_header_is_due_from_those_who_are_trusted_and_taken_from_nobody_else() {
    let hansard = behind_balancer("");
    let port = hansard.login("dev", "x").port;
    let refused = |from: &str, begins: &[u8], reason: &str| {
        let lines = || hansard.log().lines().filter(|line| line.contains(reason) && line.contains(from)).count();
        let before = lines();
        let mut raw = Raw::plain_from(from, port);
        raw.send(begins);
        assert_eq!(raw.rest(), [], "{from}: {reason}");
        wait_for(reason, Duration::from_secs(10), || (lines() > before).then_some(()));
    };
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    let version_1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 5432\r\n";
    refused(BALANCER, &ssl_request, "no header of the PROXY protocol");
    refused(BALANCER, version_1, "in its first version");
    refused(BALANCER, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "longer than 4,096 bytes");
    refused(BALANCER, b"\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0", "unknown family");
    // Half of one: nobody waits for ever.
    refused(BALANCER, &header([192, 0, 2, 7], 1)[..20], "did not do so in time");
    for begins in [&header([192, 0, 2, 7], 40_000)[..], version_1] {
        refused("127.0.0.1", begins, "not among those of load balancers");
    }
    // Nor after a good one.
    refused(BALANCER, &[LOCAL, version_1].concat(), "not among those of load balancers");
    assert_alive(&hansard);
    assert!(hansard.archive().query("select 1 from sessions where client_address = '192.0.2.7'").is_empty());
}

#[test]
fn a_plain_connection_is_allowed_by_where_it_comes_from_and_not_by_what_is_said() {
    let hansard = behind_balancer("\nplain = \"loopback\"");
    let login = hansard.login("dev", "plain-balanced");
    let mut raw = Raw::plain_from(BALANCER, login.port);
    raw.send(&header([192, 0, 2, 7], 40_000));
    let said = raw.ask(&login, PROTOCOL, &[]);
    assert_eq!(said.last().unwrap().kind, 'Z', "{said:?}");
    drop(raw);
    let ended = closed(&hansard, "plain-balanced");
    assert_eq!((&ended["client_address"], &ended["tls_version"]), (&json!("192.0.2.7"), &Value::Null));
}

#[test]
fn who_fails_again_and_again_waits_for_the_answer_and_a_good_token_from_there_does_not() {
    let hansard = behind_balancer("");
    let (bad, good) =
        (Login { password: "no-token".to_owned(), ..hansard.login("dev", "fails") }, hansard.login("dev", "good"));
    let from = header([192, 0, 2, 77], 40_000);
    let attempt = || {
        let asked = std::time::Instant::now();
        let (_, said) = sign_in(&bad, &from);
        assert_eq!(errors(&said), ["28P01"]);
        asked.elapsed()
    };
    for _ in 0..20 {
        attempt();
    }
    assert!(attempt() >= Duration::from_secs(1) && attempt() >= Duration::from_secs(2), "each waits longer");
    let asked = std::time::Instant::now();
    let (_, said) = sign_in(&good, &from);
    assert_eq!(said.last().unwrap().kind, 'Z', "{said:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "a good token is not held up: {:?}", asked.elapsed());
    let sql = "select reason from sessions where application = 'fails'";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 22);
    assert!(rows.iter().all(|row| row["reason"] == "not_a_token"), "{rows:?}");
}
