//! What one edit costs: the CRDT library alone, the walk and the rights, the board around it, a purge.
//!
//! The rows are those of `docs/PERFORMANCE.md`. Updates are made before the clock starts; an edit changes the board, so
//! a fresh board is taken after each script.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use panseo::bench::content::{Script, script};
use panseo::bench::{Kind, document};
use panseo::board::Board;
use panseo::board::guard::{Admission, CheckContext, Checked, Deed, Relay};
use panseo::board::rights::Editor;
use panseo::protocol::ids::{EditScope, EntryId, Role, Timestamp, UserId};
use panseo::protocol::op::Op;
use tokio::time::Instant;
use yrs::updates::decoder::Decode as _;
use yrs::{Doc, Transact as _, Update};

/// Updates of a script: enough that opening a board for it does not show.
const EDITS: usize = 500;
/// Client id of the writer.
const CLIENT: u64 = 77;
/// Elements that are purged at once, so that finding them is shared.
const PURGED: usize = 100;

fn editor() -> Editor {
    Editor {
        user: UserId::new("anna").expect("a valid name"),
        role: Role::Editor,
        scope: EditScope::All,
        now: Timestamp(1_000),
        seed: 1,
        imports: false,
    }
}

fn check(board: &Board, update: &[u8], editor: &Editor) -> Admission {
    let context = CheckContext {
        user: &editor.user,
        is_handover: false,
        may_bind: &|_| true,
        may_relay: &|_| Relay::No,
    };
    match board.check(update, &context) {
        Ok(Checked::New(admission)) => admission,
        other => panic!("a sound update came to {other:?}"),
    }
}

/// Whether the editor may do what the update does.
fn rights(board: &Board, admission: &Admission, editor: &Editor) -> bool {
    admission.touched.iter().all(|touch| {
        let entry = board.read().entry(touch.kind, &touch.id);
        let may_touch = |property| {
            let creator = || board.index().creator(touch.kind, &touch.id);
            editor.may_touch((touch.kind, &touch.id), entry, property, creator)
        };
        match &touch.deed {
            Deed::Changed { set, unset } => set.union(*unset).iter().all(|property| may_touch(Some(property))),
            Deed::Created { .. } | Deed::Replaced { .. } | Deed::Removed => may_touch(None),
        }
    })
}

/// A board that has what the script writes to.
fn begin(script: &Script, editor: &Editor) -> Board {
    let mut board = Board::open(1 << 33, None, &[], &BTreeSet::new()).expect("an empty board opens");
    let admission = check(&board, &script.setup, editor);
    board
        .merge(&script.setup, &admission, editor)
        .expect("the setup is sound");
    board
}

/// Time that merging takes in `count` edits, boards of their own after every [`EDITS`].
fn merges(script: &Script, count: u64) -> Duration {
    let editor = editor();
    let mut board = begin(script, &editor);
    let mut time = Duration::ZERO;
    for number in 0..count {
        let at = usize::try_from(number).expect("a count of edits") % EDITS;
        if at == 0 && number > 0 {
            board = begin(script, &editor);
        }
        let update = &script.updates[at];
        let admission = check(&board, update, &editor);
        let begin = Instant::now();
        let applied = board.merge(update, &admission, &editor).expect("it was checked");
        black_box(&applied);
        time += begin.elapsed();
    }
    time
}

/// A board that has all edits of the script but the last.
fn before_the_last(script: &Script) -> Board {
    let editor = editor();
    let mut board = begin(script, &editor);
    for update in &script.updates[..EDITS - 1] {
        let admission = check(&board, update, &editor);
        board.merge(update, &admission, &editor).expect("it was checked");
    }
    board
}

/// Decoding, applying and committing in the CRDT library, nothing else.
fn library(script: &Script, count: u64) -> Duration {
    let fresh = || {
        let doc = Doc::with_client_id(1 << 33);
        let setup = Update::decode_v1(&script.setup).expect("sound");
        doc.transact_mut().apply_update(setup).expect("sound");
        doc
    };
    let mut doc = fresh();
    let mut time = Duration::ZERO;
    for number in 0..count {
        let at = usize::try_from(number).expect("a count of edits") % EDITS;
        if at == 0 && number > 0 {
            doc = fresh();
        }
        let begin = Instant::now();
        let update = Update::decode_v1(&script.updates[at]).expect("sound");
        let mut txn = doc.transact_mut();
        txn.apply_update(update).expect("sound");
        txn.commit();
        drop(txn);
        time += begin.elapsed();
    }
    time
}

fn one_edit(criterion: &mut Criterion) {
    for (name, kind) in [
        ("a property", Kind::Update),
        ("a stroke of 40 points", Kind::Stroke),
        ("a drag of 22 elements", Kind::Drag),
    ] {
        let script = script(CLIENT, kind, EDITS);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("library alone", |bench| {
            bench.iter_custom(|count| library(&script, count));
        });
        let (board, editor) = (before_the_last(&script), editor());
        group.bench_function("walk and rights", |bench| {
            bench.iter(|| {
                let admission = check(&board, &script.updates[EDITS - 1], &editor);
                assert!(rights(&board, &admission, &editor), "the writer may write");
                admission
            });
        });
        group.bench_function("merge", |bench| bench.iter_custom(|count| merges(&script, count)));
        group.finish();
    }
}

/// A board of `count` strokes of one client, [`PURGED`] of them deleted.
fn with_deleted(count: usize) -> Board {
    let mut board = document::filled(count);
    let items = board.items();
    let targets = items
        .iter()
        .take(PURGED)
        .map(|item| EntryId::new(item.id.to_string()).expect("an id"));
    let delete = Op::ElementDelete {
        targets: targets.collect(),
    };
    board
        .apply(&[delete], &editor(), usize::MAX)
        .expect("the strokes are there");
    board
}

fn purge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("purge of 100 elements");
    group.sample_size(10);
    for count in [1_000, 10_000] {
        group.bench_function(format!("{count} of that client"), |bench| {
            let purge = |mut board: Board| {
                let applied = board.purge(Timestamp(2_000), PURGED);
                assert_eq!(applied.changes.len(), PURGED);
                board
            };
            bench.iter_batched(|| with_deleted(count), purge, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn state(criterion: &mut Criterion) {
    let board = document::filled(10_000);
    let known: Vec<_> = board.index().state_vector().collect();
    let client = known.iter().map(|(client, _)| *client).min().expect("the writer");
    let behind: Vec<_> = known
        .iter()
        .map(|&(id, clock)| (id, if id == client { clock - 100 } else { clock }))
        .collect();
    let mut group = criterion.benchmark_group("a board of 10,000 strokes");
    group.sample_size(20);
    group.bench_function("full state", |bench| bench.iter(|| board.diff([])));
    group.bench_function("difference of 10 strokes", |bench| {
        bench.iter(|| board.diff(behind.iter().copied()));
    });
    group.finish();
}

criterion_group!(benches, one_edit, purge, state);
criterion_main!(benches);
