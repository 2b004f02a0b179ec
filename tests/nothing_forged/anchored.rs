//! The built program with others that vouch for its log: what they hold is what the archive holds, whoever checks it; and
//! while they are away, nobody notices but who watches.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hansard::model::{NodeName, Sha256};
use hansard::seal::log::LogObject;
use hansard::seal::note::KeyId;
use hansard::seal::timestamp::{Authorities, verify};
use serde_json::Value;

use crate::support::{ACCOUNT, Authority, Azurite, Folder, Hansard, Store, output, psql, repository, wait_for};
use crate::verified::run;
use crate::{Log, evidence, log};

/// How long a number may take to move. A pause between two tries is longer by then than an outage here was.
const SOON: Duration = Duration::from_secs(60);

fn stamped_by(authority: &Authority) -> String {
    let (url, file) = (authority.url(), authority.ca_file().display());
    format!("timestamps = {{ url = \"{url}\", authorities = \"{file}\", every = \"1s\" }}\n")
}

/// A number on the page of metrics, if it is there.
fn number(hansard: &Hansard, name: &str) -> Option<u64> {
    let (_, _, page) = hansard.ask("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("hansard_{name} ")))?;
    Some(line.parse().unwrap())
}

fn until(hansard: &Hansard, what: &str, wanted: impl Fn(&dyn Fn(&str) -> Option<u64>) -> bool) {
    wait_for(what, SOON, || wanted(&|name| number(hansard, name)).then_some(()));
}

/// Every stamp of the archive is of its checkpoint, by our reader and by one that is not ours. How many there are.
fn assert_stamped(log: &Log, authority: &Authority) -> usize {
    let authorities = Authorities::from_pem(&std::fs::read(authority.ca_file()).unwrap()).unwrap();
    let folder = Folder::new("stamps");
    let mut found = 0;
    for (object, stamp) in log {
        let LogObject::Stamp(size, key) = *object else { continue };
        let note = &log[&LogObject::Checkpoint(size, key)];
        let stamped = verify(stamp, Sha256::of(note), None, &authorities).unwrap();
        assert_eq!(stamped.authority, "CN=Clock,O=Tests");
        std::fs::write(folder.join("note"), note).unwrap();
        std::fs::write(folder.join("stamp"), stamp).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder.path()).args(["ts", "-verify", "-data", "note", "-in", "stamp", "-CAfile"]);
        output(openssl.arg(authority.ca_file()), "");
        found += 1;
    }
    found
}

/// What was copied is byte for byte what the archive has, down to its last checkpoint and every stamp.
fn assert_copied(archive: &Log, copies: &Log) {
    for (object, bytes) in copies {
        assert_eq!(archive.get(object), Some(bytes), "{object}");
        assert!(
            matches!(object, LogObject::Checkpoint(..) | LogObject::Stamp(..)),
            "{object} is no business of theirs"
        );
    }
    let last = |of: &Log| {
        let sizes = of.keys().filter_map(|object| match object {
            LogObject::Checkpoint(size, _) => Some(*size),
            _ => None,
        });
        sizes.max().unwrap()
    };
    assert_eq!(last(copies), last(archive), "a clean stop copies the last one");
}

#[test]
fn checkpoints_are_stamped_and_copied_and_others_can_check_both() {
    let (authority, copies) = (Authority::start(), Folder::new("copies"));
    let elsewhere = copies.join("of/the log");
    let lines = format!("{}copy = {{ url = \"file://{}\" }}\n", stamped_by(&authority), elsewhere.display());
    let mut hansard = Hansard::start_watched_edited(Store::Folder, &evidence(&lines));
    assert!(psql(&hansard.login("ana", "anchored"), "select 1;").success);
    until(&hansard, "stamps and copies", |number| {
        number("evidence_stamped_segment") >= Some(3) && number("evidence_copied_segment") >= Some(3)
    });
    assert_eq!(hansard.stop(), 0);
    let (archive, copies) = (log(&hansard.folder().join("archive")), log(&elsewhere));
    assert!(assert_stamped(&archive, &authority) >= 3);
    assert_copied(&archive, &copies);
    // A clean stop has the last one stamped, too.
    let last = archive.keys().filter(|object| matches!(object, LogObject::Stamp(..))).max();
    let Some(LogObject::Stamp(size, key)) = last else { unreachable!("{last:?}") };
    assert!(!archive.contains_key(&LogObject::Checkpoint(size + 1, *key)));
    assert!(copies.contains_key(&LogObject::Stamp(*size, *key)));
    auditors_find_both(&hansard, &authority, &elsewhere, (*size, *key));
}

