//! What is done to the log: manifests, checkpoints, tiles, keys, its end.

use super::*;
use crate::seal::checkpoint::origin;
use crate::seal::log::LogObject;
use crate::seal::merkle::{Head, Tree};
use crate::seal::note::SigningKey;
use crate::seal::tiles::Tile;
use crate::seal::transition::Transition;
use crate::segment::Manifest;

/// A file as whoever can change the archive would leave it, after a change to its text.
fn edited(copy: &Copy, name: &str, from: &str, to: &str) {
    copy.change(name, |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        text.replacen(from, to, 1).into_bytes()
    });
}

#[tokio::test]
async fn a_manifest_that_was_edited_is_the_only_one_that_is_blamed() {
    let shelf = told().await;
    for (segment, from, to) in [
        (1, "\"records\": 7", "\"records\": 8"),
        (2, "\"closed\": 6", "\"closed\": 5"),
        (2, "\"stops\": false", "\"stops\": true"),
        (3, "\"heartbeat_seconds\": 300", "\"heartbeat_seconds\": 301"),
        (3, "{\n", "{ \n"),
        (4, "\"open_sessions\": 0", "\"open_sessions\": 1"),
    ] {
        let copy = Copy::of(&shelf);
        let name = manifest(segment);
        edited(&copy, &name, from, to);
        let report = copy.verify().await;
        assert_eq!(report.verdict(), Verdict::Contradiction, "{segment} {from}: {:?}", report.findings);
        assert_eq!(found(&report).get(name.as_str()), Some(&Class::Altered), "{:?}", report.findings);
        // That the one before the last was changed is told by the last; that the last was, only by its checkpoint.
        let signed = if segment == 4 { 3 } else { 4 };
        assert_eq!(report.nodes[0].signed, signed, "{segment} {from}: {:?}", report.findings);
        let blamed: Vec<&str> = found(&report).into_keys().filter(|object| object.contains("manifest")).collect();
        assert_eq!(blamed, [name.as_str()], "{segment} {from}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_manifest_that_was_removed_is_missed_and_what_follows_is_proven() {
    let shelf = told().await;
    for segment in 1..=4 {
        let copy = Copy::of(&shelf);
        copy.remove(&manifest(segment));
        let report = copy.verify().await;
        let found = found(&report);
        let class = if segment == 4 { Class::TruncatedTail } else { Class::Missing };
        assert_eq!(found.get(manifest(segment).as_str()), Some(&class), "{:?}", report.findings);
        let signed = if segment == 4 { 3 } else { 4 };
        assert_eq!(report.nodes[0].signed, signed, "{segment}: {:?}", report.findings);
        assert_ne!(report.verdict(), Verdict::Proven);
    }
    let copy = Copy::of(&shelf);
    copy.remove(&manifest(2));
    copy.remove(&manifest(3));
    let report = copy.verify().await;
    assert_eq!(found(&report).get(manifest(2).as_str()), Some(&Class::Missing), "{:?}", report.findings);
    assert_eq!(report.nodes[0].signed, 1, "what cannot be held against a checkpoint is not proven");
}

#[tokio::test]
async fn manifests_that_changed_places_are_found() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let (two, three) = (fs::read(copy.path(&manifest(2))).unwrap(), fs::read(copy.path(&manifest(3))).unwrap());
    fs::write(copy.path(&manifest(2)), three).unwrap();
    fs::write(copy.path(&manifest(3)), two).unwrap();
    let report = copy.verify().await;
    let said = report.findings.iter().any(|finding| finding.detail == "it is the manifest of segment 3 of node-1");
    assert!(said && report.verdict() == Verdict::Contradiction, "{:?}", report.findings);
}

/// Signs the log anew from segment `from` on, with another key, as a thief of the storage account would.
fn signed_anew(copy: &Copy, from: u64, seed: u8) {
    let mut log = Tree::default();
    for segment in 1..=4 {
        let bytes = fs::read(copy.path(&manifest(segment))).unwrap();
        let mut text = String::from_utf8(bytes).unwrap();
        if segment > from {
            let mut read = Manifest::read(text.as_bytes()).unwrap();
            let before = fs::read(copy.path(&manifest(segment - 1))).unwrap();
            read.previous_leaf = Some(crate::seal::merkle::leaf(&before).to_string());
            text = String::from_utf8(read.file().unwrap().bytes.to_vec()).unwrap();
            fs::write(copy.path(&manifest(segment)), &text).unwrap();
        }
        log.push(crate::seal::merkle::leaf(text.as_bytes()));
        if segment >= from {
            copy.remove(&checkpoint(segment, 1));
            let head = Head { size: segment, root: log.root() };
            let note = Checkpoint::new(origin(&node()), head).sign(&key(seed)).unwrap().to_string();
            fs::write(copy.path(&checkpoint(segment, seed)), note).unwrap();
        }
    }
}

#[tokio::test]
async fn a_history_that_was_signed_anew_with_another_key_is_not_believed() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    edited(&copy, &manifest(2), "\"open_sessions\": 0", "\"open_sessions\": 9");
    signed_anew(&copy, 2, 2);
    let report = copy.verify().await;
    let found = found(&report);
    for size in 2..=4 {
        assert_eq!(found.get(checkpoint(size, 2).as_str()), Some(&Class::UntrustedKey), "{:?}", report.findings);
    }
    assert_eq!(found.get("the log of node-1"), Some(&Class::Unsigned));
    assert_eq!((report.verdict(), report.nodes[0].signed), (Verdict::Incomplete, 1));
    // Whoever kept a checkpoint knows more.
    let kept = vec![kept(&shelf, 4)];
    let report = copy.verify_by(&Request { kept, ..trusting(&[1]) }).await;
    assert_eq!(report.verdict(), Verdict::Contradiction, "{:?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.class == Class::Forked), "{:?}", report.findings);
}

#[tokio::test]
async fn a_checkpoint_that_was_changed_removed_or_exchanged_is_found() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let (two, three) = (checkpoint(2, 1), checkpoint(3, 1));
    let whole = fs::read(copy.path(&two)).unwrap();
    copy.change(&two, |_| fs::read(copy.path(&three)).unwrap());
    let report = copy.verify().await;
    assert_eq!(found(&report), BTreeMap::from([(two.as_str(), Class::Altered)]), "{:?}", report.findings);
    fs::write(copy.path(&two), &whole).unwrap();
    copy.remove(&two);
    let report = copy.verify().await;
    let named = BTreeMap::from([("log/node-1/checkpoint-000000000002", Class::Missing)]);
    assert_eq!((found(&report), report.verdict()), (named, Verdict::Incomplete));
    fs::write(copy.path(&two), &whole).unwrap();
    copy.remove(&checkpoint(4, 1));
    let report = copy.verify().await;
    assert_eq!(found(&report), BTreeMap::from([("the log of node-1", Class::Unsigned)]));
    assert_eq!(report.nodes[0].signed, 3);
    let stray = "log/node-1/checkpoint-4.note";
    fs::write(copy.path(stray), &whole).unwrap();
    assert_eq!(found(&copy.verify().await).get(stray), Some(&Class::Inserted));
}

