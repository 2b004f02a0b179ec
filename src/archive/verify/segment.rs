//! One segment: its files by digest, its rows by the roots that its manifest promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::super::damage::hostile;
use super::super::error::ArchiveError;
use super::Progress;
use super::findings::{Class, Report};
use super::rows::{self, Decoded, Moment};
use crate::model::{EntrySeq, Sha256, Timestamp};
use crate::segment::{Dataset, Leaves, Manifest, ManifestDataset, ManifestFile, STRETCH};
use crate::store::{Store, StoreError};

/// What a segment's files hold.
pub(super) struct SegmentRead {
    manifest: Arc<Manifest>,
    files: u64,
    bytes: u64,
    rows: u64,
    leaves: Leaves,
    moments: Vec<Moment>,
    found: Vec<(Class, String, String)>,
    missing: Vec<(Sha256, String)>,
}

/// What became of a file that is there.
struct FileRead {
    digest: Sha256,
    decoded: Result<Decoded, String>,
}

/// Reads the files of a segment. `lengths` are those of the files that are there.
pub(super) async fn read(
    store: Store,
    manifest: Arc<Manifest>,
    lengths: BTreeMap<String, u64>,
) -> Result<SegmentRead, ArchiveError> {
    let mut segment = SegmentRead {
        manifest: Arc::clone(&manifest),
        files: 0,
        bytes: 0,
        rows: 0,
        leaves: Leaves::default(),
        moments: Vec::new(),
        found: Vec::new(),
        missing: Vec::new(),
    };
    for file in &manifest.files {
        let bytes = match store.get(&file.name).await {
            Err(StoreError::Missing { .. }) => {
                segment.absent(file);
                continue;
            }
            Err(StoreError::Name { .. }) => {
                let name = Manifest::name(&manifest.node, manifest.segment);
                let detail = format!("it names {:?}, which is no name of an object", file.name);
                segment.found.push((Class::Altered, name, detail));
                continue;
            }
            read => read?,
        };
        if !lengths.contains_key(&file.name) {
            // It came between the listing and now; or it has a name that no recorder gives, and stands as such.
            segment.found.push((Class::Altered, file.name.clone(), "it came while it was looked for".to_owned()));
        }
        let Some(dataset) = dataset_of(&file.name) else {
            segment.found.push((Class::Altered, file.name.clone(), "it is of no dataset that is known".to_owned()));
            continue;
        };
        segment.files += 1;
        segment.bytes += bytes.len() as u64;
        let length = bytes.len() as u64;
        // A decoder may panic on bytes that nobody wrote on purpose; then the task fails, not the program.
        let read = tokio::task::spawn_blocking(move || hostile(|| FileRead::of(dataset, bytes))).await;
        match read {
            Ok(read) => segment.take(file, length, read),
            Err(_) => {
                let detail = "the Parquet reader gave up on it".to_owned();
                segment.found.push((Class::Altered, file.name.clone(), detail));
            }
        }
    }
    segment.leaves = std::mem::take(&mut segment.leaves).sorted();
    Ok(segment)
}

impl FileRead {
    fn of(dataset: Dataset, bytes: Bytes) -> Self {
        Self { digest: Sha256::of(&bytes), decoded: rows::decode(dataset, bytes) }
    }
}

impl SegmentRead {
    fn absent(&mut self, file: &ManifestFile) {
        self.found.push((Class::Missing, file.name.clone(), format!("its segment has it, with {} rows", file.rows)));
        self.missing.extend(file.sha256.parse().ok().map(|digest| (digest, file.name.clone())));
    }

    fn take(&mut self, file: &ManifestFile, length: u64, read: FileRead) {
        let same = read.digest.to_string() == file.sha256;
        let decoded = match read.decoded {
            Ok(decoded) => decoded,
            Err(problem) => {
                let short = if length < file.bytes { ", of which the end is missing" } else { "" };
                let detail = format!(
                    "it has {length} bytes and was stored with {}{short}; it cannot be read: {problem}",
                    file.bytes
                );
                return self.found.push((Class::Altered, file.name.clone(), detail));
            }
        };
        let (node, segment) = (self.manifest.node.to_string(), self.manifest.segment.0);
        self.rows += decoded.rows;
        for ((of_node, of_segment), part) in decoded.parts {
            if (of_node.as_str(), of_segment) != (node.as_str(), segment) {
                let rows = part.leaves.len();
                let detail = format!("it holds {rows} rows of segment {of_segment} of {of_node}");
                self.found.push((Class::Inserted, file.name.clone(), detail));
                continue;
            }
            self.leaves.append(part.leaves);
            self.moments.extend(part.moments);
        }
        if same {
            return;
        }
        let (class, what) = if decoded.in_order {
            (Class::Altered, "it is not the file that was stored")
        } else {
            (Class::Reordered, "its rows do not stand in the order in which they were stored")
        };
        let detail = format!("{what}: its SHA-256 is {}, its manifest says {}", read.digest, file.sha256);
        self.found.push((class, file.name.clone(), detail));
    }

