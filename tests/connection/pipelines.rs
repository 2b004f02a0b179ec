//! Conversations in any order that the protocol allows.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};

use super::support::raw::{
    Message, Raw, bind, errors, execute, flush, kinds, message, parse, query, run_unnamed, sync,
};
use super::support::{Hansard, Issuer, Postgres, Store, connect, repository};
use super::{assert_alive, closed};

const DENIED: &str = "select amount from hr.salaries";

/// Text, decision and status of each statement of a session.
fn recorded(hansard: &Hansard, application: &str, count: usize) -> Vec<String> {
    let rows = hansard.archive().rows_of(application, count);
    let word = |row: &Value, column: &str| row[column].as_str().unwrap_or("-").to_owned();
    let rows: Vec<String> = rows
        .iter()
        .map(|row| format!("{} | {} | {}", word(row, "text"), word(row, "decision"), word(row, "status")))
        .collect();
    assert_eq!(rows.len(), count, "{application}: {rows:#?}");
    rows
}

fn values(said: &[Message]) -> Vec<String> {
    let rows = said.iter().filter(|message| message.kind == 'D');
    // One column: its number, its length, its text.
    rows.map(|row| std::str::from_utf8(&row.body[6..]).unwrap().to_owned()).collect()
}

#[test]
fn simple_and_extended_messages_in_one_pipeline_are_answered_in_order() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "mixed"));
    raw.send(
        &[
            query("select 'a'"),
            run_unnamed("select 'b'"),
            flush(),
            run_unnamed("select 'c'"),
            sync(),
            query("select 'd'; select 'e'"),
            parse("s", "select 'f'"),
            message('D', b"Ss\0"),
            bind("p", "s"),
            message('D', b"Pp\0"),
            execute("p", 0),
            message('C', b"Pp\0"),
            message('C', b"Ss\0"),
            sync(),
            query(""),
        ]
        .concat(),
    );
    let mut said = Vec::new();
    for _ in 0..5 {
        said.extend(raw.until_ready());
    }
    assert_eq!(values(&said), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(kinds(&said), "TDCZ12DC12DCZTDCTDCZ1tT2TDC33ZIZ");
    let texts = recorded(&hansard, "mixed", 6);
    let expected = ["select 'a'", "select 'b'", "select 'c'", "select 'd'; select 'e'", "select 'f'", ""];
    assert_eq!(texts, expected.map(|text| format!("{text} | allow | ok")));
}

#[test]
fn a_flush_without_a_sync_gets_its_answers() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "flushed"));
    raw.send(&[run_unnamed("select 1"), flush()].concat());
    assert_eq!(kinds(&raw.until(|message| message.kind == 'C')), "12DC");
    raw.send(&[run_unnamed(DENIED), flush()].concat());
    let said = raw.until(|message| message.kind == 'E');
    assert_eq!(errors(&said), ["42501"]);
    // Discarded up to the next Sync, as a server would.
    raw.send(&[run_unnamed("select 'discarded'"), query("select 'discarded'"), sync()].concat());
    assert_eq!(kinds(&raw.until_ready()), "Z");
    assert_eq!(kinds(&raw.talk(&query("select 2"))), "TDCZ");
    assert!(!Postgres::shared().log().contains("discarded'"));
}

#[test]
fn ten_thousand_executions_in_one_pipeline_are_ten_thousand_rows() {
    const COUNT: usize = 10_000;
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "ten-thousand"));
    raw.talk(&[parse("s", "select 7"), sync()].concat());
    let one = [bind("", "s"), execute("", 0)].concat();
    let said = raw.talk(&[one.repeat(COUNT), sync()].concat());
    assert_eq!(values(&said).len(), COUNT);
    drop(raw);
    assert_eq!(closed(&hansard, "ten-thousand")["statements"], json!(COUNT));
    let sql = "select count(*) as n, count(distinct statement_seq) as seqs, sum(rows_returned)::bigint as rows \
               from statements where application = 'ten-thousand' and status = 'ok' and text = 'select 7'";
    let rows = hansard.archive().query_until(sql, |rows| rows[0]["n"] == COUNT);
    assert_eq!(rows, [json!({ "n": COUNT, "seqs": COUNT, "rows": COUNT })]);
}

/// A `Bind` of one value as text, without names.
fn bind_value(value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    message('B', &[b"\0s\0\0\0\0\x01", &length[..], value.as_bytes(), b"\0\0"].concat())
}

