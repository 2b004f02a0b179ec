//! Journal → segment → store → freed journal files; the only code that has anything deleted.
//!
//! What it promises: every entry that makes a row reaches exactly one segment, through any crash. How:
//!
//! 1. A segment's end is journaled as a `SegmentCut` *before* it is built, so a repeated build has the same rows, the
//!    same names and the same bytes, and a repeated put finds them there.
//! 2. Files are put once; then the manifest, which names them and repeats the hash of the manifest before; then the
//!    signed checkpoint of the log that the manifest is now the last entry of.
//! 3. Then `SegmentShipped` is journaled, directly behind the sessions and statements that are still open, if there are
//!    files to free. After that a restart needs nothing from before the segment's end, and the files are freed.
//!
//! A row belongs to the segment that holds the entry which completes it: a record to that of its outcome.
//!
//! While the archive is away it tries again for as long as it takes and reads no further, so memory stays bounded by one
//! segment; the journal keeps the rest. What contradicts (another content under our name) stops shipping, loudly, is put
//! on record as an event, once, and loses nothing.
//!
//! Beside it, [`Anchoring`] takes each newest checkpoint to others. Shipping does not know of it.

mod adopt;
mod anchoring;
mod collect;
mod log;
mod recovery;
mod work;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;
use crate::journal::JournalError;
use crate::model::{Clock, EntrySeq, NodeName, SegmentNo, Timestamp};
use crate::segment::SegmentError;
use crate::store::{Store, StoreError};

pub use anchoring::{
    AnchorStatus, Anchoring, AnchoringParts, Anchors, Authority, Elsewhere, Patience, Progress, Stamps,
};
pub use log::{KeyRing, Signed};
pub use recovery::{OpenAtCrash, OpenSession, open_at_crash};
use work::Work;

/// How often the journal is looked at. Following every flush would wake up thousands of times a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Callers of [`ShipHandle::finish`] that may wait; there is one, at a clean stop.
const FINISH_QUEUE: usize = 4;

/// When a segment is sealed, and how patiently it is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipSettings {
    /// A row waits no longer than this for its segment to be sealed.
    pub max_age: Duration,
    /// A segment is sealed when its rows take about so many bytes in memory.
    pub max_bytes: usize,
    /// The pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// The longest pause between two tries.
    pub longest_pause: Duration,
    /// What the recorder promises in every manifest: a row at least this often. Whoever records keeps the promise.
    pub heartbeat: Duration,
}

impl Default for ShipSettings {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(60),
            max_bytes: 64 << 20,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            heartbeat: Duration::from_secs(300),
        }
    }
}

/// How far shipping has come. What is counted is counted since the shipper began to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShipStatus {
    /// Whether the journal was looked through: until then, how far the last run had come is not known.
    pub surveyed: bool,
    /// The last segment that the store confirmed.
    pub shipped: Option<SegmentNo>,
    /// The last entry that it holds.
    pub shipped_upto: EntrySeq,
    /// What shipping fails on at the moment; it tries again.
    pub failing: Option<String>,
    /// Why shipping has stopped for good.
    pub stopped: Option<String>,
    /// Whether it has because the archive holds something else than what was put there.
    pub contradicted: bool,
    /// When the oldest row was made that the store has not confirmed; nothing if there is none.
    pub oldest: Option<Timestamp>,
    /// Segments whose end was fixed.
    pub segments_sealed: u64,
    /// Segments that the store confirmed.
    pub segments_shipped: u64,
    /// Tries to put a file into the store that failed.
    pub upload_failures: u64,
    /// How long the first rows of the sealed segments had waited.
    pub seal_delays: Delays,
    /// The newest checkpoint that is in the archive; absent before the first, and at the beginning of a run whose key is
    /// another than that of the run before.
    pub signed: Option<Signed>,
}

/// Delays, counted by length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delays {
    /// How many were at most as long as the bound of the same place in [`Delays::BOUNDS`] and longer than the one before;
    /// at last, those longer than all bounds.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// All of them together.
    pub total: Duration,
}

