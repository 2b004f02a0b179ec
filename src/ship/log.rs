//! The log of manifests: its tree, its tiles, its checkpoints, and the keys that sign them.
//!
//! The tree goes on from what the journal says of it ([`LogState`]), never from what the archive says: whoever can
//! change the archive must not be able to have it signed. Where the archive is read back (for a tile), what was read is
//! held against the tree.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::ShipError;
use super::work::Work;
use crate::model::{Entry, EventDetails, LogState, RecorderEvent, RecorderEventKind, SegmentNo, Sha256};
use crate::seal::checkpoint::{Checkpoint, origin};
use crate::seal::log::LogObject;
use crate::seal::merkle::{self, Head, Tree};
use crate::seal::note::SigningKey;
use crate::seal::tiles::{self, Tile};
use crate::seal::transition::Transition;
use crate::store::StoreError;

/// The keys of a recorder, wherever they are kept.
pub trait KeyRing: Send + Sync + fmt::Debug {
    /// The key that signs.
    fn current(&self) -> Arc<SigningKey>;

    /// The key that shall sign from now on, if another one was made. Asked before each segment.
    ///
    /// # Errors
    ///
    /// It cannot be read. The current key goes on signing, and it is asked again.
    fn next(&self) -> io::Result<Option<Arc<SigningKey>>>;

    /// Makes the next key the current one, for good: the one before is destroyed.
    ///
    /// # Errors
    ///
    /// It cannot be kept as such. It is tried again.
    fn promote(&self) -> io::Result<()>;
}

/// A checkpoint that is in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The size of the log.
    pub size: u64,
    /// The name of the object.
    pub name: String,
    /// The name of the timestamp over it.
    pub stamp_name: String,
    /// The note.
    pub note: String,
}

impl Work {
    /// The log as it was at the last segment.
    fn tree(&self) -> Result<Tree, ShipError> {
        let Some(shipped) = &self.shipped else { return Ok(Tree::default()) };
        let edge = shipped.log.as_ref().map(|log| log.edge.clone());
        let tree = edge.and_then(|edge| Tree::resume(shipped.segment.0, edge));
        tree.ok_or_else(|| ShipError::Signing {
            problem: "this journal's segments were shipped before records were signed; begin with a new journal and \
                      another node name"
                .to_owned(),
        })
    }

    /// Appends a segment's manifest, which is in the archive, to the log: puts the tiles that become full by it and the
    /// checkpoint. The same again gives the same objects.
    pub(super) async fn sign(&self, segment: SegmentNo, leaf: Sha256) -> Result<LogState, ShipError> {
        let mut tree = self.tree()?;
        let completed = tree.completed_by(leaf);
        for tile in Tile::filled_at(segment.0) {
            let bytes = self.tile(tile, leaf).await?;
            if Tile::root(&bytes) != completed.get(tile.height()).copied() {
                let name = LogObject::Tile(tile).name(&self.node);
                return Err(ShipError::Changed {
                    what: format!("a manifest or tile that {name} is made of is not what was put into the archive"),
                });
            }
            self.put(&LogObject::Tile(tile).name(&self.node), bytes.into()).await?;
        }
        tree.push(leaf);
        let key = self.keys.current();
        let signed = self.checkpoint(&tree, &key)?;
        self.put(&signed.name, Bytes::from(signed.note.clone())).await?;
        self.report(|status| status.signed = Some(signed));
        Ok(LogState { edge: tree.edge().to_vec(), key: key.verifier().to_string() })
    }

    /// The checkpoint of the log at this size. The same again gives the same bytes.
    fn checkpoint(&self, tree: &Tree, key: &SigningKey) -> Result<Signed, ShipError> {
        let head = Head { size: tree.size(), root: tree.root() };
        let note = Checkpoint::new(origin(&self.node), head).sign(key);
        let note = note.map_err(|error| ShipError::Signing { problem: error.to_string() })?.to_string();
        let id = key.verifier().id();
        let name = LogObject::Checkpoint(head.size, id).name(&self.node);
        let stamp_name = LogObject::Stamp(head.size, id).name(&self.node);
        Ok(Signed { size: head.size, name, stamp_name, note })
    }

    /// The checkpoint that the last run ended with. Nothing if the key that signed it has been destroyed since, which is
    /// no loss: the next segment brings another.
    pub(super) fn last_signed(&self) -> Option<Signed> {
        let log = self.shipped.as_ref()?.log.as_ref()?;
        let key = self.keys.current();
        if key.verifier().to_string() != log.key {
            return None;
        }
        self.checkpoint(&self.tree().ok()?, &key).ok()
    }

    /// A tile's bytes, of what the archive holds; `last` is the hash of the newest manifest.
    async fn tile(&self, tile: Tile, last: Sha256) -> Result<Vec<u8>, ShipError> {
        let mut bytes = Vec::with_capacity(tiles::BYTES);
        if tile.level == 0 {
            let entries = tile.entries();
            for index in entries.start..entries.end - 1 {
                let name = LogObject::Manifest(SegmentNo(index + 1)).name(&self.node);
                bytes.extend(merkle::leaf(&self.read_back(&name).await?).0);
            }
            bytes.extend(last.0);
        }
        for below in tile.below() {
            let held = self.read_back(&LogObject::Tile(below).name(&self.node)).await?;
            // What is no tile has no root, and then the one above has not the root that it must have.
            bytes.extend(Tile::root(&held).map(|root| root.0).unwrap_or_default());
        }
        Ok(bytes)
    }

    async fn read_back(&self, name: &str) -> Result<Bytes, ShipError> {
        match self.lasting(|| self.store.get(name)).await {
            Err(ShipError::Store(StoreError::Missing { name })) => {
                Err(ShipError::Changed { what: format!("{name} was put into the archive and is not there any more") })
            }
            read => read,
        }
    }

    /// Hands the log over to the next key, if one was made. Every step can be repeated: the note is the same, the event
    /// is looked for before it is appended, and the old key is destroyed last.
    pub(super) async fn hand_over(&mut self) -> Result<(), ShipError> {
        let next = match self.keys.next() {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "the next signing key cannot be read; the present one goes on signing");
                return Ok(());
            }
        };
        let current = self.keys.current();
        let (old, new) = (current.verifier().clone(), next.verifier().clone());
        if old == new {
            return self.promoted();
        }
        let size = self.shipped.as_ref().map_or(0, |shipped| shipped.segment.0);
        let name = LogObject::KeyChange(size, old.id(), new.id()).name(&self.node);
        let key = new.to_string();
        let transition = Transition { origin: origin(&self.node), size, old, new };
        let note =
            transition.sign(&current, &next).map_err(|error| ShipError::Signing { problem: error.to_string() })?;
        self.put(&name, Bytes::from(note.to_string())).await?;
        if self.taken_over.insert(key.clone()) {
            let detail = format!("from segment {} on the log is signed by {key}", size + 1);
            let (now, node) = (self.clock.now(), self.node.clone());
            let event = RecorderEvent::new(now, node, RecorderEventKind::KeyChanged, detail)
                .with(EventDetails { key: Some(key.clone()), ..EventDetails::default() });
            self.append(|| vec![Entry::Event(event.clone())]).await?;
        }
        tracing::warn!(key, "another key signs the log from now on; give its verifier key to those who verify");
        self.promoted()
    }

    fn promoted(&self) -> Result<(), ShipError> {
        // Without it the next checkpoint would be signed by a key that the note has just retired.
        self.keys.promote().map_err(|error| ShipError::Signing {
            problem: format!("the next signing key cannot take the place of the present one: {error}"),
        })
    }
}
