//! Keyframes and the sealing of what lies before them.
//!
//! Records are read, compressed and read back outside the write transaction, so that appends wait only for the change
//! itself. They cannot change meanwhile: the log never touches a durable record, and only one thread seals.

use super::{Files, Refused, remove_all, require_board};
use crate::log::disk::database::{BLOCKS, BOARDS, KEYFRAMES, LOG};
use crate::log::disk::records::{self, checked};
use crate::protocol::ids::BoardId;
use crate::store::{StoreError, StoredKeyframe, refuse_foreign};

impl Files {
    pub(super) fn put_keyframe(&self, board: &BoardId, keyframe: &StoredKeyframe) -> Result<(), StoreError> {
        refuse_foreign(keyframe.position, self.end())?;
        let _sealing = self.sealing.lock();
        let id = board.as_str();
        let at = keyframe.position.offset();
        self.database.settle_to(at)?;
        let records = self.unsealed(board, at)?;
        let blocks = records::seal(&records).map_err(StoreError::Failed)?;
        let stored = checked(|bytes| bytes.extend_from_slice(&keyframe.bytes));
        self.database.write(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            transaction.open_table(KEYFRAMES)?.insert((id, at), stored.as_slice())?;
            let mut history = transaction.open_table(BLOCKS)?;
            let mut log = transaction.open_table(LOG)?;
            for block in &blocks {
                let (Some(first), Some(last)) = (block.offsets.first(), block.offsets.last()) else {
                    continue;
                };
                history.insert((id, *last), block.stored.as_slice())?;
                remove_all(&mut log, (id, *first), (id, *last))?;
            }
            Ok(())
        })
    }

    /// Stored records of the board in the log up to `at`. Damaged ones are sealed as they are: nothing is thrown away.
    fn unsealed(&self, board: &BoardId, at: u64) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let id = board.as_str();
        self.database.read(|transaction| {
            let mut found = Vec::new();
            for entry in transaction.open_table(LOG)?.range((id, 0)..=(id, at))? {
                let (key, stored) = entry?;
                found.push((key.value().1, stored.value().to_vec()));
            }
            Ok::<_, Refused>(found)
        })
    }
}
