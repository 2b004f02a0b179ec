//! Is the archive what the recorders wrote, and all of it? Answered from the objects and public keys alone.
//!
//! What it promises:
//!
//! * It goes on after a finding: every object is looked at, and each finding names class, object and place.
//! * What cannot be told is never reported as fine. [`Verdict::Proven`] needs a log that is whole and signed by a trusted
//!   key up to its end, every file and every row that its manifests promise, and nothing besides.
//! * It asks nobody: no recorder, no service, no clock.
//!
//! The way: list what is there ([`inventory`]); find out which keys count ([`trust`]) and
//! what was signed ([`heard`]); follow each log from its first
//! manifest on, held against every checkpoint ([`log`]); read the files of each segment, rebuild the bytes of each row and
//! their roots ([`segment`]); then what spans segments ([`spans`]): sessions without a gap, silence that nobody explained.
//! Rows may also stand in other files than the recorder's ([`elsewhere`]): what is signed is the rows.
//!
//! Two alternatives lost. *File digests only* (as CloudTrail does) say nothing of a compacted copy or an export, and
//! nothing of where in a file. *Trusting the chain of hashes* instead of the tree makes one changed manifest spoil all
//! that follow; with the leaf that the next manifest repeats, the tree shows that only one was changed.

mod elsewhere;
mod findings;
mod heard;
mod inventory;
mod log;
mod prove;
mod rows;
mod segment;
mod spans;
mod trust;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;

use super::error::ArchiveError;
use crate::model::{NodeName, Timestamp};
use crate::seal::checkpoint::{Checkpoint, origin};
use crate::seal::note::{Note, VerifierKey};
use crate::seal::timestamp::Authorities;
use crate::store::Store;

pub use findings::{Class, Finding, NodeCoverage, Report, Verdict, Weight};
pub use prove::{Proven, check, newest_checkpoints, prove};

use inventory::Inventory;

/// Segments that are read at the same time for each processor: one is decoded while another is fetched.
const SEGMENTS_FOR_EACH_PROCESSOR: usize = 2;

/// A checkpoint that was kept somewhere else than in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where, for messages.
    name: String,
    /// The note.
    bytes: Vec<u8>,
    /// The log that it says it is of; nothing if it is no checkpoint.
    origin: Option<String>,
}

impl Kept {
    /// A checkpoint that was found under a name of its keeper's.
    pub fn new(name: String, bytes: Vec<u8>) -> Self {
        let text = Note::read(&bytes).ok().map(|note| note.unverified_text().to_owned());
        let origin = text.and_then(|text| Checkpoint::read(&text).ok()).map(|checkpoint| checkpoint.origin);
        Self { name, bytes, origin }
    }

    /// The name that its keeper gave it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What is to be verified, and by what.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The keys that are trusted. Each names the recorder whose log it is for; one without a log is a finding.
    pub keys: Vec<VerifierKey>,
    /// Only these recorders; all for an empty list.
    pub nodes: Vec<NodeName>,
    /// Rows before this moment are not read.
    pub since: Option<Timestamp>,
    /// Rows from this moment on are not read; a log that ends before it is a finding.
    pub until: Option<Timestamp>,
    /// Where the rows stand, if not in the files of the recorders: a compacted copy or an export.
    pub rows: Option<Store>,
    /// Checkpoints that were kept elsewhere: what a log that was cut or exchanged cannot explain away.
    pub kept: Vec<Kept>,
    /// Whose timestamps are taken; without any, stamps are counted only.
    pub authorities: Option<Authorities>,
}

/// Somebody who wants to know how far it is.
pub trait Progress: Send + Sync {
    /// So many bytes of data files are to be read.
    fn expect(&self, bytes: u64);
    /// So many bytes, with so many rows, were read.
    fn advance(&self, bytes: u64, rows: u64);
}

/// Nobody wants to know.
impl Progress for () {
    fn expect(&self, _: u64) {}
    fn advance(&self, _: u64, _: u64) {}
}

impl Request {
    fn wants(&self, node: &NodeName) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }

    /// Whether a segment with rows of these times is to be read. In doubt it is.
    fn reads(&self, first: Option<Timestamp>, last: Option<Timestamp>) -> bool {
        let after = self.until.zip(first).is_some_and(|(until, first)| first >= until);
        let before = self.since.zip(last).is_some_and(|(since, last)| last < since);
        !after && !before
    }
}

