//! How people find a board: invites by their codes, and the boards each person was on.

use redb::{ReadableTable, WriteTransaction};

use super::{Files, Refused, from_stored, listed, require_board, to_stored};
use crate::log::disk::database::{BOARD_INVITES, BOARDS, INVITES, VISITS};
use crate::protocol::ids::{BoardId, Timestamp, UserId};
use crate::store::{BoardInfo, INVITES_MAX, Invite, StoreError, VISITS_MAX};

impl Files {
    pub(super) fn put_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError> {
        let (board, code) = (invite.board.as_str(), invite.code.as_str());
        self.database.write(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, board)?;
            let mut invites = transaction.open_table(INVITES)?;
            let mut of_board = transaction.open_table(BOARD_INVITES)?;
            let mut count = 0;
            for code in codes_of(&of_board, board)? {
                let known = invites.get(code.as_str())?.map(|stored| from_stored(stored.value()));
                let known: Option<Invite> = known.transpose().map_err(Refused::Refused)?;
                if known.is_some_and(|invite| invite.expires > now) {
                    count += 1;
                } else {
                    invites.remove(code.as_str())?;
                    of_board.remove((board, code.as_str()))?;
                }
            }
            if count >= INVITES_MAX {
                return Err(Refused::Refused(StoreError::TooManyInvites));
            }
            invites.insert(code, to_stored(invite).as_slice())?;
            of_board.insert((board, code), ())?;
            Ok(())
        })
    }

    pub(super) fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        self.database.read(|transaction| {
            let invites = transaction.open_table(INVITES)?;
            let invite = invites.get(code)?.map(|stored| from_stored(stored.value()));
            invite.transpose().map_err(Refused::Refused)
        })
    }

    pub(super) fn invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError> {
        let id = board.as_str();
        self.database.read(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            let invites = transaction.open_table(INVITES)?;
            let codes = codes_of(&transaction.open_table(BOARD_INVITES)?, id)?;
            let mut found = Vec::new();
            for code in codes {
                if let Some(stored) = invites.get(code.as_str())? {
                    found.push(from_stored(stored.value()).map_err(Refused::Refused)?);
                }
            }
            Ok(found)
        })
    }

    pub(super) fn remove_invite(&self, board: &BoardId, code: &str) -> Result<bool, StoreError> {
        self.database.write(|transaction| {
            let mut of_board = transaction.open_table(BOARD_INVITES)?;
            let is_there = of_board.remove((board.as_str(), code))?.is_some();
            if is_there {
                transaction.open_table(INVITES)?.remove(code)?;
            }
            Ok(is_there)
        })
    }

    pub(super) fn note_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), StoreError> {
        let user = user.as_str();
        self.database.write(|transaction| {
            let boards = transaction.open_table(BOARDS)?;
            let mut visits = transaction.open_table(VISITS)?;
            visits.insert((user, board.as_str()), now.0)?;
            let mut seen = visits_of(&visits, user)?;
            seen.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
            for (index, (board, _)) in seen.iter().enumerate() {
                // Those of deleted boards go, too: nothing else would ever remove them.
                if index >= VISITS_MAX || boards.get(board.as_str())?.is_none() {
                    visits.remove((user, board.as_str()))?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError> {
        self.database.read(|transaction| {
            let boards = transaction.open_table(BOARDS)?;
            let mut seen = visits_of(&transaction.open_table(VISITS)?, user.as_str())?;
            seen.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
            let mut found = Vec::new();
            for (board, at) in seen {
                if let Some(stored) = boards.get(board.as_str())? {
                    found.extend(listed(&board, stored.value()).map(|info| (info, at)));
                }
            }
            Ok(found)
        })
    }
}

/// Ends all invites of a board that is deleted.
pub(super) fn forget(transaction: &WriteTransaction, board: &str) -> Result<(), Refused> {
    let mut of_board = transaction.open_table(BOARD_INVITES)?;
    let mut invites = transaction.open_table(INVITES)?;
    for code in codes_of(&of_board, board)? {
        of_board.remove((board, code.as_str()))?;
        invites.remove(code.as_str())?;
    }
    Ok(())
}

fn codes_of(
    of_board: &impl ReadableTable<(&'static str, &'static str), ()>,
    board: &str,
) -> Result<Vec<String>, Refused> {
    let mut codes = Vec::new();
    for entry in of_board.range((board, "")..)? {
        let (key, _unit) = entry?;
        let (of, code) = key.value();
        if of != board {
            break;
        }
        codes.push(code.to_owned());
    }
    Ok(codes)
}

fn visits_of(
    visits: &impl ReadableTable<(&'static str, &'static str), u64>,
    user: &str,
) -> Result<Vec<(String, Timestamp)>, Refused> {
    let mut seen = Vec::new();
    for entry in visits.range((user, "")..)? {
        let (key, at) = entry?;
        let (of, board) = key.value();
        if of != user {
            break;
        }
        seen.push((board.to_owned(), Timestamp(at.value())));
    }
    Ok(seen)
}
