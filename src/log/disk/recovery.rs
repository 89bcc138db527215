//! The way back after a failed write: the database file is written again where a sync failed, opened anew with its
//! journal, verified, and only then are writes taken.
//!
//! A journal whose sync failed is only read again. What of it reads whole goes into the tables, whether it reached the
//! disk or not, and its pages are of no more use. So no sync is tried twice.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::database::{Database, Health, OpenError, Shared, open_once, storage_error};
use super::fault::Fault;

/// Free space that must be there before writes are taken again after a full disk.
const PROBE_BYTES: usize = 4 * 1024 * 1024;

/// Time between two attempts to recover.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);

impl Database {
    /// Notes what a fault means for later writes, and gives it back.
    pub(super) fn fail(&self, fault: Fault) -> Fault {
        if let Some(health) = fault.health() {
            self.fall_ill(health, &fault);
        }
        fault
    }

    /// Stops writes until a thread of its own has recovered the database.
    fn fall_ill(&self, health: Health, fault: &Fault) {
        let mut fell = false;
        self.0.health.send_if_modified(|current| {
            fell = *current == Health::Healthy;
            if fell {
                *current = health;
            }
            fell
        });
        if !fell {
            return;
        }
        tracing::error!(error = %fault, "a write to the database failed; boards are read-only");
        let shared = Arc::downgrade(&self.0);
        let recovery = move || {
            let mut is_open = false;
            while let Some(shared) = shared.upgrade() {
                match shared.recover(&mut is_open) {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "the database could not be recovered yet"),
                }
                drop(shared);
                std::thread::sleep(RECOVERY_INTERVAL);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("recovery".into()).spawn(recovery) {
            tracing::error!(%error, "no thread to recover the database; restart the server");
        }
    }
}

impl Shared {
    /// Brings the database back: readable as soon as it is open again, writable once there is room and what the journal
    /// holds is in the tables.
    fn recover(&self, is_open: &mut bool) -> Result<(), OpenError> {
        if !*is_open {
            self.reopen()?;
            *is_open = true;
        }
        probe(&self.dir).map_err(|error| storage_error(&self.dir, error.into()))?;
        if let Err(fault) = self.move_left() {
            // A transaction that fails costs the database its opening, and boards are to be read meanwhile.
            *is_open = false;
            self.reopen()?;
            *is_open = true;
            return Err(OpenError::Unmoved(fault.to_string()));
        }
        self.health.send_replace(Health::Healthy);
        tracing::info!("the database was opened again and verified");
        Ok(())
    }

    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        let mut moving = self.moving.lock();
        let mut journal = self.journal.lock();
        let mut open = self.open.write();
        let mut watched = self.watched.lock();
        let storage_error = |source| storage_error(&self.dir, source);
        // Before the file is read again: what is seen must be what the disk holds. Never the same sync twice: the
        // kernel forgets which pages it lost.
        watched.write_again().map_err(|error| storage_error(error.into()))?;
        // The old database is of no more use, and holds the lock on its file.
        *open = None;
        let mut reopened = open_once(&self.dir, &self.storage, watched.unsynced())?;
        reopened
            .database
            .check_integrity()
            .map_err(|error| storage_error(error.into()))?;
        let acknowledged = self.end.load(Ordering::Acquire);
        let end = reopened.end();
        let found = reopened.found.missing.first().map_or(end, |(first, _last)| first - 1);
        if found < acknowledged {
            return Err(OpenError::LostRecords { found, acknowledged });
        }
        self.end.store(end, Ordering::Release);
        self.floor.store(reopened.floor, Ordering::Release);
        *moving = reopened.found.batches;
        *journal = reopened.journal;
        *watched = reopened.watched;
        *open = Some(reopened.database);
        self.openings.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Moves what an opening found in the journal into the tables.
    pub(super) fn move_left(&self) -> Result<(), Fault> {
        let mut moving = self.moving.lock();
        let open = self.open.read();
        let database = open.as_ref().ok_or(Fault::Recovering)?;
        self.move_into(database, &mut moving)
    }
}

/// Whether there is room to write: found with a file of its own, because a failed write costs the database an opening.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe.tmp");
    let outcome = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![1; PROBE_BYTES])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&path);
    outcome.and(removed)
}
