//! Promise 4, *nothing forged*: what is signed can be rebuilt and checked by others, from the published page alone; and
//! somebody who is not us says when it was there.

mod support;

#[path = "nothing_forged/timestamps.rs"]
mod timestamps;
#[path = "nothing_forged/verified.rs"]
mod verified;

use support::{output, python, repository};

#[test]
fn a_reader_in_another_language_rebuilds_every_published_vector() {
    let mut command = python();
    command.arg(repository("tests/parts/check_vectors.py")).arg(repository("schemas"));
    let checked: serde_json::Value = serde_json::from_str(&output(&mut command, "")).unwrap();
    let count = |name: &str| checked.get(name).and_then(serde_json::Value::as_u64).unwrap();
    assert!(count("records") >= 11 && count("proofs") == 72 && count("notes") == 4, "{checked}");
}
