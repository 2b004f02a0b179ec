//! One recorder's log: its manifests in order, held against one another and against every checkpoint.
//!
//! The root of the tree is followed for each way in which the log can be read (see [`Reading`]): a manifest that was
//! changed or removed is replaced by the leaf that the next one repeats. If the signed root then fits, that manifest is
//! the only one that was touched, and what follows it is proven all the same.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::super::error::ArchiveError;
use super::Request;
use super::findings::{Class, NodeCoverage, Report, Weight, segments};
use super::heard;
use super::inventory::{LogObjects, READS_AT_ONCE};
use super::trust::{Said, Trust};
use crate::model::{NodeName, SegmentNo, Sha256, Timestamp};
use crate::seal::log::LogObject;
use crate::seal::merkle::{self, Tree};
use crate::seal::tiles::Tile;
use crate::segment::Manifest;
use crate::store::{Store, StoreError};

/// Ways to read the log that are followed at the same time. Each checkpoint leaves one; between two of them each broken
/// link doubles them.
const READINGS: usize = 16;

/// Clocks of different people differ by less, in microseconds.
const CLOCKS_APART: u64 = 60_000_000;

/// A manifest as it was found.
struct Found {
    number: u64,
    leaf: Sha256,
    /// What is wrong with it, if it is none.
    manifest: Result<Manifest, String>,
}

/// One way in which the log can be read.
#[derive(Debug, Clone, Default)]
struct Reading {
    tree: Tree,
    leaves: Vec<Sha256>,
    /// The segments whose manifest as it is here was not believed, since the last checkpoint that fitted.
    replaced: Vec<u64>,
}

/// A log that is being followed.
pub(super) struct Log<'a> {
    store: &'a Store,
    request: &'a Request,
    node: NodeName,
    objects: &'a LogObjects,
    /// What trusted checkpoints say, by size: each with its source.
    said: BTreeMap<u64, Vec<(String, Said)>>,
    manifests: BoxStream<'a, Result<Option<Found>, ArchiveError>>,
    /// The next manifest, read ahead.
    ahead: Option<Found>,
    /// The one before, for the links between the two.
    before: Option<Manifest>,
    number: u64,
    readings: Vec<Reading>,
    /// From which segment on no reading is left.
    lost: Option<u64>,
    coverage: NodeCoverage,
    /// When an authority saw the checkpoint of a size, at the earliest.
    stamped: BTreeMap<u64, Timestamp>,
}

impl<'a> Log<'a> {
    pub(super) async fn open(
        store: &'a Store,
        request: &'a Request,
        node: &NodeName,
        objects: &'a LogObjects,
        report: &mut Report,
    ) -> Result<Self, ArchiveError> {
        let transitions = heard::transitions(store, node, objects, report).await?;
        let trust = Trust::new(node, &request.keys, &transitions, report);
        let said = heard::said(store, request, node, objects, &trust, report).await?;
        let mut coverage = NodeCoverage { node: node.to_string(), ..NodeCoverage::default() };
        let stamped = heard::stamps(store, request, node, objects, (&mut coverage, report)).await?;
        let reader = node.clone();
        let manifests = stream::iter(objects.manifests.iter().copied())
            .map(move |number| manifest(store, reader.clone(), number))
            .buffered(READS_AT_ONCE)
            .boxed();
        let readings = vec![Reading::default()];
        let (node, number) = (node.clone(), 0);
        let mut log = Self {
            store,
            request,
            node,
            objects,
            said,
            manifests,
            ahead: None,
            before: None,
            number,
            readings,
            lost: None,
            coverage,
            stamped,
        };
        log.ahead = log.read().await?;
        Ok(log)
    }

