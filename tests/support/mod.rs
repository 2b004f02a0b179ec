//! Real parts for the tests: PostgreSQL, Azurite, an OpenID provider, a timestamp authority, Hansard itself, real clients,
//! and DuckDB to read back.
//!
//! Every part runs on a free port of loopback with its data in a folder of its own, and is stopped and its folder removed
//! when its guard is dropped or the test process ends, however it ends. A part that is missing fails the test that wants
//! it and says what to run; nothing is skipped. `HANSARD_TEST_KEEP=1` keeps the folders for a look afterwards.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of the harness")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test that fails says so by panicking"
)]

mod authority;
mod azurite;
mod clients;
mod expected;
mod folder;
mod hansard;
mod haproxy;
mod issuer;
mod leash;
mod postgres;
pub(crate) mod raw;
mod stories;
mod vouched;

pub(crate) use authority::Authority;
pub(crate) use azurite::{ACCOUNT, Azurite, Container, KEY};
pub(crate) use clients::{
    Login, Psql, client, connect, encryption, interrupted, libpq, psql, psql_to, told, unverified,
};
pub(crate) use expected::{Expected, assert_among, assert_recorded, assert_rows};
pub(crate) use folder::Folder;
pub(crate) use hansard::{Archive, Hansard, Store, duckdb_rows};
pub(crate) use haproxy::HaProxy;
pub(crate) use issuer::Issuer;
pub(crate) use postgres::{Logged, Postgres};
pub(crate) use stories::{CLIENTS, copied_bytes, run};
pub(crate) use vouched::{Vouched, Voucher, put};

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a part may take to start before the test gives up. A cold, busy two-core machine needs a third of it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file that `make setup-test` brings; the test fails with what to run if it is not there.
pub(crate) fn part(what: &str, path: &str) -> PathBuf {
    let path = repository(path);
    assert!(path.exists(), "{what} is missing ({}); run: make setup-test", path.display());
    path
}

/// The Node that came with the test parts.
pub(crate) fn node() -> Command {
    part("azurite", "tests/parts/node_modules/azurite");
    Command::new(part("Node", ".cache/test-parts/node/bin/node"))
}

/// The Python of the test parts.
pub(crate) fn python() -> Command {
    Command::new(part("the Python environment", ".cache/test-parts/venv/bin/python"))
}

/// A port of loopback that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command to its end and returns what it printed.
///
/// # Panics
///
/// If it fails, with both of its streams.
pub(crate) fn output(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside the reading, so that neither side waits for the other with a full pipe. A child that does not read is fine.
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let (stdout, stderr) = (lossy(&output.stdout), lossy(&output.stderr));
    let name = command.get_program().display().to_string();
    assert!(output.status.success(), "{name} failed ({}):\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Looks again and again until `look` finds something; gives up with `what` after `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        sleep(LOOK_AGAIN);
    }
}

/// Text of a program, for people to read.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "\u{fffd}" }])
        .collect()
}
