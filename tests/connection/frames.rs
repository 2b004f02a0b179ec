//! Malformed messages of somebody who is signed in.

use serde_json::json;

use super::support::raw::{Raw, errors, kinds, message, query, sync};
use super::support::{Hansard, Postgres, Store, wait_for};
use super::{assert_alive, closed};

const HIDDEN: &str = "select 'hidden in a frame'";

/// A message whose length field says `length`.
fn lying(kind: u8, length: i32, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// What, and the bytes.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let hidden = query(HIDDEN);
    let with = |kind: char, body: &[u8]| message(kind, &[body, &hidden].concat());
    vec![
        ("query without its end", message('Q', HIDDEN.as_bytes())),
        ("query of nothing", message('Q', b"")),
        ("query with a zero inside", message('Q', format!("select 1\0{HIDDEN}\0").as_bytes())),
        ("query with a query behind", with('Q', b"select 1\0")),
        ("parse cut short", message('P', format!("s\0{HIDDEN}\0\0\x02\0\0").as_bytes())),
        ("parse with a query behind", with('P', b"s\0select 1\0\0\0")),
        ("parse without text", message('P', b"s\0")),
        ("bind cut short", message('B', b"\0\0\0\0\0\x01\0\0")),
        ("bind with a value beyond", message('B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff")),
        ("bind with a negative length", message('B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0")),
        ("bind with a query behind", with('B', b"\0\0\0\0\0\0\0\0")),
        ("execute cut short", message('E', b"\0\0\0")),
        ("execute with a query behind", with('E', b"\0\0\0\0\0")),
        ("describe of nothing", message('D', b"")),
        ("describe of something else", message('D', b"Xs\0")),
        ("close without its end", message('C', b"Ss")),
        ("close with a query behind", with('C', b"Ss\0")),
        ("sync with a query inside", with('S', b"")),
        ("flush with a query inside", with('H', b"")),
        ("goodbye with a query inside", with('X', b"")),
        ("copy done with a query inside", with('c', b"")),
        ("copy fail without its end", message('f', b"why")),
        ("copy fail with a query behind", with('f', b"why\0")),
        ("a second password", message('p', b"x\0")),
        ("a message of the server", message('Z', b"I")),
        ("an unknown type", message('~', b"")),
        ("a type of zero", lying(0, 4, b"")),
        ("length of three", lying(b'Q', 3, b"")),
        ("negative length", lying(b'Q', -1, b"select 1\0")),
        ("a query over the limit", lying(b'Q', i32::MAX, b"select")),
        ("a sync over the limit", lying(b'S', 20_000, b"")),
        ("copy data of negative length", lying(b'd', -5, b"")),
        ("copy data without a length", lying(b'd', 2, b"")),
    ]
}

#[test]
fn a_malformed_message_ends_its_session_and_no_other_and_reaches_nobody() {
    let hansard = Hansard::start(Store::Folder);
    let mut bystander = Raw::sign_in(&hansard.login("ana", "bystander"));
    for (what, bytes) in malformed() {
        let mut raw = Raw::sign_in(&hansard.login("dev", what));
        raw.talk(&query("select 'well-formed'"));
        // What comes behind would be understood if the message before were cut wrong.
        raw.send(&[bytes, query(HIDDEN), sync()].concat());
        let said = raw.rest();
        assert_eq!(errors(&said), ["08P01"], "{what}: {said:?}");
        assert_eq!(said[0].field('S'), "FATAL", "{what}");
        assert!(said[0].field('M').starts_with("hansard: "), "{what}");
        assert_eq!(kinds(&bystander.talk(&query("select 1"))), "TDCZ", "{what}: somebody else noticed");
    }
    let sql = "select application, statements from sessions where kind = 'closed' and reason = 'protocol_violation'";
    let expected = malformed().len();
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= expected);
    for (what, _) in malformed() {
        let row = rows.iter().find(|row| row["application"] == what);
        assert_eq!(row, Some(&json!({ "application": what, "statements": 1 })), "{what}");
        let logged: Vec<String> = Postgres::shared().logged(what, 1).into_iter().map(|entry| entry.text).collect();
        assert_eq!(logged, ["select 'well-formed'"], "{what}");
    }
    assert!(!Postgres::shared().log().contains("hidden in a frame"));
    assert!(hansard.archive().query("select 1 from statements where text like '%hidden%'").is_empty());
    assert_alive(&hansard);
}

#[test]
fn a_message_cut_off_by_the_end_of_the_connection_is_no_statement() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "cut-off"));
    let whole = query("select 'cut off'");
    raw.send(&whole[..whole.len() - 3]);
    raw.half_close();
    assert_eq!(raw.rest(), []);
    let row = closed(&hansard, "cut-off");
    assert_eq!((&row["reason"], &row["statements"]), (&json!("client_gone"), &json!(0)));
    assert!(!Postgres::shared().log().contains("cut off"));
}

