//! Refusals: what the author is told, and what is remembered until the next record of the client names it.

use std::collections::VecDeque;

use super::session::{Door, Offence};
use super::{Counter, Effect, Room};
use crate::board::outbox::REFUSED_MAX;
use crate::protocol::close::CloseCode;
use crate::protocol::ids::{ClientId, SessionId, Timestamp};
use crate::protocol::{ErrorCode, Refused, ServerFrame, codec};

/// Runs remembered for all clients of a room: some hundred clients refused again and again, 200 KB.
const ALL_MAX: usize = 4_096;

/// The refusals of a room, oldest first.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<(ClientId, Refused)>);

impl Refusals {
    /// A frame was refused.
    pub(super) fn add(&mut self, client: ClientId, seq: u64, code: ErrorCode) {
        let mut own = self.0.iter_mut().filter(|(owner, _)| *owner == client);
        // `busy` refuses a whole run.
        if let Some((_, newest)) = own.next_back()
            && (newest.code, newest.last.checked_add(1)) == (code, Some(seq))
        {
            newest.last = seq;
            return;
        }
        let surplus = self.of(client).count() >= REFUSED_MAX;
        if let Some(oldest) = self.0.iter().position(|(owner, _)| surplus && *owner == client) {
            self.0.remove(oldest);
        }
        if self.0.len() >= ALL_MAX {
            self.0.pop_front();
        }
        let (first, last) = (seq, seq);
        self.0.push_back((client, Refused { first, last, code }));
    }

    /// Refused frames of a client.
    pub(super) fn of(&self, client: ClientId) -> impl Iterator<Item = Refused> + '_ {
        let own = self.0.iter().filter(move |(owner, _)| *owner == client);
        own.map(|(_, refused)| *refused)
    }

    /// Gives those before `seq` away, to the record of that frame or because another node has taken it.
    pub(super) fn take(&mut self, client: ClientId, seq: u64) -> Vec<Refused> {
        let mut taken = Vec::new();
        self.0.retain(|(owner, refused)| {
            let is_kept = *owner != client || refused.first > seq;
            taken.extend((!is_kept).then_some(*refused));
            is_kept
        });
        taken
    }
}

impl Room {
    pub(super) fn bad_frame(
        &mut self,
        now: Timestamp,
        id: SessionId,
        message: String,
        seq: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let strikes = session.strike(Offence::Malformed, now);
        self.refuse(id, seq, ErrorCode::BadOp, message, effects);
        if strikes >= self.limits.malformed_max as usize {
            effects.push(Effect::Close(id, CloseCode::Malformed));
        }
    }

    /// Tells the author that a frame was refused.
    pub(super) fn refuse(
        &mut self,
        id: SessionId,
        seq: Option<u64>,
        code: ErrorCode,
        message: String,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Count(Counter::Refusals(code)));
        let door = self.sessions.get(&id).map(|session| session.door);
        if let (Some(client), Some(seq)) = (door.and_then(Door::client), seq)
            && seq > self.taken(client)
            && self.refused(client).iter().all(|refused| refused.code(seq).is_none())
        {
            self.refusals.add(client, seq, code);
        }
        match door {
            Some(Door::Own { format, .. }) => {
                let frame = ServerFrame::Error { code, message, seq };
                effects.push(Effect::Send(id, codec::encode_server(format, &frame)));
            }
            Some(Door::Request { .. }) => effects.push(Effect::Answer(id, Err((code, message)))),
            Some(Door::Yjs) | None => {}
        }
    }

    /// Frames of a client that were refused, as far as this room remembers or the log says.
    pub(super) fn refused(&self, client: ClientId) -> Vec<Refused> {
        let logged = self.board.outboxes().refused(client).iter().copied();
        logged.chain(self.refusals.of(client)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = uuid::Uuid::from_u128(1);

    #[test]
    fn a_run_is_one_entry_and_goes_with_the_next_record() {
        let mut refusals = Refusals::default();
        for seq in [3, 4, 5, 8] {
            refusals.add(CLIENT, seq, ErrorCode::Busy);
        }
        refusals.add(uuid::Uuid::from_u128(2), 3, ErrorCode::BadOp);
        let run = |first, last| Refused {
            first,
            last,
            code: ErrorCode::Busy,
        };
        assert_eq!(refusals.take(CLIENT, 7), [run(3, 5)]);
        assert_eq!(refusals.of(CLIENT).collect::<Vec<_>>(), [run(8, 8)]);
    }

    #[test]
    fn nobody_fills_the_memory() {
        let mut refusals = Refusals::default();
        for number in 0..10_000 {
            refusals.add(
                uuid::Uuid::from_u128(number % 128),
                u64::try_from(number).unwrap(),
                ErrorCode::BadOp,
            );
        }
        assert_eq!(refusals.0.len(), ALL_MAX);
        assert_eq!(refusals.of(CLIENT).count(), ALL_MAX / 128);
        for seq in 0..100 {
            refusals.add(CLIENT, seq * 2, ErrorCode::BadOp);
        }
        assert_eq!(refusals.of(CLIENT).count(), REFUSED_MAX);
    }
}
