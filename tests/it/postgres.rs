//! What the store in PostgreSQL alone promises: how it opens, and how records come into it.

use std::time::Duration;

use bytes::Bytes;
use panseo::protocol::ids::{BoardId, EditScope, Position, Role, Timestamp, UserId};
use panseo::store::postgres::materialise::{ApplyError, Batch, Incoming, Outcome};
use panseo::store::postgres::{OpenError, PostgresStore, Settings};
use panseo::store::{BoardInfo, BoardStore, StoreError, StoredKeyframe};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::postgres_schema::{Proxy, Schema, incoming};
use crate::samples::{board, record};
use crate::support::soon::soon;

async fn create(store: &PostgresStore, name: &str) -> BoardId {
    let info = BoardInfo {
        id: board(name),
        title: "수업".into(),
        edit: EditScope::All,
        created: Timestamp(5),
        owner: UserId::new("ada").unwrap(),
    };
    store.create_board(&info).await.unwrap();
    info.id
}

/// When all values here were sent.
const SENT: i64 = 1_700_000_000_000;

/// Records of the board at the offsets from `expected` to `next`, of partition 0.
fn batch(board: &BoardId, expected: i64, next: i64) -> Batch {
    let value = |offset: i64| incoming(board, offset, &record(u64::try_from(offset).unwrap(), 60));
    Batch {
        partition: 0,
        expected,
        next,
        sent: SENT,
        records: (expected..next).map(value).collect(),
    }
}

async fn numbers(store: &PostgresStore, board: &BoardId) -> Vec<u64> {
    let records = store.history(board, None, usize::MAX).await.unwrap();
    records.iter().map(|logged| logged.record.id.1).collect()
}

async fn keyframe(store: &PostgresStore, board: &BoardId, next: u64) {
    let keyframe = StoredKeyframe {
        position: Position(store.epoch(), next),
        bytes: Bytes::from("keyframe"),
    };
    store.put_keyframe(board, keyframe).await.unwrap();
}

/// The one line that the opening fails with.
async fn refusal(settings: Settings) -> String {
    let line = PostgresStore::open(settings).await.unwrap_err().to_string();
    assert!(!line.contains('\n') && !line.contains("s3cret"), "{line}");
    line
}

#[tokio::test]
async fn nodes_that_start_together_agree() {
    let Some(schema) = Schema::make().await else { return };
    let (one, other) = tokio::join!(schema.open(), schema.open());
    assert_eq!(one.unwrap().epoch(), other.unwrap().epoch());
    assert!(schema.open().await.unwrap().epoch() > 0);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let Some(schema) = Schema::make().await else { return };
    schema.open().await.unwrap();
    schema
        .run("insert into _sqlx_migrations values (9999, 'more', now(), true, '', 1)")
        .await;
    let line = refusal(schema.settings()).await;
    assert!(
        line.contains("written by a newer version of Panseo (schema 9999"),
        "{line}"
    );
}

#[tokio::test]
async fn tables_of_another_making_are_refused() {
    let Some(schema) = Schema::make().await else { return };
    schema.open().await.unwrap();
    schema
        .run("update _sqlx_migrations set checksum = 'x' where version = 1; delete from _sqlx_migrations where version > 1")
        .await;
    let line = refusal(schema.settings()).await;
    assert!(line.contains("are not those of this version"), "{line}");
}

#[tokio::test]
async fn another_topic_is_refused() {
    let Some(schema) = Schema::make().await else { return };
    let mut settings = schema.settings();
    PostgresStore::open(settings.clone()).await.unwrap();
    settings.topic.partitions = 2;
    let line = refusal(settings).await;
    assert!(line.contains("of 1 partitions, not 2"), "{line}");
    let mut settings = schema.settings();
    settings.topic.name = "other.edits.v1".into();
    let line = refusal(settings).await;
    assert!(
        line.contains("from another topic panseo.edits.v1 (not other.edits.v1)") && line.contains("an empty database"),
        "{line}"
    );
    schema.open().await.unwrap();
}

#[tokio::test]
async fn a_topic_in_use_is_refused_by_a_database_that_does_not_know_it() {
    let Some(schema) = Schema::make().await else { return };
    let mut used = schema.settings();
    used.topic.not_new = Some("holds records, or held some".into());
    // As often as it is tried: nothing of it is noted.
    for _ in 0..2 {
        let line = refusal(used.clone()).await;
        assert!(
            line.contains("does not know the topic panseo.edits.v1, which holds records")
                && line.contains("--kafka-prefix"),
            "{line}"
        );
    }
    schema.open().await.unwrap();
    PostgresStore::open(used).await.unwrap();
}

