//! One connection's part in presence, and the lists of what the next tick must tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::awareness::{Entry, Stamp};
use super::others::Elsewhere;
use super::shown::Shown;
use super::{EphemeralState, Person, SessionId, Timestamp, UserId, Value};

/// One connection.
pub(super) struct Session {
    pub(super) person: Person,
    /// The room that it comes from, if it is another node's.
    pub(super) elsewhere: Option<Elsewhere>,
    /// Turn of the join.
    pub(super) joined: u64,
    /// Client ids of its awareness entries; a person of our own door has one at most.
    pub(super) claimed: Vec<u64>,
    /// The entry that our own door shows of a Yjs client.
    pub(super) newest: Option<u64>,
    /// Our own door may have heard of it, so it must hear of its end.
    pub(super) is_shown: bool,
    pub(super) own: Option<OwnDoor>,
    pub(super) stamp: Stamp,
    pub(super) shown: Shown,
}

impl Session {
    pub(super) fn new(person: Person, joined: u64, elsewhere: Option<Elsewhere>) -> Self {
        Self {
            stamp: Stamp::new(&person),
            person,
            elsewhere,
            joined,
            claimed: Vec::new(),
            newest: None,
            is_shown: false,
            own: None,
            shown: Shown::default(),
        }
    }

    /// Says who this is: `join` for our own door, the newest `awareness` of a Yjs client.
    pub(super) fn introduce(&self, entries: &BTreeMap<u64, Entry>, out: &mut Vec<EphemeralState>) {
        if self.own.is_some() {
            let introduction = OwnDoor::introduction(&self.person);
            out.push(self.person.shows("join", None, introduction));
        } else if let Some(entry) = self.newest.and_then(|client| entries.get(&client)) {
            out.push(self.person.shows("awareness", None, entry.state.clone()));
        }
    }

    /// Says what changed since the last tick.
    pub(super) fn flush(&mut self, entries: &BTreeMap<u64, Entry>, out: &mut Vec<EphemeralState>) {
        if let Some(own) = &mut self.own {
            if std::mem::take(&mut own.is_new) {
                self.introduce(entries, out);
            }
            self.shown.flush(&self.person, out);
        } else if self.newest.is_some() {
            self.introduce(entries, out);
        } else if std::mem::take(&mut self.is_shown) {
            out.push(self.person.shows("leave", None, Value::Null));
        }
    }
}

/// What a person of our own door is to the others.
pub(super) struct OwnDoor {
    /// Awareness state up to where the pointer follows.
    state_head: Box<str>,
    is_new: bool,
}

impl OwnDoor {
    pub(super) fn new(person: &Person) -> Self {
        let mut user = json!({ "id": person.user.as_str(), "color": color(&person.user) });
        if let Some(name) = &person.name {
            user["name"] = json!(name);
        }
        Self {
            state_head: format!("{{\"user\":{user}").into(),
            is_new: true,
        }
    }

    /// Data of the `join`. Made when it is asked for: as a value it would be most of what a person weighs.
    fn introduction(person: &Person) -> Value {
        let mut introduction = json!({ "color": color(&person.user) });
        if let Some(name) = &person.name {
            introduction["name"] = json!(name);
        }
        introduction.into()
    }

    /// The awareness state; without a pointer if that is absent or `Null`.
    pub(super) fn state_text(&self, pointer: Option<&Value>) -> Arc<str> {
        let json = pointer
            .filter(|data| **data != Value::Null)
            .and_then(|data| serde_json::to_string(data).ok());
        match json {
            Some(json) => [&*self.state_head, ",\"pointer\":", &json, "}"].concat().into(),
            None => [&*self.state_head, "}"].concat().into(),
        }
    }
}

/// A pointer has a place, or is `Null` where it leaves the board.
pub(super) fn is_pointer(data: &Value) -> bool {
    match data {
        Value::Null => true,
        Value::Map(map) => ["x", "y"]
            .iter()
            .all(|key| map.get(*key).is_some_and(|value| value.as_f64().is_some())),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bytes(_) | Value::Array(_) => {
            false
        }
    }
}

/// Color of a person: the same on every node and in every lesson. Steps of the golden angle keep the hues of a class
/// apart; saturation and lightness are fixed so that all of them can be read on white.
fn color(user: &UserId) -> String {
    const LOW: u64 = 34;
    const HIGH: u64 = 195;
    const SECTOR: u64 = 60_000;
    let hash = user.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let hue = u64::from(hash) * 137_508 % (6 * SECTOR);
    let step = (HIGH - LOW) * (hue % SECTOR) / SECTOR;
    let (rising, falling) = (LOW + step, HIGH - step);
    let (red, green, blue) = match hue / SECTOR {
        0 => (HIGH, rising, LOW),
        1 => (falling, HIGH, LOW),
        2 => (LOW, HIGH, rising),
        3 => (LOW, falling, HIGH),
        4 => (rising, LOW, HIGH),
        _ => (HIGH, LOW, falling),
    };
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// What the next tick must tell.
#[derive(Default)]
pub(super) struct News {
    /// Sessions whose states changed.
    pub(super) sessions: BTreeSet<SessionId>,
    /// Entries that changed; each says itself whether it still waits.
    pub(super) entries: Vec<u64>,
    /// Entries that ended, with the clock of the end, and the session that ended it and goes on.
    pub(super) ended: Vec<(u64, u32, Option<SessionId>)>,
    /// People who left.
    pub(super) left: Vec<Person>,
}

impl News {
    pub(super) fn session(&mut self, id: SessionId) {
        self.sessions.insert(id);
    }

    /// A new entry, which is born changed.
    pub(super) fn entry(&mut self, client: u64) {
        self.entries.push(client);
    }

    pub(super) fn changed_entry(&mut self, client: u64, entry: &mut Entry) {
        if !std::mem::replace(&mut entry.is_changed, true) {
            self.entries.push(client);
        }
    }
}

impl Entry {
    pub(super) fn new(session: SessionId, clock: u32, text: Arc<str>, state: Value) -> Self {
        Self {
            session,
            clock,
            text,
            state,
            is_changed: true,
            sent: Timestamp::default(),
        }
    }
}
