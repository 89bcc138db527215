//! A program at the far end, of one of three kinds, with all it must remember to lose nothing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use panseo::protocol::codec::{Format, decode_server};
use panseo::protocol::ids::{ClientId, SessionId};
use panseo::protocol::op::Op;
use panseo::protocol::{Blob, ClientFrame, ErrorCode, ServerFrame};
use panseo::room::Input;
use panseo::room::ring::Pulled;
use panseo::room::session::Door;
use panseo::room::yjs::YjsMessage;
use uuid::Uuid;
use yrs::updates::decoder::Decode;
use yrs::{ReadTxn, StateVector, Transact};

use super::cluster::Cluster;
use super::story::Raw;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No document: ops, changes.
    Op,
    /// Our own door with a document.
    Update,
    /// y-protocols.
    Yjs,
}

/// A connection as its client sees it.
pub(crate) struct Link {
    pub(crate) node: usize,
    opening: u64,
    pub(crate) session: SessionId,
    to_server: VecDeque<Input>,
    /// It fell behind, and the room has not heard of it yet.
    is_behind: bool,
    /// Since the answer to its first message; before, news are kept.
    is_level: bool,
    early: Vec<Bytes>,
    /// What the server had at the handshake, where it asked for what it lacks.
    known: Option<StateVector>,
}

pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) raw: Raw,
    pub(crate) outbox: VecDeque<(u64, ClientFrame)>,
    pub(crate) link: Option<Link>,
    pub(crate) id: ClientId,
    seq: u64,
    /// Ops that were acknowledged.
    pub(crate) acked: BTreeMap<u64, Option<Op>>,
    /// Frames that were unanswered when the client went elsewhere: the old node may still bring them to the log.
    pub(crate) moved: BTreeMap<u64, usize>,
    awareness: u32,
    /// Which opening of the board it was on last.
    last: Option<(usize, u64)>,
}

impl Client {
    pub(crate) fn new(number: u64, kind: Kind) -> Self {
        Self {
            name: format!("user{number}"),
            kind,
            raw: Raw::new(100 + number),
            outbox: VecDeque::new(),
            link: None,
            id: Uuid::from_u128(u128::from(number) + 1),
            seq: 0,
            acked: BTreeMap::new(),
            moved: BTreeMap::new(),
            awareness: 0,
            last: None,
        }
    }

    pub(crate) fn connect(&mut self, cluster: &mut Cluster, node: usize) {
        let format = Format::MsgPack;
        let (door, vector) = match self.kind {
            Kind::Op => (
                Door::Own {
                    format,
                    document: false,
                    client: self.id,
                },
                None,
            ),
            Kind::Update => (
                Door::Own {
                    format,
                    document: true,
                    client: self.id,
                },
                Some(self.raw.vector()),
            ),
            Kind::Yjs => (Door::Yjs, None),
        };
        let session = cluster.join(node, &self.name, door, vector);
        let opening = cluster.nodes[node].opening;
        if let Some((node, last)) = self.last.replace((node, opening))
            && last != opening
            && cluster.nodes[node].opening == last
        {
            for (seq, _) in &self.outbox {
                *self.moved.entry(*seq).or_default() += 1;
            }
        }
        let mut to_server = VecDeque::new();
        if self.kind == Kind::Yjs {
            use yrs::updates::encoder::Encode;
            let vector = self.raw.doc.transact().state_vector().encode_v1();
            to_server.push_back(Input::Yjs(session, YjsMessage::Step1(vector.into())));
        }
        self.link = Some(Link {
            node,
            opening,
            session,
            to_server,
            is_behind: false,
            is_level: false,
            early: Vec::new(),
            known: None,
        });
        // Providers show themselves before they are asked for what they have; others never do.
        if self.kind == Kind::Yjs && self.raw.doc.client_id().get() % 2 == 1 {
            self.point(0);
        }
    }

    /// The socket breaks: what was on it is lost.
    pub(crate) fn cut(&mut self, cluster: &mut Cluster) {
        let Some(link) = self.link.take() else { return };
        if cluster.nodes[link.node].opening == link.opening {
            cluster.leave(link.node, link.session);
        }
    }

    /// The server reads one message; whether there was one.
    pub(crate) fn deliver(&mut self, cluster: &mut Cluster) -> bool {
        let Some(link) = &mut self.link else { return false };
        if cluster.nodes[link.node].opening != link.opening {
            self.cut(cluster);
            return true;
        }
        if std::mem::take(&mut link.is_behind) {
            let lacks = cluster.nodes[link.node].ring.lacks(link.session);
            cluster.input(link.node, Input::Behind(link.session, lacks));
        } else if let Some(input) = link.to_server.pop_front() {
            cluster.input(link.node, input);
        } else {
            return false;
        }
        true
    }

    /// The server finds several messages in its queue.
    pub(crate) fn deliver_many(&mut self, cluster: &mut Cluster, most: usize) {
        let Some(link) = &mut self.link else { return };
        if cluster.nodes[link.node].opening != link.opening {
            return self.cut(cluster);
        }
        let count = most.min(link.to_server.len());
        let inputs = link.to_server.drain(..count).collect();
        cluster.input(link.node, Input::Queued(inputs));
    }

    /// The client reads what waits for it; whether anything did.
    pub(crate) fn pull(&mut self, cluster: &mut Cluster, max_bytes: usize) -> bool {
        let Some(link) = &mut self.link else { return false };
        let (node, session) = (link.node, link.session);
        if cluster.nodes[node].opening != link.opening {
            self.cut(cluster);
            return true;
        }
        let mut frames = Vec::new();
        match cluster.nodes[node].ring.pull(session, &mut frames, max_bytes) {
            Pulled::Empty => return false,
            Pulled::Frames | Pulled::All => {}
            Pulled::Behind => link.is_behind = true,
            Pulled::Close(_) => self.cut(cluster),
        }
        for bytes in frames {
            if self.kind == Kind::Yjs {
                self.hear_yjs(&bytes);
            } else {
                self.hear_own(&bytes);
            }
        }
        true
    }

