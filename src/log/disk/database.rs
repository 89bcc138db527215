//! The one database file of a data directory, shared by log and store.
//!
//! It owns format version, epoch, tables and the durable end of the log. Records come through the journal beside the file
//! (`disk/journal.rs`, `disk/moves.rs`); `disk/recovery.rs` is the way back after a failed write. What the tables hold is
//! the business of `log/disk` and `store/disk`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable, StorageBackend, TableDefinition,
    WriteTransaction,
};
use thiserror::Error;
use tokio::sync::watch;

use super::backend::{Overlay, Ranges, Watched};
use super::direct::DirectFile;
use super::fault::{Aborted, Fault};
use super::journal::{Batch, Found, JOURNAL_BYTES, JOURNAL_NAME, Journal, fill};

/// Version of the tables and of what lies in them.
pub const FORMAT_VERSION: u64 = 3;
/// First version with a journal.
const JOURNAL_SINCE: u64 = 2;

/// Name of the database file in the data directory.
pub const FILE_NAME: &str = "panseo.redb";

/// Cache of database pages: the tail of the busy boards; keyframes are read once and kept by their rooms.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// `format`, `epoch`, `journal` (its secret), `journal_bytes` (0: not known) and `floor`: records up to there are in the
/// tables, or gone with their board; no offset up to there is given again.
pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// (board, offset) -> record.
pub(crate) const LOG: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("log");
/// (board, offset) -> why the record there is not read. For a block: the offset of its last record.
pub(crate) const QUARANTINE: TableDefinition<(&str, u64), &str> = TableDefinition::new("quarantine");
/// (board, offset of the last record) -> block of sealed records.
pub(crate) const BLOCKS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("blocks");
/// (board, offset) -> keyframe.
pub(crate) const KEYFRAMES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("keyframes");
/// board -> what is known of it.
pub(crate) const BOARDS: TableDefinition<&str, &[u8]> = TableDefinition::new("boards");
/// (board, user) -> role.
pub(crate) const MEMBERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("members");
/// (user, board): `MEMBERS` the other way round.
pub(crate) const MEMBER_BOARDS: TableDefinition<(&str, &str), ()> = TableDefinition::new("member_boards");
/// (board, SHA-256) -> what is known of the asset.
pub(crate) const ASSETS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("assets");
/// (SHA-256, board): `ASSETS` the other way round.
pub(crate) const ASSET_BOARDS: TableDefinition<(&str, &str), ()> = TableDefinition::new("asset_boards");
/// code -> the invite.
pub(crate) const INVITES: TableDefinition<&str, &[u8]> = TableDefinition::new("invites");
/// (board, code): `INVITES` by board.
pub(crate) const BOARD_INVITES: TableDefinition<(&str, &str), ()> = TableDefinition::new("board_invites");
/// (user, board) -> when they were there last, in ms since 1970.
pub(crate) const VISITS: TableDefinition<(&str, &str), u64> = TableDefinition::new("visits");

/// Why a data directory cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The path is no directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There is no database to verify.
    #[error("{} holds no {FILE_NAME}", .0.display())]
    NoDatabase(PathBuf),
    /// The process may not write there.
    #[error("{} is not writable: {source}", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// A newer version of the program wrote it.
    #[error("{} has format {found}, this program knows formats up to {known}", path.display())]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The version this program writes.
        known: u64,
    },
    /// Records that were acknowledged are not there any more.
    #[error("the log ends at {found}, though {acknowledged} was acknowledged")]
    LostRecords {
        /// Last offset that is there.
        found: u64,
        /// Last offset that was acknowledged.
        acknowledged: u64,
    },
    /// Records stay in the journal, because the database does not take them.
    #[error("the journal cannot be moved into the database: {0}")]
    Unmoved(String),
    /// The file is damaged, or reading or writing it failed.
    #[error("{} cannot be opened: {source}", path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: redb::Error,
    },
}

/// Makes a backend, at the start and whenever the database is opened again.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn StorageBackend>, DatabaseError> + Send + Sync>;

/// What a database is kept on.
pub struct Storage {
    /// The tables.
    pub database: Opener,
    /// The journal in front of them.
    pub journal: Opener,
    /// Size of the journal.
    pub journal_bytes: u64,
}

/// Whether writes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// They are.
    Healthy,
    /// The disk is full: boards are read-only until there is room.
    Full,
    /// A write failed: boards are read-only until the database is opened again and verified.
    Failed,
}

