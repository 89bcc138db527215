//! Records as they lie in the database: single ones in the log, 256 at a time in sealed blocks of history.
//!
//! What is larger than a few numbers lies compressed in the log (`disk/packing.rs`), and plain in a block, which is
//! compressed as a whole. Every stored value begins with the CRC-32 of what follows. A record or block that fails it, or cannot be decoded, is
//! put in quarantine: named there with its offset, told to the operator, and skipped, so that the board still opens.

use std::ops::Bound;
use std::sync::Arc;

use redb::ReadTransaction;

use super::Database;
use super::database::{BLOCKS, LOG, QUARANTINE};
use super::fault::{Aborted, Fault};
use super::packing;
use crate::protocol::codec;
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::{Logged, Record};

/// Records in a block: a jump in the history decompresses few that it does not need.
const BLOCK_RECORDS_MAX: usize = 256;
/// Bytes in a block before compression, so that large records do not add up to gigabytes.
const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Compression of history: written once, and seldom read.
const BLOCK_LEVEL: i32 = 3;
/// Bytes of the check sum.
const CRC_BYTES: usize = 4;

/// Puts the check sum before the bytes that `write` appends.
pub(crate) fn checked(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; CRC_BYTES];
    write(&mut bytes);
    let crc = crc32fast::hash(&bytes[CRC_BYTES..]);
    bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes behind a check sum that fits.
pub(crate) fn content(stored: &[u8]) -> Result<&[u8], &'static str> {
    let (crc, content) = stored.split_first_chunk::<CRC_BYTES>().ok_or("too short")?;
    if crc32fast::hash(content) == u32::from_le_bytes(*crc) {
        Ok(content)
    } else {
        Err("wrong check sum")
    }
}

/// A record as it is stored.
pub(crate) fn encode(record: &Record) -> Vec<u8> {
    let mut plain = Vec::new();
    codec::encode_record_into(&mut plain, record);
    checked(|bytes| bytes.append(&mut packing::pack(plain)))
}

pub(crate) fn decode(stored: &[u8]) -> Result<Record, String> {
    let content = content(stored)?;
    let unpacked = packing::unpack(content)?;
    codec::decode_record(unpacked.as_deref().unwrap_or(content)).map_err(|error| error.to_string())
}

/// A record as it lies in a block; a damaged one as it is, because nothing is thrown away.
fn unpacked(stored: &[u8]) -> Vec<u8> {
    match content(stored).map(packing::unpack) {
        Ok(Ok(Some(mut plain))) => checked(|bytes| bytes.append(&mut plain)),
        Ok(Ok(None) | Err(_)) | Err(_) => stored.to_vec(),
    }
}

/// Some records in one compressed block.
pub(crate) struct Block {
    /// Offsets in it, in order.
    pub(crate) offsets: Vec<u64>,
    /// What is stored.
    pub(crate) stored: Vec<u8>,
}

/// Packs stored records into blocks, each read back and compared before it is given out.
pub(crate) fn seal(records: &[(u64, Vec<u8>)]) -> Result<Vec<Block>, String> {
    let plain = records.iter().map(|(offset, stored)| (*offset, unpacked(stored)));
    let records: Vec<_> = plain.collect();
    let mut blocks = Vec::new();
    let mut rest = records.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(BLOCK_RECORDS_MAX).take_while(|(_offset, record)| {
            let is_first = bytes == 0;
            bytes += record.len();
            is_first || bytes <= BLOCK_BYTES_MAX
        });
        let (head, tail) = rest.split_at(fitting.count());
        blocks.push(seal_block(head)?);
        rest = tail;
    }
    Ok(blocks)
}

fn seal_block(records: &[(u64, Vec<u8>)]) -> Result<Block, String> {
    let mut plain = Vec::new();
    for (offset, record) in records {
        let size = u32::try_from(record.len()).map_err(|error| error.to_string())?;
        plain.extend_from_slice(&offset.to_le_bytes());
        plain.extend_from_slice(&size.to_le_bytes());
        plain.extend_from_slice(record);
    }
    let size = u32::try_from(plain.len()).map_err(|error| error.to_string())?;
    let packed = zstd::bulk::compress(&plain, BLOCK_LEVEL).map_err(|error| error.to_string())?;
    let stored = checked(|bytes| {
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&packed);
    });
    if unseal(&stored)? != records {
        return Err("a sealed block reads otherwise than it was written".into());
    }
    let offsets = records.iter().map(|(offset, _record)| *offset).collect();
    Ok(Block { offsets, stored })
}

