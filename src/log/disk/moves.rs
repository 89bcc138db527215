//! The way of records into the database: first into the journal, later into the tables.
//!
//! The writer appends to one half of the journal; what the other half holds is moved into the tables in one transaction,
//! by a thread of its own after a while, or by a reader of the tables that would miss it. Locks are taken in the order
//! `moving`, `journal`, `open`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Database;
use super::database::{LOG, META, Shared};
use super::fault::Fault;
use super::journal::{Batch, Journal};
use crate::protocol::ids::BoardId;

/// Time that records lie in the journal: a move costs less for each record, the more there are.
const MOVE_AFTER: Duration = Duration::from_secs(5);
/// Time between two attempts while the database does not take writes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Database {
    /// Makes records durable and gives the offset of the first one. Called by the log's writer alone.
    pub(super) fn append<'a>(
        &self,
        records: impl Iterator<Item = (&'a BoardId, &'a [u8])> + Clone,
    ) -> Result<u64, Fault> {
        if let Some(first) = self.append_if_it_fits(records.clone())? {
            return Ok(first);
        }
        self.settle()?;
        match self.append_if_it_fits(records.clone())? {
            Some(first) => Ok(first),
            None => self.append_directly(records),
        }
    }

    fn append_if_it_fits<'a>(
        &self,
        records: impl Iterator<Item = (&'a BoardId, &'a [u8])> + Clone,
    ) -> Result<Option<u64>, Fault> {
        let mut journal = self.0.journal.lock();
        self.refuse_unwell()?;
        let batch = journal.batch(self.end() + 1, records.clone());
        if !journal.has_room(&batch) {
            return Ok(None);
        }
        let (first, last) = (batch.first(), batch.last());
        let was_empty = journal.is_empty();
        let written = journal.append(batch, records.map(|(board, _record)| board));
        written.map_err(|error| self.fail(redb::Error::Io(error).into()))?;
        self.move_end(last);
        if was_empty || journal.is_half_full() {
            self.0.held.notify_one();
        }
        Ok(Some(first))
    }

    /// A batch larger than half the journal goes into the tables at once, behind what the journal holds.
    fn append_directly<'a>(&self, records: impl Iterator<Item = (&'a BoardId, &'a [u8])>) -> Result<u64, Fault> {
        let mut moving = self.0.moving.lock();
        let mut journal = self.0.journal.lock();
        self.refuse_unwell()?;
        let batch = journal.batch(self.end() + 1, records);
        let (first, last) = (batch.first(), batch.last());
        moving.extend(journal.turn(self.floor()));
        moving.push(batch);
        self.move_all(&mut moving)?;
        self.move_end(last);
        Ok(first)
    }

    /// Moves all that the journal holds into the tables.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        self.settle_if(|journal| !journal.is_empty())
    }

    /// Moves the journal into the tables if they lack records of the board; before its records are read or removed there.
    pub(crate) fn settle_board(&self, board: &BoardId) -> Result<(), Fault> {
        self.settle_if(|journal| journal.concerns(board, self.floor()))
    }

    /// Durable records of the board that the tables lack, as they are stored: for when nothing can be moved.
    pub(super) fn unmoved(&self, board: &BoardId) -> Vec<(u64, Vec<u8>)> {
        let (floor, end) = (self.floor(), self.end());
        let moving = self.0.moving.lock();
        let journal = self.0.journal.lock();
        let records = moving.iter().chain(journal.held()).flat_map(Batch::records);
        let of_board = records.filter(|(name, offset, _record)| {
            // Beyond the end lies what no author was told of.
            *name == board.as_str() && (floor + 1..=end).contains(offset)
        });
        of_board
            .map(|(_name, offset, record)| (offset, record.to_vec()))
            .collect()
    }

    /// Moves the journal into the tables if they lack records up to `offset`. A keyframe must wait for it: it must not
    /// be durable ahead of records that it covers.
    pub(crate) fn settle_to(&self, offset: u64) -> Result<(), Fault> {
        self.settle_if(|_journal| self.floor() < offset)
    }

    fn settle_if(&self, is_needed: impl Fn(&Journal) -> bool) -> Result<(), Fault> {
        if !is_needed(&self.0.journal.lock()) {
            return Ok(());
        }
        let mut moving = self.0.moving.lock();
        {
            // Whoever held `moving` may have moved what is needed here.
            let mut journal = self.0.journal.lock();
            if !is_needed(&journal) {
                return Ok(());
            }
            self.refuse_unwell()?;
            moving.extend(journal.turn(self.floor()));
        }
        self.move_all(&mut moving)
    }

    fn move_all(&self, moving: &mut Vec<Batch>) -> Result<(), Fault> {
        let open = self.0.open.read();
        let database = open.as_ref().ok_or(Fault::Recovering)?;
        let moved = self.0.move_into(database, moving);
        drop(open);
        moved.map_err(|fault| self.fail(fault))
    }

    /// Moves what has been in the journal for a while, until `stop` is set and told by `wake_mover`.
    pub(super) fn keep_moving(&self, stop: &AtomicBool) {
        loop {
            let mut journal = self.0.journal.lock();
            while journal.is_empty() && !stop.load(Ordering::Acquire) {
                self.0.held.wait(&mut journal);
            }
            if !journal.is_half_full() && !stop.load(Ordering::Acquire) {
                self.0.held.wait_for(&mut journal, MOVE_AFTER);
            }
            drop(journal);
            let moved = self.settle();
            if stop.load(Ordering::Acquire) {
                if let Err(error) = moved {
                    tracing::warn!(%error, "The journal was not moved into the tables; the next start does it.");
                }
                return;
            }
            if moved.is_err() {
                let mut journal = self.0.journal.lock();
                self.0.held.wait_for(&mut journal, RETRY_AFTER);
            }
        }
    }

    /// Lets `keep_moving` look at `stop`.
    pub(super) fn wake_mover(&self) {
        // Under the lock, so that it does not fall between a look and the sleep after it.
        let _journal = self.0.journal.lock();
        self.0.held.notify_all();
    }
}

impl Shared {
    /// Moves batches into the tables in one transaction, and forgets them when that is durable.
    pub(super) fn move_into(&self, database: &redb::Database, moving: &mut Vec<Batch>) -> Result<(), Fault> {
        let Some(last) = moving.last().map(Batch::last) else {
            return Ok(());
        };
        // A panic of the library is a failure like others: the database must be opened anew.
        let moved = catch_unwind(AssertUnwindSafe(|| insert(database, moving, last)));
        match moved {
            Ok(Ok(())) => {}
            // Damaged or not: the journal must not be written over before this has been moved.
            Ok(Err(error)) => {
                return Err(match Fault::from(error) {
                    Fault::Damaged(what) => Fault::Io(what),
                    fault @ (Fault::Full | Fault::Recovering | Fault::Io(_)) => fault,
                });
            }
            Err(_panic) => return Err(Fault::Io("the database panicked".into())),
        }
        moving.clear();
        self.floor.store(last, Ordering::Release);
        Ok(())
    }
}

fn insert(database: &redb::Database, batches: &[Batch], last: u64) -> Result<(), redb::Error> {
    let mut records: Vec<_> = batches.iter().flat_map(Batch::records).collect();
    // Neighbours go into the same pages.
    records.sort_unstable_by_key(|(board, offset, _record)| (*board, *offset));
    let transaction = database.begin_write()?;
    {
        let mut log = transaction.open_table(LOG)?;
        for (board, offset, record) in records {
            log.insert((board, offset), record)?;
        }
        transaction.open_table(META)?.insert("floor", last)?;
    }
    transaction.commit()?;
    Ok(())
}
