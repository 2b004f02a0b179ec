//! Every row exactly once, wherever it is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use bytes::Bytes;

use super::*;
use crate::journal;
use crate::model::{
    CloseReason, Entry, Intent, Outcome, OutcomeStatus, Record, RecorderEvent, RecorderEventKind, Reference,
    SessionClosed, SessionId, Sha256, Timestamp,
};
use crate::seal::checkpoint::Checkpoint;
use crate::seal::log::LogObject;
use crate::seal::merkle::{self, Tree};
use crate::seal::note::{Note, SigningKey, VerifierKey};
use crate::segment::Manifest;
use crate::segment::tests::{node, record, session, texts};
use crate::store::failing::{FailingStore, Fault};
use crate::store::worm::Worm;

#[derive(Debug)]
struct At(i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp(self.0)
    }
}

const NOW: i64 = 1_000_000;

fn journal_in(dir: &Path) -> Journal {
    let dir = dir.join("journal");
    let settings = journal::Settings { dir, max_bytes: 1 << 30, refuse_new_sessions_at: 1 << 29, file_bytes: 4_000 };
    Journal::open(settings, [7; 16].into()).unwrap().journal
}

/// What an archive may be: every scenario runs over each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A folder.
    Folder,
    /// An immutable container.
    Worm,
}

const KINDS: [Kind; 2] = [Kind::Folder, Kind::Worm];

/// Where a scenario plays: a folder for the journal, and an archive.
#[derive(Debug)]
struct Place {
    kind: Kind,
    dir: tempfile::TempDir,
    store: Store,
    worm: Worm,
    /// Between the shipper and the immutable container.
    line: FailingStore,
}

impl Place {
    fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let worm = Worm::default();
        let line = FailingStore::over(Arc::new(worm.clone()));
        let store = match kind {
            Kind::Folder => {
                let url = format!("file://{}/archive", dir.path().display());
                let azure = crate::store::AzureSettings::default();
                Store::open(&crate::store::StoreSettings { url, azure }).unwrap()
            }
            Kind::Worm => Store::over(Arc::new(line.clone())),
        };
        Self { kind, dir, store, worm, line }
    }

    fn each() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(Self::new)
    }

    fn journal(&self) -> Journal {
        journal_in(self.dir.path())
    }

    /// From now on the archive takes nothing, or everything again.
    fn away(&self, away: bool) {
        let in_the_way = self.dir.path().join("archive/log");
        match (self.kind, away) {
            (Kind::Folder, true) => std::fs::write(&in_the_way, b"x").unwrap(),
            (Kind::Folder, false) => std::fs::remove_file(&in_the_way).unwrap(),
            (Kind::Worm, true) => self.line.always(Fault::Refused),
            (Kind::Worm, false) => self.line.always(Fault::None),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Anything else that is forbidden panics where it is tried.
        let twice = self.worm.created().into_iter().find(|(_, times)| *times > 1);
        assert!(std::thread::panicking() || twice.is_none(), "created twice: {twice:?}");
    }
}

fn settings(max_bytes: usize) -> ShipSettings {
    let pause = Duration::from_millis(5);
    let max_age = Duration::from_secs(3_600);
    ShipSettings { max_age, max_bytes, first_pause: pause, longest_pause: pause, ..ShipSettings::default() }
}

/// Keys in memory.
#[derive(Debug)]
struct Keys {
    current: Mutex<Arc<SigningKey>>,
    next: Mutex<Option<Arc<SigningKey>>>,
}

impl Keys {
    fn new(current: u8, next: Option<u8>) -> Arc<Self> {
        Arc::new(Self { current: Mutex::new(key(current)), next: Mutex::new(next.map(key)) })
    }
}

fn key(seed: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pem("hansard/node-1", &SigningKey::new_pem(&[seed; 32])).unwrap())
}

impl KeyRing for Keys {
    fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.current.lock().unwrap())
    }

    fn next(&self) -> std::io::Result<Option<Arc<SigningKey>>> {
        Ok(self.next.lock().unwrap().clone())
    }

    fn promote(&self) -> std::io::Result<()> {
        *self.current.lock().unwrap() = self.next.lock().unwrap().take().unwrap();
        Ok(())
    }
}

fn shipper(journal: &Journal, store: &Store, max_bytes: usize) -> Shipper {
    shipper_with(journal, store, Keys::new(1, None), settings(max_bytes))
}

