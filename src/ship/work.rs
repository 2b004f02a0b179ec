//! The steps of shipping, in the only order that is safe.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::collect::Collector;
use super::log::KeyRing;
use super::recovery::Survey;
use super::worker::Worker;
use super::{Parts, ShipError, ShipSettings, ShipStatus};
use crate::journal::Journal;
use crate::journal::JournalError;
use crate::journal::Reader;
use crate::model::{
    Clock, Entry, EntrySeq, NodeName, RecorderEvent, RecorderEventKind, SegmentCut, SegmentNo, SegmentShipped,
};
use crate::seal::merkle;
use crate::segment::{Context, File, Manifest, Rows, Segment};
use crate::store::{Store, StoreError};

/// A reader and what it has collected; shared with the worker.
#[derive(Debug)]
struct Reading {
    reader: Reader,
    collector: Collector,
}

impl Reading {
    /// Reads on to `upto`, or until the rows take `max_bytes`.
    fn read_on(&mut self, upto: EntrySeq, max_bytes: usize) -> Result<(), JournalError> {
        while self.collector.bytes() < max_bytes {
            match self.reader.next(upto)? {
                Some(numbered) => self.collector.take(numbered),
                None => break,
            }
        }
        Ok(())
    }
}

/// Where shipping stands.
#[derive(Debug)]
pub(super) struct Work {
    journal: Journal,
    pub(super) store: Store,
    pub(super) node: NodeName,
    pub(super) keys: Arc<dyn KeyRing>,
    pub(super) settings: ShipSettings,
    pub(super) clock: Arc<dyn Clock>,
    status: watch::Sender<ShipStatus>,
    pub(super) worker: Worker,
    reading: Arc<Mutex<Reading>>,
    /// Cuts of the last run that were not confirmed.
    cuts: VecDeque<SegmentCut>,
    pub(super) shipped: Option<SegmentShipped>,
    /// What earlier runs said of contradictions in the archive.
    conflicts: BTreeSet<String>,
    /// The keys that are on record as having taken over.
    pub(super) taken_over: BTreeSet<String>,
    /// Since when a row waits, by a clock that cannot be set back.
    waiting: Option<Instant>,
}

impl Work {
    pub(super) fn new(parts: Parts, settings: ShipSettings, status: watch::Sender<ShipStatus>) -> Self {
        let Parts { journal, store, node, keys, clock } = parts;
        let reading = Reading { reader: journal.reader(), collector: Collector::default() };
        let reading = Arc::new(Mutex::new(reading));
        Self {
            journal,
            store,
            node,
            keys,
            settings,
            clock,
            status,
            worker: Worker::start(),
            reading,
            cuts: VecDeque::new(),
            shipped: None,
            conflicts: BTreeSet::new(),
            taken_over: BTreeSet::new(),
            waiting: None,
        }
    }

    /// Finds out how far the last run had come.
    pub(super) async fn start(&mut self) -> Result<(), ShipError> {
        let upto = self.flushed();
        let journal = self.journal.clone();
        let mut survey = self.patiently("read the journal", move || Survey::of(&journal, upto)).await?;
        let collector = survey.collector();
        *self.reading() = Reading { reader: self.journal.reader(), collector };
        self.cuts = survey.cuts.into();
        self.conflicts = survey.conflicts;
        self.taken_over = survey.taken_over;
        self.shipped = survey.shipped;
        let (shipped, signed) = (self.shipped.as_ref(), self.last_signed());
        self.report(|status| {
            status.shipped = shipped.map(|shipped| shipped.segment);
            status.shipped_upto = shipped.map_or(EntrySeq(0), |shipped| shipped.upto);
            status.signed = signed;
            status.surveyed = true;
        });
        Ok(())
    }

    /// The last entry on stable storage.
    pub(super) fn flushed(&self) -> EntrySeq {
        *self.journal.flushed().borrow()
    }

    /// Ships what is due, and in any case all rows up to the entry `force`.
    pub(super) async fn advance(&mut self, force: EntrySeq) -> Result<(), ShipError> {
        loop {
            let cut = match self.cuts.front() {
                Some(cut) => {
                    let cut = *cut;
                    self.read_on(cut.upto, usize::MAX).await?;
                    self.report_oldest();
                    cut
                }
                None => {
                    self.read_on(self.flushed(), self.settings.max_bytes).await?;
                    self.report_oldest();
                    if !self.due(force) {
                        return Ok(());
                    }
                    self.cut().await?
                }
            };
            self.ship(cut).await?;
            self.cuts.pop_front();
        }
    }

    /// Says why shipping ended.
    pub(super) fn stopped(&self, error: &ShipError) {
        let contradicted = matches!(error, ShipError::Store(StoreError::Conflict { .. }) | ShipError::Changed { .. });
        self.report(|status| {
            status.stopped = Some(error.to_string());
            status.contradicted = contradicted;
        });
    }

