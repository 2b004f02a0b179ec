//! Entries, in order → rows since the last cut, and what is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    Entry, EntrySeq, Intent, Numbered, Outcome, Param, Record, RecorderEventKind, Reference, Session, SessionClosed,
    SessionId, Timestamp,
};
use crate::segment::{EventRow, Happening, Rows, SessionRow};

/// What a row takes beside its texts and values, roughly.
const ROW_BYTES: usize = 1_024;

/// A statement whose outcome was not read yet.
#[derive(Debug, Clone)]
struct OpenIntent {
    entry: EntrySeq,
    intent: Arc<Intent>,
    /// Held here too: the record needs it even if the session's end is read first.
    session: Option<Arc<Session>>,
}

/// Collects rows. Sorted maps: what is carried must not depend on the order of a hash.
#[derive(Debug, Default)]
pub(super) struct Collector {
    sessions: BTreeMap<SessionId, Arc<Session>>,
    intents: BTreeMap<Reference, OpenIntent>,
    rows: Rows,
    bytes: usize,
    /// The entry and the time of the first row since the cut.
    first: Option<(EntrySeq, Timestamp)>,
    /// The last entry read.
    position: EntrySeq,
    /// Entries up to here are in shipped segments: they open and close, but make no rows.
    shipped_upto: EntrySeq,
    /// Whether the recorder said that it stops and did nothing since.
    stopping: bool,
}

impl Collector {
    /// Starts with what was carried as open when files were last freed.
    pub(super) fn new(shipped_upto: EntrySeq, carried: Vec<Entry>) -> Self {
        let mut collector = Self { shipped_upto, ..Self::default() };
        for entry in carried {
            match entry {
                Entry::SessionCarried(session) => collector.open_session(session),
                Entry::IntentCarried { entry, intent } => collector.open_intent(entry, intent),
                _ => {}
            }
        }
        collector
    }

    pub(super) fn position(&self) -> EntrySeq {
        self.position
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first_row(&self) -> Option<(EntrySeq, Timestamp)> {
        self.first
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping
    }

    /// Takes the rows of a segment that ends here; collecting goes on for the next.
    pub(super) fn seal(&mut self) -> Rows {
        self.bytes = 0;
        self.first = None;
        self.shipped_upto = self.position;
        std::mem::take(&mut self.rows)
    }

    /// All that is open now, to be said again.
    pub(super) fn carry(&self) -> Vec<Entry> {
        let sessions = self.sessions.values().map(|session| Entry::SessionCarried(Box::new(session.as_ref().clone())));
        let intents = self
            .intents
            .values()
            .map(|open| Entry::IntentCarried { entry: open.entry, intent: Arc::clone(&open.intent) });
        sessions.chain(intents).collect()
    }

    pub(super) fn open_sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    pub(super) fn open_intents(&self) -> impl Iterator<Item = &Arc<Intent>> {
        self.intents.values().map(|open| &open.intent)
    }

    /// Takes the next entry.
    pub(super) fn take(&mut self, numbered: Numbered) {
        let Numbered { seq, entry } = numbered;
        self.position = seq;
        match entry {
            Entry::SessionOpened(session) => {
                self.stopping = false;
                self.open_session(session);
            }
            Entry::SessionRenewed(session) => {
                self.stopping = false;
                self.open_session(session);
            }
            Entry::Intent(intent) => {
                self.stopping = false;
                self.open_intent(seq, intent);
            }
            Entry::SessionClosed(closed) => self.close_session(seq, closed),
            Entry::Outcome(outcome) => self.end_statement(seq, *outcome),
            Entry::LoginRefused(refused) => {
                if self.row(seq, refused.time, 0) {
                    self.rows.sessions.push(SessionRow::Refused { entry: seq, refused });
                }
            }
            Entry::Prepared(prepared) => {
                let session = self.sessions.get(&prepared.session).cloned();
                if self.row(seq, prepared.time, prepared.statement.text.bytes().len()) {
                    self.event(seq, session, Happening::Prepared(prepared.into()));
                }
            }
            Entry::Event(event) => {
                match event.kind {
                    RecorderEventKind::Stopped => self.stopping = true,
                    // Said by shipping and anchoring, which go on for a moment after the recorder has stopped.
                    RecorderEventKind::KeyChanged | RecorderEventKind::ArchiveConflict => {}
                    _ => self.stopping = false,
                }
                if self.row(seq, event.time, 0) {
                    self.event(seq, None, Happening::Recorder(event));
                }
            }
            // Said again for a restart only: whoever reads on knows it already, and perhaps that it has ended since.
            Entry::SessionCarried(_) | Entry::IntentCarried { .. } => {}
            Entry::SegmentCut(_) | Entry::SegmentShipped(_) => {}
        }
    }

    fn open_session(&mut self, session: Box<Session>) {
        self.sessions.insert(session.id, session.into());
    }

    fn open_intent(&mut self, entry: EntrySeq, intent: Arc<Intent>) {
        let session = self.sessions.get(&intent.reference.session).cloned();
        self.intents.insert(intent.reference, OpenIntent { entry, intent, session });
    }

    fn close_session(&mut self, entry: EntrySeq, closed: SessionClosed) {
        let session = self.sessions.remove(&closed.session);
        if !self.row(entry, closed.closed, 0) {
            return;
        }
        match session {
            Some(session) => self.rows.sessions.push(SessionRow::Closed { entry, session, closed }),
            None => self.event(entry, None, Happening::UnmatchedClose(closed)),
        }
    }

    fn end_statement(&mut self, seq: EntrySeq, outcome: Outcome) {
        let open = self.intents.remove(&outcome.reference);
        let statement = open.as_ref().map(|open| &open.intent.statement);
        let values = |params: &[Param]| {
            params.iter().filter_map(|param| param.value.as_ref()).map(|value| 2 * value.len() + 64).sum::<usize>()
        };
        let bytes = statement.map_or(0, |statement| statement.text.bytes().len() + values(&statement.params));
        if !self.row(seq, outcome.time, bytes) {
            return;
        }
        match open {
            Some(OpenIntent { entry, intent, session: Some(session) }) => {
                self.rows.records.push(Record { entry, session, intent, outcome });
            }
            open => {
                let session = self.sessions.get(&outcome.reference.session).cloned();
                let intent = open.map(|open| open.intent);
                self.event(seq, session, Happening::UnmatchedOutcome { outcome, intent });
            }
        }
    }

    fn event(&mut self, entry: EntrySeq, session: Option<Arc<Session>>, what: Happening) {
        self.rows.events.push(EventRow { entry, session, what });
    }

    /// Accounts for a row, if this entry still makes one.
    fn row(&mut self, entry: EntrySeq, time: Timestamp, bytes: usize) -> bool {
        if entry <= self.shipped_upto {
            return false;
        }
        self.first.get_or_insert((entry, time));
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(ROW_BYTES);
        true
    }
}
