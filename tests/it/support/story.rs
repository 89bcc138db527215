//! People on one node or two, as op clients or as unmodified Yjs clients: the verbs in which undo is told.

use panseo::board::guard::walk_state_vector;
use panseo::board::read::any_of;
use panseo::protocol::Undone;
use panseo::protocol::element::{Entry, EntryKind, Property, Value};
use panseo::protocol::ids::{EntryId, SessionId};
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;
use panseo::room::Input;
use panseo::room::session::Door;
use panseo::room::yjs::YjsMessage;
use uuid::Uuid;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, Map, MapPrelim, MapRef, Out, ReadTxn, Transact, TransactionMut, Update};

use super::cluster::Cluster;

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;
const NAMES: [&str; 3] = ["anna", "ben", "cho"];
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A document of a Yjs client.
pub(crate) struct Raw {
    pub(crate) doc: Doc,
    elements: MapRef,
}

impl Raw {
    pub(crate) fn new(client: u64) -> Self {
        let doc = Doc::with_client_id(client);
        let elements = doc.get_or_insert_map("board:elements");
        for root in [
            "board:pages",
            "board:assets",
            "board:comments",
            "board:likes",
            "board:meta",
        ] {
            doc.get_or_insert_map(root);
        }
        Self { doc, elements }
    }

    pub(crate) fn vector(&self) -> Vec<(u64, u32)> {
        walk_state_vector(&self.doc.transact().state_vector().encode_v1()).unwrap()
    }

    pub(crate) fn apply(&self, update: &[u8]) {
        let mut txn = self.doc.transact_mut();
        txn.apply_update(Update::decode_v1(update).unwrap()).unwrap();
        assert!(!txn.has_missing_updates(), "an update builds on what its reader lacks");
    }

    fn edit(&self, change: impl FnOnce(&mut TransactionMut<'_>, &MapRef)) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        change(&mut txn, &self.elements);
        txn.commit();
        txn.encode_update_v1()
    }

    pub(crate) fn create(&self, name: &str) -> Vec<u8> {
        let pairs = start().into_iter().chain([(Property::Pos, "a0".into())]);
        let map: MapPrelim = pairs
            .map(|(property, value)| (property.name(), any_of(&value)))
            .collect();
        self.edit(|txn, elements| _ = elements.insert(txn, name, map))
    }

    pub(crate) fn set(&self, name: &str, set: &[(Property, Option<Value>)]) -> Vec<u8> {
        self.edit(|txn, elements| {
            let Some(Out::YMap(map)) = elements.get(txn, name) else {
                return;
            };
            for (property, value) in set {
                match value {
                    Some(value) => _ = map.insert(txn, property.name(), any_of(value)),
                    None => _ = map.remove(txn, property.name()),
                }
            }
        })
    }

    pub(crate) fn remove(&self, name: &str) -> Vec<u8> {
        self.edit(|txn, elements| _ = elements.remove(txn, name))
    }
}

fn start() -> [(Property, Value); 4] {
    [
        (Property::Type, "rectangle".into()),
        (Property::X, Value::Int(0)),
        (Property::Y, Value::Int(0)),
        (Property::StrokeColor, "red".into()),
    ]
}

pub(crate) fn id(name: &str) -> EntryId {
    EntryId::new(name).unwrap()
}

/// The op that makes an element.
pub(crate) fn creation(name: &str) -> Op {
    Op::ElementCreate {
        element: Entry {
            id: id(name),
            properties: start().into_iter().collect(),
        },
        after: None,
    }
}

pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) node: usize,
    pub(crate) is_raw: bool,
    pub(crate) raw: Raw,
    /// On the Yjs door, one for each node.
    sessions: Vec<SessionId>,
}

pub(crate) struct Story {
    pub(crate) cluster: Cluster,
    pub(crate) people: Vec<Person>,
    /// While set, nobody reads the log.
    is_apart: bool,
    pub(crate) step_ms: u64,
}

