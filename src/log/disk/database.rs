//! The one database file of a data directory, shared by log and store.
//!
//! It owns format version, epoch, tables, the durable end of the log, and the way back after a failed write: the file is
//! written again where a sync failed, opened anew, verified, and only then are writes taken. What the tables hold is the
//! business of `log/disk` and `store/disk`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::backends::FileBackend;
use redb::{
    DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable, StorageBackend, TableDefinition,
    WriteTransaction,
};
use thiserror::Error;
use tokio::sync::watch;

use super::backend::{Overlay, Ranges, Watched};
use super::fault::{Aborted, Fault};

/// Version of the tables and of what lies in them.
pub const FORMAT_VERSION: u64 = 1;

/// Name of the database file in the data directory.
pub const FILE_NAME: &str = "panseo.redb";

/// Cache of database pages: the tail of the busy boards; keyframes are read once and kept by their rooms.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Free space that must be there before writes are taken again after a full disk.
const PROBE_BYTES: usize = 4 * 1024 * 1024;

/// Time between two attempts to recover.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);

/// `format`, `epoch` and `floor`: no offset up to `floor` may be given again.
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

/// Makes the backend, at the start and whenever the database is opened again.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn StorageBackend>, DatabaseError> + Send + Sync>;

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
pub struct Database(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    opener: Opener,
    epoch: u64,
    /// Last offset known to be durable.
    end: AtomicU64,
    /// Counts the openings, so that the log sees that its tails may have missed something.
    openings: AtomicU64,
    open: RwLock<Option<redb::Database>>,
    watched: Mutex<Watched>,
    health: watch::Sender<Health>,
}

/// What the database says of itself when it is opened.
struct Opened {
    database: redb::Database,
    watched: Watched,
    epoch: u64,
    end: u64,
}

