//! libFuzzer drives what `tests/it/fuzz.rs` drives as well.
#![no_main]

#[path = "../bodies/merge_update.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
