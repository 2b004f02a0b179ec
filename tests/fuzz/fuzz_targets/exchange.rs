//! See `bodies/exchange.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::exchange::body(data));
