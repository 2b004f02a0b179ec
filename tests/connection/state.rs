//! Sessions whose text the database reads otherwise than we do.

use serde_json::{Value, json};

use super::support::raw::{Raw, errors, kinds, message, query, run_unnamed, sync};
use super::support::{Hansard, Postgres, Store};

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
    let hansard = Hansard::start_with(Store::Folder, rules, super::support::Issuer::shared());
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
