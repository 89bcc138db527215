//! The journal of a data directory: what lies in it is read, and outlives a crash, a torn end and a damaged middle.
//!
//! A crash is a copy of both files while the log is open: that is what a killed process leaves behind.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use panseo::config::ServeArgs;
use panseo::log::UpdateLog;
use panseo::log::disk::{Database, DiskLog, FILE_NAME, JOURNAL_NAME, Opener, Storage};
use panseo::protocol::ids::{BoardId, EditScope, Timestamp, UserId};
use panseo::store::disk::{DiskStore, verify};
use panseo::store::{BoardInfo, BoardStore, StoredKeyframe};
use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::samples::{board, record};
use crate::support::node::{Node, create};

/// Where a batch begins.
const PAGE_BYTES: usize = 4096;

fn open(dir: &Path) -> (DiskLog, DiskStore) {
    let database = Database::open(dir).unwrap();
    (DiskLog::new(database.clone()), DiskStore::new(database))
}

fn info(id: &BoardId) -> BoardInfo {
    BoardInfo {
        id: id.clone(),
        title: "Lesson".into(),
        edit: EditScope::All,
        created: Timestamp(5),
        owner: UserId::new("ada").unwrap(),
    }
}

/// Appends records one after another: each is a batch, and a page of the journal.
async fn append(log: &DiskLog, id: &BoardId, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        log.append(id, record(number, 100)).await.unwrap();
    }
}

async fn numbers(store: &DiskStore, id: &BoardId) -> Vec<u64> {
    let history = store.history(id, None, 1_000).await.unwrap();
    history.iter().map(|logged| logged.record.id.1).collect()
}

fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE_NAME, JOURNAL_NAME] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// A crash with three records in the journal, of which `touch` then gets the bytes.
async fn crash_with(touch: impl FnOnce(&mut [u8])) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _store) = open(dir.path());
    append(&log, &board("maths"), 1..=3).await;
    let copy = crash(dir.path());
    let journal = copy.path().join(JOURNAL_NAME);
    let mut bytes = fs::read(&journal).unwrap();
    touch(&mut bytes);
    fs::write(&journal, bytes).unwrap();
    copy
}

#[tokio::test]
async fn records_are_moved_before_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = open(dir.path());
    append(&log, &board("maths"), 1..=3).await;
    let left = verify(crash(dir.path()).path()).unwrap();
    assert_eq!((left.journal_records, left.records), (3, 3), "{left:?}");
    // Another board is read from the tables as they are.
    assert!(numbers(&store, &board("music")).await.is_empty());
    assert_eq!(verify(crash(dir.path()).path()).unwrap().journal_records, 3);
    assert_eq!(numbers(&store, &board("maths")).await, [1, 2, 3]);
    let left = verify(crash(dir.path()).path()).unwrap();
    assert_eq!((left.journal_records, left.records), (0, 3), "{left:?}");
}

#[tokio::test]
async fn a_keyframe_finds_the_records_it_covers_in_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = open(dir.path());
    let id = board("maths");
    store.create_board(&info(&id)).await.unwrap();
    append(&log, &id, 1..=3).await;
    let position = log.end(&id).await.unwrap();
    append(&log, &id, 4..=4).await;
    let bytes = vec![9; 100].into();
    store
        .put_keyframe(&id, StoredKeyframe { position, bytes })
        .await
        .unwrap();
    let copy = crash(dir.path());
    let report = verify(copy.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.sealed_records, report.records), (3, 1), "{report:?}");
    assert_eq!(numbers(&open(copy.path()).1, &id).await, [1, 2, 3, 4]);
}

/// A database file whose syncs can be made to wait.
#[derive(Debug)]
struct Slow {
    file: InMemoryBackend,
    may_sync: watch::Receiver<bool>,
    waits: mpsc::UnboundedSender<()>,
    runtime: Handle,
}

