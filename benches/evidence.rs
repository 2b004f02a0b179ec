//! What the evidence costs: journal → Parquet → folder, and back to the roots that a verifier compares.
//!
//! Run with `make bench`; `HANSARD_BENCH_RECORDS` says how many statements a round has (300,000). The statements are those
//! of [`mix`]. Each figure is the median of several rounds; a round makes a journal, ships it, and reads the archive back.
//!
//! * *ship* is the whole way of the product: a running [`Shipper`] from the moment at which it has surveyed the journal to
//!   the moment at which the store has everything, the processor time of all threads of the process.
//! * *verify* is one thread: SHA-256 of each file, Parquet → batches, rows → leaf hashes → root.
//! * *parts* are pieces of both, called alone on one thread, so that it is known where the time goes.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints its figures")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/median.rs"]
mod median;
#[path = "support/mix.rs"]
mod mix;
#[path = "support/recorder.rs"]
mod recorder;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard::journal::Journal;
use hansard::model::{Clock, Entry, EntrySeq, Intent, Record, Reference, SegmentNo, Session, SessionId, Sha256};
use hansard::segment::{Dataset, Leaves, LogicalRows, Rows, Segment};
use hansard::ship::ShipSettings;
use hansard::store::Store;
use rustix::time::ClockId;
use tokio_util::sync::CancellationToken;

use cpu::{cpu, process_cpu};
use median::median;
use mix::Mix;
use recorder::{System, folder, node, settings, shipper};

const ROUNDS: u64 = 3;
/// Entries that one append of the generator takes.
const BATCH: usize = 512;
/// How long nothing must be done for it to be taken for the end.
const SETTLING: Duration = Duration::from_millis(300);
/// Rows of a segment of the parts; about as many as 64 MiB hold.
const SEGMENT_ROWS: usize = 45_000;

/// What a piece of work cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// On the clock.
    time: Duration,
    /// Of the processor.
    cpu: Duration,
}

/// Does the work on this thread and adds what it cost.
fn on_thread<T>(cost: &mut Cost, work: impl FnOnce() -> T) -> T {
    let (time, before) = (Instant::now(), cpu(ClockId::ThreadCPUTime));
    let done = work();
    cost.time += time.elapsed();
    cost.cpu += cpu(ClockId::ThreadCPUTime) - before;
    done
}

/// Writes a journal of so many statements; what it takes on disk.
async fn write_journal(dir: &Path, seed: u64, records: u64) -> u64 {
    let journal = Journal::open(settings(dir), [7; 16].into()).unwrap().journal;
    let mut mix = Mix::new(seed);
    while mix.statements < records {
        journal.append(mix.entries(BATCH)).await.unwrap();
    }
    journal.append(mix.rest()).await.unwrap();
    let bytes = journal.used_bytes();
    journal.close().await;
    bytes
}

/// Returns when nothing is done any more: a journal that was opened makes files ready for a while.
async fn settled() {
    let mut before = process_cpu();
    loop {
        tokio::time::sleep(SETTLING).await;
        let now = process_cpu();
        if now - before < SETTLING / 50 {
            return;
        }
        before = now;
    }
}

/// The whole way. The cost of everything between the survey and the last confirmation.
async fn ship(dir: &Path, store: &Store) -> Cost {
    let journal = Journal::open(settings(dir), [7; 16].into()).unwrap().journal;
    settled().await;
    let shipper = shipper(&journal, store, ShipSettings::default());
    let (handle, stop) = (shipper.handle(), CancellationToken::new());
    let mut status = handle.status();
    let running = tokio::spawn(shipper.run(stop.clone()));
    status.wait_for(|status| status.surveyed).await.unwrap();
    let (time, cpu) = (Instant::now(), process_cpu());
    handle.finish().await.unwrap();
    let cost = Cost { time: time.elapsed(), cpu: process_cpu() - cpu };
    stop.cancel();
    running.await.unwrap().unwrap();
    journal.close().await;
    cost
}

/// What one round measured, in the order of [`NAMES`].
type Figures = Vec<(f64, f64)>;

const NAMES: [&str; 10] = [
    "ship: all",
    "  journal → entries",
    "  entries → records",
    "  records → Parquet, leaves",
    "  files → folder",
    "verify: all",
    "  SHA-256 of the files",
    "  Parquet → batches",
    "  batches → leaves",
    "  leaves → roots",
];

