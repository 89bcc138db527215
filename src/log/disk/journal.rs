//! The journal: a preallocated file in front of the database, so that a batch costs one write and one sync.
//!
//! The file is cut into two halves. Batches go into one of them, each at the start of a page, while those of the other
//! one are moved into the tables (`disk/moves.rs`); then the halves change places. A batch is
//! `CRC-32 | size | secret | first offset | count | (board, record)...`, numbers in little-endian. Offsets tell what is
//! stale: the database keeps the offset up to which all is moved, and no offset is given twice. The secret is drawn with
//! the directory and never leaves it. Without it somebody could draw what reads like a batch, and a page from the middle
//! of a stale one would be taken for records of theirs on any board.
//!
//! Reading looks at every page. What does not fit its check sum was torn by a power cut or overwritten. Nothing
//! acknowledged lies there, because a batch is synced before it is answered and before the next one is written, and no
//! batch touches a page of another. So a hole between batches is damage, and is told; the end of the last is just the end.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::protocol::ids::BoardId;

/// Name of the journal in the data directory.
pub const JOURNAL_NAME: &str = "panseo.journal";

/// Size of the file: some seconds of a busy node in each half.
pub(super) const JOURNAL_BYTES: u64 = 16 * 1024 * 1024;

/// Batches begin at a multiple of this: the unit in which a disk or a file system may tear a write.
const PAGE_BYTES: usize = 4096;
/// Bytes before the records.
const HEAD_BYTES: usize = 32;

/// The open journal.
pub(super) struct Journal {
    file: Arc<dyn StorageBackend>,
    half_bytes: u64,
    secret: u64,
    /// Whether batches go into the second half.
    in_second: bool,
    /// Bytes of that half that are taken.
    used: u64,
    /// What lies in it, not given to be moved yet.
    held: Vec<Batch>,
    /// Newest offset of each board with records that are not moved.
    boards: HashMap<BoardId, u64>,
}

/// What a journal that was left behind holds beyond the tables.
#[derive(Default)]
pub(super) struct Found {
    pub(super) batches: Vec<Batch>,
    /// First and last offset of what is missing between them.
    pub(super) missing: Vec<(u64, u64)>,
}

/// Fills the file up to `bytes`, so that later syncs need no metadata.
pub(super) fn fill(file: &dyn StorageBackend, bytes: u64) -> io::Result<()> {
    let mut len = file.len()?;
    if len >= bytes {
        return Ok(());
    }
    // Page by page: the kernel would keep a larger write as one large page of its cache, and every small write into that
    // would cost and count as all of it.
    while len < bytes {
        file.write(len, &[0; PAGE_BYTES])?;
        len += PAGE_BYTES as u64;
    }
    file.sync_data()
}

impl Journal {
    /// The journal in a file that was filled up to `bytes`.
    pub(super) fn new(file: Arc<dyn StorageBackend>, bytes: u64, secret: u64) -> Self {
        Self {
            file,
            half_bytes: bytes / 2,
            secret,
            in_second: false,
            used: 0,
            held: Vec::new(),
            boards: HashMap::new(),
        }
    }

