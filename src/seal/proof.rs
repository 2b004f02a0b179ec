//! Proofs of one record, as <https://c2sp.org/tlog-proof> (v1) has them: one text file, checked with a public key and
//! nothing else at hand.
//!
//! The entry that the file proves is the segment's manifest, which is what the log holds. The way from the record to the
//! manifest is the file's `extra`: deterministic CBOR of
//! `["hansard.record-proof.v1", record, index, size, [hash, …], manifest]`, where `record` is the row's canonical bytes,
//! `index` and `size` its place among the leaves of the segment and their number, the hashes the path from its sibling
//! up to the manifest's `records_root`, and `manifest` the manifest's bytes. Nothing in `extra` is believed before the
//! hashes say so.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{NotCanonical, Value};
use super::cbor;
use super::checkpoint::{Checkpoint, CheckpointError, decimal, hash};
use super::merkle::{self, Head, ProofError};
use super::note::{Note, NoteError, VerifierKey};
use crate::model::Sha256;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";
const RECORD: &str = "hansard.record-proof.v1";
/// A tree has fewer levels.
const MAX_PATH: usize = 64;

/// The proof that an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What the specification leaves to us; not to be believed as it is.
    pub extra: Option<Vec<u8>>,
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// From the entry's sibling up.
    pub path: Vec<Sha256>,
    /// The log's checkpoint.
    pub checkpoint: Note,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// No file of this kind.
    #[error("the file is no tlog-proof: line {line} is not what stands there")]
    Form {
        /// Counted from 1.
        line: usize,
    },
    /// It carries no record of ours.
    #[error("the proof carries no record of an archive")]
    Extra,
    /// What it carries as a record is none.
    #[error("the proof's record: {0}")]
    Record(NotCanonical),
    /// What it carries as a manifest says nothing of records.
    #[error("the proof's manifest does not say which records its segment holds")]
    Manifest,
    /// The manifest counts other records.
    #[error("the proof says that the segment holds {claimed} records, its manifest says {promised}")]
    Count {
        /// By the proof.
        claimed: u64,
        /// By the manifest.
        promised: u64,
    },
    /// The record is not in the segment.
    #[error("the record is not in the segment: {0}")]
    NotInSegment(ProofError),
    /// The segment is not in the log.
    #[error("the segment is not in the log: {0}")]
    NotInLog(ProofError),
    /// The checkpoint cannot be trusted.
    #[error("the log's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
}

impl Proof {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`NotProven::Form`], or [`NotProven::Checkpoint`] if the end of it is no note.
    pub fn read(bytes: &[u8]) -> Result<Self, NotProven> {
        let form = |line| NotProven::Form { line };
        let text = std::str::from_utf8(bytes).or(Err(form(1)))?;
        // The checkpoint has a blank line of its own; the first one is ours.
        let (head, note) = text.split_once("\n\n").ok_or(form(1))?;
        let mut lines = head.split('\n').zip(1..).peekable();
        lines.next_if(|(line, _)| *line == FIRST_LINE).ok_or(form(1))?;
        let extra = match lines.next_if(|(line, _)| line.starts_with(EXTRA)) {
            Some((line, at)) => {
                let encoded = line.strip_prefix(EXTRA).unwrap_or_default();
                Some(STANDARD.decode(encoded).or(Err(form(at)))?)
            }
            None => None,
        };
        let (line, at) = lines.next().ok_or(form(2))?;
        let index = line.strip_prefix(INDEX).and_then(decimal).ok_or(form(at))?;
        let mut path = Vec::new();
        for (line, at) in lines {
            if path.len() == MAX_PATH {
                return Err(form(at));
            }
            path.push(hash(line).or(Err(form(at)))?);
        }
        let checkpoint = Note::read(note.as_bytes()).map_err(CheckpointError::from)?;
        Ok(Self { extra, index, path, checkpoint })
    }

    /// Checks that `entry` is in the log of the checkpoint, which one of `keys` signed.
    ///
    /// # Errors
    ///
    /// [`NotProven::Checkpoint`] or [`NotProven::NotInLog`].
    pub fn check(&self, entry: &[u8], keys: &[VerifierKey]) -> Result<Checkpoint, NotProven> {
        let checkpoint = Checkpoint::verified(&self.checkpoint, keys)?;
        let Head { size, root } = checkpoint.head;
        merkle::check_inclusion(merkle::leaf(entry), self.index, size, &self.path, root)
            .map_err(NotProven::NotInLog)?;
        Ok(checkpoint)
    }
}

