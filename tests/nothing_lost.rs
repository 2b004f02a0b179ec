//! Promise 3, *nothing lost*, and promise 2, *recorded first*: `kill -9` at any moment, hundreds of times, and every
//! statement that any client saw an answer to is in the archive exactly once; so is every one that the database ever saw.
//!
//! The moments are drawn from a seed that is printed; `HANSARD_TEST_SEED` repeats it. With `HANSARD_SOAK_MINUTES` it goes
//! on for so long (`make soak`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper of a test that fails says so by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use support::{Archive, CLIENTS, Hansard, Login, Postgres, Store, assert_recorded, connect, run};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// How many clients are at work all the time.
const WRITERS: i32 = 3;

/// Kills between two looks at the archive, and between two tokens: those of the tests last an hour.
const LOOK_EVERY: u32 = 50;

/// Ids of a writer: more than any soak inserts.
const STRETCH: i32 = 100_000_000;

/// What is killed, and how often.
struct Torment {
    /// What more stands in the configuration of the target.
    config: &'static str,
    kills: u32,
    /// Ids of the writers begin here, a stretch for each.
    first_id: i32,
}

/// Each statement is on stable storage before it leaves.
const FLUSHED: Torment = Torment { config: "", kills: 200, first_id: 100_000_000 };
/// Each statement is in the journal's file before it leaves, which a kill of the program does not undo.
const WRITTEN: Torment = Torment { config: "recorded = \"written\"", kills: 30, first_id: 600_000_000 };

/// An answer takes no longer, or the program hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What one client was told.
#[derive(Debug, Default)]
struct Told {
    /// Ids of insertions that were answered.
    inserted: BTreeSet<i32>,
    /// References of refusals.
    refused: BTreeSet<String>,
    /// Connections on which anything was answered, by application name.
    connections: BTreeSet<String>,
}

impl Told {
    fn answers(&self) -> usize {
        self.inserted.len() + self.refused.len()
    }
}

/// What the clients are told from outside.
#[derive(Debug)]
struct Orders {
    login: RwLock<Login>,
    first_id: i32,
    stop: AtomicBool,
}

