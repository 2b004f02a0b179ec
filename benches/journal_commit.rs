//! What promise 2 costs: statements recorded a second, and how long each waits for its flush, by number of sessions.
//!
//! Run with `make bench`. Each figure is the median of several rounds of one process; rounds of different session counts
//! are interleaved, so that a busy machine disturbs all alike. `write + fdatasync` is the same disk without a journal:
//! the price below which no recorder can go.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints its figures")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hansard::journal::{Journal, Settings};
use hansard::model::{
    Decision, Entry, Facts, Intent, Reference, Request, SessionId, SqlText, Statement, Timestamp, Verdict,
};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);
const SESSIONS: [u64; 4] = [1, 8, 32, 128];
const TEXT: &str =
    "SELECT id, name, born FROM clinic.patients WHERE id = $1 AND ward = $2 ORDER BY admitted DESC LIMIT 50";

fn intent(session: u64, number: u64) -> Entry {
    Entry::Intent(Box::new(Intent {
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
    }))
}

/// Statements a second, and the median wait in microseconds.
async fn round(journal: &Journal, sessions: u64) -> (f64, f64) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..sessions)
        .map(|session| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while started.elapsed() < ROUND {
                    let asked = Instant::now();
                    journal.record(vec![intent(session, waits.len() as u64)]).await.unwrap();
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
    (rate, median(waits.iter().map(|wait| wait.as_secs_f64() * 1e6).collect()))
}

/// The disk alone: one writer, 512 bytes and a flush.
fn bare(dir: &Path) -> (f64, f64) {
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("bare")).unwrap();
    let started = Instant::now();
    let mut waits = Vec::new();
    while started.elapsed() < ROUND {
        let asked = Instant::now();
        file.write_all(&[7; 512]).unwrap();
        file.sync_data().unwrap();
        waits.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    (waits.len() as f64 / started.elapsed().as_secs_f64(), median(waits))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
    let journal = Journal::open(settings).unwrap().journal;
    let mut figures: Vec<Vec<(f64, f64)>> = vec![Vec::new(); SESSIONS.len() + 1];
    for _ in 0..ROUNDS {
        let mut rows = figures.iter_mut();
        rows.next().unwrap().push(bare(dir.path()));
        for (row, sessions) in rows.zip(SESSIONS) {
            row.push(round(&journal, sessions).await);
        }
    }
    let names = ["write + fdatasync".to_owned()].into_iter().chain(SESSIONS.map(|n| format!("{n} sessions")));
    println!("{:<20} {:>14} {:>18}", "", "statements/s", "median wait, µs");
    for (name, row) in names.zip(figures) {
        let (rates, waits) = row.into_iter().unzip();
        println!("{name:<20} {:>14.0} {:>18.0}", median(rates), median(waits));
    }
    journal.close().await;
}
