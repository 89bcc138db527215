//! Integration tests, a module per behaviour.

mod guard;
mod support;
mod wire_golden;
