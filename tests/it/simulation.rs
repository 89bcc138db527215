//! Three nodes and eight clients over one log, with all that can go wrong, from one seed.
//!
//! A run is a list of steps: a client edits, a message or a record gets one station further, a node dies, a socket
//! breaks. Time and order come from the dice alone. Then everything is quiet, and what was promised must hold.

use std::collections::{BTreeMap, BTreeSet};

use panseo::log::memory::AppendFault;
use panseo::protocol::ServerFrame;
use panseo::protocol::codec::{Format, decode_server};
use panseo::protocol::element::{Change, Properties, Property, Value};
use panseo::protocol::ids::RecordId;
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;
use panseo::room::ring::Pulled;
use panseo::room::session::Door;
use panseo::room::{Counter, Input};

use super::support::client::{Client, Kind};
use super::support::cluster::{Cluster, vector};
use super::support::hostile::Dice;
use super::support::story::{Raw, content, creation, id};

const NODES: usize = 3;
const KINDS: [Kind; 8] = [
    Kind::Op,
    Kind::Op,
    Kind::Op,
    Kind::Update,
    Kind::Update,
    Kind::Yjs,
    Kind::Yjs,
    Kind::Yjs,
];
const SEEDS: u64 = 200;
const STEPS: usize = 1_500;
/// Handshakes until everybody has handed over what others lost.
const QUIET_ROUNDS_MAX: usize = 40;

struct World {
    cluster: Cluster,
    clients: Vec<Client>,
    dice: Dice,
    names: Vec<String>,
}

#[test]
fn what_was_promised_holds_whatever_goes_wrong() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("PANSEO_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=SEEDS * number("PANSEO_SOAK").unwrap_or(1),
    };
    let mut joined = 0;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| run(seed));
        assert!(
            run.is_ok(),
            "repeat it: PANSEO_SEED={seed} cargo test --test it simulation"
        );
        joined += run.unwrap();
    }
    assert!(joined > 0, "no two edits shared a record");
}

/// Gives how many edits went into the record of another one.
fn run(seed: u64) -> usize {
    let limits = Limits {
        ring_frames_max: 12,
        unsent_bytes_max: 8_000,
        ..Limits::default()
    };
    let clients = KINDS
        .iter()
        .zip(0..)
        .map(|(kind, number)| Client::new(number, *kind))
        .collect();
    let mut world = World {
        // With one node nothing is ever in the log twice.
        cluster: Cluster::new(seed, if seed.is_multiple_of(3) { 1 } else { NODES }, limits),
        clients,
        dice: Dice::new(seed),
        names: Vec::new(),
    };
    for _ in 0..STEPS {
        world.step();
    }
    world.quieten();
    world.cluster.assert_equal("when all is quiet");
    world.assert_clients_equal();
    world.assert_acknowledged_once();
    world.assert_nobody_refused();
    world.assert_moves_add_up();
    world.assert_all_see_the_same_people();
    world.assert_no_ghosts();
    world.cluster.counted.get(&Counter::Joined).copied().unwrap_or_default()
}

impl World {
    fn step(&mut self) {
        let (node, client) = (self.dice.roll(self.cluster.nodes.len()), self.dice.roll(KINDS.len()));
        match self.dice.roll(1_000) {
            0..200 => _ = self.clients[client].deliver(&mut self.cluster),
            200..250 => {
                let most = 2 + self.dice.roll(6);
                self.clients[client].deliver_many(&mut self.cluster, most);
            }
            250..400 => {
                let max_bytes = [200, 2_000, 100_000][self.dice.roll(3)];
                self.clients[client].pull(&mut self.cluster, max_bytes);
            }
            400..550 => {
                let faults = [(1, AppendFault::BeforeWriting), (2, AppendFault::AfterWriting)];
                let fault = self.dice.roll(40);
                let fault = faults
                    .iter()
                    .find(|(number, _)| *number == fault)
                    .map(|(_, fault)| *fault);
                self.cluster.write(node, fault);
            }
            550..650 => _ = self.cluster.hear(node),
            650..800 => {
                self.cluster.read(node);
                let is_lost = self.dice.roll(20) == 0;
                self.cluster.hear_others(node, is_lost);
            }
            800..840 => {
                let ms = [5, 40, 600][self.dice.roll(3)];
                self.cluster.tick(node, u64::try_from(ms).expect("time goes on"));
            }
            840..960 => self.edit(client),
            960..990 => self.connect_or_cut(client, node),
            990..993 => self.cluster.kill(node),
            993 => self.poison(node),
            994..997 => self.cluster.input(node, Input::Closing),
            _ => self.duplicate(),
        }
    }

