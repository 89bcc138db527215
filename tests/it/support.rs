//! What the integration tests share.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod hostile;
pub(crate) mod kafka;
pub(crate) mod live;
pub(crate) mod node;
pub(crate) mod pair;
pub(crate) mod story;
