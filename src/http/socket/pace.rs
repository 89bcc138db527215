//! How fast a connection may send. Edits are never dropped: the socket is read more slowly. Of ephemeral states the
//! newest counts, so what comes too fast waits for its turn and gives way to what comes behind it: of awareness each
//! client id's state to a newer one of the same id.

use std::time::Duration;

use tokio::time::Instant;

use crate::board::guard::join_awareness;
use crate::protocol::ClientFrame;
use crate::protocol::limits::Limits;
use crate::room::Input;
use crate::room::yjs::YjsMessage;
use crate::telemetry;

/// Bytes of awareness that wait beside the newest message: the states of some hundred people. They are read again with
/// each message that comes too fast.
const HELD_BYTES_MAX: usize = 16 * 1024;

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
            self.drop_committed(&input);
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
            metrics::counter!(telemetry::RATE_DROPS_TOTAL).increment(renew(held, input));
        }
        None
    }

    /// What is held back of a gesture would be shown again behind the edit that ends it.
    fn drop_committed(&mut self, edit: &Input) {
        let Input::Frame(_, ClientFrame::Op { gesture, .. } | ClientFrame::Update { gesture, .. }) = edit else {
            return;
        };
        let is_of_it = |(_, held): &mut (Instant, Box<Input>)| matches!(&**held, Input::Frame(_, ClientFrame::Ephemeral(state)) if state.gesture == *gesture);
        if gesture.is_some() && self.held.take_if(is_of_it).is_some() {
            metrics::counter!(telemetry::RATE_DROPS_TOTAL).increment(1);
        }
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

/// Puts the newer input in the place of the older one, and gives how much of that is dropped. Of awareness what nobody
/// has renewed stays: `y-websocket` sends back all it hears, and that must not push out its own cursor.
fn renew(held: &mut Input, newer: Input) -> u64 {
    if let (Input::Yjs(session, YjsMessage::Awareness(older)), Input::Yjs(_, YjsMessage::Awareness(came))) =
        (&*held, &newer)
        && let Ok((joined, dropped)) = join_awareness(older, came, HELD_BYTES_MAX)
    {
        *held = Input::Yjs(*session, YjsMessage::Awareness(joined.into()));
        return dropped as u64;
    }
    // Malformed awareness comes here, too: the room hangs up.
    *held = newer;
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::guard::walk_awareness;
    use crate::protocol::Ephemeral;
    use crate::protocol::ids::SessionId;

    /// Awareness of these client ids, all below 128, with one clock and a text as state.
    fn shows(clients: &[u8], clock: u8, text: &str) -> Input {
        let json = format!("\"{text}\"");
        let mut message = vec![u8::try_from(clients.len()).unwrap()];
        for client in clients {
            message.extend([*client, clock]);
            let len = json.len();
            if len < 128 {
                message.push(u8::try_from(len).unwrap());
            } else {
                message.extend([len, len >> 7, len >> 14].map(|bits| u8::try_from(bits & 0x7f).unwrap()));
                let end = message.len();
                message[end - 3..end - 1].iter_mut().for_each(|byte| *byte |= 0x80);
            }
            message.extend_from_slice(json.as_bytes());
        }
        Input::Yjs(SessionId(1), YjsMessage::Awareness(message.into()))
    }

    fn told(input: &Input) -> Vec<(u64, u32)> {
        let Input::Yjs(_, YjsMessage::Awareness(message)) = input else {
            panic!("{input:?} is no awareness");
        };
        let entries = walk_awareness(message).unwrap();
        entries.iter().map(|entry| (entry.client, entry.clock)).collect()
    }

    fn pace() -> Pace {
        Pace::new(&Limits {
            ephemeral_per_second: 1,
            ..Limits::default()
        })
    }

    fn released(pace: &mut Pace) -> Vec<(u64, u32)> {
        let due = pace.next_held().unwrap();
        told(&pace.take_held(due).unwrap())
    }

    #[test]
    fn an_echo_of_others_does_not_push_out_the_own_cursor() {
        let mut pace = pace();
        assert!(pace.admit(shows(&[7], 1, "own"), true).is_some());
        for (clients, clock) in [(&[7][..], 2), (&[8, 9], 5), (&[7], 3), (&[9], 6), (&[8], 6)] {
            assert!(pace.admit(shows(clients, clock, "state"), true).is_none());
        }
        assert_eq!(released(&mut pace), [(7, 3), (9, 6), (8, 6)]);
    }

    #[test]
    fn what_waits_has_a_limit_and_the_oldest_goes_first() {
        let mut pace = pace();
        pace.admit(shows(&[1], 1, "own"), true);
        let large = "x".repeat(HELD_BYTES_MAX / 2);
        for client in 2..=9 {
            pace.admit(shows(&[client], 1, &large), true);
        }
        pace.admit(shows(&[1], 2, "own"), true);
        pace.admit(shows(&[10], 1, "small"), true);
        assert_eq!(released(&mut pace), [(9, 1), (1, 2), (10, 1)]);
    }

    #[test]
    fn what_is_held_of_a_gesture_goes_with_the_edit_that_ends_it() {
        let drag = |gesture: u128| {
            let gesture = Some(uuid::Uuid::from_u128(gesture));
            let (kind, data) = ("drag".to_owned(), crate::protocol::element::Value::Bool(true));
            Input::Frame(SessionId(1), ClientFrame::Ephemeral(Ephemeral { kind, gesture, data }))
        };
        let edit = |gesture: Option<u128>| {
            let (gesture, ops) = (gesture.map(uuid::Uuid::from_u128), Vec::new());
            Input::Frame(SessionId(1), ClientFrame::Op { seq: 1, gesture, ops })
        };
        let mut pace = pace();
        assert!(pace.admit(drag(7), true).is_some());
        assert!(pace.admit(drag(7), true).is_none());
        for others in [None, Some(8)] {
            pace.admit(edit(others), false);
            assert!(pace.next_held().is_some(), "{others:?}");
        }
        pace.admit(edit(Some(7)), false);
        assert!(pace.next_held().is_none());
    }

    #[test]
    fn malformed_awareness_takes_the_place_of_what_waits() {
        let mut pace = pace();
        pace.admit(shows(&[1], 1, "own"), true);
        pace.admit(shows(&[1], 2, "own"), true);
        let malformed = Input::Yjs(SessionId(1), YjsMessage::Awareness(vec![3].into()));
        pace.admit(malformed, true);
        let held = pace.take_held(pace.next_held().unwrap());
        assert!(matches!(held, Some(Input::Yjs(_, YjsMessage::Awareness(bytes))) if bytes[..] == [3]));
    }
}
