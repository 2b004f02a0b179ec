//! Promise 3 with the archive away: a Blob store that is stopped, and one that takes connections and answers nothing.
//! Sessions go on, memory stays flat because the journal on disk is the buffer, and the backlog drains by itself.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Azurite, Hansard, Login, Store, connect, wait_for};

/// Clients at work all the time, and the length of what they insert.
const WRITERS: i32 = 3;
const BODY: usize = 64 << 10;

/// The pause after each statement: in an outage, for a backlog that tells, and otherwise, so that a build for tests on a
/// busy machine can drain it.
const BUSY: Duration = Duration::from_millis(10);
const CALM: Duration = Duration::from_millis(150);

/// Each outage: at least so long, until the journal holds so much more than memory may grow by; and the time between.
const OUTAGE: Duration = Duration::from_secs(10);
const BACKLOG: u64 = 64 * MIB;
const OUTAGE_LIMIT: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_secs(3);

/// An answer takes no longer than this, whatever the archive does. Usually it takes milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Longer than the longest pause between two tries of shipping, which is a minute.
const DRAIN_LIMIT: Duration = Duration::from_secs(100);

/// What an outage may add to the memory, and what draining may: a segment being built and sent, and what the allocator
/// keeps of it. Both are less than the backlog.
const OUTAGE_GROWTH: u64 = 24 * MIB;
const DRAIN_GROWTH: u64 = 48 * MIB;
const MIB: u64 = 1 << 20;

/// What the clients are told from outside, and tell.
#[derive(Debug, Default)]
struct Work {
    stop: AtomicBool,
    busy: AtomicBool,
    answers: AtomicU64,
    slowest_us: AtomicU64,
}

#[test]
fn sessions_go_on_while_the_archive_is_away_and_everything_is_there_when_it_is_back() {
    let azurite = Azurite::own();
    let store = Store::Azurite(azurite.container("away"));
    // Small segments, so that what is kept of one in memory is told from a backlog.
    let mut hansard = Hansard::start_edited_over(store, &|config| {
        let config = config.replace("\"64MiB\"", "\"4MiB\"");
        config.replace("[journal]\n", "[journal]\nmax = \"512MiB\"\n")
    });
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let work = Arc::new(Work::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            clients.spawn(insert(hansard.login("robot", &format!("away-{writer}")), writer, Arc::clone(&work)))
        })
        .collect();
    // Until memory is what it is in normal operation.
    std::thread::sleep(2 * BETWEEN);

    outage("refused", &hansard, &work, &|| azurite.stop(), &|| azurite.start());
    std::thread::sleep(BETWEEN);
    outage("silent", &hansard, &work, &|| azurite.freeze(), &|| azurite.thaw());
    std::thread::sleep(BETWEEN);

    work.stop.store(true, Ordering::Relaxed);
    let inserted: BTreeSet<i32> = writers.into_iter().flat_map(|writer| clients.block_on(writer).unwrap()).collect();
    drop(clients);
    assert_eq!(hansard.stop(), 0, "a clean stop");
    let sql = "select params[1].value as id, length(params[2].value) as length from statements where kind = 'insert'";
    let rows = hansard.archive().query(sql);
    let recorded: BTreeSet<i32> = rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(recorded.len(), rows.len(), "a statement is there twice");
    assert_eq!(recorded, inserted, "what was answered is what is in the archive");
    assert!(rows.iter().all(|row| row["length"] == BODY), "whole");
}

/// The archive goes away and comes back while clients are at work.
fn outage(what: &str, hansard: &Hansard, work: &Work, away: &dyn Fn(), back: &dyn Fn()) {
    let journal = hansard.folder().join("journal");
    let (before, answers) = (hansard.memory("VmRSS"), work.answers.load(Ordering::Relaxed));
    hansard.forget_peak_memory();
    work.slowest_us.store(0, Ordering::Relaxed);
    away();
    let gone = Instant::now();
    work.busy.store(true, Ordering::Relaxed);
    std::thread::sleep(OUTAGE);
    wait_for("a backlog", OUTAGE_LIMIT, || (held(&journal) >= BACKLOG).then_some(()));
    work.busy.store(false, Ordering::Relaxed);
    let peak = hansard.memory("VmHWM");
    let answered = work.answers.load(Ordering::Relaxed) - answers;
    let held = held(&journal);
    let slowest = Duration::from_micros(work.slowest_us.load(Ordering::Relaxed));
    back();
    let returned = Instant::now();
    // Drained: all files from before are free.
    let last = files(&journal).pop();
    wait_for("an empty backlog", DRAIN_LIMIT, || (files(&journal).into_iter().next() >= last).then_some(()));
    let drained_peak = hansard.memory("VmHWM");
    eprintln!(
        "{what} for {:?}: {answered} answers, the slowest {slowest:?}; {} MiB in the journal; memory {} MiB, at most \
         {} MiB, {} MiB until it had drained, {:?} later",
        returned - gone,
        held / MIB,
        before / MIB,
        peak / MIB,
        drained_peak / MIB,
        returned.elapsed(),
    );
    assert!(answered > 10 * OUTAGE.as_secs(), "{what}: sessions did not go on: {answered} answers");
    assert!(slowest < ANSWER_LIMIT, "{what}: an answer took {slowest:?}");
    assert!(peak < before + OUTAGE_GROWTH, "{what}: memory grew from {before} to {peak} bytes");
    assert!(drained_peak < before + DRAIN_GROWTH, "{what}: memory grew from {before} to {drained_peak} bytes");
}

/// Inserts at its pace until it is told to stop; the ids that were answered.
async fn insert(login: Login, writer: i32, work: Arc<Work>) -> Vec<i32> {
    let db = connect(&login).await.unwrap();
    let insert = db.prepare("insert into notes (id, body) values ($1, $2)").await.unwrap();
    let mut inserted = Vec::new();
    for id in writer * 1_000_000.. {
        if work.stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(if work.busy.load(Ordering::Relaxed) { BUSY } else { CALM }).await;
        let (asked, body) = (Instant::now(), body(id));
        assert_eq!(db.execute(&insert, &[&id, &body]).await.unwrap(), 1);
        let took = u64::try_from(asked.elapsed().as_micros()).unwrap();
        work.slowest_us.fetch_max(took, Ordering::Relaxed);
        work.answers.fetch_add(1, Ordering::Relaxed);
        inserted.push(id);
    }
    inserted
}

/// Another one each time, and nothing that compresses to nothing.
fn body(id: i32) -> String {
    let mut random = StdRng::seed_from_u64(u64::try_from(id).unwrap());
    (0..BODY / 16).map(|_| format!("{:016x}", random.random::<u64>())).collect()
}

/// Bytes of the journal's files that hold entries.
fn held(journal: &Path) -> u64 {
    files(journal).iter().map(|(_, bytes)| bytes).sum()
}

/// The files of the journal that hold entries, oldest first; they are named after their first.
fn files(journal: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(journal).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry));
    // One that was freed meanwhile is gone.
    let mut files: Vec<(String, u64)> = named
        .filter(|(name, _)| name.starts_with("journal-"))
        .filter_map(|(name, entry)| Some((name, entry.metadata().ok()?.len())))
        .collect();
    files.sort();
    files
}
