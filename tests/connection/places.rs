//! What is taken on has limits, and whoever is over one reads so: connections, open files, memory.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::support::raw::{CANCEL_REQUEST, PROTOCOL, Raw, bind, errors, execute, kinds, packet, parse, query, sync};
use super::support::{Hansard, Store, wait_for};
use super::{asleep, assert_alive, closed};

/// How long a place may take to be free again on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn limited(limits: &str) -> Hansard {
    Hansard::start_replaced("[policy]", &format!("[limits]\n{limits}\n\n[policy]"))
}

/// What a client reads that is let in or not.
fn knock(hansard: &Hansard, application: &str) -> Vec<String> {
    let login = hansard.login("dev", application);
    errors(&Raw::tls(login.port).ask(&login, PROTOCOL, &[]))
}

#[test]
fn who_comes_when_all_places_are_taken_reads_so_and_is_on_record() {
    let hansard = limited("connections = 2");
    let mut first = Raw::sign_in(&hansard.login("dev", "place-first"));
    let mut second = Raw::sign_in(&hansard.login("dev", "place-second"));
    let login = hansard.login("dev", "place-third");
    let mut third = Raw::tls(login.port);
    let said = third.ask(&login, PROTOCOL, &[]);
    assert_eq!(errors(&said), ["53300"]);
    let first_line = said[0].field('M');
    assert!(first_line.starts_with("hansard: too many connections: all 2 places are taken (ref "), "{first_line}");
    assert_eq!(said[0].field('S'), "FATAL");
    // Who wants a statement cancelled finds a place for it all the same.
    second.send(&query("select pg_sleep(600)"));
    asleep("place-second");
    let mut cancel = Raw::tls(login.port);
    cancel.send(&packet(CANCEL_REQUEST, &second.key));
    assert_eq!(cancel.rest(), []);
    assert_eq!(errors(&second.until_ready()), ["57014"]);
    assert_eq!(kinds(&first.talk(&query("select 1"))), "TDCZ");
    drop(second);
    wait_for("a free place", SOON, || knock(&hansard, "place-fourth").is_empty().then_some(()));
    let sql = "select cause, sqlstate from (select reason as cause, sqlstate, application, kind from sessions) \
               where kind = 'refused' and application = 'place-third'";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    assert_eq!(rows, [json!({ "cause": "too_many_connections", "sqlstate": "53300" })]);
}

/// A program that becomes another with so many open files at most.
fn with_files(count: u32) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]);
    shell
}

#[test]
fn no_more_connections_are_taken_than_there_are_files_for() {
    let mut hansard = Hansard::start(Store::Folder);
    assert_eq!(hansard.stop(), 0);
    hansard.start_by(with_files(260));
    let log = hansard.log();
    assert!(log.contains("limits.connections is lowered"), "{log}");
    let mut sessions = [Raw::sign_in(&hansard.login("dev", "files-1")), Raw::sign_in(&hansard.login("dev", "files-2"))];
    assert_eq!(knock(&hansard, "files-3"), ["53300"]);
    for session in &mut sessions {
        assert_eq!(kinds(&session.talk(&query("select 1"))), "TDCZ");
    }
    assert_eq!(hansard.stop(), 0);
    hansard.launch_by(with_files(250));
    assert_eq!(hansard.ended(), 3);
    assert!(hansard.log().contains("at least 258 are needed"), "{}", hansard.log());
}

/// A statement of so many bytes, about.
fn long(bytes: usize) -> Vec<u8> {
    query(&format!("select length('{}')", "x".repeat(bytes)))
}

#[test]
fn a_message_that_would_never_fit_is_refused_at_once_and_the_session_lives_on() {
    let hansard = limited("memory = \"1MiB\"");
    let mut raw = Raw::sign_in(&hansard.login("dev", "memory-large"));
    let said = raw.talk(&long(3_000_000));
    assert_eq!((errors(&said), kinds(&said).as_str()), (vec!["53200".to_owned()], "EZ"));
    let error = said.iter().find(|message| message.kind == 'E').unwrap();
    assert!(error.field('M').starts_with("hansard: not enough memory for a message of 30000"), "{error:?}");
    assert_eq!(kinds(&raw.talk(&long(900_000))), "TDCZ", "what fits is taken");
    // In a batch, what follows is skipped, as after any error.
    let text = format!("select '{}'", "y".repeat(2_000_000));
    let batch = [parse("", &text), bind("", ""), execute("", 0), sync()].concat();
    let said = raw.talk(&batch);
    assert_eq!((errors(&said), kinds(&said).as_str()), (vec!["53200".to_owned()], "EZ"));
    assert_eq!(kinds(&raw.talk(&query("begin"))), "CZ");
    assert_eq!(errors(&raw.talk(&long(3_000_000))), ["53200"]);
    assert_eq!(errors(&raw.talk(&query("select 1"))), ["25P02"], "it failed the transaction as any error does");
    assert_eq!(kinds(&raw.talk(&query("rollback"))), "CZ");
    drop(raw);
    let rows = hansard.archive().rows_of("memory-large", 7);
    let ends: Vec<_> = rows.iter().map(|row| (row["status"].as_str().unwrap(), row["sqlstate"].as_str())).collect();
    let refused = ("denied", Some("53200"));
    let failed = ("error", Some("25P02"));
    assert_eq!(ends, [refused, ("ok", None), refused, ("ok", None), refused, failed, ("ok", None)]);
    assert_eq!(rows[0]["text"], "", "no words of ours where those of the client belong");
    let problem = rows[0]["problem"].as_str().unwrap();
    assert!(problem.starts_with("a message of 30000") && problem.contains("was not read"), "{problem}");
    assert_eq!(closed(&hansard, "memory-large")["statements"], 7);
}

#[test]
fn a_message_waits_for_room_that_another_holds_and_not_for_ever() {
    let hansard = limited("memory = \"1MiB\"");
    let mut holding = Raw::sign_in(&hansard.login("dev", "memory-holds"));
    let mut small = Raw::sign_in(&hansard.login("dev", "memory-small"));
    let mut waiting = Raw::sign_in(&hansard.login("dev", "memory-waits"));
    let message = long(700_000);
    let (begun, rest) = message.split_at(300_000);
    holding.send(begun);
    // Others with messages of the usual size do not notice.
    assert_eq!(kinds(&small.talk(&query("select 1"))), "TDCZ");
    let said = waiting.talk(&long(700_000));
    assert_eq!(errors(&said), ["53200"], "the room was held all the time");
    assert!(said[0].field('D').contains("other sessions hold large ones"), "{said:?}");
    assert_eq!(kinds(&waiting.talk(&query("select 1"))), "TDCZ");
    holding.send(rest);
    assert_eq!(kinds(&holding.until_ready()), "TDCZ");
    assert_eq!(kinds(&waiting.talk(&long(700_000))), "TDCZ", "now there is room");
    // One waits while the other finishes.
    holding.send(begun);
    assert_eq!(kinds(&small.talk(&query("select 1"))), "TDCZ");
    let waits = std::thread::spawn(move || kinds(&waiting.talk(&long(700_000))));
    assert_eq!(kinds(&small.talk(&query("select pg_sleep(1)"))), "TDCZ");
    holding.send(rest);
    assert_eq!(kinds(&holding.until_ready()), "TDCZ");
    assert_eq!(waits.join().unwrap(), "TDCZ");
    assert_alive(&hansard);
}
