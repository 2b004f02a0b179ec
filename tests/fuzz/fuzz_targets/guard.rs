//! See `bodies/guard.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::guard::body(data));