/// The open database; a clone is the same one.
#[derive(Clone)]
pub struct Database(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) storage: Storage,
    epoch: u64,
    /// Last offset known to be durable.
    pub(super) end: AtomicU64,
    /// Last offset that is in the tables, or was.
    pub(super) floor: AtomicU64,
    /// Batches on their way from the journal into the tables. Held by whoever moves them.
    pub(super) moving: Mutex<Vec<Batch>>,
    pub(super) journal: Mutex<Journal>,
    /// Tells that the journal holds something.
    pub(super) held: Condvar,
    left: Left,
    /// Counts the openings, so that the log sees that its tails may have missed something.
    pub(super) openings: AtomicU64,
    pub(super) open: RwLock<Option<redb::Database>>,
    pub(super) watched: Mutex<Watched>,
    pub(super) health: watch::Sender<Health>,
}

/// What the journal held when the directory was opened.
pub(crate) struct Left {
    /// Number of records.
    pub(crate) records: u64,
    /// First and last offset of what was missing between them.
    pub(crate) missing: Vec<(u64, u64)>,
    /// Whether the file was missing, or shorter than it is made.
    pub(crate) is_cut: bool,
}

/// What the database says of itself when it is opened.
pub(super) struct Opened {
    pub(super) database: redb::Database,
    pub(super) watched: Watched,
    epoch: u64,
    pub(super) floor: u64,
    pub(super) journal: Journal,
    pub(super) found: Found,
    /// Whether the journal was missing, or shorter than it is made.
    is_cut: bool,
}

impl Opened {
    /// The last offset that is durable.
    pub(super) fn end(&self) -> u64 {
        self.found.batches.last().map_or(self.floor, Batch::last)
    }
}