#[test]
fn one_parse_and_a_thousand_executions_are_a_thousand_rows_each_with_its_own() {
    const COUNT: usize = 1_000;
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "a-thousand"));
    // Its value decides how many rows each has, and whether it fails.
    let text =
        "select 60 / ($1::int % 500 + (random() * 0)::int), pg_sleep(0.001) from generate_series(1, 1 + $1::int % 3)";
    let mut asked = parse("s", text);
    for at in 1..=COUNT {
        asked.extend([bind_value(&at.to_string()), execute("", 0)].concat());
        // The one that fails in the middle is in one batch with the next one.
        if at != 500 {
            asked.extend(sync());
        }
    }
    raw.send(&asked);
    let said: Vec<Message> = (1..COUNT).flat_map(|_| raw.until_ready()).collect();
    assert_eq!(errors(&said), ["22012", "22012"]);
    let rows = hansard.archive().rows_of("a-thousand", COUNT);
    assert_eq!(rows.len(), COUNT);
    let mut before = String::new();
    for (at, row) in (1..).zip(&rows) {
        let (returned, status) = match at {
            500 | 1_000 => (0, "error"),
            501 => (0, "skipped"),
            at => (1 + at % 3, "ok"),
        };
        let state = if status == "ok" { Value::Null } else { json!("22012") };
        let tag = if status == "ok" { json!(format!("SELECT {returned}")) } else { Value::Null };
        let own =
            ["text", "rows_returned", "status", "sqlstate", "command_tag", "transaction_after"].map(|name| &row[name]);
        assert_eq!(row["values"], json!([at.to_string()]));
        assert_eq!(json!(own), json!([text, returned, status, state, tag, "I"]), "{at}");
        // Its rows sleep, so each has a time of its own, and its first row one before the end.
        let slept = row["total_us"].as_i64().unwrap();
        assert!(slept >= 1_000 * returned, "{at}: {slept}");
        assert_eq!(row["first_row_us"].is_null(), returned == 0, "{at}");
        let ended = row["ended"].as_str().unwrap().to_owned();
        assert!(ended >= before, "{at}: the ends are not in order");
        before = ended;
    }
}

#[test]
fn a_failure_in_the_middle_of_one_batch_leaves_each_row_what_happened_to_it() {
    const COUNT: usize = 1_000;
    const BAD: usize = 500;
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "in-the-middle"));
    let mut asked = parse("s", "select 1 / ($1::int - 500 + (random() * 0)::int)");
    for at in 1..=COUNT {
        asked.extend([bind_value(&at.to_string()), execute("", 0)].concat());
    }
    let said = raw.talk(&[asked, sync()].concat());
    assert_eq!((values(&said).len(), errors(&said)), (BAD - 1, vec!["22012".to_owned()]));
    let rows = hansard.archive().rows_of("in-the-middle", COUNT);
    for (at, row) in (1..).zip(&rows) {
        let own = json!([row["values"][0], row["rows_returned"], row["sqlstate"], row["status"]]);
        let wanted = match at.cmp(&BAD) {
            std::cmp::Ordering::Less => json!([at.to_string(), 1, null, "ok"]),
            std::cmp::Ordering::Equal => json!([at.to_string(), 0, "22012", "error"]),
            std::cmp::Ordering::Greater => json!([at.to_string(), 0, "22012", "skipped"]),
        };
        assert_eq!(own, wanted, "{at}");
    }
}