    /// What the file holds beyond `floor`. Until that is moved nothing may be appended.
    pub(super) fn read(&mut self, floor: u64) -> io::Result<Found> {
        let mut file = vec![0; size(self.file.len()?)];
        self.file.read(0, &mut file)?;
        let mut found = Found::default();
        let mut at = 0;
        while let Some(rest) = file.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(batch) = Batch::read(rest, self.secret) else {
                at += PAGE_BYTES;
                continue;
            };
            at += batch.padded();
            if batch.last() > floor {
                found.batches.push(batch);
            }
        }
        found.batches.sort_unstable_by_key(Batch::first);
        let mut end = floor;
        for batch in &found.batches {
            if batch.first() > end + 1 {
                found.missing.push((end + 1, batch.first() - 1));
            }
            end = end.max(batch.last());
            for (board, offset, _record) in batch.records() {
                if let Ok(board) = BoardId::new(board) {
                    self.boards.insert(board, offset);
                }
            }
        }
        Ok(found)
    }

    /// Makes a batch of records that get the offsets from `first` on.
    pub(super) fn batch<'a>(&self, first: u64, records: impl Iterator<Item = (&'a BoardId, &'a [u8])>) -> Batch {
        Batch::write(self.secret, first, records)
    }

    /// Whether the batch fits behind the others.
    pub(super) fn has_room(&self, batch: &Batch) -> bool {
        self.used + batch.padded() as u64 <= self.half_bytes
    }

    /// Whether it is time to move what is here, so that a batch never has to wait for room.
    pub(super) fn is_half_full(&self) -> bool {
        self.used > self.half_bytes / 2
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether records of the board beyond `floor` are here, or on their way into the tables.
    pub(super) fn concerns(&self, board: &BoardId, floor: u64) -> bool {
        self.boards.get(board).is_some_and(|last| *last > floor)
    }

    /// Writes a batch; it is durable when this returns.
    pub(super) fn append<'a>(&mut self, mut batch: Batch, boards: impl Iterator<Item = &'a BoardId>) -> io::Result<()> {
        let start = if self.in_second { self.half_bytes } else { 0 };
        let bytes = batch.0.len();
        // Whole pages: the kernel need not read what it overwrites.
        batch.0.resize(batch.padded(), 0);
        self.file.write(start + self.used, &batch.0)?;
        self.file.sync_data()?;
        self.used += batch.0.len() as u64;
        batch.0.truncate(bytes);
        for (offset, board) in (batch.first()..).zip(boards) {
            match self.boards.get_mut(board) {
                Some(last) => *last = offset,
                None => drop(self.boards.insert(board.clone(), offset)),
            }
        }
        self.held.push(batch);
        Ok(())
    }

    /// What was appended and not given out.
    pub(super) fn held(&self) -> &[Batch] {
        &self.held
    }

    /// Gives out what is to be moved and goes on in the other half. All that was given out before must be moved: that
    /// is up to `floor`.
    pub(super) fn turn(&mut self, floor: u64) -> Vec<Batch> {
        self.boards.retain(|_board, last| *last > floor);
        self.in_second = !self.in_second;
        self.used = 0;
        std::mem::take(&mut self.held)
    }
}

/// Records that become durable together, as they lie in the journal.
pub(super) struct Batch(Vec<u8>);

impl Batch {
    fn write<'a>(secret: u64, first: u64, records: impl Iterator<Item = (&'a BoardId, &'a [u8])>) -> Self {
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        bytes.resize(HEAD_BYTES, 0);
        let mut count: u64 = 0;
        for (board, record) in records {
            let board = board.as_str().as_bytes();
            bytes.push(u8::try_from(board.len()).expect("a board's name is short"));
            bytes.extend_from_slice(board);
            bytes.extend_from_slice(&u32_of(record.len()).to_le_bytes());
            bytes.extend_from_slice(record);
            count += 1;
        }
        let len = u32_of(bytes.len());
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[8..16].copy_from_slice(&secret.to_le_bytes());
        bytes[16..24].copy_from_slice(&first.to_le_bytes());
        bytes[24..32].copy_from_slice(&count.to_le_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        Self(bytes)
    }

    /// The batch at the start of `bytes`, if it is whole.
    fn read(bytes: &[u8], secret: u64) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        if number(head, 8) != secret || number(head, 24) == 0 {
            return None;
        }
        let len = u32::from_le_bytes(*head[4..].first_chunk()?);
        let batch = bytes.get(..usize::try_from(len).ok()?)?;
        let crc = u32::from_le_bytes(*head.first_chunk()?);
        let is_whole = batch.len() >= HEAD_BYTES && crc32fast::hash(&batch[4..]) == crc;
        is_whole.then(|| Self(batch.to_vec()))
    }

    /// Offset of its first record.
    pub(super) fn first(&self) -> u64 {
        number(&self.0, 16)
    }

    /// Offset of its last record.
    pub(super) fn last(&self) -> u64 {
        self.first() + number(&self.0, 24) - 1
    }

    /// Bytes it takes in the file.
    fn padded(&self) -> usize {
        self.0.len().next_multiple_of(PAGE_BYTES)
    }

    /// Its records as they are stored: board, offset, bytes.
    pub(super) fn records(&self) -> impl Iterator<Item = (&str, u64, &[u8])> {
        let mut rest = &self.0[HEAD_BYTES..];
        (self.first()..).map_while(move |offset| {
            let (name_bytes, tail) = rest.split_first()?;
            let (board, tail) = tail.split_at_checked(usize::from(*name_bytes))?;
            let (record_bytes, tail) = tail.split_first_chunk::<4>()?;
            let (record, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*record_bytes)).ok()?)?;
            rest = tail;
            Some((str::from_utf8(board).ok()?, offset, record))
        })
    }
}

/// The number at `at` in the head of a batch.
fn number(head: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*head[at..].first_chunk().expect("a batch has a head"))
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).expect("a batch is far smaller than 4 GiB")
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a journal fits in memory")
}
