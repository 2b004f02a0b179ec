//! See `bodies/login.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::login::body(data));
