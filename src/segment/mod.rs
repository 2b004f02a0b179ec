//! Records ⇄ Parquet, as `schemas/` says.
//!
//! Deterministic: the same rows under the same number give the same names and the same bytes, so a retry after a crash
//! stores what is already there. Whole: no text and no value is cut, at any size.

mod chunk;
mod columns;
mod hybrid;
mod leaves;
mod logical;
mod manifest;
mod named;
mod params;
mod read;
mod repeat;
mod roots;
mod runs;
mod schema;
mod statements;
mod tables;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{
    EntrySeq, Intent, LoginRefused, NodeName, Outcome, Prepared, Record, RecorderEvent, RecorderEventKind, SegmentNo,
    Session, SessionClosed, Sha256, Timestamp,
};

pub use logical::LogicalRows;
pub use manifest::{Context, Manifest, ManifestDataset, ManifestFile, SessionHead};
pub use named::dataset_of;
pub use read::leaves_of;
pub use roots::{DatasetRoots, Leaves, STRETCH};
pub use schema::{Dataset, MEANING};

/// What one segment holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Rows of `statements`.
    pub records: Vec<Record>,
    /// Rows of `sessions`.
    pub sessions: Vec<SessionRow>,
    /// Rows of `events`.
    pub events: Vec<EventRow>,
}

impl Rows {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.records.len() + self.sessions.len() + self.events.len()
    }
}

/// A row of `sessions`.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionRow {
    /// A session that ended.
    Closed {
        /// The number of the closing entry.
        entry: EntrySeq,
        /// The session as it was opened.
        session: Arc<Session>,
        /// How it ended.
        closed: SessionClosed,
    },
    /// A client that was not let in.
    Refused {
        /// The number of the entry.
        entry: EntrySeq,
        /// The refusal.
        refused: Box<LoginRefused>,
    },
}

impl SessionRow {
    fn entry(&self) -> EntrySeq {
        match self {
            Self::Closed { entry, .. } | Self::Refused { entry, .. } => *entry,
        }
    }

    /// When it happened: its column `time`.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Closed { closed, .. } => closed.closed,
            Self::Refused { refused, .. } => refused.time,
        }
    }
}

/// A row of `events`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The number of the entry.
    pub entry: EntrySeq,
    /// The session it belongs to, where it belongs to one that is known.
    pub session: Option<Arc<Session>>,
    /// What happened.
    pub what: Happening,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// Something about the recorder itself.
    Recorder(RecorderEvent),
    /// A statement was judged to be prepared.
    Prepared(Arc<Prepared>),
    /// An outcome whose intent or session is not known: kept, because nothing is dropped in silence.
    UnmatchedOutcome {
        /// How it ended.
        outcome: Outcome,
        /// The intent, if only the session is not known.
        intent: Option<Arc<Intent>>,
    },
    /// The end of a session whose beginning is not known: kept, because nothing is dropped in silence.
    UnmatchedClose(SessionClosed),
}

impl EventRow {
    /// Whether it is this event of a recorder.
    fn is(&self, kind: RecorderEventKind) -> bool {
        matches!(&self.what, Happening::Recorder(event) if event.kind == kind)
    }

    /// When it happened: its column `time`.
    pub fn time(&self) -> Timestamp {
        match &self.what {
            Happening::Recorder(event) => event.time,
            Happening::Prepared(prepared) => prepared.time,
            Happening::UnmatchedOutcome { outcome, .. } => outcome.time,
            Happening::UnmatchedClose(closed) => closed.closed,
        }
    }
}

/// An object of the archive, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name below the archive's prefix.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// How many rows it holds.
    pub rows: u64,
    /// The digest of its bytes.
    pub sha256: Sha256,
}

impl File {
    /// A file with its digest.
    pub fn new(name: String, bytes: Bytes, rows: u64) -> Self {
        let sha256 = Sha256::of(&bytes);
        Self { name, bytes, rows, sha256 }
    }
}

/// A segment's files, and the hashes of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Built {
    /// One for each dataset and UTC day; a dataset without rows has none.
    pub files: Vec<File>,
    /// The leaf of each row, in the order of the published rule.
    pub leaves: Leaves,
}

/// The Parquet files that are sealed together.
#[derive(Debug)]
pub struct Segment;

