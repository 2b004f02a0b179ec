//! See `bodies/evidence.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::evidence::body(data));
