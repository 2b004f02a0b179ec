//! Promise 3, *nothing lost*, and promise 2, *recorded first*: `kill -9` in the middle of work, restart, and every statement
//! that any client saw an answer to is in the archive exactly once; so is every one that the database ever saw.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use support::{Archive, CLIENTS, Hansard, Postgres, Store, assert_recorded, run, steady};

/// How often the plug is pulled, and how many clients are at work each time.
const KILLS: u32 = 3;
const WRITERS: u32 = 3;

/// Long enough that segments are shipped meanwhile (they are cut each second) and others are not.
const WORK: Duration = Duration::from_millis(2_300);

/// Ids of the writers begin here, a stretch for each.
const FIRST_ID: u32 = 1_000_000;
const STRETCH: u32 = 100_000;

#[test]
fn what_was_answered_is_in_the_archive_exactly_once_after_kill_9() {
    let mut hansard = Hansard::start(Store::azurite("nothing-lost"));
    let mut answered = BTreeSet::new();
    let mut applications = Vec::new();
    for kill in 0..KILLS {
        let first = |writer: u32| FIRST_ID + (kill * WRITERS + writer) * STRETCH;
        let writers: Vec<Child> = (0..WRITERS)
            .map(|writer| {
                let application = format!("steady-{kill}-{writer}");
                let child = steady(&hansard.login("robot", &application), first(writer));
                applications.push(application);
                child
            })
            .collect();
        sleep(WORK);
        hansard.kill();
        for writer in writers {
            let ids = answers(writer);
            assert!(ids.len() > 10, "kill {kill}: a writer got {} answers only; nothing was under way", ids.len());
            answered.extend(ids);
        }
        hansard.start_again();
    }

    // A clean stop ships what is left. What was under way at a kill was perhaps answered and perhaps not.
    assert_eq!(hansard.stop(), 0, "a clean stop");
    let archive = hansard.archive();
    let sql =
        "select count(*) as n, count(distinct reference) as refs from statements where application like 'steady-%'";
    let rows = archive.query(sql);
    assert_eq!(rows[0]["n"], rows[0]["refs"], "a statement is there twice");

    let recorded = recorded_ids(&archive);
    let distinct: BTreeSet<u64> = recorded.iter().copied().collect();
    assert_eq!(distinct.len(), recorded.len(), "a statement is there twice");
    let lost: Vec<&u64> = answered.difference(&distinct).collect();
    assert!(lost.is_empty(), "answered and not in the archive: {lost:?}");

    // Recorded first: what the database saw is on record, whether anybody was told or not.
    for application in &applications {
        let sql = format!("select count(*) as n from statements where application = '{application}'");
        let on_record = archive.query(&sql)[0]["n"].as_u64().unwrap();
        let seen = Postgres::shared().logged(application, 0).len();
        assert!(on_record >= u64::try_from(seen).unwrap(), "{application}: {seen} seen, {on_record} on record");
    }
    let stored = Postgres::shared().admin(&format!("select id from notes where id >= {FIRST_ID}"));
    let unrecorded: Vec<&str> = stored.lines().filter(|id| !distinct.contains(&id.parse().unwrap())).collect();
    assert!(unrecorded.is_empty(), "in the database and not in the archive: {unrecorded:?}");

    the_interruption_is_on_record(&archive);
}

/// The numbers that a writer printed, which are those that it saw an answer to.
fn answers(mut writer: Child) -> BTreeSet<u64> {
    let (mut printed, mut problems) = (String::new(), String::new());
    writer.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    writer.stderr.take().unwrap().read_to_string(&mut problems).unwrap();
    assert!(writer.wait().unwrap().success(), "a writer failed otherwise than by losing its connection:\n{problems}");
    printed.lines().map(|id| id.parse().unwrap()).collect()
}

/// The id of each recorded insertion.
fn recorded_ids(archive: &Archive<'_>) -> Vec<u64> {
    let sql = "select params[1].value as id from statements where application like 'steady-%' and kind = 'insert'";
    archive.query(sql).iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

fn the_interruption_is_on_record(archive: &Archive<'_>) {
    let events = archive.query("select count(*) as n from events where kind = 'recovered'");
    assert_eq!(events[0]["n"], json!(KILLS), "each start after a kill says so");
    let sql = "select count(*) as n from sessions where reason = 'recorder_died'";
    assert_eq!(archive.query(sql)[0]["n"], json!(KILLS * WRITERS), "each session that the kill ended says so");
    let sql = "select distinct status from statements where application like 'steady-%' order by 1";
    let words: Vec<String> = archive.query(sql).iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect();
    assert!(words.contains(&"ok".to_owned()), "{words:?}");
    assert!(words.iter().all(|word| word == "ok" || word == "unknown"), "{words:?}");
    // Every entry of the node makes at most one row.
    let sql = "select entry_seq from statements group by entry_seq having count(*) > 1";
    assert!(archive.query(sql).is_empty(), "an entry made two rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_the_end_to_end_test_are_complete_after_kill_9() {
    let mut hansard = Hansard::start(Store::azurite("killed-after"));
    let mut ran = Vec::new();
    for name in CLIENTS {
        ran.push((format!("killed-{name}"), run(name, &hansard.login("dev", &format!("killed-{name}"))).await));
    }
    // At once: most of it is in the journal only. An outcome that was told rides a flush of its own, so it may be lost.
    hansard.kill();
    hansard.start_again();
    for (application, mut ran) in ran {
        let archive = hansard.archive();
        let rows = archive.rows_of(&application, ran.len());
        let last = rows.last().unwrap();
        if last["status"] == "unknown" {
            let statement = ran.last_mut().unwrap();
            *statement = support::Expected {
                status: Some("unknown".to_owned()),
                sqlstate: None,
                rows_returned: None,
                rows_affected: None,
                ..statement.clone()
            };
        }
        assert_recorded(&archive, &application, &ran);
    }
}
