//! What an archive holds may have been written by anybody: it reads as what it would be written as again, or not at all.

use std::sync::LazyLock;

use hansard::model::Sha256;
use hansard::seal::canonical::Row;
use hansard::seal::checkpoint::Checkpoint;
use hansard::seal::log::LogObject;
use hansard::seal::merkle;
use hansard::seal::note::{Note, VerifierKey};
use hansard::seal::proof::{Proof, RecordProof};
use hansard::seal::tiles::{self, Tile};
use hansard::seal::timestamp::{self, Authorities};
use hansard::seal::transition::Transition;

const AUTHORITY: &[u8] = include_bytes!("../../../fixtures/timestamps/rsa-ca.pem");

static AUTHORITIES: LazyLock<Authorities> =
    LazyLock::new(|| Authorities::from_pem(AUTHORITY).expect("a certificate of the fixtures"));

/// The first byte says what the rest is.
pub fn body(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first % 7 {
        0 => row(rest),
        1 => note(rest),
        2 => proof(rest),
        3 => record_proof(rest),
        4 => answer_of_an_authority(rest),
        5 => names(rest),
        _ => paths(rest),
    }
}

fn row(bytes: &[u8]) {
    let Ok(row) = Row::read(bytes) else { return };
    assert_eq!(row.bytes(), bytes, "two forms of one row");
    assert_eq!(row.leaf(&mut Vec::new()), merkle::leaf(bytes));
}

fn note(bytes: &[u8]) {
    let Ok(note) = Note::read(bytes) else { return };
    assert_eq!(Note::read(note.to_string().as_bytes()).as_ref(), Ok(&note));
    assert!(note.verified(&[]).is_err(), "believed without a key");
    assert!(Checkpoint::verified(&note, &[]).is_err(), "believed without a key");
    if let Ok(checkpoint) = Checkpoint::read(note.unverified_text()) {
        assert_eq!(checkpoint.to_string(), note.unverified_text(), "two forms of one checkpoint");
    }
    // Whether it can be read is all that is asked: its signatures are the old and the new key's.
    Transition::read(&note).ok();
}

fn proof(bytes: &[u8]) {
    let Ok(proof) = Proof::read(bytes) else { return };
    assert_eq!(Proof::read(proof.to_string().as_bytes()).as_ref(), Ok(&proof));
    assert!(proof.check(b"", &[]).is_err(), "believed without a key");
    if let Some(extra) = &proof.extra {
        record_proof(extra);
    }
}

fn record_proof(bytes: &[u8]) {
    let Ok(proof) = RecordProof::read(bytes) else { return };
    assert_eq!(proof.extra(), bytes, "two forms of one proof");
    let promised = |root| merkle::Head { size: proof.size, root };
    assert!(proof.check(|_| Some(promised(Sha256([0x5a; 32])))).is_err(), "proven for a root that nothing has");
}

fn answer_of_an_authority(bytes: &[u8]) {
    let digest = Sha256::of(b"a stranger's");
    assert!(timestamp::verify(bytes, digest, None, &AUTHORITIES).is_err(), "a timestamp of something else");
    if let Ok(token) = timestamp::token(bytes) {
        assert!(token.len() <= bytes.len());
    }
    // Whether it can be read is all that is asked.
    Authorities::from_pem(bytes).ok();
}

fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some((node, object)) = LogObject::read(text) {
        assert_eq!(object.name(&node), text, "two names of one file");
    }
    if let Some(tile) = Tile::read(text) {
        assert_eq!(tile.path(), text, "two names of one tile");
        let entries = tile.entries();
        assert!(entries.start <= entries.end);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text, "two forms of one key");
    }
    if let Some(hashes) = tiles::hashes(bytes) {
        assert_eq!(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(), bytes);
    }
}

/// Any path leads somewhere or nowhere, and to the root of a tree of one leaf only the leaf leads.
fn paths(bytes: &[u8]) {
    let Some((numbers, hashes)) = bytes.split_first_chunk::<16>() else { return };
    let [size, index] = [&numbers[..8], &numbers[8..]].map(|bytes| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    let path: Vec<Sha256> = hashes.chunks_exact(32).filter_map(|hash| hash.try_into().ok().map(Sha256)).collect();
    let leaf = merkle::leaf(b"leaf");
    if let Ok(root) = merkle::root_of_path(leaf, index, size, &path) {
        assert!(index < size, "a leaf outside of its tree");
        assert_eq!(merkle::check_inclusion(leaf, index, size, &path, root), Ok(()));
        assert_eq!(root == leaf, size == 1, "a path of {} hashes leads to its own start", path.len());
    }
    let head = |size, root| merkle::Head { size, root };
    let (old, new) = (head(index, leaf), head(size, Sha256::of(b"another")));
    if merkle::check_consistency(old, new, &path).is_ok() {
        assert!(old.size == 0, "a tree grew into one that it is not in");
    }
}
