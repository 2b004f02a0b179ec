//! The connection: accept, sign in, relay, drain.
