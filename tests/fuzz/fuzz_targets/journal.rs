//! See `bodies/journal.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::journal::body(data));