fn shipper_with(journal: &Journal, store: &Store, keys: Arc<Keys>, settings: ShipSettings) -> Shipper {
    let (journal, store) = (journal.clone(), store.clone());
    Shipper::new(Parts { journal, store, node: node(), keys, clock: Arc::new(At(NOW)) }, settings)
}

/// Runs a shipper until all that is flushed is shipped.
async fn finish(journal: &Journal, store: &Store, max_bytes: usize) {
    let shipper = shipper(journal, store, max_bytes);
    let handle = shipper.handle();
    tokio::select! {
        ended = shipper.run(CancellationToken::new()) => panic!("{ended:?}"),
        finished = handle.finish() => finished.unwrap(),
    }
}

fn opened(number: u64) -> Entry {
    Entry::SessionOpened(Box::new(session(number).as_ref().clone()))
}

fn closed(number: u64) -> Entry {
    Entry::SessionClosed(SessionClosed {
        session: SessionId::from_bits(number),
        closed: Timestamp(9),
        reason: CloseReason::ClientGone,
        detail: None,
        statements: 1,
        bytes_in: 1,
        bytes_out: 1,
        server_version: None,
    })
}

fn intent(session: u64, number: u64) -> Entry {
    let Record { intent, .. } = record(number, 7, "select 1".into());
    let reference = Reference { session: SessionId::from_bits(session), statement: number };
    Entry::Intent(Arc::new(Intent { reference, ..intent.as_ref().clone() }))
}

fn outcome(session: u64, number: u64) -> Entry {
    let reference = Reference { session: SessionId::from_bits(session), statement: number };
    Entry::Outcome(Box::new(Outcome::bare(reference, Timestamp(8), OutcomeStatus::Ok)))
}

fn event(kind: RecorderEventKind) -> Entry {
    event_saying(kind, String::new())
}

fn event_saying(kind: RecorderEventKind, detail: String) -> Entry {
    Entry::Event(RecorderEvent::new(Timestamp(1), node(), kind, detail))
}

/// A run with one statement (session 1) open from the start to the end, and twenty that end.
fn story() -> Vec<Entry> {
    let mut story = vec![event(RecorderEventKind::Started), opened(1), intent(1, 1), opened(2)];
    for number in 1..=20 {
        story.extend([intent(2, number), outcome(2, number)]);
    }
    story.extend([closed(2), outcome(1, 1), closed(1)]);
    story
}

/// What the journal says of contradictions in the archive.
fn conflicts(journal: &Journal) -> Vec<String> {
    let mut reader = journal.reader();
    let mut found = Vec::new();
    while let Some(numbered) = reader.next(journal_end(journal)).unwrap() {
        match numbered.entry {
            Entry::Event(event) if event.kind == RecorderEventKind::ArchiveConflict => found.push(event.detail),
            _ => {}
        }
    }
    found
}

fn references(session: u64, numbers: impl Iterator<Item = u64>) -> Vec<String> {
    numbers.map(|statement| Reference { session: SessionId::from_bits(session), statement }.to_string()).collect()
}

#[derive(Debug, Default, PartialEq)]
struct Archive {
    parquet: BTreeMap<String, Bytes>,
    manifests: Vec<Manifest>,
    /// The root at each size that a checkpoint is of.
    checkpoints: BTreeMap<u64, Sha256>,
    keys: Vec<VerifierKey>,
}

impl Archive {
    /// Reads all; checks that the manifests are a gapless chain that names exactly the files that are there, and that each
    /// has its checkpoint.
    async fn of(store: &Store) -> Self {
        Self::signed_by(store, &[1]).await
    }

