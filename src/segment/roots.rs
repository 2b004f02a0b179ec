//! Leaves → the roots that a manifest promises: of all rows of a segment, of each dataset, and of each stretch of rows.
//!
//! The order is that of `schemas/record-bytes.v1.md`: statements, sessions, events; within each by `entry_seq`, and
//! among rows that claim the same number by their leaves. It does not depend on files, so whoever has the rows, from
//! whatever file, comes to the same roots.

use crate::model::{EntrySeq, Sha256};
use crate::seal::merkle::{self, Tree};

use super::Dataset;

/// Rows of a dataset under one root, so that a change is located that closely. Each costs a hash in the manifest: at 256
/// rows a quarter of a byte for each row.
pub const STRETCH: usize = 1 << STRETCH_HEIGHT;
/// A full stretch is a complete subtree of this height in the tree of its dataset, and in that of the segment where it
/// begins at a multiple of its size: both are made of the roots of the stretches, so that nodes are hashed once.
const STRETCH_HEIGHT: u32 = 8;

/// The leaves of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves {
    /// By dataset, in the order of [`Dataset::ALL`].
    datasets: [Vec<(EntrySeq, Sha256)>; 3],
    /// The root over each stretch, once the rows are in their order.
    stretches: [Vec<Sha256>; 3],
}

/// The rows of one dataset in a segment, hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRoots {
    /// Which.
    pub dataset: Dataset,
    /// How many rows.
    pub rows: u64,
    /// The root over all of them.
    pub root: Sha256,
    /// The root over each [`STRETCH`] of them, the last of which may be shorter.
    pub stretches: Vec<Sha256>,
}

impl Leaves {
    /// Adds rows of a dataset, in any order.
    pub fn extend(&mut self, dataset: Dataset, leaves: impl IntoIterator<Item = (EntrySeq, Sha256)>) {
        let [statements, sessions, events] = &mut self.datasets;
        let to = match dataset {
            Dataset::Statements => statements,
            Dataset::Sessions => sessions,
            Dataset::Events => events,
        };
        to.extend(leaves);
        self.stretches = Default::default();
    }

    /// Adds all rows of another part of the same segment.
    pub fn append(&mut self, other: Self) {
        for (to, from) in self.datasets.iter_mut().zip(other.datasets) {
            to.extend(from);
        }
        self.stretches = Default::default();
    }

    /// Puts the rows in their order. What follows is right only after this.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        for (leaves, roots) in self.datasets.iter_mut().zip(&mut self.stretches) {
            // Nearly sorted already: rows are collected by time.
            leaves.sort_unstable();
            *roots = stretches(leaves);
        }
        self
    }

    /// How many rows.
    pub fn len(&self) -> u64 {
        self.datasets.iter().map(|leaves| leaves.len() as u64).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The root over all rows.
    pub fn root(&self) -> Sha256 {
        let mut tree = Tree::default();
        for (leaves, stretches) in self.datasets.iter().zip(&self.stretches) {
            let full = leaves.chunks_exact(STRETCH).zip(stretches);
            let taken = full.take_while(|(_, root)| tree.push_complete(STRETCH_HEIGHT, **root)).count();
            tree.extend(leaves.iter().skip(taken * STRETCH).map(|(_, leaf)| *leaf));
        }
        tree.root()
    }

    /// The leaf hashes in their order.
    pub fn hashes(&self) -> impl Iterator<Item = Sha256> {
        self.datasets.iter().flatten().map(|(_, leaf)| *leaf)
    }

    /// Entry and leaf of the rows of one dataset.
    pub fn of(&self, dataset: Dataset) -> &[(EntrySeq, Sha256)] {
        let [statements, sessions, events] = &self.datasets;
        match dataset {
            Dataset::Statements => statements,
            Dataset::Sessions => sessions,
            Dataset::Events => events,
        }
    }

    /// Each dataset that has rows.
    pub fn roots(&self) -> Vec<DatasetRoots> {
        let each = Dataset::ALL.iter().zip(self.datasets.iter().zip(&self.stretches));
        let there = each.filter(|(_, (leaves, _))| !leaves.is_empty());
        let roots = there.map(|(dataset, (leaves, stretches))| DatasetRoots {
            dataset: *dataset,
            rows: leaves.len() as u64,
            root: merkle::root(stretches),
            stretches: stretches.clone(),
        });
        roots.collect()
    }
}

fn stretches(leaves: &[(EntrySeq, Sha256)]) -> Vec<Sha256> {
    let hashes: Vec<Sha256> = leaves.iter().map(|(_, leaf)| *leaf).collect();
    let mut roots = merkle::subtrees(STRETCH_HEIGHT, &hashes);
    match hashes.get(roots.len() * STRETCH..) {
        Some(rest) if !rest.is_empty() => roots.push(merkle::root(rest)),
        _ => {}
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> (EntrySeq, Sha256) {
        (EntrySeq(number), Sha256::of(&number.to_be_bytes()))
    }

    #[test]
    fn roots_do_not_depend_on_the_order_in_which_rows_came() {
        let mut leaves = Leaves::default();
        leaves.extend(Dataset::Events, [leaf(900), leaf(2)]);
        leaves.extend(Dataset::Statements, (3..603).map(leaf));
        let mut other = Leaves::default();
        other.extend(Dataset::Statements, (300..603).rev().map(leaf));
        let mut rest = Leaves::default();
        rest.extend(Dataset::Statements, (3..300).map(leaf));
        rest.extend(Dataset::Events, [leaf(2), leaf(900)]);
        other.append(rest);
        let (leaves, other) = (leaves.sorted(), other.sorted());
        assert_eq!(leaves, other);
        let plain: Vec<Sha256> = (3..603).chain([2, 900]).map(|number| leaf(number).1).collect();
        assert_eq!((leaves.root(), leaves.len()), (merkle::root(&plain), 602));
        let [statements, events] = <[DatasetRoots; 2]>::try_from(leaves.roots()).unwrap();
        assert_eq!((statements.rows, statements.stretches.len()), (600, 3));
        assert_eq!(statements.stretches[1], merkle::root(&plain[256..512]));
        assert_eq!((events.dataset, events.root), (Dataset::Events, merkle::root(&plain[600..])));
    }

    #[test]
    fn roots_made_of_stretches_are_those_over_the_leaves() {
        for counts in [[0, 0, 0], [1, 0, 0], [255, 3, 0], [256, 1, 1], [512, 300, 5], [513, 256, 256], [0, 700, 9]] {
            let mut leaves = Leaves::default();
            for (dataset, count) in Dataset::ALL.iter().zip(counts) {
                leaves.extend(*dataset, (1..=count).map(leaf));
            }
            let leaves = leaves.sorted();
            assert_eq!(leaves.root(), merkle::root(&leaves.hashes().collect::<Vec<_>>()), "{counts:?}");
            for roots in leaves.roots() {
                let hashes: Vec<Sha256> = leaves.of(roots.dataset).iter().map(|(_, leaf)| *leaf).collect();
                assert_eq!(roots.root, merkle::root(&hashes), "{counts:?}");
            }
        }
    }

    #[test]
    fn rows_that_claim_one_number_stand_in_the_order_of_their_leaves() {
        let twice = [(EntrySeq(1), Sha256([9; 32])), (EntrySeq(1), Sha256([1; 32]))];
        let mut leaves = Leaves::default();
        leaves.extend(Dataset::Sessions, twice);
        assert_eq!(leaves.sorted().of(Dataset::Sessions), [twice[1], twice[0]]);
        assert!(Leaves::default().is_empty());
        assert_eq!(Leaves::default().root(), Sha256::of(&[]));
    }
}
