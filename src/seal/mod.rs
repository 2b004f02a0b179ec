//! Evidence as arithmetic: canonical bytes of a row, Merkle trees, signed notes, checkpoints, proofs.
//!
//! Pure: no file, no socket, no clock, no randomness. The same input gives the same bytes for ever, because signatures
//! over old bytes must stay valid; `schemas/record-bytes.v1.md` and `schemas/vectors/` say which, for those who do not
//! trust this program.
//!
//! From the inside out: [`canonical`] makes the bytes of one row, [`merkle`] one hash of many rows and of many
//! manifests, [`checkpoint`] a statement about that hash, [`note`] signs it, [`proof`] ties one row to it; [`timestamp`]
//! is what somebody else says about the time of it.

mod cbor;

pub mod canonical;

pub mod merkle;

pub mod note;

pub mod checkpoint;

pub mod proof;

pub mod timestamp;