#[test]
fn a_denied_statement_fails_its_transaction_whatever_kind_that_is() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "transactions"));
    let insert = |id: u32| format!("insert into notes (id) values ({id})");
    // The implicit one of a pipeline.
    let pipeline = [run_unnamed(&insert(710_001)), run_unnamed(DENIED), run_unnamed(&insert(710_002)), sync()];
    let said = raw.talk(&pipeline.concat());
    assert_eq!(kinds(&said), "12CEZ");
    assert_eq!(errors(&said), ["42501"]);
    // That of several statements in one message.
    let said = raw.talk(&query(&format!("{}; {DENIED}; {}", insert(710_003), insert(710_004))));
    assert_eq!((kinds(&said).as_str(), errors(&said)), ("EZ", vec!["42501".to_owned()]));
    // An explicit one.
    for begin in [query("begin"), [run_unnamed("begin"), sync()].concat()] {
        assert_eq!(raw.talk(&begin).last().unwrap().body, b"T");
        raw.talk(&query(&insert(710_005)));
        for denied in [query(DENIED), [run_unnamed(DENIED), sync()].concat()] {
            let said = raw.talk(&denied);
            assert_eq!((errors(&said), said.last().unwrap().body.as_slice()), (vec!["42501".to_owned()], &b"E"[..]));
        }
        for next in [query("select 1"), [run_unnamed("select 1"), sync()].concat()] {
            let said = raw.talk(&next);
            assert_eq!(errors(&said), ["25P02"]);
            let text = said[0].field('M');
            assert!(text.starts_with("hansard: ") && text.contains("ROLLBACK"), "{text}");
        }
        let said = raw.talk(&query("rollback"));
        assert_eq!((kinds(&said).as_str(), said.last().unwrap().body.as_slice()), ("CZ", &b"I"[..]));
    }
    // Back to a savepoint: the transaction goes on.
    raw.talk(&query("begin"));
    raw.talk(&query(&insert(710_006)));
    raw.talk(&query("savepoint s"));
    assert_eq!(errors(&raw.talk(&query(DENIED))), ["42501"]);
    assert_eq!(raw.talk(&query("rollback to s")).last().unwrap().body, b"T");
    assert_eq!(kinds(&raw.talk(&query("commit"))), "CZ");
    assert_eq!(Postgres::shared().admin("select id from notes where id between 710000 and 710099"), "710006");
    assert!(!Postgres::shared().log().contains(DENIED));
    // A transaction that the server itself failed is not blamed on us.
    raw.talk(&query("begin"));
    raw.talk(&query("select 1/0"));
    let said = raw.talk(&query("select 1"));
    assert!(!said[0].field('M').contains("hansard"), "{}", said[0].field('M'));
}

