//! What a start finds in the journal: how far shipping had come, and what was open when the last run ended.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::collect::Collector;
use crate::journal::Journal;
use crate::journal::JournalError;
use crate::model::{
    CloseReason, Entry, EntrySeq, Outcome, RecorderEvent, RecorderEventKind, Reference, SegmentCut, SegmentShipped,
    Session, SessionClosed, SessionId, Timestamp,
};

/// How far shipping had come.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The last segment that the store confirmed.
    pub(super) shipped: Option<SegmentShipped>,
    /// Segments whose end is fixed, not confirmed.
    pub(super) cuts: Vec<SegmentCut>,
    /// What was carried when files were last freed.
    pub(super) carried: Vec<Entry>,
    /// What was said of contradictions in the archive.
    pub(super) conflicts: BTreeSet<String>,
    /// The verifier keys of the keys that are on record as having taken over.
    pub(super) taken_over: BTreeSet<String>,
}

impl Survey {
    /// Reads all that is retained. Blocking.
    pub(super) fn of(journal: &Journal, upto: EntrySeq) -> Result<Self, JournalError> {
        let mut survey = Self::default();
        let mut reader = journal.reader();
        let mut run: Vec<Entry> = Vec::new();
        while let Some(numbered) = reader.next(upto)? {
            match numbered.entry {
                entry @ (Entry::SessionCarried(_) | Entry::IntentCarried { .. }) => {
                    run.push(entry);
                    continue;
                }
                Entry::SegmentCut(cut) => survey.cuts.push(cut),
                Entry::Event(event) => survey.heard(event),
                Entry::SegmentShipped(shipped) => {
                    if let Some(count) = shipped.carried {
                        let count = usize::try_from(count).unwrap_or(usize::MAX);
                        survey.carried = run.split_off(run.len().saturating_sub(count));
                    }
                    survey.shipped = Some(shipped);
                }
                _ => {}
            }
            run.clear();
        }
        let upto = survey.shipped.as_ref().map_or(EntrySeq(0), |shipped| shipped.upto);
        survey.cuts.retain(|cut| cut.upto > upto);
        Ok(survey)
    }

    fn heard(&mut self, event: RecorderEvent) {
        match event.kind {
            RecorderEventKind::ArchiveConflict => {
                self.conflicts.insert(event.detail);
            }
            RecorderEventKind::KeyChanged => self.taken_over.extend(event.more.key),
            _ => {}
        }
    }

    /// A collector at the start of what is retained.
    pub(super) fn collector(&mut self) -> Collector {
        let upto = self.shipped.as_ref().map_or(EntrySeq(0), |shipped| shipped.upto);
        Collector::new(upto, std::mem::take(&mut self.carried))
    }
}

/// A session that was open when the last run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// The session.
    pub session: Arc<Session>,
    /// How many statements it had, as far as the journal tells.
    pub statements: u64,
    /// Bytes from the client for them, as far as the journal tells.
    pub bytes_in: u64,
    /// Bytes to the client for them, as far as the journal tells.
    pub bytes_out: u64,
    /// `server_version`, if a statement told it.
    pub server_version: Option<String>,
}

/// What was open when the last run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenAtCrash {
    /// Sessions without an end.
    pub sessions: Vec<OpenSession>,
    /// Statements without an outcome.
    pub statements: Vec<Reference>,
    /// Whether the recorder had said that it stops; also true of a journal that holds nothing yet.
    pub clean: bool,
    /// The last moment that an entry tells of.
    pub last_time: Option<Timestamp>,
    /// The verifier key of the key that signed the last segment.
    pub signed_by: Option<String>,
    /// Those that are on record as having taken over.
    pub taken_over: BTreeSet<String>,
    /// What is on record of contradictions in the archive, and where checkpoints are copied to.
    pub conflicts: BTreeSet<String>,
}

impl OpenAtCrash {
    /// The entries that end all this: outcomes `unknown` first, then the sessions. To be appended before the first new
    /// session is opened.
    pub fn endings(&self, now: Timestamp) -> Vec<Entry> {
        let outcomes =
            self.statements.iter().map(|reference| Entry::Outcome(Box::new(Outcome::unknown(*reference, now))));
        let closings = self.sessions.iter().map(|open| {
            Entry::SessionClosed(SessionClosed {
                session: open.session.id,
                closed: now,
                reason: CloseReason::RecorderDied,
                detail: Some("the recorder ended without closing it; found at the next start".to_owned()),
                statements: open.statements,
                bytes_in: open.bytes_in,
                bytes_out: open.bytes_out,
                server_version: open.server_version.clone(),
            })
        });
        outcomes.chain(closings).collect()
    }
}

#[derive(Debug, Default)]
struct Tally {
    statements: u64,
    bytes_in: u64,
    bytes_out: u64,
    server_version: Option<String>,
}

/// What was open when the last run ended, from a journal just opened. Reads all of it, twice; blocking.
///
/// # Errors
///
/// The journal cannot be read.
pub fn open_at_crash(journal: &Journal) -> Result<OpenAtCrash, JournalError> {
    let upto = *journal.flushed().borrow();
    // Nothing is to be shipped here: no entry makes a row.
    let survey = Survey::of(journal, upto)?;
    let mut collector = Collector::new(upto, survey.carried);
    let mut last_time = None;
    let mut tallies: HashMap<SessionId, Tally> = HashMap::new();
    let mut reader = journal.reader();
    while let Some(numbered) = reader.next(upto)? {
        last_time = numbered.entry.time().or(last_time);
        match &numbered.entry {
            Entry::Intent(intent) => {
                let tally = tallies.entry(intent.reference.session).or_default();
                tally.statements = tally.statements.max(intent.reference.statement);
                tally.server_version.clone_from(&intent.server_version);
            }
            Entry::Outcome(outcome) => {
                let tally = tallies.entry(outcome.reference.session).or_default();
                tally.statements = tally.statements.max(outcome.reference.statement);
                tally.bytes_in = tally.bytes_in.saturating_add(outcome.bytes_in);
                tally.bytes_out = tally.bytes_out.saturating_add(outcome.bytes_out);
            }
            Entry::SessionClosed(closed) => {
                tallies.remove(&closed.session);
            }
            _ => {}
        }
        collector.take(numbered);
    }
    let sessions = collector.open_sessions().map(|session| {
        let tally = tallies.remove(&session.id).unwrap_or_default();
        OpenSession {
            session: Arc::clone(session),
            statements: tally.statements,
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
            server_version: tally.server_version,
        }
    });
    Ok(OpenAtCrash {
        sessions: sessions.collect(),
        statements: collector.open_intents().map(|intent| intent.reference).collect(),
        clean: collector.stopping() || upto == EntrySeq(0),
        last_time,
        signed_by: survey.shipped.and_then(|shipped| shipped.log).map(|log| log.key),
        taken_over: survey.taken_over,
        conflicts: survey.conflicts,
    })
}
