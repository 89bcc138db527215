//! The journal of a data directory: what lies in it is read, and outlives a crash, a torn end and a damaged middle.
//!
//! A crash is a copy of both files while the log is open: that is what a killed process leaves behind.

use std::fs;
use std::path::Path;

use panseo::log::UpdateLog;
use panseo::log::disk::{Database, DiskLog, FILE_NAME, JOURNAL_NAME};
use panseo::protocol::ids::{BoardId, EditScope, Timestamp, UserId};
use panseo::store::disk::{DiskStore, verify};
use panseo::store::{BoardInfo, BoardStore, StoredKeyframe};

use crate::samples::{board, record};

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

#[tokio::test]
async fn a_directory_of_the_version_before_gets_a_journal() {
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
