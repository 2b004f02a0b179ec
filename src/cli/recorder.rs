//! A recorder's life: open the journal, settle what the last run left open, ship, anchor, say that it lives; and at the
//! end, stop in order.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::keyring::{KeyFolder, KeyFolderError};
use super::operator;
use crate::journal::{Damage, Journal, JournalError, Opened, Seed, Settings};
use crate::model::{Clock, Entry, EntrySeq, EventDetails, NodeName, RecorderEvent, RecorderEventKind, Timestamp};
use crate::ship::{
    AnchorStatus, Anchoring, AnchoringParts, Anchors, KeyRing, OpenAtCrash, Parts, Patience, ShipError, ShipHandle,
    ShipSettings, Shipper, open_at_crash,
};
use crate::store::Store;

/// How long a clean stop waits for the archive. What is not shipped by then is shipped at the next start.
const LAST_SHIPMENT_LIMIT: Duration = Duration::from_secs(30);
/// How long a clean stop then waits for the copy of the last checkpoint and the stamp on it. They are no reason to keep
/// anybody waiting: the next start looks for both.
const LAST_ANCHOR_LIMIT: Duration = Duration::from_secs(5);
/// How often notes of reads are looked for.
const LOOK_FOR_READS_EVERY: Duration = Duration::from_secs(1);
/// So many heartbeats' time without one is a gap.
const BEATS_TO_A_GAP: u32 = 2;

/// A journal and what ships it.
pub(super) struct Recorder {
    pub(super) journal: Journal,
    pub(super) ship: ShipHandle,
    pub(super) anchored: watch::Receiver<AnchorStatus>,
    scribe: Scribe,
    living: JoinHandle<()>,
    /// Ends `living`.
    last_breath: CancellationToken,
    shipping: JoinHandle<Result<(), ShipError>>,
    anchoring: JoinHandle<()>,
    stop: CancellationToken,
}

/// What a recorder needs.
pub(super) struct Needs {
    pub(super) journal: Settings,
    pub(super) store: Store,
    pub(super) ship: ShipSettings,
    pub(super) anchors: Anchors,
    /// The folder of the signing keys.
    pub(super) keys: PathBuf,
    /// The version of the rules in force, and how many there are.
    pub(super) policy: (String, usize),
    pub(super) node: NodeName,
    pub(super) clock: Arc<dyn Clock>,
    /// Drawn for this run.
    pub(super) seed: Seed,
}

/// Why a recorder does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Keys(#[from] KeyFolderError),
}

impl Recorder {
    /// Opens the journal, ends what the last run left open, says that a recorder started, and begins to ship.
    ///
    /// # Errors
    ///
    /// The journal cannot be opened or written, or the signing key is not the one that it should be.
    pub(super) async fn start(needs: Needs) -> Result<Self, StartError> {
        let Needs { journal: settings, store, ship, anchors, keys, policy, node, clock, seed } = needs;
        let folder = settings.dir.clone();
        let opened = tokio::task::block_in_place(|| Journal::open(settings, seed))?;
        // Without it reads cannot be put on record; that is told where somebody wants to read.
        if let Err(error) = operator::prepare(&folder) {
            tracing::warn!(%error, "the folder for notes of reads cannot be made");
        }
        let Opened { journal, damage, last } = opened;
        let left = tokio::task::block_in_place(|| open_at_crash(&journal))?;
        let (keys, made) = KeyFolder::of_recorder(&keys, &node, &left)?;
        let key = keys.current().verifier().to_string();
        if made {
            tracing::warn!(key, "a signing key was made; give its verifier key to those who verify");
        }
        let scribe = Scribe { journal: journal.clone(), node: node.clone(), clock: Arc::clone(&clock), folder };
        journal.append(scribe.beginning(&damage, last, &left, &key, policy)).await?;
        let heartbeat = ship.heartbeat;
        let parts = Parts {
            journal: journal.clone(),
            store: store.clone(),
            node: node.clone(),
            keys: Arc::new(keys),
            clock: Arc::clone(&clock),
        };
        let shipper = Shipper::new(parts, ship);
        let handle = shipper.handle();
        let anchoring = Anchoring::new(AnchoringParts {
            anchors,
            patience: Patience::default(),
            ship: handle.status(),
            store,
            journal: journal.clone(),
            on_record: left.conflicts,
            node,
            clock,
        });
        let anchored = anchoring.status();
        let stop = CancellationToken::new();
        let shipping = tokio::spawn(shipper.run(stop.clone()));
        let anchoring = tokio::spawn(anchoring.run());
        let last_breath = CancellationToken::new();
        let living = tokio::spawn(scribe.clone().live(heartbeat, last_breath.clone()));
        Ok(Self { journal, ship: handle, anchored, scribe, living, last_breath, shipping, anchoring, stop })
    }

