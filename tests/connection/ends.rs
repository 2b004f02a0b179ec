//! How sessions end, and how statements are cancelled.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::raw::{
    CANCEL_REQUEST, PROTOCOL, Raw, bind, errors, execute, kinds, message, packet, parse, query, startup, sync,
};
use super::support::{Hansard, Issuer, Login, Postgres, Store, assert_recorded, client, wait_for};
use super::{asleep, assert_alive, closed};

const FINISH: &str = "[policy]";

/// How the statements of a session ended, in order: the two kinds of rows are two files, put one after the other.
fn ends(hansard: &Hansard, application: &str, count: usize) -> Vec<Value> {
    let rows = hansard.archive().rows_of(application, count);
    rows.iter().map(|row| json!([row["status"], row["sqlstate"]])).collect()
}

/// The process of a session at the database.
fn backend(application: &str) -> String {
    let sql = format!("select pid from pg_stat_activity where application_name = '{application}'");
    wait_for("the session at the database", Duration::from_secs(10), || {
        let pid = Postgres::shared().admin(&sql);
        (!pid.is_empty()).then_some(pid)
    })
}

#[test]
fn a_session_that_the_database_ends_is_told_so_by_the_database() {
    let hansard = Hansard::start(Store::Folder);
    for (application, asked) in [("terminated", ""), ("terminated-at-work", "select pg_sleep(60)")] {
        let mut raw = Raw::sign_in(&hansard.login("dev", application));
        let pid = backend(application);
        if !asked.is_empty() {
            raw.send(&query(asked));
            std::thread::sleep(Duration::from_millis(300));
        }
        Postgres::shared().admin(&format!("select pg_terminate_backend({pid})"));
        let said = raw.rest();
        assert_eq!(errors(&said), ["57P01"], "{application}: {said:?}");
        assert!(!said[0].field('M').contains("hansard"), "{application}");
        assert_eq!(closed(&hansard, application)["reason"], "upstream_gone", "{application}");
    }
    assert_eq!(ends(&hansard, "terminated-at-work", 1), [json!(["killed", "57P01"])]);
    assert_alive(&hansard);
}

#[test]
fn a_database_that_dies_without_a_word_is_a_lost_connection() {
    let postgres = Postgres::start();
    let own = format!("upstream = \"127.0.0.1:{}\"", postgres.port());
    let shared = format!("upstream = \"127.0.0.1:{}\"", Postgres::shared().port());
    let ca = |postgres: &Postgres| postgres.ca_file().display().to_string();
    let hansard =
        Hansard::start_edited(&|config| config.replace(&shared, &own).replace(&ca(Postgres::shared()), &ca(&postgres)));
    let mut raw = Raw::sign_in(&hansard.login("dev", "died"));
    raw.send(&query("select pg_sleep(60)"));
    // A session that waits for its statement to be judged has a process, too: only one at work has a statement to lose.
    let sql = "select pid from pg_stat_activity where application_name = 'died' and state = 'active'";
    let pid = wait_for("the statement at the database", Duration::from_secs(10), || {
        let pid = postgres.admin(sql);
        (!pid.is_empty()).then_some(pid)
    });
    let status = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(status.success());
    let said = raw.rest();
    assert_eq!(errors(&said), ["08006"], "{said:?}");
    assert!(said[0].field('M').starts_with("hansard: "));
    assert_eq!(closed(&hansard, "died")["reason"], "upstream_gone");
    assert_eq!(ends(&hansard, "died", 1), [json!(["connection_lost", "08006"])]);
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_result_is_gone() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "vanished"));
    raw.send(&query("select repeat('x', 8000) from generate_series(1, 100000)"));
    assert_eq!(raw.next().unwrap().kind, 'T');
    // With rows unread, the close is a reset.
    drop(raw);
    let row = closed(&hansard, "vanished");
    assert_eq!((&row["reason"], &row["statements"]), (&json!("client_gone"), &json!(1)));
    let sql = "select count(*) from pg_stat_activity where application_name = 'vanished'";
    wait_for("the end at the database", Duration::from_secs(10), || {
        (Postgres::shared().admin(sql) == "0").then_some(())
    });
    assert_eq!(ends(&hansard, "vanished", 1), [json!(["connection_lost", null])]);
    assert_alive(&hansard);
}

