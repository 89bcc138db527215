//! What every log must promise, run on every adapter; and what the disk log alone promises.

use std::sync::Arc;

use panseo::log::disk::{Database, DiskLog, FORMAT_VERSION, OpenError};
use panseo::log::memory::{AppendFault, MemoryLog};
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::ids::{BoardId, Position};
use tokio::sync::mpsc;

use crate::samples::{board, record};

fn disk_log(dir: &std::path::Path) -> DiskLog {
    DiskLog::new(Database::open(dir).unwrap())
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(std::sync::Arc::new(super::MemoryLog::new(7))).await;
            })*
        }
        mod disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(std::sync::Arc::new(super::disk_log(dir.path()))).await;
            })*
        }
        mod kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(broker) = crate::support::kafka::Broker::real() else { return };
                super::$name(std::sync::Arc::new(broker.log().await)).await;
            })*
        }
    };
}

contract!(
    keeps_the_order_of_calls,
    gives_a_tail_without_hole_or_double,
    lets_a_slow_reader_slow_nobody,
    separates_boards,
    continues_after_a_position,
    refuses_unknown_positions,
);

async fn take(tail: &mut mpsc::Receiver<Logged>, count: usize) -> Vec<Logged> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(tail.recv().await.expect("a tail does not end"));
    }
    taken
}

fn numbers(records: &[Logged]) -> Vec<u64> {
    records.iter().map(|logged| logged.record.id.1).collect()
}

async fn append_many(log: &dyn UpdateLog, board: &BoardId, numbers: std::ops::RangeInclusive<u64>) -> Vec<Position> {
    let appends: Vec<_> = numbers.map(|number| log.append(board, record(number, 40))).collect();
    let mut positions = Vec::new();
    for append in appends {
        positions.push(append.await.unwrap());
    }
    positions
}

async fn keeps_the_order_of_calls(log: Arc<dyn UpdateLog>) {
    let board = board("maths");
    let positions = append_many(&*log, &board, 1..=500).await;
    assert!(positions.is_sorted_by(|a, b| a < b));
    let mut tail = log.tail(&board, None).await.unwrap();
    let read = take(&mut tail, 500).await;
    assert_eq!(numbers(&read), (1..=500).collect::<Vec<_>>());
    assert_eq!(read.iter().map(|logged| logged.position).collect::<Vec<_>>(), positions);
    assert_eq!(log.end(&board).await.unwrap(), positions[499]);
}

async fn gives_a_tail_without_hole_or_double(log: Arc<dyn UpdateLog>) {
    let board = board("maths");
    let mut early = log.tail(&board, None).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (log, board) = (Arc::clone(&log), board.clone());
            tokio::spawn(async move {
                for number in 0..500 {
                    log.append(&board, record(writer * 500 + number, 40)).await.unwrap();
                }
            })
        })
        .collect();
    let mut readers = Vec::new();
    for after in [10, 300, 900] {
        let seen = take(&mut early, after).await;
        drop(seen);
        let mut late = log.tail(&board, None).await.unwrap();
        readers.push(tokio::spawn(async move { take(&mut late, 2_000).await }));
        early = log.tail(&board, None).await.unwrap();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        let read = reader.await.unwrap();
        assert!(read.is_sorted_by(|a, b| a.position < b.position));
        let mut all = numbers(&read);
        all.sort_unstable();
        assert_eq!(all, (0..2_000).collect::<Vec<_>>());
    }
}

async fn lets_a_slow_reader_slow_nobody(log: Arc<dyn UpdateLog>) {
    let board = board("maths");
    let mut slow = log.tail(&board, None).await.unwrap();
    let mut fast = log.tail(&board, None).await.unwrap();
    let fast = tokio::spawn(async move { take(&mut fast, 3_000).await.len() });
    append_many(&*log, &board, 1..=3_000).await;
    assert_eq!(fast.await.unwrap(), 3_000);
    let first = take(&mut slow, 1_000).await;
    append_many(&*log, &board, 3_001..=3_100).await;
    let rest = take(&mut slow, 2_100).await;
    assert_eq!(numbers(&[first, rest].concat()), (1..=3_100).collect::<Vec<_>>());
}

