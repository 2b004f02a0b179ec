//! An entry: one thing that the journal keeps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    EntrySeq, Intent, LoginRefused, NodeName, Outcome, Prepared, SegmentNo, Session, SessionClosed, Sha256, Timestamp,
};

/// One thing that the journal keeps. Variants are only ever added: old journals stay readable.
///
/// Intents are shared: the reader puts each in its place in memory, where it stays until its record is shipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A session was opened; written before the upstream login.
    SessionOpened(Box<Session>),
    /// A session ended.
    SessionClosed(SessionClosed),
    /// A client was not let in.
    LoginRefused(Box<LoginRefused>),
    /// A statement was judged; written before it is forwarded or refused.
    Intent(#[serde(with = "super::shared")] Arc<Intent>),
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
        #[serde(with = "super::shared")]
        intent: Arc<Intent>,
    },
    /// A segment's end was fixed. Makes no row.
    SegmentCut(SegmentCut),
    /// The store confirmed a segment. Makes no row.
    SegmentShipped(SegmentShipped),
    /// A session goes on by a newer token: its statements from here on were judged by that. Makes no row; that the token was
    /// taken is an event.
    SessionRenewed(Box<Session>),
}

impl Entry {
    /// When it happened. What is said again has no time of its own.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::SessionOpened(session) => Some(session.opened),
            Self::SessionClosed(closed) => Some(closed.closed),
            Self::LoginRefused(refused) => Some(refused.time),
            Self::Intent(intent) => Some(intent.time),
            Self::Prepared(prepared) => Some(prepared.time),
            Self::Outcome(outcome) => Some(outcome.time),
            Self::Event(event) => Some(event.time),
            Self::SegmentCut(cut) => Some(cut.time),
            Self::SessionCarried(_)
            | Self::IntentCarried { .. }
            | Self::SegmentShipped(_)
            | Self::SessionRenewed(_) => None,
        }
    }
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
    /// The same for programs to read.
    #[serde(default)]
    pub more: Box<EventDetails>,
}

impl RecorderEvent {
    /// Something that happened, with nothing more to say than the sentence.
    pub fn new(time: Timestamp, node: NodeName, kind: RecorderEventKind, detail: String) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { time, node, kind, detail, version, more: Box::default() }
    }

    /// The same with details.
    #[must_use]
    pub fn with(self, more: EventDetails) -> Self {
        Self { more: Box::new(more), ..self }
    }
}

/// What an event says beside its sentence; absent what does not concern it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventDetails {
    /// `started`: the last entry of the run before.
    pub previous_entry: Option<EntrySeq>,
    /// `recovered`, `gap`, `journal_tail_cut`: since when it is not known what happened.
    pub since: Option<Timestamp>,
    /// `journal_tail_cut`, `gap`: how many entries are missing for certain.
    pub missing: Option<u64>,
    /// `recovered`, `journal_tail_cut`, `gap`: how many statements may be missing at most.
    pub missing_at_most: Option<u64>,
    /// `started`, `key_changed`: the verifier key of the key that signs from now on.
    pub key: Option<String>,
    /// `policy_loaded`: the version of the rules.
    pub policy_version: Option<String>,
    /// `archive_read`: who read, by the operating system's name and number. Of what operators do over HTTPS: issuer and
    /// subject of their token, with a bar between.
    pub operator: Option<String>,
    /// `archive_read`: what was asked, whole. Of what operators do: on which sessions or whom.
    pub question: Option<String>,
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
    /// It cut a damaged tail off its journal at start, or found damage in the middle.
    JournalTailCut,
    /// A client asked to cancel a statement.
    CancelRequested,
    /// It found another content under a name of its own: in the archive, and it ships no more, or where checkpoints are
    /// copied to.
    ArchiveConflict,
    /// It lives: said at a regular pace, so that silence means something.
    Heartbeat,
    /// It did not run for a while though it was not stopped: a suspended machine, or a clock that was moved.
    Gap,
    /// These rules are in force from now on.
    PolicyLoaded,
    /// Changed rules were not fit to be in force; those before stay.
    PolicyRefused,
    /// These certificates, or authorities that vouch for others, are used for new connections from now on.
    CertificateLoaded,
    /// Changed files of certificates were not fit to be used; those before stay.
    CertificateRefused,
    /// Another key signs from now on.
    KeyChanged,
    /// An operator read the archive by the recorder's own configuration.
    ArchiveRead,
    /// An operator looked at who is here.
    SessionsRead,
    /// An operator had a session end.
    SessionKilled,
    /// An operator blocked somebody for a while.
    Blocked,
    /// An operator lifted that.
    Unblocked,
    /// Somebody asked for what operators may, and is none.
    OperatorRefused,
    /// A newer token was handed over to an open session.
    TokenRenewed,
    /// An issuer said that somebody's access ended.
    AccessRevoked,
    /// Somebody said that access ended who was not believed.
    RevocationRefused,
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
            Self::Heartbeat => "heartbeat",
            Self::Gap => "gap",
            Self::PolicyLoaded => "policy_loaded",
            Self::PolicyRefused => "policy_refused",
            Self::CertificateLoaded => "certificate_loaded",
            Self::CertificateRefused => "certificate_refused",
            Self::KeyChanged => "key_changed",
            Self::ArchiveRead => "archive_read",
            Self::SessionsRead => "sessions_read",
            Self::SessionKilled => "session_killed",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::OperatorRefused => "operator_refused",
            Self::TokenRenewed => "token_renewed",
            Self::AccessRevoked => "access_revoked",
            Self::RevocationRefused => "revocation_refused",
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
    /// The recorder's promise at that time: a row at least this often, in seconds. Kept here, because a retry after the
    /// configuration changed must build the same manifest.
    #[serde(default)]
    pub heartbeat_seconds: u64,
}

/// A segment that the store confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentShipped {
    /// The segment.
    pub segment: SegmentNo,
    /// The last entry that belongs to it.
    pub upto: EntrySeq,
    /// The leaf hash of its manifest, which the next manifest repeats: the chain survives a restart.
    #[serde(alias = "manifest_sha256")]
    pub manifest_leaf: Sha256,
    /// How many entries directly before this one carry all that was open at `upto`, so that files before it can be
    /// freed; absent if nothing was to be freed.
    pub carried: Option<u64>,
    /// The log of manifests at this size; absent in a journal from before there was one.
    #[serde(default)]
    pub log: Option<LogState>,
}

/// The log of manifests, as large as the segment's number: what is needed to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The roots of its complete subtrees, the largest first.
    pub edge: Vec<Sha256>,
    /// The verifier key of the key that signed its checkpoint.
    pub key: String,
}
