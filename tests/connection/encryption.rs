//! TLS as clients begin it.

use std::process::{Command, Stdio};

use super::support::raw::{PROTOCOL, Raw, SSL_REQUEST, kinds, packet, query, startup};
use super::support::{Hansard, Store, libpq, wait_for};
use super::{assert_alive, closed};

/// What OpenSSL's client says of a connection that sends nothing.
fn s_client(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    let done = command.stdin(Stdio::null()).output().unwrap();
    format!("{}{}", super::support::lossy(&done.stdout), super::support::lossy(&done.stderr))
}

#[test]
fn tls_at_once_is_taken_where_the_protocol_is_named_and_the_name_is_told_either_way() {
    let hansard = Hansard::start(Store::Folder);
    let login = hansard.login("dev", "direct");
    let ran = libpq("sslnegotiation=direct sslmode=require", &login, "select 1, current_database()");
    assert_eq!(ran.as_deref(), Ok("1|app"));
    assert_eq!(closed(&hansard, "direct")["tls_version"], "TLSv1.3");
    for arguments in [&["-alpn", "postgresql"][..], &["-starttls", "postgres", "-alpn", "postgresql"]] {
        let said = s_client(login.port, arguments);
        assert!(said.contains("ALPN protocol: postgresql"), "{arguments:?}: {said}");
    }
    let mut raw = Raw::direct(login.port, &["http/1.1", "postgresql"]);
    assert_eq!(raw.ask(&login, PROTOCOL, &[]).last().unwrap().kind, 'Z');
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
}

#[test]
fn tls_at_once_without_the_name_of_the_protocol_is_hung_up_on() {
    let hansard = Hansard::start(Store::Folder);
    let port = hansard.login("dev", "x").port;
    let begin = startup(PROTOCOL, &[("user", "x"), ("database", "app")]);
    for protocols in [&[][..], &["http/1.1"]] {
        let mut raw = Raw::direct(port, protocols);
        raw.send(&begin);
        assert_eq!(raw.rest(), [], "{protocols:?}");
    }
    let said = s_client(port, &["-alpn", "http/1.1"]);
    assert!(said.contains("no application protocol"), "{said}");
    // Nor is TLS inside TLS begun.
    let mut raw = Raw::direct(port, &["postgresql"]);
    raw.send(&packet(SSL_REQUEST, b""));
    assert_eq!(raw.rest(), []);
    wait_for("the reason in the log", std::time::Duration::from_secs(10), || {
        hansard.log().contains("without the protocol").then_some(())
    });
    assert!(hansard.archive().query("select 1 from statements").is_empty());
    assert_alive(&hansard);
}