impl Delays {
    /// In seconds: around the usual age of a segment finely, and beyond it as far as an archive may be away.
    pub const BOUNDS: [u32; 9] = [1, 5, 15, 30, 60, 90, 300, 3_600, 86_400];

    fn count(&mut self, delay: Duration) {
        let bucket = Self::BOUNDS.iter().position(|bound| delay <= Duration::from_secs((*bound).into()));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(Self::BOUNDS.len())) {
            *count += 1;
        }
        self.total = self.total.saturating_add(delay);
    }
}

/// Why shipping stopped. The journal keeps everything that was not shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The archive contradicts us, or cannot be used as it is set up.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment cannot be built.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The journal is closed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log cannot be signed.
    #[error("the log cannot be signed: {problem}")]
    Signing {
        /// Why.
        problem: String,
    },
    /// The archive has changed behind us.
    #[error("the log cannot go on: {what}")]
    Changed {
        /// What is not as it was put there.
        what: String,
    },
    /// The shipper is not running.
    #[error("shipping has stopped")]
    Gone,
}

/// What a shipper works with.
#[derive(Debug)]
pub struct Parts {
    /// From where.
    pub journal: Journal,
    /// To where.
    pub store: Store,
    /// Whose.
    pub node: NodeName,
    /// What signs the log.
    pub keys: Arc<dyn KeyRing>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Ships the journal's entries. One for each journal.
#[derive(Debug)]
pub struct Shipper {
    work: Work,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    handle: ShipHandle,
}

/// Asks a running [`Shipper`].
#[derive(Debug, Clone)]
pub struct ShipHandle {
    requests: mpsc::Sender<oneshot::Sender<()>>,
    status: watch::Receiver<ShipStatus>,
}

impl ShipHandle {
    /// Ships everything that is flushed now, however little, and returns when the store has it. For a clean stop; with a
    /// time limit of the caller's, because an archive that is away is waited for.
    ///
    /// # Errors
    ///
    /// [`ShipError::Gone`] if shipping has stopped before.
    pub async fn finish(&self) -> Result<(), ShipError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).await.or(Err(ShipError::Gone))?;
        answer.await.or(Err(ShipError::Gone))
    }

    /// How far shipping has come, as it advances.
    pub fn status(&self) -> watch::Receiver<ShipStatus> {
        self.status.clone()
    }
}

impl Shipper {
    /// A shipper of these.
    pub fn new(parts: Parts, settings: ShipSettings) -> Self {
        let (sender, requests) = mpsc::channel(FINISH_QUEUE);
        let (status, watched) = watch::channel(ShipStatus::default());
        let handle = ShipHandle { requests: sender, status: watched };
        Self { work: Work::new(parts, settings, status), requests, handle }
    }

    /// To ask it while it runs.
    pub fn handle(&self) -> ShipHandle {
        self.handle.clone()
    }

    /// Ships until `stop`. Being stopped, or dropped, at any moment is as good as a crash: the next run goes on.
    ///
    /// # Errors
    ///
    /// [`ShipError`]: shipping cannot go on without a person; everything not shipped stays in the journal.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ShipError> {
        let Self { mut work, mut requests, handle } = self;
        // With the last handle outside gone, nobody can ask any more; ours must not keep the channel open.
        drop(handle);
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = serve(&mut work, &mut requests) => ended,
        };
        if let Err(error) = &ended {
            tracing::error!(%error, "shipping has stopped; the journal keeps everything and fills up until this is settled");
            work.stopped(error);
            // Whoever waits for a shipment waits in vain from here on.
            drop(requests);
            tokio::select! {
                () = stop.cancelled() => {}
                () = work.record_conflict(error) => {}
            }
        }
        ended
    }
}

async fn serve(work: &mut Work, requests: &mut mpsc::Receiver<oneshot::Sender<()>>) -> Result<(), ShipError> {
    work.start().await?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => work.advance(EntrySeq(0)).await?,
            Some(reply) = requests.recv() => {
                let target = work.flushed();
                work.advance(target).await?;
                // Whoever asked may have gone; it is shipped all the same.
                reply.send(()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests;
