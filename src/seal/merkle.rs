//! Merkle trees as RFC 6962 §2.1 has them: root, inclusion proof, consistency proof; each made and checked.
//!
//! Checking follows RFC 9162 §2.1.3.2 and §2.1.4.2, which say the steps for the same tree. A leaf is given by its leaf
//! hash, so that who holds only hashes can prove too.

use sha2::Digest;

use super::abreast;
use crate::model::Sha256;

/// Before the bytes of a leaf, so that no leaf can be taken for a node.
pub const LEAF_PREFIX: u8 = 0;
/// Before the two hashes of a node.
const NODE_PREFIX: u8 = 1;

/// The leaf hash of some bytes.
pub fn leaf(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::new().chain_update([LEAF_PREFIX]).chain_update(bytes).finalize().into())
}

fn node(left: &Sha256, right: &Sha256) -> Sha256 {
    Sha256(sha2::Sha256::new().chain_update([NODE_PREFIX]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// A tree that grows: the roots of its complete subtrees, so one hash for each bit of its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// The largest, leftmost subtree first; as many as the size has ones.
    edge: Vec<Sha256>,
}

impl Tree {
    /// A tree as [`Tree::edge`] gave it; nothing if the two do not fit one another.
    pub fn resume(size: u64, edge: Vec<Sha256>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is needed to go on, beside the size.
    pub fn edge(&self) -> &[Sha256] {
        &self.edge
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Sha256) {
        self.join(0, leaf);
    }

    /// Appends 2^`height` leaves by the root over them; false, and nothing appended, where the tree does not end at a
    /// multiple of so many.
    #[must_use]
    pub fn push_complete(&mut self, height: u32, root: Sha256) -> bool {
        let fits = height < u64::BITS && self.size.trailing_zeros() >= height;
        if fits {
            self.join(height, root);
        }
        fits
    }

    fn join(&mut self, height: u32, subtree: Sha256) {
        // Each one at the end of the size is a complete subtree as large as what is carried.
        let joined = (0..(self.size >> height).trailing_ones()).fold(subtree, |right, _| match self.edge.pop() {
            Some(left) => node(&left, &right),
            None => right,
        });
        self.edge.push(joined);
        self.size += 1 << height;
    }

    /// The roots of the complete subtrees that would end with this leaf, by their height: at 0 the leaf itself.
    pub fn completed_by(&self, leaf: Sha256) -> Vec<Sha256> {
        let height = self.size.trailing_ones() as usize;
        let mut completed = vec![leaf];
        let mut right = leaf;
        for left in self.edge.iter().rev().take(height) {
            right = node(left, &right);
            completed.push(right);
        }
        completed
    }

    /// The root; of an empty tree, the hash of nothing.
    pub fn root(&self) -> Sha256 {
        let mut subtrees = self.edge.iter().rev();
        match subtrees.next() {
            Some(last) => subtrees.fold(*last, |right, left| node(left, &right)),
            None => Sha256::of(&[]),
        }
    }
}

impl Extend<Sha256> for Tree {
    fn extend<T: IntoIterator<Item = Sha256>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

impl FromIterator<Sha256> for Tree {
    fn from_iter<T: IntoIterator<Item = Sha256>>(leaves: T) -> Self {
        let mut tree = Self::default();
        tree.extend(leaves);
        tree
    }
}

/// The root over these leaves; of none, the hash of nothing. Level by level: the nodes of a level do not wait for one
/// another, so that several are hashed side by side. The last one of an odd number is a root of its own, and goes up as it
/// is.
pub fn root(leaves: &[Sha256]) -> Sha256 {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let (_, alone) = level.as_chunks::<2>();
        let mut above = abreast::pairs(NODE_PREFIX, &level);
        above.extend_from_slice(alone);
        level = above;
    }
    level.first().copied().unwrap_or_else(|| Sha256::of(&[]))
}

/// The roots over each 2^`height` leaves, as they stand; what does not fill a subtree at the end has none.
pub fn subtrees(height: u32, leaves: &[Sha256]) -> Vec<Sha256> {
    (0..height).fold(leaves.to_vec(), |level, _| abreast::pairs(NODE_PREFIX, &level))
}

/// The largest power of two below `size`, which is at least 2: where a tree is parted.
fn split(size: usize) -> usize {
    1 << (size - 1).ilog2()
}

/// The proof that the leaf at `index` is among `leaves`, from its sibling up; nothing if there is no such leaf.
pub fn inclusion(leaves: &[Sha256], index: u64) -> Option<Vec<Sha256>> {
    let mut at = usize::try_from(index).ok().filter(|at| *at < leaves.len())?;
    let (mut subtree, mut path) = (leaves, Vec::new());
    while subtree.len() > 1 {
        let (left, right) = subtree.split_at_checked(split(subtree.len()))?;
        if at < left.len() {
            path.push(root(right));
            subtree = left;
        } else {
            at -= left.len();
            path.push(root(left));
            subtree = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The proof that the tree over the first `old` leaves became the tree over all; nothing if there are fewer.
pub fn consistency(leaves: &[Sha256], old: u64) -> Option<Vec<Sha256>> {
    let mut old = usize::try_from(old).ok().filter(|old| *old <= leaves.len())?;
    let (mut subtree, mut path) = (leaves, Vec::new());
    // Whether what is left of the old tree is the whole old tree, which the verifier has.
    let mut whole = true;
    while old > 0 && old < subtree.len() {
        let (left, right) = subtree.split_at_checked(split(subtree.len()))?;
        if old <= left.len() {
            path.push(root(right));
            subtree = left;
        } else {
            path.push(root(left));
            old -= left.len();
            subtree = right;
            whole = false;
        }
    }
    if !whole {
        path.push(root(subtree));
    }
    path.reverse();
    Some(path)
}

/// A proof does not lead to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf, or the new tree is smaller.
    #[error("the proof is for a place that the tree of {size} leaves does not have")]
    Outside {
        /// The tree's size.
        size: u64,
    },
    /// It has not as many hashes as a proof of this place.
    #[error("the proof has too many or too few hashes")]
    Length,
    /// It leads elsewhere.
    #[error("the proof does not lead to the root")]
    Root,
}

/// The root that a leaf at `index` and its path make in a tree of `size` leaves.
///
/// # Errors
///
/// [`ProofError::Outside`] or [`ProofError::Length`].
pub fn root_of_path(leaf: Sha256, index: u64, size: u64, path: &[Sha256]) -> Result<Sha256, ProofError> {
    if index >= size {
        return Err(ProofError::Outside { size });
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            let up = if at & 1 == 1 { 0 } else { at.trailing_zeros() };
            at = at.checked_shr(up).unwrap_or(0);
            last = last.checked_shr(up).unwrap_or(0);
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(ProofError::Length) }
}

/// Checks that a leaf stands at `index` of the tree of `size` leaves with this root.
///
/// # Errors
///
/// [`ProofError`].
pub fn check_inclusion(leaf: Sha256, index: u64, size: u64, path: &[Sha256], root: Sha256) -> Result<(), ProofError> {
    if root_of_path(leaf, index, size, path)? == root { Ok(()) } else { Err(ProofError::Root) }
}

/// A tree's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Sha256,
}

/// Checks that the tree `old` became the tree `new` by appending only.
///
/// # Errors
///
/// [`ProofError`].
pub fn check_consistency(old: Head, new: Head, proof: &[Sha256]) -> Result<(), ProofError> {
    if old.size > new.size {
        return Err(ProofError::Outside { size: new.size });
    }
    if old.size == new.size || old.size == 0 {
        let fits = old.size != 0 || old.root == Sha256::of(&[]);
        let same = old.size != new.size || old.root == new.root;
        return match (proof.is_empty(), fits && same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut at, mut last) = (old.size - 1, new.size - 1);
    let up = at.trailing_ones();
    (at, last) = (at >> up, last >> up);
    let mut hashes = proof.iter();
    // An old tree that is one complete subtree is where the path begins; the proof does not repeat its root.
    let start = if old.size.is_power_of_two() { &old.root } else { hashes.next().ok_or(ProofError::Length)? };
    let (mut old_root, mut new_root) = (*start, *start);
    for sibling in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            old_root = node(sibling, &old_root);
            new_root = node(sibling, &new_root);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_root = node(&new_root, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match (last, old_root == old.root && new_root == new.root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape of the right edge up to five levels, and the first of the sixth.
    const SIZES: usize = 34;

    fn leaves(count: usize) -> Vec<Sha256> {
        (0..count).map(|number| leaf(&[u8::try_from(number).unwrap()])).collect()
    }

    /// RFC 6962 §2.1, word for word.
    fn naive_root(leaves: &[Sha256]) -> Sha256 {
        match leaves {
            [] => Sha256::of(&[]),
            [one] => *one,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    /// PATH of RFC 6962 §2.1.1, word for word.
    fn naive_path(m: usize, leaves: &[Sha256]) -> Vec<Sha256> {
        if leaves.len() == 1 {
            return vec![];
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, other) = match m < k {
            true => (naive_path(m, &leaves[..k]), naive_root(&leaves[k..])),
            false => (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k])),
        };
        path.push(other);
        path
    }

    /// SUBPROOF of RFC 6962 §2.1.2, word for word.
    fn naive_subproof(m: usize, leaves: &[Sha256], whole: bool) -> Vec<Sha256> {
        if m == leaves.len() {
            return if whole { vec![] } else { vec![naive_root(leaves)] };
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut proof, other) = match m <= k {
            true => (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..])),
            false => (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k])),
        };
        proof.push(other);
        proof
    }

    #[test]
    fn roots_are_those_of_the_definition_and_a_tree_can_be_put_down_and_taken_up_at_any_size() {
        let all = leaves(SIZES);
        let mut tree = Tree::default();
        for size in 0..=SIZES {
            assert_eq!(tree.root(), naive_root(&all[..size]));
            assert_eq!(root(&all[..size]), tree.root());
            tree = Tree::resume(tree.size(), tree.edge().to_vec()).unwrap();
            if let Some(leaf) = all.get(size) {
                tree.push(*leaf);
            }
        }
        assert_eq!(Tree::resume(3, leaves(1)), None);
    }

    #[test]
    fn subtrees_side_by_side_have_the_roots_over_their_leaves() {
        let all = leaves(SIZES);
        for (height, size) in (0..4).flat_map(|height| (0..=SIZES).map(move |size| (height, size))) {
            let each = all[..size].chunks_exact(1 << height);
            assert_eq!(subtrees(height, &all[..size]), each.map(naive_root).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_leaf_completes_the_subtrees_that_end_with_it() {
        let all = leaves(SIZES);
        let mut tree = Tree::default();
        for (at, leaf) in all.iter().enumerate() {
            let completed = tree.completed_by(*leaf);
            assert_eq!(completed.len(), (at + 1).trailing_zeros() as usize + 1);
            for (height, root) in completed.iter().enumerate() {
                assert_eq!(*root, naive_root(&all[at + 1 - (1 << height)..=at]));
            }
            tree.push(*leaf);
        }
    }

    #[test]
    fn leaves_may_be_appended_by_the_root_over_them_where_a_subtree_can_begin() {
        let all = leaves(SIZES);
        for height in 0..4 {
            let width = 1 << height;
            let mut tree = Tree::default();
            for part in all.chunks(width) {
                if part.len() < width {
                    tree.extend(part.iter().copied());
                    continue;
                }
                assert!(tree.push_complete(height, root(part)));
                assert_eq!(tree.root(), naive_root(&all[..usize::try_from(tree.size()).unwrap()]));
            }
            assert_eq!((tree.root(), tree.size()), (naive_root(&all), SIZES as u64));
        }
        let mut tree: Tree = all[..6].iter().copied().collect();
        let before = tree.clone();
        assert!(!tree.push_complete(2, all[0]) && !tree.push_complete(64, all[0]));
        assert_eq!(tree, before);
    }

    #[test]
    fn every_inclusion_proof_is_the_one_of_the_definition_and_proves_one_leaf_only() {
        let all = leaves(SIZES);
        for size in 1..=SIZES {
            let (tree, root) = (&all[..size], naive_root(&all[..size]));
            for index in 0..size {
                let at = index as u64;
                let path = inclusion(tree, at).unwrap();
                assert_eq!(path, naive_path(index, tree));
                let check = |leaf, at, size, path: &[Sha256]| check_inclusion(leaf, at, size, path, root);
                assert_eq!(check(tree[index], at, size as u64, &path), Ok(()));
                assert!(check(Sha256::of(b"other"), at, size as u64, &path).is_err());
                for other in 0..size + 2 {
                    assert_eq!(check(tree[index], other as u64, size as u64, &path).is_ok(), other == index);
                }
                for cut in 0..path.len() {
                    assert_eq!(check(tree[index], at, size as u64, &path[..cut]), Err(ProofError::Length));
                }
                let long = [path.as_slice(), &[root]].concat();
                assert_eq!(check(tree[index], at, size as u64, &long), Err(ProofError::Length));
            }
            assert_eq!(inclusion(tree, size as u64), None);
        }
        assert_eq!(check_inclusion(all[0], 0, 0, &[], all[0]), Err(ProofError::Outside { size: 0 }));
    }

    #[test]
    fn every_consistency_proof_is_the_one_of_the_definition_and_no_other_tree_passes() {
        let all = leaves(SIZES);
        let head = |size: usize| Head { size: size as u64, root: naive_root(&all[..size]) };
        for size in 0..=SIZES {
            for old in 0..=size {
                let proof = consistency(&all[..size], old as u64).unwrap();
                if old > 0 {
                    assert_eq!(proof, naive_subproof(old, &all[..size], true), "{old} of {size}");
                }
                assert_eq!(check_consistency(head(old), head(size), &proof), Ok(()), "{old} to {size}");
                let forged = Head { root: Sha256::of(b"other"), ..head(old) };
                assert!(check_consistency(forged, head(size), &proof).is_err(), "{old} to {size}");
                let forged = Head { root: Sha256::of(b"other"), ..head(size) };
                assert_eq!(check_consistency(head(old), forged, &proof).is_ok(), old == 0 && size > 0);
                for cut in 0..proof.len() {
                    assert!(check_consistency(head(old), head(size), &proof[..cut]).is_err());
                }
                let long = [proof.as_slice(), &[all[0]]].concat();
                assert_eq!(check_consistency(head(old), head(size), &long), Err(ProofError::Length));
                for other in 1..=size {
                    let wrong = Head { size: other as u64, ..head(old) };
                    let right = other == old;
                    assert_eq!(check_consistency(wrong, head(size), &proof).is_ok(), right, "{other} to {size}");
                }
            }
            assert_eq!(consistency(&all[..size], size as u64 + 1), None);
        }
        let longer = ProofError::Outside { size: 3 };
        assert_eq!(check_consistency(head(4), head(3), &[]), Err(longer));
    }

    #[test]
    fn sizes_near_the_end_of_the_numbers_do_not_overflow() {
        let one = Sha256::of(b"1");
        assert_eq!(root_of_path(one, u64::MAX - 1, u64::MAX, &[]), Err(ProofError::Length));
        assert!(root_of_path(one, 0, u64::MAX, &[one; 64]).is_ok());
        assert_eq!(root_of_path(one, u64::MAX - 1, u64::MAX, &[one; 65]), Err(ProofError::Length));
        let (old, new) = (Head { size: u64::MAX - 1, root: one }, Head { size: u64::MAX, root: one });
        assert!(check_consistency(old, new, &[one; 70]).is_err());
    }
}