#[test]
fn what_a_client_keeps_prepared_costs_its_text_and_not_more() {
    const NAMES: usize = 2_000;
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "many-names"));
    let prepare = |at: usize| [super::support::raw::parse(&format!("s{at}"), &format!("select {at}")), sync()].concat();
    assert_eq!(kinds(&raw.talk(&prepare(0))), "1Z");
    let before = hansard.memory("VmRSS");
    for at in 1..NAMES {
        assert_eq!(kinds(&raw.talk(&prepare(at))), "1Z");
    }
    let growth = wait_for("memory", std::time::Duration::from_secs(1), || Some(hansard.memory("VmRSS"))) - before;
    assert!(growth < 32 << 20, "{NAMES} names hold {} MiB", growth >> 20);
}

#[test]
fn what_a_client_keeps_prepared_has_an_end_that_is_refused_and_the_session_lives_on() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "hoarder"));
    let long = format!("select '{}'", "x".repeat(4 << 20));
    let prepare = |at: usize| [super::support::raw::parse(&format!("s{at}"), &long), sync()].concat();
    let refused = (0..40).find(|at| errors(&raw.talk(&prepare(*at))) == ["54000"]);
    assert_eq!(refused, Some(16), "64 MiB in all");
    // In SQL as well; in a transaction, which fails by it as by an error of the server's own.
    raw.talk(&query("begin"));
    let said = raw.talk(&query(&format!("prepare p as select '{}'", "x".repeat(1_000))));
    assert_eq!(errors(&said), ["54000"]);
    let told = said[0].field('M');
    assert!(
        told.starts_with("hansard: not prepared: a session may keep 64 MiB of prepared statements (ref "),
        "{told}"
    );
    assert!(said[0].field('H').contains("DEALLOCATE"));
    assert_eq!(errors(&raw.talk(&query("select 1"))), ["25P02"]);
    raw.talk(&query("rollback"));
    // What is given up, by whichever way, makes room.
    let unnamed = super::support::raw::run_unnamed("deallocate s0");
    assert_eq!(kinds(&raw.talk(&[unnamed, sync()].concat())), "12CZ");
    assert_eq!(kinds(&raw.talk(&prepare(16))), "1Z");
    assert_eq!(errors(&raw.talk(&prepare(17))), ["54000"]);
    assert_eq!(kinds(&raw.talk(&[message('C', b"Ss1\0"), sync()].concat())), "3Z");
    assert_eq!(kinds(&raw.talk(&prepare(17))), "1Z");
    let sql = "select request, decision, message from statements where application = 'hoarder' and status = 'denied' \
               and sqlstate = '54000' order by statement_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let said = "No more can be prepared: a session may keep 64 MiB of prepared statements.";
    let row = |request: &str| json!({ "request": request, "decision": "deny", "message": said });
    assert_eq!(rows, ["parse", "query", "parse"].map(row));
    assert_alive(&hansard);
}