impl Database {
    /// Opens the data directory, made if it is not there. Only one process may have it open.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(data_dir).map_err(|source| directory_error(data_dir, source))?;
        if !data_dir.is_dir() {
            return Err(OpenError::NotADirectory(data_dir.to_owned()));
        }
        let (file, journal) = (data_dir.join(FILE_NAME), data_dir.join(JOURNAL_NAME));
        refuse_newer(data_dir, &file)?;
        let opened = Self::open_with(
            data_dir,
            Storage {
                database: Box::new(move || file_backend(&file)),
                journal: Box::new(move || Ok(Arc::new(DirectFile::open(&journal)?))),
                journal_bytes: JOURNAL_BYTES,
            },
        )?;
        // The names of both files may be new.
        let named = File::open(data_dir).and_then(|dir| dir.sync_all());
        named.map_err(|source| directory_error(data_dir, source))?;
        Ok(opened)
    }

    /// Opens a database on other storage than files: for tests that fail writes or cut the power.
    pub fn open_with(data_dir: &Path, storage: Storage) -> Result<Self, OpenError> {
        let start = open_once(data_dir, &storage, Ranges::default())?;
        let left = start.found.batches.iter().map(|batch| batch.records().count() as u64);
        let shared = Shared {
            dir: data_dir.to_owned(),
            storage,
            epoch: start.epoch,
            end: AtomicU64::new(start.end()),
            floor: AtomicU64::new(start.floor),
            left: Left {
                records: left.sum(),
                missing: start.found.missing,
                is_cut: start.is_cut,
            },
            moving: Mutex::new(start.found.batches),
            journal: Mutex::new(start.journal),
            held: Condvar::new(),
            openings: AtomicU64::new(1),
            open: RwLock::new(Some(start.database)),
            watched: Mutex::new(start.watched),
            health: watch::Sender::new(Health::Healthy),
        };
        if shared.left.is_cut {
            tracing::error!("The journal is missing or was cut short: what was acknowledged last may be gone.");
        }
        for (first, last) in &shared.left.missing {
            tracing::error!(
                first,
                last,
                "Records are missing in the journal; boards open without them."
            );
            metrics::counter!("panseo_quarantined_records_total").increment(last - first + 1);
        }
        let database = Self(Arc::new(shared));
        match database.0.move_left() {
            Ok(()) => {}
            // The boards can be read all the same, once it is opened again.
            Err(fault @ Fault::Full) => {
                database.0.reopen()?;
                drop(database.fail(fault));
            }
            Err(fault) => return Err(OpenError::Unmoved(fault.to_string())),
        }
        Ok(database)
    }

    /// Opens a closed data directory so that nothing in it is changed: all writes stay in memory.
    pub(crate) fn open_untouched(data_dir: &Path) -> Result<Self, OpenError> {
        let (file, journal) = (data_dir.join(FILE_NAME), data_dir.join(JOURNAL_NAME));
        if !file.is_file() {
            return Err(OpenError::NoDatabase(data_dir.to_owned()));
        }
        let opener = |file: PathBuf| -> Opener {
            Box::new(move || {
                // A directory of an older version has no journal.
                let is_there = file.is_file();
                let inner = if is_there {
                    file_backend(&file)?
                } else {
                    Arc::new(InMemoryBackend::new())
                };
                Ok(Arc::new(Overlay::new(inner)?))
            })
        };
        let storage = Storage {
            database: opener(file),
            journal: opener(journal),
            journal_bytes: 0,
        };
        Self::open_with(data_dir, storage)
    }

    /// The life of the log in this directory.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether writes are taken.
    pub fn is_healthy(&self) -> bool {
        *self.0.health.borrow() == Health::Healthy
    }

    /// Health as it changes, for readiness and read-only boards.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Last durable offset.
    pub(crate) fn end(&self) -> u64 {
        self.0.end.load(Ordering::Acquire)
    }

    /// Moves the durable end; called with the journal locked.
    pub(super) fn move_end(&self, end: u64) {
        self.0.end.store(end, Ordering::Release);
    }

    /// Last offset that is in the tables, or was.
    pub(super) fn floor(&self) -> u64 {
        self.0.floor.load(Ordering::Acquire)
    }

    /// What the journal held when the directory was opened.
    pub(crate) fn left_in_journal(&self) -> &Left {
        &self.0.left
    }

    /// How often the database was opened.
    pub(super) fn openings(&self) -> u64 {
        self.0.openings.load(Ordering::Acquire)
    }

    /// Reads; may take long, so never on a runtime's thread.
    pub(crate) fn read<T, E: From<Fault>>(
        &self,
        reading: impl FnOnce(&ReadTransaction) -> Result<T, Aborted<E>>,
    ) -> Result<T, E> {
        let open = self.0.open.read();
        let Some(database) = open.as_ref() else {
            return Err(Fault::Recovering.into());
        };
        let outcome = match database.begin_read() {
            Ok(transaction) => reading(&transaction),
            Err(error) => Err(error.into()),
        };
        drop(open);
        self.judge(outcome)
    }

    /// Writes in one transaction, durable when this returns; may take long, so never on a runtime's thread.
    pub(crate) fn write<T, E: From<Fault>>(
        &self,
        writing: impl FnOnce(&WriteTransaction) -> Result<T, Aborted<E>>,
    ) -> Result<T, E> {
        self.refuse_unwell()?;
        let open = self.0.open.read();
        let Some(database) = open.as_ref() else {
            return Err(Fault::Recovering.into());
        };
        let outcome = write_in(database, writing);
        drop(open);
        self.judge(outcome)
    }

    /// Refuses while writes are not taken.
    pub(crate) fn refuse_unwell(&self) -> Result<(), Fault> {
        match *self.0.health.borrow() {
            Health::Healthy => Ok(()),
            Health::Full => Err(Fault::Full),
            Health::Failed => Err(Fault::Recovering),
        }
    }

    /// Checks the check sums of all pages and the references between them.
    pub(crate) fn check_pages(&self) -> Result<(), Fault> {
        let mut open = self.0.open.write();
        let database = open.as_mut().ok_or(Fault::Recovering)?;
        match database.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Damaged("its pages had to be repaired".into())),
            Err(error) => Err(redb::Error::from(error).into()),
        }
    }

    fn judge<T, E: From<Fault>>(&self, outcome: Result<T, Aborted<E>>) -> Result<T, E> {
        match outcome {
            Ok(value) => Ok(value),
            Err(Aborted::Refused(error)) => Err(error),
            Err(Aborted::Broken(error)) => Err(self.fail(error.into()).into()),
        }
    }
}

fn write_in<T, E>(
    database: &redb::Database,
    writing: impl FnOnce(&WriteTransaction) -> Result<T, Aborted<E>>,
) -> Result<T, Aborted<E>> {
    let transaction = database.begin_write()?;
    let value = writing(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn file_backend(file: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)?;
    Ok(Arc::new(FileBackend::new(file)?))
}

/// Looks at the version without writing a byte. A file that was not closed well is judged after its repair.
fn refuse_newer(dir: &Path, file: &Path) -> Result<(), OpenError> {
    if !file.is_file() {
        return Ok(());
    }
    let Ok(database) = redb::Builder::new().open_read_only(file) else {
        return Ok(());
    };
    let read = || -> Result<Option<u64>, redb::Error> {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get("format")?.map(|value| value.value()))
    };
    check_format(dir, read().unwrap_or_default())
}