#[tokio::test]
async fn connections_whose_packets_are_swallowed_are_replaced() {
    let Some(schema) = Schema::make().await else { return };
    let proxy = Proxy::start(&schema.url).await;
    let through = Settings {
        url: proxy.url(&schema.url),
        ..schema.settings()
    };
    let store = PostgresStore::open(through).await.unwrap();
    // All of them wait for an answer when their packets begin to vanish.
    let mut blocking = schema.connect().await;
    sqlx::raw_sql("begin; lock table partition_progress in access exclusive mode")
        .execute(&mut blocking)
        .await
        .unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        asking.spawn(async move { store.progress().await });
    }
    let waiting = "select count(*) from pg_locks where relation = 'partition_progress'::regclass and not granted";
    schema.until(waiting, |waiting| waiting >= 16).await;
    proxy.swallow();
    asking.shutdown().await;
    drop(blocking);
    let since = Instant::now();
    soon(async || store.progress().await).await;
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let Some(schema) = Schema::make().await else { return };
    let with_url = |url: String| Settings {
        url,
        ..schema.settings()
    };
    let line = refusal(with_url("postgres://ada:s3cret@127.0.0.1:1/panseo".into())).await;
    assert!(
        line.starts_with("no PostgreSQL answers at 127.0.0.1:1/panseo ("),
        "{line}"
    );
    let (place, _) = schema.url.rsplit_once('/').unwrap();
    let line = refusal(with_url(format!("{place}/nowhere"))).await;
    assert!(line.contains("refuses the connection"), "{line}");
    for url in [
        "mysql://ada:s3cret@127.0.0.1/panseo",
        "postgres://ada:s3cret@127.0.0.1:x/panseo",
        "postgres://127.0.0.1/panseo?passwort=s3cret",
        "postgres://127.0.0.1/panseo?sslmode=s3cret",
    ] {
        let line = refusal(with_url(url.into())).await;
        assert!(line.starts_with("the database URL is not of the form"), "{line}");
        assert!(!format!("{:?}", with_url(url.into())).contains("s3cret"));
    }
}

#[tokio::test]
async fn a_database_without_writes_or_with_another_time_is_refused() {
    let Some(schema) = Schema::make().await else { return };
    let settings = Settings {
        url: format!("{}&options[default_transaction_read_only]=on", schema.url),
        ..schema.settings()
    };
    let line = refusal(settings).await;
    assert!(line.contains("takes no writes"), "{line}");
    let mut settings = schema.settings();
    settings.now.0 -= 61_000;
    let line = refusal(settings).await;
    assert!(line.contains("differ by 6"), "{line}");
}

