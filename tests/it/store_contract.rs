//! What every store must promise, run on every adapter; and what the disk store alone promises.

mod damaged;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use panseo::log::UpdateLog;
use panseo::log::disk::{Database, DiskLog};
use panseo::log::memory::MemoryLog;
use panseo::protocol::ids::{BoardId, EditScope, Position, Role, Timestamp, UserId};
use panseo::store::disk::{DiskStore, verify};
use panseo::store::memory::MemoryStore;
use panseo::store::{
    Asset, AssetHead, BoardChange, BoardInfo, BoardStore, INVITES_MAX, Invite, Revocation, Revoked, StoreError,
    StoredKeyframe, VISITS_MAX,
};
use sha2::{Digest, Sha256};

use crate::postgres_schema::{Materialised, Schema};
use crate::samples::{board, record};

/// A log and the store beside it.
struct Pair {
    log: Arc<dyn UpdateLog>,
    store: Arc<dyn BoardStore>,
}

fn in_memory() -> Pair {
    let log = MemoryLog::new(7);
    Pair {
        log: Arc::new(log.clone()),
        store: Arc::new(MemoryStore::new(log)),
    }
}

fn on_disk(dir: &Path) -> Pair {
    let database = Database::open(dir).unwrap();
    Pair {
        log: Arc::new(DiskLog::new(database.clone())),
        store: Arc::new(DiskStore::new(database)),
    }
}

async fn in_postgres(schema: &Schema) -> Pair {
    let store = schema.open().await.unwrap();
    Pair {
        log: Arc::new(Materialised::new(store.clone())),
        store: Arc::new(store),
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::in_memory()).await;
            })*
        }
        mod disk {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(super::on_disk(dir.path())).await;
                let report = super::verify(dir.path()).unwrap();
                assert!(report.is_sound(), "{report:?}");
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(schema) = super::Schema::make().await {
                    super::$name(super::in_postgres(&schema).await).await;
                }
            })*
        }
    };
}

contract!(
    keeps_boards,
    changes_what_is_named_and_nothing_else,
    lists_boards_in_pages,
    keeps_members,
    adds_members_and_changes_none,
    keeps_invites,
    holds_the_number_of_invites,
    keeps_recent_boards,
    gives_history_sealed_or_not,
    finds_the_keyframe_before,
    refuses_foreign_keyframes,
    deletes_a_board_whole,
    keeps_assets,
    collects_unused_assets,
    keeps_revocations_until_they_end,
    takes_no_part_of_a_revocation_back,
);

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn info(name: &str) -> BoardInfo {
    BoardInfo {
        id: board(name),
        title: "Lesson".into(),
        edit: EditScope::All,
        created: Timestamp(5),
        owner: user("ada"),
    }
}

impl Pair {
    async fn create(&self, name: &str) -> BoardId {
        self.store.create_board(&info(name)).await.unwrap();
        board(name)
    }

    async fn append(&self, board: &BoardId, numbers: std::ops::RangeInclusive<u64>) -> Position {
        let appends: Vec<_> = numbers
            .map(|number| self.log.append(board, record(number, 60)))
            .collect();
        let mut last = Position(0, 0);
        for append in appends {
            last = append.await.unwrap();
        }
        last
    }

    async fn keyframe(&self, board: &BoardId, position: Position, bytes: &'static str) {
        let bytes = Bytes::from(bytes);
        self.store
            .put_keyframe(board, StoredKeyframe { position, bytes })
            .await
            .unwrap();
    }

