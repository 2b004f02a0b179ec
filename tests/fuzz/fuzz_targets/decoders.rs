//! See `bodies/decoders.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::decoders::body(data));
