//! Places for requests that hold much memory, or a core: a request waits for one, but not for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::error::Problem;

/// Time to wait for a place, so that a class that does the same at once gets through.
const WAITING: Duration = Duration::from_secs(10);

/// A number of places. A clone is the same.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    /// So many places.
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A place, in the order of asking; 503 where there is none in time.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = timeout(WAITING, Arc::clone(&self.0).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(|| Problem::unavailable(5))
    }
}
