//! Silence is never ambiguous: the built program says that it lives, how the run before ended, and who read the archive.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::evidence;
use crate::support::{Hansard, connect, output, psql};

/// The events of some kinds, in order, once there are so many.
fn events(hansard: &Hansard, kinds: &str, count: usize) -> Vec<Value> {
    let sql = format!(
        "select *, epoch_us(time) as at, epoch_us(since) as since_at from events where kind in ({kinds}) order by entry_seq"
    );
    let rows = hansard.archive().query_until(&sql, |rows| rows.len() >= count);
    assert!(rows.len() >= count, "{rows:?}");
    rows
}

#[test]
fn a_recorder_that_nobody_uses_says_that_it_lives() {
    let mut hansard = Hansard::start_edited(&evidence(""));
    let beats = events(&hansard, "'heartbeat'", 5);
    let times: Vec<i64> = beats.iter().map(|beat| beat["at"].as_i64().unwrap()).collect();
    let pauses: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| (900_000..3_000_000).contains(pause)), "a second each: {pauses:?}");
    assert_eq!(hansard.stop(), 0);
    let last = hansard.archive().query("select kind from events order by entry_seq desc limit 1");
    assert_eq!(last[0]["kind"], "stopped", "the word that it stops is the last one");
    assert!(hansard.archive().query("select 1 from events where kind in ('gap', 'recovered')").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_is_told_by_the_next_one_with_since_when_nothing_is_known() {
    let mut hansard = Hansard::start_edited(&evidence(""));
    let db = connect(&hansard.login("dev", "cut")).await.unwrap();
    db.simple_query("select 1").await.unwrap();
    let first = events(&hansard, "'started', 'heartbeat'", 2);
    assert_eq!((&first[0]["kind"], &first[0]["previous_entry"]), (&"started".into(), &0.into()));
    hansard.kill();
    drop(db);
    hansard.start_again();
    let told = events(&hansard, "'started', 'recovered', 'policy_loaded'", 5);
    let kinds: Vec<&str> = told.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "policy_loaded", "recovered", "started", "policy_loaded"]);
    let (recovered, started) = (&told[2], &told[3]);
    // The last moment that the journal tells of lies between the last heartbeat that was shipped and the next start.
    let (since, now) = (recovered["since_at"].as_i64().unwrap(), recovered["at"].as_i64().unwrap());
    assert!(first[1]["at"].as_i64().unwrap() <= since && since <= now, "{since} {now}");
    assert_eq!(recovered["missing_at_most"], 0, "what was forwarded had been flushed");
    let previous = started["previous_entry"].as_i64().unwrap();
    assert!(previous > 0 && previous < recovered["entry_seq"].as_i64().unwrap());
    let closed =
        hansard.archive().query_until("select reason from sessions where application = 'cut'", |rows| !rows.is_empty());
    assert_eq!(closed[0]["reason"], "recorder_died");

    assert_eq!(hansard.stop(), 0);
    hansard.start_again();
    let told = events(&hansard, "'started', 'recovered', 'stopped'", 5);
    let kinds: Vec<&str> = told.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["started", "recovered", "started", "stopped", "started"], "a stop on purpose is no recovery");
    let (previous, stopped) = (told[4]["previous_entry"].as_i64().unwrap(), told[3]["entry_seq"].as_i64().unwrap());
    assert!(previous >= stopped, "behind the word that it stops there are only notes on segments");
    assert_eq!(told[4]["entry_seq"], previous + 1, "and it goes on from there");
}

#[test]
fn a_read_by_the_recorders_own_configuration_is_on_record_whether_it_runs_or_not() {
    let mut hansard = Hansard::start_edited(&evidence(""));
    assert!(psql(&hansard.login("ana", "read"), "select 'what ana did';").success);
    let rows = hansard.archive().rows_of("read", 1);
    let (reference, session) = (rows[0]["reference"].as_str().unwrap(), rows[0]["session_id"].as_str().unwrap());
    let question = "SELECT display, text FROM statements -- who was it?";
    let reads = [("query", question), ("why", reference), ("replay", session)];
    for (command, asked) in reads {
        let (code, answer, said) = hansard.run(&[command, asked]);
        assert!(code == 0 && answer.contains("what ana did"), "{command}: {answer}{said}");
    }
    let told = events(&hansard, "'archive_read'", 3);
    for (row, (command, asked)) in told.iter().zip(reads) {
        assert_eq!(row["detail"], format!("hansard {command}"));
        assert!(row["question"].as_str().unwrap().contains(asked), "{row}");
        let user = rustix::process::getuid().as_raw();
        assert!(row["operator"].as_str().unwrap().contains(&format!("(uid {user})")), "{row}");
        assert_eq!(row["node"], "test-node");
    }

    assert_eq!(hansard.stop(), 0);
    assert_eq!(hansard.run(&["query", "SELECT 'while it was down'"]).0, 0);
    assert_eq!(fs::read_dir(hansard.folder().join("journal/reads")).unwrap().count(), 1, "it waits");
    hansard.start_again();
    let told = events(&hansard, "'archive_read'", 4);
    assert_eq!((told.len(), &told[3]["question"]), (4, &"SELECT 'while it was down'".into()));
    assert_eq!(fs::read_dir(hansard.folder().join("journal/reads")).unwrap().count(), 0, "it is on record once");
}

#[test]
fn a_read_that_cannot_be_put_on_record_does_not_happen() {
    let hansard = Hansard::start_edited(&evidence(""));
    assert!(psql(&hansard.login("ana", "unread"), "select 'what nobody may read';").success);
    let rows = hansard.archive().rows_of("unread", 1);
    let reads = hansard.folder().join("journal/reads");
    drop(fs::remove_dir(&reads));
    fs::write(&reads, "in the way").unwrap();
    let reference = rows[0]["reference"].as_str().unwrap();
    for asked in [["query", "SELECT text FROM statements"], ["why", reference]] {
        let (code, answer, said) = hansard.run(&asked);
        assert_eq!(code, 7, "{answer}{said}");
        assert!(answer.is_empty() && !said.contains("what nobody may read"), "{answer}{said}");
        assert!(said.contains("this read would not be on record, so nothing is read"), "{said}");
    }
    fs::remove_file(&reads).unwrap();
    let (code, answer, _) = hansard.run(&["query", "SELECT text FROM statements"]);
    assert!(code == 0 && answer.contains("what nobody may read"));
    assert_eq!(events(&hansard, "'archive_read'", 1).len(), 1);
    // The archive by its own name is read as strangers read it, who need no recorder.
    let archive = hansard.folder().join("archive");
    let mut stranger = Command::new(env!("CARGO_BIN_EXE_hansard"));
    stranger.args(["query", "SELECT text FROM statements", "--archive"]).arg(archive);
    assert!(output(&mut stranger, "").contains("what nobody may read"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(events(&hansard, "'archive_read'", 1).len(), 1);
}
