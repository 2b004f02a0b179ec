//! A manifest: what a segment holds, by digest, chained to the one before. Stored after the segment's files, so a segment
//! with a manifest is complete. Its bytes are the entry of the recorder's log.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Built, Dataset, File, Rows, SegmentError, SessionRow};
use crate::model::{EntrySeq, NodeName, RecorderEventKind, SegmentCut, SegmentNo, SessionId, Sha256, Timestamp};
use crate::seal::log::LogObject;

const VERSION: &str = "manifest.v1";

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The contract: `manifest.v1`.
    pub schema: String,
    /// The recorder.
    pub node: NodeName,
    /// The segment.
    pub segment: SegmentNo,
    /// When it was cut, RFC 3339.
    pub cut: String,
    /// The first entry of the journal that belongs to it.
    pub first_entry: EntrySeq,
    /// The last.
    pub last_entry: EntrySeq,
    /// The least `time` of its rows, RFC 3339.
    pub first_time: Option<String>,
    /// The greatest `time` of its rows, RFC 3339.
    pub last_time: Option<String>,
    /// The leaf hash of the manifest of the segment before, in hexadecimal; absent for the first.
    pub previous_leaf: Option<String>,
    /// How many rows it holds.
    pub records: u64,
    /// The root over all of them, in hexadecimal.
    pub records_root: String,
    /// The datasets that have rows.
    pub datasets: Vec<ManifestDataset>,
    /// The files, in the order of their names.
    pub files: Vec<ManifestFile>,
    /// The sessions that have rows of `statements` in it or ended in it, in the order of their names.
    pub sessions: Vec<SessionHead>,
    /// How many sessions were open at its end.
    pub open_sessions: u64,
    /// Whether a recorder started in it.
    pub starts: bool,
    /// Whether the last thing in it is that the recorder stopped on purpose.
    pub stops: bool,
    /// The recorder's promise: a row at least this often while it runs, in seconds.
    pub heartbeat_seconds: u64,
}

/// The rows of one dataset in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestDataset {
    /// Its name.
    pub name: String,
    /// How many rows.
    pub rows: u64,
    /// The root over them, in hexadecimal.
    pub root: String,
    /// The roots over each [`super::STRETCH`] of them, in hexadecimal.
    pub stretches: Vec<String>,
}

/// One file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name below the archive's prefix.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What a segment holds of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionHead {
    /// The session.
    pub session: String,
    /// The least number of its statements here; 0 without any.
    pub first: u64,
    /// The greatest.
    pub last: u64,
    /// How many of its statements are here.
    pub statements: u64,
    /// How many statements it had in all, if it ended here.
    pub closed: Option<u64>,
}

/// What a manifest says beside its segment's rows and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Where the segment ends.
    pub cut: SegmentCut,
    /// The first entry that belongs to it.
    pub first_entry: EntrySeq,
    /// The leaf hash of the manifest before.
    pub previous: Option<Sha256>,
    /// Sessions that were open at its end.
    pub open_sessions: u64,
    /// Whether the recorder had said that it stops, and done nothing since.
    pub stops: bool,
}

impl Manifest {
    /// The manifest of the segment that ends at `context.cut`.
    pub fn new(node: &NodeName, context: &Context, rows: &Rows, built: &Built) -> Self {
        let datasets = built.leaves.roots().into_iter().map(|roots| ManifestDataset {
            name: roots.dataset.name().to_owned(),
            rows: roots.rows,
            root: roots.root.to_string(),
            stretches: roots.stretches.iter().map(ToString::to_string).collect(),
        });
        let span = rows.span();
        Self {
            schema: VERSION.to_owned(),
            node: node.clone(),
            segment: context.cut.segment,
            cut: context.cut.time.to_string(),
            first_entry: context.first_entry,
            last_entry: context.cut.upto,
            first_time: span.map(|(first, _)| first.to_string()),
            last_time: span.map(|(_, last)| last.to_string()),
            previous_leaf: context.previous.map(|digest| digest.to_string()),
            records: built.leaves.len(),
            records_root: built.leaves.root().to_string(),
            datasets: datasets.collect(),
            files: described(&built.files),
            sessions: heads(rows),
            open_sessions: context.open_sessions,
            starts: rows.events.iter().any(|row| row.is(RecorderEventKind::Started)),
            stops: context.stops,
            heartbeat_seconds: context.cut.heartbeat_seconds,
        }
    }

