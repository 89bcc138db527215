//! Integration tests: one binary, a module per behaviour.

mod wire_golden;