/// Reads the journal as the shipper does, and builds and puts segments; each part alone.
async fn parts(dir: &Path, store: &Store) -> [Cost; 4] {
    let [mut read, mut collect, mut build, mut put] = [Cost::default(); 4];
    let journal = Journal::open(settings(dir), [7; 16].into()).unwrap().journal;
    let upto = *journal.flushed().borrow();
    let mut reader = journal.reader();
    let mut open: HashMap<SessionId, Arc<Session>> = HashMap::new();
    let mut running: HashMap<Reference, (EntrySeq, Arc<Intent>)> = HashMap::new();
    let (mut segment, mut more) = (0, true);
    while more {
        let mut rows = Rows::default();
        while more && rows.records.len() < SEGMENT_ROWS {
            let batch: Vec<_> = on_thread(&mut read, || (0..BATCH).map_while(|_| reader.next(upto).unwrap()).collect());
            more = batch.len() == BATCH;
            on_thread(&mut collect, || {
                for numbered in batch {
                    match numbered.entry {
                        Entry::SessionOpened(session) => drop(open.insert(session.id, session.into())),
                        Entry::Intent(intent) => {
                            running.insert(intent.reference, (numbered.seq, intent));
                        }
                        Entry::Outcome(outcome) => {
                            let (entry, intent) = running.remove(&outcome.reference).unwrap();
                            let session = Arc::clone(open.get(&outcome.reference.session).unwrap());
                            rows.records.push(Record { entry, session, intent, outcome: *outcome });
                        }
                        _ => {}
                    }
                }
            });
        }
        segment += 1;
        let built = on_thread(&mut build, || Segment::build(&node(), SegmentNo(segment), System.now(), &rows).unwrap());
        for file in built.files {
            let (time, cpu) = (Instant::now(), process_cpu());
            store.put_once(&file.name, file.bytes).await.unwrap();
            put.time += time.elapsed();
            put.cpu += process_cpu() - cpu;
        }
    }
    journal.close().await;
    [read, collect, build, put]
}

/// Reads back what was shipped: each part's cost, and the number of rows.
async fn verify(store: &Store) -> ([Cost; 4], u64) {
    let [mut digest, mut decode, mut hash, mut root] = [Cost::default(); 4];
    let mut rows = 0;
    for object in store.list("statements").await.unwrap() {
        let bytes = store.get(&object.name).await.unwrap();
        on_thread(&mut digest, || std::hint::black_box(Sha256::of(&bytes)));
        let mut leaves = Leaves::default();
        let mut batches = on_thread(&mut decode, || Segment::batches(Dataset::Statements, bytes).unwrap());
        while let Some(batch) = on_thread(&mut decode, || batches.next()) {
            let batch = batch.unwrap();
            on_thread(&mut hash, || {
                let logical = LogicalRows::of(Dataset::Statements, &batch).unwrap();
                leaves.extend(Dataset::Statements, logical.leaves().unwrap());
            });
            on_thread(&mut decode, || drop(batch));
        }
        rows += leaves.len();
        on_thread(&mut root, || {
            let leaves = leaves.sorted();
            std::hint::black_box((leaves.root(), leaves.roots()));
        });
    }
    ([digest, decode, hash, root], rows)
}

fn all(parts: &[Cost]) -> Cost {
    Cost { time: parts.iter().map(|part| part.time).sum(), cpu: parts.iter().map(|part| part.cpu).sum() }
}

#[tokio::main]
async fn main() {
    let within = std::env::var("HANSARD_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let records = std::env::var("HANSARD_BENCH_RECORDS").map_or(300_000, |records| records.parse().unwrap());
    let mut figures: Vec<Figures> = vec![Vec::new(); NAMES.len()];
    let (mut journal_bytes, mut archive_bytes, mut statement_bytes, mut shipped) = (0, 0, 0, 0);
    for seed in 1..=ROUNDS {
        let dir = tempfile::tempdir_in(std::path::absolute(&within).unwrap()).unwrap();
        journal_bytes += write_journal(dir.path(), seed, records).await;
        let writing = parts(dir.path(), &folder(dir.path(), "parts")).await;
        let store = folder(dir.path(), "archive");
        let whole = ship(dir.path(), &store).await;
        let (reading, rows) = verify(&store).await;
        let objects = store.list("").await.unwrap();
        archive_bytes += objects.iter().map(|object| object.bytes).sum::<u64>();
        let statements = objects.iter().filter(|object| object.name.starts_with("statements/"));
        statement_bytes += statements.map(|object| object.bytes).sum::<u64>();
        shipped += rows;
        let costs = [&[whole], &writing[..], &[all(&reading)], &reading[..]].concat();
        for (row, cost) in figures.iter_mut().zip(costs) {
            row.push((rows as f64 / cost.cpu.as_secs_f64(), rows as f64 / cost.time.as_secs_f64()));
        }
    }
    println!("{:<28} {:>16} {:>14} {:>14}", "", "records/s/core", "µs/record", "records/s");
    for (name, row) in NAMES.iter().zip(figures) {
        let (cpu, time): (Vec<f64>, Vec<f64>) = row.into_iter().unzip();
        let cpu = median(cpu);
        println!("{name:<28} {cpu:>16.0} {:>14.2} {:>14.0}", 1e6 / cpu, median(time));
    }
    let per = |bytes: u64| bytes as f64 / shipped as f64;
    println!(
        "bytes per record: {:.1} in the journal, {:.1} in the archive ({:.1} in the files of statements)",
        per(journal_bytes),
        per(archive_bytes),
        per(statement_bytes)
    );
}
