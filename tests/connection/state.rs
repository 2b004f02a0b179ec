//! Sessions whose text the database reads otherwise than we do.

use serde_json::{Value, json};

use super::support::raw::{Raw, errors, kinds, message, query, run_unnamed, sync};
use super::support::{Hansard, Issuer, Postgres, Store};

const OFF: &str = "set standard_conforming_strings = off";
/// With the setting off, the second literal is inside the first, and a statement of its own behind.
const TWO_FACED: &str = "select 'a\\'', 'b'";

fn kinds_of(hansard: &Hansard, application: &str, count: usize) -> Vec<Value> {
    let rows = hansard.archive().rows_of(application, count);
    rows.iter().map(|row| json!([row["kind"], row["decision"]])).collect()
}

#[test]
fn after_a_setting_that_changes_how_text_is_read_nothing_is_taken_as_understood() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "quotes-off"));
    assert_eq!(kinds(&raw.talk(&query(OFF))), "SCZ".replace('S', ""));
    raw.talk(&query("select 1"));
    raw.talk(&[run_unnamed("select 2"), sync()].concat());
    raw.talk(&query("set standard_conforming_strings = on"));
    raw.talk(&query("select 3"));
    let allow = |kind: &str| json!([kind, "allow"]);
    let expected = ["session", "unparsed", "unparsed", "unparsed", "select"].map(allow);
    assert_eq!(kinds_of(&hansard, "quotes-off", 5), expected);

    // In one write, before the database has said that it is off.
    let mut raw = Raw::sign_in(&hansard.login("dev", "quotes-off-at-once"));
    raw.send(&[query(OFF), query("select 1"), run_unnamed("select 2"), sync()].concat());
    (0..3).for_each(|_| drop(raw.until_ready()));
    assert_eq!(kinds_of(&hansard, "quotes-off-at-once", 3), ["session", "unparsed", "unparsed"].map(allow));
    let mut raw = Raw::sign_in(&hansard.login("dev", "quotes-off-in-a-batch"));
    raw.talk(&[run_unnamed(OFF), run_unnamed("select 2"), sync()].concat());
    assert_eq!(kinds_of(&hansard, "quotes-off-in-a-batch", 2), ["session", "unparsed"].map(allow));
}

#[test]
fn a_rule_can_forbid_such_settings() {
    let rules = r#"
@id("all-but-unsafe")
permit (principal, action, resource)
unless { action == Action::"set_unsafe" || action == Action::"unparsed" };
"#;
    let hansard = Hansard::start_with(Store::Folder, rules, Issuer::shared());
    let mut raw = Raw::sign_in(&hansard.login("dev", "quotes-kept"));
    for text in [
        OFF,
        "set client_encoding = 'SJIS'",
        "set names 'big5'",
        "set role admin",
        "select set_config('standard_conforming_strings', 'off', false)",
        "begin; set local standard_conforming_strings = off; commit",
    ] {
        assert_eq!(errors(&raw.talk(&query(text))), ["42501"], "{text}");
    }
    assert_eq!(kinds(&raw.talk(&query(TWO_FACED.split(',').next().unwrap()))), "EZ", "as with the setting on");
    let logged = Postgres::shared().logged("quotes-kept", 0);
    assert!(logged.iter().all(|entry| !entry.text.contains("standard_conforming")), "{logged:?}");
}

#[test]
fn a_startup_encoding_that_can_hide_quotes_makes_every_text_unparsed() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in_with(&hansard.login("dev", "sjis"), &[("client_encoding", "SJIS")]);
    // 0x83 0x5C is one letter, whose second byte is a backslash elsewhere.
    assert_eq!(kinds(&raw.talk(&message('Q', b"select '\x83\x5c'\0"))), "TDCZ");
    let rows = hansard.archive().rows_of("sjis", 1);
    assert_eq!((&rows[0]["kind"], &rows[0]["text"]), (&json!("unparsed"), &Value::Null));
    assert_eq!(rows[0]["text_bytes"], "73656c6563742027835c27");
}

#[test]
fn a_text_that_is_not_utf8_is_recorded_as_it_came() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in_with(&hansard.login("dev", "latin1"), &[("client_encoding", "LATIN1")]);
    let said = raw.talk(&message('Q', b"select '\xe9'\0"));
    assert_eq!(kinds(&said), "TDCZ");
    assert_eq!(said[1].body.last(), Some(&0xe9), "and answered as it was");
    let rows = hansard.archive().rows_of("latin1", 1);
    assert_eq!((&rows[0]["text"], &rows[0]["text_bytes"]), (&Value::Null, &json!("73656c6563742027e927")));
    assert_eq!(rows[0]["text_length"], 10);
}