    /// Puts on record that the archive contradicts us, if that is why shipping ended. Once: a restart that finds the same
    /// again adds nothing.
    pub(super) async fn record_conflict(&self, error: &ShipError) {
        let what = match error {
            ShipError::Store(StoreError::Conflict { name }) => {
                format!("the archive holds another content under {name}")
            }
            ShipError::Changed { what } => what.clone(),
            _ => return,
        };
        let detail = format!("{what}; nothing is shipped until this is settled");
        let (now, node) = (self.clock.now(), self.node.clone());
        let event = RecorderEvent::new(now, node, RecorderEventKind::ArchiveConflict, detail);
        if self.conflicts.contains(&event.detail) {
            return;
        }
        if let Err(error) = self.append(|| vec![Entry::Event(event.clone())]).await {
            tracing::error!(%error, "the contradiction could not be recorded");
        }
    }

    fn due(&mut self, force: EntrySeq) -> bool {
        let (first, bytes) = {
            let reading = self.reading();
            (reading.collector.first_row(), reading.collector.bytes())
        };
        let Some((entry, time)) = first else {
            self.waiting = None;
            return false;
        };
        let waited = self.waiting.get_or_insert_with(Instant::now).elapsed();
        // Rows that waited through a restart are as old as they say.
        let age = Duration::from_micros(self.clock.now().micros_since(time)).max(waited);
        entry <= force || bytes >= self.settings.max_bytes || age >= self.settings.max_age
    }

    /// Fixes the end of the segment at what was read.
    async fn cut(&self) -> Result<SegmentCut, ShipError> {
        let segment = SegmentNo(self.shipped.as_ref().map_or(0, |shipped| shipped.segment.0) + 1);
        let (upto, first) = {
            let reading = self.reading();
            (reading.collector.position(), reading.collector.first_row())
        };
        let heartbeat_seconds = self.settings.heartbeat.as_secs();
        let cut = SegmentCut { segment, upto, time: self.clock.now(), heartbeat_seconds };
        self.append(|| vec![Entry::SegmentCut(cut)]).await?;
        let delay = first.map_or(0, |(_, time)| cut.time.micros_since(time));
        self.report(|status| {
            status.segments_sealed += 1;
            status.seal_delays.count(Duration::from_micros(delay));
        });
        Ok(cut)
    }

    /// Builds, puts, confirms and frees.
    async fn ship(&mut self, cut: SegmentCut) -> Result<(), ShipError> {
        self.hand_over().await?;
        let (context, rows) = self.seal(cut);
        self.waiting = None;
        let count = rows.len();
        let (files, manifest) = self.build(context, rows).await?;
        let stored = self.put_files(files).await?;
        let manifest_leaf = merkle::leaf(&self.put_manifest(&manifest.with_files(&stored)).await?);
        drop(stored);
        let log = self.sign(cut.segment, manifest_leaf).await?;
        let carried = self.to_carry(cut.upto);
        let freeing = carried.is_some();
        let shipped = SegmentShipped {
            segment: cut.segment,
            upto: cut.upto,
            manifest_leaf,
            carried: carried.as_ref().map(|entries| entries.len() as u64),
            log: Some(log),
        };
        let carried = carried.unwrap_or_default();
        // One append, so that what is carried stands directly before the entry that counts it.
        self.append(|| carried.iter().cloned().chain([Entry::SegmentShipped(shipped.clone())]).collect()).await?;
        self.shipped = Some(shipped);
        self.report(|status| {
            status.shipped = Some(cut.segment);
            status.shipped_upto = cut.upto;
            status.segments_shipped += 1;
            status.oldest = None;
        });
        tracing::info!(segment = cut.segment.0, rows = count, upto = cut.upto.0, "segment shipped");
        if freeing {
            self.free(cut.upto).await?;
        }
        Ok(())
    }

    /// Takes the rows of the segment, and what its manifest says beside them.
    fn seal(&self, cut: SegmentCut) -> (Context, Rows) {
        let mut reading = self.reading();
        let collector = &mut reading.collector;
        let before = self.shipped.as_ref();
        let context = Context {
            cut,
            first_entry: EntrySeq(before.map_or(0, |shipped| shipped.upto.0) + 1),
            previous: before.map(|shipped| shipped.manifest_leaf),
            open_sessions: collector.open_sessions().count() as u64,
            stops: collector.stopping(),
        };
        (context, collector.seal())
    }

    async fn build(&self, context: Context, rows: Rows) -> Result<(Vec<File>, Manifest), ShipError> {
        let node = self.node.clone();
        let built = self.worker.run(move || {
            let built = Segment::build(&node, context.cut.segment, context.cut.time, &rows)?;
            let manifest = Manifest::new(&node, &context, &rows, &built);
            Ok((built.files, manifest))
        });
        built.await?
    }

