//! The integration tests, a module per behaviour.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the frames it waits for and passes over the rest"
)]

mod access;
mod boards;
mod config;
mod console_tools;
mod faults;
mod fuzz;
mod guard;
mod hostile;
mod imports;
mod interchange;
mod interop;
mod invites;
mod joins_level;
mod journal;
mod kafka_log;
mod kafka_rights;
#[cfg(feature = "kafka-tls")]
mod kafka_tls;
mod keyframes;
mod kill;
mod layering;
mod limits;
mod log_contract;
mod lost;
mod materialiser;
mod monitoring;
mod openapi;
mod pages;
mod pictures;
mod postgres;
mod postgres_schema;
mod postgres_tls;
mod power_cut;
mod relay_contract;
mod rest;
mod rights_across;
mod rules;
mod runs;
mod samples;
mod shown_across;
mod simulation;
mod store_contract;
mod support;
mod thumbnails;
mod topic_faults;
mod two_nodes;
mod undo_nodes;
mod wire_golden;
