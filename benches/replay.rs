//! Opening boards: from a keyframe, and from the records of an hour of class; and reading that hour for the replay.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use panseo::bench::class::{self, Hour};
use panseo::bench::document;
use panseo::board::Board;
use panseo::log::UpdateLog as _;
use panseo::log::disk::{Database, DiskLog};
use panseo::protocol::ids::{BoardId, EditScope, Position, Timestamp, UserId};
use panseo::store::disk::DiskStore;
use panseo::store::{BoardInfo, BoardStore as _, StoredKeyframe};

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open a board from its keyframe");
    group.sample_size(10);
    for count in [1_000, 10_000, 100_000] {
        let keyframe = document::filled(count).keyframe(Position(1, 1), Timestamp(0));
        group.bench_function(format!("{count} strokes"), |bench| {
            // Dropping a board is not part of opening it.
            bench.iter_with_large_drop(|| reopen(&keyframe));
        });
    }
    group.finish();
}

fn reopen(keyframe: &Bytes) -> Board {
    Board::open(9, Some(keyframe), &[], &BTreeSet::new()).expect("the keyframe opens")
}

fn rebuild(criterion: &mut Criterion) {
    let hour = class::hour();
    let mut group = criterion.benchmark_group("rebuild from the log");
    group.sample_size(10);
    group.throughput(Throughput::Elements(hour.log.len() as u64));
    group.bench_function("an hour of class", |bench| {
        let open = || Board::open(9, None, &hour.log, &BTreeSet::new()).expect("the log is sound");
        bench.iter_with_large_drop(open);
    });
    group.finish();
}

/// The hour in a database of its own, sealed as its keyframes came; gives the positions of the records.
async fn store(hour: &Hour, folder: &std::path::Path, board: &BoardId) -> (DiskStore, Vec<Position>) {
    let database = Database::open(folder).expect("the database opens");
    let (log, store) = (DiskLog::new(database.clone()), DiskStore::new(database));
    let info = BoardInfo {
        id: board.clone(),
        title: "class".into(),
        edit: EditScope::All,
        created: Timestamp(0),
        owner: UserId::new("anna").expect("a valid name"),
    };
    store.create_board(&info).await.expect("the board is new");
    let appends: Vec<_> = hour
        .log
        .iter()
        .map(|logged| log.append(board, Arc::clone(&logged.record)))
        .collect();
    let mut positions = Vec::new();
    for append in appends {
        positions.push(append.await.expect("there is room"));
    }
    for keyframe in &hour.keyframes {
        let at = hour.log.partition_point(|logged| logged.position <= keyframe.position);
        let keyframe = StoredKeyframe {
            position: positions[at - 1],
            bytes: keyframe.bytes.clone(),
        };
        store.put_keyframe(board, keyframe).await.expect("there is room");
    }
    (store, positions)
}

fn replay(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let folder = tempfile::tempdir().expect("a folder is made");
    let board = BoardId::new("class").expect("a valid name");
    let hour = class::hour();
    let (store, positions) = runtime.block_on(store(&hour, folder.path(), &board));
    let at = positions[positions.len() * 9 / 10];
    let mut group = criterion.benchmark_group("an hour of class");
    group.sample_size(10);
    group.bench_function("all records from the start", |bench| {
        bench.iter(|| {
            let records = runtime
                .block_on(store.history(&board, None, usize::MAX))
                .expect("it reads");
            assert_eq!(records.len(), positions.len());
            records
        });
    });
    group.bench_function("keyframe and tail of a jump", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let keyframe = store
                    .keyframe_before(&board, at)
                    .await
                    .expect("it reads")
                    .expect("one before");
                let to_come = positions.partition_point(|position| *position <= at);
                let covered = positions.partition_point(|position| *position <= keyframe.position);
                let tail = store.history(&board, Some(keyframe.position), to_come - covered).await;
                assert_eq!(tail.as_ref().expect("it reads").len(), to_come - covered);
                (keyframe, tail)
            })
        });
    });
    group.finish();
}

criterion_group!(benches, open, rebuild, replay);
criterion_main!(benches);