/// A checkpoint of the archive, as somebody keeps it.
fn kept(shelf: &Shelf, size: u64) -> Kept {
    let name = checkpoint(size, 1);
    Kept::new(format!("kept/{size}"), fs::read(shelf.path(&name)).unwrap())
}

/// Everything of the segments behind `last` is gone: an old copy of the archive.
fn cut_behind(copy: &Copy, last: u64) {
    for name in copy.names() {
        let number = name.split(['-', '.', '/']).filter_map(|part| part.parse::<u64>().ok()).next_back().unwrap();
        // The checkpoint's number is followed by the id of its key.
        let of = if name.contains("checkpoint-") { size_of(&name) } else { number };
        if of > last {
            copy.remove(&name);
        }
    }
}

fn size_of(name: &str) -> u64 {
    match LogObject::read(name) {
        Some((_, LogObject::Checkpoint(size, _))) => size,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tail_cut_at_any_manifest_is_found_by_a_checkpoint_that_was_kept() {
    let shelf = told().await;
    for last in 1..=3 {
        let copy = Copy::of(&shelf);
        cut_behind(&copy, last);
        // By itself an old copy is whole; the report says that it is open, and up to when.
        let alone = copy.verify().await;
        assert_eq!(alone.verdict(), Verdict::Proven, "{:?}", alone.findings);
        assert_eq!((alone.nodes[0].segments, alone.nodes[0].stopped), (last, false));
        for size in last + 1..=4 {
            let request = Request { kept: vec![kept(&shelf, size)], ..trusting(&[1]) };
            let report = copy.verify_by(&request).await;
            let name = manifest(last + 1);
            assert_eq!(found(&report), BTreeMap::from([(name.as_str(), Class::TruncatedTail)]), "{last} {size}");
            assert_eq!(report.verdict(), Verdict::Incomplete);
        }
        let fits = Request { kept: vec![kept(&shelf, last)], ..trusting(&[1]) };
        let report = copy.verify_by(&fits).await;
        assert_eq!((report.verdict(), report.nodes[0].kept), (Verdict::Proven, 1));
        // Who says until when the evidence must reach finds it too.
        let until = Request { until: Some(Timestamp(START + 331 * SECOND)), ..trusting(&[1]) };
        let report = copy.verify_by(&until).await;
        assert_eq!(found(&report), BTreeMap::from([("the log of node-1", Class::TruncatedTail)]));
    }
    let whole = Request {
        kept: (1..=4).map(|size| kept(&shelf, size)).collect(),
        until: Some(Timestamp(START + 86_400 * SECOND)),
        ..trusting(&[1])
    };
    let report = Copy::of(&shelf).verify_by(&whole).await;
    assert_eq!(report.verdict(), Verdict::Proven, "it was stopped before that: {:?}", report.findings);
}

#[tokio::test]
async fn a_tail_cut_without_its_checkpoints_is_found_by_them() {
    let shelf = told().await;
    for last in 1..=3 {
        let copy = Copy::of(&shelf);
        for name in copy.names().into_iter().filter(|name| !name.contains("checkpoint-")) {
            let number = name.split(['-', '.', '/']).filter_map(|part| part.parse::<u64>().ok()).next_back().unwrap();
            if number > last {
                copy.remove(&name);
            }
        }
        let report = copy.verify().await;
        let name = manifest(last + 1);
        assert_eq!(found(&report), BTreeMap::from([(name.as_str(), Class::TruncatedTail)]));
    }
}

/// Another history of the same recorder, signed with the same key, that is the same up to its second segment.
async fn other_history() -> Shelf {
    let mut shelf = Shelf::new();
    let [first, second, third, _] = story();
    shelf.seal(first).await;
    shelf.seal(second).await;
    shelf.seal(Rows { records: vec![record(9, 1, 299 * SECOND, "select 'another'")], ..third }).await;
    shelf
}

#[tokio::test]
async fn two_histories_of_one_recorder_are_a_fork() {
    let (shelf, other) = (told().await, other_history().await);
    let copy = Copy::of(&other);
    assert_eq!(copy.verify().await.verdict(), Verdict::Proven, "each is whole by itself");
    for size in [3, 4] {
        let report = copy.verify_by(&Request { kept: vec![kept(&shelf, size)], ..trusting(&[1]) }).await;
        let class = if size == 3 { Class::Forked } else { Class::TruncatedTail };
        assert!(report.findings.iter().any(|finding| finding.class == class), "{size}: {:?}", report.findings);
        assert_ne!(report.verdict(), Verdict::Proven);
    }
    let before = copy.verify_by(&Request { kept: vec![kept(&shelf, 2)], ..trusting(&[1]) }).await;
    assert_eq!(before.verdict(), Verdict::Proven, "up to there they are one");
    // Both in one archive: the names of the two manifests are one, so one of them is not there.
    let both = Copy::of(&shelf);
    let note = fs::read(other.path(&checkpoint(3, 1))).unwrap();
    fs::write(both.path(&checkpoint(3, 1)), note).unwrap();
    let report = both.verify().await;
    assert_eq!(report.verdict(), Verdict::Contradiction);
    assert!(found(&report).contains_key(manifest(3).as_str()), "{:?}", report.findings);
}

/// An archive whose log was handed over to key 2 after its second segment.
async fn handed_over() -> Shelf {
    let mut shelf = Shelf::new();
    let [first, second, third, last] = story();
    shelf.seal(first).await;
    shelf.seal(second).await;
    hand_over(&shelf, 2, (1, 2)).await;
    shelf.key = key(2);
    shelf.seal(third).await;
    shelf.seal(last).await;
    shelf
}

async fn hand_over(shelf: &Shelf, size: u64, (old, new): (u8, u8)) {
    let (old, new) = (key(old), key(new));
    let (before, after) = (old.verifier().clone(), new.verifier().clone());
    let name = LogObject::KeyChange(size, before.id(), after.id()).name(&node());
    let transition = Transition { origin: origin(&node()), size, old: before, new: after };
    let note = transition.sign(&old, &new).unwrap().to_string();
    shelf.store.put_once(&name, note.into()).await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_handed_over_is_proven_by_either_key() {
    let shelf = handed_over().await;
    let copy = Copy::of(&shelf);
    for seeds in [&[1][..], &[2], &[1, 2]] {
        let report = copy.verify_by(&trusting(seeds)).await;
        assert_eq!(report.verdict(), Verdict::Proven, "{seeds:?}: {:?}", report.findings);
        assert_eq!(report.nodes[0].keys.len(), 2);
    }
    let stranger = copy.verify_by(&trusting(&[3])).await;
    assert_eq!((stranger.verdict(), stranger.nodes[0].signed), (Verdict::Incomplete, 0));
    let note = copy.names().into_iter().find(|name| name.contains("/key-")).unwrap();
    copy.remove(&note);
    let without = copy.verify_by(&trusting(&[1])).await;
    assert_eq!((without.verdict(), without.nodes[0].signed), (Verdict::Incomplete, 2));
}

#[tokio::test]
async fn a_retired_key_signs_nothing_that_counts_and_hands_over_once() {
    let shelf = handed_over().await;
    let copy = Copy::of(&shelf);
    let note = copy.path(&checkpoint(4, 2));
    let text = crate::seal::note::Note::read(&fs::read(&note).unwrap()).unwrap().unverified_text().to_owned();
    fs::write(copy.path(&checkpoint(4, 1)), key(1).sign(&text).unwrap().to_string()).unwrap();
    let report = copy.verify().await;
    let stolen = checkpoint(4, 1);
    assert_eq!(found(&report), BTreeMap::from([(stolen.as_str(), Class::UntrustedKey)]), "{:?}", report.findings);
    hand_over(&shelf, 3, (1, 3)).await;
    let report = Copy::of(&shelf).verify().await;
    assert_eq!(report.verdict(), Verdict::Contradiction);
    assert_eq!(found(&report).values().filter(|class| **class == Class::Forked).count(), 2, "{:?}", report.findings);
}

#[tokio::test]
async fn without_a_trusted_key_nothing_is_proven_and_everything_is_looked_at() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let report = copy.verify_by(&Request::default()).await;
    assert_eq!(report.verdict(), Verdict::Incomplete);
    assert_eq!((report.records, report.nodes[0].signed), (ROWS, 0));
    copy.remove(&file("statements", 2));
    let report = copy.verify_by(&Request::default()).await;
    assert!(found(&report).contains_key(file("statements", 2).as_str()));
}

#[tokio::test]
async fn a_log_that_is_gone_as_a_whole_is_missed_by_its_key_or_its_checkpoint() {
    let shelf = told().await;
    let other = SigningKey::from_pem("hansard/node-2", &SigningKey::new_pem(&[9; 32])).unwrap();
    let mut request = trusting(&[1]);
    request.keys.push(other.verifier().clone());
    let copy = Copy::of(&shelf);
    let report = copy.verify_by(&request).await;
    assert_eq!(found(&report), BTreeMap::from([("hansard/node-2", Class::Missing)]));
    request.nodes = vec![node()];
    assert_eq!(copy.verify_by(&request).await.verdict(), Verdict::Proven, "only this one was asked for");
    let head = Head { size: 3, root: Sha256::of(b"x") };
    let note = Checkpoint::new("hansard/node-2".to_owned(), head).sign(&other).unwrap().to_string();
    let kept = vec![Kept::new("kept/node-2".to_owned(), note.into_bytes())];
    let report = copy.verify_by(&Request { kept, ..trusting(&[1]) }).await;
    assert_eq!(found(&report), BTreeMap::from([("kept/node-2", Class::Missing)]));
    let none = vec![Kept::new("kept/x".to_owned(), b"x".to_vec())];
    let report = copy.verify_by(&Request { kept: none, ..trusting(&[1]) }).await;
    assert_eq!(found(&report), BTreeMap::from([("kept/x", Class::Altered)]));
}

#[tokio::test]
async fn a_log_of_which_only_remains_are_left_is_not_proven() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    for name in copy.names() {
        copy.remove(&name);
    }
    let stamp = "log/node-1/checkpoint-000000000004-00000000.tsr";
    fs::write(copy.path(stamp), b"x").unwrap();
    let report = copy.verify().await;
    assert_eq!(report.verdict(), Verdict::Incomplete);
    assert_eq!(found(&report), BTreeMap::from([("the log of node-1", Class::Missing)]));
}

#[tokio::test]
async fn a_tile_that_was_changed_or_removed_is_found() {
    let mut shelf = Shelf::new();
    let mut leaves = Vec::new();
    for segment in 1..=257_u64 {
        let at = i64::try_from(segment).unwrap() * SECOND;
        shelf.seal(Rows { events: vec![event(segment, at, RecorderEventKind::Heartbeat)], ..Rows::default() }).await;
        leaves.push(crate::seal::merkle::leaf(&fs::read(shelf.path(&manifest(segment))).unwrap()));
    }
    let copy = Copy::of(&shelf);
    let tile = LogObject::Tile(Tile { level: 0, index: 0 }).name(&node());
    assert_eq!(found(&copy.verify().await), BTreeMap::from([(tile.as_str(), Class::Missing)]));
    let bytes = Tile { level: 0, index: 0 }.bytes(&leaves[..256]).unwrap();
    fs::create_dir_all(copy.path(&tile).parent().unwrap()).unwrap();
    fs::write(copy.path(&tile), &bytes).unwrap();
    assert_eq!(copy.verify().await.findings, []);
    copy.change(&tile, |mut bytes| {
        bytes[77] ^= 1;
        bytes
    });
    assert_eq!(found(&copy.verify().await), BTreeMap::from([(tile.as_str(), Class::Altered)]));
}
