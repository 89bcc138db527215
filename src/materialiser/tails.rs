//! How much was stored of each board, so that its keyframe is asked for in time.
//!
//! Nothing is known of a board at first, nor once its keyframe was asked for: then it is looked at after as many bytes
//! as any keyframe needs. The database says what its records since the last one weigh really, and that decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::protocol::ids::BoardId;
use crate::store::keyframe_due_bytes;

/// Bytes since keyframes, of the boards in this node's partitions.
#[derive(Default)]
pub(super) struct Tails {
    /// By partition: what may still be stored of a board before it is looked at.
    left: BTreeMap<i32, HashMap<BoardId, usize>>,
    /// Boards that are to be looked at.
    reached: BTreeSet<(i32, BoardId)>,
}

impl Tails {
    /// So much was stored of the board.
    pub(super) fn add(&mut self, partition: i32, board: &BoardId, bytes: usize) {
        let boards = self.left.entry(partition).or_default();
        let left = match boards.get_mut(board) {
            Some(left) => left,
            None => boards.entry(board.clone()).or_insert(keyframe_due_bytes(0)),
        };
        *left = left.saturating_sub(bytes);
        if *left == 0 {
            self.reached.insert((partition, board.clone()));
        }
    }

    /// Boards that are to be looked at, with their partitions; so many at most.
    pub(super) fn reached(&self, most: usize) -> Vec<(i32, BoardId)> {
        self.reached.iter().take(most).cloned().collect()
    }

    /// What the look came to; whether the board's keyframe is due.
    pub(super) fn weigh(&mut self, partition: i32, board: &BoardId, tail_bytes: usize, keyframe_bytes: usize) -> bool {
        self.reached.remove(&(partition, board.clone()));
        let boards = self.left.entry(partition).or_default();
        let left = keyframe_due_bytes(keyframe_bytes).saturating_sub(tail_bytes);
        if left == 0 {
            boards.remove(board);
        } else {
            boards.insert(board.clone(), left);
        }
        left == 0
    }

    /// The partition is another's now.
    pub(super) fn let_go(&mut self, partition: i32) {
        self.left.remove(&partition);
        self.reached.retain(|(reached, _)| *reached != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn board(name: &str) -> BoardId {
        BoardId::new(name).unwrap()
    }

    #[test]
    fn a_board_is_looked_at_when_its_keyframe_may_be_due() {
        let (mut tails, maths) = (Tails::default(), board("maths"));
        tails.add(3, &maths, 255 * KIB);
        tails.add(3, &board("music"), 255 * KIB);
        assert_eq!(tails.reached(9), []);
        tails.add(3, &maths, KIB);
        assert_eq!(tails.reached(9), [(3, maths.clone())]);
        // Its last keyframe is larger than what came since: it is looked at when that much may have come.
        assert!(!tails.weigh(3, &maths, 300 * KIB, 1_000 * KIB));
        tails.add(3, &maths, 699 * KIB);
        assert_eq!(tails.reached(9), []);
        tails.add(3, &maths, KIB);
        assert!(tails.weigh(3, &maths, 1_000 * KIB, 1_000 * KIB));
        tails.add(3, &maths, 255 * KIB);
        assert_eq!(tails.reached(9), []);
    }

    #[test]
    fn what_is_not_asked_for_waits_and_goes_with_its_partition() {
        let mut tails = Tails::default();
        let names = ["a", "b", "c"].map(board);
        for (partition, name) in (1..).zip(&names) {
            tails.add(partition, name, 256 * KIB);
        }
        assert_eq!(tails.reached(0), []);
        assert_eq!(tails.reached(2).len(), 2);
        assert!(tails.weigh(1, &names[0], 256 * KIB, 0));
        tails.let_go(2);
        assert_eq!(tails.reached(9), [(3, names[2].clone())]);
        tails.add(2, &names[1], 255 * KIB);
        assert_eq!(tails.reached(9).len(), 1);
    }
}
