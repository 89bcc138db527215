//! What the log says of each client's outbox: the highest `seq` that was taken, and which before it were refused.
//!
//! An `ack` speaks for all up to it that got no error. An error may be lost with its socket, so the record of a later
//! frame names the refused ones before it, and every node can say it again.

use std::collections::HashMap;

use crate::protocol::ids::{ClientId, Timestamp};
use crate::protocol::{ErrorCode, Record, Refused};

/// Runs of refused frames that are remembered of a client: a client that is refused more often than that between two
/// connections has heard of the older ones.
pub const REFUSED_MAX: usize = 64;

#[derive(Debug, Clone, Default)]
struct Outbox {
    seq: u64,
    time: Timestamp,
    refused: Vec<Refused>,
}

/// The outboxes of a board.
#[derive(Debug, Clone, Default)]
pub struct Outboxes(HashMap<ClientId, Outbox>);

impl Outboxes {
    /// Highest `seq` of a client that was taken.
    pub fn seq(&self, client: ClientId) -> u64 {
        self.0.get(&client).map_or(0, |outbox| outbox.seq)
    }

    /// Runs of a client's frames that were refused.
    pub fn refused(&self, client: ClientId) -> &[Refused] {
        self.0.get(&client).map_or(&[], |outbox| &outbox.refused)
    }

    /// Takes up a record; a second time changes nothing.
    pub(super) fn note(&mut self, record: &Record) {
        let (Some(client), Some(seq)) = (record.client, record.seq) else {
            return;
        };
        let outbox = self.0.entry(client).or_default();
        outbox.time = record.time;
        if seq <= outbox.seq {
            // Another node has taken what was refused elsewhere.
            return outbox.refused.retain(|refused| refused.code(seq).is_none());
        }
        // What another node took meanwhile stays taken.
        let news = record.refused.iter().filter(|refused| refused.first > outbox.seq);
        outbox.refused.extend(news);
        outbox.seq = seq;
        let surplus = outbox.refused.len().saturating_sub(REFUSED_MAX);
        outbox.refused.drain(..surplus);
    }

    /// Outboxes that had a record since then, for a keyframe.
    pub(super) fn recent(&self, is_recent: impl Fn(&Timestamp) -> bool) -> Vec<(ClientId, u64, Timestamp)> {
        let all = self.0.iter().map(|(client, outbox)| (*client, outbox.seq, outbox.time));
        let mut recent: Vec<_> = all.filter(|(.., time)| is_recent(time)).collect();
        recent.sort();
        recent
    }

    /// The refusals of those outboxes, for a keyframe.
    pub(super) fn all_refused(&self, recent: &[(ClientId, u64, Timestamp)]) -> Vec<(ClientId, Vec<Refused>)> {
        let refused = recent
            .iter()
            .map(|(client, ..)| (*client, self.refused(*client).to_vec()));
        refused.filter(|(_, refused)| !refused.is_empty()).collect()
    }

    /// As a keyframe has them.
    pub(super) fn from_keyframe(seqs: Vec<(ClientId, u64, Timestamp)>, refused: Vec<(ClientId, Vec<Refused>)>) -> Self {
        let mut refused: HashMap<_, _> = refused.into_iter().collect();
        let outboxes = seqs.into_iter().map(|(client, seq, time)| {
            let refused = refused.remove(&client).unwrap_or_default();
            (client, Outbox { seq, time, refused })
        });
        Self(outboxes.collect())
    }
}

impl Refused {
    /// Why this frame was refused, if it is one of the run.
    pub fn code(&self, seq: u64) -> Option<ErrorCode> {
        (self.first..=self.last).contains(&seq).then_some(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::{Position, RecordId, UserId};
    use crate::protocol::{Blob, RecordKind};

    const CLIENT: ClientId = uuid::Uuid::from_u128(1);

    fn record(seq: u64, refused: &[u64]) -> Record {
        let run = |seq: &u64| Refused {
            first: *seq,
            last: *seq,
            code: ErrorCode::Conflict,
        };
        Record {
            id: RecordId(1, seq),
            base: Position(1, 1),
            author: UserId::new("anna").unwrap(),
            client: Some(CLIENT),
            seq: Some(seq),
            refused: refused.iter().map(run).collect(),
            kind: RecordKind::Op,
            gesture: None,
            time: Timestamp(1),
            owner: None,
            steps: Vec::new(),
            changes: Vec::new(),
            changes_left_out: false,
            relayed: Vec::new(),
            update: Blob::default(),
        }
    }

    fn told(records: &[Record]) -> Vec<u64> {
        let mut outboxes = Outboxes::default();
        for record in records {
            outboxes.note(record);
        }
        outboxes.refused(CLIENT).iter().map(|refused| refused.first).collect()
    }

    #[test]
    fn what_was_refused_before_a_record_is_remembered_once() {
        assert_eq!(
            told(&[record(3, &[1, 2]), record(3, &[1, 2]), record(5, &[4])]),
            [1, 2, 4]
        );
    }

    #[test]
    fn what_another_node_took_counts_as_taken() {
        assert_eq!(told(&[record(1, &[]), record(3, &[1, 2])]), [2]);
        assert_eq!(told(&[record(3, &[1, 2]), record(1, &[])]), [2]);
    }

    #[test]
    fn the_oldest_refusals_are_forgotten_first() {
        let many: Vec<u64> = (1..=100).collect();
        assert_eq!(told(&[record(101, &many)]), (37..=100).collect::<Vec<_>>());
    }
}
