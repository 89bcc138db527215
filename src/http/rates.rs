//! How often somebody may try: failed log-ins of an address, edits and joins of a user.
//!
//! Off in the open mode, where all are one user on one machine. Every map here has a bound: entries whose window has
//! passed are dropped once there are [`KEYS_MAX`] of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

use crate::protocol::ids::{Timestamp, UserId};
use crate::protocol::limits::Limits;

/// Keys a map holds before those without recent events are dropped: some MiB at most.
const KEYS_MAX: usize = 20_000;
/// Length of the window in which failed log-ins are counted.
const WINDOW_MS: u64 = 60_000;

/// All limits on how often, for one node.
pub struct Rates {
    failures_max: u32,
    failures: Mutex<HashMap<IpAddr, Window>>,
    edits: Option<DefaultKeyedRateLimiter<UserId>>,
    joins: Option<DefaultKeyedRateLimiter<UserId>>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Timestamp,
    count: u32,
}

impl Rates {
    /// The limits as configured.
    pub fn new(limits: &Limits) -> Self {
        let per_second = |count| NonZeroU32::new(count).map(Quota::per_second);
        let edits = per_second(limits.updates_per_second)
            .map(|quota| NonZeroU32::new(limits.updates_burst).map_or(quota, |burst| quota.allow_burst(burst)));
        let joins = NonZeroU32::new(limits.joins_per_minute).map(Quota::per_minute);
        Self {
            failures_max: limits.failed_logins_per_minute,
            failures: Mutex::default(),
            edits: edits.map(RateLimiter::keyed),
            joins: joins.map(RateLimiter::keyed),
        }
    }

    /// No limits: for the open mode.
    pub fn none() -> Self {
        Self {
            failures_max: 0,
            failures: Mutex::default(),
            edits: None,
            joins: None,
        }
    }

    /// Whether this address may try a token now; else the seconds to wait.
    pub fn may_log_in(&self, address: IpAddr, now: Timestamp) -> Result<(), u64> {
        if self.failures_max == 0 {
            return Ok(());
        }
        match self.failures.lock().get(&network(address)) {
            Some(window) if now.since(window.began) < WINDOW_MS && window.count >= self.failures_max => {
                Err((WINDOW_MS - now.since(window.began)).div_ceil(1000))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a failed log-in.
    pub fn log_in_failed(&self, address: IpAddr, now: Timestamp) {
        if self.failures_max == 0 {
            return;
        }
        let mut failures = self.failures.lock();
        if failures.len() >= KEYS_MAX {
            failures.retain(|_, window| now.since(window.began) < WINDOW_MS);
        }
        if failures.len() >= KEYS_MAX {
            // Still full: the flood comes from many networks. Forgetting all keeps memory bounded.
            failures.clear();
        }
        let window = failures
            .entry(network(address))
            .or_insert(Window { began: now, count: 0 });
        if now.since(window.began) >= WINDOW_MS {
            *window = Window { began: now, count: 0 };
        }
        window.count += 1;
    }

    /// Counts an edit over HTTP; else the seconds to wait.
    pub fn edit(&self, user: &UserId) -> Result<(), u64> {
        check(self.edits.as_ref(), user)
    }

    /// Counts a join of a socket; else the seconds to wait.
    pub fn join(&self, user: &UserId) -> Result<(), u64> {
        check(self.joins.as_ref(), user)
    }
}

fn check(limiter: Option<&DefaultKeyedRateLimiter<UserId>>, user: &UserId) -> Result<(), u64> {
    let Some(limiter) = limiter else { return Ok(()) };
    if limiter.len() >= KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(user).map_err(|not_until| {
        let wait = not_until.wait_time_from(DefaultClock::default().now());
        wait.as_secs() + 1
    })
}

/// What counts as one address: a subscriber of IPv6 has a whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
    }
}
