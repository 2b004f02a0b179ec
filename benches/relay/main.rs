//! What the relay costs: `pgbench` and bulk copies against PostgreSQL directly, through HAProxy, PgBouncer, a reference
//! forwarder and Hansard, in turns.
//!
//! Each cell is run several times, each relay's run between two direct ones. It prints medians: throughput as a share of the
//! neighbouring direct runs, processor time of the relay's process for a transaction (which is what holds on a machine that
//! others use), and writes the tables between the marks in `benches/README.md` with `HANSARD_BENCH_WRITE=1`.
//!
//! `HANSARD_BENCH_SECONDS` (3) and `HANSARD_BENCH_ROUNDS` (3) say how long; `HANSARD_BENCH_ONLY=pgbench,bulk,churn,idle,crowd`
//! which parts; `HANSARD_BENCH_CELL=prepared/8;simple/1` which cells of pgbench; `HANSARD_BENCH_RELAYS=haproxy;hansard, written`
//! which relays; `HANSARD_BENCH_MB` (1000) how much a bulk copy moves. `make setup-bench` installs HAProxy and PgBouncer.

#![allow(missing_docs, reason = "a program")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench that fails says so by panicking, prints what it found, and measures by the machine's clock"
)]

mod bulk;
mod crowd;
mod forwarder;
#[path = "../support/median.rs"]
mod median;
mod relays;
#[path = "../../tests/support/mod.rs"]
mod support;
mod traffic;

use relays::Relays;

/// Where the tables go.
const README: &str = "benches/README.md";
const BEGIN: &str = "<!-- relay: written by `HANSARD_BENCH_WRITE=1 cargo bench --bench relay` -->";
const END: &str = "<!-- relay: end -->";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, listen, upstream] = arguments.as_slice()
        && mode == "forward"
    {
        forwarder::run(listen.parse().unwrap(), upstream.parse().unwrap()).unwrap();
        return;
    }
    let only = std::env::var("HANSARD_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only.split(',').any(|word| word == part);
    let relays = Relays::start();
    let mut report = String::new();
    let mut add = |table: String| {
        println!("{table}");
        report.push_str(&table);
        report.push('\n');
    };
    add(machine());
    if wanted("pgbench") {
        traffic::pgbench(&relays, &mut add);
    }
    if wanted("churn") {
        add(traffic::churn(&relays));
    }
    if wanted("bulk") {
        add(bulk::bulk(&relays));
    }
    if wanted("idle") {
        add(traffic::idle(&relays));
    }
    if wanted("crowd") {
        add(crowd::crowd(relays.postgres));
    }
    if std::env::var("HANSARD_BENCH_WRITE").is_ok_and(|write| write == "1") {
        write(&report);
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// Which machine, and what it was doing beside.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!(
        "{cores} processors ({model}), load {load} at the start; one flush of 512 bytes {:.0} µs\n",
        relays::flush_micros()
    )
}

/// Puts the tables between the marks.
fn write(report: &str) {
    let path = support::repository(README);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    std::fs::write(&path, format!("{before}{BEGIN}\n\n{report}\n{END}{after}")).unwrap();
}
