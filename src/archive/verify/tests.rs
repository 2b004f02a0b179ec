//! The tamper matrix.
