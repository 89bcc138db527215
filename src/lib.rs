//! Panseo: the backend of a shared classroom whiteboard.

pub mod board;
pub mod log;
pub mod protocol;
pub mod store;
