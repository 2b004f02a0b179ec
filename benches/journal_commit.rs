//! What promise 2 costs: statements recorded a second, how long each waits for its flush, and the processor's time for it.
//!
//! Run with `make bench`. Each figure is the median of [`ROUNDS`] rounds of one process; rounds are interleaved, so that a
//! busy machine disturbs all alike. The first two lines are the same disk without a journal, one writer that puts down and
//! flushes (`fdatasync`) exactly as many bytes as the journal writes for one statement: the price below which no recorder
//! can go. One of them appends to a file that grows; the other overwrites a file that was filled with zeros before, which is
//! what the journal does, because a flush then writes no metadata. What that makes is the line `a prepared file`.
//!
//! The processor's time is that of the whole process, so the tasks that ask, encode and wake up are in it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints its figures")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/median.rs"]
mod median;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard::journal::{Journal, Settings};
use hansard::model::{
    Decision, Entry, Facts, Intent, Recorded, Reference, Request, SessionId, SqlText, Statement, Timestamp, Verdict,
};

use cpu::process_cpu;
use median::median;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);
const SESSIONS: [u64; 4] = [1, 8, 32, 128];
/// How long the prepared file of the bare loop is; it begins again at its start.
const PREPARED: usize = 64 << 20;
const TEXT: &str =
    "SELECT id, name, born FROM clinic.patients WHERE id = $1 AND ward = $2 ORDER BY admitted DESC LIMIT 50";

fn intent(session: u64, number: u64) -> Entry {
    Entry::Intent(Arc::new(Intent {
        reference: Reference { session: SessionId::from_bits(session), statement: number },
        time: Timestamp(0),
        statement: Statement {
            request: Request::Query,
            text: SqlText::from(TEXT),
            params: Vec::new(),
            prepared: None,
            portal: None,
        },
        facts: Facts::unparsed("a bench").into(),
        decision: Decision {
            verdict: Verdict::Allow,
            rules: Vec::new(),
            policy_version: "0".repeat(64),
            message: None,
            hint: None,
        }
        .into(),
        transaction: 'I',
        server_version: Some("15.18".to_owned()),
        acting: Arc::default(),
    }))
}

/// What one round measured.
#[derive(Debug, Clone, Copy)]
struct Figure {
    /// Commits a second.
    rate: f64,
    /// The median wait, in microseconds.
    wait: f64,
    /// The processor's time for a commit, in microseconds.
    cpu: f64,
}

fn figure(waits: Vec<f64>, time: Duration, cpu: Duration) -> Figure {
    let commits = waits.len() as f64;
    Figure { rate: commits / time.as_secs_f64(), wait: median(waits), cpu: cpu.as_secs_f64() * 1e6 / commits }
}

async fn round(journal: &Journal, sessions: u64) -> Figure {
    let (started, cpu) = (Instant::now(), process_cpu());
    let tasks: Vec<_> = (0..sessions)
        .map(|session| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while started.elapsed() < ROUND {
                    let asked = Instant::now();
                    journal.record(vec![intent(session, waits.len() as u64)], Recorded::Flushed).await.unwrap();
                    waits.push(asked.elapsed().as_secs_f64() * 1e6);
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    figure(waits, started.elapsed(), process_cpu() - cpu)
}

/// The disk alone: one writer, so many bytes and a flush, again and again.
fn bare(bytes: &[u8], mut put: impl FnMut(&[u8])) -> Figure {
    let (started, cpu) = (Instant::now(), process_cpu());
    let mut waits = Vec::new();
    while started.elapsed() < ROUND {
        let asked = Instant::now();
        put(bytes);
        waits.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    figure(waits, started.elapsed(), process_cpu() - cpu)
}

fn growing(file: &File, at: &mut u64, bytes: &[u8]) {
    file.write_all_at(bytes, *at).unwrap();
    file.sync_data().unwrap();
    *at += bytes.len() as u64;
}

fn prepared(file: &File, at: &mut u64, bytes: &[u8]) {
    if *at + bytes.len() as u64 > PREPARED as u64 {
        *at = 0;
    }
    growing(file, at, bytes);
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap()
}

/// Bytes that the journal writes for one statement alone: its frame, and the end behind it.
async fn bytes_of_a_commit(journal: &Journal) -> usize {
    const END: u64 = 28;
    journal.record(vec![intent(0, 0)], Recorded::Flushed).await.unwrap();
    let before = journal.used_bytes();
    journal.record(vec![intent(0, 1)], Recorded::Flushed).await.unwrap();
    usize::try_from(journal.used_bytes() - before + END).unwrap()
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir_in(std::env::var("HANSARD_BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let settings = Settings {
        dir: dir.path().join("journal"),
        max_bytes: 64 << 30,
        refuse_new_sessions_at: 64 << 30,
        file_bytes: Settings::FILE_BYTES,
    };
    let journal = Journal::open(settings, [7; 16].into()).unwrap().journal;
    let bytes = vec![7; bytes_of_a_commit(&journal).await];
    let (grows, filled) = (open(&dir.path().join("grows")), open(&dir.path().join("filled")));
    filled.write_all_at(&vec![0; PREPARED], 0).unwrap();
    filled.sync_all().unwrap();
    let (mut grown, mut at) = (0, 0);
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); SESSIONS.len() + 2];
    for _ in 0..ROUNDS {
        let mut rows = figures.iter_mut();
        rows.next().unwrap().push(bare(&bytes, |bytes| growing(&grows, &mut grown, bytes)));
        rows.next().unwrap().push(bare(&bytes, |bytes| prepared(&filled, &mut at, bytes)));
        for (row, sessions) in rows.zip(SESSIONS) {
            row.push(round(&journal, sessions).await);
        }
    }
    journal.close().await;
    let figures: Vec<Figure> = figures.iter().map(|rounds| middle(rounds)).collect();
    print(bytes.len(), &figures);
}

fn middle(rounds: &[Figure]) -> Figure {
    let of = |value: fn(&Figure) -> f64| median(rounds.iter().map(value).collect());
    Figure { rate: of(|round| round.rate), wait: of(|round| round.wait), cpu: of(|round| round.cpu) }
}

fn print(bytes: usize, figures: &[Figure]) {
    let bare = ["bare, a file that grows", "bare, a prepared file"].map(str::to_owned);
    let names = bare.into_iter().chain(SESSIONS.map(|sessions| format!("journal, {sessions} sessions")));
    println!("{bytes} bytes a commit");
    println!("{:<26} {:>12} {:>16} {:>16}", "", "commits/s", "median wait, µs", "CPU/commit, µs");
    for (name, Figure { rate, wait, cpu }) in names.zip(figures) {
        println!("{name:<26} {rate:>12.0} {wait:>16.0} {cpu:>16.1}");
    }
    let [grows, filled, one, _, many, ..] = figures else { return };
    println!("a prepared file, against one that grows: {:.2}", filled.rate / grows.rate);
    println!("journal with 1 session, against the bare loop that grows: {:.2} (to be 0.80)", one.rate / grows.rate);
    println!("journal with 1 session, against the bare loop in a prepared file: {:.2}", one.rate / filled.rate);
    println!("32 sessions, against 1: {:.1} (to be 12)", many.rate / one.rate);
    println!("CPU per commit with 32 sessions: {:.1} µs (to be under 15)", many.cpu);
}
