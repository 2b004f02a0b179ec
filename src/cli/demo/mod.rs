//! `hansard demo`: everything on one machine, trusted by nobody else.

pub mod issuer;
