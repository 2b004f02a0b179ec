//! See `bodies/framer.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::framer::body(data));
