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
/// Above so many frames a second they wait longer for each other: nearly all the cost of a frame is that of its write.
const FRAMES_MAX: f64 = 150.0;
/// The pause of such a room.
const CROWDED_PAUSE: Duration = Duration::from_millis(10);
/// The pause of a large audience, for each reader: about eight times what the write to one costs.
const READER_PAUSE: Duration = Duration::from_micros(60);
/// Time over which frames are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// Clients of a node that is silent for longer may have gone to another one.
const LATE: Duration = Duration::from_secs(4);
/// Time between ticks while nothing moves.
const SLOW_TICK_MS: u64 = 1_000;

/// When a room has something to do by the clock.
pub(super) struct Pulse {
    pub(super) alarm: Pin<Box<Sleep>>,
    tick: Duration,
    pub(super) next_tick: Instant,
    ticked: Instant,
    /// Up to when the wakings at once are used up.
    glanced: Instant,
    /// When the readers are woken at the latest, if frames wait for them.
    next_wake: Instant,
    /// Frames wait for that.
    is_waking: bool,
    /// Frames that left since `counted_since`.
    frames: usize,
    counted_since: Instant,
    /// Whether there were too many of them to write each by itself.
    pub(super) is_crowded: bool,
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
            ticked: now,
            glanced: now,
            next_wake: now,
            is_waking: false,
            frames: 0,
            counted_since: now,
            is_crowded: false,
            idle_since: now,
        }
    }

    /// Something came that the next tick may have to tell: at once, if the last one is long enough ago. One person's
    /// strokes, at 20 frames a second, are so not held up at all.
    pub(super) fn tick_soon(&mut self) {
        self.next_tick = self.next_tick.min(self.ticked + self.tick);
    }

    /// A tick is done.
    pub(super) fn ticked(&mut self, now: Instant, is_restless: bool) {
        self.ticked = now;
        self.next_tick = now
            + if is_restless {
                self.tick
            } else {
                Duration::from_millis(SLOW_TICK_MS)
            };
    }

    /// Whether that many readers may be woken now for so many frames; else they are when the time has come.
    pub(super) fn may_wake(&mut self, now: Instant, readers: usize, frames: usize) -> bool {
        let pause = self.wake_pause(readers);
        let glanced = self.glanced.max(now);
        if pause <= WAKE_PAUSE && glanced - now <= GLANCES_SAVED {
            self.glanced = glanced + GLANCE;
        } else if now < self.next_wake {
            self.is_waking = true;
            return false;
        }
        self.is_waking = false;
        self.next_wake = now + pause;
        self.count(now, frames);
        true
    }

    fn wake_pause(&self, readers: usize) -> Duration {
        let audience = READER_PAUSE.saturating_mul(u32::try_from(readers).unwrap_or(u32::MAX));
        let pause = if self.is_crowded { CROWDED_PAUSE } else { WAKE_PAUSE };
        pause.max(audience)
    }

    fn count(&mut self, now: Instant, frames: usize) {
        self.frames += frames;
        let counted = now - self.counted_since;
        if counted >= COUNTED {
            let frames = u32::try_from(self.frames).unwrap_or(u32::MAX);
            self.is_crowded = f64::from(frames) > FRAMES_MAX * counted.as_secs_f64();
            self.counted_since = now;
            self.frames = 0;
        }
    }

    /// Whether the alarm should have gone off long ago: the process was frozen, or starved.
    pub(super) fn is_late(&self) -> bool {
        self.alarm.deadline().elapsed() > LATE
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

    /// Times the readers were woken while a frame came every `each_ms`, from one time to another.
    fn woken(pulse: &mut Pulse, begin: Instant, readers: usize, (from_ms, to_ms): (u64, u64), each_ms: u64) -> usize {
        let mut waiting = 0;
        let mut is_woken = |ms: u64| {
            waiting += usize::from(ms.is_multiple_of(each_ms));
            let may = waiting > 0 && pulse.may_wake(begin + Duration::from_millis(ms), readers, waiting);
            if may {
                waiting = 0;
            }
            may
        };
        (from_ms..to_ms).filter(|ms| is_woken(*ms)).count()
    }

    #[tokio::test]
    async fn after_a_quiet_time_the_tick_comes_at_once_and_never_two_in_one() {
        let tick = Duration::from_millis(33);
        let mut pulse = Pulse::new(tick);
        let now = pulse.next_tick + tick;
        pulse.tick_soon();
        assert!(pulse.next_tick <= now);
        pulse.ticked(now, false);
        pulse.tick_soon();
        assert_eq!(pulse.next_tick, now + tick);
    }

    #[tokio::test]
    async fn the_first_frames_are_not_held_up_and_a_flood_leaves_in_few_writes() {
        let mut pulse = Pulse::new(Duration::from_millis(33));
        let begin = Instant::now();
        assert_eq!(woken(&mut pulse, begin, 10, (0, 8), 1), 8);
        // 100 frames a second: 60 wakings at once, and one every 3 ms between them.
        assert_eq!(woken(&mut pulse, begin, 10, (10, 1_010), 10), 100);
        // 1,000 a second: as before until they are counted, then one waking every 10 ms.
        woken(&mut pulse, begin, 10, (2_000, 4_000), 1);
        assert_eq!(woken(&mut pulse, begin, 10, (4_000, 5_000), 1), 100);
        // Quiet again: nothing waits.
        woken(&mut pulse, begin, 10, (5_000, 7_000), 100);
        assert_eq!(woken(&mut pulse, begin, 10, (7_000, 7_008), 1), 8);
    }

    #[tokio::test]
    async fn a_large_audience_is_woken_less_often() {
        let mut pulse = Pulse::new(Duration::from_millis(33));
        let begin = Instant::now();
        assert_eq!(woken(&mut pulse, begin, 1_000, (0, 1_200), 1), 20);
        assert_eq!(woken(&mut pulse, begin, 1_000, (2_000, 2_001), 1), 1);
    }
}
