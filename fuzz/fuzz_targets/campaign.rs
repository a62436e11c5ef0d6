//! See `outdial_fuzz::campaign`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::campaign(data));
