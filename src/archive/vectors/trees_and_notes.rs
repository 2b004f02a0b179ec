//! Trees and notes, after the specifications that they follow.

use serde_json::{Value, json};

use super::{hex, kept, unhex};
use crate::model::Sha256;
use crate::seal::checkpoint::Checkpoint;
use crate::seal::merkle::{self, Head};
use crate::seal::note::{Note, SigningKey, VerifierKey};
use crate::seal::transition::Transition;

fn hash(text: &Value) -> Sha256 {
    Sha256(unhex(text).try_into().unwrap())
}

fn hashes(list: &Value) -> Vec<Sha256> {
    list.as_array().unwrap().iter().map(hash).collect()
}

fn listed(path: &[Sha256]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}

/// The leaves that the tests of Certificate Transparency use, and their roots by size.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn trees_are_those_of_certificate_transparency() {
    let leaves: Vec<Sha256> = LEAVES.iter().map(|bytes| merkle::leaf(bytes)).collect();
    let roots: Vec<String> = (0..=LEAVES.len()).map(|size| merkle::root(&leaves[..size]).to_string()).collect();
    assert_eq!(roots, ROOTS);
    let mut inclusion = Vec::new();
    let mut consistency = Vec::new();
    for size in 1..=LEAVES.len() {
        for at in 0..size {
            let path = merkle::inclusion(&leaves[..size], at as u64).unwrap();
            inclusion.push(json!({ "index": at, "size": size, "path": listed(&path) }));
            let old = at + 1;
            let proof = merkle::consistency(&leaves[..size], old as u64).unwrap();
            consistency.push(json!({ "old": old, "size": size, "proof": listed(&proof) }));
        }
    }
    let made = json!({
        "about": "RFC 6962 §2.1: leaves in hexadecimal, their leaf hashes, the root of the first n leaves for n = 0, 1, …; \
            inclusion proofs from the leaf's sibling up; consistency proofs.",
        "leaves": LEAVES.map(hex),
        "leaf_hashes": listed(&leaves),
        "roots": ROOTS,
        "inclusion": inclusion,
        "consistency": consistency,
    });
    let kept = kept("trees.v1.json", &made);
    let leaves = hashes(&kept["leaf_hashes"]);
    let head = |size: &Value| {
        let size = size.as_u64().unwrap();
        Head { size, root: hash(&kept["roots"][usize::try_from(size).unwrap()]) }
    };
    for proof in kept["inclusion"].as_array().unwrap() {
        let (index, head) = (proof["index"].as_u64().unwrap(), head(&proof["size"]));
        let leaf = leaves[usize::try_from(index).unwrap()];
        merkle::check_inclusion(leaf, index, head.size, &hashes(&proof["path"]), head.root).unwrap();
    }
    for proof in kept["consistency"].as_array().unwrap() {
        merkle::check_consistency(head(&proof["old"]), head(&proof["size"]), &hashes(&proof["proof"])).unwrap();
    }
}

#[test]
fn notes_are_those_that_were_published() {
    let seed = [7; 32];
    let pem = SigningKey::new_pem(&seed);
    let key = SigningKey::from_pem("hansard/node-1", &pem).unwrap();
    let head = Head { size: 8, root: Sha256(unhex(&json!(ROOTS[8])).try_into().unwrap()) };
    let checkpoint = Checkpoint::new("hansard/node-1".to_owned(), head);
    let next = SigningKey::from_pem("hansard/node-1", &SigningKey::new_pem(&[8; 32])).unwrap();
    let (old, new) = (key.verifier().clone(), next.verifier().clone());
    let transition = Transition { origin: "hansard/node-1".to_owned(), size: 8, old, new };
    let text = "Line one.\n\nLine three, \u{fc}\u{2014}.\n";
    let made = json!({
        "about": "c2sp.org/signed-note and c2sp.org/tlog-checkpoint with one Ed25519 key. Its seed is published here, so \
            it proves nothing: never trust it.",
        "seed": hex(&seed),
        "key": pem,
        "verifier_key": key.verifier().to_string(),
        "notes": [
            { "text": text, "note": key.sign(text).unwrap().to_string() },
            { "text": checkpoint.to_string(), "note": checkpoint.sign(&key).unwrap().to_string() },
        ],
        "transition": {
            "old": key.verifier().to_string(),
            "new": next.verifier().to_string(),
            "size": transition.size,
            "note": transition.sign(&key, &next).unwrap().to_string(),
        },
        "checkpoint": { "origin": checkpoint.origin, "size": head.size, "root": head.root.to_string() },
        "specification": {
            "verifier_key": "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "note": "This is an example message.\n\n\u{2014} example.com/foo \
                Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
        },
    });
    let kept = kept("notes.v1.json", &made);
    let trusted: VerifierKey = kept["verifier_key"].as_str().unwrap().parse().unwrap();
    for vector in kept["notes"].as_array().unwrap() {
        let note = Note::read(vector["note"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(note.verified(std::slice::from_ref(&trusted)).unwrap().0, vector["text"]);
        let again = SigningKey::from_pem("hansard/node-1", kept["key"].as_str().unwrap()).unwrap();
        assert_eq!(again.sign(vector["text"].as_str().unwrap()).unwrap(), note);
    }
    let note = Note::read(kept["notes"][1]["note"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(Checkpoint::verified(&note, &[trusted]).unwrap(), checkpoint);
    let note = Note::read(kept["transition"]["note"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(Transition::read(&note).unwrap(), transition);
}
