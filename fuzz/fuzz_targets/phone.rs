//! See `outdial_fuzz::phone`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::phone(data));
