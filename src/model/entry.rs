//! An entry: one thing that the journal keeps.

use serde::{Deserialize, Serialize};

use super::{
    EntrySeq, Intent, LoginRefused, NodeName, Outcome, Prepared, SegmentNo, Session, SessionClosed, Sha256, Timestamp,
};

/// One thing that the journal keeps. Variants are only ever added: old journals stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A session was opened; written before the upstream login.
    SessionOpened(Box<Session>),
    /// A session ended.
    SessionClosed(SessionClosed),
    /// A client was not let in.
    LoginRefused(Box<LoginRefused>),
    /// A statement was judged; written before it is forwarded or refused.
    Intent(Box<Intent>),
    /// A statement was judged to be prepared; written before it is forwarded.
    Prepared(Box<Prepared>),
    /// A statement ended.
    Outcome(Box<Outcome>),
    /// Something about the recorder itself.
    Event(RecorderEvent),
    /// A session still open, said again so that an old journal file can be freed. Makes no row.
    SessionCarried(Box<Session>),
    /// A statement still running, said again so that an old journal file can be freed. Makes no row by itself.
    IntentCarried {
        /// The number of the entry that first said it.
        entry: EntrySeq,
        /// The same intent.
        intent: Box<Intent>,
    },
    /// A segment's end was fixed. Makes no row.
    SegmentCut(SegmentCut),
    /// The store confirmed a segment. Makes no row.
    SegmentShipped(SegmentShipped),
}

/// An entry with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// Its number.
    pub seq: EntrySeq,
    /// What was kept.
    pub entry: Entry,
}

/// Something about the recorder itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderEvent {
    /// When.
    pub time: Timestamp,
    /// Which recorder.
    pub node: NodeName,
    /// What happened.
    pub kind: RecorderEventKind,
    /// One sentence, for people; never a secret, never SQL.
    pub detail: String,
    /// The program's version.
    pub version: String,
}

/// What happened to a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderEventKind {
    /// It started.
    Started,
    /// It stopped on purpose.
    Stopped,
    /// It found at start that the last run had not stopped on purpose.
    Recovered,
    /// It cut a damaged tail off its journal at start.
    JournalTailCut,
    /// A client asked to cancel a statement.
    CancelRequested,
    /// It found another content in the archive under a name of its own, and ships no more.
    ArchiveConflict,
}

impl RecorderEventKind {
    /// The word in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Recovered => "recovered",
            Self::JournalTailCut => "journal_tail_cut",
            Self::CancelRequested => "cancel_requested",
            Self::ArchiveConflict => "archive_conflict",
        }
    }
}

/// The end of a segment, fixed before it is built, so that a retry builds the same bytes under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentCut {
    /// The segment.
    pub segment: SegmentNo,
    /// The last entry that belongs to it.
    pub upto: EntrySeq,
    /// When it was cut.
    pub time: Timestamp,
}

/// A segment that the store confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentShipped {
    /// The segment.
    pub segment: SegmentNo,
    /// The last entry that belongs to it.
    pub upto: EntrySeq,
    /// The digest of its manifest, which the next manifest repeats: the chain survives a restart.
    pub manifest_sha256: Sha256,
    /// How many entries directly before this one carry all that was open at `upto`, so that files before it can be
    /// freed; absent if nothing was to be freed.
    pub carried: Option<u64>,
}
