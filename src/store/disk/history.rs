//! Keyframes and the sealing of what lies before them.
//!
//! Records are read, compressed and read back outside the write transaction, so that appends wait only for the change
//! itself. They cannot change meanwhile: the log never touches a durable record, and only one thread seals.

use redb::{ReadableTable as _, WriteTransaction};

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
            drop(history);
            thin(transaction, id, at)
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

/// Removes the keyframe before the one at `at` if it weighs more than the history between its neighbours, which it spares
/// from being read: else every time somebody looks in at a board would cost the disk all of it.
fn thin(transaction: &WriteTransaction, id: &str, at: u64) -> Result<(), Refused> {
    let mut keyframes = transaction.open_table(KEYFRAMES)?;
    let mut before = keyframes.range((id, 0)..(id, at))?;
    let Some(former) = before.next_back().transpose()? else {
        return Ok(());
    };
    let (offset, keyframe_bytes) = (former.0.value().1, former.1.value().len());
    let start = before
        .next_back()
        .transpose()?
        .map_or(0, |(key, _stored)| key.value().1);
    drop((former, before));
    let mut history_bytes = 0;
    for entry in transaction.open_table(BLOCKS)?.range((id, start + 1)..=(id, at))? {
        history_bytes += entry?.1.value().len();
        if history_bytes >= keyframe_bytes {
            return Ok(());
        }
    }
    keyframes.remove((id, offset))?;
    Ok(())
}