#[test]
fn names_stand_for_what_the_database_took() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "names"));
    // Denied, then the name is free.
    assert_eq!(errors(&raw.talk(&[parse("a", DENIED), sync()].concat())), ["42501"]);
    assert_eq!(kinds(&raw.talk(&[parse("a", "select 'a'"), bind("", "a"), execute("", 0), sync()].concat())), "12DCZ");
    // Refused by the server: the name keeps what it stood for. Once known, once in one pipeline.
    assert_eq!(errors(&raw.talk(&[parse("a", "select 'not a'"), sync()].concat())), ["42P05"]);
    assert_eq!(values(&raw.talk(&[bind("", "a"), execute("", 0), sync()].concat())), ["a"]);
    assert_eq!(
        errors(&raw.talk(&[parse("b", "select 'b'"), parse("b", "select 'not b'"), sync()].concat())),
        ["42P05"]
    );
    assert_eq!(values(&raw.talk(&[bind("", "b"), execute("", 0), sync()].concat())), ["b"]);
    // Portals as well.
    raw.talk(&query("begin"));
    let twice = [bind("p", "a"), bind("p", "b"), sync()].concat();
    assert_eq!(errors(&raw.talk(&twice)), ["42P03"]);
    raw.talk(&query("rollback"));
    // Pipelined over a Sync, the second waits for what becomes of the first.
    raw.send(&[parse("a", "select 'not a'"), sync(), bind("", "a"), execute("", 0), sync()].concat());
    assert_eq!(errors(&raw.until_ready()), ["42P05"]);
    assert_eq!(values(&raw.until_ready()), ["a"]);
    // Closed and given anew in one pipeline.
    let anew = [message('C', b"Sa\0"), parse("a", "select 'new a'"), bind("", "a"), execute("", 0), sync()].concat();
    assert_eq!(values(&raw.talk(&anew)), ["new a"]);
    let rows = recorded(&hansard, "names", 8);
    let expected = [
        "select amount from hr.salaries | deny | denied",
        "select 'a' | allow | ok",
        "select 'a' | allow | ok",
        "select 'b' | allow | ok",
        "begin | allow | ok",
        "rollback | allow | ok",
        "select 'a' | allow | ok",
        "select 'new a' | allow | ok",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_name_that_sql_gave_anew_is_not_recorded_as_what_it_was() {
    let hansard = Hansard::start(Store::Folder);
    for (application, swap) in [
        ("swapped", vec!["deallocate a", "prepare a as select 'new'"]),
        ("swapped-at-once", vec!["deallocate a; prepare a as select 'new'"]),
        ("swapped-several", vec!["deallocate other ; deallocate a ; prepare a as select 'new'"]),
        ("swapped-all", vec!["deallocate all", "prepare a as select 'new'"]),
        ("swapped-discard", vec!["discard all", "prepare a as select 'new'"]),
        ("swapped-quoted", vec!["deallocate prepare \"a\"", "prepare a as select 'new'"]),
    ] {
        let mut raw = Raw::sign_in(&hansard.login("dev", application));
        raw.talk(&[parse("a", "select 'old'"), parse("other", "select 'other'"), sync()].concat());
        let mut pipeline: Vec<u8> = swap.iter().flat_map(|text| query(text)).collect();
        pipeline.extend([bind("", "a"), execute("", 0), sync()].concat());
        raw.send(&pipeline);
        let said: Vec<Message> = (0..=swap.len()).flat_map(|_| raw.until_ready()).collect();
        assert_eq!(values(&said), ["new"], "{application}: {said:?}");
        let sql = format!(
            "select text, kind from statements where application = '{application}' and request = 'execute' and status = 'ok'"
        );
        let rows = hansard.archive().query_until(&sql, |rows| !rows.is_empty());
        let seen = match swap.last() {
            Some(text) if !text.contains(';') => json!({ "text": text, "kind": "select" }),
            _ => json!({ "text": "", "kind": "unparsed" }),
        };
        assert_eq!(rows, [seen], "{application}");
    }
    // Cursors and portals share their names.
    for (application, swap) in [
        ("cursor", vec!["close p", "declare p cursor for select 'new'"]),
        ("cursor-at-once", vec!["commit; begin; declare p cursor for select 'new'"]),
        ("cursor-quoted", vec!["close all", "declare \"p\" scroll cursor for select 'new'"]),
    ] {
        let mut raw = Raw::sign_in(&hansard.login("dev", application));
        raw.talk(&query("begin"));
        raw.talk(&[parse("a", "select 'old'"), bind("p", "a"), bind("q", "a"), sync()].concat());
        let mut pipeline: Vec<u8> = swap.iter().flat_map(|text| query(text)).collect();
        pipeline.extend([execute("p", 0), sync()].concat());
        raw.send(&pipeline);
        let said: Vec<Message> = (0..=swap.len()).flat_map(|_| raw.until_ready()).collect();
        assert_eq!(values(&said), ["new"], "{application}: {said:?}");
        let sql =
            format!("select text, kind from statements where application = '{application}' and request = 'execute'");
        let rows = hansard.archive().query_until(&sql, |rows| !rows.is_empty());
        let seen = match swap.last() {
            Some(text) if !text.contains(';') => json!({ "text": text, "kind": "select" }),
            _ => json!({ "text": "", "kind": "unparsed" }),
        };
        assert_eq!(rows, [seen], "{application}");
    }
    // Giving up one name does not unsettle the others.
    let mut raw = Raw::sign_in(&hansard.login("dev", "deallocated-one"));
    raw.talk(&[parse("a", "select 'old'"), parse("other", "select 'other'"), sync()].concat());
    raw.talk(&query("deallocate a"));
    assert_eq!(values(&raw.talk(&[bind("", "other"), execute("", 0), sync()].concat())), ["other"]);
    let rows = recorded(&hansard, "deallocated-one", 2);
    assert_eq!(rows[1], "select 'other' | allow | ok");
}

/// Fails when it is executed; of constants alone, it would fail when it is bound.
const FAILS: &str = "select 1 / (random() * 0)::int";

#[test]
fn commits_by_themselves_and_rollbacks_are_seen_by_the_state_before_and_after() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "states"));
    for text in ["select 1", "begin", "select 2", "select 1/0", "rollback", "select 3; select 1/0"] {
        raw.talk(&query(text));
    }
    // One batch that commits by itself, and one that is undone by its second statement.
    raw.talk(&[run_unnamed("select 4"), run_unnamed("select 5"), sync()].concat());
    raw.talk(&[run_unnamed("select 6"), run_unnamed(FAILS), run_unnamed("select 7"), sync()].concat());
    // Prepared and executed together in a failed transaction: the Parse fails, so the Execute is skipped.
    raw.talk(&query("begin"));
    raw.talk(&query("select 1/0"));
    raw.talk(&[run_unnamed("select 8"), sync()].concat());
    raw.talk(&query("commit"));
    raw.talk(&query("begin"));
    raw.send(&query("select pg_terminate_backend(pg_backend_pid())"));
    raw.rest();
    let rows = hansard.archive().rows_of("states", 17);
    let told = rows.iter().map(|row| {
        let word = |column: &str| row[column].as_str().unwrap_or("-").to_owned();
        let (before, after) = (word("transaction"), word("transaction_after"));
        format!("{before}{after} {} {} | {}", word("status"), word("sqlstate"), word("text"))
    });
    let wanted = [
        "II ok - | select 1",
        "IT ok - | begin",
        "TT ok - | select 2",
        "TE error 22012 | select 1/0",
        "EI ok - | rollback",
        "II error 22012 | select 3; select 1/0",
        "II ok - | select 4",
        "II ok - | select 5",
        "II ok - | select 6",
        "II error 22012 | select 1 / (random() * 0)::int",
        "II skipped 22012 | select 7",
        "IT ok - | begin",
        "TE error 22012 | select 1/0",
        "EE skipped 25P02 | select 8",
        "EI ok - | commit",
        "IT ok - | begin",
        "T- killed 57P01 | select pg_terminate_backend(pg_backend_pid())",
    ];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}