impl StorageBackend for Slow {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut may_sync = self.may_sync.clone();
        if !*may_sync.borrow() {
            self.waits.send(()).unwrap();
            self.runtime.block_on(may_sync.wait_for(|may| *may)).unwrap();
        }
        self.file.sync_data()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_goes_on_while_its_keyframe_is_stored() {
    let (may_sync, opens) = watch::channel(true);
    let (waits, mut waiting) = mpsc::unbounded_channel();
    let runtime = Handle::current();
    let slow: Opener = Box::new(move || {
        Ok(Arc::new(Slow {
            file: InMemoryBackend::new(),
            may_sync: opens.clone(),
            waits: waits.clone(),
            runtime: runtime.clone(),
        }))
    });
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage {
        database: slow,
        journal: Box::new(|| Ok(Arc::new(FileBackend::new(tempfile::tempfile()?)?))),
        journal_bytes: 4 * 1024 * 1024,
    };
    let database = Database::open_with(dir.path(), storage).unwrap();
    let log = Arc::new(DiskLog::new(database.clone()));
    let store = Arc::new(DiskStore::new(database));
    let node = Node::on(ServeArgs::default(), log, Arc::clone(&store) as _, || true).await;
    assert_eq!(node.draw("/v1/boards/lesson/ops", "first").await.status, 200);
    may_sync.send_replace(false);
    for id in ["a", "b", "c"] {
        let mut op = create(id);
        op["element"]["text"] = "word ".repeat(20_000).into();
        let drawn = node.send("POST", "/v1/boards/lesson/ops", json!({ "ops": [op] })).await;
        assert_eq!(drawn.status, 200);
    }
    waiting.recv().await.unwrap();
    assert_eq!(node.draw("/v1/boards/lesson/ops", "last").await.status, 200);
    assert_eq!(store.keyframe(&board("lesson")).await.unwrap(), None);
    may_sync.send_replace(true);
    node.stop().await;
    assert!(store.keyframe(&board("lesson")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_deleted_board_leaves_nothing_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = open(dir.path());
    let id = board("maths");
    store.create_board(&info(&id)).await.unwrap();
    append(&log, &id, 1..=3).await;
    let end = log.end(&id).await.unwrap();
    store.delete_board(&id).await.unwrap();
    let copy = crash(dir.path());
    let (log, store) = open(copy.path());
    assert!(numbers(&store, &id).await.is_empty());
    let next = log.append(&id, record(9, 100)).await.unwrap();
    assert!(next > end, "a position was given twice");
}

#[tokio::test]
async fn what_a_room_wrote_behind_the_deletion_is_not_on_the_next_board_of_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = open(dir.path());
    let id = board("maths");
    store.create_board(&info(&id)).await.unwrap();
    append(&log, &id, 1..=3).await;
    store.delete_board(&id).await.unwrap();
    append(&log, &id, 4..=5).await;
    store.create_board(&info(&id)).await.unwrap();
    append(&log, &id, 6..=7).await;
    assert_eq!(numbers(&store, &id).await, [6, 7]);
}

#[tokio::test]
async fn a_torn_end_is_the_end() {
    let copy = crash_with(|journal| journal[2 * PAGE_BYTES + 40..3 * PAGE_BYTES].fill(0)).await;
    let report = verify(copy.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let (log, store) = open(copy.path());
    assert_eq!(numbers(&store, &board("maths")).await, [1, 2]);
    append(&log, &board("maths"), 3..=3).await;
    assert_eq!(numbers(&store, &board("maths")).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_damaged_middle_is_told_and_what_lies_behind_is_kept() {
    let copy = crash_with(|journal| journal[PAGE_BYTES + 40] ^= 1).await;
    let report = verify(copy.path()).unwrap();
    assert_eq!(report.damage, ["journal: records 2 to 2 are missing"]);
    assert_eq!(numbers(&open(copy.path()).1, &board("maths")).await, [1, 3]);
}

#[tokio::test]
async fn a_journal_of_another_directory_is_not_read() {
    let copy = crash_with(|_journal| ()).await;
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::copy(copy.path().join(JOURNAL_NAME), dir.path().join(JOURNAL_NAME)).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, 0);
}

/// What `panseo verify` prints, and its exit code.
fn verified(dir: &Path) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panseo"));
    let output = command.args(["verify", "--data-dir"]).arg(dir).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn what_is_damaged_is_told_on_the_command_line() {
    let sound = crash_with(|_journal| ()).await;
    let (told, code) = verified(sound.path());
    assert!(
        told.ends_with(": sound\n") && told.contains("3 records in the log (3 of them"),
        "{told}"
    );
    assert_eq!(code, Some(0));
    let damaged = crash_with(|journal| journal[PAGE_BYTES + 40] ^= 1).await;
    let (told, code) = verified(damaged.path());
    assert!(told.starts_with("journal: records 2 to 2 are missing\n"), "{told}");
    assert!(told.ends_with(": damaged\n"), "{told}");
    assert_eq!(code, Some(1));
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(verified(nothing.path()), (String::new(), Some(1)));
}

#[tokio::test]
async fn a_journal_that_is_missing_or_cut_short_is_told() {
    let cut = crash_with(|_journal| ()).await;
    let journal = cut.path().join(JOURNAL_NAME);
    fs::File::options()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(2 * PAGE_BYTES as u64)
        .unwrap();
    let missing = crash_with(|_journal| ()).await;
    fs::remove_file(missing.path().join(JOURNAL_NAME)).unwrap();
    for (dir, left) in [(cut, 2), (missing, 0)] {
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.records, report.damage.len()), (left, 1), "{report:?}");
        assert!(
            report.damage[0].starts_with("journal: missing or cut short"),
            "{report:?}"
        );
        drop(open(dir.path()));
        let report = verify(dir.path()).unwrap();
        assert!(report.is_sound(), "it was told when the server opened it: {report:?}");
    }
}

#[tokio::test]
async fn a_directory_without_a_journal_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = open(dir.path());
    let id = board("maths");
    append(&log, &id, 1..=3).await;
    drop((log, store));
    fs::remove_file(dir.path().join(JOURNAL_NAME)).unwrap();
    let database = redb::Database::open(dir.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    {
        let mut meta = transaction.open_table(meta).unwrap();
        meta.insert("format", 1).unwrap();
        meta.insert("floor", 0).unwrap();
        meta.remove("journal").unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(verify(dir.path()).unwrap().records, 3);
    assert!(!dir.path().join(JOURNAL_NAME).exists(), "verify made a file");
    let (log, store) = open(dir.path());
    append(&log, &id, 4..=4).await;
    assert_eq!(log.end(&id).await.unwrap().offset(), 4);
    assert_eq!(numbers(&store, &id).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_journal_of_the_version_before_is_kept() {
    let copy = crash_with(|_journal| ()).await;
    let database = redb::Database::open(copy.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(numbers(&open(copy.path()).1, &board("maths")).await, [1, 2, 3]);
}