/// One whose open transactions may go on so long after a stop was asked for.
fn draining(limit: &str) -> Hansard {
    Hansard::start_replaced(FINISH, &format!("[drain]\nlimit = \"{limit}\"\n\n{FINISH}"))
}

#[test]
fn a_stop_ends_idle_sessions_at_once_and_lets_open_transactions_end() {
    let mut hansard = draining("10m");
    let mut idle = Raw::sign_in(&hansard.login("dev", "stop-idle"));
    let mut finishing = Raw::sign_in(&hansard.login("dev", "stop-finishing"));
    let mut asked = Raw::tls(port(&hansard));
    asked.send(&startup(PROTOCOL, &[("user", "dev"), ("database", "app")]));
    assert_eq!(asked.next().unwrap().kind, 'R');
    finishing.talk(&query("begin"));
    let client = std::thread::spawn(move || {
        let said = idle.rest();
        assert_eq!(errors(&said), ["57P01"]);
        assert!(said[0].field('M').starts_with("hansard: session closed: "), "{said:?}");
        assert_eq!(errors(&asked.rest()), ["57P03"], "who is at the door is told to come again");
        assert_eq!(kinds(&finishing.talk(&query("insert into notes (id) values (740001)"))), "CZ");
        assert_eq!(kinds(&finishing.talk(&query("commit"))), "CZ");
        assert_eq!(errors(&finishing.rest()), ["57P01"]);
    });
    assert_eq!(hansard.stop(), 0);
    client.join().unwrap();
    for application in ["stop-idle", "stop-finishing"] {
        let row = closed(&hansard, application);
        assert_eq!((&row["reason"], &row["detail"]), (&json!("shutdown"), &json!(null)), "{application}");
    }
    let rows = hansard.archive().rows_of("stop-finishing", 3);
    assert!(rows.len() == 3 && rows.iter().all(|row| row["status"] == "ok"), "{rows:?}");
    assert_eq!(Postgres::shared().admin("select id from notes where id = 740001"), "740001");
}

#[test]
fn a_stop_breaks_off_what_is_open_when_the_limit_is_over() {
    let mut hansard = draining("1s");
    let mut dawdling = Raw::sign_in(&hansard.login("dev", "stop-dawdling"));
    dawdling.talk(&query("begin"));
    dawdling.talk(&query("insert into notes (id) values (740002)"));
    let started = Instant::now();
    let client = std::thread::spawn(move || errors(&dawdling.rest()));
    assert_eq!(hansard.stop(), 0);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.join().unwrap(), ["57P01"]);
    let row = closed(&hansard, "stop-dawdling");
    assert_eq!(row["reason"], "shutdown");
    assert!(row["detail"].as_str().unwrap().contains("broken off"), "{row}");
    assert_eq!(hansard.archive().rows_of("stop-dawdling", 2).len(), 2);
    assert_eq!(Postgres::shared().admin("select count(*) from notes where id = 740002"), "0");
}

#[test]
fn a_second_signal_ends_at_once_and_the_ends_are_on_record() {
    let mut hansard = draining("10m");
    let mut idle = Raw::sign_in(&hansard.login("dev", "twice-idle"));
    let mut dawdling = Raw::sign_in(&hansard.login("dev", "twice-dawdling"));
    dawdling.talk(&query("begin"));
    let client = std::thread::spawn(move || errors(&dawdling.rest()));
    hansard.begin_to_stop();
    assert_eq!(errors(&idle.rest()), ["57P01"]);
    assert_eq!(hansard.stop(), 1);
    assert_eq!(client.join().unwrap(), ["57P01"]);
    // What is not in the archive yet is so after the next start.
    hansard.start_again();
    for application in ["twice-idle", "twice-dawdling"] {
        assert_eq!(closed(&hansard, application)["reason"], "shutdown", "{application}");
    }
}

fn port(hansard: &Hansard) -> u16 {
    hansard.login("dev", "nobody").port
}

