//! Places for requests that hold much memory, or a core: a request waits for one, but not for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::GUEST;
use crate::http::error::Problem;
use crate::protocol::ids::UserId;

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

/// Places of which one person holds half at most: bodies that do not come would keep everybody out. A clone is the same.
#[derive(Clone)]
pub(super) struct SharedPlaces {
    all: Places,
    share: usize,
    /// Those who hold or wait for some; the others go with the next who comes.
    shares: Arc<Mutex<HashMap<UserId, Places>>>,
}

impl SharedPlaces {
    /// So many places.
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: Places::new(count),
            share: (count / 2).max(1),
            shares: Arc::default(),
        }
    }

    /// A place, in the order of asking; 503 where there is none in time. All guests are one name: they have no share.
    pub(super) async fn take(
        &self,
        user: &UserId,
    ) -> Result<(Option<OwnedSemaphorePermit>, OwnedSemaphorePermit), Problem> {
        let own = if user.as_str() == GUEST {
            None
        } else {
            Some(self.share_of(user).take().await?)
        };
        Ok((own, self.all.take().await?))
    }

    fn share_of(&self, user: &UserId) -> Places {
        let mut shares = self.shares.lock();
        shares.retain(|_, Places(share)| Arc::strong_count(share) > 1);
        let share = shares.entry(user.clone()).or_insert_with(|| Places::new(self.share));
        share.clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_person_holds_half_of_the_places_at_most() {
        let places = SharedPlaces::new(4);
        let [anna, kim, guest] = ["anna", "kim", GUEST].map(|name| UserId::new(name).unwrap());
        // What cannot be had at once has to wait.
        let take = |user| places.take(user).now_or_never();
        let (first, second) = (take(&anna), take(&anna));
        assert!(first.is_some() && second.is_some() && take(&anna).is_none());
        let (third, fourth) = (take(&kim), take(&kim));
        assert!(third.is_some() && fourth.is_some() && take(&guest).is_none());
        drop(first);
        assert!(take(&anna).is_some(), "a place comes back");
        drop((second, third, fourth));
        let guests = [&guest; 4].map(take);
        assert!(guests.iter().all(Option::is_some), "all guests are one name");
        assert!(take(&kim).is_none());
        assert_eq!(places.shares.lock().len(), 1, "who holds none is forgotten");
    }
}