    fn connect_or_cut(&mut self, client: usize, node: usize) {
        if self.clients[client].link.is_none() {
            self.clients[client].connect(&mut self.cluster, node);
        } else if self.dice.roll(3) == 0 {
            self.clients[client].cut(&mut self.cluster);
        }
    }

    /// The room is dropped, but what it handed to the log still gets there.
    fn poison(&mut self, node: usize) {
        while self.dice.roll(3) > 0 && self.cluster.write(node, None) {}
        self.cluster.kill(node);
    }

    fn duplicate(&mut self) {
        let records = self.cluster.records();
        if !records.is_empty() {
            let copy = &records[records.len() - 1 - self.dice.roll(records.len().min(5))];
            self.cluster
                .log
                .append_now(&self.cluster.board, std::sync::Arc::clone(&copy.record))
                .unwrap();
        }
    }

    fn edit(&mut self, number: usize) {
        let choice = self.dice.roll(12);
        let name = if choice < 2 || self.names.is_empty() {
            self.names.push(format!("{number}-{}", self.names.len()));
            self.names.last().unwrap().clone()
        } else {
            self.names[self.dice.roll(self.names.len().min(12))].clone()
        };
        let is_new = self.names.last() == Some(&name) && choice < 2;
        let x = Value::Int(i64::try_from(self.dice.roll(100)).unwrap());
        let client = &mut self.clients[number];
        match (client.kind, choice) {
            (_, 11) => client.point(self.dice.roll(100)),
            (Kind::Op | Kind::Update, 9) => client.op(Op::Undo { step: None, user: None }),
            (Kind::Op | Kind::Update, 10) => client.op(Op::Redo { step: None, user: None }),
            (Kind::Op, _) => client.op(if is_new {
                creation(&name)
            } else {
                random_op(choice, &name, x)
            }),
            (Kind::Update | Kind::Yjs, _) => {
                let update = match choice {
                    _ if is_new => client.raw.create(&name),
                    2..6 => client.raw.set(&name, &[(Property::X, Some(x))]),
                    6 => client.raw.set(&name, &[(Property::StrokeColor, Some("blue".into()))]),
                    7 => client.raw.set(&name, &[(Property::Deleted, Some(x))]),
                    8 => client.raw.set(&name, &[(Property::Deleted, None)]),
                    _ => client.raw.set(&name, &[(Property::Y, Some(x))]),
                };
                client.update(update);
            }
        }
    }
}

fn random_op(choice: usize, name: &str, x: Value) -> Op {
    let targets = vec![id(name)];
    match choice {
        0..5 => Op::ElementMove {
            targets,
            dx: 3.0,
            dy: 1.0,
        },
        5 => Op::ElementDelete { targets },
        6 => Op::ElementOrder {
            targets,
            after: None,
            before: None,
        },
        _ => Op::ElementUpdate {
            target: id(name),
            set: [(Property::X, Some(x))].into_iter().collect(),
        },
    }
}

