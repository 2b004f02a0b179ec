//! What each fuzz target does with its bytes. The fuzzer and `tests/hostile_bytes.rs` run the same bodies: the one looks
//! for new inputs, the other replays those that were found.
//!
//! A body holds a promise of the room that it feeds, beside "no panic": what comes out is compared with what a second,
//! plainer way of saying the same gives.

pub mod decoders;
pub mod evidence;
pub mod exchange;
pub mod facts;
pub mod framer;
pub mod guard;
pub mod journal;
pub mod login;
pub mod policy;
mod server;

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};

/// A frame of PostgreSQL's protocol.
fn frame(kind: u8, body: &[u8]) -> bytes::Bytes {
    let length = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
    [&[kind], &length[..], body].concat().into()
}

/// One of these, as the input says.
fn one<T: Copy>(from: &mut Unstructured<'_>, these: &[T]) -> Result<T> {
    from.choose(these).copied()
}

/// Up to 64 bytes of the input.
fn piece<'a>(from: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let most = from.len().min(64);
    let length = from.int_in_range(0..=most)?;
    from.bytes(length.min(from.len()))
}

/// True once in eight times.
fn rarely(from: &mut Unstructured<'_>) -> Result<bool> {
    Ok(from.arbitrary::<u8>()? > 223)
}

/// With `HANSARD_FUZZ_SHOW` in the environment what happens is told, for whoever looks into an input that fails.
#[expect(clippy::print_stderr, reason = "it was asked for")]
fn show<W: std::fmt::Display, T: std::fmt::Display>(what: impl FnOnce() -> (W, T)) {
    static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("HANSARD_FUZZ_SHOW").is_some());
    if *WANTED {
        let (who, what) = what();
        eprintln!("{who}: {what}");
    }
}
