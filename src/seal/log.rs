//! The names of a recorder's log in the archive, all below `log/<node>/`: one place for those who write and those who
//! read.
//!
//! ```text
//! manifest-000000000042.json              the entry at index 41
//! checkpoint-000000000042-530d903a.note   the log at size 42, signed by the key 530d903a
//! checkpoint-000000000042-530d903a.tsr    when a timestamp authority saw that note (RFC 3161)
//! key-000000000042-530d903a-9b1c22f0.note at size 42 the second key follows the first
//! tile/0/000                              256 hashes of the log
//! ```
//!
//! A checkpoint's name has the key's id, so that a key that changes between two tries makes another name and no conflict.

use std::fmt;

use super::note::KeyId;
use super::tiles::Tile;
use crate::model::{NodeName, SegmentNo};

/// The folder of all logs.
pub const FOLDER: &str = "log";
/// Numbers are padded so that names sort as numbers do.
const WIDTH: usize = 12;

/// An object of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogObject {
    /// The manifest of a segment.
    Manifest(SegmentNo),
    /// A checkpoint: the size, and the key that signed it.
    Checkpoint(u64, KeyId),
    /// A timestamp over the checkpoint of the same size and key.
    Stamp(u64, KeyId),
    /// A hand-over: the size, the old key and the new one.
    KeyChange(u64, KeyId, KeyId),
    /// A full tile.
    Tile(Tile),
}

impl LogObject {
    /// The object's name below the archive's prefix.
    pub fn name(self, node: &NodeName) -> String {
        format!("{FOLDER}/{node}/{self}")
    }

    /// Whose log a name is of, and what of it; nothing if no recorder gives such a name.
    pub fn read(name: &str) -> Option<(NodeName, Self)> {
        let (node, path) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
        let object = Self::parse(path)?;
        // One name for each object: what reads, and is written otherwise, is not ours.
        (object.to_string() == path).then_some((NodeName::new(node).ok()?, object))
    }

    fn parse(path: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u64>().ok();
        if let Some(tile) = Tile::read(path) {
            return Some(Self::Tile(tile));
        }
        let (stem, extension) = path.rsplit_once('.')?;
        let parts: Vec<&str> = stem.split('-').collect();
        match (parts.as_slice(), extension) {
            (["manifest", no], "json") => Some(Self::Manifest(SegmentNo(number(no)?))),
            (["checkpoint", size, key], "note") => Some(Self::Checkpoint(number(size)?, KeyId::read(key)?)),
            (["checkpoint", size, key], "tsr") => Some(Self::Stamp(number(size)?, KeyId::read(key)?)),
            (["key", size, old, new], "note") => {
                Some(Self::KeyChange(number(size)?, KeyId::read(old)?, KeyId::read(new)?))
            }
            _ => None,
        }
    }
}

/// The name below the log's own folder.
impl fmt::Display for LogObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(no) => write!(f, "manifest-{:0WIDTH$}.json", no.0),
            Self::Checkpoint(size, key) => write!(f, "checkpoint-{size:0WIDTH$}-{key}.note"),
            Self::Stamp(size, key) => write!(f, "checkpoint-{size:0WIDTH$}-{key}.tsr"),
            Self::KeyChange(size, old, new) => write!(f, "key-{size:0WIDTH$}-{old}-{new}.note"),
            Self::Tile(tile) => f.write_str(&tile.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_no_other_name_does() {
        let node = NodeName::new("node-1").unwrap();
        let (old, new) = (KeyId([0x53, 0x0d, 0x90, 0x3a]), KeyId([0, 1, 2, 3]));
        let tile = Tile { level: 0, index: 1_002 };
        for (object, name) in [
            (LogObject::Manifest(SegmentNo(42)), "log/node-1/manifest-000000000042.json"),
            (LogObject::Checkpoint(42, old), "log/node-1/checkpoint-000000000042-530d903a.note"),
            (LogObject::Stamp(42, old), "log/node-1/checkpoint-000000000042-530d903a.tsr"),
            (LogObject::KeyChange(42, old, new), "log/node-1/key-000000000042-530d903a-00010203.note"),
            (LogObject::Tile(tile), "log/node-1/tile/0/x001/002"),
        ] {
            assert_eq!(object.name(&node), name);
            assert_eq!(LogObject::read(name), Some((node.clone(), object)));
        }
        for bad in [
            "log/node-1/manifest-42.json",
            "log/node-1/manifest-000000000042.txt",
            "log/node-1/checkpoint-000000000042-530D903A.note",
            "log/node-1/checkpoint-000000000042.note",
            "log/node-1/deep/manifest-000000000042.json",
            "log/.hidden/manifest-000000000042.json",
            "logs/node-1/manifest-000000000042.json",
            "log/manifest-000000000042.json",
        ] {
            assert_eq!(LogObject::read(bad), None, "{bad}");
        }
    }
}
