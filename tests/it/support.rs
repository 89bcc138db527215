//! What the integration tests share.

pub(crate) mod hostile;
pub(crate) mod live;
