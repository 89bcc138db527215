//! Bytes of all kinds against the guard and the codec.