    async fn history(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Vec<u64> {
        let records = self.store.history(board, after, limit).await.unwrap();
        records.iter().map(|logged| logged.record.id.1).collect()
    }
}

async fn keeps_boards(pair: Pair) {
    let id = pair.create("maths").await;
    assert!(matches!(
        pair.store.create_board(&info("maths")).await,
        Err(StoreError::BoardExists)
    ));
    let change = BoardChange {
        title: Some("Fractions".into()),
        edit: Some(EditScope::Own),
    };
    let changed = pair.store.update_board(&id, &change).await.unwrap();
    let expected = BoardInfo {
        title: "Fractions".into(),
        edit: EditScope::Own,
        ..info("maths")
    };
    assert_eq!(changed, expected);
    assert_eq!(pair.store.board(&id).await.unwrap(), Some(changed));
    assert_eq!(pair.store.board(&board("none")).await.unwrap(), None);
    assert!(matches!(
        pair.store.update_board(&board("none"), &change).await,
        Err(StoreError::NoBoard)
    ));
}

async fn changes_what_is_named_and_nothing_else(pair: Pair) {
    let id = pair.create("maths").await;
    for round in 0..20 {
        let (title, edit) = (format!("Lesson {round}"), [EditScope::Own, EditScope::All][round % 2]);
        let [titled, scoped] = [(Some(title.clone()), None), (None, Some(edit))];
        let update = async |(title, edit)| {
            pair.store
                .update_board(&id, &BoardChange { title, edit })
                .await
                .unwrap()
        };
        let (one, other) = tokio::join!(update(titled), update(scoped));
        assert_eq!((one.title.as_str(), other.edit), (title.as_str(), edit));
        let found = pair.store.board(&id).await.unwrap().unwrap();
        assert_eq!((found.title, found.edit), (title, edit), "one of two at once was lost");
    }
}

async fn keeps_invites(pair: Pair) {
    let (maths, other) = (pair.create("maths").await, pair.create("other").await);
    let invite = |code: &str, board: &BoardId| Invite {
        code: code.into(),
        board: board.clone(),
        role: Role::Viewer,
        expires: Timestamp(9),
    };
    for invite in [invite("b", &maths), invite("a", &maths), invite("c", &other)] {
        pair.store.put_invite(&invite, Timestamp(0)).await.unwrap();
    }
    assert_eq!(pair.store.invite("c").await.unwrap(), Some(invite("c", &other)));
    assert_eq!(pair.store.invite("d").await.unwrap(), None);
    let codes = async |board: &BoardId| {
        let invites = pair.store.invites(board).await.unwrap();
        invites.into_iter().map(|invite| invite.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&maths).await, ["a", "b"]);
    assert!(
        !pair.store.remove_invite(&maths, "c").await.unwrap(),
        "it is another board's"
    );
    assert!(pair.store.remove_invite(&maths, "a").await.unwrap());
    assert_eq!(codes(&maths).await, ["b"]);
    pair.store.delete_board(&maths).await.unwrap();
    assert_eq!(pair.store.invite("b").await.unwrap(), None);
    assert_eq!(codes(&other).await, ["c"]);
    let gone = pair.store.put_invite(&invite("b", &maths), Timestamp(0)).await;
    assert!(matches!(gone, Err(StoreError::NoBoard)));
}

async fn holds_the_number_of_invites(pair: Pair) {
    let (maths, other) = (pair.create("maths").await, pair.create("other").await);
    let invite = |number: usize, board: &BoardId, expires| Invite {
        code: format!("{board}{number}"),
        board: board.clone(),
        role: Role::Viewer,
        expires: Timestamp(expires),
    };
    let beside = invite(0, &other, 1);
    pair.store.put_invite(&beside, Timestamp(0)).await.unwrap();
    let ended = invite(99, &maths, 5);
    pair.store.put_invite(&ended, Timestamp(0)).await.unwrap();
    let invites: Vec<_> = (0..2 * INVITES_MAX).map(|number| invite(number, &maths, 9)).collect();
    let puts = invites.iter().map(|invite| pair.store.put_invite(invite, Timestamp(5)));
    let outcomes = futures_util::future::join_all(puts).await;
    let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(kept, INVITES_MAX);
    let is_too_many = |outcome: &&Result<(), StoreError>| matches!(outcome, Err(StoreError::TooManyInvites));
    assert_eq!(outcomes.iter().filter(is_too_many).count(), INVITES_MAX);
    assert_eq!(pair.store.invites(&maths).await.unwrap().len(), INVITES_MAX);
    assert_eq!(pair.store.invite(&ended.code).await.unwrap(), None, "it has ended");
    assert_eq!(
        pair.store.invite(&beside.code).await.unwrap(),
        Some(beside),
        "another board's"
    );
}

async fn keeps_recent_boards(pair: Pair) {
    let count = VISITS_MAX as u64 + 1;
    for number in 0..count {
        let id = pair.create(&format!("board-{number:02}")).await;
        pair.store
            .note_visit(&user("ada"), &id, Timestamp(number))
            .await
            .unwrap();
    }
    pair.store
        .note_visit(&user("bob"), &board("board-00"), Timestamp(1))
        .await
        .unwrap();
    pair.store
        .note_visit(&user("ada"), &board("board-01"), Timestamp(count))
        .await
        .unwrap();
    pair.store.delete_board(&board("board-02")).await.unwrap();
    let seen = pair.store.visits(&user("ada")).await.unwrap();
    let names: Vec<_> = seen.iter().map(|(info, _)| info.id.to_string()).collect();
    assert_eq!(names[..2], ["board-01", "board-50"]);
    assert_eq!(
        names.len(),
        VISITS_MAX - 1,
        "the oldest gave way, the deleted one is gone"
    );
    assert!(!names.contains(&"board-00".to_owned()) && !names.contains(&"board-02".to_owned()));
    assert_eq!(pair.store.visits(&user("bob")).await.unwrap().len(), 1);
}

async fn lists_boards_in_pages(pair: Pair) {
    for name in ["c", "a", "b", "d"] {
        pair.create(name).await;
    }
    pair.store
        .set_role(&board("c"), &user("ben"), Some(Role::Editor))
        .await
        .unwrap();
    pair.store
        .set_role(&board("d"), &user("ben"), Some(Role::Viewer))
        .await
        .unwrap();
    let names = |boards: Vec<BoardInfo>| boards.iter().map(|info| info.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(pair.store.boards(None, None, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(
        names(pair.store.boards(None, Some(&board("b")), 9).await.unwrap()),
        ["c", "d"]
    );
    let ben = user("ben");
    assert_eq!(names(pair.store.boards(Some(&ben), None, 9).await.unwrap()), ["c", "d"]);
    assert_eq!(
        names(pair.store.boards(Some(&ben), Some(&board("c")), 9).await.unwrap()),
        ["d"]
    );
}

async fn keeps_members(pair: Pair) {
    let id = pair.create("maths").await;
    pair.create("maths-2").await;
    pair.store
        .set_role(&id, &user("ben"), Some(Role::Editor))
        .await
        .unwrap();
    let members = pair.store.members(&id).await.unwrap();
    let members: Vec<_> = members
        .iter()
        .map(|member| (member.user.as_str(), member.role))
        .collect();
    assert_eq!(members, [("ada", Role::Teacher), ("ben", Role::Editor)]);
    pair.store.set_role(&id, &user("ben"), None).await.unwrap();
    assert_eq!(pair.store.role(&id, &user("ben")).await.unwrap(), None);
    assert_eq!(pair.store.role(&id, &user("ada")).await.unwrap(), Some(Role::Teacher));
    for role in [None, Some(Role::Viewer)] {
        let last = pair.store.set_role(&id, &user("ada"), role).await;
        assert!(matches!(last, Err(StoreError::LastTeacher)), "{last:?}");
    }
    let (ada, ben) = (user("ada"), user("ben"));
    for _ in 0..20 {
        for teacher in [&ada, &ben] {
            pair.store.set_role(&id, teacher, Some(Role::Teacher)).await.unwrap();
        }
        let leave = |who| pair.store.set_role(&id, who, None);
        let (first, second) = tokio::join!(leave(&ada), leave(&ben));
        assert!(first.is_ok() != second.is_ok(), "one of two who leave at once stays");
        let stayed = if first.is_ok() { &ben } else { &ada };
        assert_eq!(pair.store.role(&id, stayed).await.unwrap(), Some(Role::Teacher));
    }
    let nowhere = pair
        .store
        .set_role(&board("none"), &user("ben"), Some(Role::Viewer))
        .await;
    assert!(matches!(nowhere, Err(StoreError::NoBoard)));
}

async fn adds_members_and_changes_none(pair: Pair) {
    let id = pair.create("maths").await;
    let add = |name: &str, role| {
        let name = user(name);
        let (store, id) = (&pair.store, &id);
        async move { store.add_member(id, &name, role).await }
    };
    assert_eq!(add("ada", Role::Viewer).await.unwrap(), Role::Teacher);
    assert_eq!(add("ben", Role::Viewer).await.unwrap(), Role::Viewer);
    assert_eq!(
        add("ben", Role::Editor).await.unwrap(),
        Role::Viewer,
        "they keep their role"
    );
    for round in 0..20 {
        let name = format!("pupil{round}");
        let (pupil, joins) = (user(&name), add(&name, Role::Viewer));
        let set = pair.store.set_role(&id, &pupil, Some(Role::Editor));
        let (joined, set) = tokio::join!(joins, set);
        assert!(joined.is_ok() && set.is_ok());
        assert_eq!(
            pair.store.role(&id, &pupil).await.unwrap(),
            Some(Role::Editor),
            "a join lowered it"
        );
    }
    let boards = pair.store.boards(Some(&user("ben")), None, 9).await.unwrap();
    assert_eq!(boards.len(), 1, "the way back is there");
    let nowhere = pair.store.add_member(&board("none"), &user("ben"), Role::Viewer).await;
    assert!(matches!(nowhere, Err(StoreError::NoBoard)));
}

async fn gives_history_sealed_or_not(pair: Pair) {
    let id = pair.create("maths").await;
    let other = pair.create("maths-2").await;
    pair.append(&other, 9_000..=9_010).await;
    let first = pair.append(&id, 1..=600).await;
    pair.append(&id, 601..=650).await;
    pair.keyframe(&id, first, "one").await;
    assert_eq!(pair.history(&id, None, 1_000).await, (1..=650).collect::<Vec<_>>());
    assert_eq!(pair.history(&id, None, 300).await, (1..=300).collect::<Vec<_>>());
    assert_eq!(
        pair.history(&id, Some(first), 1_000).await,
        (601..=650).collect::<Vec<_>>()
    );
    let mut tail = pair.log.tail(&id, None).await.unwrap();
    for number in 1..=650 {
        assert_eq!(tail.recv().await.unwrap().record.id.1, number);
    }
    assert_eq!(
        pair.history(&other, None, 1_000).await,
        (9_000..=9_010).collect::<Vec<_>>()
    );
}

async fn finds_the_keyframe_before(pair: Pair) {
    let id = pair.create("maths").await;
    let mut positions = Vec::new();
    for (number, bytes) in [(1, "one"), (2, "two"), (3, "three")] {
        let position = pair.append(&id, number..=number).await;
        pair.keyframe(&id, position, bytes).await;
        positions.push(position);
    }
    let newest = pair.store.keyframe(&id).await.unwrap().unwrap();
    assert_eq!((newest.position, newest.bytes.as_ref()), (positions[2], &b"three"[..]));
    let before = pair.store.keyframe_before(&id, positions[1]).await.unwrap().unwrap();
    assert_eq!(before.bytes.as_ref(), b"two");
    let start = Position(positions[0].epoch(), 0);
    assert_eq!(pair.store.keyframe_before(&id, start).await.unwrap(), None);
    assert_eq!(pair.store.keyframe(&board("none")).await.unwrap(), None);
}

async fn refuses_foreign_keyframes(pair: Pair) {
    let id = pair.create("maths").await;
    let Position(epoch, offset) = pair.append(&id, 1..=1).await;
    let position = Position(epoch + 1, offset);
    let bytes = Bytes::from("x");
    let outcome = pair.store.put_keyframe(&id, StoredKeyframe { position, bytes }).await;
    assert!(matches!(outcome, Err(StoreError::Failed(_))));
}

async fn deletes_a_board_whole(pair: Pair) {
    let id = pair.create("maths").await;
    let position = pair.append(&id, 1..=20).await;
    pair.keyframe(&id, position, "one").await;
    let last = pair.append(&id, 21..=30).await;
    pair.store.delete_board(&id).await.unwrap();
    assert_eq!(pair.store.board(&id).await.unwrap(), None);
    assert_eq!(pair.store.keyframe(&id).await.unwrap(), None);
    assert!(pair.history(&id, None, 100).await.is_empty());
    assert!(pair.store.boards(Some(&user("ada")), None, 9).await.unwrap().is_empty());
    assert!(matches!(pair.store.delete_board(&id).await, Err(StoreError::NoBoard)));
    pair.create("maths").await;
    assert!(pair.append(&id, 1..=1).await > last, "an offset was given twice");
}

fn asset(content: &'static str) -> (String, Asset) {
    let asset = Asset {
        mime_type: "image/png".into(),
        size: Some((3, 4)),
        bytes: Bytes::from(content),
    };
    (format!("{:x}", Sha256::digest(content)), asset)
}

async fn keeps_assets(pair: Pair) {
    let id = pair.create("maths").await;
    let (hash, cat) = asset("cat");
    for now in [1, 2] {
        pair.store
            .put_asset(&id, &hash, cat.clone(), Timestamp(now))
            .await
            .unwrap();
    }
    assert_eq!(pair.store.asset(&id, &hash).await.unwrap(), Some(cat.clone()));
    assert_eq!(pair.store.asset(&board("none"), &hash).await.unwrap(), None);
    let head = AssetHead {
        mime_type: cat.mime_type.clone(),
        size: cat.size,
        length: 3,
    };
    assert_eq!(pair.store.asset_head(&id, &hash).await.unwrap(), Some(head));
    assert_eq!(pair.store.asset_head(&board("none"), &hash).await.unwrap(), None);
    assert!(
        pair.store
            .put_asset(&id, "../../etc/passwd", cat.clone(), Timestamp(1))
            .await
            .is_err()
    );
    let nowhere = pair
        .store
        .put_asset(&board("none"), &hash, cat.clone(), Timestamp(3))
        .await;
    assert!(matches!(nowhere, Err(StoreError::NoBoard)), "{nowhere:?}");
    assert_eq!(
        pair.store.asset(&id, &hash).await.unwrap(),
        Some(cat),
        "another board's stays"
    );
}

async fn collects_unused_assets(pair: Pair) {
    let (id, other) = (pair.create("maths").await, pair.create("other").await);
    let (cat_hash, cat) = asset("cat");
    let (dog_hash, dog) = asset("dog");
    let (fox_hash, fox) = asset("fox");
    pair.store
        .put_asset(&id, &cat_hash, cat.clone(), Timestamp(1))
        .await
        .unwrap();
    pair.store.put_asset(&id, &dog_hash, dog, Timestamp(1)).await.unwrap();
    pair.store.put_asset(&id, &fox_hash, fox, Timestamp(9)).await.unwrap();
    pair.store
        .put_asset(&other, &cat_hash, cat, Timestamp(1))
        .await
        .unwrap();
    let used = [dog_hash.clone()];
    assert_eq!(pair.store.collect_assets(&id, &used, Timestamp(5)).await.unwrap(), 1);
    assert!(pair.store.asset(&id, &cat_hash).await.unwrap().is_none());
    assert!(pair.store.asset(&id, &dog_hash).await.unwrap().is_some());
    assert!(pair.store.asset(&id, &fox_hash).await.unwrap().is_some());
    assert!(
        pair.store.asset(&other, &cat_hash).await.unwrap().is_some(),
        "another board still used it"
    );
}

async fn keeps_revocations_until_they_end(pair: Pair) {
    let revocation = |what, until| Revocation {
        what,
        at: Timestamp(10),
        until: Timestamp(until),
    };
    assert_eq!(pair.store.revocations(Timestamp(0)).await.unwrap(), []);
    let token = revocation(Revoked::Token("ada".into()), 100);
    let person = revocation(Revoked::User(user("ada")), 200);
    for entry in [&token, &person] {
        pair.store.revoke(entry).await.unwrap();
    }
    let later = Revocation {
        at: Timestamp(20),
        ..person.clone()
    };
    pair.store.revoke(&later).await.unwrap();
    let mut known = pair.store.revocations(Timestamp(99)).await.unwrap();
    known.sort_by_key(|entry| entry.until);
    assert_eq!(known, [token, later.clone()]);
    assert_eq!(pair.store.revocations(Timestamp(100)).await.unwrap(), [later]);
    assert_eq!(pair.store.revocations(Timestamp(200)).await.unwrap(), []);
}

async fn takes_no_part_of_a_revocation_back(pair: Pair) {
    let revocation = |at, until| Revocation {
        what: Revoked::User(user("ada")),
        at: Timestamp(at),
        until: Timestamp(until),
    };
    // The second one is of a node whose clock is behind.
    for entry in [revocation(20, 200), revocation(10, 190)] {
        pair.store.revoke(&entry).await.unwrap();
    }
    assert_eq!(
        pair.store.revocations(Timestamp(0)).await.unwrap(),
        [revocation(20, 200)]
    );
    pair.store.revoke(&revocation(30, 150)).await.unwrap();
    assert_eq!(
        pair.store.revocations(Timestamp(0)).await.unwrap(),
        [revocation(30, 200)]
    );
}

/// A keyframe that spares less than it weighs goes with the next one; the newest always stays.
async fn thins_keyframes(pair: Pair) {
    let id = pair.create("maths").await;
    let large: &'static str = "x".repeat(20_000).leak();
    let first = pair.append(&id, 1..=3).await;
    pair.keyframe(&id, first, "small").await;
    let second = pair.append(&id, 4..=6).await;
    pair.keyframe(&id, second, large).await;
    assert_eq!(pair.store.keyframe(&id).await.unwrap().unwrap().position, second);
    let third = pair.append(&id, 7..=9).await;
    pair.keyframe(&id, third, large).await;
    let before = async |at| {
        let keyframe = pair.store.keyframe_before(&id, at).await.unwrap();
        keyframe.map(|keyframe| keyframe.position)
    };
    assert_eq!(before(third).await, Some(third));
    assert_eq!(
        before(second).await,
        Some(first),
        "it was large, and six small records lie around it"
    );
    assert_eq!(before(first).await, Some(first));
    assert_eq!(pair.history(&id, None, 100).await, (1..=9).collect::<Vec<_>>());
    let fourth = pair.append(&id, 10..=12).await;
    pair.keyframe(&id, fourth, "small").await;
    assert_eq!(before(third).await, Some(first));
    let fifth = pair.append(&id, 13..=15).await;
    pair.keyframe(&id, fifth, "small").await;
    assert_eq!(before(fourth).await, Some(fourth));
}

#[tokio::test]
async fn a_data_directory_does_not_fill_with_keyframes() {
    let dir = tempfile::tempdir().unwrap();
    thins_keyframes(on_disk(dir.path())).await;
    assert!(verify(dir.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_database_does_not_fill_with_keyframes() {
    if let Some(schema) = Schema::make().await {
        thins_keyframes(in_postgres(&schema).await).await;
    }
}
