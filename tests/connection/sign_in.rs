//! Before anybody is signed in: what strangers say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::raw::{GSS_REQUEST, PROTOCOL, Raw, SSL_REQUEST, errors, kinds, message, packet, query, startup};
use super::support::{Hansard, Postgres, Store};
use super::{assert_alive, closed};

const IN_PLAIN: (&str, &str) = ("targets = [\"app\"]", "targets = [\"app\"]\nplain = \"refuse\"");

#[test]
fn strangers_get_nothing_and_the_database_is_not_asked() {
    let hansard = Hansard::start(Store::Folder);
    let port = hansard.login("dev", "x").port;
    let begin = startup(PROTOCOL, &[("user", "x")]);
    let long = startup(PROTOCOL, &[("user", &"x".repeat(10_000))]);
    let mut hello = vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    hello.resize(205, 7);
    for (what, bytes) in [
        ("garbage", vec![0xff; 64]),
        ("zeroes", vec![0; 64]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a broken beginning of TLS", hello),
        ("a startup packet over 10,000 bytes", long),
        ("a startup packet of another protocol", startup(2 << 16, &[("user", "x")])),
        ("a startup packet without its end", packet(PROTOCOL, b"user\0x\0")),
        ("a request for TLS and a startup packet at once", [packet(SSL_REQUEST, b""), begin.clone()].concat()),
    ] {
        let mut raw = Raw::plain(port);
        raw.send(&bytes);
        assert_eq!(raw.rest(), [], "{what}");
    }
    // In TLS as well.
    for (what, bytes) in [
        ("a request for TLS inside TLS", packet(SSL_REQUEST, b"")),
        ("garbage inside TLS", vec![0xff; 64]),
        ("a statement instead of a startup packet", query("select 1")),
    ] {
        let mut raw = Raw::tls(port);
        raw.send(&bytes);
        assert_eq!(raw.rest(), [], "{what}");
    }
    // Gone right after the startup packet, as psql before it asks for the password.
    let mut raw = Raw::tls(port);
    raw.send(&begin);
    assert_eq!(raw.next().unwrap().kind, 'R');
    drop(raw);
    assert_alive(&hansard);
    assert!(!Postgres::shared().log().contains("GET /"));
}

#[test]
fn encryption_is_asked_for_in_any_order() {
    let hansard = Hansard::start(Store::Folder);
    let login = hansard.login("dev", "gss-first");
    let mut raw = Raw::plain(login.port);
    raw.send(&packet(GSS_REQUEST, b""));
    assert_eq!(raw.bytes(1), b"N");
    raw.send(&packet(SSL_REQUEST, b""));
    assert_eq!(raw.bytes(1), b"S");
    let mut raw = raw.encrypted();
    assert_eq!(raw.ask(&login, PROTOCOL, &[]).last().unwrap().kind, 'Z');
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
}

#[test]
fn protocol_3_2_is_spoken_and_what_is_newer_is_negotiated_as_by_a_server() {
    let hansard = Hansard::start(Store::Folder);
    let login = hansard.login("dev", "protocol-3.2");
    // The same as the server of these tests, which speaks 3.0, and on its own version as PostgreSQL 18.
    let mut answers = Vec::new();
    for login in [&login, &Postgres::shared().direct("protocol-3.0-direct")] {
        let mut raw = Raw::tls(login.port);
        let parameters = [("user", login.user.as_str()), ("database", &login.database), ("_pq_.new", "on")];
        raw.send(&startup(PROTOCOL, &parameters));
        answers.push(raw.next().unwrap());
    }
    assert_eq!((answers[0].kind, &answers[0]), ('v', &answers[1]), "as the server");

    for (minor, more, negotiated, secret) in [
        (0, &[][..], None, 4),
        (1, &[], None, 4),
        (2, &[], None, 32),
        (3, &[], Some(&b"\0\x03\0\x02\0\0\0\0"[..]), 32),
        // As libpq 19 greases, on request.
        (
            9999,
            &[("_pq_.test_protocol_negotiation", "")],
            Some(b"\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0"),
            32,
        ),
    ] {
        let mut raw = Raw::tls(login.port);
        let said = raw.ask(&login, PROTOCOL + minor, more);
        let answer = said.first().filter(|first| first.kind == 'v').map(|first| &first.body[..]);
        assert_eq!(answer, negotiated, "3.{minor}");
        let key = said.iter().find(|message| message.kind == 'K').unwrap();
        assert_eq!(key.body.len(), 4 + secret, "3.{minor}");
        assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ", "3.{minor}");
    }
}

#[test]
fn whoever_is_turned_away_is_told_and_on_record() {
    let hansard = Hansard::start_replaced(IN_PLAIN.0, IN_PLAIN.1);
    let port = hansard.login("dev", "x").port;
    let begin = |application: &str, more: &[(&str, &str)]| {
        let own = [("user", "x"), ("database", "app"), ("application_name", application)];
        startup(PROTOCOL, &[&own[..], more].concat())
    };
    let told = |raw: &mut Raw, application: &str, sqlstate: &str| {
        let said = raw.rest();
        assert_eq!(errors(&said), [sqlstate], "{application}: {said:?}");
        assert_eq!(said.last().unwrap().field('V'), "FATAL", "{application}");
        assert!(said.last().unwrap().field('M').starts_with("hansard: "), "{application}");
    };

    let mut raw = Raw::plain(port);
    raw.send(&begin("plain", &[]));
    told(&mut raw, "plain", "28000");

    let mut raw = Raw::tls(port);
    raw.send(&[begin("long-token", &[]), message('p', &[&vec![b'x'; 70_000][..], &[0]].concat())].concat());
    told(&mut raw, "long-token", "28P01");

    let mut raw = Raw::tls(port);
    raw.send(&[begin("statement-first", &[]), query("select 'before the token'")].concat());
    told(&mut raw, "statement-first", "08P01");

    for (application, name, value) in [
        ("role", "role", "admin"),
        ("option-role", "options", "-c role=admin"),
        // To the server, a vertical tab is a blank.
        ("option-tab", "options", "-c geqo=off\u{b}-crole=admin"),
    ] {
        let login = hansard.login("dev", application);
        let mut raw = Raw::tls(port);
        let said = raw.ask(&login, PROTOCOL, &[(name, value)]);
        assert_eq!(errors(&said), ["0A000"], "{application}: {:?}", said.last());
    }

    let sql = "select application, reason, sqlstate, subject is not null as known from sessions where kind = 'refused'";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 6);
    for (application, cause, sqlstate, known) in [
        ("plain", "no_tls", "28000", false),
        ("long-token", "too_large", "28P01", false),
        ("statement-first", "protocol_violation", "08P01", false),
        ("role", "startup_parameter", "0A000", true),
        ("option-role", "startup_parameter", "0A000", true),
        ("option-tab", "startup_parameter", "0A000", true),
    ] {
        let row = rows.iter().find(|row| row["application"] == application);
        let expected = json!({ "application": application, "reason": cause, "sqlstate": sqlstate, "known": known });
        assert_eq!(row, Some(&expected), "{rows:?}");
    }
    assert_eq!(rows.len(), 6, "{rows:?}");
    let log = Postgres::shared().log();
    assert!(!log.contains("before the token") && !log.contains("option-tab"));
    assert_alive(&hansard);
}

