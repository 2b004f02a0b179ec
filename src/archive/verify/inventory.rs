//! What the archive holds, by the names alone.
//!
//! The log is listed before the data and once more after it: a segment that a running recorder sealed meanwhile is newer
//! than what is verified, and its files are passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::super::catalog::data_file;
use super::super::error::ArchiveError;
use crate::model::NodeName;
use crate::seal::log::{self, LogObject};
use crate::seal::note::KeyId;
use crate::seal::tiles::Tile;
use crate::segment::{Dataset, Manifest};
use crate::store::{Listed, Store};

/// Small objects that are read at the same time: enough to hide the way to an object store, few enough for its limits.
pub(super) const READS_AT_ONCE: usize = 32;

/// A data file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) bytes: u64,
    pub(super) node: NodeName,
    pub(super) segment: u64,
}

/// The objects of one log.
#[derive(Debug, Default)]
pub(super) struct LogObjects {
    pub(super) manifests: BTreeSet<u64>,
    pub(super) checkpoints: BTreeSet<(u64, KeyId)>,
    pub(super) stamps: BTreeSet<(u64, KeyId)>,
    pub(super) key_changes: BTreeSet<(u64, KeyId, KeyId)>,
    pub(super) tiles: BTreeSet<Tile>,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) nodes: BTreeMap<NodeName, LogObjects>,
    /// By name.
    pub(super) data: BTreeMap<String, Held>,
    /// Names that no recorder gives.
    pub(super) strangers: Vec<String>,
}

impl Inventory {
    pub(super) async fn of(store: &Store) -> Result<Self, ArchiveError> {
        let mut inventory = Self::default();
        for object in store.list(log::FOLDER).await? {
            match LogObject::read(&object.name) {
                Some((node, object)) => inventory.nodes.entry(node).or_default().add(object),
                None => inventory.strangers.push(object.name),
            }
        }
        let mut data = Vec::new();
        for object in store.list("").await? {
            match object.name.split('/').next() {
                Some(log::FOLDER) => {}
                _ => match Dataset::of_object(&object.name) {
                    Some(dataset) => data.push((dataset, object)),
                    None => inventory.strangers.push(object.name),
                },
            }
        }
        let now = sealed(store).await?;
        for (dataset, object) in data {
            inventory.hold(dataset, object, &now);
        }
        Ok(inventory)
    }

    fn hold(&mut self, dataset: Dataset, object: Listed, now: &BTreeMap<NodeName, u64>) {
        let name = object.name.clone();
        let file = data_file(dataset, object).ok().and_then(|file| Some((NodeName::new(&*file.node).ok()?, file)));
        let Some((node, file)) = file else { return self.strangers.push(name) };
        let then = self.nodes.get(&node).and_then(|objects| objects.manifests.last().copied()).unwrap_or(0);
        let newer = file.segment > then && now.get(&node).is_some_and(|now| file.segment <= *now);
        if !newer {
            self.data.insert(name, Held { bytes: file.bytes, node, segment: file.segment });
        }
    }

    /// The lengths of the files that a manifest names, where they are there.
    pub(super) fn lengths_of(&self, manifest: &Manifest) -> BTreeMap<String, u64> {
        let names = manifest.files.iter().map(|file| &file.name);
        names.filter_map(|name| Some((name.clone(), self.data.get(name)?.bytes))).collect()
    }
}

impl LogObjects {
    fn add(&mut self, object: LogObject) {
        match object {
            LogObject::Manifest(no) => self.manifests.insert(no.0),
            LogObject::Checkpoint(size, key) => self.checkpoints.insert((size, key)),
            LogObject::Stamp(size, key) => self.stamps.insert((size, key)),
            LogObject::KeyChange(size, old, new) => self.key_changes.insert((size, old, new)),
            LogObject::Tile(tile) => self.tiles.insert(tile),
        };
    }
}

/// The last segment of each log.
async fn sealed(store: &Store) -> Result<BTreeMap<NodeName, u64>, ArchiveError> {
    let mut sealed: BTreeMap<NodeName, u64> = BTreeMap::new();
    for object in store.list(log::FOLDER).await? {
        if let Some((node, LogObject::Manifest(no))) = LogObject::read(&object.name) {
            let last = sealed.entry(node).or_default();
            *last = no.0.max(*last);
        }
    }
    Ok(sealed)
}
