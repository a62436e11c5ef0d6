//! See `outdial_fuzz::report`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::report(data));