/// Verifies the archive in `store`.
///
/// # Errors
///
/// The store cannot be read: then nothing was found out. Whatever is wrong with the archive is a finding.
pub async fn verify(store: &Store, request: &Request, progress: &dyn Progress) -> Result<Report, ArchiveError> {
    let inventory = Inventory::of(store).await?;
    let mut report = Report::default();
    for name in &inventory.strangers {
        report.find(Class::Inserted, name, "no recorder gives such a name".to_owned());
    }
    absent_logs(&inventory, request, &mut report);
    progress.expect(match &request.rows {
        Some(_) => 0,
        None => inventory.data.values().map(|held| held.bytes).sum(),
    });
    let mut promised = Promised::default();
    for (node, objects) in inventory.nodes.iter().filter(|(node, _)| request.wants(node)) {
        let log = log::Log::open(store, request, node, objects, &mut report).await?;
        follow(log, &inventory, progress, &mut promised, &mut report).await?;
    }
    match &request.rows {
        Some(rows) => elsewhere::check(rows, promised.rows, progress, &mut report).await?,
        None => not_promised(store, &inventory, request, &promised.files, &mut report).await?,
    }
    Ok(report.sorted())
}

/// What the manifests promise.
#[derive(Default)]
struct Promised {
    /// The names of files.
    files: BTreeSet<String>,
    /// The rows, where they stand in other files.
    rows: elsewhere::Promises,
}

/// Follows one recorder's log and reads its segments.
async fn follow(
    mut log: log::Log<'_>,
    inventory: &Inventory,
    progress: &dyn Progress,
    promised: &mut Promised,
    report: &mut Report,
) -> Result<(), ArchiveError> {
    let (store, request) = log.asked();
    let mut spans = spans::Spans::new(log.node().clone(), request.since.is_none());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reading = futures::stream::FuturesOrdered::new();
    while let Some(manifest) = log.next(report).await? {
        promised.files.extend(manifest.files.iter().map(|file| file.name.clone()));
        spans.manifest(&manifest);
        let manifest = Arc::new(manifest);
        if request.rows.is_some() {
            promised.rows.add(&manifest);
        } else if request.reads(segment::time(manifest.first_time.as_ref()), segment::time(manifest.last_time.as_ref()))
        {
            reading.push_back(segment::read(store.clone(), Arc::clone(&manifest), inventory.lengths_of(&manifest)));
        }
        while reading.len() >= processors * SEGMENTS_FOR_EACH_PROCESSOR {
            let Some(read) = reading.next().await else { break };
            let moments = read?.into_report(progress, report);
            spans.segment(moments, report);
        }
    }
    while let Some(read) = reading.next().await {
        let moments = read?.into_report(progress, report);
        spans.segment(moments, report);
    }
    spans.end(request.until, report);
    log.end(report).await
}

/// Recorders whose key is trusted, or whose checkpoint somebody kept, and that have no log here.
fn absent_logs(inventory: &Inventory, request: &Request, report: &mut Report) {
    let known: BTreeSet<String> = inventory.nodes.keys().map(origin).collect();
    let wanted = |name: &str| request.nodes.is_empty() || request.nodes.iter().any(|node| origin(node) == name);
    let trusted: BTreeSet<&str> = request.keys.iter().map(VerifierKey::name).collect();
    for name in trusted.into_iter().filter(|name| wanted(name) && !known.contains(*name)) {
        report.find(Class::Missing, name, "its key is trusted, and the archive has no log of it".to_owned());
    }
    for kept in &request.kept {
        match &kept.origin {
            None => report.find(Class::Altered, &kept.name, "it is no checkpoint".to_owned()),
            Some(origin) if wanted(origin) && !known.contains(origin) => {
                let detail = format!("it is a checkpoint of {origin}, and the archive has no log of that name");
                report.find(Class::Missing, &kept.name, detail);
            }
            Some(_) => {}
        }
    }
    for node in request.nodes.iter().filter(|node| !inventory.nodes.contains_key(node)) {
        if !request.keys.iter().any(|key| key.name() == origin(node)) {
            report.find(Class::Missing, &origin(node), "the archive has no log of it".to_owned());
        }
    }
}

/// Data files that no manifest names.
async fn not_promised(
    store: &Store,
    inventory: &Inventory,
    request: &Request,
    promised: &BTreeSet<String>,
    report: &mut Report,
) -> Result<(), ArchiveError> {
    let names = inventory.data.iter().filter(|(name, held)| !promised.contains(*name) && request.wants(&held.node));
    for (name, held) in names {
        let sealed = |no: u64| inventory.nodes.get(&held.node).is_some_and(|objects| objects.manifests.contains(&no));
        let last = inventory.nodes.get(&held.node).and_then(|objects| objects.manifests.last().copied()).unwrap_or(0);
        let unsigned = if held.segment == last + 1 {
            Some("its segment is not sealed yet, or never was: it is no evidence")
        } else if held.segment <= last && !sealed(held.segment) {
            Some("the manifest of its segment is missing: it is no evidence")
        } else {
            None
        };
        if let Some(detail) = unsigned {
            report.find_in(Class::Unsigned, name, (&held.node, held.segment), detail.to_owned());
            continue;
        }
        let moved = report.missing_with(store, name).await?;
        let detail = match moved {
            Some(from) => format!("no manifest names it; it is {from} under another name"),
            None => "no manifest names it".to_owned(),
        };
        report.find_in(Class::Inserted, name, (&held.node, held.segment), detail);
    }
    Ok(())
}
