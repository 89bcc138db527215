//! How fast a connection may send. Edits are never dropped: the socket is read more slowly. Of ephemeral states the
//! newest counts, so what comes too fast waits for its turn and gives way to what comes behind it.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::limits::Limits;
use crate::room::Input;
use crate::telemetry;

/// A bucket that may go into debt; whoever owes waits.
struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self {
            per_second,
            burst,
            level: burst,
            at: Instant::now(),
        }
    }

    /// Takes `cost`; gives when the debt is paid, if there is one. Without a rate nothing is ever owed.
    fn take(&mut self, cost: f64) -> Option<Instant> {
        if self.per_second == 0.0 {
            return None;
        }
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + earned).min(self.burst) - cost;
        self.at = now;
        (self.level < 0.0).then(|| now + Duration::from_secs_f64(-self.level / self.per_second))
    }
}

/// The pace of one connection.
pub(super) struct Pace {
    edits: Bucket,
    bytes: Bucket,
    ephemeral: Bucket,
    pause: Option<Instant>,
    held: Option<(Instant, Box<Input>)>,
}

impl Pace {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            edits: Bucket::new(limits.updates_per_second, limits.updates_burst),
            bytes: Bucket::new(limits.bytes_per_second, limits.bytes_burst),
            ephemeral: Bucket::new(limits.ephemeral_per_second, limits.ephemeral_per_second),
            pause: None,
            held: None,
        }
    }

    /// Counts the bytes of a frame.
    pub(super) fn note_bytes(&mut self, count: usize) {
        #[expect(clippy::cast_precision_loss, reason = "frames are far smaller than 2^53")]
        let until = self.bytes.take(count as f64);
        self.pause = self.pause.max(until);
    }

    /// Lets an input through, or keeps it as the newest ephemeral state.
    pub(super) fn admit(&mut self, input: Input, is_ephemeral: bool) -> Option<Input> {
        if !is_ephemeral {
            self.pause = self.pause.max(self.edits.take(1.0));
            return Some(input);
        }
        if self.held.is_none() {
            let Some(until) = self.ephemeral.take(1.0) else {
                return Some(input);
            };
            self.held = Some((until, Box::new(input)));
            return None;
        }
        if let Some((_, held)) = &mut self.held {
            metrics::counter!(telemetry::RATE_DROPS_TOTAL).increment(1);
            **held = input;
        }
        None
    }

    /// Until when the socket is not read.
    pub(super) fn pause(&mut self) -> Option<Instant> {
        self.pause = self.pause.filter(|until| *until > Instant::now());
        self.pause
    }

    /// When the held state may go.
    pub(super) fn next_held(&self) -> Option<Instant> {
        self.held.as_ref().map(|(until, _)| *until)
    }

    /// The held state, if its time has come.
    pub(super) fn take_held(&mut self, now: Instant) -> Option<Input> {
        if self.held.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.held.take().map(|(_, input)| *input)
        } else {
            None
        }
    }
}