#[test]
fn a_plain_connection_works_on_loopback_where_it_is_allowed() {
    let hansard = Hansard::start_replaced(IN_PLAIN.0, "targets = [\"app\"]\nplain = \"loopback\"");
    let login = hansard.login("dev", "plain-allowed");
    let mut raw = Raw::plain(login.port);
    assert_eq!(raw.ask(&login, PROTOCOL, &[]).last().unwrap().kind, 'Z');
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    drop(raw);
    let row = closed(&hansard, "plain-allowed");
    assert_eq!((&row["tls_version"], &row["reason"]), (&Value::Null, &json!("client_gone")));
}

#[test]
fn whoever_says_nothing_is_hung_up_on_after_a_minute_and_at_once_when_the_program_stops() {
    let mut hansard = Hansard::start(Store::Folder);
    let port = hansard.login("dev", "x").port;
    let mut silent = [Raw::plain(port), Raw::tls(port), Raw::tls(port)];
    silent[2].send(&startup(PROTOCOL, &[("user", "x")]));
    assert_eq!(silent[2].next().unwrap().kind, 'R');
    let started = Instant::now();
    for raw in &mut silent {
        raw.patience(Duration::from_secs(90));
        raw.rest();
    }
    assert!((55..75).contains(&started.elapsed().as_secs()), "after {:?}", started.elapsed());

    let waiting = [Raw::plain(port), Raw::tls(port)];
    let stopping = Instant::now();
    assert_eq!(hansard.stop(), 0);
    assert!(stopping.elapsed() < Duration::from_secs(5), "strangers kept it for {:?}", stopping.elapsed());
    drop(waiting);
}
