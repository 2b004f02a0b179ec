//! A recorder's life: open the journal, settle what the last run left open, ship; and at the end, stop in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::journal::{Damage, Journal, JournalError, Opened, Settings};
use crate::model::{Clock, Entry, NodeName, RecorderEvent, RecorderEventKind};
use crate::ship::{ShipError, ShipHandle, ShipSettings, Shipper, open_at_crash};
use crate::store::Store;

/// How long a clean stop waits for the archive. What is not shipped by then is shipped at the next start.
const LAST_SHIPMENT_LIMIT: Duration = Duration::from_secs(30);

/// A journal and what ships it.
pub(super) struct Recorder {
    pub(super) journal: Journal,
    pub(super) ship: ShipHandle,
    node: NodeName,
    clock: Arc<dyn Clock>,
    shipping: JoinHandle<Result<(), ShipError>>,
    stop: CancellationToken,
}

/// What a recorder needs.
pub(super) struct Needs {
    pub(super) journal: Settings,
    pub(super) store: Store,
    pub(super) ship: ShipSettings,
    pub(super) node: NodeName,
    pub(super) clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Opens the journal, ends what the last run left open, says that a recorder started, and begins to ship.
    ///
    /// # Errors
    ///
    /// The journal cannot be opened or written.
    pub(super) async fn start(needs: Needs) -> Result<Self, JournalError> {
        let Needs { journal: settings, store, ship, node, clock } = needs;
        let opened = tokio::task::block_in_place(|| Journal::open(settings))?;
        let Opened { journal, damage, last } = opened;
        let left = tokio::task::block_in_place(|| open_at_crash(&journal))?;
        let now = clock.now();
        let event = |kind, detail: String| {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            Entry::Event(RecorderEvent { time: now, node: node.clone(), kind, detail, version })
        };
        let mut entries: Vec<Entry> =
            damage.iter().map(|damage| event(RecorderEventKind::JournalTailCut, said_of(damage))).collect();
        if !left.clean {
            let (sessions, statements) = (left.sessions.len(), left.statements.len());
            let detail = format!(
                "the last run was not stopped; open sessions: {sessions}, statements with unknown end: {statements}"
            );
            tracing::warn!(sessions, statements, "the last run was not stopped; what it left open is recorded as such");
            entries.push(event(RecorderEventKind::Recovered, detail));
        }
        entries.extend(left.endings(now));
        entries.push(event(RecorderEventKind::Started, format!("the journal's last entry was {}", last.0)));
        journal.append(entries).await?;
        let shipper = Shipper::new(journal.clone(), store, node.clone(), ship, Arc::clone(&clock));
        let handle = shipper.handle();
        let stop = CancellationToken::new();
        let shipping = tokio::spawn(shipper.run(stop.clone()));
        Ok(Self { journal, ship: handle, node, clock, shipping, stop })
    }

    /// Says that the recorder stops, ships what there is, and closes the journal. All sessions have ended before.
    pub(super) async fn stop(self) {
        let event = Entry::Event(RecorderEvent {
            time: self.clock.now(),
            node: self.node,
            kind: RecorderEventKind::Stopped,
            detail: "stopped on purpose".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        if let Err(error) = self.journal.append(vec![event]).await {
            tracing::error!(%error, "the stop could not be recorded");
        }
        match tokio::time::timeout(LAST_SHIPMENT_LIMIT, self.ship.finish()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "not everything was shipped; the journal keeps it"),
            Err(_elapsed) => tracing::warn!("the archive did not take everything in time; the journal keeps it"),
        }
        self.stop.cancel();
        if let Err(error) = self.shipping.await {
            tracing::error!(%error, "shipping ended badly");
        }
        self.journal.close().await;
    }
}

fn said_of(damage: &Damage) -> String {
    let Damage { file, offset, missing } = damage;
    format!("{file}: from offset {offset} on, what was written is damaged; entries missing for certain: {missing}")
}
