//! The keys of the built program: made once, shown to nobody, missed when they are gone, changed without a pause.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use hansard::seal::checkpoint::Checkpoint;
use hansard::seal::log::LogObject;
use hansard::seal::note::{Note, VerifierKey};
use hansard::seal::transition::Transition;

use crate::support::{Hansard, psql, wait_for};
use crate::{Log, evidence, log};

/// How long the next segment may take, which is sealed after a second.
const SOON: Duration = Duration::from_secs(30);

const INVALID: i32 = 3;

fn start() -> Hansard {
    Hansard::start_edited(&evidence(""))
}

fn signing(hansard: &Hansard) -> PathBuf {
    hansard.folder().join("journal/keys/signing.pem")
}

/// The verifier keys that are handed out.
fn exported(hansard: &Hansard) -> Vec<VerifierKey> {
    let (code, keys, said) = hansard.run(&["keys", "export"]);
    assert_eq!(code, 0, "{said}");
    assert!(!keys.contains("PRIVATE"));
    keys.lines().map(|line| line.parse().unwrap()).collect()
}

/// The log of the archive, once it has what is wanted.
fn until(hansard: &Hansard, what: &str, wanted: impl Fn(&Log) -> bool) -> Log {
    let archive = hansard.folder().join("archive");
    wait_for(what, SOON, || {
        let log = archive.join("log/test-node").exists().then(|| log(&archive));
        log.filter(&wanted)
    })
}

/// The sizes of the checkpoints that one of these keys signed, all of which are in order.
fn signed_by(log: &Log, keys: &[VerifierKey]) -> Vec<u64> {
    let checkpoints = log.iter().filter_map(|(object, bytes)| match object {
        LogObject::Checkpoint(size, key) if keys.iter().any(|known| known.id() == *key) => Some((size, bytes)),
        _ => None,
    });
    let sizes = checkpoints.map(|(size, bytes)| {
        let checkpoint = Checkpoint::verified(&Note::read(bytes).unwrap(), keys).unwrap();
        assert_eq!((checkpoint.head.size, checkpoint.origin.as_str()), (*size, "hansard/test-node"));
        *size
    });
    sizes.collect()
}