#[test]
fn each_execute_of_a_portal_is_a_row_of_its_own() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "portals"));
    let begin = [parse("s", "select generate_series(1, 5)"), bind("p", "s")].concat();
    let said = raw.talk(&[begin, execute("p", 2), execute("p", 2), execute("p", 2), sync()].concat());
    assert_eq!(kinds(&said), "12DDsDDsDCZ");
    let sql = "select rows_returned as rows, status, portal_name, prepared_name from statements \
               where application = 'portals' order by statement_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let row = |rows: u32| json!({ "rows": rows, "status": "ok", "portal_name": "p", "prepared_name": "s" });
    assert_eq!(rows, [row(2), row(2), row(1)]);

    // The pieces add up to what one Execute says, and only the last one has the tag.
    let whole = raw.talk(&[parse("", "select generate_series(1, 5)"), bind("", ""), execute("", 0), sync()].concat());
    assert_eq!(kinds(&whole), "12DDDDDCZ");
    let rows = hansard.archive().rows_of("portals", 4);
    let pieces: i64 = rows[..3].iter().map(|row| row["rows_returned"].as_i64().unwrap()).sum();
    assert_eq!(json!(pieces), rows[3]["rows_returned"]);
    let tags: Vec<&Value> = rows.iter().map(|row| &row["command_tag"]).collect();
    assert_eq!(json!(tags), json!([null, null, "SELECT 1", "SELECT 5"]));
    let sent: i64 = rows[..3].iter().map(|row| row["bytes_out"].as_i64().unwrap()).sum();
    assert!(sent > rows[3]["bytes_out"].as_i64().unwrap() / 2, "each piece has the bytes that went out for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_runs_in_both_protocols_and_its_failures_leave_the_session_alive() {
    let hansard = Hansard::start(Store::Folder);
    let db = connect(&hansard.login("dev", "copy")).await.unwrap();
    let sink = db.copy_in::<_, bytes::Bytes>("copy notes (id) from stdin").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"720001\n720002\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    // Given up by the client: CopyFail.
    let mut sink = Box::pin(db.copy_in::<_, bytes::Bytes>("copy notes (id) from stdin").await.unwrap());
    sink.send(bytes::Bytes::from_static(b"720003\n")).await.unwrap();
    drop(sink);
    // Failed by the server in the middle.
    let mut sink = Box::pin(db.copy_in::<_, bytes::Bytes>("copy notes (id) from stdin").await.unwrap());
    sink.send(bytes::Bytes::from_static(b"no number\n")).await.unwrap();
    let error = sink.as_mut().finish().await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22P02");
    let out = db.copy_out("copy (select 1) to stdout").await.unwrap();
    assert_eq!(out.collect::<Vec<_>>().await.len(), 1);
    db.simple_query("select 1").await.unwrap();

    let rows = hansard.archive().rows_of("copy", 5);
    let show = |row: &Value| format!("{} {} {}", row["status"], row["sqlstate"], row["rows_affected"]);
    let shown: Vec<String> = rows.iter().map(show).collect();
    assert_eq!(
        shown,
        [
            "\"ok\" null 2",
            "\"cancelled\" \"57014\" null",
            "\"error\" \"22P02\" null",
            "\"ok\" null null",
            "\"ok\" null null"
        ]
    );
}

