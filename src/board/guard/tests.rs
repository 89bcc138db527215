//! The walk against yrs's own decoder, the index against real documents, and each verdict.
