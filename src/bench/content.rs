//! What the clients of the load generator draw: updates and awareness states made before the clock starts.

use uuid::Uuid;
use yrs::{Any, Doc, Map as _, MapPrelim, MapRef, Number, ReadTxn as _, Transact as _, TransactionMut};

use super::args::Kind;

/// Elements of one writer. Together with two properties each, no property is written twice within a tick at any rate
/// the ramp reaches, so that the server has nothing to fold.
const ELEMENTS: usize = 32;
/// Points of a stroke, as in the tables of the design.
const POINTS: u32 = 40;

/// Everything one writer will send, in order.
pub(super) struct Script {
    /// Makes the elements that the updates write to.
    pub(super) setup: Vec<u8>,
    /// Clock of the writer after `setup`.
    pub(super) base: u64,
    /// Clocks that each update takes.
    pub(super) step: u64,
    /// The updates, one for each frame.
    pub(super) updates: Vec<Vec<u8>>,
}

/// Prepares `count` updates under the Yjs client id `client`.
pub(super) fn script(client: u64, kind: Kind, count: usize) -> Script {
    let doc = Doc::with_client_id(client);
    let elements = doc.get_or_insert_map("board:elements");
    let mut made = Vec::with_capacity(ELEMENTS);
    let setup = commit(&doc, |txn| {
        for index in 0..ELEMENTS {
            made.push(elements.insert(txn, Uuid::now_v7().to_string(), rectangle(client, index)));
        }
    });
    let base = clock(&doc);
    let step = if kind == Kind::Stroke { 1 + STROKE_KEYS } else { 1 };
    let updates = (0..count)
        .map(|index| {
            commit(&doc, |txn| {
                if kind == Kind::Stroke {
                    elements.insert(txn, Uuid::now_v7().to_string(), stroke(client, index));
                } else {
                    set(txn, &made, index);
                }
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
pub(super) fn strokes(client: u64, count: usize, batch: usize) -> (Vec<Vec<u8>>, u64) {
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
pub(super) fn y_message(tags: &[u8], blob: &[u8]) -> Vec<u8> {
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

fn commit(doc: &Doc, write: impl FnOnce(&mut TransactionMut<'_>)) -> Vec<u8> {
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

fn number(index: usize) -> Any {
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
    [
        ("type", Any::from("freedraw")),
        ("x", number(index % 1_900)),
        ("y", number(index % 1_070)),
        ("width", number(160)),
        ("height", number(40)),
        ("strokeColor", Any::from("#1971c2")),
        ("strokeWidth", number(2)),
        ("pos", Any::from(pos(client, index))),
        ("points", Any::Buffer(points(index).into())),
    ]
    .into_iter()
    .collect()
}

/// Zigzag varints, first point then deltas, in 1/16 px: a wavy line that differs from stroke to stroke.
fn points(index: usize) -> Vec<u8> {
    let salt = u32::try_from(index % 97).unwrap_or(0);
    let mut bytes = Vec::with_capacity(160);
    for point in 0..POINTS {
        let wave = (point * point + salt * 7) % 129;
        put_number(&mut bytes, u64::from(40 + (point * 13 + salt) % 60) * 2);
        // Zigzag: even numbers go down the page, odd ones up.
        put_number(&mut bytes, u64::from(wave));
    }
    bytes
}