    /// The same of an archive whose checkpoints are signed by any of these keys.
    async fn signed_by(store: &Store, seeds: &[u8]) -> Self {
        let keys = seeds.iter().map(|seed| key(*seed).verifier().clone()).collect();
        let mut archive = Self { keys, ..Self::default() };
        let (mut previous, mut upto) = (None, 0);
        let (mut log, mut roots) = (Tree::default(), BTreeMap::new());
        for object in store.list("").await.unwrap() {
            let bytes = store.get(&object.name).await.unwrap();
            if let Some((_, LogObject::Checkpoint(size, _))) = LogObject::read(&object.name) {
                let note = Note::read(&bytes).unwrap();
                let checkpoint = Checkpoint::verified(&note, &archive.keys).unwrap();
                archive.checkpoints.insert(size, checkpoint.head.root);
            } else if let Some((_, LogObject::Stamp(..))) = LogObject::read(&object.name) {
                // What anchors the checkpoints is held against them by its own tests.
            } else if object.name.starts_with("log/") {
                let manifest = Manifest::read(&bytes).unwrap();
                assert_eq!(manifest.segment.0, archive.manifests.len() as u64 + 1);
                assert_eq!(manifest.previous_leaf, previous);
                assert_eq!(manifest.first_entry.0, upto + 1);
                previous = Some(merkle::leaf(&bytes).to_string());
                log.push(merkle::leaf(&bytes));
                roots.insert(log.size(), log.root());
                upto = manifest.last_entry.0;
                archive.manifests.push(manifest);
            } else {
                archive.parquet.insert(object.name, bytes);
            }
        }
        assert_eq!(archive.checkpoints, roots, "each segment's checkpoint is that of the log as it was");
        let mut named: Vec<_> = archive.manifests.iter().flat_map(|manifest| &manifest.files).collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        let named: Vec<_> = named.iter().map(|file| (file.name.as_str(), file.sha256.clone())).collect();
        let there: Vec<_> = archive
            .parquet
            .iter()
            .map(|(name, bytes)| (name.as_str(), crate::model::Sha256::of(bytes).to_string()))
            .collect();
        assert_eq!(named, there);
        archive
    }

    fn column(&self, dataset: &str, column: &str) -> Vec<String> {
        let files = self.parquet.iter().filter(|(name, _)| name.starts_with(dataset));
        let mut values: Vec<String> = files.flat_map(|(_, bytes)| texts(bytes, column)).collect();
        values.sort();
        values
    }

    fn assert_tells_the_story(&self) {
        let mut wanted = references(2, 1..=20);
        wanted.extend(references(1, 1..=1));
        wanted.sort();
        assert_eq!(self.column("statements", "reference"), wanted);
        let sessions = [SessionId::from_bits(1).to_string(), SessionId::from_bits(2).to_string()];
        assert_eq!(self.column("sessions", "session_id"), sessions);
        assert_eq!(self.column("events", "kind"), ["started"]);
    }
}

#[tokio::test]
async fn every_row_is_shipped_once_and_the_manifests_are_a_chain() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        for entry in story() {
            journal.append(vec![entry]).await.unwrap();
        }
        finish(&journal, &store, 6_000).await;
        let archive = Archive::of(&store).await;
        archive.assert_tells_the_story();
        assert!(archive.manifests.len() > 2, "{} segments", archive.manifests.len());
        finish(&journal, &store, 6_000).await;
        assert_eq!(Archive::of(&store).await, archive, "a second run ships nothing");
        assert!(journal.oldest_file_ends_before().is_none_or(|next| next > EntrySeq(10)), "files were freed");
    }
}

