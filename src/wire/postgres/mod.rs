//! PostgreSQL's protocol 3.0 and 3.2 (PostgreSQL 15 to 18, chapter "Frontend/Backend Protocol").
//!
//! * [`frame`] cuts frames by type and length and nothing else; frames are forwarded as the bytes that came.
//! * [`message`] decodes what a client may send, strictly and inside its frame, and builds what we say ourselves.
//! * [`handshake`] is everything before the first statement, towards the client and towards the database.
//! * [`exchange`] knows which reply answers which statement.
//! * [`answers`] asks questions of our own.
//!
//! `pgwire` builds our messages. It does not decode
//! what clients send: its decoders read beyond their frame, replace bytes that are not UTF-8, and panic on some malformed
//! frames (0.42.1); a test holds our decoders against it on well-formed input. Its sockets and TLS are not used.
//!
//! Clients may speak 3.2, whose only novelty is that keys for cancelling may be long; newer versions and options of the
//! protocol are negotiated down. Towards the database we speak 3.0: servers before PostgreSQL 18 know nothing else, some
//! that speak the protocol end a connection that asks for more, and all there is to gain is a longer secret for a key that
//! only we and the database know.
//!
//! Deviation from the chapter: a malformed frame ends the session with `08P01`,
//! where a server would go on after some of them.

pub mod answers;
mod cut;
pub mod exchange;
pub mod frame;
pub mod handshake;
mod kept;
pub mod message;
mod names;
pub mod parameters;
mod roles;
mod running;

/// The protocol's name in config and records.
pub const NAME: &str = "postgresql";