impl Database {
    /// Opens the data directory, made if it is not there. Only one process may have it open.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(data_dir).map_err(|source| directory_error(data_dir, source))?;
        if !data_dir.is_dir() {
            return Err(OpenError::NotADirectory(data_dir.to_owned()));
        }
        let file = data_dir.join(FILE_NAME);
        refuse_newer(data_dir, &file)?;
        Self::open_with(data_dir, Box::new(move || file_backend(&file)))
    }

    /// Opens a database on backends of `opener`: for tests that fail writes or cut the power.
    pub fn open_with(data_dir: &Path, opener: Opener) -> Result<Self, OpenError> {
        let start = open_once(data_dir, &opener, Ranges::default())?;
        Ok(Self(Arc::new(Shared {
            dir: data_dir.to_owned(),
            opener,
            epoch: start.epoch,
            end: AtomicU64::new(start.end),
            openings: AtomicU64::new(1),
            open: RwLock::new(Some(start.database)),
            watched: Mutex::new(start.watched),
            health: watch::Sender::new(Health::Healthy),
        })))
    }

    /// Opens a closed data directory so that nothing in it is changed: all writes stay in memory.
    pub(crate) fn open_untouched(data_dir: &Path) -> Result<Self, OpenError> {
        let file = data_dir.join(FILE_NAME);
        if !file.is_file() {
            return Err(OpenError::NoDatabase(data_dir.to_owned()));
        }
        let opener = move || -> Result<Arc<dyn StorageBackend>, DatabaseError> {
            Ok(Arc::new(Overlay::new(file_backend(&file)?)?))
        };
        Self::open_with(data_dir, Box::new(opener))
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

    /// Moves the durable end; called by the log's writer alone.
    pub(super) fn move_end(&self, end: u64) {
        self.0.end.store(end, Ordering::Release);
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
        self.settle(outcome)
    }

    /// Writes in one transaction, durable when this returns; may take long, so never on a runtime's thread.
    pub(crate) fn write<T, E: From<Fault>>(
        &self,
        writing: impl FnOnce(&WriteTransaction) -> Result<T, Aborted<E>>,
    ) -> Result<T, E> {
        match *self.0.health.borrow() {
            Health::Healthy => {}
            Health::Full => return Err(Fault::Full.into()),
            Health::Failed => return Err(Fault::Recovering.into()),
        }
        let open = self.0.open.read();
        let Some(database) = open.as_ref() else {
            return Err(Fault::Recovering.into());
        };
        let outcome = write_in(database, writing);
        drop(open);
        self.settle(outcome)
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

    fn settle<T, E: From<Fault>>(&self, outcome: Result<T, Aborted<E>>) -> Result<T, E> {
        match outcome {
            Ok(value) => Ok(value),
            Err(Aborted::Refused(error)) => Err(error),
            Err(Aborted::Broken(error)) => {
                let fault = Fault::from(error);
                if let Some(health) = fault.health() {
                    self.fall_ill(health, &fault);
                }
                Err(fault.into())
            }
        }
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
            let mut is_reopened = false;
            while let Some(shared) = shared.upgrade() {
                match recover(&shared, &mut is_reopened) {
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

fn write_in<T, E>(
    database: &redb::Database,
    writing: impl FnOnce(&WriteTransaction) -> Result<T, Aborted<E>>,
) -> Result<T, Aborted<E>> {
    let transaction = database.begin_write()?;
    let value = writing(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Brings the database back after a failed write: readable as soon as it is open again, writable once there is room.
fn recover(shared: &Shared, is_reopened: &mut bool) -> Result<(), OpenError> {
    if !*is_reopened {
        reopen(shared)?;
        *is_reopened = true;
    }
    probe(&shared.dir).map_err(|error| storage_error(&shared.dir, error.into()))?;
    shared.health.send_replace(Health::Healthy);
    tracing::info!("the database was opened again and verified");
    Ok(())
}

fn reopen(shared: &Shared) -> Result<(), OpenError> {
    let mut open = shared.open.write();
    let storage_error = |source| storage_error(&shared.dir, source);
    let mut watched = shared.watched.lock();
    // Before the file is read again: what is seen must be what the disk holds. Never the same sync twice: the kernel
    // forgets which pages it lost.
    watched.write_again().map_err(|error| storage_error(error.into()))?;
    // The old database is of no more use, and holds the lock on its file.
    *open = None;
    let mut reopened = open_once(&shared.dir, &shared.opener, watched.unsynced())?;
    reopened
        .database
        .check_integrity()
        .map_err(|error| storage_error(error.into()))?;
    let acknowledged = shared.end.load(Ordering::Acquire);
    if reopened.end < acknowledged {
        let found = reopened.end;
        return Err(OpenError::LostRecords { found, acknowledged });
    }
    shared.end.store(reopened.end, Ordering::Release);
    *watched = reopened.watched;
    *open = Some(reopened.database);
    shared.openings.fetch_add(1, Ordering::AcqRel);
    Ok(())
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

fn open_once(dir: &Path, opener: &Opener, unsynced: Ranges) -> Result<Opened, OpenError> {
    let watched = Watched::new(opener().map_err(|error| open_error(dir, error))?, unsynced);
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(watched.clone())
        .map_err(|error| open_error(dir, error))?;
    let found = read_format(&database).map_err(|source| storage_error(dir, source))?;
    check_format(dir, found)?;
    let (epoch, end) = prepare(&database, found).map_err(|source| storage_error(dir, source))?;
    Ok(Opened {
        database,
        watched,
        epoch,
        end,
    })
}

fn read_format(database: &redb::Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("format")?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes what a fresh file lacks; gives epoch and end of the log.
fn prepare(database: &redb::Database, format: Option<u64>) -> Result<(u64, u64), redb::Error> {
    if format.is_none() {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT_VERSION)?;
            meta.insert("epoch", random_epoch())?;
            meta.insert("floor", 0)?;
        }
        transaction.open_table(LOG)?;
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
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    let last = last_offset(&transaction.open_table(LOG)?)?;
    Ok((number("epoch")?, number("floor")?.max(last)))
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
fn random_epoch() -> u64 {
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

fn storage_error(path: &Path, source: redb::Error) -> OpenError {
    OpenError::Storage {
        path: path.to_owned(),
        source,
    }
}