    /// Tells what was found, and returns what spans segments.
    pub(super) fn into_report(mut self, progress: &dyn Progress, report: &mut Report) -> Moments {
        progress.advance(self.bytes, self.rows);
        let (files, bytes) = (self.files, self.bytes);
        (report.files, report.bytes) = (report.files + files, report.bytes + bytes);
        report.missing.extend(std::mem::take(&mut self.missing));
        let place = (&self.manifest.node, self.manifest.segment.0);
        for (class, object, detail) in self.found {
            report.find_in(class, &object, place, detail);
        }
        check(&self.manifest, &self.leaves, report);
        Moments { segment: self.manifest.segment.0, moments: self.moments }
    }
}

/// What a segment tells of its recorder.
pub(super) struct Moments {
    pub(super) segment: u64,
    pub(super) moments: Vec<Moment>,
}

/// Holds the rows of a segment against the roots of its manifest.
pub(super) fn check(manifest: &Manifest, leaves: &Leaves, report: &mut Report) {
    if leaves.len() == manifest.records && leaves.root().to_string() == manifest.records_root {
        report.records += leaves.len();
        return;
    }
    let place = (&manifest.node, manifest.segment.0);
    let mut located = false;
    for dataset in Dataset::ALL {
        let promised = manifest.dataset(*dataset);
        let found = leaves.of(*dataset);
        let Some(detail) = difference(promised, found) else {
            report.records += found.len() as u64;
            continue;
        };
        located = true;
        let class = match promised.map_or(0, |promised| promised.rows).cmp(&(found.len() as u64)) {
            std::cmp::Ordering::Less => Class::Inserted,
            std::cmp::Ordering::Equal => Class::Altered,
            std::cmp::Ordering::Greater => Class::Missing,
        };
        let object = format!("{} of segment {} of {}", dataset.name(), manifest.segment.0, manifest.node);
        report.find_in(class, &object, place, detail);
    }
    if !located {
        let name = Manifest::name(&manifest.node, manifest.segment);
        let detail = "its root over all rows is not that of the rows of its datasets".to_owned();
        report.find_in(Class::Altered, &name, place, detail);
    }
}

/// In what the rows of a dataset differ from what was promised of them.
fn difference(promised: Option<&ManifestDataset>, found: &[(EntrySeq, Sha256)]) -> Option<String> {
    let (rows, root) = promised.map_or((0, None), |promised| (promised.rows, Some(promised.root.as_str())));
    let mut of_found = Leaves::default();
    of_found.extend(Dataset::Statements, found.iter().copied());
    let roots = of_found.sorted().roots();
    let made = roots.first();
    if made.map_or(0, |made| made.rows) == rows && made.map(|made| made.root.to_string()).as_deref() == root {
        return None;
    }
    let mut said = format!("{} rows are here, {rows} were sealed", found.len());
    let twice = found.windows(2).find(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
    if let Some([(entry, _), _]) = twice {
        said.push_str(&format!("; two rows have the entry {}", entry.0));
    }
    let stretches = made.map(|made| made.stretches.as_slice()).unwrap_or_default();
    let promised = promised.map(|promised| promised.stretches.as_slice()).unwrap_or_default();
    let first = (0..stretches.len().max(promised.len()))
        .find(|at| stretches.get(*at).map(ToString::to_string).as_ref() != promised.get(*at));
    if let Some(part) = first.and_then(|at| found.chunks(STRETCH).nth(at)) {
        let ends = part.first().zip(part.last());
        if let Some(((from, _), (to, _))) = ends {
            said.push_str(&format!("; the first difference is among entries {} to {}", from.0, to.0));
        }
    } else if let Some((entry, _)) = found.last() {
        said.push_str(&format!("; those after entry {} are missing", entry.0));
    }
    Some(said)
}

/// The dataset that an object belongs to, by its folder or, in an export, by how its name begins.
pub(super) fn dataset_of(name: &str) -> Option<Dataset> {
    let folder = name.split('/').next().unwrap_or(name);
    let base = name.rsplit('/').next().unwrap_or(name);
    let of = |text: &str| Dataset::ALL.iter().copied().find(|dataset| text.starts_with(dataset.name()));
    of(folder).or_else(|| of(base))
}

/// A moment as manifests write it.
pub(super) fn time(text: Option<&String>) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text?).ok()?;
    Some(Timestamp(time.timestamp_micros()))
}
