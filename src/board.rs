//! The board document.

pub mod guard;
