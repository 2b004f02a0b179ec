//! Time limits of sessions: who does nothing, who takes too long, who reads nothing.

use std::time::Duration;

use serde_json::json;

use super::support::raw::{PROTOCOL, Raw, bind, errors, execute, kinds, parse, query, run_unnamed, startup, sync};
use super::support::{Hansard, Postgres, wait_for};
use super::{assert_alive, closed};

/// One whose sessions have these limits.
fn limited(limits: &str) -> Hansard {
    Hansard::start_replaced("[policy]", &format!("[target.app.session]\n{limits}\n\n[policy]"))
}

/// Nothing of a session is left at the database.
fn is_gone(application: &str) {
    let sql = format!("select count(*) from pg_stat_activity where application_name = '{application}'");
    wait_for("the end at the database", Duration::from_secs(20), || {
        (Postgres::shared().admin(&sql) == "0").then_some(())
    });
}

#[test]
fn a_session_that_is_idle_for_too_long_ends_and_one_in_a_transaction_is_not_meant() {
    let hansard = limited("idle = \"1s\"");
    let mut idle = Raw::sign_in(&hansard.login("dev", "idle-too-long"));
    let mut open = Raw::sign_in(&hansard.login("dev", "idle-open"));
    assert_eq!(kinds(&open.talk(&query("begin"))), "CZ");
    let said = idle.rest();
    assert_eq!(errors(&said), ["57P05"]);
    let first = said[0].field('M');
    assert!(first.starts_with("hansard: session closed: idle for 1s (ref "), "{first}");
    let row = closed(&hansard, "idle-too-long");
    assert_eq!((&row["reason"], &row["statements"]), (&json!("idle_timeout"), &json!(0)));
    is_gone("idle-too-long");
    assert_eq!(kinds(&open.talk(&query("select 1"))), "TDCZ");
    assert_eq!(kinds(&open.talk(&query("commit"))), "CZ");
    assert_eq!(errors(&open.rest()), ["57P05"], "now it is");
}

#[test]
fn a_transaction_in_which_nothing_is_asked_for_too_long_is_rolled_back() {
    let hansard = limited("idle_in_transaction = \"1s\"");
    let mut idle = Raw::sign_in(&hansard.login("dev", "open-idle"));
    let mut open = Raw::sign_in(&hansard.login("dev", "open-too-long"));
    open.talk(&query("begin"));
    open.talk(&query("insert into notes (id) values (760001)"));
    let said = open.rest();
    assert_eq!(errors(&said), ["25P03"]);
    assert!(said[0].field('M').starts_with("hansard: session closed: idle in a transaction for 1s (ref "), "{said:?}");
    assert_eq!(closed(&hansard, "open-too-long")["reason"], "idle_in_transaction_timeout");
    is_gone("open-too-long");
    assert_eq!(Postgres::shared().admin("select count(*) from notes where id = 760001"), "0");
    assert_eq!(kinds(&idle.talk(&query("select 1"))), "TDCZ", "without one it may wait");
}

#[test]
fn a_statement_that_runs_too_long_is_cancelled_and_its_session_lives_on() {
    let hansard = limited("statement = \"2s\"");
    let mut raw = Raw::sign_in(&hansard.login("dev", "runs-too-long"));
    let said = raw.talk(&query("select pg_sleep(600)"));
    assert_eq!((errors(&said), kinds(&said).as_str()), (vec!["57014".to_owned()], "TEZ"));
    let error = said.iter().find(|message| message.kind == 'E').unwrap();
    assert!(error.field('M').starts_with("hansard: cancelled: it ran for more than 2s (ref "), "{error:?}");
    assert_eq!(error.field('S'), "ERROR");
    // In a batch the rest of it is skipped, as after any error.
    let batch = [run_unnamed("select pg_sleep(600)"), bind("", ""), execute("", 0), sync()].concat();
    let said = raw.talk(&batch);
    assert_eq!((errors(&said), kinds(&said).as_str()), (vec!["57014".to_owned()], "12EZ"));
    let error = said.iter().find(|message| message.kind == 'E').unwrap();
    assert!(error.field('M').starts_with("hansard: cancelled: 2 statements sent together ran "), "{error:?}");
    assert_eq!(kinds(&raw.talk(&query("select 'after'"))), "TDCZ");
    drop(raw);
    let rows = hansard.archive().rows_of("runs-too-long", 4);
    let ends: Vec<_> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(ends, ["timeout", "timeout", "skipped", "ok"]);
    assert!(rows[..2].iter().all(|row| row["sqlstate"] == "57014"), "{rows:?}");
    assert_eq!(closed(&hansard, "runs-too-long")["reason"], "client_gone");
}

