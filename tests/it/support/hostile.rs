//! Frames no honest client sends: real ones, made by yrs and by our own encoder, then damaged. One seed gives one
//! sequence, on every machine.

use panseo::protocol::ClientFrame;
use panseo::protocol::codec::{Format, encode_client};
use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Any, Array, Doc, Map, MapPrelim, MapRef, OffsetKind, Options, ReadTxn, Text, Transact, WriteTxn};

/// Numbers that look random; the same ones for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("64-bit") % sides.max(1)
    }
}

/// The door a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// y-websocket's protocol.
    Yjs,
    /// `panseo.v1.msgpack`.
    MsgPack,
    /// `panseo.v1.json`.
    Json,
}

/// One frame as it goes into the socket.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) door: Door,
    pub(crate) bytes: Vec<u8>,
    /// Which of the clients it comes from.
    pub(crate) client: usize,
}

/// A class of five clients that edit for real, and an attacker who damages what they send.
pub(crate) struct Hostile {
    dice: Dice,
    docs: Vec<Doc>,
    seen: Vec<Vec<u8>>,
    samples: Vec<(Door, Vec<u8>)>,
}

pub(crate) const CLIENTS: [&str; 5] = ["anna", "ben", "cho", "dan", "eve"];

/// A document that counts text as Yjs does.
pub(crate) fn document(client: u64) -> Doc {
    let mut options = Options::with_client_id(ClientID::new(client));
    options.offset_kind = OffsetKind::Utf16;
    Doc::with_options(options)
}

/// Client id of one of the clients.
pub(crate) fn client_id(client: usize) -> u64 {
    1_000 + client as u64
}

fn var(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

fn message(head: &[u8], body: &[u8]) -> Vec<u8> {
    [head, &var(body.len()), body].concat()
}

fn samples() -> Vec<(Door, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/golden/v1/client");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("samples are readable")
        .map(|entry| entry.expect("samples are readable").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let door = if path.extension().is_some_and(|end| end == "json") {
                Door::Json
            } else {
                Door::MsgPack
            };
            (door, std::fs::read(path).expect("samples are readable"))
        })
        .collect()
}

