//! What the evidence says of a statement: the intent before, the outcome after, the record of both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Acting, Decision, EntrySeq, Facts, Reference, Session, SessionId, Statement, Timestamp};

/// The entry before forwarding: who (by session), what, decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Session and number.
    pub reference: Reference,
    /// When it was judged.
    pub time: Timestamp,
    /// What was asked.
    pub statement: Statement,
    /// What was understood; the same facts may be shared by many statements.
    #[serde(with = "super::shared")]
    pub facts: Arc<Facts>,
    /// What was decided; shared likewise.
    #[serde(with = "super::shared")]
    pub decision: Arc<Decision>,
    /// The transaction state it met: `I` idle, `T` in a transaction, `E` in a failed one.
    pub transaction: char,
    /// `server_version` as the database reported it; absent if it never did.
    pub server_version: Option<String>,
    /// Who the session acted as at the database; shared likewise. A journal from before this was kept says nothing.
    #[serde(default, with = "super::shared")]
    pub acting: Arc<Acting>,
}

/// A statement that went upstream to be prepared, not yet executed: journaled before its bytes are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The session.
    pub session: SessionId,
    /// Its number among the session's preparations, from 1.
    pub number: u64,
    /// When it was judged.
    pub time: Timestamp,
    /// What was sent; no values yet.
    pub statement: Statement,
    /// What was understood; the same facts may be shared by many statements.
    #[serde(with = "super::shared")]
    pub facts: Arc<Facts>,
    /// What was decided; shared likewise.
    #[serde(with = "super::shared")]
    pub decision: Arc<Decision>,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// It completed.
    Ok,
    /// The database refused or failed it.
    Error,
    /// We refused it; nothing was sent.
    Denied,
    /// It was cancelled at somebody's request (SQLSTATE 57014).
    Cancelled,
    /// A time limit ended it, of the database's or of ours.
    Timeout,
    /// Its session was ended while it ran, at the database or by us.
    Killed,
    /// The connection to the client or to the database broke while it ran; how the database ended it is not known.
    ConnectionLost,
    /// The database did not come to it, because an earlier one in the same batch failed or the session was ended before.
    Skipped,
    /// It was permitted and perhaps sent, and the recorder died before it knew how it ended.
    Unknown,
}

impl OutcomeStatus {
    /// Every value.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Error,
        Self::Denied,
        Self::Cancelled,
        Self::Timeout,
        Self::Killed,
        Self::ConnectionLost,
        Self::Skipped,
        Self::Unknown,
    ];

    /// The word in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Killed => "killed",
            Self::ConnectionLost => "connection_lost",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }
}

/// The entry after: how it ended and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Session and number.
    pub reference: Reference,
    /// When it ended.
    pub time: Timestamp,
    /// How.
    pub status: OutcomeStatus,
    /// The database's error code, ours for a denial or an end by us; for what was skipped, the code of what it was skipped for.
    pub sqlstate: Option<String>,
    /// The command tags (`SELECT 3`), joined by `; ` where a message held several statements.
    pub command_tag: Option<String>,
    /// Rows sent to the client.
    pub rows_returned: u64,
    /// Rows the command tags say were affected (INSERT, UPDATE, DELETE, MERGE, COPY).
    pub rows_affected: Option<u64>,
    /// Bytes from the client for it.
    pub bytes_in: u64,
    /// Bytes to the client for it.
    pub bytes_out: u64,
    /// Microseconds from the permit to the first row.
    pub first_row_us: Option<u64>,
    /// Microseconds from the permit to the end.
    pub total_us: Option<u64>,
    /// The transaction state that the database reported when it was through with its batch; absent where it did not, and in a
    /// journal from before this was kept.
    #[serde(default)]
    pub transaction_after: Option<char>,
}

impl Outcome {
    /// The outcome of a statement whose end the recorder did not live to see.
    pub fn unknown(reference: Reference, time: Timestamp) -> Self {
        Self::bare(reference, time, OutcomeStatus::Unknown)
    }

    /// The outcome of a statement that we refused with `sqlstate`.
    pub fn denied(reference: Reference, time: Timestamp, sqlstate: &str) -> Self {
        Self { sqlstate: Some(sqlstate.to_owned()), ..Self::bare(reference, time, OutcomeStatus::Denied) }
    }

    /// An outcome with nothing counted.
    pub fn bare(reference: Reference, time: Timestamp, status: OutcomeStatus) -> Self {
        Self {
            reference,
            time,
            status,
            sqlstate: None,
            command_tag: None,
            rows_returned: 0,
            rows_affected: None,
            bytes_in: 0,
            bytes_out: 0,
            first_row_us: None,
            total_us: None,
            transaction_after: None,
        }
    }
}

/// Intent and outcome of one statement joined with its session: the row an auditor reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The number of the intent's entry in the journal.
    pub entry: EntrySeq,
    /// Who, where from, where to.
    pub session: Arc<Session>,
    /// What was asked and decided.
    pub intent: Arc<Intent>,
    /// How it ended.
    pub outcome: Outcome,
}