#[test]
fn copy_in_simple_messages_pipelined_failing_and_twice_in_one() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "copy-raw"));
    let data = |text: &str| message('d', text.as_bytes());
    let done = || message('c', b"");
    let copy = "copy notes (id) from stdin";
    // All at once, and twice in one message.
    assert_eq!(kinds(&raw.talk(&[query(copy), data("730001\n"), done()].concat())), "GCZ");
    let twice = query(&format!("{copy}; {copy}"));
    let said = raw.talk(&[twice, data("730002\n"), done(), data("730003\n"), done()].concat());
    assert_eq!(kinds(&said), "GCGCZ");
    // Failed by the server, by the client; what comes behind is ignored.
    let said = raw.talk(&[query(copy), data("x\n"), data("730004\n"), done()].concat());
    assert_eq!((kinds(&said).as_str(), errors(&said)), ("GEZ", vec!["22P02".to_owned()]));
    let said = raw.talk(&[query(copy), data("730005\n"), message('f', b"why\0")].concat());
    assert_eq!((kinds(&said).as_str(), errors(&said)), ("GEZ", vec!["57014".to_owned()]));
    // Flush and Sync in the middle are ignored by the server.
    let said = raw.talk(&[query(copy), data("730006\n"), sync(), flush(), data("730007\n"), done()].concat());
    assert_eq!(kinds(&said), "GCZ");
    // Ends of COPY that nobody began.
    let said = raw.talk(&[done().repeat(1000), message('f', b"\0").repeat(1000), query("select 1")].concat());
    assert_eq!(kinds(&said), "TDCZ");
    // In the extended protocol with the Sync before the data, and a failure.
    let said = raw.talk(&[run_unnamed(copy), sync(), data("730008\n"), done(), sync()].concat());
    assert_eq!(kinds(&said), "12GCZ");
    let said = raw.talk(&[run_unnamed(copy), sync(), data("x\n"), done(), sync()].concat());
    assert_eq!(kinds(&said), "12GEZ");
    assert_eq!(kinds(&raw.talk(&query("select 2"))), "TDCZ");
    let rows = recorded(&hansard, "copy-raw", 9);
    assert_eq!(rows[8], "select 2 | allow | ok", "{rows:#?}");
    let affected = "select rows_affected from statements where application = 'copy-raw' order by statement_seq";
    let rows = hansard.archive().query(affected);
    let affected: Vec<Option<u64>> = rows.iter().map(|row| row["rows_affected"].as_u64()).collect();
    assert_eq!(affected, [Some(1), Some(2), None, None, Some(2), None, Some(1), None, None]);
}

#[test]
fn a_hundred_thousand_ends_of_nothing_do_not_stall_a_session() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "ends-of-nothing"));
    raw.send(&message('c', b"").repeat(200_000));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    drop(raw);
    assert_eq!(closed(&hansard, "ends-of-nothing")["reason"], "client_gone");
}

#[test]
fn a_sync_too_many_in_a_copy_shifts_no_outcome_to_another_statement() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "shifted"));
    raw.send(&query("copy notes (id) from stdin"));
    assert_eq!(raw.next().unwrap().kind, 'G');
    // The server fails at the data and answers the Sync; whether it saw the Sync in COPY or after cannot be known here.
    raw.send(&[message('d', b"x\n"), sync(), query("select generate_series(1, 9)"), query("select 'next'")].concat());
    let said = raw.until(|message| message.kind == 'D' && message.body.ends_with(b"next"));
    drop(raw);
    closed(&hansard, "shifted");
    let sql = "select text, status, rows_returned as rows from statements where application = 'shifted' order by statement_seq";
    let rows = hansard.archive().query(sql);
    let nine = rows.iter().find(|row| row["text"].as_str().unwrap().contains("generate_series"));
    let row = nine.unwrap_or_else(|| panic!("{rows:?}"));
    let right = row["rows"] == 9 && row["status"] == "ok";
    let honest = row["status"] == "killed" && !said.iter().any(|message| message.kind == 'D');
    assert!(right || honest, "{row}\n{said:?}");
}