async fn separates_boards(log: Arc<dyn UpdateLog>) {
    // One name begins like the other: keys must not run into each other.
    let (one, other) = (board("maths"), board("maths-2"));
    for number in 1..=50 {
        log.append(&one, record(number, 10)).await.unwrap();
        log.append(&other, record(1_000 + number, 10)).await.unwrap();
    }
    let read = take(&mut log.tail(&one, None).await.unwrap(), 50).await;
    assert_eq!(numbers(&read), (1..=50).collect::<Vec<_>>());
    let read = take(&mut log.tail(&other, None).await.unwrap(), 50).await;
    assert_eq!(numbers(&read), (1_001..=1_050).collect::<Vec<_>>());
}

async fn continues_after_a_position(log: Arc<dyn UpdateLog>) {
    let board = board("maths");
    let positions = append_many(&*log, &board, 1..=20).await;
    let mut tail = log.tail(&board, Some(positions[11])).await.unwrap();
    append_many(&*log, &board, 21..=25).await;
    assert_eq!(numbers(&take(&mut tail, 13).await), (13..=25).collect::<Vec<_>>());
}

async fn refuses_unknown_positions(log: Arc<dyn UpdateLog>) {
    let board = board("maths");
    let Position(epoch, offset) = append_many(&*log, &board, 1..=3).await[2];
    for unknown in [Position(epoch + 1, 1), Position(epoch, offset + 1)] {
        let outcome = log.tail(&board, Some(unknown)).await;
        assert!(matches!(outcome, Err(LogError::UnknownPosition(position)) if position == unknown));
    }
}

#[tokio::test]
async fn an_append_behind_a_failed_one_fails_until_the_author_knows() {
    let log = MemoryLog::new(7);
    let board = board("maths");
    log.fail_next_append(AppendFault::BeforeWriting);
    let first = log.append(&board, record(1, 10));
    let second = log.append(&board, record(2, 10));
    assert!(first.await.is_err());
    assert!(second.await.is_err());
    assert_eq!(log.append(&board, record(1, 10)).await.unwrap(), Position(7, 1));
}

#[tokio::test]
async fn a_record_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = disk_log(dir.path());
    let outcome = log.append(&board("maths"), record(1, 13 * 1024 * 1024)).await;
    assert!(matches!(outcome, Err(LogError::TooLarge { .. })));
}

#[tokio::test]
async fn records_epoch_and_offsets_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let board = board("maths");
    let log = disk_log(dir.path());
    let before = append_many(&log, &board, 1..=5).await;
    drop(log);
    let log = disk_log(dir.path());
    let read = take(&mut log.tail(&board, None).await.unwrap(), 5).await;
    assert_eq!(read.iter().map(|logged| logged.position).collect::<Vec<_>>(), before);
    assert_eq!(read[4].record, record(5, 40));
    let next = log.append(&board, record(6, 40)).await.unwrap();
    assert_eq!((next.epoch(), next.offset()), (before[0].epoch(), 6));
}

#[tokio::test]
async fn what_is_queued_is_written_when_the_log_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let log = disk_log(dir.path());
    let appends: Vec<_> = (1..=100)
        .map(|number| log.append(&board("maths"), record(number, 10)))
        .collect();
    drop(log);
    for append in appends {
        append.await.unwrap();
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Database::open(dir.path()).unwrap();
    assert!(matches!(Database::open(dir.path()), Err(OpenError::Locked(_))));
}

#[test]
fn a_file_is_no_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Database::open(file.path()), Err(OpenError::NotADirectory(_))));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::open(dir.path()).unwrap());
    let file = dir.path().join(panseo::log::disk::FILE_NAME);
    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = std::fs::read(&file).unwrap();
    let outcome = Database::open(dir.path());
    assert!(matches!(
        outcome,
        Err(OpenError::NewerFormat {
            found: 99,
            known: FORMAT_VERSION,
            ..
        })
    ));
    assert!(before == std::fs::read(&file).unwrap(), "the file was touched");
}
