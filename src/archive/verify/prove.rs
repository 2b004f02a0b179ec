//! One record tied to a signed checkpoint: a text that proves it with a public key and nothing else at hand.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value as Json};

use super::super::damage::hostile;
use super::super::error::ArchiveError;
use super::findings::Report;
use super::inventory::{Inventory, LogObjects};
use super::trust::Trust;
use crate::model::{NodeName, Reference, SegmentNo, Sha256};
use crate::seal::canonical::Row;
use crate::seal::checkpoint::Checkpoint;
use crate::seal::log::LogObject;
use crate::seal::merkle::{self, Head};
use crate::seal::note::{Note, VerifierKey};
use crate::seal::proof::{NotProven, Proof, RecordProof};
use crate::segment::{Dataset, Leaves, LogicalRows, Manifest, dataset_of};
use crate::store::{Store, StoreError};

/// Rows that are decoded at once while one is looked for.
const ROWS_AT_ONCE: usize = 4_096;
/// The column that names a record.
const REFERENCE: &str = "reference";

/// What a proof proves.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// The log, and its size and root.
    pub checkpoint: Checkpoint,
    /// The verifier keys that signed, of those that are trusted.
    pub keys: Vec<String>,
    /// The segment that holds the record.
    pub segment: u64,
    /// The record's values, by the names of the contract.
    pub record: Map<String, Json>,
    /// The hash of its canonical bytes as a leaf.
    pub leaf: Sha256,
}

/// Makes the proof of one record of the archive, under the newest checkpoint that a key of `keys` signed.
///
/// # Errors
///
/// [`ArchiveError::NotFound`] if the archive has no such record; [`ArchiveError::Missing`] and
/// [`ArchiveError::Damaged`] if it cannot be proven; [`ArchiveError`] otherwise.
pub async fn prove(store: &Store, reference: Reference, keys: &[VerifierKey]) -> Result<Proof, ArchiveError> {
    let inventory = Inventory::of(store).await?;
    for (node, objects) in &inventory.nodes {
        let mut log = Vec::with_capacity(objects.manifests.len());
        let mut holder = None;
        for number in &objects.manifests {
            let name = LogObject::Manifest(SegmentNo(*number)).name(node);
            let bytes = store.get(&name).await?;
            if *number != log.len() as u64 + 1 {
                let missing = LogObject::Manifest(SegmentNo(log.len() as u64 + 1)).name(node);
                return Err(ArchiveError::Missing { name: missing, promised_by: name });
            }
            log.push(merkle::leaf(&bytes));
            let manifest = Manifest::read(&bytes).map_err(|error| damaged(&name, error.to_string()))?;
            if holder.is_none() && may_hold(&manifest, reference) {
                holder = record(store, &manifest, reference).await?.map(|record| (*number, bytes, record));
            }
        }
        if let Some((number, manifest, record)) = holder {
            let inner = RecordProof { manifest: manifest.to_vec(), ..record };
            let checkpoint = newest(store, node, objects, keys, &log).await?;
            let path = merkle::inclusion(log.get(..checkpoint.1).unwrap_or_default(), number - 1);
            let path = path.ok_or_else(|| unsigned(node, "no trusted checkpoint covers the record yet"))?;
            return Ok(Proof { extra: Some(inner.extra()), index: number - 1, path, checkpoint: checkpoint.0 });
        }
    }
    Err(ArchiveError::NotFound { what: format!("statement {reference}") })
}

/// Checks a proof with nothing else at hand.
///
/// # Errors
///
/// [`NotProven`].
pub fn check(file: &[u8], keys: &[VerifierKey]) -> Result<Proven, NotProven> {
    let proof = Proof::read(file)?;
    let inner = RecordProof::read(proof.extra.as_deref().ok_or(NotProven::Extra)?)?;
    let checkpoint = proof.check(&inner.manifest, keys)?;
    inner.check(|manifest| {
        let manifest = Manifest::read(manifest).ok()?;
        Some(Head { size: manifest.records, root: manifest.records_root.parse().ok()? })
    })?;
    let manifest = Manifest::read(&inner.manifest).or(Err(NotProven::Manifest))?;
    let row = Row::read(&inner.record).map_err(NotProven::Record)?;
    let dataset = dataset_of(&row).ok_or(NotProven::Extra)?;
    let (_, signers) = proof.checkpoint.verified(keys)?;
    Ok(Proven {
        checkpoint,
        keys: signers.iter().map(ToString::to_string).collect(),
        segment: manifest.segment.0,
        record: dataset.named(&row).or(Err(NotProven::Extra))?,
        leaf: merkle::leaf(&inner.record),
    })
}

