//! How many sockets one user holds, and on how many boards. Off in the open mode, and for `guest`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::auth::GUEST;
use crate::protocol::ids::{BoardId, UserId};

/// Sockets by user and board. Bounded by the connections of the node; entries go with their last socket.
type Taken = HashMap<UserId, HashMap<BoardId, usize>>;

/// The sockets of all users.
#[derive(Clone)]
pub struct Seats {
    taken: Arc<Mutex<Taken>>,
    connections_max: usize,
    boards_max: usize,
}

/// The place of one socket; given back when dropped.
pub struct Seat(Option<(Seats, UserId, BoardId)>);

impl Seats {
    /// So many sockets, and so many boards, for each user.
    pub fn new(connections_max: usize, boards_max: usize) -> Self {
        Self {
            taken: Arc::default(),
            connections_max,
            boards_max,
        }
    }

    /// No limits: for the open mode.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    /// A place for one more socket of the user; none if they have as many as they may.
    pub fn take(&self, user: &UserId, board: &BoardId) -> Option<Seat> {
        if user.as_str() == GUEST || (self.connections_max == usize::MAX && self.boards_max == usize::MAX) {
            return Some(Seat(None));
        }
        let mut taken = self.taken.lock();
        if let Some(boards) = taken.get(user) {
            let is_new_board = !boards.contains_key(board);
            if boards.values().sum::<usize>() >= self.connections_max
                || (is_new_board && boards.len() >= self.boards_max)
            {
                return None;
            }
        }
        *taken.entry(user.clone()).or_default().entry(board.clone()).or_default() += 1;
        Some(Seat(Some((self.clone(), user.clone(), board.clone()))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((seats, user, board)) = self.0.take() else {
            return;
        };
        let mut taken = seats.taken.lock();
        let Some(boards) = taken.get_mut(&user) else { return };
        if let Some(count) = boards.get_mut(&board) {
            *count -= 1;
            if *count == 0 {
                boards.remove(&board);
            }
        }
        if boards.is_empty() {
            taken.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_comes_back_when_its_socket_ends() {
        let seats = Seats::new(2, 1);
        let user = UserId::new("anna").unwrap();
        let [one, two] = ["one", "two"].map(|id| BoardId::new(id).unwrap());
        let first = seats.take(&user, &one);
        assert!(first.is_some() && seats.take(&user, &two).is_none());
        let second = seats.take(&user, &one);
        assert!(second.is_some() && seats.take(&user, &one).is_none());
        drop((first, second));
        assert!(seats.taken.lock().is_empty());
        assert!(seats.take(&user, &two).is_some());
    }
}
