//! The walk over raw Yjs bytes, and what the board knows of its own blocks: nothing reaches the CRDT library without it.
//!
//! Two steps. [`walk`] looks at the form of an update alone: counts, lengths, clocks, nesting. [`BlockIndex::check`] holds
//! it against the board: gaps, owners of client ids, the shape of the schema's roots; its answer says which entries the
//! update touches, so that the caller can decide rights per element. [`BlockIndex::note`] is fed every update that was
//! applied, as the document emitted it, so the index is always level with the document.
//!
//! Nothing here builds content, knows the CRDT library, or reserves memory by a declared count: all of it is linear in
//! the bytes. Where Yjs and yrs would read the same bytes differently, they are refused.

mod bytes;
mod check;
mod index;
mod join;
mod json;
mod place;
mod resolve;
mod rivals;
mod shape;
mod walk;

#[cfg(test)]
mod tests;

pub use bytes::WalkError;
pub use check::{Admission, CheckContext, Checked, Deed, Refusal, Relay, Touch};
pub use index::{BlockIndex, Owner};
pub use join::{join, join_awareness};
pub use shape::is_fixed;
pub use walk::{
    AwarenessEntry, Block, BlockId, Content, DeleteRange, Parent, Section, SharedType, Walk, WalkLimits, walk,
    walk_awareness, walk_state_vector, walk_within,
};