/// Polls a future `steps` times more than once and drops it: a crash between two steps.
async fn crash_after<F: Future>(steps: usize, future: F) -> bool {
    let mut future = pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_crash_between_any_two_steps_changes_nothing_in_the_archive() {
    for kind in KINDS {
        let mut reference: Option<Archive> = None;
        let mut steps = 0;
        loop {
            let place = Place::new(kind);
            let (journal, store) = (place.journal(), place.store.clone());
            for entry in story() {
                journal.append(vec![entry]).await.unwrap();
            }
            let done = crash_after(steps, finish(&journal, &store, 6_000)).await;
            journal.close().await;
            let journal = place.journal();
            finish(&journal, &store, 6_000).await;
            let archive = Archive::of(&store).await;
            archive.assert_tells_the_story();
            let first =
                reference.get_or_insert_with(|| Archive { parquet: archive.parquet.clone(), ..Archive::default() });
            assert_eq!(first.parquet.keys().collect::<Vec<_>>(), archive.parquet.keys().collect::<Vec<_>>());
            assert_eq!(first.parquet, archive.parquet, "same names and bytes after a crash at step {steps}");
            journal.close().await;
            if done {
                break;
            }
            steps += 1;
        }
        assert!(steps > 20, "{steps} steps only");
    }
}

#[tokio::test]
async fn crashes_without_end_still_ship_each_row_once() {
    for place in Place::each() {
        let store = place.store.clone();
        for (at, entry) in story().into_iter().enumerate() {
            let journal = place.journal();
            journal.append(vec![entry]).await.unwrap();
            crash_after(at % 17, finish(&journal, &store, 3_000)).await;
            journal.close().await;
        }
        let journal = place.journal();
        finish(&journal, &store, 3_000).await;
        Archive::of(&store).await.assert_tells_the_story();
        let open = tokio::task::spawn_blocking(move || open_at_crash(&journal)).await.unwrap().unwrap();
        assert_eq!((open.sessions, open.statements), (vec![], vec![]));
    }
}

#[tokio::test]
async fn what_is_open_survives_the_freeing_of_its_file_and_what_ended_does_not_come_back() {
    for place in Place::each() {
        let store = place.store.clone();
        let mut journal = place.journal();
        journal.append(vec![opened(1), intent(1, 1), opened(2), intent(2, 1)]).await.unwrap();
        for number in 2..30 {
            journal.append(vec![intent(1, number), outcome(1, number)]).await.unwrap();
            if number == 15 {
                // Session 2 ends after it was carried, and its end is freed before what was carried is.
                journal.append(vec![outcome(2, 1), closed(2)]).await.unwrap();
            }
            finish(&journal, &store, 1 << 20).await;
            if number % 4 == 0 {
                journal.close().await;
                journal = place.journal();
            }
            let asked = journal.clone();
            let open = tokio::task::spawn_blocking(move || open_at_crash(&asked)).await.unwrap().unwrap();
            let mut wanted = vec![session(1)];
            wanted.extend((number < 15).then(|| session(2)));
            let sessions: Vec<_> = open.sessions.iter().map(|open| Arc::clone(&open.session)).collect();
            assert_eq!(sessions, wanted, "after statement {number}");
            assert_eq!(open.statements.len(), wanted.len());
            assert!(!open.clean);
        }
        assert!(
            journal.reader().next(journal_end(&journal)).unwrap().unwrap().seq > EntrySeq(4),
            "the first file was freed"
        );
        journal.append(vec![outcome(1, 1), closed(1)]).await.unwrap();
        finish(&journal, &store, 1 << 20).await;
        let archive = Archive::of(&store).await;
        let mut wanted = references(1, 1..30);
        wanted.extend(references(2, 1..=1));
        wanted.sort();
        assert_eq!(archive.column("statements", "reference"), wanted);
        assert_eq!(archive.column("sessions", "subject"), ["maria", "maria"]);
        assert_eq!(archive.column("events", "kind"), Vec::<String>::new());
    }
}

fn journal_end(journal: &Journal) -> EntrySeq {
    *journal.flushed().borrow()
}

#[tokio::test]
async fn an_archive_that_is_away_is_waited_for_and_nothing_is_freed() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        journal.append(story()).await.unwrap();
        journal.append(vec![event(RecorderEventKind::CancelRequested)]).await.unwrap();
        place.away(true);
        let shipper = shipper(&journal, &store, 1 << 20);
        let handle = shipper.handle();
        let mut status = handle.status();
        let stop = CancellationToken::new();
        let running = tokio::spawn(shipper.run(stop.clone()));
        let finishing = tokio::spawn(async move { handle.finish().await });
        let failing = status.wait_for(|status| status.failing.is_some()).await.unwrap().clone();
        let file = if place.kind == Kind::Folder { "manifest-000000000001.json" } else { "connection refused" };
        assert!(failing.failing.as_ref().unwrap().contains(file), "{failing:?}");
        assert_eq!(failing.shipped, None);
        assert!(failing.surveyed && failing.upload_failures > 0);
        assert_eq!((failing.segments_sealed, failing.segments_shipped), (1, 0));
        // The first row is that of the event that begins the story.
        assert_eq!(failing.oldest, Some(Timestamp(1)));
        let waited = Duration::from_micros(u64::try_from(NOW - 1).unwrap());
        assert_eq!((failing.seal_delays.counts[0], failing.seal_delays.total), (1, waited));
        assert_eq!(journal.reader().next(EntrySeq(1)).unwrap().unwrap().seq, EntrySeq(1));
        assert!(!finishing.is_finished());
        place.away(false);
        finishing.await.unwrap().unwrap();
        assert_eq!(status.borrow().shipped, Some(SegmentNo(1)));
        assert_eq!(status.borrow().failing, None);
        assert_eq!((status.borrow().segments_sealed, status.borrow().segments_shipped), (1, 1));
        assert_eq!(status.borrow().oldest, None);
        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(Archive::of(&store).await.column("statements", "reference").len(), 21);
    }
}