/// The file.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "{EXTRA}{}", STANDARD.encode(extra))?;
        }
        writeln!(f, "{INDEX}{}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// The way from a record to the manifest of its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordProof {
    /// The row's canonical bytes.
    pub record: Vec<u8>,
    /// Its place among the leaves of the segment, from 0.
    pub index: u64,
    /// How many leaves the segment has.
    pub size: u64,
    /// From its sibling up.
    pub path: Vec<Sha256>,
    /// The manifest's bytes: the entry of the log.
    pub manifest: Vec<u8>,
}

impl RecordProof {
    /// As a proof's `extra`. Numbers beyond 2^63 do not occur; they would be written as the largest.
    pub fn extra(&self) -> Vec<u8> {
        let number = |number| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut extra = Vec::new();
        cbor::value(
            &mut extra,
            &Value::List(vec![
                Value::Text(RECORD),
                Value::Bytes(&self.record),
                number(self.index),
                number(self.size),
                Value::List(self.path.iter().map(|hash| Value::Bytes(&hash.0)).collect()),
                Value::Bytes(&self.manifest),
            ]),
        );
        extra
    }

    /// Reads what [`RecordProof::extra`] made.
    ///
    /// # Errors
    ///
    /// [`NotProven::Extra`].
    pub fn read(extra: &[u8]) -> Result<Self, NotProven> {
        let Ok(Value::List(parts)) = cbor::read(extra) else { return Err(NotProven::Extra) };
        let number = |number: i64| u64::try_from(number).or(Err(NotProven::Extra));
        match parts.as_slice() {
            [
                Value::Text(RECORD),
                Value::Bytes(record),
                Value::Int(index),
                Value::Int(size),
                Value::List(path),
                Value::Bytes(manifest),
            ] if path.len() <= MAX_PATH => {
                let hash = |value: &Value<'_>| match value {
                    Value::Bytes(bytes) => (*bytes).try_into().map(Sha256).or(Err(NotProven::Extra)),
                    _ => Err(NotProven::Extra),
                };
                Ok(Self {
                    record: record.to_vec(),
                    index: number(*index)?,
                    size: number(*size)?,
                    path: path.iter().map(hash).collect::<Result<_, _>>()?,
                    manifest: manifest.to_vec(),
                })
            }
            _ => Err(NotProven::Extra),
        }
    }

    /// Checks that the record is in the segment. `promised` reads the number and the root of the records out of a
    /// manifest; that the manifest is in a log is for [`Proof::check`].
    ///
    /// # Errors
    ///
    /// [`NotProven`].
    pub fn check(&self, promised: impl FnOnce(&[u8]) -> Option<Head>) -> Result<(), NotProven> {
        super::canonical::Row::read(&self.record).map_err(NotProven::Record)?;
        let promised = promised(&self.manifest).ok_or(NotProven::Manifest)?;
        if promised.size != self.size {
            return Err(NotProven::Count { claimed: self.size, promised: promised.size });
        }
        let leaf = merkle::leaf(&self.record);
        merkle::check_inclusion(leaf, self.index, self.size, &self.path, promised.root).map_err(NotProven::NotInSegment)
    }
}

impl NotProven {
    /// Whether all that is wrong is that no key which signed is trusted.
    pub fn is_untrusted(&self) -> bool {
        matches!(self, Self::Checkpoint(CheckpointError::Note(NoteError::Untrusted { .. })))
    }
}

impl From<NoteError> for NotProven {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::canonical::{Fields, Row};
    use super::super::note::SigningKey;
    use super::*;

    const ORIGIN: &str = "hansard/node-1";

    fn key() -> SigningKey {
        SigningKey::from_pem(ORIGIN, &SigningKey::new_pem(&[7; 32])).unwrap()
    }

    fn record(number: i64) -> Vec<u8> {
        Row { schema: "statements.v1", fields: Fields::new(vec![(1, Value::Int(number))]).unwrap() }.bytes()
    }

    /// A log of five manifests, the third of which holds seven records, and the proof of the fourth record.
    fn proof() -> (Proof, RecordProof, Head) {
        let leaves: Vec<Sha256> = (0..7).map(|number| merkle::leaf(&record(number))).collect();
        let of_segment = Head { size: 7, root: merkle::root(&leaves) };
        let manifests: Vec<Vec<u8>> = (0..5).map(|number| vec![b'm', number]).collect();
        let log: Vec<Sha256> = manifests.iter().map(|manifest| merkle::leaf(manifest)).collect();
        let head = Head { size: 5, root: merkle::root(&log) };
        let path = merkle::inclusion(&leaves, 3).unwrap();
        let inner = RecordProof { record: record(3), index: 3, size: 7, path, manifest: manifests[2].clone() };
        let checkpoint = Checkpoint::new(ORIGIN.to_owned(), head).sign(&key()).unwrap();
        let path = merkle::inclusion(&log, 2).unwrap();
        (Proof { extra: Some(inner.extra()), index: 2, path, checkpoint }, inner, of_segment)
    }

