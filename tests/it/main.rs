//! The one integration binary: a module for each behaviour.

mod interchange;
//! The integration tests, a module per behaviour.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod log_contract;
mod power_cut;
mod samples;
mod store_contract;
//! Integration tests: one binary, a module per behaviour.

mod wire_golden;