/// Name and note of the newest checkpoint of each log that a report found signed: what to keep for the next time.
///
/// # Errors
///
/// The store cannot be read.
pub async fn newest_checkpoints(store: &Store, report: &Report) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut notes = Vec::new();
    for coverage in report.nodes.iter().filter(|coverage| coverage.signed > 0) {
        let Ok(node) = NodeName::new(&*coverage.node) else { continue };
        let ids = coverage.keys.iter().filter_map(|key| key.parse::<VerifierKey>().ok()).map(|key| key.id());
        for id in ids {
            let name = LogObject::Checkpoint(coverage.signed, id).name(&node);
            match store.get(&name).await {
                Ok(note) => notes.push((name, note.to_vec())),
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(notes)
}

/// Whether the segment may hold the record, by what its manifest says of sessions.
fn may_hold(manifest: &Manifest, reference: Reference) -> bool {
    let session = reference.session.to_string();
    let head = manifest.sessions.iter().find(|head| head.session == session);
    head.is_some_and(|head| (head.first..=head.last).contains(&reference.statement) && head.statements > 0)
}

/// The record's bytes and its way to the root of the segment; nothing if it is not in it. The manifest is not filled in.
async fn record(store: &Store, manifest: &Manifest, reference: Reference) -> Result<Option<RecordProof>, ArchiveError> {
    let (mut leaves, mut found) = (Leaves::default(), None);
    for file in &manifest.files {
        let bytes = match store.get(&file.name).await {
            Err(StoreError::Missing { name }) => {
                let promised_by = Manifest::name(&manifest.node, manifest.segment);
                return Err(ArchiveError::Missing { name, promised_by });
            }
            read => read?,
        };
        let Some(dataset) = Dataset::of_object(&file.name) else {
            return Err(damaged(&file.name, "it is of no dataset that is known".to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || hostile(|| rows(dataset, bytes, &reference.to_string()))).await;
        let read = read.map_err(|_| damaged(&file.name, "the Parquet reader gave up on it".to_owned()))?;
        let (of_file, record) = read.map_err(|cause| damaged(&file.name, cause))?;
        leaves.append(of_file);
        found = found.or(record);
    }
    let Some(record) = found else { return Ok(None) };
    let hashes: Vec<Sha256> = leaves.sorted().hashes().collect();
    let name = Manifest::name(&manifest.node, manifest.segment);
    if merkle::root(&hashes).to_string() != manifest.records_root {
        return Err(damaged(&name, "the rows of its segment are not those that were sealed".to_owned()));
    }
    let leaf = merkle::leaf(&record);
    let index = hashes.iter().position(|hash| *hash == leaf).map_or(u64::MAX, |at| at as u64);
    let path = merkle::inclusion(&hashes, index);
    let path = path.ok_or_else(|| damaged(&name, "the record is not among its rows".to_owned()))?;
    Ok(Some(RecordProof { record, index, size: hashes.len() as u64, path, manifest: Vec::new() }))
}

/// The leaves of a file, and the canonical bytes of the row with this reference.
fn rows(dataset: Dataset, bytes: Bytes, reference: &str) -> Result<(Leaves, Option<Vec<u8>>), String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let reader = reader.with_batch_size(ROWS_AT_ONCE).build().map_err(|error| error.to_string())?;
    let (mut leaves, mut found) = (Leaves::default(), None);
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let rows = LogicalRows::of(dataset, &batch).map_err(|error| error.to_string())?;
        leaves.extend(dataset, rows.leaves().map_err(|error| error.to_string())?);
        let Some(references) = batch.column_by_name(REFERENCE).filter(|_| dataset == Dataset::Statements) else {
            continue;
        };
        let references = cast(references, &DataType::Utf8).map_err(|error| error.to_string())?;
        let references = references.as_string::<i32>();
        let at = (0..references.len()).find(|at| references.is_valid(*at) && references.value(*at) == reference);
        if let Some(at) = at {
            let row = rows.row(at).map_err(|error| error.to_string())?;
            found = row.map(|row| row.bytes());
        }
    }
    Ok((leaves, found))
}

/// The newest checkpoint of a trusted key that fits the log, and its size.
async fn newest(
    store: &Store,
    node: &NodeName,
    objects: &LogObjects,
    keys: &[VerifierKey],
    log: &[Sha256],
) -> Result<(Note, usize), ArchiveError> {
    let transitions = super::heard::transitions(store, node, objects, &mut Report::default()).await?;
    let trust = Trust::new(node, keys, &transitions, &mut Report::default());
    for (size, key) in objects.checkpoints.iter().rev() {
        let bytes = store.get(&LogObject::Checkpoint(*size, *key).name(node)).await?;
        let Some(leaves) = usize::try_from(*size).ok().and_then(|size| log.get(..size)) else { continue };
        let fits = trust.hear(&bytes).is_ok_and(|said| said.size == *size && said.root == merkle::root(leaves));
        if let Some(note) = Note::read(&bytes).ok().filter(|_| fits) {
            return Ok((note, leaves.len()));
        }
    }
    Err(unsigned(node, "no checkpoint of a trusted key fits it"))
}

fn damaged(name: &str, cause: String) -> ArchiveError {
    ArchiveError::Damaged { name: name.to_owned(), cause }
}

fn unsigned(node: &NodeName, cause: &str) -> ArchiveError {
    damaged(&format!("the log of {node}"), cause.to_owned())
}
