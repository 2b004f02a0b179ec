//! What memory a recorder takes while its archive is away, and when it is back: an hour of 2,000 statements a second waits
//! in the journal, then is shipped.
//!
//! `make bench-backlog` runs the whole hour, 7,200,000 statements; it takes about 9 GB in `HANSARD_BENCH_DIR` and some
//! minutes, because the hour is written as fast as the disk takes it. `make bench` runs 200,000, less than two minutes'
//! worth: that is four segments, and memory is bounded by one. `HANSARD_BACKLOG_STATEMENTS` says another number.
//!
//! The figures are the resident memory of this process (`VmRSS`) and its highest (`VmHWM`) in each part; the generator of
//! the statements ([`mix`]) is in them with a few megabytes. While it is away, the archive's folder is a file.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints its figures")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/mix.rs"]
mod mix;
#[path = "support/recorder.rs"]
mod recorder;

use std::fs;
use std::path::Path;
use std::time::Instant;

use hansard::journal::Journal;
use hansard::ship::ShipSettings;
use tokio_util::sync::CancellationToken;

use cpu::process_cpu;
use mix::Mix;
use recorder::{folder, settings, shipper};

const WITHOUT_BEING_ASKED: u64 = 200_000;
/// Entries that one append of the generator takes.
const BATCH: usize = 512;

/// Resident memory now, and the highest since it was last asked, in MiB.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib >> 10
    };
    let found = (of("VmRSS:"), of("VmHWM:"));
    // The highest begins anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    found
}

fn report(what: &str) {
    let (now, highest) = memory();
    println!("{what:<46} {now:>8} MiB {highest:>8} MiB");
}

async fn fill(journal: &Journal, statements: u64) {
    let mut mix = Mix::new(1);
    while mix.statements < statements {
        journal.append(mix.entries(BATCH)).await.unwrap();
    }
    journal.append(mix.rest()).await.unwrap();
}

async fn run(dir: &Path, statements: u64) {
    println!("{:<46} {:>12} {:>12}", "", "VmRSS", "VmHWM");
    report("at the start");
    let store = folder(dir, "archive");
    fs::remove_dir(dir.join("archive")).unwrap();
    fs::write(dir.join("archive"), "away").unwrap();
    let journal = Journal::open(settings(dir), [7; 16].into()).unwrap().journal;
    let shipper = shipper(&journal, &store, ShipSettings::default());
    let (handle, stop) = (shipper.handle(), CancellationToken::new());
    let running = tokio::spawn(shipper.run(stop.clone()));
    fill(&journal, statements).await;
    report(&format!("{statements} statements wait, the archive is away"));
    let waiting = journal.used_bytes();
    fs::remove_file(dir.join("archive")).unwrap();
    fs::create_dir(dir.join("archive")).unwrap();
    let (time, cpu) = (Instant::now(), process_cpu());
    handle.finish().await.unwrap();
    let (time, cpu) = (time.elapsed(), process_cpu() - cpu);
    report("the archive is back and has them all");
    let shipped: u64 = store.list("statements").await.unwrap().iter().map(|object| object.bytes).sum();
    println!(
        "{:.1} GB waited; shipped in {:.0} s ({:.0} statements/s, {:.0} a second and core, {:.0} bytes each)",
        waiting as f64 / 1e9,
        time.as_secs_f64(),
        statements as f64 / time.as_secs_f64(),
        statements as f64 / cpu.as_secs_f64(),
        shipped as f64 / statements as f64
    );
    stop.cancel();
    running.await.unwrap().unwrap();
    journal.close().await;
}

#[tokio::main]
async fn main() {
    let within = std::env::var("HANSARD_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let asked = std::env::var("HANSARD_BACKLOG_STATEMENTS");
    let statements = asked.map_or(WITHOUT_BEING_ASKED, |statements| statements.parse().unwrap());
    let dir = tempfile::tempdir_in(std::path::absolute(within).unwrap()).unwrap();
    run(dir.path(), statements).await;
}