    /// The same of other files with the same rows.
    #[must_use]
    pub fn with_files(self, files: &[File]) -> Self {
        Self { files: described(files), ..self }
    }

    /// Whether it promises the same rows in the same files at the same place of the log.
    pub fn is_of_the_same_rows(&self, other: &Self) -> bool {
        let place = |of: &Self| (of.node.clone(), of.segment, of.first_entry, of.last_entry, of.previous_leaf.clone());
        let rows = |of: &Self| (of.records, of.records_root.clone());
        place(self) == place(other) && rows(self) == rows(other) && self.files == other.files
    }

    /// The object's name.
    pub fn name(node: &NodeName, no: SegmentNo) -> String {
        LogObject::Manifest(no).name(node)
    }

    /// As an object of the archive. Its `rows` are the segment's.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Json`], which no value of this type causes.
    pub fn file(&self) -> Result<File, SegmentError> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let bytes = Bytes::from(text);
        let sha256 = Sha256::of(&bytes);
        Ok(File { name: Self::name(&self.node, self.segment), bytes, rows: self.records, sha256 })
    }

    /// Reads a manifest back.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Json`] if the bytes are no manifest, [`SegmentError::Version`] if it is one of another contract.
    pub fn read(bytes: &[u8]) -> Result<Self, SegmentError> {
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.schema == VERSION { Ok(manifest) } else { Err(SegmentError::Version { found: manifest.schema }) }
    }

    /// What it says of a dataset; nothing if the segment has no rows of it.
    pub fn dataset(&self, dataset: Dataset) -> Option<&ManifestDataset> {
        self.datasets.iter().find(|found| found.name == dataset.name())
    }
}

/// Files as a manifest names them, in the order of their names.
fn described(files: &[File]) -> Vec<ManifestFile> {
    let each = files.iter().map(|file| ManifestFile {
        name: file.name.clone(),
        bytes: file.bytes.len() as u64,
        rows: file.rows,
        sha256: file.sha256.to_string(),
    });
    let mut described: Vec<ManifestFile> = each.collect();
    described.sort_by(|a, b| a.name.cmp(&b.name));
    described
}

/// What each session has in these rows, in the order of their names.
fn heads(rows: &Rows) -> Vec<SessionHead> {
    let mut heads: BTreeMap<SessionId, SessionHead> = BTreeMap::new();
    let new = |session: SessionId| {
        let session = session.to_string();
        SessionHead { session, first: 0, last: 0, statements: 0, closed: None }
    };
    for record in &rows.records {
        // The outcome's, which lies beside its neighbours in memory; it is the intent's.
        let reference = record.outcome.reference;
        let head = heads.entry(reference.session).or_insert_with(|| new(reference.session));
        let number = reference.statement;
        head.first = if head.statements == 0 { number } else { head.first.min(number) };
        head.last = head.last.max(number);
        head.statements += 1;
    }
    for row in &rows.sessions {
        if let SessionRow::Closed { closed, .. } = row {
            heads.entry(closed.session).or_insert_with(|| new(closed.session)).closed = Some(closed.statements);
        }
    }
    heads.into_values().collect()
}

impl Rows {
    /// The least and the greatest `time` of the rows.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let statements = self.records.iter().map(|record| record.intent.time);
        let sessions = self.sessions.iter().map(SessionRow::time);
        let times = statements.chain(sessions).chain(self.events.iter().map(super::EventRow::time));
        times.fold(None, |span: Option<(Timestamp, Timestamp)>, time| match span {
            None => Some((time, time)),
            Some((first, last)) => Some((first.min(time), last.max(time))),
        })
    }
}
