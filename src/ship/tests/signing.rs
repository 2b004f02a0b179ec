//! The log that is signed: its checkpoints, its tiles, and keys that change while it grows.

use super::*;
use crate::seal::tiles::Tile;
use crate::seal::transition::Transition;

/// Ships a segment of one event.
async fn one_more(journal: &Journal, store: &Store, keys: &Arc<Keys>) -> Result<(), ShipError> {
    journal.append(vec![event(RecorderEventKind::Heartbeat)]).await.unwrap();
    let shipper = shipper_with(journal, store, Arc::clone(keys), settings(1 << 20));
    let (handle, stop) = (shipper.handle(), CancellationToken::new());
    let finish = async {
        let finished = handle.finish().await;
        // One that ended by itself still has something to put on record.
        finished.is_ok().then(|| stop.cancel());
        finished
    };
    let (ended, finished) = tokio::join!(shipper.run(stop.clone()), finish);
    ended.and(finished)
}

#[tokio::test]
async fn the_next_key_takes_over_with_a_note_that_both_sign_and_a_row_that_says_so() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        let keys = Keys::new(1, None);
        one_more(&journal, &store, &keys).await.unwrap();
        *keys.next.lock().unwrap() = Some(key(2));
        one_more(&journal, &store, &keys).await.unwrap();
        one_more(&journal, &store, &keys).await.unwrap();
        let (old, new) = (key(1).verifier().clone(), key(2).verifier().clone());
        let name = LogObject::KeyChange(1, old.id(), new.id()).name(&node());
        let note = Note::read(&store.get(&name).await.unwrap()).unwrap();
        let origin = "hansard/node-1".to_owned();
        assert_eq!(Transition::read(&note), Ok(Transition { origin, size: 1, old: old.clone(), new: new.clone() }));
        for (size, key) in [(1, &old), (2, &new), (3, &new)] {
            let name = LogObject::Checkpoint(size, key.id()).name(&node());
            let note = Note::read(&store.get(&name).await.unwrap()).unwrap();
            assert!(Checkpoint::verified(&note, std::slice::from_ref(key)).is_ok(), "{name}");
        }
        let told = journal_events(&journal, RecorderEventKind::KeyChanged);
        assert_eq!(told, [Some(new.to_string())]);
        let open = tokio::task::spawn_blocking(move || open_at_crash(&journal)).await.unwrap();
        assert_eq!(open.unwrap().signed_by, Some(new.to_string()));
    }
}

fn journal_events(journal: &Journal, kind: RecorderEventKind) -> Vec<Option<String>> {
    let mut reader = journal.reader();
    let mut found = Vec::new();
    while let Some(numbered) = reader.next(journal_end(journal)).unwrap() {
        if let Entry::Event(event) = numbered.entry
            && event.kind == kind
        {
            found.push(event.more.key);
        }
    }
    found
}

#[tokio::test]
async fn a_hand_over_that_was_cut_anywhere_is_finished_once() {
    for kind in KINDS {
        for steps in 0.. {
            let place = Place::new(kind);
            let (journal, store) = (place.journal(), place.store.clone());
            let keys = Keys::new(1, None);
            one_more(&journal, &store, &keys).await.unwrap();
            *keys.next.lock().unwrap() = Some(key(2));
            let done = crash_after(steps, one_more(&journal, &store, &keys)).await;
            one_more(&journal, &store, &keys).await.unwrap();
            assert_eq!(*keys.current().verifier(), *key(2).verifier());
            let told = journal_events(&journal, RecorderEventKind::KeyChanged);
            assert_eq!(told.len(), 1, "cut at step {steps}");
            let list = store.list("log").await.unwrap();
            let changes: Vec<_> = list.iter().filter(|object| object.name.contains("/key-")).collect();
            assert_eq!(changes.len(), 1, "cut at step {steps}: {changes:?}");
            if done {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_full_tile_holds_the_log_and_is_not_made_of_what_somebody_changed() {
    let place = Place::new(Kind::Folder);
    let (journal, store, keys) = (place.journal(), place.store.clone(), Keys::new(1, None));
    for _ in 0..255 {
        one_more(&journal, &store, &keys).await.unwrap();
    }
    let name = LogObject::Manifest(SegmentNo(7)).name(&node());
    let path = place.dir.path().join("archive").join(&name);
    let manifest = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"{}").unwrap();
    let refused = one_more(&journal, &store, &keys).await.unwrap_err().to_string();
    assert!(refused.contains("log/node-1/tile/0/000 is made of"), "{refused}");
    assert!(conflicts(&journal)[0].contains("log/node-1/tile/0/000 is made of"), "it is on record");
    std::fs::write(&path, &manifest).unwrap();
    one_more(&journal, &store, &keys).await.unwrap();
    let tile = store.get(&LogObject::Tile(Tile { level: 0, index: 0 }).name(&node())).await.unwrap();
    let mut log = Tree::default();
    for no in 1..=256 {
        let manifest = store.get(&LogObject::Manifest(SegmentNo(no)).name(&node())).await.unwrap();
        log.push(merkle::leaf(&manifest));
    }
    assert_eq!(Tile::root(&tile), Some(log.root()));
}

#[tokio::test]
async fn a_journal_from_before_the_log_was_signed_is_not_continued_as_if_it_had_been() {
    let place = Place::new(Kind::Folder);
    let (journal, store) = (place.journal(), place.store.clone());
    let shipped = crate::model::SegmentShipped {
        segment: SegmentNo(4),
        upto: EntrySeq(0),
        manifest_leaf: Sha256::of(b"before"),
        carried: None,
        log: None,
    };
    journal.append(vec![Entry::SegmentShipped(shipped)]).await.unwrap();
    let refused = one_more(&journal, &store, &Keys::new(1, None)).await.unwrap_err().to_string();
    assert!(refused.contains("begin with a new journal"), "{refused}");
}
