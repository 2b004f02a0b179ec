//! Bytes ⇄ messages as state machines without I/O; one folder per protocol, and [`proxied`] for what may stand before any.
//!
//! What this room promises: a statement's bytes are [`Held`] until a [`Permit`] for exactly that statement is spent on
//! them, and every decoder is confined to the one frame it was given.

pub mod postgres;
pub mod proxied;

use bytes::Bytes;

use crate::journal::Permit;
use crate::model::Asked;

/// Every wire protocol, by the name that config, records and tests use.
pub const PROTOCOLS: &[&str] = &[postgres::NAME];

/// A peer broke the protocol: the connection cannot go on. The text names the flaw, never what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

/// A statement's bytes, which leave only against their permit.
#[derive(Debug)]
#[must_use]
pub struct Held {
    asked: Asked,
    frames: Bytes,
}

/// The permit was another statement's: a bug of the caller. The bytes were dropped, not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a permit was spent on another statement; nothing was sent")]
pub struct WrongPermit;

impl Held {
    /// Holds the bytes of what was asked.
    pub fn new(asked: Asked, frames: Bytes) -> Self {
        Self { asked, frames }
    }

    /// What the bytes ask for.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Spends the permit for the bytes.
    ///
    /// # Errors
    ///
    /// The permit is for something else.
    pub fn release(self, permit: Permit) -> Result<Bytes, WrongPermit> {
        if permit.spend() == self.asked { Ok(self.frames) } else { Err(WrongPermit) }
    }
}