#[tokio::test]
async fn rows_that_waited_long_enough_are_shipped_without_being_asked_for() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        journal.append(vec![event(RecorderEventKind::Started)]).await.unwrap();
        for (max_age, shipped) in [(Duration::from_secs(2), None), (Duration::from_millis(900), Some(SegmentNo(1)))] {
            let settings = ShipSettings { max_age, ..settings(1 << 20) };
            let shipper = shipper_with(&journal, &store, Keys::new(1, None), settings);
            let status = shipper.handle().status();
            let ran = tokio::time::timeout(Duration::from_millis(500), shipper.run(CancellationToken::new())).await;
            assert!(ran.is_err(), "it runs on");
            assert_eq!(status.borrow().shipped, shipped);
        }
    }
}

#[tokio::test]
async fn what_a_crash_left_open_is_ended_as_unknown() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        let find = |journal: &Journal| {
            let journal = journal.clone();
            async move { tokio::task::spawn_blocking(move || open_at_crash(&journal)).await.unwrap().unwrap() }
        };
        assert_eq!(find(&journal).await, OpenAtCrash { clean: true, ..OpenAtCrash::default() });
        let run = vec![event(RecorderEventKind::Started), opened(1), intent(1, 1), outcome(1, 1), intent(1, 2)];
        journal.append(run).await.unwrap();
        let open = find(&journal).await;
        assert!(!open.clean);
        assert_eq!(open.statements, [Reference { session: SessionId::from_bits(1), statement: 2 }]);
        assert_eq!(open.sessions[0].statements, 2);
        assert_eq!(open.sessions[0].server_version.as_deref(), Some("15.18"));
        let endings = open.endings(Timestamp(99));
        assert!(
            matches!(endings[..], [Entry::Outcome(_), Entry::SessionClosed(_)]),
            "outcomes before their session's end"
        );
        journal.append(endings).await.unwrap();
        journal.append(vec![event(RecorderEventKind::Stopped)]).await.unwrap();
        finish(&journal, &store, 1 << 20).await;
        let found = find(&journal).await;
        assert_eq!((found.sessions, found.statements, found.clean), (vec![], vec![], true));
        assert_eq!(found.signed_by, Some(key(1).verifier().to_string()));
        assert_eq!(found.last_time, Some(Timestamp(NOW)), "the end of the segment");
        let archive = Archive::of(&store).await;
        assert_eq!(archive.column("statements", "status"), ["ok", "unknown"]);
        assert_eq!(archive.column("sessions", "reason"), ["recorder_died"]);
    }
}

#[tokio::test]
async fn an_end_without_a_beginning_is_kept_as_an_event() {
    for place in Place::each() {
        let (journal, store) = (place.journal(), place.store.clone());
        journal.append(vec![outcome(1, 1), closed(1), intent(3, 1), outcome(3, 1)]).await.unwrap();
        finish(&journal, &store, 1 << 20).await;
        let archive = Archive::of(&store).await;
        assert_eq!(archive.column("events", "kind"), ["unmatched_close", "unmatched_outcome", "unmatched_outcome"]);
    }
}

#[tokio::test]
async fn the_word_that_the_recorder_stopped_is_not_freed_before_the_next_start_has_seen_it() {
    // So many words and paddings that in some runs the last word ends its file, and all of that file could go.
    for words in 1..40 {
        for place in Place::each() {
            let (journal, store) = (place.journal(), place.store.clone());
            for entry in story() {
                journal.append(vec![entry]).await.unwrap();
            }
            let padding = event_saying(RecorderEventKind::Started, "x".repeat(words * 11));
            journal.append(vec![padding]).await.unwrap();
            for _ in 0..words {
                journal.append(vec![event(RecorderEventKind::Stopped)]).await.unwrap();
            }
            finish(&journal, &store, 1 << 20).await;
            journal.close().await;
            let journal = place.journal();
            let asked = journal.clone();
            let found = tokio::task::spawn_blocking(move || open_at_crash(&asked)).await.unwrap().unwrap();
            assert!(found.clean, "after {words} words");
            journal.append(vec![event(RecorderEventKind::Started)]).await.unwrap();
            finish(&journal, &store, 1 << 20).await;
            let oldest = journal.reader().next(journal_end(&journal)).unwrap().unwrap().seq;
            assert!(oldest > EntrySeq(1), "then it is freed, after {words} words");
        }
    }
}

mod anchoring;
mod away;
mod signing;
mod there;
