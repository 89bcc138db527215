//! An hour of class, driven through a real room: what it appends and which keyframes it asks for.
//!
//! The log answers at once and nobody reads the frames, so the figures are the room's alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;
use yrs::{Doc, Map as _, MapRef};

use super::content;
use crate::board::Board;
use crate::protocol::codec::Format;
use crate::protocol::ids::{EditScope, GestureId, Position, Role, SessionId, Timestamp, UserId};
use crate::protocol::limits::Limits;
use crate::protocol::order;
use crate::protocol::{ClientFrame, Logged, Record};
use crate::room::session::{Door, Joining};
use crate::room::{Effect, Input, Opened, Room};
use crate::store::StoredKeyframe;

/// People who draw.
const PEOPLE: usize = 30;
/// Strokes of the hour.
const STROKES: usize = 6_000;
/// A drag comes after this many strokes: 1,200 in the hour.
const STROKES_A_DRAG: usize = 5;
/// Updates of a drag: one every 250 ms for two seconds.
const UPDATES_A_DRAG: usize = 8;
/// Time between two edits: an hour, shared by all of them.
const EDIT_MS: u64 = 230;
/// Time of day at which the lesson begins.
const BEGIN: Timestamp = Timestamp(1_790_000_000_000);
/// Client id of the server in this opening, and those of the people from [`FIRST_CLIENT`] on.
const REPLICA: u64 = (1 << 32) + 1;
const FIRST_CLIENT: u64 = 1_000_000_000;

/// What the hour left behind.
#[derive(Default)]
pub struct Hour {
    /// Every record, in the order of the log.
    pub log: Vec<Logged>,
    /// Every keyframe that came due.
    pub keyframes: Vec<StoredKeyframe>,
}

struct Person {
    doc: Doc,
    elements: MapRef,
    strokes: Vec<MapRef>,
    /// Place of their newest stroke in the z-order.
    top: Option<String>,
    session: SessionId,
    seq: u64,
}

struct Class {
    room: Room,
    now: Timestamp,
    people: Vec<Person>,
    hour: Hour,
}

/// 6,000 strokes of 40 points and 1,200 drags by 30 people: 15,600 records.
pub fn hour() -> Hour {
    let mut class = Class::begin();
    for index in 0..STROKES {
        class.draw(index % PEOPLE, index);
        if (index + 1) % STROKES_A_DRAG == 0 {
            // Whoever has drawn already; people take turns, so that is everybody soon.
            class.drag((index * 7) % PEOPLE.min(index + 1), index);
        }
    }
    class.hour
}

/// An empty board with a room around it.
pub fn empty_room() -> Room {
    let opened = Opened {
        board: Board::open(REPLICA, None, &[], &BTreeSet::new()).expect("an empty board opens"),
        position: Position(1, 0),
        tail_bytes: 0,
        scope: EditScope::All,
        title: Arc::default(),
    };
    Room::new(opened, Limits::default())
}

/// A session of the own door with a document of its own.
pub fn joining(number: u64) -> Joining {
    Joining {
        session: SessionId(number),
        user: UserId::new(format!("student-{number}")).expect("a valid name"),
        name: None,
        role: Role::Editor,
        is_level: true,
        door: Door::Own {
            format: Format::MsgPack,
            document: true,
            client: Uuid::now_v7(),
        },
        vector: None,
        route: None,
    }
}

impl Class {
    fn begin() -> Self {
        let mut class = Self {
            room: empty_room(),
            now: BEGIN,
            people: Vec::new(),
            hour: Hour::default(),
        };
        for number in 0..PEOPLE as u64 {
            let joining = joining(number + 1);
            let doc = Doc::with_client_id(FIRST_CLIENT + number * 7_919);
            class.people.push(Person {
                elements: doc.get_or_insert_map("board:elements"),
                doc,
                strokes: Vec::new(),
                top: None,
                session: joining.session,
                seq: 0,
            });
            class.input(Input::Join(joining));
        }
        class
    }

    fn draw(&mut self, person: usize, index: usize) {
        let artist = &mut self.people[person];
        let pos = order::between(artist.top.as_deref(), None, index as u64);
        let update = content::commit(&artist.doc, |txn| {
            let stroke = content::stroke_at(&pos, index);
            artist
                .strokes
                .push(artist.elements.insert(txn, Uuid::now_v7().to_string(), stroke));
        });
        artist.top = Some(pos);
        self.edit(person, Uuid::now_v7(), update);
    }

    fn drag(&mut self, person: usize, index: usize) {
        let gesture = Uuid::now_v7();
        for step in 0..UPDATES_A_DRAG {
            let artist = &self.people[person];
            let stroke = &artist.strokes[index % artist.strokes.len()];
            let update = content::commit(&artist.doc, |txn| {
                stroke.insert(txn, "x", content::number(index % 1_900 + step * 9));
                stroke.insert(txn, "y", content::number(index % 1_070 + step * 4));
            });
            self.edit(person, gesture, update);
        }
    }

    fn edit(&mut self, person: usize, gesture: GestureId, update: Vec<u8>) {
        self.now = Timestamp(self.now.0 + EDIT_MS);
        let artist = &mut self.people[person];
        artist.seq += 1;
        let frame = ClientFrame::Update {
            seq: artist.seq,
            gesture: Some(gesture),
            update: update.into(),
        };
        let session = artist.session;
        self.input(Input::Frame(session, frame));
        self.input(Input::Tick);
    }

    fn input(&mut self, input: Input) {
        for effect in self.room.handle(self.now, input) {
            if let Effect::Append(record) = effect {
                self.append(record);
            } else if let Effect::StoreKeyframe(keyframe) = effect {
                self.hour.keyframes.push(keyframe);
            }
        }
    }

    /// The log: durable at once, and read back.
    fn append(&mut self, record: Arc<Record>) {
        let position = Position(1, self.hour.log.len() as u64 + 1);
        let number = record.id.1;
        let logged = Logged { position, record };
        self.hour.log.push(logged.clone());
        self.input(Input::Appended(number, position));
        self.input(Input::Logged(logged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RecordKind;

    #[test]
    fn an_hour_has_the_records_it_is_said_to_have() {
        let hour = hour();
        let edits = hour
            .log
            .iter()
            .filter(|logged| logged.record.kind == RecordKind::Update);
        // The room itself writes down the schema and the title.
        assert_eq!(edits.count(), 15_600);
        assert!(hour.keyframes.len() > 2);
        let board = Board::open(7, None, &hour.log, &BTreeSet::new()).unwrap();
        let last = hour.keyframes.last().unwrap();
        let tail = hour.log.iter().filter(|logged| logged.position > last.position);
        let tail: Vec<_> = tail.cloned().collect();
        let jumped = Board::open(8, Some(&last.bytes), &tail, &BTreeSet::new()).unwrap();
        assert_eq!(board.items(), jumped.items());
    }
}