impl Segment {
    /// The files of one segment and the hashes of its rows. The hashes are made from the columns that go into the files,
    /// so that what is signed is what is stored.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]; the rows are untouched, and a retry with the same program fails in the same way.
    pub fn build(node: &NodeName, no: SegmentNo, cut_time: Timestamp, rows: &Rows) -> Result<Built, SegmentError> {
        let stamp = write::Stamp { node, no, cut_time };
        let mut built = Built::default();
        let record = |row: &Record| ((row.intent.time, row.intent.reference, row.entry), tables::statement_size(row));
        for (day, records, sizes) in by_day(&rows.records, |(time, ..)| *time, record) {
            let table = |range| records.get(range).map(|records| statements::statements(no, records));
            built.add(&stamp, Dataset::Statements, &day, sizes, table)?;
        }
        let session = |row: &SessionRow| ((row.time(), row.entry()), tables::session_size(row));
        for (day, sessions, sizes) in by_day(&rows.sessions, |(time, _)| *time, session) {
            let table = |range| sessions.get(range).map(|sessions| tables::sessions(no, sessions));
            built.add(&stamp, Dataset::Sessions, &day, sizes, table)?;
        }
        let event = |row: &EventRow| ((row.time(), row.entry), tables::event_size(row));
        for (day, events, sizes) in by_day(&rows.events, |(time, _)| *time, event) {
            let table = |range| events.get(range).map(|events| tables::events(&stamp, events));
            built.add(&stamp, Dataset::Events, &day, sizes, table)?;
        }
        built.leaves = built.leaves.sorted();
        Ok(built)
    }
}

impl Built {
    fn add(
        &mut self,
        stamp: &write::Stamp<'_>,
        dataset: Dataset,
        day: &str,
        sizes: Vec<usize>,
        table: impl Fn(Range<usize>) -> Option<Result<columns::Columns, SegmentError>>,
    ) -> Result<(), SegmentError> {
        let (file, leaves) = write::file(stamp, dataset, day, sizes, table)?;
        self.files.push(file);
        self.leaves.extend(dataset, leaves);
        Ok(())
    }
}

/// The rows of each UTC day, in the order of their keys, and how large each is. A row is visited once for all three.
fn by_day<T, K: Ord>(
    rows: &[T],
    time: impl Fn(&K) -> Timestamp,
    about: impl Fn(&T) -> (K, usize),
) -> impl Iterator<Item = (String, Vec<&T>, Vec<usize>)> {
    let mut days: BTreeMap<String, Vec<(K, usize, &T)>> = BTreeMap::new();
    let mut today: (Option<i64>, String) = (None, String::new());
    for row in rows {
        let (key, size) = about(row);
        let day = time(&key).day();
        if today.0 != Some(day) {
            today = (Some(day), time(&key).date());
        }
        match days.get_mut(&today.1) {
            Some(rows) => rows.push((key, size, row)),
            None => drop(days.insert(today.1.clone(), vec![(key, size, row)])),
        }
    }
    days.into_iter().map(|(day, mut rows)| {
        rows.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let sizes = rows.iter().map(|(_, size, _)| *size).collect();
        (day, rows.into_iter().map(|(.., row)| row).collect(), sizes)
    })
}

/// Why a segment could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The program contradicts the contract it was built with.
    #[error("this program's {dataset} contract cannot be used: {problem}")]
    Contract {
        /// Which.
        dataset: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Rows do not fit the contract.
    #[error("rows of {dataset} do not fit its contract: {source}")]
    Rows {
        /// Which.
        dataset: &'static str,
        /// What is wrong.
        source: arrow::error::ArrowError,
    },
    /// Rows of another contract.
    #[error("the rows are not those of {dataset}: {problem}")]
    Foreign {
        /// Which was expected.
        dataset: &'static str,
        /// What is different.
        problem: String,
    },
    /// The Parquet writer failed.
    #[error("the Parquet writer failed on {dataset}: {source}")]
    Parquet {
        /// Which.
        dataset: &'static str,
        /// What it said.
        source: parquet::errors::ParquetError,
    },
    /// A manifest of a contract that this program does not know.
    #[error("it is a manifest of the contract {found}, which this program does not know")]
    Version {
        /// The contract that it names.
        found: String,
    },
    /// A value has no JSON form.
    #[error("a value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
pub(crate) mod tests;