impl Orders {
    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[test]
fn what_was_answered_is_in_the_archive_exactly_once_after_hundreds_of_kill_9() {
    let soak = std::env::var("HANSARD_SOAK_MINUTES").ok().map(|minutes| minutes.parse::<u64>().unwrap() * 60);
    survives(&FLUSHED, soak);
}

#[test]
fn so_it_is_where_statements_leave_before_the_flush() {
    survives(&WRITTEN, None);
}

fn survives(torment: &Torment, soak: Option<u64>) {
    let seed: u64 = std::env::var("HANSARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("HANSARD_TEST_SEED={seed}");
    // Small journal files: a large one is filled with zeros at each start.
    let small = |config: String| {
        let target = format!("[target.app]\n{}\n", torment.config);
        config.replace("[journal]\n", "[journal]\nmax = \"256MiB\"\n").replace("[target.app]\n", &target)
    };
    let mut hansard = Hansard::start_edited(&small);
    let (login, first_id) = (RwLock::new(hansard.login("robot", "")), torment.first_id);
    let orders = Arc::new(Orders { login, first_id, stop: AtomicBool::new(false) });
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|writer| clients.spawn(work(Arc::clone(&orders), writer))).collect();

    let (mut random, started, mut kills, mut early) = (StdRng::seed_from_u64(seed), Instant::now(), 0, 0);
    while soak.map_or(kills < torment.kills, |seconds| started.elapsed().as_secs() < seconds) {
        early += u32::from(kill_at_some_moment(&mut hansard, &mut random));
        kills += 1;
        hansard.launch();
        if kills % LOOK_EVERY == 0 {
            eprintln!("{kills} kills in {:?}", started.elapsed());
            *orders.login.write().unwrap() = hansard.login("robot", "");
            nothing_is_there_twice(&hansard.archive());
        }
    }
    hansard.await_listening();
    // Somebody is at work when the clean stop comes, too.
    sleep(Duration::from_secs(1));
    let code = hansard.stop();
    orders.stop.store(true, Ordering::Relaxed);
    let told: Vec<Told> = writers.into_iter().map(|writer| clients.block_on(writer).unwrap()).collect();
    let answers: usize = told.iter().map(Told::answers).sum();
    let sessions: usize = told.iter().map(|told| told.connections.len()).sum();
    let took = started.elapsed();
    eprintln!("{kills} kills ({early} of them early), {answers} answers in {sessions} sessions, {took:?}");
    assert_eq!(code, 0, "a clean stop, which ships what is left");
    assert!(answers > 5 * kills as usize, "too little was under way");

    let archive = hansard.archive();
    nothing_is_there_twice(&archive);
    everything_told_is_there(&archive, &told, torment.first_id);
    let released = "select 1 from statements where recorded = 'written' limit 1";
    assert_eq!(archive.query(released).is_empty(), torment.config.is_empty());
    sessions_are_whole(&archive, &told);
    the_interruptions_are_on_record(&archive, kills - early..=kills);
    the_archive_verifies(&hansard, kills - early..=kills);
}

/// After all that, the evidence is whole, and each interruption is explained by the recorder itself.
fn the_archive_verifies(hansard: &Hansard, kills: RangeInclusive<u32>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hansard"));
    command.args(["verify", "--json", "-c"]).arg(hansard.folder().join("hansard.toml"));
    let done = command.output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let explained = findings.iter().filter(|finding| finding["class"] == "declared_gap");
    let recovered = explained.clone().filter(|finding| finding["detail"].as_str().unwrap().starts_with("recovered"));
    assert_eq!(explained.count(), findings.len(), "{report}");
    assert!(kills.contains(&u32::try_from(recovered.count()).unwrap()), "{report}");
    assert_eq!(report["nodes"][0]["signed"], report["nodes"][0]["segments"], "{report}");
    // A write that a kill tore looks like damage to the journal's end, behind which anything may have been.
    let torn = findings.iter().any(|finding| finding["weight"] != "note");
    assert_eq!(done.status.code(), Some(if torn { 10 } else { 0 }), "{report}");
}

/// Kills it while it starts, while it works, or while it works and ships. Whether it was perhaps still starting.
fn kill_at_some_moment(hansard: &mut Hansard, random: &mut StdRng) -> bool {
    // Of ten: one early, one late. Segments are cut and shipped each second.
    let (early, longest) = match random.random_range(0..10) {
        0 => (true, 200),
        1 => (false, 1_500),
        _ => (false, 400),
    };
    if !early {
        hansard.await_listening();
    }
    sleep(Duration::from_micros(random.random_range(0..longest * 1_000)));
    hansard.kill();
    early
}

/// Works on one connection after the other.
async fn work(orders: Arc<Orders>, writer: i32) -> Told {
    let mut told = Told::default();
    let mut id = orders.first_id + writer * STRETCH;
    let mut connection = 0_u64;
    while !orders.stop() {
        connection += 1;
        let application = format!("writer-{writer}-{connection}");
        let login = Login { application: application.clone(), ..orders.login.read().unwrap().clone() };
        let before = told.answers();
        match timeout(ANSWER_LIMIT, connect(&login)).await.unwrap() {
            Ok(db) => timeout(ANSWER_LIMIT, talk(&db, &mut id, &mut told)).await.unwrap(),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        if told.answers() > before {
            told.connections.insert(application);
        }
    }
    told
}

/// Inserts one numbered note after the other, and now and then asks for what nobody may see, until the connection ends.
async fn talk(db: &Client, id: &mut i32, told: &mut Told) {
    let Ok(insert) = db.prepare("insert into notes (id, body) values ($1, $2)").await else { return };
    loop {
        *id += 1;
        let body = format!("the note of {id}");
        if *id % 16 == 0 {
            let refusal = db.simple_query("select * from hr.salaries").await.unwrap_err();
            let Some(reference) = refused(&refusal) else { return ends(&refusal) };
            told.refused.insert(reference);
            continue;
        }
        let answer = if *id % 2 == 0 {
            db.execute(&insert, &[&*id, &body]).await.map(drop)
        } else {
            db.simple_query(&format!("insert into notes (id, body) values ({id}, '{body}')")).await.map(drop)
        };
        match answer {
            Ok(()) => told.inserted.insert(*id),
            Err(error) => return ends(&error),
        };
    }
}

/// The reference that a refusal by a rule names.
fn refused(error: &Error) -> Option<String> {
    let error = error.as_db_error().filter(|error| *error.code() == SqlState::INSUFFICIENT_PRIVILEGE)?;
    let (_, reference) = error.message().rsplit_once("(ref ").unwrap();
    Some(reference.trim_end_matches(')').to_owned())
}

/// A connection ends because the program is gone or stops, and for no other reason.
fn ends(error: &Error) {
    let code = error.code();
    assert!(code.is_none_or(|code| *code == SqlState::ADMIN_SHUTDOWN), "a statement failed: {error:?}");
}

fn texts(rows: &[Value], column: &str) -> Vec<String> {
    rows.iter().map(|row| row[column].as_str().unwrap().to_owned()).collect()
}

/// No statement, no entry, no session makes two rows.
fn nothing_is_there_twice(archive: &Archive<'_>) {
    for (table, key) in [("statements", "reference"), ("statements", "entry_seq"), ("sessions", "session_id")] {
        let sql = format!("select {key}::text as twice from {table} group by {key} having count(*) > 1");
        assert_eq!(texts(&archive.query(&sql), "twice"), Vec::<String>::new(), "{table} by {key}");
    }
}

fn everything_told_is_there(archive: &Archive<'_>, told: &[Told], first_id: i32) {
    let sql = "select coalesce(params[1].value, regexp_extract(text, 'values .([0-9]+),', 1)) as id \
               from statements where kind = 'insert'";
    let recorded: Vec<i32> = texts(&archive.query(sql), "id").iter().map(|id| id.parse().unwrap()).collect();
    let distinct: BTreeSet<i32> = recorded.iter().copied().collect();
    assert_eq!(distinct.len(), recorded.len(), "a statement is there twice");
    let lost: Vec<&i32> = told.iter().flat_map(|told| &told.inserted).filter(|id| !distinct.contains(id)).collect();
    assert!(lost.is_empty(), "answered and not in the archive: {lost:?}");

    let sql = "select reference from statements where decision = 'deny' and status = 'denied' and sqlstate = '42501'";
    let denied: BTreeSet<String> = texts(&archive.query(sql), "reference").into_iter().collect();
    let lost: Vec<&String> =
        told.iter().flat_map(|told| &told.refused).filter(|told| !denied.contains(*told)).collect();
    assert!(lost.is_empty(), "refused and not in the archive: {lost:?}");

    // Recorded first: what the database did is on record, whether anybody was told or not.
    let last_id = first_id + WRITERS * STRETCH;
    let stored = Postgres::shared().admin(&format!("select id from notes where id >= {first_id} and id < {last_id}"));
    let unrecorded: Vec<&str> = stored.lines().filter(|id| !distinct.contains(&id.parse().unwrap())).collect();
    assert!(unrecorded.is_empty(), "in the database and not in the archive: {unrecorded:?}");

    let sql = "select status, count(*) as n from statements group by status order by n desc";
    let statuses = archive.query(sql);
    eprintln!("statements by status: {statuses:?}");
    assert_eq!(statuses[0]["status"], "ok");
    let known = ["ok", "denied", "unknown"];
    assert!(texts(&statuses, "status").iter().all(|word| known.contains(&word.as_str())), "{statuses:?}");
}

fn sessions_are_whole(archive: &Archive<'_>, told: &[Told]) {
    let sql = "select session_id from statements group by session_id \
               having min(statement_seq) <> 1 or max(statement_seq) <> count(*)";
    assert_eq!(texts(&archive.query(sql), "session_id"), Vec::<String>::new(), "numbers with a gap");
    let sql = "select distinct session_id from statements where session_id not in (select session_id from sessions)";
    assert_eq!(
        texts(&archive.query(sql), "session_id"),
        Vec::<String>::new(),
        "statements of a session without an end"
    );
    let sql = "select session_id, statements, n from sessions join \
               (select session_id, count(*) as n from statements group by session_id) using (session_id) \
               where statements <> n";
    assert_eq!(archive.query(sql), Vec::<Value>::new(), "sessions that count their statements wrongly");

    // All but those that the clean stop ended were cut off by a kill.
    let sql = "select application, reason from sessions where application like 'writer-%'";
    let sessions = archive.query(sql);
    let reasons: BTreeMap<String, String> =
        texts(&sessions, "application").into_iter().zip(texts(&sessions, "reason")).collect();
    assert_eq!(reasons.len(), sessions.len(), "one connection is two sessions");
    for writer in told {
        let cut = |name: &&String| reasons.get(*name).is_some_and(|reason| reason == "recorder_died");
        let others: Vec<&String> = writer.connections.iter().filter(|name| !cut(name)).collect();
        assert!(others.len() <= 1, "sessions that a kill cut and that say otherwise: {others:?}");
        for name in others {
            assert_eq!(reasons.get(name).map(String::as_str), Some("shutdown"), "{name}");
        }
    }
}

fn the_interruptions_are_on_record(archive: &Archive<'_>, kills: RangeInclusive<u32>) {
    let count = |what: &str| {
        let rows = archive.query(&format!("select count(*) as n from events where {what}"));
        u32::try_from(rows[0]["n"].as_u64().unwrap()).unwrap()
    };
    // A start that was killed before it could say anything says nothing.
    let recovered = count("kind = 'recovered'");
    assert!(kills.contains(&recovered), "{recovered} starts found that they had been killed, not {kills:?}");
    assert_eq!(count("kind = 'started'"), recovered + 1);
    assert_eq!(count("kind = 'stopped'"), 1);
    assert_eq!(count("kind like 'unmatched%'"), 0, "an end without a beginning");
    // The end of the journal may be torn by a kill. What is missing would be told.
    assert_eq!(
        count("kind = 'journal_tail_cut' and detail not like '%for certain: 0, statements missing at most: %'"),
        0
    );
    assert_eq!(count("kind = 'journal_tail_cut' and missing is distinct from 0"), 0);
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
