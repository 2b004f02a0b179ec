//! See `bodies/policy.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::policy::body(data));