/// The stored records of a block.
pub(crate) fn unseal(stored: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let (size, packed) = content(stored)?.split_first_chunk::<4>().ok_or("cut off")?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|error| error.to_string())?;
    let plain = zstd::bulk::decompress(packed, size).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    let mut rest = plain.as_slice();
    while !rest.is_empty() {
        let (offset, tail) = rest.split_first_chunk::<8>().ok_or("cut off")?;
        let (size, tail) = tail.split_first_chunk::<4>().ok_or("cut off")?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|error| error.to_string())?;
        let (record, tail) = tail.split_at_checked(size).ok_or("cut off")?;
        records.push((u64::from_le_bytes(*offset), record.to_vec()));
        rest = tail;
    }
    Ok(records)
}

/// What a read comes to: records after a place, and places that are damaged.
#[derive(Default)]
struct Found {
    epoch: u64,
    after: u64,
    records: Vec<Logged>,
    damaged: Vec<(u64, String)>,
}

impl Found {
    fn add(&mut self, offset: u64, stored: &[u8]) {
        if offset <= self.after {
            return;
        }
        match decode(stored) {
            Ok(record) => self.records.push(Logged {
                position: Position(self.epoch, offset),
                record: Arc::new(record),
            }),
            Err(reason) => self.damaged.push((offset, reason)),
        }
    }

    fn last(&self) -> u64 {
        let last = self.records.last().map(|last| last.position.offset());
        last.max(self.damaged.last().map(|(offset, _reason)| *offset))
            .unwrap_or(self.after)
    }
}

/// Records of the board after `after`, sealed or not, at most `limit`. Damaged ones are left out.
pub(crate) fn read<E: From<Fault>>(
    database: &Database,
    board: &BoardId,
    after: u64,
    limit: usize,
) -> Result<Vec<Logged>, E> {
    let unmoved = match database.settle_board(board) {
        Ok(()) => Vec::new(),
        // Nothing moves now, and the board is shown all the same, where the database can be read.
        Err(Fault::Full | Fault::Recovering) => database.unmoved(board),
        Err(fault @ (Fault::Damaged(_) | Fault::Io(_))) => return Err(fault.into()),
    };
    let mut found = Found {
        epoch: database.epoch(),
        after,
        ..Found::default()
    };
    database.read(|transaction| find(transaction, &mut found, board, limit))?;
    // What was moved since is in the tables.
    let last = found.last();
    for (offset, stored) in unmoved.iter().filter(|(offset, _stored)| *offset > last) {
        if found.records.len() < limit {
            found.add(*offset, stored);
        }
    }
    for (offset, reason) in found.damaged {
        quarantine(database, board, offset, &reason);
    }
    Ok(found.records)
}

fn find<E>(transaction: &ReadTransaction, found: &mut Found, board: &BoardId, limit: usize) -> Result<(), Aborted<E>> {
    let range = (
        Bound::Excluded((board.as_str(), found.after)),
        Bound::Included((board.as_str(), u64::MAX)),
    );
    for entry in transaction.open_table(BLOCKS)?.range(range)? {
        if found.records.len() >= limit {
            break;
        }
        let (key, stored) = entry?;
        match unseal(stored.value()) {
            Ok(records) => records.iter().for_each(|(offset, record)| found.add(*offset, record)),
            Err(reason) => found.damaged.push((key.value().1, format!("sealed block: {reason}"))),
        }
    }
    for entry in transaction.open_table(LOG)?.range(range)? {
        if found.records.len() >= limit {
            break;
        }
        let (key, stored) = entry?;
        found.add(key.value().1, stored.value());
    }
    found.records.truncate(limit);
    Ok(())
}

/// Notes a damaged place; told once, however often the board is read.
pub(crate) fn quarantine(database: &Database, board: &BoardId, offset: u64, reason: &str) {
    let known = database.read::<_, Fault>(|transaction| {
        let table = transaction.open_table(QUARANTINE)?;
        Ok(table.get((board.as_str(), offset))?.is_some())
    });
    if matches!(known, Ok(true)) {
        return;
    }
    metrics::counter!("panseo_quarantined_records_total").increment(1);
    tracing::error!(board.id = %board, log.offset = offset, reason, "a damaged record was put in quarantine");
    let noted = database.write::<_, Fault>(|transaction| {
        let mut table = transaction.open_table(QUARANTINE)?;
        table.insert((board.as_str(), offset), reason)?;
        Ok(())
    });
    if let Err(error) = noted {
        tracing::warn!(%error, log.offset = offset, "the quarantine could not be written; the record is skipped anyway");
    }
}