fn check_format(dir: &Path, found: Option<u64>) -> Result<(), OpenError> {
    match found {
        Some(found) if found > FORMAT_VERSION => Err(OpenError::NewerFormat {
            path: dir.to_owned(),
            found,
            known: FORMAT_VERSION,
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn open_once(dir: &Path, storage: &Storage, unsynced: Ranges) -> Result<Opened, OpenError> {
    let watched = Watched::new((storage.database)().map_err(|error| open_error(dir, error))?, unsynced);
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(watched.clone())
        .map_err(|error| open_error(dir, error))?;
    let found = read_format(&database).map_err(|source| storage_error(dir, source))?;
    check_format(dir, found)?;
    // Behind the lock on the database: only one process has the journal open. It has its size before the database says
    // so, and is never shorter from then on.
    let file = (storage.journal)().map_err(|error| open_error(dir, error))?;
    let filled = file
        .len()
        .and_then(|was| fill(&*file, storage.journal_bytes).and_then(|()| Ok((was, file.len()?))));
    let (was, is) = filled.map_err(|error| storage_error(dir, error.into()))?;
    let [epoch, floor, secret, bytes] = prepare(&database, found, is).map_err(|source| storage_error(dir, source))?;
    let is_cut = found.is_some_and(|format| format >= JOURNAL_SINCE) && was < bytes;
    let mut journal = Journal::new(file, storage.journal_bytes, secret);
    let read = journal.read(floor);
    let found = read.map_err(|error| storage_error(dir, error.into()))?;
    Ok(Opened {
        database,
        watched,
        epoch,
        floor,
        journal,
        found,
        is_cut,
    })
}

fn read_format(database: &redb::Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("format")?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes what a fresh file, or one of an older version, lacks; gives epoch, floor, the journal's secret and its size.
fn prepare(database: &redb::Database, format: Option<u64>, journal_bytes: u64) -> Result<[u64; 4], redb::Error> {
    if format != Some(FORMAT_VERSION) {
        let transaction = database.begin_write()?;
        {
            let last = last_offset(&transaction.open_table(LOG)?)?;
            let mut meta = transaction.open_table(META)?;
            if format.is_none() {
                meta.insert("epoch", random_number())?;
            }
            // Before there was a journal, all records were in the tables, and the floor told of those that had left.
            if format.is_none_or(|format| format < JOURNAL_SINCE) {
                let floor = meta.get("floor")?.map_or(0, |value| value.value());
                meta.insert("floor", floor.max(last))?;
                meta.insert("journal", random_number())?;
                meta.insert("journal_bytes", journal_bytes)?;
            }
            meta.insert("format", FORMAT_VERSION)?;
        }
        transaction.open_table(QUARANTINE)?;
        transaction.open_table(BLOCKS)?;
        transaction.open_table(KEYFRAMES)?;
        transaction.open_table(BOARDS)?;
        transaction.open_table(MEMBERS)?;
        transaction.open_table(MEMBER_BOARDS)?;
        transaction.open_table(ASSETS)?;
        transaction.open_table(ASSET_BOARDS)?;
        transaction.open_table(INVITES)?;
        transaction.open_table(BOARD_INVITES)?;
        transaction.open_table(VISITS)?;
        transaction.commit()?;
    }
    let meta = database.begin_read()?.open_table(META)?;
    let number = |name| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    Ok([
        number("epoch")?,
        number("floor")?,
        number("journal")?,
        number("journal_bytes")?,
    ])
}

/// The highest offset in the log, found by one step for each board.
fn last_offset(log: &impl ReadableTable<(&'static str, u64), &'static [u8]>) -> Result<u64, redb::Error> {
    let mut last = 0;
    let mut board = String::new();
    while let Some(entry) = log.range((board.as_str(), 0)..)?.next() {
        let (key, _record) = entry?;
        key.value().0.clone_into(&mut board);
        if let Some(entry) = log.range((board.as_str(), 0)..=(board.as_str(), u64::MAX))?.next_back() {
            last = last.max(entry?.0.value().1);
        }
        // The smallest name after this one.
        board.push('\0');
    }
    Ok(last)
}

/// A random number from 1 to 2^53 - 1, so that every client can hold it.
fn random_number() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    ((high ^ low.rotate_left(32)) >> 11).max(1)
}

fn directory_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    if matches!(
        source.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
    ) {
        return OpenError::NotADirectory(path);
    }
    OpenError::NotWritable { path, source }
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return OpenError::Locked(path.to_owned());
    }
    if let DatabaseError::Storage(redb::StorageError::Io(source)) = &error
        && matches!(
            source.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    {
        let source = source.kind().into();
        let path = path.to_owned();
        return OpenError::NotWritable { path, source };
    }
    storage_error(path, error.into())
}

pub(super) fn storage_error(path: &Path, source: redb::Error) -> OpenError {
    OpenError::Storage {
        path: path.to_owned(),
        source,
    }
}
