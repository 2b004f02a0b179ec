//! One statement while it runs: what is counted until its outcome.

use crate::model::{Outcome, OutcomeStatus, Param, Reference, Timestamp};

use super::names::Portal;

/// A statement that was permitted and is being answered.
#[derive(Debug)]
pub(super) struct Running {
    reference: Reference,
    started: Option<Timestamp>,
    first_row: Option<Timestamp>,
    rows: u64,
    affected: Option<u64>,
    tags: Vec<String>,
    sqlstate: Option<String>,
    /// Bytes from the client.
    pub(super) bytes_in: u64,
    /// Bytes to the client.
    pub(super) bytes_out: u64,
}

/// The SQLSTATE of a statement that was cancelled (`query_canceled`).
const CANCELLED: &str = "57014";
/// Command tags kept of one message: a message of many statements has as many, and one line of an outcome is for people.
const MAX_TAGS: usize = 100;

impl Running {
    pub(super) fn new(reference: Reference, bytes_in: usize) -> Self {
        Self {
            reference,
            started: None,
            first_row: None,
            rows: 0,
            affected: None,
            tags: Vec::new(),
            sqlstate: None,
            bytes_in: bytes_in as u64,
            bytes_out: 0,
        }
    }

    pub(super) fn is(&self, reference: Reference) -> bool {
        self.reference == reference
    }

    /// Starts the clock; false if it runs already.
    pub(super) fn start(&mut self, now: Timestamp) -> bool {
        let fresh = self.started.is_none();
        self.started.get_or_insert(now);
        fresh
    }

    /// A row, or a piece of COPY data.
    pub(super) fn row(&mut self, counts: bool, now: Timestamp) {
        self.first_row.get_or_insert(now);
        self.rows += u64::from(counts);
    }

    /// A command tag: `SELECT 3`, `INSERT 0 1`, `COPY 5`.
    pub(super) fn tag(&mut self, tag: &str) {
        let verb = tag.split(' ').next().unwrap_or_default();
        let count: Option<u64> = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
        if let Some(count) = count {
            match verb {
                "INSERT" | "UPDATE" | "DELETE" | "MERGE" => *self.affected.get_or_insert(0) += count,
                // COPY TO has shown COPY data already, COPY FROM has not.
                "COPY" if self.first_row.is_some() => self.rows += count,
                "COPY" => *self.affected.get_or_insert(0) += count,
                _ => {}
            }
        }
        if self.tags.len() < MAX_TAGS {
            self.tags.push(tag.to_owned());
        }
    }

    /// The database reported an error.
    pub(super) fn fail(&mut self, sqlstate: Option<String>) {
        self.sqlstate = sqlstate.or_else(|| Some("XX000".to_owned()));
    }

    pub(super) fn failed(&self) -> bool {
        self.sqlstate.is_some()
    }

    /// What kind of failure it was.
    pub(super) fn failure(&self) -> OutcomeStatus {
        if self.sqlstate.as_deref() == Some(CANCELLED) { OutcomeStatus::Cancelled } else { OutcomeStatus::Error }
    }

    /// It ended.
    pub(super) fn end(self, status: OutcomeStatus, now: Timestamp) -> Outcome {
        let since = |moment: Timestamp| self.started.map(|started| moment.micros_since(started));
        Outcome {
            reference: self.reference,
            time: now,
            status,
            first_row_us: self.first_row.and_then(since),
            total_us: since(now),
            sqlstate: self.sqlstate,
            command_tag: (!self.tags.is_empty()).then(|| self.tags.join("; ")),
            rows_returned: self.rows,
            rows_affected: self.affected,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }
}

impl Portal {
    /// The values with their types as far as they are known.
    pub(super) fn params(&self) -> Vec<Param> {
        self.values
            .iter()
            .enumerate()
            .map(|(at, (format, value))| Param {
                type_oid: self.statement.type_of(at),
                format: *format,
                value: value.clone(),
            })
            .collect()
    }
}
