//! Bytes ⇄ messages as state machines without I/O; one folder per protocol.
