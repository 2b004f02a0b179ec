//! Statements, connections, and sessions that wait.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::median::median;
use super::relays::{Relay, Relays};
use super::setting;
use super::support::output;

/// The work: pgbench's name for it, and its arguments.
const WORK: [(&str, &[&str]); 4] = [
    ("simple", &["-S", "-M", "simple"]),
    ("extended", &["-S", "-M", "extended"]),
    ("prepared", &["-S", "-M", "prepared"]),
    ("TPC-B, simple", &["-M", "simple"]),
];
const CLIENTS: [u32; 4] = [1, 8, 32, 128];
/// Sessions that wait: PostgreSQL lets 200 in.
const IDLE: usize = 100;
/// With more clients than this, what a run leaves behind keeps the next one out: PgBouncer keeps its connections for a second.
const MANY: u32 = 64;
/// So long it is waited for.
const GONE: std::time::Duration = std::time::Duration::from_millis(2_500);

/// What one run showed.
#[derive(Clone, Copy)]
struct Run {
    tps: f64,
    latency_micros: f64,
    cpu_micros: f64,
}

fn run(relays: &Relays, relay: &Relay, clients: u32, arguments: &[&str]) -> Run {
    let seconds = setting("HANSARD_BENCH_SECONDS", 3).to_string();
    let mut command = relay.client(&relays.postgres.program("pgbench"));
    command
        .args(["-n", "-j", if clients > 1 { "2" } else { "1" }, "-T", &seconds, "-c", &clients.to_string()])
        .args(arguments);
    let before = relay.cpu_micros();
    let text = output(&mut command, "");
    let cpu = relay.cpu_micros() - before;
    let number = |start: &str| -> f64 {
        let line =
            text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no {start} in:\n{text}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let transactions = number("number of transactions actually processed: ");
    if clients > MANY {
        std::thread::sleep(GONE);
    }
    Run { tps: number("tps = "), latency_micros: number("latency average = ") * 1e3, cpu_micros: cpu / transactions }
}

/// Runs of every relay, each between two direct ones: throughput against those, processor time, latency.
fn cell(relays: &Relays, clients: u32, arguments: &[&str]) -> BTreeMap<usize, Vec<(f64, Run)>> {
    let mut runs: BTreeMap<usize, Vec<(f64, Run)>> = BTreeMap::new();
    let mut before = run(relays, relays.direct(), clients, arguments);
    for _ in 0..setting("HANSARD_BENCH_ROUNDS", 3) {
        for (at, relay) in relays.all.iter().enumerate().skip(1) {
            let through = run(relays, relay, clients, arguments);
            let after = run(relays, relays.direct(), clients, arguments);
            runs.entry(0).or_default().push((1.0, after));
            runs.entry(at).or_default().push((through.tps * 2.0 / (before.tps + after.tps), through));
            before = after;
        }
    }
    runs
}

/// `pgbench` in every mode with every number of clients: each table as soon as it is there.
pub(crate) fn pgbench(relays: &Relays, mut add: impl FnMut(String)) {
    let only = std::env::var("HANSARD_BENCH_CELL").unwrap_or_default();
    for (work, arguments) in WORK {
        for clients in CLIENTS {
            if !only.is_empty() && !only.split(';').any(|cell| cell == format!("{work}/{clients}")) {
                continue;
            }
            add(table(relays, &format!("pgbench, {work}, clients {clients}"), &cell(relays, clients, arguments)));
        }
    }
}

fn table(relays: &Relays, title: &str, runs: &BTreeMap<usize, Vec<(f64, Run)>>) -> String {
    let middle = |at: usize, of: &dyn Fn(&(f64, Run)) -> f64| median(runs[&at].iter().map(of).collect());
    let mut text = format!(
        "**{title}**\n\n| | TPS | of direct | CPU of the relay, µs | against the forwarder | latency, µs |\n|---|---|---|---|---|---|\n"
    );
    let reference = middle(1, &|(_, run)| run.cpu_micros);
    for (at, relay) in relays.all.iter().enumerate() {
        let (tps, ratio) = (middle(at, &|(_, run)| run.tps), middle(at, &|(ratio, _)| *ratio));
        let (cpu, latency) = (middle(at, &|(_, run)| run.cpu_micros), middle(at, &|(_, run)| run.latency_micros));
        let against = if at == 0 { String::new() } else { format!("{:.2}", cpu / reference) };
        writeln!(text, "| {} | {tps:.0} | {ratio:.2} | {cpu:.1} | {against} | {latency:.0} |", relay.name).unwrap();
    }
    text
}

/// Connect, one query, disconnect.
pub(crate) fn churn(relays: &Relays) -> String {
    table(
        relays,
        "connect, query, disconnect; 8 clients (a transaction is a connection)",
        &cell(relays, 8, &["-C", "-S"]),
    )
}

/// Memory of a session that waits.
pub(crate) fn idle(relays: &Relays) -> String {
    let mut text = format!("**{IDLE} sessions that wait** after one query\n\n| | KiB each |\n|---|---|\n");
    for relay in relays.all.iter().skip(1) {
        let warm = waiting(relays, relay, 10);
        drop(warm);
        let before = relay.memory();
        let sessions = waiting(relays, relay, IDLE);
        let each = (relay.memory() - before) / sessions.0.len() as f64 / 1024.0;
        writeln!(text, "| {} | {each:.1} |", relay.name).unwrap();
    }
    text
}

/// Clients that have asked one thing and wait.
struct Waiting(Vec<std::process::Child>);

impl Drop for Waiting {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().and_then(|()| child.wait()).ok();
        }
        // Their ends are seen a moment later.
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn waiting(relays: &Relays, relay: &Relay, count: usize) -> Waiting {
    use std::io::{BufRead as _, BufReader, Write as _};
    let start = |_| {
        let mut command = relay.client(&relays.postgres.program("psql"));
        command.args(["-X", "-A", "-t", "-q"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"select 17;\n").unwrap();
        child
    };
    let mut children: Vec<_> = (0..count).map(start).collect();
    for child in &mut children {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "17\n");
    }
    Waiting(children)
}