    fn hear_yjs(&mut self, bytes: &Bytes) {
        let Some(link) = &mut self.link else { return };
        match YjsMessage::parse(bytes).unwrap() {
            YjsMessage::Step1(vector) => {
                let vector = StateVector::decode_v1(&vector).unwrap();
                let lacks = self.raw.doc.transact().encode_diff_v1(&vector);
                link.to_server
                    .push_back(Input::Yjs(link.session, YjsMessage::Step2(lacks.into())));
            }
            YjsMessage::Step2(update) => {
                link.is_level = true;
                self.raw.apply(&update);
                link.early.drain(..).for_each(|update| self.raw.apply(&update));
            }
            YjsMessage::Update(update) if link.is_level => self.raw.apply(&update),
            YjsMessage::Update(update) => link.early.push(update),
            YjsMessage::Awareness(_) | YjsMessage::Query => {}
        }
    }

    fn hear_own(&mut self, bytes: &[u8]) {
        match decode_server(Format::MsgPack, bytes).unwrap() {
            ServerFrame::Welcome { refused, .. } => {
                self.outbox
                    .retain(|(seq, _)| refused.iter().all(|refused| refused.code(*seq).is_none()));
                let Some(link) = &mut self.link else { return };
                link.is_level = true;
                let frames = self
                    .outbox
                    .iter()
                    .map(|(_, frame)| Input::Frame(link.session, frame.clone()));
                link.to_server.extend(frames);
            }
            ServerFrame::Resync { update, vector, .. } => {
                if let Some(update) = update {
                    self.raw.apply(&update.0);
                }
                if let (Some(vector), Some(link)) = (vector, &mut self.link) {
                    link.known = Some(StateVector::decode_v1(&vector.0).unwrap());
                    self.hand_over();
                }
            }
            ServerFrame::Event { update, .. } => {
                if let Some(update) = update {
                    self.raw.apply(&update.0);
                }
            }
            ServerFrame::Ack { seq, .. } => {
                while self.outbox.front().is_some_and(|(first, _)| *first <= seq) {
                    let (seq, op) = match self.outbox.pop_front().unwrap() {
                        (seq, ClientFrame::Op { mut ops, .. }) => (seq, ops.pop()),
                        (seq, _) => (seq, None),
                    };
                    self.acked.insert(seq, op);
                }
            }
            ServerFrame::Error {
                code: ErrorCode::NeedsResync,
                seq,
                ..
            } => {
                // The document has it.
                self.outbox.retain(|(waiting, _)| Some(*waiting) != seq);
                self.hand_over();
            }
            ServerFrame::Error { seq, .. } => self.outbox.retain(|(waiting, _)| Some(*waiting) != seq),
            ServerFrame::Ephemeral { .. }
            | ServerFrame::Saved { .. }
            | ServerFrame::Role { .. }
            | ServerFrame::Pong {} => {}
        }
    }

    /// All that the server lacked at the handshake.
    fn hand_over(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Some(known) = &link.known else { return };
        let update = Blob(self.raw.doc.transact().encode_diff_v1(known).into());
        link.to_server
            .push_back(Input::Frame(link.session, ClientFrame::Resync { update }));
    }

    fn send(&mut self, frame: impl FnOnce(u64) -> ClientFrame) {
        self.seq += 1;
        let frame = frame(self.seq);
        self.outbox.push_back((self.seq, frame.clone()));
        if let Some(link) = self.link.as_mut().filter(|link| link.is_level) {
            link.to_server.push_back(Input::Frame(link.session, frame));
        }
    }

    pub(crate) fn op(&mut self, op: Op) {
        self.send(|seq| ClientFrame::Op {
            seq,
            gesture: None,
            ops: vec![op],
        });
    }

    /// An edit of the own document, made with or without a connection.
    pub(crate) fn update(&mut self, update: Vec<u8>) {
        if update.len() <= 2 {
            return;
        }
        if self.kind == Kind::Update {
            self.send(|seq| ClientFrame::Update {
                seq,
                gesture: None,
                update: Blob(update.into()),
            });
        } else if let Some(link) = &mut self.link {
            link.to_server
                .push_back(Input::Yjs(link.session, YjsMessage::Update(update.into())));
        }
    }

    /// Moves the pointer.
    pub(crate) fn point(&mut self, x: usize) {
        let Some(link) = &mut self.link else { return };
        if self.kind != Kind::Yjs && !link.is_level {
            return;
        }
        let input = if self.kind == Kind::Yjs {
            self.awareness += 1;
            let client = u8::try_from(self.raw.doc.client_id().get()).unwrap();
            let state = format!("{{\"pointer\":{{\"x\":{x},\"y\":1}}}}");
            let clock = u8::try_from(self.awareness % 100).unwrap();
            let mut entry = vec![1, client, clock, u8::try_from(state.len()).unwrap()];
            entry.extend(state.bytes());
            Input::Yjs(link.session, YjsMessage::Awareness(entry.into()))
        } else {
            let data = serde_json::json!({ "x": x, "y": 1 }).into();
            let state = panseo::protocol::Ephemeral {
                kind: "pointer".into(),
                gesture: None,
                data,
            };
            Input::Frame(link.session, ClientFrame::Ephemeral(state))
        };
        link.to_server.push_back(input);
    }
}
