//! Panseo: the backend of a shared classroom whiteboard.

pub mod access;
pub mod bench;
pub mod board;
pub mod cli;
pub mod config;
pub mod http;
pub mod interchange;
pub mod log;
pub mod presence;
pub mod protocol;
pub mod room;
pub mod server;
pub mod store;
pub mod telemetry;
