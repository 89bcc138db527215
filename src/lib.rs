//! Panseo: the backend of a shared classroom whiteboard.

pub mod access;
pub mod bench;
pub mod interchange;
pub mod board;
pub mod log;
pub mod presence;
pub mod protocol;
pub mod store;
pub mod room;
pub mod telemetry;
pub mod cli;
pub mod config;
pub mod http;
pub mod server;
