//! Rows in bulk: `COPY` out and in, and a `SELECT`, of wide and of narrow rows.

use std::fmt::Write as _;
use std::fs::File;
use std::process::Stdio;
use std::time::Instant;

use super::median::median;
use super::relays::{Relay, Relays};
use super::setting;
use super::support::Folder;

/// A row of each table: its name, bytes in it, and what makes one.
const TABLES: [(&str, u64, &str); 2] = [("wide", 1_000, "repeat('x', 990)"), ("narrow", 80, "repeat('x', 66)")];

/// Each direction of each table through every relay, in turns.
pub(crate) fn bulk(relays: &Relays) -> String {
    let megabytes = setting("HANSARD_BENCH_MB", 1_000);
    for (table, width, row) in TABLES {
        let rows = megabytes * 1_000_000 / width;
        relays.postgres.admin(&format!(
            "set role hansard; create unlogged table {table} as select g, {row} as t from generate_series(1, {rows}) g; \
             create unlogged table {table}_sink (g int, t text)"
        ));
    }
    let folder = Folder::new("bulk");
    let mut text = format!(
        "**Bulk**, {megabytes} MB each; processor seconds of the relay for a gigabyte, and throughput of direct\n\n"
    );
    text.push_str("| | ");
    text.push_str(&relays.all.iter().map(|relay| relay.name).collect::<Vec<_>>().join(" | "));
    text.push_str(" |\n|---|");
    text.push_str(&"---|".repeat(relays.all.len()));
    text.push('\n');
    for (table, _, _) in TABLES {
        let file = folder.join(table);
        copy(relays.direct(), relays, &format!("COPY {table} TO STDOUT"), None, Some(File::create(&file).unwrap()));
        for (what, sql, from) in [
            ("COPY out", format!("COPY {table} TO STDOUT"), None),
            ("SELECT", format!("SELECT * FROM {table}"), None),
            ("COPY in", format!("COPY {table}_sink FROM STDIN WHERE false"), Some(&file)),
        ] {
            write!(text, "| {what}, {table} |").unwrap();
            let gigabytes = megabytes as f64 / 1e3;
            let one = |relay: &Relay| {
                let input = from.map(|path| File::open(path).unwrap());
                let before = relay.cpu_micros();
                let seconds = copy(relay, relays, &sql, input, None);
                (seconds, (relay.cpu_micros() - before) / 1e6 / gigabytes)
            };
            let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); relays.all.len()];
            for _ in 0..setting("HANSARD_BENCH_ROUNDS", 3) {
                runs.iter_mut().zip(&relays.all).for_each(|(runs, relay)| runs.push(one(relay)));
            }
            let middle = |at: usize, of: &dyn Fn(&(f64, f64)) -> f64| median(runs[at].iter().map(of).collect());
            let direct = middle(0, &|(seconds, _)| *seconds);
            for at in 0..runs.len() {
                let (seconds, cpu) = (middle(at, &|(seconds, _)| *seconds), middle(at, &|(_, cpu)| *cpu));
                write!(text, " {cpu:.2} ({:.2}) |", direct / seconds).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// Runs one statement by psql, and says how long it took.
fn copy(relay: &Relay, relays: &Relays, sql: &str, input: Option<File>, out: Option<File>) -> f64 {
    let mut command = relay.client(&relays.postgres.program("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "FETCH_COUNT=0", "-c", sql]);
    command.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(out.map_or_else(Stdio::null, Stdio::from));
    let start = Instant::now();
    let ended = command.stderr(Stdio::inherit()).status().unwrap();
    assert!(ended.success(), "{}: {sql} failed", relay.name);
    start.elapsed().as_secs_f64()
}
