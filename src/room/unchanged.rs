//! Frames that changed nothing, and so have no record that tells of them.

use std::collections::VecDeque;

use crate::protocol::ids::ClientId;

/// Clients remembered, 96 KiB of them: a program may name another client with each request.
const CLIENTS_MAX: usize = 4_096;

/// The newest such frame of each client that has no record since, oldest client first.
#[derive(Debug, Default)]
pub(super) struct Unchanged(VecDeque<(ClientId, u64)>);

impl Unchanged {
    /// A frame was taken and changed nothing.
    pub(super) fn note(&mut self, client: ClientId, seq: u64) {
        self.0.retain(|(known, _)| *known != client);
        if self.0.len() >= CLIENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((client, seq));
    }

    /// The newest of a client; 0 if there is none.
    pub(super) fn seq(&self, client: ClientId) -> u64 {
        let own = self.0.iter().find(|(known, _)| *known == client);
        own.map_or(0, |(_, seq)| *seq)
    }

    /// A record of that client says as much.
    pub(super) fn forget(&mut self, client: ClientId, seq: u64) {
        self.0.retain(|(known, newest)| *known != client || *newest > seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_client_is_known_until_a_record_says_it() {
        let clients = [1, 2].map(uuid::Uuid::from_u128);
        let mut unchanged = Unchanged::default();
        unchanged.note(clients[0], 3);
        unchanged.note(clients[1], 9);
        unchanged.note(clients[0], 5);
        unchanged.forget(clients[0], 4);
        unchanged.forget(clients[1], 9);
        assert_eq!(clients.map(|client| unchanged.seq(client)), [5, 0]);
    }

    #[test]
    fn nobody_fills_the_memory() {
        let mut unchanged = Unchanged::default();
        for number in 0..10_000 {
            unchanged.note(uuid::Uuid::from_u128(number), 1);
        }
        assert_eq!(unchanged.0.len(), CLIENTS_MAX);
        assert_eq!(unchanged.seq(uuid::Uuid::from_u128(9_999)), 1);
    }
}