/// The keys that the events of a kind name.
fn told(hansard: &Hansard, kind: &str, count: usize) -> Vec<String> {
    let sql = format!("select signing_key from events where kind = '{kind}' order by entry_seq");
    let rows = hansard.archive().query_until(&sql, |rows| rows.len() >= count);
    rows.iter().map(|row| row["signing_key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_first_start_makes_a_key_that_only_it_can_read_and_export_prints_what_checks_it() {
    let mut hansard = start();
    let mode = fs::metadata(signing(&hansard)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    let key = fs::read(signing(&hansard)).unwrap();
    let keys = exported(&hansard);
    assert_eq!((keys.len(), keys[0].name()), (1, "hansard/test-node"));
    assert!(hansard.log().contains(&keys[0].to_string()), "whoever starts it is told the verifier key");
    let made = until(&hansard, "a checkpoint", |log| !signed_by(log, &keys).is_empty());
    assert!(made.keys().all(|object| !matches!(object, LogObject::KeyChange(..))));
    assert_eq!(hansard.stop(), 0);

    hansard.start_again();
    assert_eq!((fs::read(signing(&hansard)).unwrap(), exported(&hansard)), (key, keys.clone()), "made once");
    assert_eq!(told(&hansard, "started", 2), vec![keys[0].to_string(); 2]);
    let (code, _, said) = hansard.run(&["keys", "new"]);
    assert_eq!(code, 8, "there is one: {said}");
    assert_eq!(hansard.stop(), 0);
    // Whatever was said, the key was not.
    let secret = fs::read_to_string(signing(&hansard)).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(secret.len() > 60 && !hansard.log().contains(secret));
}

#[test]
fn a_start_whose_key_is_gone_or_another_refuses_and_says_which_to_restore() {
    let mut hansard = start();
    let keys = exported(&hansard);
    until(&hansard, "a checkpoint", |log| !signed_by(log, &keys).is_empty());
    assert_eq!(hansard.stop(), 0);
    let (key, aside) = (signing(&hansard), hansard.folder().join("aside.pem"));
    fs::rename(&key, &aside).unwrap();
    let (code, said) = hansard.start_in_vain();
    assert_eq!(code, INVALID, "{said}");
    let (named, where_it_was) = (keys[0].to_string(), key.display().to_string());
    assert!(said.contains(&named) && said.contains(&where_it_was) && said.contains("restore that key"), "{said}");
    assert!(!key.exists(), "none is made in its place");

    // Nor is one that somebody made meanwhile.
    assert_eq!(hansard.run(&["keys", "new"]).0, 0);
    let (code, said) = hansard.start_in_vain();
    assert!(code == INVALID && said.contains(&named) && said.contains("restore that key"), "{said}");

    fs::rename(&aside, &key).unwrap();
    hansard.start_again();
    assert!(psql(&hansard.login("ana", "restored"), "select 1;").success);
    assert_eq!(told(&hansard, "started", 2), vec![named; 2], "a start in vain leaves no trace on record");
}

#[test]
fn a_key_that_others_can_read_is_refused_and_named() {
    let mut hansard = start();
    assert_eq!(hansard.stop(), 0);
    let key = signing(&hansard);
    fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let exposed = format!("{} can be read by others (mode 640)", key.display());
    let (code, said) = hansard.start_in_vain();
    assert!(code == INVALID && said.contains(&exposed), "{said}");
    let (code, _, said) = hansard.run(&["serve", "--check"]);
    assert!(code == INVALID && said.contains(&format!("evidence.keys: {exposed}")), "{said}");
    let (code, keys, said) = hansard.run(&["keys", "export"]);
    assert!(code == INVALID && keys.is_empty() && said.contains(&exposed), "{said}");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    hansard.start_again();
}

#[test]
fn a_rotated_key_takes_over_at_the_next_segment_without_a_restart() {
    let mut hansard = start();
    let old = exported(&hansard);
    until(&hansard, "a checkpoint", |log| !signed_by(log, &old).is_empty());
    let (code, next, said) = hansard.run(&["keys", "rotate"]);
    assert!(code == 0 && said.contains("signs from the next segment on"), "{said}");
    let new: VerifierKey = next.trim().parse().unwrap();
    assert_ne!(new, old[0]);
    let new = vec![new];
    let after = until(&hansard, "a checkpoint of the new key", |log| signed_by(log, &new).len() >= 2);
    assert_eq!(exported(&hansard), new, "the old one is gone");

    // Each key's checkpoints verify by that key, none is missing, and none of the old one's is larger than where it ended.
    let (before, from_then_on) = (signed_by(&after, &old), signed_by(&after, &new));
    let all: Vec<u64> = before.iter().chain(&from_then_on).copied().collect();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    let size = *before.last().unwrap();
    let note = &after[&LogObject::KeyChange(size, old[0].id(), new[0].id())];
    let handed_over = Transition::read(&Note::read(note).unwrap()).unwrap();
    let origin = "hansard/test-node".to_owned();
    assert_eq!(handed_over, Transition { origin, size, old: old[0].clone(), new: new[0].clone() });
    assert_eq!(told(&hansard, "key_changed", 1), [new[0].to_string()]);
    assert_eq!(hansard.archive().query("select 1 from events where kind = 'started'").len(), 1, "without a restart");

    // A key that is rotated just before a clean stop does not make it look like another end.
    assert_eq!(hansard.run(&["keys", "rotate"]).0, 0);
    assert_eq!(hansard.stop(), 0);
    hansard.start_again();
    let last = exported(&hansard);
    until(&hansard, "a checkpoint of the last key", |log| !signed_by(log, &last).is_empty());
    assert_eq!(told(&hansard, "started", 2), [old[0].to_string(), last[0].to_string()]);
    let changed = told(&hansard, "key_changed", 2);
    assert_eq!(changed, [new[0].to_string(), last[0].to_string()]);
    assert!(hansard.archive().query("select 1 from events where kind = 'recovered'").is_empty());
}
