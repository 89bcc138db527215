//! What the stores beside PostgreSQL promise, and what the disk store makes of damage.

use std::path::Path;

use bytes::Bytes;
use panseo::log::disk::FILE_NAME;
use panseo::protocol::ids::{Position, Timestamp};
use panseo::store::disk::verify;
use panseo::store::{Revocation, Revoked, StoreError, StoredKeyframe};

use super::{asset, in_memory, on_disk, user};
use crate::samples::board;

#[tokio::test]
async fn a_keyframe_ahead_of_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for pair in [in_memory(), on_disk(dir.path())] {
        let id = pair.create("maths").await;
        let Position(epoch, offset) = pair.append(&id, 1..=1).await;
        let (position, bytes) = (Position(epoch, offset + 1), Bytes::from("x"));
        let outcome = pair.store.put_keyframe(&id, StoredKeyframe { position, bytes }).await;
        assert!(matches!(outcome, Err(StoreError::Failed(_))));
    }
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let id = pair.create("maths").await;
    let position = pair.append(&id, 1..=300).await;
    pair.keyframe(&id, position, "one").await;
    pair.append(&id, 301..=310).await;
    drop(pair);
    let pair = on_disk(dir.path());
    assert_eq!(pair.history(&id, None, 1_000).await, (1..=310).collect::<Vec<_>>());
    assert_eq!(pair.store.keyframe(&id).await.unwrap().unwrap().position, position);
}

/// Puts something else there in a closed data directory.
fn damage(dir: &Path, table: &str, offset: u64) {
    let database = redb::Database::open(dir.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<(&str, u64), &[u8]>::new(table);
    let mut table = transaction.open_table(table).unwrap();
    table.insert(("maths", offset), &b"broken"[..]).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_damaged_keyframe_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let id = pair.create("maths").await;
    let first = pair.append(&id, 1..=3).await;
    pair.keyframe(&id, first, "one").await;
    let second = pair.append(&id, 4..=6).await;
    pair.keyframe(&id, second, "two").await;
    drop(pair);
    damage(dir.path(), "keyframes", second.offset());
    assert_eq!(
        verify(dir.path()).unwrap().damage,
        ["keyframe 6 of board maths: wrong check sum"]
    );
    let pair = on_disk(dir.path());
    assert_eq!(pair.store.keyframe(&id).await.unwrap().unwrap().position, first);
    drop(pair);
    damage(dir.path(), "keyframes", first.offset());
    let pair = on_disk(dir.path());
    assert_eq!(pair.store.keyframe(&id).await.unwrap(), None);
    assert_eq!(pair.history(&id, None, 10).await, (1..=6).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_record_is_skipped_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let id = pair.create("maths").await;
    let Position(_epoch, offset) = pair.append(&id, 1..=3).await;
    drop(pair);
    damage(dir.path(), "log", offset - 1);
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.damage, ["record 2 of board maths: wrong check sum"]);
    let pair = on_disk(dir.path());
    assert_eq!(pair.history(&id, None, 10).await, [1, 3]);
    drop(pair);
    assert_eq!(verify(dir.path()).unwrap().quarantined, 1);
}

#[tokio::test]
async fn a_damaged_asset_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let id = pair.create("maths").await;
    let (hash, cat) = asset("cat");
    pair.store.put_asset(&id, &hash, cat, Timestamp(1)).await.unwrap();
    let file = dir.path().join("assets").join(&hash[..2]).join(&hash);
    std::fs::write(file, "dog").unwrap();
    assert!(matches!(
        pair.store.asset(&id, &hash).await,
        Err(StoreError::Damaged(_))
    ));
    drop(pair);
    assert_eq!(verify(dir.path()).unwrap().damage.len(), 1);
}

#[tokio::test]
async fn an_upload_to_a_board_that_is_gone_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let (hash, cat) = asset("cat");
    let nowhere = pair.store.put_asset(&board("none"), &hash, cat, Timestamp(1)).await;
    assert!(matches!(nowhere, Err(StoreError::NoBoard)));
    drop(pair);
    assert_eq!(verify(dir.path()).unwrap().unused_files, 0);
}

/// The same in a table whose keys are names.
fn damage_named(dir: &Path, table: &str, name: &str) {
    let database = redb::Database::open(dir.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new(table);
    let mut table = transaction.open_table(table).unwrap();
    table.insert(name, &b"broken"[..]).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_damaged_board_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (pair, ada) = (on_disk(dir.path()), user("ada"));
    for (number, name) in (1..).zip(["a", "b", "c"]) {
        let id = pair.create(name).await;
        pair.store.note_visit(&ada, &id, Timestamp(number)).await.unwrap();
    }
    drop(pair);
    damage_named(dir.path(), "boards", "a");
    assert_eq!(verify(dir.path()).unwrap().damage.len(), 1);
    let pair = on_disk(dir.path());
    for member in [None, Some(&ada)] {
        let first = pair.store.boards(member, None, 1).await.unwrap();
        assert_eq!(first[0].id, board("b"), "a page is full where there are more");
        assert_eq!(pair.store.boards(member, None, 9).await.unwrap().len(), 2);
    }
    assert_eq!(pair.store.visits(&ada).await.unwrap().len(), 2);
    assert!(matches!(
        pair.store.board(&board("a")).await,
        Err(StoreError::Damaged(_))
    ));
}

#[tokio::test]
async fn a_damaged_revocation_is_named_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    let pair = on_disk(dir.path());
    let revocation = Revocation {
        what: Revoked::User(user("ada")),
        at: Timestamp(1),
        until: Timestamp(9),
    };
    pair.store.revoke(&revocation).await.unwrap();
    drop(pair);
    damage_named(dir.path(), "revoked", "user:ada");
    let pair = on_disk(dir.path());
    let refused = pair.store.revocations(Timestamp(0)).await.unwrap_err().to_string();
    assert!(
        refused.contains("user:ada") && refused.contains("panseo verify"),
        "{refused}"
    );
    drop(pair);
    let damage = verify(dir.path()).unwrap().damage;
    assert!(
        damage.len() == 1 && damage[0].starts_with("revocation user:ada: "),
        "{damage:?}"
    );
}