#[test]
fn what_runs_when_the_recorder_stops_or_the_token_ends_was_killed() {
    let close = format!("[target.app.session]\non_token_expiry = \"close\"\n\n{FINISH}");
    let mut hansard = Hansard::start_replaced(FINISH, &close);
    let mut expiring = Raw::sign_in(&short(&hansard, "killed-by-expiry", 4));
    // Of the second it is not known whether the database came to it.
    expiring.send(&[query("select pg_sleep(60)"), query("select 1")].concat());
    asleep("killed-by-expiry");
    assert_eq!(errors(&expiring.rest()), ["57P01"]);
    let mut stopping = Raw::sign_in(&hansard.login("dev", "killed-by-stop"));
    stopping.send(&query("select pg_sleep(60)"));
    asleep("killed-by-stop");
    let client = std::thread::spawn(move || errors(&stopping.rest()));
    assert_eq!(hansard.stop(), 0);
    assert_eq!(client.join().unwrap(), ["57P01"]);
    let killed = json!(["killed", "57P01"]);
    assert_eq!(ends(&hansard, "killed-by-expiry", 2), [killed.clone(), killed.clone()]);
    assert_eq!(ends(&hansard, "killed-by-stop", 1), [killed]);
}

#[test]
fn what_a_limit_of_the_database_ends_is_a_timeout_and_what_somebody_ends_there_is_cancelled() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "limits"));
    raw.talk(&query("set statement_timeout = '200ms'"));
    assert_eq!(errors(&raw.talk(&query("select pg_sleep(60)"))), ["57014"]);
    let slow = [parse("", "select pg_sleep(60)"), bind("", ""), execute("", 0), sync()].concat();
    assert_eq!(errors(&raw.talk(&slow)), ["57014"]);
    raw.talk(&query("set statement_timeout = 0"));
    raw.send(&slow);
    asleep("limits");
    let pid = backend("limits");
    Postgres::shared().admin(&format!("select pg_cancel_backend({pid})"));
    assert_eq!(errors(&raw.until_ready()), ["57014"]);
    raw.talk(&query("set idle_in_transaction_session_timeout = '100ms'"));
    raw.talk(&query("begin"));
    assert_eq!(errors(&raw.rest()), ["25P03"]);
    let said = ends(&hansard, "limits", 7);
    let ok = json!(["ok", null]);
    let timeout = json!(["timeout", "57014"]);
    let cancelled = json!(["cancelled", "57014"]);
    assert_eq!(said, [ok.clone(), timeout.clone(), timeout, ok.clone(), cancelled, ok.clone(), ok]);
}

#[test]
fn a_lock_that_is_waited_for_too_long_is_an_error_of_the_statement() {
    let hansard = Hansard::start(Store::Folder);
    let mut holder = Raw::sign_in(&hansard.login("dev", "lock-holder"));
    holder.talk(&query("begin; lock table notes in access exclusive mode"));
    let mut waiter = Raw::sign_in(&hansard.login("dev", "lock-waiter"));
    waiter.talk(&query("set lock_timeout = '100ms'"));
    assert_eq!(errors(&waiter.talk(&query("select count(*) from notes"))), ["55P03"]);
    holder.talk(&query("rollback"));
    assert_eq!(ends(&hansard, "lock-waiter", 2)[1], json!(["error", "55P03"]));
}

fn short(hansard: &Hansard, application: &str, seconds: u64) -> Login {
    let password = Issuer::shared().token_for("dev", "api://hansard", Duration::from_secs(seconds));
    Login { password, ..hansard.login("dev", application) }
}

