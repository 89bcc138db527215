//! What the clients of the load generator draw: updates and awareness states made before the clock starts.

use uuid::Uuid;
use yrs::{Any, Doc, Map as _, MapPrelim, MapRef, Number, ReadTxn as _, Transact as _, TransactionMut};

use super::args::Kind;
use crate::protocol::points::{self, Stroke};

/// Elements of one writer. Together with two properties each, no property is written twice within a tick at any rate
/// the ramp reaches, so that the server has nothing to fold.
const ELEMENTS: usize = 32;
/// Elements that a drag moves at once.
const DRAGGED: usize = 22;
/// Points of a stroke, as in the tables of `docs/PERFORMANCE.md`.
pub const POINTS: usize = 40;

/// Everything one writer will send, in order.
pub struct Script {
    /// Makes the elements that the updates write to.
    pub setup: Vec<u8>,
    /// Clock of the writer after `setup`.
    pub base: u64,
    /// Clocks that each update takes.
    pub step: u64,
    /// The updates, one for each frame.
    pub updates: Vec<Vec<u8>>,
}

/// Prepares `count` updates under the Yjs client id `client`.
pub fn script(client: u64, kind: Kind, count: usize) -> Script {
    let doc = Doc::with_client_id(client);
    let elements = doc.get_or_insert_map("board:elements");
    let mut made = Vec::with_capacity(ELEMENTS);
    let setup = commit(&doc, |txn| {
        for index in 0..ELEMENTS {
            made.push(elements.insert(txn, Uuid::now_v7().to_string(), rectangle(client, index)));
        }
    });
    let base = clock(&doc);
    let step = match kind {
        Kind::Stroke => 1 + STROKE_KEYS,
        Kind::Drag => 2 * DRAGGED as u64,
        Kind::Update | Kind::Pointer => 1,
    };
    let updates = (0..count)
        .map(|index| {
            commit(&doc, |txn| match kind {
                Kind::Stroke => {
                    elements.insert(txn, Uuid::now_v7().to_string(), stroke(client, index));
                }
                Kind::Drag => {
                    for (at, map) in made.iter().take(DRAGGED).enumerate() {
                        map.insert(txn, "x", number(at * 12 + index));
                        map.insert(txn, "y", number(at * 7 + index));
                    }
                }
                Kind::Update | Kind::Pointer => set(txn, &made, index),
            })
        })
        .collect();
    Script {
        setup,
        base,
        step,
        updates,
    }
}

/// Updates that fill a board with `count` strokes, `batch` in each.
pub fn strokes(client: u64, count: usize, batch: usize) -> (Vec<Vec<u8>>, u64) {
    let doc = Doc::with_client_id(client);
    let elements = doc.get_or_insert_map("board:elements");
    let mut updates = Vec::new();
    for start in (0..count).step_by(batch) {
        updates.push(commit(&doc, |txn| {
            for index in start..count.min(start + batch) {
                elements.insert(txn, Uuid::now_v7().to_string(), stroke(client, index));
            }
        }));
    }
    (updates, clock(&doc))
}

/// Awareness update with one entry: the pointer of `client` at its `clock`-th place.
pub(super) fn pointer(client: u64, clock: u64) -> Vec<u8> {
    let state = format!(
        r#"{{"user":{{"name":"u{client}"}},"pointer":{{"x":{clock},"y":{}}}}}"#,
        clock % 700
    );
    let mut bytes = vec![1];
    put_number(&mut bytes, client);
    put_number(&mut bytes, clock);
    put_number(&mut bytes, state.len() as u64);
    bytes.extend_from_slice(state.as_bytes());
    bytes
}

/// An empty Yjs update, and the state vector of an empty document.
pub(super) const EMPTY_UPDATE: [u8; 2] = [0, 0];
/// State vector of an empty document.
pub(super) const EMPTY_VECTOR: [u8; 1] = [0];

/// A y message: its tags and one length-prefixed blob.
pub fn y_message(tags: &[u8], blob: &[u8]) -> Vec<u8> {
    let mut bytes = tags.to_vec();
    put_number(&mut bytes, blob.len() as u64);
    bytes.extend_from_slice(blob);
    bytes
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

pub(super) fn commit(doc: &Doc, write: impl FnOnce(&mut TransactionMut<'_>)) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    write(&mut txn);
    txn.commit();
    txn.encode_update_v1()
}

fn clock(doc: &Doc) -> u64 {
    u64::from(doc.transact().state_vector().get(&doc.client_id()))
}

fn set(txn: &mut TransactionMut<'_>, made: &[MapRef], index: usize) {
    let key = if (index / ELEMENTS).is_multiple_of(2) { "x" } else { "y" };
    made[index % ELEMENTS].insert(txn, key, number(index));
}

pub(super) fn number(index: usize) -> Any {
    Any::Number(Number::Int(i64::try_from(index).unwrap_or(0)))
}

/// A key above all others of this writer. The `V` at the end keeps it a valid fraction: none ends in the lowest digit.
fn pos(client: u64, index: usize) -> String {
    format!("a{index:07}{client:011}V")
}

fn rectangle(client: u64, index: usize) -> MapPrelim {
    [
        ("type", Any::from("rectangle")),
        ("x", number(index * 12)),
        ("y", number(index * 7)),
        ("width", number(100)),
        ("height", number(60)),
        ("pos", Any::from(pos(client, index))),
    ]
    .into_iter()
    .collect()
}

/// Keys of a stroke, each one clock beside the map's own.
const STROKE_KEYS: u64 = 9;

fn stroke(client: u64, index: usize) -> MapPrelim {
    stroke_at(&pos(client, index), index)
}

/// A stroke like the `index`-th of a lesson, at this place in the z-order.
pub(super) fn stroke_at(pos: &str, index: usize) -> MapPrelim {
    [
        ("type", Any::from("freedraw")),
        ("x", number(index % 1_900)),
        ("y", number(index % 1_070)),
        ("width", number(160)),
        ("height", number(40)),
        ("strokeColor", Any::from("#1971c2")),
        ("strokeWidth", number(2)),
        ("pos", Any::from(pos)),
        ("points", Any::Buffer(packed(&points(index)).into())),
    ]
    .into_iter()
    .collect()
}

/// The points as they lie in the property `points`.
pub(super) fn packed(points: &[[f64; 2]]) -> Vec<u8> {
    let stroke = Stroke {
        points: points.to_vec(),
        pressures: None,
        times: None,
    };
    points::pack(&stroke).expect("the points lie within the range")
}

/// A line that wanders as a pen does, another one for each `index`: what repeats itself would compress too well.
pub(super) fn points(index: usize) -> Vec<[f64; 2]> {
    let mut state = index as u64;
    let mut random = || {
        // SplitMix64: one word of state, and neighbours differ in all bits.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX) - 0.5
    };
    let (mut at, mut angle) = ([0.0, 0.0], 6.0 * random());
    let mut points = vec![at];
    while points.len() < POINTS {
        angle += 0.9 * random();
        let pace = 5.0 + 4.0 * random();
        at = [at[0] + pace * f64::cos(angle), at[1] + pace * f64::sin(angle)];
        points.push(at);
    }
    points
}
