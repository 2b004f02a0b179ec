//! Checkpoints anchored beyond us: copied to a place in other hands, and stamped by an authority that is not us.
//!
//! What it promises:
//!
//! * Shipping never waits for it. It follows the newest checkpoint: one that is still to be dealt with when the next is
//!   there is passed over, and nothing is lost by that, for a checkpoint covers everything before it. So what it holds is
//!   one checkpoint and one stamp, however long the others are away.
//! * It never gives up. What fails is tried again, after pauses that grow, with whatever is the newest by then.
//! * A copy has the name and the bytes of what is in the archive. Another content in its place is an alarm: said loudly,
//!   put on record, and later checkpoints are copied all the same.
//! * There is a stamp at the beginning of each run, then at the pace that was asked for while there are new checkpoints,
//!   and at its end. It lies beside its checkpoint, in the archive and in the copy. One that is there already, whoever
//!   put it there, is enough.
//! * When shipping has ended, the last checkpoint is dealt with at once, and then this ends too; whoever waits for that
//!   says how long.
//!
//! Rejected: a queue of checkpoints (it grows while others are away, and proves nothing that the newest does not);
//! anchoring as a step of shipping (then a free service in other hands decides whether the journal is freed).

mod copying;
mod stamping;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::work::Pause;
use super::{ShipStatus, Signed};
use crate::anchor::{AnchorError, TimestampAuthority};
use crate::journal::Journal;
use crate::model::{Clock, Ids, NodeName, Sha256};
use crate::store::{Store, StoreError, StoreSettings};
use copying::{Copier, Record};
use stamping::Stamper;

/// Who stamps: a [`TimestampAuthority`], or a test's own.
#[async_trait]
pub trait Authority: Send + Sync + fmt::Debug {
    /// A timestamp of `digest`, checked, to be kept as it is. `nonce` is a number that nobody can guess.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]. It is asked again later.
    async fn stamp(&self, digest: Sha256, nonce: u64) -> Result<Vec<u8>, AnchorError>;
}

#[async_trait]
impl Authority for TimestampAuthority {
    async fn stamp(&self, digest: Sha256, nonce: u64) -> Result<Vec<u8>, AnchorError> {
        Self::stamp(self, digest, nonce).await
    }
}

/// What checkpoints are anchored by; what is absent is not done.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    /// Where they are copied to.
    pub copy: Option<Elsewhere>,
    /// How they are stamped.
    pub stamps: Option<Stamps>,
}

/// A place in other hands.
#[derive(Debug, Clone)]
pub enum Elsewhere {
    /// It is opened when it is needed, for as long as that takes: whether it is there is no reason not to start.
    Settings(StoreSettings),
    /// It is open.
    Store(Store),
}

/// How checkpoints are stamped.
#[derive(Debug, Clone)]
pub struct Stamps {
    /// By whom.
    pub authority: Arc<dyn Authority>,
    /// How often, while there are new ones.
    pub every: Duration,
    /// Where nonces come from.
    pub ids: Arc<dyn Ids>,
}

/// How patiently it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// The pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// The longest pause between two tries.
    pub longest_pause: Duration,
    /// An answer that takes longer is told as a failure. It is waited for all the same: to a folder that hangs, another
    /// try would hold another thread, until shipping has none.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            answer: Duration::from_secs(60),
        }
    }
}

/// What anchoring works with.
#[derive(Debug)]
pub struct AnchoringParts {
    /// What is to be done.
    pub anchors: Anchors,
    /// How patiently.
    pub patience: Patience,
    /// Whose checkpoints: [`super::ShipHandle::status`].
    pub ship: watch::Receiver<ShipStatus>,
    /// The archive, for the stamps.
    pub store: Store,
    /// Where contradictions are put on record.
    pub journal: Journal,
    /// What is on record of them already: [`super::OpenAtCrash::conflicts`].
    pub on_record: BTreeSet<String>,
    /// Whose log it is.
    pub node: NodeName,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How far anchoring has come. What is counted is counted since it began to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnchorStatus {
    /// Copying, if there is a place to copy to.
    pub copied: Option<Progress>,
    /// Stamping, if there is an authority to ask.
    pub stamped: Option<Progress>,
    /// Checkpoints that stood in the place of copies with another content.
    pub conflicts: u64,
}

/// How far one half has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The size of the log at the last checkpoint that it was done for; absent before the first of this run.
    pub size: Option<u64>,
    /// Tries that failed.
    pub failures: u64,
    /// What it fails on at the moment; it is tried again.
    pub failing: Option<String>,
}