    /// Puts an object, for as long as it takes.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ShipError> {
        self.lasting(|| self.store.put_once(name, bytes.clone())).await.map(|_| ())
    }

    /// Asks the archive, for as long as it takes.
    pub(super) async fn lasting<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, ShipError> {
        let mut pause = Pause::new(&self.settings);
        loop {
            match ask().await {
                Ok(answer) => {
                    self.goes_on();
                    return Ok(answer);
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, again_in = ?pause.0, "the archive did not do what was asked");
                    self.report(|status| {
                        status.failing = Some(error.to_string());
                        status.upload_failures += 1;
                    });
                    pause.wait().await;
                }
                Err(error) => {
                    self.report(|status| status.upload_failures += 1);
                    return Err(error.into());
                }
            }
        }
    }

    /// What must be said again before the files up to `upto` can go; nothing if none can, or if the recorder has said
    /// that it stops: the next start looks for that.
    fn to_carry(&self, upto: EntrySeq) -> Option<Vec<Entry>> {
        let freeable = self.journal.oldest_file_ends_before().is_some_and(|next| next.0 <= upto.0 + 1);
        let reading = self.reading();
        (freeable && !reading.collector.stopping()).then(|| reading.collector.carry())
    }

    async fn free(&self, upto: EntrySeq) -> Result<(), ShipError> {
        match self.journal.free_before(EntrySeq(upto.0 + 1)).await {
            Ok(files) => tracing::debug!(files, "journal files freed"),
            Err(JournalError::Closed) => return Err(JournalError::Closed.into()),
            // They stay readable, and the next segment tries again.
            Err(error) => tracing::warn!(%error, "journal files were not freed"),
        }
        Ok(())
    }

    pub(super) async fn append(&self, entries: impl Fn() -> Vec<Entry>) -> Result<(), ShipError> {
        let mut pause = Pause::new(&self.settings);
        loop {
            match self.journal.append(entries()).await {
                Ok(_) => {
                    self.goes_on();
                    return Ok(());
                }
                Err(error @ (JournalError::Closed | JournalError::TooLong)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, again_in = ?pause.0, "shipping could not be journaled");
                    self.report(|status| status.failing = Some(error.to_string()));
                    pause.wait().await;
                }
            }
        }
    }

    async fn read_on(&self, upto: EntrySeq, max_bytes: usize) -> Result<(), ShipError> {
        let reading = Arc::clone(&self.reading);
        self.patiently("read the journal", move || lock(&reading).read_on(upto, max_bytes)).await
    }

    /// Runs blocking work until the journal lets it.
    async fn patiently<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Fn() -> Result<T, JournalError> + Clone + Send + 'static,
    ) -> Result<T, ShipError> {
        let mut pause = Pause::new(&self.settings);
        loop {
            match self.worker.run(work.clone()).await? {
                Ok(done) => {
                    self.goes_on();
                    return Ok(done);
                }
                Err(error) => {
                    tracing::error!(%error, again_in = ?pause.0, "shipping could not {doing}");
                    self.report(|status| status.failing = Some(error.to_string()));
                    pause.wait().await;
                }
            }
        }
    }

    /// What failed before has succeeded. Nobody is woken up if nothing had failed.
    fn goes_on(&self) {
        self.status.send_if_modified(|status| status.failing.take().is_some());
    }

    /// Since when the oldest row waits that was read. Nobody is woken up if it is the same.
    fn report_oldest(&self) {
        let oldest = self.reading().collector.first_row().map(|(_, time)| time);
        self.status.send_if_modified(|status| std::mem::replace(&mut status.oldest, oldest) != oldest);
    }

    pub(super) fn report(&self, change: impl FnOnce(&mut ShipStatus)) {
        self.status.send_modify(change);
    }

    /// How far reading has come and what its rows take, for a test that watches it from outside.
    #[cfg(test)]
    pub(super) fn gauge(&self) -> impl Fn() -> (EntrySeq, usize) + use<> {
        let reading = Arc::clone(&self.reading);
        move || {
            let reading = lock(&reading);
            (reading.collector.position(), reading.collector.bytes())
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        lock(&self.reading)
    }
}

/// A panic while reading ends shipping (see `patiently`), so what it left behind the lock is not used again.
fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Pause(Duration, Duration);

impl Pause {
    fn new(settings: &ShipSettings) -> Self {
        Self::of(settings.first_pause, settings.longest_pause)
    }

    pub(super) fn of(first: Duration, longest: Duration) -> Self {
        Self(first, longest)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    pub(super) fn next(&mut self) -> Duration {
        let next = self.0.saturating_mul(2).min(self.1);
        std::mem::replace(&mut self.0, next)
    }
}