/// Tells a story with everybody's doors and on one node and two.
pub(crate) fn each(tell: impl Fn(&mut Story)) {
    for doors in [[false, false], [true, true], [true, false], [false, true]] {
        for nodes in [1, 2] {
            // The ids of the nodes decide who wins: each story is told in both orders.
            for seed in 1..=4 {
                let mut story = Story::new(seed, nodes, doors);
                tell(&mut story);
                story.rest();
            }
        }
    }
}

impl Story {
    pub(crate) fn new(seed: u64, nodes: usize, [a, b]: [bool; 2]) -> Self {
        let mut cluster = Cluster::new(seed, nodes, Limits::default());
        let mut people = Vec::new();
        for (index, (name, is_raw)) in NAMES.into_iter().zip([a, b, a]).enumerate() {
            let sessions = (0..nodes)
                .map(|node| cluster.join(node, name, Door::Yjs, None))
                .collect();
            let client = (10 + index as u64) ^ ((seed & 1) * 7);
            people.push(Person {
                name,
                node: index % nodes,
                is_raw,
                raw: Raw::new(client),
                sessions,
            });
        }
        Self {
            cluster,
            people,
            is_apart: false,
            step_ms: 1_000,
        }
    }

    /// What happens in `tell` happens before anybody reads the log.
    pub(crate) fn apart(&mut self, tell: impl FnOnce(&mut Self)) {
        self.is_apart = true;
        tell(self);
        self.is_apart = false;
        self.rest();
    }

    /// The node dies and comes back; everybody joins it again.
    pub(crate) fn reopen(&mut self, node: usize) {
        self.cluster.kill(node);
        for person in &mut self.people {
            person.sessions[node] = self.cluster.join(node, person.name, Door::Yjs, None);
        }
    }

    /// All is written, read and synced; then all are equal.
    pub(crate) fn rest(&mut self) {
        self.cluster.rest();
        for index in 0..self.people.len() {
            self.sync(index);
        }
        self.cluster.rest();
        for index in 0..self.people.len() {
            self.sync(index);
        }
        self.cluster.assert_equal("at rest");
        for person in &self.people {
            let board = self.cluster.board(person.node);
            let known = super::cluster::vector(board);
            assert_eq!(
                person
                    .raw
                    .vector()
                    .into_iter()
                    .collect::<std::collections::BTreeSet<_>>(),
                known,
                "{}: {:?}",
                person.name,
                self.cluster.closed
            );
            let all = Raw::new(1);
            all.apply(&board.diff([]));
            assert_eq!(content(&person.raw.doc), content(&all.doc), "{}", person.name);
        }
    }

    /// The person's document and their node level each other, as at a handshake.
    pub(crate) fn sync(&mut self, index: usize) {
        let node = self.people[index].node;
        let session = self.people[index].sessions[node];
        if self
            .cluster
            .closed
            .iter()
            .any(|(closed, code)| *closed == session && code.may_reconnect())
        {
            self.cluster.leave(node, session);
            self.people[index].sessions[node] = self.cluster.join(node, self.people[index].name, Door::Yjs, None);
        }
        let person = &self.people[index];
        let known = self.cluster.board(node).state_vector();
        let vector = yrs::StateVector::decode_v1(&known).unwrap();
        let lacks = person.raw.doc.transact().encode_diff_v1(&vector);
        let session = person.sessions[node];
        self.cluster
            .input(node, Input::Yjs(session, YjsMessage::Step2(lacks.into())));
        let diff = self.cluster.board(node).diff(self.people[index].raw.vector());
        self.people[index].raw.apply(&diff);
    }

    pub(crate) fn raw_update(&mut self, index: usize, update: Vec<u8>) {
        let person = &self.people[index];
        self.cluster.input(
            person.node,
            Input::Yjs(person.sessions[person.node], YjsMessage::Update(update.into())),
        );
        self.pass();
    }

    pub(crate) fn op(&mut self, index: usize, gesture: Option<Uuid>, op: Op) {
        let (node, name) = (self.people[index].node, self.people[index].name);
        self.cluster.ask(node, name, gesture, op);
        self.pass();
    }