impl Progress {
    fn done(&mut self, size: u64) {
        (self.size, self.failing) = (Some(size), None);
    }

    fn failed(&mut self, problem: &dyn fmt::Display) {
        self.failures += 1;
        self.failing = Some(problem.to_string());
    }
}

/// Anchors the checkpoints of one shipper.
#[derive(Debug)]
pub struct Anchoring {
    copier: Option<Copier>,
    stamper: Option<Stamper>,
    status: watch::Receiver<AnchorStatus>,
}

impl Anchoring {
    /// Made of these; nothing is done yet.
    pub fn new(parts: AnchoringParts) -> Self {
        let AnchoringParts { anchors, patience, ship, store, journal, on_record, node, clock } = parts;
        let Anchors { copy, stamps } = anchors;
        let progress = |wanted: bool| wanted.then(Progress::default);
        let (copied, stamped) = (progress(copy.is_some()), progress(stamps.is_some()));
        let (report, status) = watch::channel(AnchorStatus { copied, stamped, conflicts: 0 });
        let (made, stamped) = watch::channel(None);
        let line = Line { ship, ended: false, patience, report };
        let stamper = stamps.map(|stamps| Stamper::new(line.clone(), stamps, store, made));
        let record = Record { journal, said: on_record, node, clock };
        let copier = copy.map(|copy| Copier::new(line, copy, stamped, record));
        Self { copier, stamper, status }
    }

    /// How far it has come, as it advances.
    pub fn status(&self) -> watch::Receiver<AnchorStatus> {
        self.status.clone()
    }

    /// Anchors until shipping has ended and its last checkpoint is dealt with, however long that takes. Being dropped at
    /// any moment is as good as a crash: the next run begins with the last checkpoint of this one.
    pub async fn run(self) {
        let copying = async {
            if let Some(copier) = self.copier {
                copier.run().await;
            }
        };
        let stamping = async {
            if let Some(stamper) = self.stamper {
                stamper.run().await;
            }
        };
        tokio::join!(copying, stamping);
    }
}

/// Why one try came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AnchorError),
    #[error("there was no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// A panic, or the runtime ends.
    #[error("it could not be opened")]
    Unopened,
}

/// The line from the shipper: its newest checkpoint, and whether there will be another.
#[derive(Debug, Clone)]
struct Line {
    ship: watch::Receiver<ShipStatus>,
    /// Whether shipping has ended.
    ended: bool,
    patience: Patience,
    report: watch::Sender<AnchorStatus>,
}

impl Line {
    /// The newest checkpoint, if it is another than `done`.
    fn newest(&mut self, done: Option<&str>) -> Option<Signed> {
        let status = self.ship.borrow_and_update();
        status.signed.as_ref().filter(|signed| done != Some(signed.name.as_str())).cloned()
    }

    /// Waits until there may be another one.
    async fn changed(&mut self) {
        self.ended = self.ship.changed().await.is_err();
    }

    /// Rests, but not beyond the end of shipping: then the last checkpoint is urgent.
    async fn rest(&mut self, until: Instant) {
        let sleep = tokio::time::sleep_until(until);
        if self.ended {
            return sleep.await;
        }
        let ended = async { while self.ship.changed().await.is_ok() {} };
        tokio::select! {
            () = sleep => {}
            () = ended => self.ended = true,
        }
    }

    fn pause(&self) -> Pause {
        Pause::of(self.patience.first_pause, self.patience.longest_pause)
    }

    /// Waits for an answer, and has `tell` say so when that takes long.
    async fn answer<T>(&self, ask: impl Future<Output = T>, tell: impl Fn(&mut AnchorStatus, &Trouble)) -> T {
        let mut ask = std::pin::pin!(ask);
        if let Ok(answer) = tokio::time::timeout(self.patience.answer, &mut ask).await {
            return answer;
        }
        let silent = Trouble::Silent(self.patience.answer);
        tracing::warn!("anchoring: {silent}; it is waited for");
        self.report.send_modify(|status| tell(status, &silent));
        ask.await
    }
}

/// A stamp that is in the archive.
#[derive(Debug, Clone)]
struct Stamp {
    name: String,
    bytes: bytes::Bytes,
}