    /// Says that the recorder stops, ships what there is, anchors the last checkpoint if others let it, and closes the
    /// journal. All sessions have ended before. Nobody else is waited for once `hurry` is cancelled.
    pub(super) async fn stop(mut self, hurry: &CancellationToken) {
        // The word that it stops is the last one.
        self.last_breath.cancel();
        if let Err(error) = self.living.await {
            tracing::error!(%error, "what says that the recorder lives ended badly");
        }
        let stopped = self.scribe.event(RecorderEventKind::Stopped, "stopped on purpose".to_owned());
        if let Err(error) = self.journal.append(vec![Entry::Event(stopped)]).await {
            tracing::error!(%error, "the stop could not be recorded");
        }
        let shipped = tokio::time::timeout(LAST_SHIPMENT_LIMIT, self.ship.finish());
        match hurry.run_until_cancelled(shipped).await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => tracing::error!(%error, "not everything was shipped; the journal keeps it"),
            Some(Err(_elapsed)) => tracing::warn!("the archive did not take everything in time; the journal keeps it"),
            None => tracing::warn!("the archive was not waited for; the journal keeps what it has not got"),
        }
        self.stop.cancel();
        if let Err(error) = self.shipping.await {
            tracing::error!(%error, "shipping ended badly");
        }
        // It ends by itself with the last checkpoint, now that shipping has.
        let anchored = tokio::time::timeout(LAST_ANCHOR_LIMIT, &mut self.anchoring);
        match hurry.run_until_cancelled(anchored).await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => tracing::error!(%error, "anchoring ended badly"),
            Some(Err(_)) | None => {
                self.anchoring.abort();
                tracing::warn!("the last checkpoint could not be anchored in time; the next start tries again");
            }
        }
        self.journal.close().await;
    }
}

/// Writes what happens to the recorder itself.
#[derive(Debug, Clone)]
struct Scribe {
    journal: Journal,
    node: NodeName,
    clock: Arc<dyn Clock>,
    /// The journal's.
    folder: PathBuf,
}

impl Scribe {
    fn event(&self, kind: RecorderEventKind, detail: String) -> RecorderEvent {
        RecorderEvent::new(self.clock.now(), self.node.clone(), kind, detail)
    }