impl Hostile {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            docs: (0..CLIENTS.len()).map(|client| document(client_id(client))).collect(),
            seen: vec![vec![0, 0]],
            samples: samples(),
        }
    }

    /// An honest update of one client, whose document then has it.
    pub(crate) fn update(&mut self, client: usize) -> Vec<u8> {
        let (dice, doc) = (&mut self.dice, &self.docs[client]);
        let mut txn = doc.transact_mut();
        for _ in 0..=dice.roll(3) {
            edit(dice, &mut txn, CLIENTS[client]);
        }
        txn.commit();
        let update = txn.encode_update_v1();
        drop(txn);
        self.seen.push(update.clone());
        if self.seen.len() > 64 {
            self.seen.swap_remove(0);
        }
        update
    }

    /// Makes a client's document level with the board's.
    pub(crate) fn level(&mut self, client: usize, board: &Doc) {
        let missing = board
            .transact()
            .encode_diff_v1(&self.docs[client].transact().state_vector());
        let update = yrs::Update::decode_v1(&missing).expect("the board encodes well");
        self.docs[client]
            .transact_mut()
            .apply_update(update)
            .expect("the board is sound");
    }

    /// The next frame; about one in eight is left as it was.
    pub(crate) fn frame(&mut self) -> Frame {
        let client = self.dice.roll(CLIENTS.len());
        let (door, mut bytes) = match self.dice.roll(10) {
            0 => (
                Door::Yjs,
                message(&[0, 0], &self.docs[client].transact().state_vector().encode_v1()),
            ),
            1 => (Door::Yjs, message(&[1], &self.awareness(client))),
            2 => (Door::Yjs, vec![3]),
            3 => {
                let state = self.docs[client]
                    .transact()
                    .encode_diff_v1(&yrs::StateVector::default());
                (Door::Yjs, message(&[0, 1], &state))
            }
            4 => self.samples[self.dice.roll(self.samples.len())].clone(),
            5 => {
                let update = self.update(client);
                let frame = ClientFrame::Update {
                    seq: 1,
                    gesture: None,
                    update: update.into(),
                };
                (Door::MsgPack, encode_client(Format::MsgPack, &frame).to_vec())
            }
            _ => {
                let mut update = self.update(client);
                // The damage is inside, so that the envelope does not hide it.
                if self.dice.roll(8) != 0 {
                    self.damage(&mut update);
                }
                return Frame {
                    door: Door::Yjs,
                    bytes: message(&[0, 2], &update),
                    client,
                };
            }
        };
        if self.dice.roll(8) != 0 {
            self.damage(&mut bytes);
        }
        Frame { door, bytes, client }
    }

    fn awareness(&mut self, client: usize) -> Vec<u8> {
        let state = r#"{"user":{"name":"anna"},"cursor":{"x":1,"y":[2,{"z":null}]}}"#;
        let entry = [
            &var(1_000 + client)[..],
            &var(self.dice.roll(500)),
            &message(&[], state.as_bytes()),
        ]
        .concat();
        [&[1_u8][..], &entry].concat()
    }

    /// Flips, cuts, splices, repeats and inflates.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        let dice = &mut self.dice;
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(bytes.len());
            match dice.roll(12) {
                0 => bytes.truncate(at),
                1 => {
                    let other = &self.seen[dice.roll(self.seen.len())];
                    let from = dice.roll(other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                2 => splice(bytes, at, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
                3 => splice(bytes, at, &[0xff; 10]),
                4 => splice(bytes, at, &[117, 1].repeat(1 + dice.roll(200))),
                5 => splice(bytes, at, &[118, 1, 1, b'k'].repeat(1 + dice.roll(60))),
                6 => splice(bytes, at, &[0x91].repeat(1 + dice.roll(200))),
                7 => splice(bytes, at, b"[".repeat(1 + dice.roll(200)).as_slice()),
                8 => {
                    let end = (at + 1 + dice.roll(24)).min(bytes.len());
                    let copy = bytes[at.min(end)..end].repeat(1 + dice.roll(20));
                    splice(bytes, end, &copy);
                }
                9 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
                10 if at < bytes.len() => bytes[at] = [0, 10, 0x7f, 0x80, 0xff][dice.roll(5)],
                _ if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
                _ => {}
            }
        }
    }
}

fn splice(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

fn edit(dice: &mut Dice, txn: &mut yrs::TransactionMut<'_>, name: &str) {
    let id = format!("e{}", dice.roll(10));
    let root = txn.get_or_insert_map("board:elements");
    let known: Option<MapRef> = root.get(txn, &id).and_then(|out| out.cast().ok());
    match (dice.roll(10), known) {
        (0, _) | (_, None) => {
            let values = [
                ("type", Any::from("line")),
                ("x", 1.into()),
                ("y", 2.5.into()),
                ("pos", "a0".into()),
            ];
            root.insert(txn, id, MapPrelim::from(values));
        }
        (1, _) => {
            root.remove(txn, &id);
        }
        (2, Some(map)) => {
            map.remove(txn, "text");
        }
        (3, Some(map)) => {
            map.insert(txn, "text", "안녕 hello");
            map.insert(txn, "points", Any::Buffer(vec![1, 2, 3, 4].into()));
        }
        (4, _) => {
            let likes = txn.get_or_insert_map("board:likes");
            likes.insert(txn, format!("{id}:{name}"), 1);
        }
        (5, _) => {
            let notes = txn.get_or_insert_text("notes");
            let len = notes.len(txn) as usize;
            let at = u32::try_from(dice.roll(len + 1)).expect("short");
            notes.insert(txn, at, "a🖍b");
            if len > 6 {
                notes.remove_range(txn, u32::try_from(dice.roll(len - 4)).expect("short"), 3);
            }
        }
        (6, _) => {
            let list = txn.get_or_insert_array("theirs");
            let at = u32::try_from(dice.roll(list.len(txn) as usize + 1)).expect("short");
            let map = list.insert(txn, at, MapPrelim::default());
            map.insert(txn, "a", MapPrelim::from([("b", Any::from(1))]));
            if at > 2 {
                list.remove(txn, at - 1);
            }
        }
        (_, Some(map)) => {
            map.insert(txn, "x", i64::try_from(dice.roll(900)).expect("small"));
            map.insert(txn, "y", 2);
        }
    }
}
