//! Awareness as the Yjs door speaks it: entries by client id, their encoding, and the stamp of identity.
//!
//! An update is `count`, then for each entry `client`, `clock` and the JSON state as text; numbers are base-128 varints.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use super::Person;
use crate::protocol::element::Value;
use crate::protocol::ids::{SessionId, Timestamp, UserId};
use crate::protocol::limits::VALUE_DEPTH_MAX;

/// First byte of an awareness message on the Yjs door.
const MESSAGE_AWARENESS: u8 = 1;
/// Longer than a peer that counts as dead (45 s) may hold back an echo.
const GONE_KEPT_MS: u64 = 60_000;

/// One awareness state.
pub(super) struct Entry {
    pub(super) session: SessionId,
    pub(super) clock: u32,
    /// The stamped state as it goes out on the Yjs door.
    pub(super) text: Arc<str>,
    /// The same for our own door; `Null` for people of that door, who are shown there by their own frames.
    pub(super) state: Value,
    /// Waits for the next tick.
    pub(super) is_changed: bool,
    /// When it last went out.
    pub(super) sent: Timestamp,
}

/// Gathers entries into one message.
#[derive(Default)]
pub(super) struct Encoder {
    count: u64,
    entries: Vec<u8>,
}

impl Encoder {
    pub(super) fn push(&mut self, client: u64, clock: u32, text: &str) {
        self.count += 1;
        self.entries.reserve(text.len() + 16);
        put_varint(&mut self.entries, client);
        put_varint(&mut self.entries, clock.into());
        put_varint(&mut self.entries, text.len() as u64);
        self.entries.extend_from_slice(text.as_bytes());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The whole message; nothing without an entry.
    pub(super) fn finish(self) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        let payload = self.payload();
        let mut message = Vec::with_capacity(payload.len() + 16);
        message.push(MESSAGE_AWARENESS);
        put_varint(&mut message, payload.len() as u64);
        message.extend_from_slice(&payload);
        Some(message.into())
    }

    /// The entries as one update, without the head of a message.
    pub(super) fn payload(self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.entries.len() + 4);
        put_varint(&mut payload, self.count);
        payload.extend_from_slice(&self.entries);
        payload
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 0x80 by then")]
fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The keys `user`, `id` and `name`, once for all sessions.
static KEYS: LazyLock<[Arc<str>; 3]> = LazyLock::new(|| ["user", "id", "name"].map(Arc::from));

/// What the server writes into the `user` of every state of one session.
pub(super) struct Stamp {
    id: Value,
    name: Option<Value>,
}

impl Stamp {
    pub(super) fn new(person: &Person) -> Self {
        Self {
            id: Value::String(person.user.shared()),
            name: person.name.as_deref().map(Value::from),
        }
    }

    /// Parses a client's state and writes the identity into it; `None` if it is no object, or nested too deep.
    pub(super) fn apply(&self, text: &str) -> Option<(Arc<str>, Value)> {
        let mut state: BTreeMap<Arc<str>, Value> = serde_json::from_str(text).ok()?;
        if state.values().any(|value| value.depth() >= VALUE_DEPTH_MAX) {
            return None;
        }
        let [user_key, id_key, name_key] = &*KEYS;
        let user = state.entry(Arc::clone(user_key)).or_insert(Value::Null);
        if !matches!(user, Value::Map(_)) {
            *user = Value::Map(Arc::default());
        }
        if let Value::Map(user) = user {
            let user = Arc::make_mut(user);
            user.insert(Arc::clone(id_key), self.id.clone());
            if let Some(name) = &self.name {
                user.insert(Arc::clone(name_key), name.clone());
            }
        }
        let stamped = serde_json::to_string(&state).ok()?;
        Some((stamped.into(), Value::Map(Arc::new(state))))
    }
}

/// Client ids whose entries have ended lately.
///
/// `y-websocket` echoes all it hears, so a state may come back from another client after its owner has left; it must not
/// rise again under that client's session.
#[derive(Default)]
pub(super) struct Gone {
    ids: BTreeMap<u64, Ended>,
    order: VecDeque<(u64, u64)>,
}

struct Ended {
    user: UserId,
    clock: u32,
    turn: u64,
    at: Timestamp,
}

impl Gone {
    pub(super) fn add(&mut self, now: Timestamp, turn: u64, client: u64, user: UserId, clock: u32, max: usize) {
        let at = now;
        self.ids.insert(client, Ended { user, clock, turn, at });
        self.order.push_back((client, turn));
        while self.order.len() > max {
            self.forget_oldest();
        }
    }

    /// Whether a session of `user` that joined at `joined` may bring the id back. An echo has no newer clock than the
    /// entry had, and who joined after the end has never heard the entry.
    pub(super) fn may_return(&self, client: u64, user: &UserId, clock: u32, joined: u64) -> bool {
        self.ids
            .get(&client)
            .is_none_or(|ended| ended.user == *user && (clock > ended.clock || joined > ended.turn))
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        while let Some((client, _)) = self.order.front() {
            if self
                .ids
                .get(client)
                .is_some_and(|ended| now.0.abs_diff(ended.at.0) < GONE_KEPT_MS)
            {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((client, turn)) = self.order.pop_front() else {
            return;
        };
        if self.ids.get(&client).is_some_and(|ended| ended.turn == turn) {
            self.ids.remove(&client);
        }
    }
}
