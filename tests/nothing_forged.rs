//! Promise 4, *nothing forged*: what is signed can be rebuilt and checked by others, from the published page alone; and
//! somebody who is not us says when it was there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test that fails says so by panicking"
)]

mod support;

#[path = "nothing_forged/anchored.rs"]
mod anchored;
#[path = "nothing_forged/keys.rs"]
mod keys;
#[path = "nothing_forged/silence.rs"]
mod silence;
#[path = "nothing_forged/timestamps.rs"]
mod timestamps;
#[path = "nothing_forged/verified.rs"]
mod verified;

use std::collections::BTreeMap;
use std::path::Path;

use hansard::seal::log::LogObject;
use support::{output, python, repository};

/// The objects of a recorder's log, by what they are.
type Log = BTreeMap<LogObject, Vec<u8>>;

/// The log in an archive's folder.
fn log(archive: &Path) -> Log {
    let entries = std::fs::read_dir(archive.join("log/test-node")).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    // What is just being written has a `#` in its name.
    let objects = named.filter(|(name, path)| path.is_file() && !name.contains('#'));
    let read = |name: String| LogObject::read(&format!("log/test-node/{name}")).unwrap().1;
    objects.map(|(name, path)| (read(name), std::fs::read(path).unwrap())).collect()
}

/// Puts a section before the last one of the configuration.
fn evidence(lines: &str) -> impl Fn(String) -> String {
    let section = format!("[evidence]\nheartbeat = \"1s\"\n{lines}\n[telemetry]\n");
    move |config| config.replace("[telemetry]\n", &section)
}

#[test]
fn a_reader_in_another_language_rebuilds_every_published_vector() {
    let mut command = python();
    command.arg(repository("tests/parts/check_vectors.py")).arg(repository("schemas"));
    let checked: serde_json::Value = serde_json::from_str(&output(&mut command, "")).unwrap();
    let count = |name: &str| checked.get(name).and_then(serde_json::Value::as_u64).unwrap();
    assert!(count("records") >= 11 && count("proofs") == 72 && count("notes") == 4, "{checked}");
}