#[test]
fn a_session_outlives_its_token_by_its_open_transaction_only() {
    let hansard = Hansard::start(Store::Folder);
    let started = Instant::now();
    let mut idle = Raw::sign_in(&short(&hansard, "expired-idle", 4));
    let mut busy = Raw::sign_in(&short(&hansard, "expired-busy", 4));
    busy.talk(&query("begin"));
    let said = idle.rest();
    assert_eq!(errors(&said), ["57P01"]);
    assert!((2..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(kinds(&busy.talk(&query("insert into notes (id) values (750001)"))), "CZ");
    assert_eq!(kinds(&busy.talk(&query("commit"))), "CZ", "it hears that its transaction was committed");
    assert_eq!(errors(&busy.rest()), ["57P01"]);
    for application in ["expired-idle", "expired-busy"] {
        assert_eq!(closed(&hansard, application)["reason"], "token_expired", "{application}");
    }
    assert_eq!(Postgres::shared().admin("select id from notes where id = 750001"), "750001");
}

#[test]
fn where_the_target_says_so_a_session_ends_with_its_token() {
    let close = format!("[target.app.session]\non_token_expiry = \"close\"\n\n{FINISH}");
    let hansard = Hansard::start_replaced(FINISH, &close);
    let mut busy = Raw::sign_in(&short(&hansard, "closed-busy", 4));
    busy.talk(&query("begin"));
    busy.talk(&query("insert into notes (id) values (750002)"));
    assert_eq!(errors(&busy.rest()), ["57P01"]);
    assert_eq!(closed(&hansard, "closed-busy")["reason"], "token_expired");
    assert_eq!(Postgres::shared().admin("select count(*) from notes where id = 750002"), "0");

    let keep = format!("[target.app.session]\non_token_expiry = \"keep\"\n\n{FINISH}");
    let hansard = Hansard::start_replaced(FINISH, &keep);
    let mut kept = Raw::sign_in(&short(&hansard, "kept", 2));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(kinds(&kept.talk(&query("select 1"))), "TDCZ");
    kept.send(&message('X', b""));
    assert_eq!(kept.rest(), []);
    assert_eq!(closed(&hansard, "kept")["reason"], "client_terminated");
}

#[test]
fn a_cancel_request_with_our_key_cancels_and_another_does_nothing() {
    let hansard = Hansard::start(Store::Folder);
    for (application, version) in [("cancelled", PROTOCOL), ("cancelled-3.2", PROTOCOL + 2)] {
        cancelled(&hansard, application, version);
    }
    let events = hansard.archive().query("select count(*) as n from events where kind = 'cancel_requested'");
    assert_eq!(events, [json!({ "n": 2 })]);
    assert!(!hansard.log().contains("could not be forwarded"), "{}", hansard.log());
}

fn cancelled(hansard: &Hansard, application: &str, version: u32) {
    let login = hansard.login("dev", application);
    let mut raw = Raw::tls(login.port);
    let said = raw.ask(&login, version, &[]);
    let key = said.into_iter().find(|message| message.kind == 'K').unwrap().body;
    // The number is the server's own, which clients compare with what it says of itself; the secret is not.
    let pid = u32::from_be_bytes(key[..4].try_into().unwrap());
    assert_eq!(pid.to_string(), backend(application));
    let slow = [parse("", "select pg_sleep(20)"), bind("", ""), execute("", 0), sync()].concat();
    raw.send(&slow);
    asleep(application);
    let mut wrong = key.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let short = key[..key.len() - 1].to_vec();
    for (key, tls) in [(wrong, false), (short, true), (vec![0; 8], true), (vec![1; 300], true)] {
        let mut request = if tls { Raw::tls(login.port) } else { Raw::plain(login.port) };
        request.send(&packet(CANCEL_REQUEST, &key));
        assert_eq!(request.rest(), [], "nothing is said to whoever guesses");
    }
    let mut past = Raw::plain(Postgres::shared().port());
    past.send(&packet(CANCEL_REQUEST, &key));
    assert_eq!(past.rest(), []);
    asleep(application);
    let started = Instant::now();
    let mut request = Raw::tls(login.port);
    request.send(&packet(CANCEL_REQUEST, &key));
    // As clients from libpq 17 on demand.
    assert!(request.ends_in_order(), "TLS broke off");
    // The end says that it was done: what is asked now is not hit.
    raw.send(&query("select 'after the cancel'"));
    let said = raw.until_ready();
    assert_eq!(errors(&said), ["57014"]);
    assert_eq!(kinds(&raw.until_ready()), "TDCZ");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    drop(raw);
    closed(hansard, application);
    let rows = hansard.archive().rows_of(application, 3);
    assert_eq!((&rows[0]["status"], &rows[0]["sqlstate"]), (&json!("cancelled"), &json!("57014")));
}

#[test]
fn libpq_18_cancels_by_a_short_key_and_by_a_long_one() {
    let hansard = Hansard::start(Store::Folder);
    for (asked, spoken) in [("3.0", "30000"), ("latest", "30002")] {
        let login = hansard.login("dev", &format!("libpq-{spoken}"));
        let ran = client("cancel_psycopg.py", &login, &[asked, spoken]);
        assert_recorded(&hansard.archive(), &login.application, &ran);
    }
}