    fn proven(file: &[u8], of_segment: Head) -> Result<Checkpoint, NotProven> {
        let proof = Proof::read(file)?;
        let inner = RecordProof::read(proof.extra.as_deref().ok_or(NotProven::Extra)?)?;
        inner.check(|manifest| (manifest == [b'm', 2]).then_some(of_segment))?;
        proof.check(&inner.manifest, &[key().verifier().clone()])
    }

    #[test]
    fn a_record_is_proven_by_the_file_and_the_key_alone() {
        let (proof, inner, of_segment) = proof();
        let file = proof.to_string();
        assert!(file.starts_with("c2sp.org/tlog-proof@v1\nextra "));
        assert!(file.contains("\nindex 2\n"));
        assert_eq!(Proof::read(file.as_bytes()).unwrap(), proof);
        assert_eq!(RecordProof::read(&inner.extra()).unwrap(), inner);
        assert_eq!(proven(file.as_bytes(), of_segment).unwrap().head.size, 5);
    }

    #[test]
    fn no_byte_of_the_file_can_be_changed() {
        let (proof, _, of_segment) = proof();
        let file = proof.to_string().into_bytes();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(proven(&changed, of_segment).is_err(), "byte {at}");
            assert!(proven(&file[..at], of_segment).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_fails_is_said() {
        let (good, inner, of_segment) = proof();
        let check = |change: fn(&mut RecordProof)| {
            let mut inner = inner.clone();
            change(&mut inner);
            let proof = Proof { extra: Some(inner.extra()), ..good.clone() };
            proven(proof.to_string().as_bytes(), of_segment).unwrap_err()
        };
        assert_eq!(check(|inner| inner.record = record(4)), NotProven::NotInSegment(ProofError::Root));
        assert_eq!(check(|inner| inner.record.push(0)), NotProven::Record(NotCanonical::Follows(inner.record.len())));
        assert_eq!(check(|inner| inner.index = 4), NotProven::NotInSegment(ProofError::Root));
        assert_eq!(check(|inner| inner.size = 8), NotProven::Count { claimed: 8, promised: 7 });
        assert_eq!(check(|inner| inner.manifest = vec![]), NotProven::Manifest);
        let moved = Proof { index: 1, ..good.clone() };
        assert_eq!(proven(moved.to_string().as_bytes(), of_segment), Err(NotProven::NotInLog(ProofError::Root)));
        let without = Proof { extra: None, ..good.clone() };
        assert_eq!(proven(without.to_string().as_bytes(), of_segment), Err(NotProven::Extra));
        let other =
            [SigningKey::from_pem("hansard/node-2", &SigningKey::new_pem(&[7; 32])).unwrap().verifier().clone()];
        let untrusted = good.check(&inner.manifest, &other);
        assert!(matches!(untrusted, Err(NotProven::Checkpoint(CheckpointError::Note(NoteError::Untrusted { .. })))));
    }

    #[test]
    fn lines_out_of_place_are_refused_by_their_number() {
        let (proof, ..) = proof();
        let file = proof.to_string();
        let read = |text: String| Proof::read(text.as_bytes()).unwrap_err();
        let at = |line| NotProven::Form { line };
        assert_eq!(read(file.replace("@v1", "@v2")), at(1));
        assert_eq!(read(file.replace("index 2", "index 02")), at(3));
        assert_eq!(read(file.replace("index 2", "index")), at(3));
        assert_eq!(read(file.replace("extra ", "extra  ")), at(2));
        assert_eq!(read(file.replace("index 2\n", "index 2\nAAAA\n")), at(4));
        assert_eq!(read(String::new()), at(1));
        let hashes = "A".repeat(43) + "=\n";
        assert_eq!(read(file.replace("index 2\n", &format!("index 2\n{}", hashes.repeat(65)))), at(68));
        // A tree of one has an empty path.
        let short = "c2sp.org/tlog-proof@v1\nindex 0\n\nlog\n1\nroot\n\n\u{2014} log AAAAAQI=\n";
        let proof = Proof::read(short.as_bytes()).unwrap();
        assert_eq!((proof.extra.as_ref(), proof.path.len()), (None, 0));
        assert_eq!(proof.to_string(), short);
    }
}
