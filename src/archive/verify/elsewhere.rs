//! Rows in other files than the recorder's: a compacted copy, an export, a table of another system written back.
//!
//! What is signed is the rows, so any files do that carry them without loss. A segment's rows are collected until all that
//! its manifest promises are there, and then let go: memory is that of the segments of which some rows were read and some
//! not, 40 bytes for each row. Files are read day by day, so that these are few.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::damage::hostile;
use super::super::error::ArchiveError;
use super::Progress;
use super::findings::{Class, Report};
use super::rows::{self, Moment, Part};
use super::segment::{Moments, check as check_rows, dataset_of};
use super::spans::Spans;
use crate::segment::{Leaves, Manifest};
use crate::store::{Listed, Store, StoreError};

const PARQUET: &str = ".parquet";

/// What the logs promise, by recorder and segment.
#[derive(Debug, Default)]
pub(super) struct Promises(BTreeMap<(String, u64), Promise>);

#[derive(Debug)]
struct Promise {
    manifest: Arc<Manifest>,
    found: Leaves,
    moments: Vec<Moment>,
    done: bool,
}

impl Promises {
    pub(super) fn add(&mut self, manifest: &Arc<Manifest>) {
        let key = (manifest.node.to_string(), manifest.segment.0);
        let manifest = Arc::clone(manifest);
        self.0.insert(key, Promise { manifest, found: Leaves::default(), moments: Vec::new(), done: false });
    }

    fn take(&mut self, name: &str, key: &(String, u64), part: Part, report: &mut Report) {
        let Some(promise) = self.0.get_mut(key) else {
            let detail =
                format!("it holds {} rows of segment {} of {}, which no log has", part.leaves.len(), key.1, key.0);
            return report.find(Class::Inserted, name, detail);
        };
        if promise.done {
            let detail = format!("it holds {} rows too many of segment {} of {}", part.leaves.len(), key.1, key.0);
            return report.find(Class::Inserted, name, detail);
        }
        promise.found.append(part.leaves);
        promise.moments.extend(part.moments);
        if promise.found.len() >= promise.manifest.records {
            promise.done = true;
            check_rows(&promise.manifest, &std::mem::take(&mut promise.found).sorted(), report);
        }
    }
}

/// Holds the rows in `store` against what the logs promise.
pub(super) async fn check(
    store: &Store,
    mut promises: Promises,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<(), ArchiveError> {
    let mut files: Vec<Listed> = store.list("").await?;
    files.retain(|file| file.name.ends_with(PARQUET));
    files.sort_by(|a, b| day(&a.name).cmp(&day(&b.name)).then_with(|| a.name.cmp(&b.name)));
    progress.expect(files.iter().map(|file| file.bytes).sum());
    for file in files {
        let Some(dataset) = dataset_of(&file.name) else {
            let detail = "neither its folder nor its name says which dataset it is of".to_owned();
            report.find(Class::Inserted, &file.name, detail);
            continue;
        };
        let bytes = match store.get(&file.name).await {
            Err(StoreError::Missing { .. }) => continue,
            read => read?,
        };
        let decoded = tokio::task::spawn_blocking(move || hostile(|| rows::decode(dataset, bytes))).await;
        let decoded = match decoded {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(problem)) => {
                report.find(Class::Altered, &file.name, format!("it cannot be read: {problem}"));
                continue;
            }
            Err(_) => {
                report.find(Class::Altered, &file.name, "the Parquet reader gave up on it".to_owned());
                continue;
            }
        };
        progress.advance(file.bytes, decoded.rows);
        (report.files, report.bytes) = (report.files + 1, report.bytes + file.bytes);
        for (key, part) in decoded.parts {
            promises.take(&file.name, &key, part, report);
        }
    }
    let mut spans: Option<Spans> = None;
    // By recorder, and of each its segments in their order.
    for promise in promises.0.into_values() {
        let Promise { manifest, found, moments, done } = promise;
        if !done {
            check_rows(&manifest, &found.sorted(), report);
        }
        let segment = manifest.segment.0;
        let follows = spans.take().filter(|spans| *spans.node() == manifest.node);
        let mut follows = follows.unwrap_or_else(|| Spans::new(manifest.node.clone(), true));
        follows.promise(segment, manifest.heartbeat_seconds);
        follows.segment(Moments { segment, moments }, report);
        spans = Some(follows);
    }
    Ok(())
}

/// The day in a name, so that the rows of a segment are read near one another.
fn day(name: &str) -> Option<&str> {
    name.split('/').find_map(|part| part.strip_prefix("date="))
}
