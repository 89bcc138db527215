//! The integration tests, a module per behaviour.

mod log_contract;
mod power_cut;
mod samples;
mod store_contract;
