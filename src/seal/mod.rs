//! Evidence as arithmetic: canonical bytes of a row, Merkle trees, signed notes, checkpoints, proofs.
//!
//! Pure: no file, no socket, no clock, no randomness. The same input gives the same bytes for ever, because signatures
//! over old bytes must stay valid; `schemas/record-bytes.v1.md` and `schemas/vectors/` say which, for those who do not
//! trust this program.
//!
//! From the inside out: [`canonical`] makes the bytes of one row, [`merkle`] one hash of many rows and of many
//! manifests, [`tiles`] keeps the hashes between, [`checkpoint`] is a statement about a root, [`note`] signs it, [`proof`]
//! ties one row to it, [`transition`] hands a log over from one key to the next, [`timestamp`] is what somebody else says
//! about the time of a checkpoint. [`log`] knows the names of all this in the archive.

mod abreast;
mod cbor;

pub mod canonical;

pub mod merkle;

pub mod note;

pub mod transition;

pub mod tiles;

pub mod checkpoint;

pub mod proof;

pub mod timestamp;

pub mod log;