impl World {
    /// No more faults: everybody comes back and again, until nothing is left to say.
    fn quieten(&mut self) {
        for round in 0..QUIET_ROUNDS_MAX {
            for number in 0..self.clients.len() {
                if self.clients[number].link.is_none() {
                    let node = self.dice.roll(self.cluster.nodes.len());
                    self.clients[number].connect(&mut self.cluster, node);
                }
                self.flow();
            }
            let mut clients = self.clients.iter();
            if clients.all(|client| client.link.is_some() && client.outbox.is_empty()) {
                break;
            }
            assert!(round + 1 < QUIET_ROUNDS_MAX, "somebody still waits");
            self.cluster.now += 60_000;
        }
        for node in 0..self.cluster.nodes.len() {
            self.cluster.open(node);
        }
        self.flow();
    }

    fn flow(&mut self) {
        loop {
            let mut is_moving = false;
            for client in &mut self.clients {
                while client.deliver(&mut self.cluster) | client.pull(&mut self.cluster, 100_000) {
                    is_moving = true;
                }
            }
            self.cluster.rest();
            if !is_moving {
                return;
            }
        }
    }

    fn assert_clients_equal(&self) {
        let board = self.cluster.board(0);
        let all = Raw::new(1);
        all.apply(&board.diff([]));
        for client in self.clients.iter().filter(|client| client.kind != Kind::Op) {
            let (name, closed) = (&client.name, &self.cluster.closed);
            let known: BTreeSet<_> = client.raw.vector().into_iter().collect();
            assert_eq!(known, vector(board), "vector of {name} ({:?}), {closed:?}", client.kind);
            assert_eq!(
                content(&client.raw.doc),
                content(&all.doc),
                "document of {name} ({:?})",
                client.kind
            );
        }
    }

    fn assert_acknowledged_once(&self) {
        let mut found: BTreeMap<_, BTreeSet<RecordId>> = BTreeMap::new();
        let records = self.cluster.records();
        let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
        let mut created = BTreeSet::new();
        for logged in &records {
            let record = &logged.record;
            let last = numbers.entry(record.id.0).or_default();
            assert!(record.id.1 <= *last + 1, "the log has a hole before {:?}", record.id);
            *last = record.id.1.max(*last);
            if let (Some(client), Some(seq)) = (record.client, record.seq) {
                found.entry((client, seq)).or_default().insert(record.id);
            }
            let is_created = |change: &&Change| change.before.is_none();
            created.extend(record.changes.iter().filter(is_created).map(|change| &*change.id));
        }
        for client in self.clients.iter().filter(|client| client.kind != Kind::Yjs) {
            assert!(
                client.outbox.is_empty(),
                "{} still waits for {:?}",
                client.name,
                client.outbox
            );
            for (seq, op) in &client.acked {
                let count = found.get(&(client.id, *seq)).map_or(0, BTreeSet::len);
                let most = 1 + client.moved.get(seq).copied().unwrap_or_default();
                assert!(count <= most, "{} of {} is in the log {count} times", seq, client.name);
                let is_there = match op {
                    Some(Op::ElementMove { .. }) => {
                        found.range((client.id, *seq)..=(client.id, u64::MAX)).next().is_some()
                    }
                    // Somebody may have handed over what a crash took back.
                    Some(Op::ElementCreate { element, .. }) => created.contains(element.id.as_str()),
                    // Others may change nothing.
                    _ => true,
                };
                assert!(
                    is_there,
                    "{} of {} was acknowledged and is not in the log",
                    seq, client.name
                );
            }
        }
    }

    /// Moves that share a record are all in it, each once.
    fn assert_moves_add_up(&self) {
        let records = self.cluster.records();
        for client in self.clients.iter().filter(|client| client.kind == Kind::Op) {
            let own = records.iter().filter(|logged| logged.record.client == Some(client.id));
            let own: BTreeMap<_, _> = own.map(|logged| (logged.record.seq, &logged.record)).collect();
            let mut last = 0;
            for (seq, record) in own {
                let seqs = std::mem::replace(&mut last, seq.unwrap()) + 1..=seq.unwrap();
                // What went to two nodes may be in other records as well.
                if seqs.clone().any(|seq| client.moved.contains_key(&seq)) {
                    continue;
                }
                let ops: Vec<_> = seqs.filter_map(|seq| client.acked.get(&seq)?.as_ref()).collect();
                for change in &record.changes {
                    let moves = ops.iter().map(|op| match op {
                        Op::ElementMove { targets, .. } => Some(i64::from(targets[0].as_str() == &*change.id)),
                        _ => None,
                    });
                    let Some(count) = moves.sum::<Option<i64>>() else {
                        continue;
                    };
                    let x = |of: &Option<Properties>| match of.as_ref()?.get(Property::X) {
                        Some(Value::Int(x)) => Some(*x),
                        _ => None,
                    };
                    let distance = x(&change.after).unwrap() - x(&change.before).unwrap();
                    assert_eq!(distance, 3 * count, "{:?} of {}", record.seq, client.name);
                }
            }
        }
    }

