//! What is shown and never stored, as the room has it: what the tick tells the people here and the rooms on other nodes,
//! and what those tell.

use super::ring::{Form, Frame};
use super::{Counter, Effect, Room};
use crate::board::guard::walk_awareness;
use crate::protocol::ids::Timestamp;
use crate::protocol::relay::{Lane, Relayed};

/// Why something that another node showed was not shown here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unshown {
    /// It was on its way for too long.
    Old,
    /// It comes from somebody of whom is not known that they are there.
    Unknown,
    /// It is above a limit, or malformed.
    Refused,
}

impl Room {
    /// There are other nodes: their rooms of this board are told of the people here, and what they tell is shown here.
    pub fn share(&mut self) {
        self.presence.share(self.board.replica());
    }

    /// Whether what other nodes show is to be heard now.
    pub fn is_shared(&self) -> bool {
        self.presence.is_shared()
    }

    /// Tells what changed since the last tick, and does what is due by the clock.
    pub(super) fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let tick = self.presence.tick(now);
        if let Some(awareness) = tick.awareness.filter(|_| self.forms[Form::Yjs as usize] > 0) {
            let mut frame = Frame {
                is_ephemeral: true,
                ..Frame::default()
            };
            frame.bytes[Form::Yjs as usize] = Some(awareness);
            effects.push(Effect::FanOut(frame));
        }
        if let Some(states) = tick.ephemeral {
            effects.extend(self.own_frame(&states, true).map(Effect::FanOut));
        }
        self.relay(tick.relayed, effects);
        self.save_tick(now, effects);
    }

    /// Tells the others, and how far the records are that it stands behind.
    fn relay(&self, relayed: Vec<(Lane, Relayed)>, effects: &mut Vec<Effect>) {
        let number = self.number;
        let numbered = relayed
            .into_iter()
            .map(|(lane, relayed)| (lane, Relayed { number, ..relayed }));
        effects.extend(numbered.map(|(lane, relayed)| Effect::Relay(lane, Box::new(relayed))));
    }

    /// Takes what another room tells; awareness passes the same walk as that of a client.
    pub(super) fn relayed(&mut self, now: Timestamp, relayed: &Relayed, effects: &mut Vec<Effect>) {
        let unshown = self.presence.relayed(now, relayed, |update| {
            let entries = walk_awareness(update).ok()?;
            let plain = entries.iter().map(|entry| (entry.client, entry.clock, entry.json));
            Some(plain.collect())
        });
        for (why, count) in [
            (Unshown::Old, unshown.old),
            (Unshown::Unknown, unshown.unknown),
            (Unshown::Refused, unshown.refused),
        ] {
            effects.extend((0..count).map(|_| Effect::Count(Counter::Unshown(why))));
        }
    }
}