#[tokio::test]
async fn missing_rights_are_named_and_few_are_needed() {
    let Some(schema) = Schema::make().await else { return };
    let role = format!("role_{}", Uuid::new_v4().simple());
    let name = schema.name();
    schema
        .run_made(format!(
            "create role {role} login; grant usage on schema {name} to {role}"
        ))
        .await;
    let (_, rest) = schema.url.rsplit_once('@').unwrap();
    let settings = Settings {
        url: format!("postgres://{role}@{rest}"),
        ..schema.settings()
    };
    let line = refusal(settings.clone()).await;
    assert!(line.starts_with(&format!("user {role} lacks a right")), "{line}");
    schema.open().await.unwrap();
    let grant = |rights: &str| format!("grant {rights} on all tables in schema {name} to {role}");
    schema.run_made(grant("select")).await;
    let line = refusal(settings.clone()).await;
    assert!(line.contains("on table assets"), "{line}");
    schema.run_made(grant("insert, update, delete")).await;
    let store = PostgresStore::open(settings).await.unwrap();
    let id = create(&store, "maths").await;
    assert_eq!(store.apply(&[batch(&id, 0, 5)]).await.unwrap(), [Outcome::Applied]);
    keyframe(&store, &id, 5).await;
    store.delete_board(&id).await.unwrap();
    schema.run_made(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn of_two_owners_of_a_partition_one_writes() {
    let Some(schema) = Schema::make().await else { return };
    let (one, other) = (schema.open().await.unwrap(), schema.open().await.unwrap());
    let id = create(&one, "maths").await;
    for round in 0..50 {
        let (expected, next) = (round * 10, round * 10 + 10);
        let batches = [batch(&id, expected, next)];
        let (mine, theirs) = tokio::join!(one.apply(&batches), other.apply(&batches));
        let mut outcomes = [mine.unwrap()[0], theirs.unwrap()[0]];
        outcomes.sort_by_key(|outcome| *outcome != Outcome::Applied);
        assert_eq!(outcomes, [Outcome::Applied, Outcome::Elsewhere { next }]);
    }
    assert_eq!(numbers(&one, &id).await, (0..500).collect::<Vec<_>>());
    assert_eq!(schema.number("select next_offset from partition_progress").await, 500);
}

#[tokio::test]
async fn a_batch_that_comes_again_is_not_stored_again() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    let batches = [batch(&id, 0, 300)];
    assert_eq!(store.apply(&batches).await.unwrap(), [Outcome::Applied]);
    assert_eq!(store.apply(&batches).await.unwrap(), [Outcome::Elsewhere { next: 300 }]);
    keyframe(&store, &id, 300).await;
    assert_eq!(store.apply(&batches).await.unwrap(), [Outcome::Elsewhere { next: 300 }]);
    assert_eq!(schema.number("select count(*) from records").await, 0);
    assert_eq!(numbers(&store, &id).await, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_the_topic_has_twice_is_stored_once() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let [maths, music] = [create(&store, "maths").await, create(&store, "music").await];
    let mut doubled = batch(&maths, 0, 4);
    doubled.records[3] = incoming(&maths, 3, &record(1, 60));
    assert_eq!(store.apply(&[doubled]).await.unwrap(), [Outcome::Applied]);
    // It comes once more in the next batch; another board may have a record of that name.
    let mut again = batch(&maths, 4, 6);
    again.records = vec![incoming(&maths, 4, &record(2, 60)), incoming(&music, 5, &record(2, 60))];
    assert_eq!(store.apply(&[again]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(numbers(&store, &maths).await, [0, 1, 2]);
    assert_eq!(numbers(&store, &music).await, [2]);
    assert_eq!(store.progress().await.unwrap()[&0].next, 6);
}

#[tokio::test]
async fn each_partition_moves_on_its_own() {
    let Some(schema) = Schema::make().await else { return };
    let mut settings = schema.settings();
    settings.topic.partitions = 3;
    let store = PostgresStore::open(settings).await.unwrap();
    let id = create(&store, "maths").await;
    let of = |partition, expected, next| Batch {
        partition,
        ..batch(&id, expected, next)
    };
    let batches = [of(2, 0, 3), of(0, 7, 9), of(1, 0, 1)];
    let outcomes = store.apply(&batches).await.unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Applied, Outcome::Elsewhere { next: 0 }, Outcome::Applied]
    );
    let progress = store.progress().await.unwrap();
    let reached = |partition| (progress[&partition].next, progress[&partition].last_sent);
    assert_eq!([0, 1, 2].map(reached), [(0, None), (1, Some(SENT)), (3, Some(SENT))]);
    let nowhere = store.apply(&[of(3, 0, 1)]).await;
    assert!(matches!(nowhere, Err(ApplyError::Store(StoreError::Failed(_)))));
}

#[tokio::test]
async fn a_tail_is_what_came_since_the_newest_keyframe() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    let all = batch(&id, 0, 10);
    let bytes = |records: &[Incoming]| records.iter().map(|record| record.bytes.len()).sum::<usize>();
    store.apply(std::slice::from_ref(&all)).await.unwrap();
    let asked = ["nowhere", id.as_str()];
    assert_eq!(store.tails(&asked).await.unwrap(), [(0, 0), (bytes(&all.records), 0)]);
    keyframe(&store, &id, 3).await;
    keyframe(&store, &id, 7).await;
    let since = bytes(&all.records[7..]);
    assert_eq!(store.tails(&asked).await.unwrap(), [(0, 0), (since, "keyframe".len())]);
    // A keyframe may come before the records that it covers.
    keyframe(&store, &id, 11).await;
    store.apply(&[batch(&id, 10, 11)]).await.unwrap();
    assert_eq!(store.tails(&asked).await.unwrap()[1].0, 0);
}

#[tokio::test]
async fn a_node_that_ends_in_the_midst_of_a_batch_leaves_nothing() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    schema
        .run(
            "create function wait() returns trigger language plpgsql as 'begin perform pg_sleep(60); return new; end';
             create trigger wait before update on partition_progress for each row execute function wait()",
        )
        .await;
    let dying = tokio::spawn({
        let (store, batches) = (store.clone(), [batch(&id, 0, 100)]);
        async move { store.apply(&batches).await }
    });
    let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'
                  and query like 'update partition_progress%'";
    schema.until(asleep, |count| count == 1).await;
    schema
        .run("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
        .await;
    let died = dying.await.unwrap();
    assert!(matches!(died, Err(ApplyError::Store(StoreError::Away(_)))));
    schema.run("drop trigger wait on partition_progress").await;
    assert_eq!(schema.number("select count(*) from records").await, 0);
    assert_eq!(store.apply(&[batch(&id, 0, 100)]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(numbers(&store, &id).await.len(), 100);
}

#[tokio::test]
async fn records_of_a_deleted_board_are_left_out() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let (id, other) = (create(&store, "maths").await, create(&store, "other").await);
    store.delete_board(&id).await.unwrap();
    let mut both = batch(&id, 0, 10);
    both.records.extend(batch(&other, 10, 20).records);
    both.next = 20;
    assert_eq!(store.apply(&[both]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(schema.number("select count(*) from records").await, 10);
    assert_eq!(numbers(&store, &other).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_role_is_changed_while_records_of_its_board_are_stored() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    // A node that has frozen in the midst of it.
    let mut storing = schema.connect().await;
    let storing_starts = sqlx::raw_sql("begin; select id from boards for key share");
    storing_starts.execute(&mut storing).await.unwrap();
    let ben = UserId::new("ben").unwrap();
    store.set_role(&id, &ben, Some(Role::Editor)).await.unwrap();
    assert_eq!(store.role(&id, &ben).await.unwrap(), Some(Role::Editor));
    drop(storing);
}

#[tokio::test]
async fn a_keyframe_may_come_before_its_records() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    store.apply(&[batch(&id, 0, 100)]).await.unwrap();
    assert_eq!(
        store.complete_to(&id).await.unwrap(),
        Some(Position(store.epoch(), 100))
    );
    keyframe(&store, &id, 150).await;
    assert_eq!(
        store.complete_to(&id).await.unwrap(),
        Some(Position(store.epoch(), 100))
    );
    store.apply(&[batch(&id, 100, 200)]).await.unwrap();
    assert_eq!(numbers(&store, &id).await, (0..200).collect::<Vec<_>>());
    keyframe(&store, &id, 200).await;
    assert_eq!(schema.number("select count(*) from records").await, 0);
    assert_eq!(numbers(&store, &id).await, (0..200).collect::<Vec<_>>());
    let after = store
        .history(&id, Some(Position(store.epoch(), 120)), 10)
        .await
        .unwrap();
    let after: Vec<_> = after.iter().map(|logged| logged.position.offset()).collect();
    assert_eq!(after, (121..=130).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_is_whole_while_it_is_sealed() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    store.apply(&[batch(&id, 0, 3_000)]).await.unwrap();
    let sealing = tokio::spawn({
        let (store, id) = (store.clone(), id.clone());
        async move {
            for next in (300..=3_000).step_by(300) {
                keyframe(&store, &id, next).await;
            }
        }
    });
    let mut is_sealed = false;
    while !is_sealed {
        is_sealed = sealing.is_finished();
        assert_eq!(numbers(&store, &id).await, (0..3_000).collect::<Vec<_>>());
    }
    sealing.await.unwrap();
    assert_eq!(schema.number("select count(*) from records").await, 0);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_skipped_and_named() {
    let Some(schema) = Schema::make().await else { return };
    let store = schema.open().await.unwrap();
    let id = create(&store, "maths").await;
    let mut damaged = batch(&id, 0, 3);
    damaged.records[1] = Incoming {
        bytes: Bytes::from_static(b"\xc1broken"),
        ..damaged.records[1].clone()
    };
    store.apply(&[damaged]).await.unwrap();
    for next in [0, 3] {
        keyframe(&store, &id, next).await;
        assert_eq!(numbers(&store, &id).await, [0, 2]);
        assert_eq!(schema.number("select kafka_offset from quarantine").await, 1);
    }
}

#[tokio::test]
async fn a_burst_is_stored_in_time() {
    let Some(schema) = Schema::make().await else { return };
    let mut settings = schema.settings();
    settings.topic.partitions = 64;
    let store = PostgresStore::open(settings).await.unwrap();
    let id = create(&store, "maths").await;
    let started = tokio::time::Instant::now();
    // 500 records at a time, spread over all partitions as many boards would be.
    for round in 0..40 {
        let of = |partition| Batch {
            partition,
            ..batch(&id, round * 8, round * 8 + 8)
        };
        let batches: Vec<_> = (0..64).map(of).collect();
        assert!(
            store
                .apply(&batches)
                .await
                .unwrap()
                .iter()
                .all(|outcome| *outcome == Outcome::Applied)
        );
    }
    let per_second = 40.0 * 64.0 * 8.0 / started.elapsed().as_secs_f64();
    eprintln!("{per_second:.0} records/s");
    assert!(per_second > 5_000.0, "only {per_second:.0} records/s");
}

#[tokio::test]
async fn a_database_that_went_away_is_used_again() {
    let Some(schema) = Schema::make().await else { return };
    let proxy = Proxy::start(&schema.url).await;
    let settings = Settings {
        url: proxy.url(&schema.url),
        ..schema.settings()
    };
    let store = PostgresStore::open(settings).await.unwrap();
    let id = create(&store, "maths").await;
    proxy.cut();
    assert!(matches!(store.board(&id).await, Err(StoreError::Away(_))));
    proxy.mend();
    let there = async {
        while store.board(&id).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
    assert!(matches!(
        PostgresStore::open(Settings {
            url: "postgres://127.0.0.1:1/x".into(),
            ..schema.settings()
        })
        .await,
        Err(OpenError::Away { .. })
    ));
}