#[test]
fn as_whom_each_statement_ran_is_on_record_through_roles_users_and_rollbacks() {
    let rules = "@id(\"all\") permit (principal, action, resource);";
    let postgres = Postgres::start();
    postgres.admin(
        "create role clerk; create role boss login;
         create function become(r text) returns text language sql as $$ select set_config('role', r, false) $$",
    );
    let hansard = Hansard::start_before(&postgres, Store::Folder, rules, Issuer::shared());
    let mut raw = Raw::sign_in(&hansard.login("dev", "roles"));
    // Each text, and the user and role that it met; the database itself is asked after each.
    let mut wanted = Vec::new();
    let mut session = |text: &str, user: &str, role: Option<&str>| {
        raw.talk(&query(text));
        wanted.push(json!([text, user, role]));
    };
    let asks = "select session_user::text || ' ' || current_setting('role')";
    session("set role clerk", "admin", Some("none"));
    session("begin", "admin", Some("clerk"));
    session("set local role boss", "admin", Some("clerk"));
    session(asks, "admin", Some("boss"));
    session("commit", "admin", Some("boss"));
    session(asks, "admin", Some("clerk"));
    session("begin; set role boss", "admin", Some("clerk"));
    session("rollback", "admin", None);
    session("reset role", "admin", None);
    session(asks, "admin", Some("none"));
    session("begin", "admin", Some("none"));
    session("set role clerk", "admin", Some("none"));
    session("select 1/0", "admin", Some("clerk"));
    session("rollback", "admin", None);
    session(asks, "admin", Some("none"));
    session("set session authorization boss", "admin", Some("none"));
    session(asks, "boss", Some("none"));
    session("reset session authorization", "boss", Some("none"));
    session("select set_config('role', 'clerk', false)", "admin", Some("none"));
    session("reset all", "admin", Some("clerk"));
    session(asks, "admin", Some("clerk"));
    session("select become('boss')", "admin", Some("clerk"));
    session("select 'a function may have set it'", "admin", None);
    session("discard all", "admin", None);
    session(asks, "admin", Some("none"));
    let rows = hansard.archive().rows_of("roles", wanted.len());
    let told: Vec<Value> = rows.iter().map(|row| json!([row["text"], row["session_user"], row["role"]])).collect();
    assert_eq!(told, wanted);

    // What is known is what the database says, in one write too.
    let mut raw = Raw::sign_in(&hansard.login("dev", "roles-asked"));
    let texts = ["set role clerk", asks, "begin", "set local role boss", asks, "rollback", asks, "discard all", asks];
    let mut said = Vec::new();
    for text in texts {
        said.push(raw.talk(&[run_unnamed(text), sync()].concat()));
    }
    let rows = hansard.archive().rows_of("roles-asked", texts.len());
    for (row, said) in rows.iter().zip(&said).filter(|(row, _)| row["text"] == asks) {
        let answer = said.iter().find(|message| message.kind == 'D').unwrap();
        let answer = std::str::from_utf8(&answer.body[6..]).unwrap();
        let recorded = format!("{} {}", row["session_user"].as_str().unwrap(), row["role"].as_str().unwrap());
        assert_eq!(recorded, answer);
    }
}

#[test]
fn names_that_are_not_utf8_are_recorded_as_they_came() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in_with(&hansard.login("dev", "odd-names"), &[("client_encoding", "LATIN1")]);
    // Two names that one escape would show alike: a letter beyond ASCII, and its escape written out.
    for name in [&b"\xe9"[..], b"\\xe9"] {
        let parse = message('P', &[name, b"\0select 1\0\0\0"].concat());
        let bind = message('B', &[name, b"\0", name, b"\0\0\0\0\0\0\0"].concat());
        let execute = message('E', &[name, b"\0\0\0\0\0"].concat());
        assert_eq!(kinds(&raw.talk(&[parse, bind, execute, sync()].concat())), "12DCZ");
    }
    let rows = hansard.archive().rows_of("odd-names", 2);
    let told = |row: &Value, name: &str| json!([row[name], row[format!("{name}_bytes")]]);
    let both = |row: &Value| json!([told(row, "prepared_name"), told(row, "portal_name")]);
    assert_eq!(both(&rows[0]), json!([[null, "e9"], [null, "e9"]]));
    assert_eq!(both(&rows[1]), json!([["\\xe9", null], ["\\xe9", null]]));
    let sql = "select prepared_name, prepared_name_bytes as bytes from events where kind = 'statement_prepared' order by time";
    let events = hansard.archive().query_until(sql, |rows| rows.len() >= 2);
    assert_eq!(events[0], json!({ "prepared_name": null, "bytes": "e9" }));
    assert_eq!(events[1], json!({ "prepared_name": "\\xe9", "bytes": null }));
}