/// What `hansard verify` makes of stamps and copies, and of those that somebody changed or that nobody trusts.
fn auditors_find_both(hansard: &Hansard, authority: &Authority, elsewhere: &Path, (size, key): (u64, KeyId)) {
    let config = hansard.folder().join("hansard.toml").display().to_string();
    let copies = elsewhere.display().to_string();
    let by = |pem: &Path| {
        let pem = pem.display().to_string();
        let arguments = ["verify", "-c", &config, "--json", "--timestamp-authorities", &pem, "--checkpoints", &copies];
        let (code, report, complaints) = run(&arguments);
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}\n{complaints}"));
        (code, report)
    };
    let (code, report) = by(authority.ca_file());
    assert_eq!(code, 0, "{report}");
    let node = &report["nodes"][0];
    assert!(node["stamps"].as_u64() >= Some(3) && node["kept"].as_u64() >= Some(1), "{report}");
    assert!(node["stamped"].as_str() > node["first_time"].as_str(), "{report}");
    let (code, report) = by(&repository("fixtures/timestamps/rsa-ca.pem"));
    assert_eq!((code, &report["findings"][0]["class"]), (10, &Value::from("untrusted_key")), "{report}");
    let name = LogObject::Stamp(size, key).name(&NodeName::new("test-node").unwrap());
    let stamp = hansard.folder().join("archive").join(&name);
    let mut bytes = std::fs::read(&stamp).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&stamp, bytes).unwrap();
    let (code, report) = by(authority.ca_file());
    assert_eq!((code, &report["findings"][0]["object"]), (9, &Value::from(name)), "{report}");
}

#[test]
fn while_those_who_vouch_are_away_sessions_and_shipping_go_on_and_then_they_are_told_of_it_all() {
    let (mut authority, azurite) = (Authority::start(), Azurite::own());
    let container = azurite.container("checkpoints");
    let lines = format!(
        "{}copy = {{ url = \"az://{}/of/us\", account = \"{ACCOUNT}\", auth = \"key\", key = {{ file = \"storage.key\" }}, \
         endpoint = \"{}\" }}\n",
        stamped_by(&authority),
        container.name(),
        container.endpoint()
    );
    let mut hansard = Hansard::start_watched_edited(Store::Folder, &evidence(&lines));
    until(&hansard, "stamps and copies", |number| {
        number("evidence_stamped_segment").is_some() && number("evidence_copied_segment").is_some()
    });
    authority.stop();
    azurite.stop();
    until(&hansard, "two failures", |number| {
        number("evidence_stamp_failing") == Some(1) && number("evidence_copy_failing") == Some(1)
    });
    assert_eq!(number(&hansard, "evidence_state{state=\"behind\"}"), Some(1));
    let (status, _, notes) = hansard.ask("/readyz").unwrap();
    assert_eq!(status, 200, "{notes}");
    assert_eq!(notes.lines().filter(|line| line.contains("it is tried again")).count(), 2, "{notes}");
    let (signed, copied) = (number(&hansard, "evidence_signed_segment"), number(&hansard, "evidence_copied_segment"));
    let ran = psql(&hansard.login("ana", "unvouched"), &"select 1;\n".repeat(20));
    assert!(ran.success, "{}", ran.stderr);
    until(&hansard, "segments", |number| {
        number("evidence_signed_segment") > signed.map(|size| size + 3) && number("shipping_failing") == Some(0)
    });
    assert_eq!(number(&hansard, "evidence_copied_segment"), copied);
    let shipped = hansard.archive().rows_of("unvouched", 20);
    assert_eq!(shipped.len(), 20);

    authority.start_again();
    azurite.start();
    until(&hansard, "everything vouched for", |number| {
        number("evidence_stamped_segment") > signed
            && number("evidence_copied_segment") > signed
            && number("evidence_state{state=\"signed\"}") == Some(1)
    });
    assert!(number(&hansard, "evidence_stamp_failures_total") > Some(0));
    assert!(number(&hansard, "evidence_copy_failures_total") > Some(0));
    assert_eq!(number(&hansard, "evidence_copy_conflicts_total"), Some(0));
    assert_eq!(hansard.stop(), 0);
    let archive = log(&hansard.folder().join("archive"));
    assert!(assert_stamped(&archive, &authority) >= 2);
    let copies = Folder::new("copies");
    container.download(copies.path());
    assert_copied(&archive, &log(&copies.join("of/us")));
}

#[test]
fn a_clean_stop_does_not_wait_for_those_who_are_away_and_the_next_start_makes_up_for_it() {
    let (mut authority, copies) = (Authority::start(), Folder::new("copies"));
    let elsewhere = copies.join("disk");
    // A disk that is not there yet.
    std::fs::write(&elsewhere, "in the way").unwrap();
    authority.stop();
    let lines = format!("{}copy = {{ url = \"file://{}\" }}\n", stamped_by(&authority), elsewhere.display());
    let mut hansard = Hansard::start_watched_edited(Store::Folder, &evidence(&lines));
    until(&hansard, "a segment", |number| number("evidence_signed_segment").is_some());
    let stopping = std::time::Instant::now();
    assert_eq!(hansard.stop(), 0);
    let took = stopping.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let before = log(&hansard.folder().join("archive"));
    let last = before.keys().filter(|object| matches!(object, LogObject::Checkpoint(..))).max().unwrap();
    assert_eq!(assert_stamped(&before, &authority), 0);

    authority.start_again();
    std::fs::remove_file(&elsewhere).unwrap();
    hansard.start_again();
    until(&hansard, "a copy and a stamp", |number| {
        number("evidence_stamped_segment").is_some() && number("evidence_copied_segment").is_some()
    });
    let (archive, copies) = (log(&hansard.folder().join("archive")), log(&elsewhere));
    assert_eq!(copies.get(last), before.get(last));
    let LogObject::Checkpoint(size, key) = *last else { unreachable!("{last}") };
    assert!(archive.contains_key(&LogObject::Stamp(size, key)), "what the last run ended with is stamped");
    assert_eq!(hansard.stop(), 0);
    assert!(assert_stamped(&log(&hansard.folder().join("archive")), &authority) >= 1);
}
