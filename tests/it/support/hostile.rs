//! Frames no honest client sends.
