//! What the integration tests share.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod hostile;
pub(crate) mod kafka;
pub(crate) mod live;
pub(crate) mod node;
pub(crate) mod pair;
#[allow(dead_code, reason = "`tests/cluster_faults` uses all of it")]
pub(crate) mod servers;
pub(crate) mod soon;
pub(crate) mod story;
