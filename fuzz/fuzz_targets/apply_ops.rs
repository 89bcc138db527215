//! libFuzzer drives what `tests/it/fuzz.rs` drives as well.
#![no_main]

#[path = "../bodies/apply_ops.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
