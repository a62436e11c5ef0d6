//! See `outdial_fuzz::cron`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outdial_fuzz::cron(data));