    fn pass(&mut self) {
        self.cluster.now += self.step_ms;
        for node in 0..self.cluster.nodes.len() {
            self.cluster.tick(node, 0);
        }
        if !self.is_apart {
            self.rest();
        }
    }

    pub(crate) fn create(&mut self, who: usize, name: &str) {
        if self.people[who].is_raw {
            let update = self.people[who].raw.create(name);
            self.raw_update(who, update);
        } else {
            self.op(who, None, creation(name));
        }
    }

    pub(crate) fn set_all(&mut self, who: usize, gesture: Option<Uuid>, name: &str, set: &[(Property, Option<Value>)]) {
        if self.people[who].is_raw {
            let update = self.people[who].raw.set(name, set);
            self.raw_update(who, update);
        } else {
            let set = set.iter().cloned().collect();
            self.op(who, gesture, Op::ElementUpdate { target: id(name), set });
        }
    }

    pub(crate) fn set(&mut self, who: usize, name: &str, property: Property, value: impl Into<Value>) {
        self.set_all(who, None, name, &[(property, Some(value.into()))]);
    }

    pub(crate) fn move_to(&mut self, who: usize, name: &str, x: i64) {
        self.set(who, name, Property::X, Value::Int(x));
    }

    pub(crate) fn delete(&mut self, who: usize, name: &str) {
        if self.people[who].is_raw {
            let time = panseo::board::undo::time_value(self.cluster.time());
            self.set(who, name, Property::Deleted, time);
        } else {
            self.op(
                who,
                None,
                Op::ElementDelete {
                    targets: vec![id(name)],
                },
            );
        }
    }

    pub(crate) fn restore(&mut self, who: usize, name: &str) {
        self.set_all(who, None, name, &[(Property::Deleted, None)]);
    }

    pub(crate) fn undo(&mut self, who: usize) -> Undone {
        self.undo_at(who, self.people[who].node)
    }

    pub(crate) fn undo_at(&mut self, who: usize, node: usize) -> Undone {
        self.take_back(who, node, Op::Undo { step: None, user: None })
    }

    pub(crate) fn redo(&mut self, who: usize) -> Undone {
        self.take_back(who, self.people[who].node, Op::Redo { step: None, user: None })
    }

    pub(crate) fn take_back(&mut self, who: usize, node: usize, op: Op) -> Undone {
        let answer = self.cluster.request(node, self.people[who].name, op);
        self.pass();
        answer.ok().and_then(|(_, undone)| undone).unwrap_or_default()
    }

    /// Days later, the room of that node is about to close: a purge, if there is anything to purge.
    pub(crate) fn purge(&mut self, node: usize) {
        while self.cluster.write(node, None) | self.cluster.hear(node) | self.cluster.read(node) {}
        self.cluster.now += 2 * DAY_MS;
        self.cluster.input(node, Input::Closing);
    }

    pub(crate) fn get(&self, name: &str, property: Property) -> Option<Value> {
        self.cluster
            .board(0)
            .read()
            .get(&(EntryKind::Element, name.into()))?
            .get(property)
            .cloned()
    }

    pub(crate) fn x(&self, name: &str) -> Option<Value> {
        self.get(name, Property::X)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.x(name).is_some()
    }

    pub(crate) fn lives(&self, name: &str) -> bool {
        self.exists(name) && self.get(name, Property::Deleted).is_none()
    }
}

/// All that a document says under the roots of a board.
pub(crate) fn content(doc: &Doc) -> Vec<(String, yrs::Any)> {
    use yrs::types::ToJson;
    let roots = [
        "board:elements",
        "board:pages",
        "board:assets",
        "board:comments",
        "board:likes",
        "board:meta",
    ];
    let maps = roots.map(|root| (root, doc.get_or_insert_map(root)));
    let txn = doc.transact();
    maps.into_iter()
        .map(|(root, map)| (root.to_owned(), map.to_json(&txn)))
        .collect()
}