#[test]
fn statements_sent_together_may_take_as_long_as_each_of_them_may() {
    let hansard = limited("statement = \"5s\"");
    let mut raw = Raw::sign_in(&hansard.login("dev", "many-short"));
    // All sent at once, and answered at the end: nobody can see which of them took how long.
    let mut batch = parse("nap", "select pg_sleep(1)");
    for _ in 0..7 {
        batch.extend([bind("", "nap"), execute("", 0)].concat());
    }
    let said = raw.talk(&[batch, sync()].concat());
    assert_eq!(kinds(&said), format!("1{}Z", "2DC".repeat(7)));
}

#[test]
fn a_client_that_takes_nothing_for_too_long_holds_its_place_no_longer() {
    let hansard = limited("unread = \"2s\"");
    let mut raw = Raw::sign_in(&hansard.login("dev", "reads-nothing"));
    raw.send(&query("select repeat('x', 8000) from generate_series(1, 1000000)"));
    let row = closed(&hansard, "reads-nothing");
    assert_eq!(row["reason"], "client_not_reading");
    is_gone("reads-nothing");
    let rows = hansard.archive().rows_of("reads-nothing", 1);
    assert_eq!(rows[0]["status"], "killed");
    assert!(raw.rest().len() < 1_000_000);
    assert_alive(&hansard);
}

#[test]
fn what_still_runs_when_a_session_is_ended_does_not_go_on_at_the_database() {
    let mut hansard = Hansard::start_replaced("[policy]", "[drain]\nlimit = \"1s\"\n\n[policy]");
    let mut raw = Raw::sign_in(&hansard.login("dev", "left-running"));
    raw.send(&query("select pg_sleep(600)"));
    super::asleep("left-running");
    assert_eq!(hansard.stop(), 0);
    assert_eq!(errors(&raw.rest()), ["57P01"]);
    is_gone("left-running");
    assert_eq!(closed(&hansard, "left-running")["reason"], "shutdown");
}

#[test]
fn one_person_has_no_more_sessions_than_the_limit_and_nobody_else_notices() {
    let hansard =
        Hansard::start_replaced("[policy]", "[limits]\nsessions_per_identity = 2\nsign_in = \"5s\"\n\n[policy]");
    let first = Raw::sign_in(&hansard.login("dev", "first"));
    let _second = Raw::sign_in(&hansard.login("dev", "second"));
    let over = |application: &str| {
        let login = hansard.login("dev", application);
        Raw::tls(login.port).ask(&login, PROTOCOL, &[])
    };
    let said = over("third");
    assert_eq!(errors(&said), ["53300"]);
    let text = said.last().unwrap().field('M');
    assert!(text.starts_with("hansard: Dev Developer has 2 sessions open, which is as many as one may have"), "{text}");
    Raw::sign_in(&hansard.login("ana", "another"));
    drop(first);
    closed(&hansard, "first");
    wait_for("a place", Duration::from_secs(20), || errors(&over("again")).is_empty().then_some(()));
    // Whoever is silent after it was asked for its token is told so.
    let mut silent = Raw::tls(hansard.login("dev", "x").port);
    silent.send(&startup(PROTOCOL, &[("user", "x"), ("database", "app"), ("application_name", "silent")]));
    assert_eq!(errors(&silent.rest()), ["28P01"]);
    let sql = "select distinct reason from sessions where application in ('third', 'silent') order by reason";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 2);
    assert_eq!(rows, [json!({ "reason": "no_token_in_time" }), json!({ "reason": "too_many_sessions" })]);
}