#[test]
fn a_function_call_message_is_judged_and_recorded_as_the_select_that_does_the_same() {
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap()
        + "@id(\"kept\") forbid (principal, action == Action::\"call\", resource) when { resource.name == \"lo_unlink\" };\n";
    let hansard = Hansard::start_with(Store::Folder, &rules, Issuer::shared());
    let mut raw = Raw::sign_in(&hansard.login("dev", "function-call"));
    // The function's number, binary values, one of them, a binary result.
    let call = |function: u32, value: &[u8; 4]| {
        message('F', &[&function.to_be_bytes()[..], &[0, 1, 0, 1, 0, 1, 0, 0, 0, 4], value, &[0, 1]].concat())
    };
    let (lo_creat, lo_unlink) = (957, 964);
    let said = raw.talk(&call(lo_creat, &[0xff; 4]));
    assert_eq!(kinds(&said), "VZ");
    let object: [u8; 4] = said[0].body[4..8].try_into().unwrap();
    let said = raw.talk(&call(lo_unlink, &object));
    assert_eq!((kinds(&said).as_str(), errors(&said)), ("EZ", vec!["42501".to_owned()]));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    let rows = recorded(&hansard, "function-call", 3);
    assert_eq!(
        rows[..2],
        [
            "SELECT \"pg_catalog\".\"lo_creat\"($1) /* function call message, OID 957 */ | allow | ok",
            "SELECT \"pg_catalog\".\"lo_unlink\"($1) /* function call message, OID 964 */ | deny | denied",
        ]
    );
    let sql = "select request, params[1].raw as raw from statements where text like '%lo_creat%'";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    assert_eq!(rows[0]["request"], "function_call");
}

#[test]
fn notices_and_notifications_arrive_also_while_nothing_is_asked() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "listening"));
    assert_eq!(kinds(&raw.talk(&query("listen bell"))), "CZ");
    Postgres::shared().admin("notify bell, 'ding'");
    let heard = raw.next().unwrap();
    assert_eq!((heard.kind, heard.body.ends_with(b"bell\0ding\0")), ('A', true));
    let said = raw.talk(&query("do $$ begin raise notice 'look'; end $$"));
    assert_eq!(said[0].field('M'), "look");
    // Longer than anything that is held in memory.
    let said = raw.talk(&query("do $$ begin raise notice '%', repeat('x', 70000000); end $$"));
    assert_eq!(said.iter().map(|message| message.kind).collect::<String>(), "NCZ");
    assert_eq!(said[0].field('M').len(), 70_000_000);
    assert_alive(&hansard);
}

#[test]
fn a_value_of_100_mb_and_a_client_that_does_not_read_cost_no_memory() {
    const MAX_GROWTH: u64 = 64 << 20;
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "large"));
    raw.talk(&query("select 1"));
    hansard.forget_peak_memory();
    let before = hansard.memory("VmRSS");
    raw.send(&query("select repeat('x', 100000000)"));
    let said = raw.until_ready();
    assert_eq!(values(&said)[0].len(), 100_000_000);
    let growth = hansard.memory("VmHWM").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "a large value: {} MiB", growth >> 20);
    drop(said);
    // 800 MB that nobody reads.
    raw.send(&query("select repeat('y', 8000) from generate_series(1, 100000)"));
    std::thread::sleep(Duration::from_secs(2));
    let growth = hansard.memory("VmHWM").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "a client that does not read: {} MiB", growth >> 20);
    drop(raw);
    assert_eq!(closed(&hansard, "large")["reason"], "client_gone");
}

#[test]
fn whoever_only_stops_talking_gets_every_answer() {
    let hansard = Hansard::start(Store::Folder);
    let mut raw = Raw::sign_in(&hansard.login("dev", "half-closed"));
    let pipeline =
        [query("select pg_sleep(0.3)"), run_unnamed("select repeat('z', 1000000)"), sync(), query("select 3")];
    raw.send(&pipeline.concat());
    raw.half_close();
    assert_eq!(kinds(&raw.rest()), "TDCZ12DCZTDCZ");
    let rows = recorded(&hansard, "half-closed", 3);
    assert!(rows.iter().all(|row| row.ends_with("| ok")), "{rows:?}");
    assert_eq!(closed(&hansard, "half-closed")["reason"], "client_gone");
}
