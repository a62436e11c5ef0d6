//! See `outdial_fuzz::leads`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::leads(data));