    /// The archive, and what is to be verified of it.
    pub(super) fn asked(&self) -> (&'a Store, &'a Request) {
        (self.store, self.request)
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    async fn read(&mut self) -> Result<Option<Found>, ArchiveError> {
        while let Some(found) = self.manifests.next().await {
            if let Some(found) = found? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn name(&self, object: LogObject) -> String {
        object.name(&self.node)
    }

    fn manifest_name(&self, number: u64) -> String {
        self.name(LogObject::Manifest(SegmentNo(number)))
    }

    /// The next manifest that can be read.
    pub(super) async fn next(&mut self, report: &mut Report) -> Result<Option<Manifest>, ArchiveError> {
        loop {
            let Some(found) = self.ahead.take() else { return Ok(None) };
            self.ahead = self.read().await?;
            self.skip_to(found.number, found.manifest.as_ref().ok(), report);
            let claimed = self.claimed_by_next(found.number);
            self.step(found.number, Some(found.leaf), claimed, report);
            self.number = found.number;
            match found.manifest {
                Ok(manifest) => {
                    self.linked(&manifest, report);
                    self.timed(&manifest, report);
                    self.cover(&manifest);
                    self.before = Some(manifest.clone());
                    return Ok(Some(manifest));
                }
                Err(problem) => {
                    let name = self.manifest_name(found.number);
                    report.find_in(Class::Altered, &name, (&self.node, found.number), problem);
                    self.before = None;
                }
            }
        }
    }

    /// The leaf of the manifest `number` as the one behind it repeats it.
    fn claimed_by_next(&self, number: u64) -> Option<Sha256> {
        let next = self.ahead.as_ref().filter(|next| next.number == number + 1)?;
        next.manifest.as_ref().ok()?.previous_leaf.as_ref()?.parse().ok()
    }

    /// Manifests that are missing before `number`. The last of them is known by its leaf, if the next one repeats it.
    fn skip_to(&mut self, number: u64, next: Option<&Manifest>, report: &mut Report) {
        let (first, last) = (self.number + 1, number.saturating_sub(1));
        if first > last {
            return;
        }
        let detail = format!("{} of the log have no manifest; later ones are here", segments(first, last));
        report.find_in(Class::Missing, &self.manifest_name(first), (&self.node, first), detail);
        let repeated = next.and_then(|next| next.previous_leaf.as_ref()).and_then(|leaf| leaf.parse().ok());
        if first == last {
            self.step(first, None, repeated, report);
        } else {
            self.readings.clear();
            self.lost.get_or_insert(first);
        }
        self.before = None;
    }

    /// Appends the leaf of a segment, as it is and as the next manifest repeats it, and keeps what the checkpoints allow.
    fn step(&mut self, number: u64, found: Option<Sha256>, repeated: Option<Sha256>, report: &mut Report) {
        let mut next = Vec::new();
        for mut reading in std::mem::take(&mut self.readings) {
            let other = repeated.filter(|repeated| found.is_some_and(|found| found != *repeated));
            let leaf = found.or(repeated);
            // A log is long: it is copied only where two ways part.
            let parted = other.map(|other| (reading.clone(), other));
            next.extend(leaf.map(|leaf| {
                reading.push(number, leaf, found.is_some());
                reading
            }));
            next.extend(parted.map(|(mut reading, other)| {
                reading.push(number, other, false);
                reading
            }));
        }
        next.truncate(READINGS);
        if next.is_empty() {
            self.lost.get_or_insert(number);
        }
        self.readings = next;
        self.compare(number, report);
    }

    /// Holds the readings against what was said of the log at this size.
    fn compare(&mut self, number: u64, report: &mut Report) {
        let Some(said) = self.said.get(&number) else { return };
        let roots: BTreeSet<[u8; 32]> = said.iter().map(|(_, said)| said.root.0).collect();
        if roots.len() > 1 {
            let sources: Vec<&str> = said.iter().map(|(source, _)| source.as_str()).collect();
            let detail = format!("signed checkpoints of one size say different things: {}", sources.join(", "));
            report.find_in(Class::Forked, &self.manifest_name(number), (&self.node, number), detail);
        }
        if self.readings.is_empty() {
            return;
        }
        let fits = |reading: &Reading| roots.contains(&reading.tree.root().0);
        let Some(at) = self.readings.iter().position(fits) else {
            let (source, _) = said.iter().map(|(source, said)| (source.clone(), said)).next().unzip();
            let name = self.manifest_name(number);
            let detail = format!(
                "the log up to here is not the one that {} signed: a manifest was changed, or there are two histories",
                source.unwrap_or_default()
            );
            let class = if self.request.kept.iter().any(|kept| said.iter().all(|(source, _)| *source == kept.name)) {
                Class::Forked
            } else {
                Class::Altered
            };
            report.find_in(class, &name, (&self.node, number), detail);
            self.readings.clear();
            self.lost.get_or_insert(number);
            return;
        };
        let mut reading = self.readings.swap_remove(at);
        for replaced in reading.replaced.drain(..) {
            if self.objects.manifests.contains(&replaced) {
                let detail = "it is not the manifest that was signed; those around it are".to_owned();
                report.find_in(Class::Altered, &self.manifest_name(replaced), (&self.node, replaced), detail);
            }
        }
        self.coverage.signed = number;
        for (source, said) in said {
            if !self.coverage.keys.contains(&said.key) {
                self.coverage.keys.push(said.key.clone());
            }
            self.coverage.kept += u64::from(self.request.kept.iter().any(|kept| kept.name == *source));
        }
        self.readings = vec![reading];
    }

    /// What a manifest says of the one before.
    fn linked(&self, manifest: &Manifest, report: &mut Report) {
        let number = manifest.segment.0;
        let name = self.manifest_name(number);
        let mut altered = |detail: String| report.find_in(Class::Altered, &name, (&self.node, number), detail);
        if number == 1 && manifest.previous_leaf.is_some() {
            altered("it is the first, and names one before".to_owned());
        }
        if number > 1 && manifest.previous_leaf.is_none() {
            altered("it is not the first, and names none before".to_owned());
        }
        let Some(before) = &self.before else { return };
        if manifest.first_entry.0 != before.last_entry.0 + 1 {
            altered(format!(
                "it begins with entry {}, and the segment before ends with {}",
                manifest.first_entry.0, before.last_entry.0
            ));
        }
        if manifest.cut < before.cut {
            let detail = format!("it was cut at {}, before the one before it ({})", manifest.cut, before.cut);
            report.find_in(Class::ClockAnomaly, &name, (&self.node, number), detail);
        }
    }

    /// A recorder cannot have cut a segment after somebody else saw it.
    fn timed(&self, manifest: &Manifest, report: &mut Report) {
        let Some(seen) = self.stamped.get(&manifest.segment.0) else { return };
        let cut = super::segment::time(Some(&manifest.cut));
        if cut.is_some_and(|cut| cut.micros_since(*seen) > CLOCKS_APART) {
            let detail = format!("it says that it was cut at {}, and an authority saw it at {seen}", manifest.cut);
            let name = self.manifest_name(manifest.segment.0);
            report.find_in(Class::ClockAnomaly, &name, (&self.node, manifest.segment.0), detail);
        }
    }

    fn cover(&mut self, manifest: &Manifest) {
        self.coverage.segments += 1;
        if self.coverage.first_time.is_none() {
            self.coverage.first_time.clone_from(&manifest.first_time);
        }
        if manifest.last_time.is_some() {
            self.coverage.last_time.clone_from(&manifest.last_time);
        }
        self.coverage.stopped = manifest.stops;
    }

    /// What can be said when the last manifest was read.
    pub(super) async fn end(self, report: &mut Report) -> Result<(), ArchiveError> {
        let size = self.number;
        if self.coverage.segments == 0 {
            let object = format!("the log of {}", self.node);
            let detail = "it has no manifest that can be read".to_owned();
            report.find_of(Class::Missing, Weight::Incomplete, &object, (&self.node, None), detail);
        }
        self.cut_tail(size, report);
        self.unsigned(size, report);
        self.without_checkpoint(size, report);
        self.tiles(report).await?;
        report.nodes.push(self.coverage);
        Ok(())
    }

    fn cut_tail(&self, size: u64, report: &mut Report) {
        let Some((last, said)) = self.said.last_key_value().filter(|(last, _)| **last > size) else { return };
        let source = said.first().map_or("", |(source, _)| source.as_str());
        let detail = format!("{source} signs {last} segments; {} are not here", segments(size + 1, *last));
        report.find_in(Class::TruncatedTail, &self.manifest_name(size + 1), (&self.node, size + 1), detail);
    }

    fn unsigned(&self, size: u64, report: &mut Report) {
        let signed = self.coverage.signed;
        if signed >= size {
            return;
        }
        let why = match self.lost {
            Some(lost) => format!("from segment {lost} on the log cannot be held against a checkpoint"),
            None => "no checkpoint of a trusted key covers them".to_owned(),
        };
        let detail = format!("{} are not proven: {why}", segments(signed + 1, size));
        report.find_in(Class::Unsigned, &format!("the log of {}", self.node), (&self.node, signed + 1), detail);
    }

    /// A recorder stores a checkpoint with every segment; one that is gone was taken.
    fn without_checkpoint(&self, size: u64, report: &mut Report) {
        let there: BTreeSet<u64> = self.objects.checkpoints.iter().map(|(size, _)| *size).collect();
        for number in (1..size).filter(|number| !there.contains(number)) {
            let name = format!("{}/{}/checkpoint-{number:012}", crate::seal::log::FOLDER, self.node);
            let detail = "the checkpoint of this segment is not here".to_owned();
            report.find_in(Class::Missing, &name, (&self.node, number), detail);
        }
    }

    /// Holds the tiles against the log as it was read.
    async fn tiles(&self, report: &mut Report) -> Result<(), ArchiveError> {
        let Some(reading) = self.readings.first() else { return Ok(()) };
        let wanted: BTreeSet<Tile> = Tile::all(reading.tree.size()).collect();
        let mut held = stream::iter(self.objects.tiles.iter().copied())
            .map(|tile| {
                let name = self.name(LogObject::Tile(tile));
                async move { (tile, self.store.get(&name).await) }
            })
            .buffered(READS_AT_ONCE);
        while let Some((tile, held)) = held.next().await {
            let held = match held {
                Err(StoreError::Missing { .. }) => continue,
                read => read?,
            };
            let entries = tile.entries();
            let range = usize::try_from(entries.start).ok().zip(usize::try_from(entries.end).ok());
            let leaves = range.and_then(|(start, end)| reading.leaves.get(start..end));
            let fits = leaves.and_then(|leaves| tile.bytes(leaves)).is_some_and(|bytes| bytes == held.as_ref());
            if !fits {
                let (name, detail) =
                    (self.name(LogObject::Tile(tile)), "it does not hold the hashes of the log".to_owned());
                report.find_of(Class::Altered, Weight::Contradiction, &name, (&self.node, None), detail);
            }
        }
        for tile in wanted.difference(&self.objects.tiles) {
            let name = self.name(LogObject::Tile(*tile));
            let detail = "the log is large enough for it, and it is not here".to_owned();
            report.find_of(Class::Missing, Weight::Incomplete, &name, (&self.node, None), detail);
        }
        Ok(())
    }
}

impl Reading {
    fn push(&mut self, number: u64, leaf: Sha256, as_found: bool) {
        self.tree.push(leaf);
        self.leaves.push(leaf);
        if !as_found {
            self.replaced.push(number);
        }
    }
}

/// A manifest; nothing if it went away since it was listed.
async fn manifest(store: &Store, node: NodeName, number: u64) -> Result<Option<Found>, ArchiveError> {
    let name = LogObject::Manifest(SegmentNo(number)).name(&node);
    let bytes = match store.get(&name).await {
        Err(StoreError::Missing { .. }) => return Ok(None),
        read => read?,
    };
    let manifest = match Manifest::read(&bytes) {
        Ok(manifest) if manifest.node == node && manifest.segment == SegmentNo(number) => Ok(manifest),
        Ok(manifest) => Err(format!("it is the manifest of segment {} of {}", manifest.segment.0, manifest.node)),
        Err(error) => Err(format!("it cannot be read: {error}")),
    };
    Ok(Some(Found { number, leaf: merkle::leaf(&bytes), manifest }))
}
