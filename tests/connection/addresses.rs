//! Several addresses of one target: the first that takes a session and is what is wanted, and Unix sockets.

use std::net::TcpListener;

use super::closed;
use super::support::raw::{CANCEL_REQUEST, PROTOCOL, Raw, errors, kinds, packet, query};
use super::support::{Hansard, Postgres};

/// The configuration of the tests with other words in the place of its address and of what stands behind that.
fn reached_by(config: &str, upstream: &str) -> String {
    let own = format!("upstream = \"127.0.0.1:{}\"", Postgres::shared().port());
    assert!(config.contains(&own), "{config}");
    config.replace(&own, upstream)
}

/// What a query of one value says.
fn value(raw: &mut Raw, sql: &str) -> String {
    let said = raw.talk(&query(sql));
    assert_eq!(kinds(&said), "TDCZ", "{said:?}");
    let row = said.iter().find(|message| message.kind == 'D').unwrap();
    String::from_utf8(row.body[6..].to_vec()).unwrap()
}

#[test]
fn a_session_goes_to_the_first_address_that_takes_it_and_its_cancel_request_too() {
    // One that nobody listens at, one that takes connections and says nothing, one that says it does not speak TLS, and the
    // database.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mute, clear) = (silent.local_addr().unwrap(), plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in plain.incoming() {
            // Whoever has gone already has seen enough.
            drop(std::io::Write::write_all(&mut client.unwrap(), b"N"));
        }
    });
    let port = Postgres::shared().port();
    let list = format!("upstream = [\"127.0.0.1:1\", \"{clear}\", \"{mute}\", \"127.0.0.1:{port}\"]");
    let hansard = Hansard::start_edited(&|config| reached_by(&config, &list));
    let mut raw = Raw::sign_in(&hansard.login("dev", "fourth-address"));
    raw.send(&query("select pg_sleep(600)"));
    let sql =
        "select count(*) from pg_stat_activity where application_name = 'fourth-address' and wait_event = 'PgSleep'";
    super::support::wait_for("the statement", std::time::Duration::from_secs(30), || {
        (Postgres::shared().admin(sql) == "1").then_some(())
    });
    let mut cancel = Raw::tls(hansard.login("dev", "cancel").port);
    cancel.send(&packet(CANCEL_REQUEST, &raw.key));
    let said = raw.until_ready();
    assert_eq!(errors(&said), ["57014"], "{said:?}");
    drop(silent);
}

#[test]
fn where_no_address_will_do_the_record_says_why_of_each_and_the_client_hears_of_none() {
    let list = "upstream = [\"127.0.0.1:1\", \"127.0.0.1:2\"]";
    let hansard = Hansard::start_edited(&|config| reached_by(&config, list));
    let login = hansard.login("dev", "no-address");
    let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
    assert_eq!(errors(&said), ["08001"]);
    assert!(!said.last().unwrap().field('M').contains("127.0.0.1"));
    let detail = closed(&hansard, "no-address")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("127.0.0.1:1: ") && detail.contains("127.0.0.1:2: "), "{detail}");
}

#[test]
fn a_session_goes_to_the_kind_of_server_that_is_wanted() {
    let primary = Postgres::shared();
    let standby = primary.standby();
    let (first, second) = (primary.port(), standby.port());
    for (wanted, in_recovery) in [
        ("any", "f"),
        ("standby", "t"),
        ("prefer-standby", "t"),
        ("read-only", "t"),
        ("primary", "f"),
        ("read-write", "f"),
    ] {
        // The one that is wanted stands last, but for "any".
        let (one, other) = if in_recovery == "t" || wanted == "any" { (first, second) } else { (second, first) };
        let list =
            format!("upstream = [\"127.0.0.1:{one}\", \"127.0.0.1:{other}\"]\ntarget_session_attrs = \"{wanted}\"");
        let hansard = Hansard::start_edited(&|config| reached_by(&config, &list));
        let mut raw = Raw::sign_in(&hansard.login("dev", &format!("wants-{wanted}")));
        assert_eq!(value(&mut raw, "select pg_is_in_recovery()"), in_recovery, "{wanted}");
        // A session that is itself read-only says nothing of its server.
        let read_only = [("options", "-c default_transaction_read_only=on")];
        let mut raw = Raw::sign_in_with(&hansard.login("dev", &format!("read-only-wants-{wanted}")), &read_only);
        assert_eq!(value(&mut raw, "select pg_is_in_recovery()"), in_recovery, "{wanted}, read-only");
    }
    // Nobody is what is wanted, or only the second best.
    let alone = |wanted: &str| {
        let list = format!("upstream = \"127.0.0.1:{first}\"\ntarget_session_attrs = \"{wanted}\"");
        Hansard::start_edited(&|config| reached_by(&config, &list))
    };
    let hansard = alone("standby");
    let login = hansard.login("dev", "no-standby");
    assert_eq!(errors(&Raw::tls(login.port).ask(&login, PROTOCOL, &[])), ["08001"]);
    let detail = closed(&hansard, "no-standby")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("it is the primary"), "{detail}");
    let hansard = alone("prefer-standby");
    let mut raw = Raw::sign_in(&hansard.login("dev", "second-best"));
    assert_eq!(value(&mut raw, "select pg_is_in_recovery()"), "f");
}

#[test]
fn a_database_on_this_machine_is_reached_by_its_unix_socket() {
    let postgres = Postgres::shared();
    let socket = format!("upstream = \"{}:{}\"", postgres.socket_folder().display(), postgres.port());
    let by_socket = |config: &str, require: &str| {
        let config = reached_by(config, &socket);
        let (before, rest) = config.split_once("tls = { mode = \"verify-full\"").unwrap();
        let (_, after) = rest.split_once('\n').unwrap();
        format!("{before}{after}").replace("login = { ", &format!("login = {{ require = \"{require}\", "))
    };
    let hansard = Hansard::start_edited(&|config| by_socket(&config, "any"));
    let mut raw = Raw::sign_in(&hansard.login("dev", "by-socket"));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    let sql = "select client_addr is null from pg_stat_activity where application_name = 'by-socket'";
    assert_eq!(postgres.admin(sql), "t");
    // Who is let in without a proof is no more believed there than elsewhere.
    let hansard = Hansard::start_edited(&|config| by_socket(&config, "scram-sha-256"));
    let login = hansard.login("dev", "by-socket-unproven");
    assert_eq!(errors(&Raw::tls(login.port).ask(&login, PROTOCOL, &[])), ["08001"]);
}
