//! When a room has something to do by the clock: its next tick, and the next time its readers are woken.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Readers are woken at once 60 times a second on average, as often as a screen shows anything new ...
const GLANCE: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// ... with so much saved up from quieter times, which is eight wakings.
const GLANCES_SAVED: Duration = Duration::from_millis(117);
/// In a room that is busier they are woken so long after the last time: several frames then leave in one write. With
/// what timers add it stays below the 5 ms in which others see an edit.
const WAKE_PAUSE: Duration = Duration::from_millis(3);
/// Time between ticks while nothing moves.
const SLOW_TICK_MS: u64 = 1_000;

/// When a room has something to do by the clock.
pub(super) struct Pulse {
    pub(super) alarm: Pin<Box<Sleep>>,
    tick: Duration,
    pub(super) next_tick: Instant,
    /// Up to when the wakings at once are used up.
    glanced: Instant,
    /// When the readers are woken at the latest, if frames wait for them.
    next_wake: Instant,
    /// Frames wait for that.
    is_waking: bool,
    pub(super) idle_since: Instant,
}

impl Pulse {
    /// A tick from now on.
    pub(super) fn new(tick: Duration) -> Self {
        let now = Instant::now();
        Self {
            alarm: Box::pin(sleep_until(now + tick)),
            tick,
            next_tick: now + tick,
            glanced: now,
            next_wake: now,
            is_waking: false,
            idle_since: now,
        }
    }

    /// Something came that the next tick may have to tell.
    pub(super) fn tick_soon(&mut self) {
        self.next_tick = self.next_tick.min(Instant::now() + self.tick);
    }

    /// Time to the tick after this one.
    pub(super) fn pause(&self, is_restless: bool) -> Duration {
        if is_restless {
            self.tick
        } else {
            Duration::from_millis(SLOW_TICK_MS)
        }
    }

    /// Whether the readers may be woken now; else they are when the time has come.
    pub(super) fn may_wake(&mut self, now: Instant) -> bool {
        let glanced = self.glanced.max(now);
        if glanced - now <= GLANCES_SAVED {
            self.glanced = glanced + GLANCE;
        } else if now < self.next_wake {
            self.is_waking = true;
            return false;
        }
        self.is_waking = false;
        self.next_wake = now + WAKE_PAUSE;
        true
    }

    /// An alarm that goes off too early costs less than setting it anew each time.
    pub(super) fn set_alarm(&mut self) {
        let due = if self.is_waking {
            self.next_tick.min(self.next_wake)
        } else {
            self.next_tick
        };
        if due < self.alarm.deadline() || self.alarm.is_elapsed() {
            self.alarm.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_frames_are_not_held_up_and_a_flood_leaves_in_few_writes() {
        let mut pulse = Pulse::new(Duration::from_millis(33));
        let begin = Instant::now();
        let woken = |pulse: &mut Pulse, from_ms: u64, to_ms: u64| {
            let mut times = (from_ms..to_ms).map(|ms| begin + Duration::from_millis(ms));
            times.by_ref().filter(|now| pulse.may_wake(*now)).count()
        };
        assert_eq!(woken(&mut pulse, 0, 8), 8);
        // 1,000 frames a second: 60 wakings at once, and one every 3 ms between them.
        let busy = woken(&mut pulse, 8, 1_008);
        assert!((300..400).contains(&busy), "{busy}");
        assert_eq!(woken(&mut pulse, 2_000, 2_008), 8);
    }
}