    /// Who did nothing wrong is at most told to come back.
    fn assert_nobody_refused(&self) {
        let mut closed = self.cluster.closed.iter();
        assert_eq!(closed.find(|(_, code)| !code.may_reconnect()), None);
    }

    /// What was lost is told again, and rooms that died are forgotten.
    fn refresh(&mut self) {
        for _ in 0..40 {
            for node in 0..self.cluster.nodes.len() {
                self.cluster.tick(node, 1_000);
            }
            self.cluster.rest();
        }
    }

    /// Whoever comes is shown the same people on every node.
    fn assert_all_see_the_same_people(&mut self) {
        let own = |client| Door::Own {
            format: Format::MsgPack,
            document: true,
            client: uuid::Uuid::from_u128(client),
        };
        // A node where nobody is does not listen.
        let nodes = 0..self.cluster.nodes.len();
        let guests: Vec<_> = nodes
            .map(|node| self.cluster.join(node, "probe", own(97), None))
            .collect();
        self.refresh();
        let mut seen = Vec::new();
        for (node, guest) in guests.into_iter().enumerate() {
            let probe = self.cluster.join(node, "probe", own(98), None);
            let mut frames = Vec::new();
            self.cluster.nodes[node].ring.pull(probe, &mut frames, usize::MAX);
            let mut people = BTreeSet::new();
            for bytes in frames {
                if let ServerFrame::Ephemeral { states } = decode_server(Format::MsgPack, &bytes).unwrap() {
                    let shown = states.into_iter().filter(|state| state.user.as_str() != "probe");
                    people.extend(shown.map(|state| (state.session, state.kind, format!("{:?}", state.data))));
                }
            }
            self.cluster.leave(node, probe);
            self.cluster.leave(node, guest);
            seen.push(people);
        }
        self.refresh();
        let all = self.clients.iter().filter(|client| client.kind != Kind::Yjs).count();
        for (node, people) in seen.iter().enumerate() {
            let joined = people.iter().filter(|(_, kind, _)| kind == "join").count();
            assert_eq!(joined, all, "people shown on node {node}: {people:?}");
            assert_eq!(people, &seen[0], "node {node} shows others than node 0");
        }
    }

    /// All leave; who comes then sees nobody.
    fn assert_no_ghosts(&mut self) {
        for client in &mut self.clients {
            client.cut(&mut self.cluster);
        }
        for node in 0..self.cluster.nodes.len() {
            self.cluster.tick(node, 100);
        }
        self.cluster.rest();
        for node in 0..self.cluster.nodes.len() {
            let own = Door::Own {
                format: Format::MsgPack,
                document: true,
                client: uuid::Uuid::from_u128(99),
            };
            // Our own door says welcome and resync, the Yjs door its step 1; neither names anybody.
            for (door, most) in [(Door::Yjs, 1), (own, 2)] {
                let session = self.cluster.join(node, "probe", door, None);
                let mut frames = Vec::new();
                assert_eq!(
                    self.cluster.nodes[node].ring.pull(session, &mut frames, 100_000),
                    Pulled::All
                );
                assert_eq!(frames.len(), most, "somebody is still on node {node}");
                self.cluster.leave(node, session);
                self.cluster.tick(node, 100);
                self.cluster.rest();
            }
        }
    }
}