    /// What a start has to say: what was damaged, what the last run left open, that there is a new one, and by which
    /// rules.
    fn beginning(
        &self,
        damage: &[Damage],
        last: EntrySeq,
        left: &OpenAtCrash,
        key: &str,
        (policy, rules): (String, usize),
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = damage
            .iter()
            .map(|damage| {
                let event = self.event(RecorderEventKind::JournalTailCut, said_of(damage));
                let (missing, at_most) = (Some(damage.missing), Some(damage.at_most));
                let more = EventDetails {
                    since: left.last_time,
                    missing,
                    missing_at_most: at_most,
                    ..EventDetails::default()
                };
                Entry::Event(event.with(more))
            })
            .collect();
        if !left.clean {
            let (sessions, statements) = (left.sessions.len(), left.statements.len());
            tracing::warn!(sessions, statements, "the last run was not stopped; what it left open is recorded as such");
            let event = self.event(
                RecorderEventKind::Recovered,
                format!(
                    "the last run was not stopped; open sessions: {sessions}, statements with unknown end: {statements}"
                ),
            );
            // What was forwarded had been flushed before, and what was flushed was found: damage says so itself.
            let more = EventDetails { since: left.last_time, missing_at_most: Some(0), ..EventDetails::default() };
            entries.push(Entry::Event(event.with(more)));
        }
        entries.extend(left.endings(self.clock.now()));
        let started = self.event(RecorderEventKind::Started, format!("the journal's last entry was {}", last.0));
        let more = EventDetails { previous_entry: Some(last), key: Some(key.to_owned()), ..EventDetails::default() };
        entries.push(Entry::Event(started.with(more)));
        let loaded = self.event(RecorderEventKind::PolicyLoaded, format!("rules: {rules}"));
        entries
            .push(Entry::Event(loaded.with(EventDetails { policy_version: Some(policy), ..EventDetails::default() })));
        entries
    }

    /// Says that the recorder lives, and what operators read.
    async fn live(self, heartbeat: Duration, stop: CancellationToken) {
        let ticks = |every| {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut beats, mut looks) = (ticks(heartbeat), ticks(LOOK_FOR_READS_EVERY));
        let mut last = self.clock.now();
        let mut recorded = HashSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beats.tick() => last = self.beat(last, heartbeat).await,
                _ = looks.tick() => self.take_reads(&mut recorded).await,
            }
        }
        self.take_reads(&mut recorded).await;
    }

    /// One heartbeat; and what there is to say if the one before was too long ago.
    async fn beat(&self, last: Timestamp, heartbeat: Duration) -> Timestamp {
        let beat = self.event(RecorderEventKind::Heartbeat, String::new());
        let now = beat.time;
        let silent = Duration::from_micros(now.micros_since(last));
        let mut entries = Vec::new();
        if silent > heartbeat * BEATS_TO_A_GAP {
            let detail = format!(
                "nothing happened for {} s: the machine was suspended or busy, or its clock was moved",
                silent.as_secs()
            );
            // Nothing is forwarded that is not recorded, whatever the clock says.
            let more = EventDetails {
                since: Some(last),
                missing: Some(0),
                missing_at_most: Some(0),
                ..EventDetails::default()
            };
            entries.push(Entry::Event(self.event(RecorderEventKind::Gap, detail).with(more)));
        }
        entries.push(Entry::Event(beat));
        if let Err(error) = self.journal.append(entries).await {
            tracing::error!(%error, "that the recorder lives could not be recorded");
            return last;
        }
        now
    }

    /// Makes events of the notes that readers of the archive left. `recorded` are those that could not be removed: one
    /// read is not to be on record every second.
    async fn take_reads(&self, recorded: &mut HashSet<PathBuf>) {
        let (folder, node) = (self.folder.clone(), self.node.clone());
        let waiting = tokio::task::spawn_blocking(move || operator::waiting(&folder, &node)).await;
        let waiting = match waiting {
            Ok(Ok(waiting)) => waiting,
            Ok(Err(error)) => return tracing::error!(%error, "notes of reads cannot be read"),
            // The runtime ends.
            Err(_) => return,
        };
        for noted in waiting.iter().filter(|noted| !recorded.contains(&noted.path)).collect::<Vec<_>>() {
            if let Err(error) = self.journal.append(vec![Entry::Event(noted.event.clone())]).await {
                return tracing::error!(%error, "a read of the archive could not be recorded; its note stays");
            }
            if let Err(error) = noted.settle() {
                tracing::error!(%error, "the note of a read cannot be removed; it is on record, once for each start");
                recorded.insert(noted.path.clone());
            }
        }
    }
}

fn said_of(damage: &Damage) -> String {
    let Damage { file, offset, missing, at_most } = damage;
    format!(
        "{file}: from offset {offset} on, what was written is damaged; entries missing for certain: {missing}, \
         statements missing at most: {at_most}"
    )
}
