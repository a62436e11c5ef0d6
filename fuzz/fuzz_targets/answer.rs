//! See `outdial_fuzz::answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::answer(data));
