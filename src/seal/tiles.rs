//! Hash tiles as <https://c2sp.org/tlog-tiles> (v1.0.0) has them: the inner hashes of a log, 256 at a time, so that a
//! proof needs few objects.
//!
//! Only full tiles are made. They never change, so they fit into an immutable container; partial tiles can be had from
//! the manifests at any time, which are the log's entries and stay objects of their own.

use super::merkle::{self, Tree};
use crate::model::Sha256;

/// Hashes in a tile; each is the root of a full tile one level below.
pub const WIDTH: u64 = 256;
/// Bytes of a tile.
pub const BYTES: usize = 8_192;
/// Levels of a log of 2^64 entries.
const LEVELS: u32 = 8;

/// A tile's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// 0 for hashes of entries.
    pub level: u32,
    /// Its number on the level, from 0.
    pub index: u64,
}

impl Tile {
    /// The tiles that become full when the log reaches this size, the lowest first.
    pub fn filled_at(size: u64) -> Vec<Self> {
        let levels = (0..LEVELS).take_while(|level| size > 0 && size.trailing_zeros() >= 8 * (level + 1));
        levels.map(|level| Self { level, index: (size >> (8 * (level + 1))) - 1 }).collect()
    }

    /// All full tiles of a log of this size.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..LEVELS).flat_map(move |level| {
            (0..size.checked_shr(8 * (level + 1)).unwrap_or(0)).map(move |index| Self { level, index })
        })
    }

    /// The name below the log's own: `tile/0/x001/x234/067`.
    pub fn path(self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1_000)];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        format!("tile/{}/{}", self.level, groups.join("/"))
    }

    /// The place that a name below the log's own says.
    pub fn read(path: &str) -> Option<Self> {
        let (level, number) = path.strip_prefix("tile/")?.split_once('/')?;
        let digits = number.replace(['x', '/'], "");
        let tile = Self { level: level.parse().ok().filter(|level| *level < LEVELS)?, index: digits.parse().ok()? };
        // One name for each tile.
        (tile.path() == path).then_some(tile)
    }

    /// The entries of the log that it covers.
    pub fn entries(self) -> std::ops::Range<u64> {
        let each = WIDTH.saturating_pow(self.level + 1);
        let start = self.index.saturating_mul(each);
        start..start.saturating_add(each)
    }

    /// Its bytes, of the leaf hashes of its entries; nothing if they are too few or too many.
    pub fn bytes(self, leaves: &[Sha256]) -> Option<Vec<u8>> {
        let each = usize::try_from(WIDTH.checked_pow(self.level)?).ok()?;
        (leaves.len() as u64 == WIDTH.checked_mul(each as u64)?)
            .then(|| leaves.chunks(each).flat_map(|below| merkle::root(below).0).collect())
    }

    /// The tiles whose roots it holds; none on the lowest level, where it holds the hashes of entries.
    pub fn below(self) -> impl Iterator<Item = Self> {
        let level = self.level.checked_sub(1);
        let index = self.index * WIDTH;
        level.into_iter().flat_map(move |level| (index..index + WIDTH).map(move |index| Self { level, index }))
    }

    /// The root of the subtree that a tile's bytes make; nothing if they are no full tile.
    pub fn root(bytes: &[u8]) -> Option<Sha256> {
        let hashes = hashes(bytes)?;
        Some(hashes.into_iter().collect::<Tree>().root())
    }

    /// The height of its root above the entries of the log.
    pub fn height(self) -> usize {
        8 * (self.level as usize + 1)
    }
}

/// The hashes of a full tile.
pub fn hashes(bytes: &[u8]) -> Option<Vec<Sha256>> {
    let hashes: Vec<Sha256> = bytes.chunks(32).filter_map(|hash| hash.try_into().ok().map(Sha256)).collect();
    (hashes.len() as u64 == WIDTH && bytes.len() == hashes.len() * 32).then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification_and_read_back() {
        let names = [
            (0, 0, "tile/0/000"),
            (1, 999, "tile/1/999"),
            (0, 1_000, "tile/0/x001/000"),
            (2, 1_234_067, "tile/2/x001/x234/067"),
        ];
        for (level, index, name) in names {
            let tile = Tile { level, index };
            assert_eq!(tile.path(), name);
            assert_eq!(Tile::read(name), Some(tile));
        }
        for bad in ["tile/0", "tile/0/0", "tile/0/x000/001", "tile/8/000", "tile/0/000.p/3", "tile/0/001/x234", "x"] {
            assert_eq!(Tile::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn tiles_become_full_when_their_last_entry_is_there() {
        let tile = |level, index| Tile { level, index };
        assert_eq!(Tile::filled_at(0), []);
        assert_eq!(Tile::filled_at(255), []);
        assert_eq!(Tile::filled_at(256), [tile(0, 0)]);
        assert_eq!(Tile::filled_at(512), [tile(0, 1)]);
        assert_eq!(Tile::filled_at(65_536), [tile(0, 255), tile(1, 0)]);
        assert_eq!(Tile::all(65_535).count(), 255);
        assert_eq!(Tile::all(65_537).count(), 257);
        assert_eq!((tile(0, 1).entries(), tile(1, 1).entries()), (256..512, 65_536..131_072));
    }

    #[test]
    fn a_tile_holds_the_roots_below_and_has_the_root_of_its_entries() {
        let leaves: Vec<Sha256> = (0..65_536_u32).map(|number| Sha256::of(&number.to_be_bytes())).collect();
        let low = Tile { level: 0, index: 0 }.bytes(&leaves[..256]).unwrap();
        assert_eq!(low.len(), 8_192);
        assert_eq!(low[..32], leaves[0].0);
        assert_eq!(Tile::root(&low), Some(merkle::root(&leaves[..256])));
        let high = Tile { level: 1, index: 0 }.bytes(&leaves).unwrap();
        assert_eq!(high[..32], merkle::root(&leaves[..256]).0);
        assert_eq!(Tile::root(&high), Some(merkle::root(&leaves)));
        assert_eq!(Tile { level: 0, index: 0 }.bytes(&leaves[..255]), None);
        assert_eq!(Tile::root(&low[..8_191]), None);
        let upper = Tile { level: 1, index: 3 };
        let below: Vec<Tile> = upper.below().collect();
        assert_eq!((below[0], below.len()), (Tile { level: 0, index: 768 }, 256));
        assert_eq!((below[0].below().count(), upper.height()), (0, 16));
    }
}
