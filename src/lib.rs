//! # Hansard: the word-for-word record of who said what to a database
//!
//! An inline proxy that knows the person behind every connection, judges every statement before the database sees it,
//! and keeps a record of each one that others can read without us.
//!
//! ## The life of a statement
//!
//! ```text
//! client ──TLS──► handshake ──token──► Principal ──► Session ──(journal: session opened)──► upstream login
//!    │
//!    ├─ frames ─► statement ─► Facts (sql, catalog) ─► Decision (policy) ─► Intent ─► journal ══flush══► Permit ─► upstream
//!    │                                                      └─ deny ─► Intent ─► journal ══flush══► native error
//!    ◄─ reply frames, untouched ◄─ observed (rows, bytes, SQLSTATE, time) ─► Outcome ─► journal (rides the next flush)
//!
//! journal ─► Record = Intent + Outcome ─► segment (Parquet, Merkle root) ─► store (put once) ─► manifest ─► signed checkpoint
//! signed checkpoint ─► a copy in other hands · a timestamp by an authority that is not us (anchor)
//! archive ─► query · replay · why · verify
//!
//! person ─► sign_in ─► token ─► client        (the same program, on the person's machine)
//! ```
//!
//! ## The promises that this code keeps
//!
//! 1. *Identity first.* No byte of a statement reaches a database before a verified token named somebody.
//! 2. *Recorded first.* A statement's bytes leave only against a [`journal::Permit`], and only the journal makes one,
//!    after the flush.
//! 3. *Nothing lost.* Every journaled entry reaches exactly one segment; files are freed only after the store confirmed.
//! 4. *Nothing forged.* What is stored is signed, row by row, by a log whose every change shows; [`archive::verify`] asks
//!    the archive and public keys alone.
//! 5. *Understood or refused.* What cannot be understood is the effect `unparsed`, denied unless a rule permits it.
//!
//! ## The rooms, in the order a statement meets them
//!
//! Parts import `model` only (exceptions: `wire → journal::Permit`); paths import parts, never one another; faces import
//! everything below. `tests/architecture.rs` holds the table and fails with file, line and edge.

// Words.
pub mod model;

// Parts, in the order a statement meets them.
pub mod wire;

pub mod identity;

pub mod sql;

pub mod policy;

pub mod seal;

pub mod journal;

// Path 1: the connection.
pub mod gateway;

// Path 2: the evidence.
pub mod segment;

pub mod store;

pub mod anchor;

pub mod ship;

// Path 3: reading back.
pub mod archive;

// A person's side: from one address to a token.
pub mod sign_in;

// Faces.
pub mod config;

pub mod telemetry;

pub mod cli;
