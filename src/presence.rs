//! Who is on a board and what they show: pointers, strokes in the making, awareness states. Never recorded, never stored.
//!
//! Two doors meet here. A person of our own door is an awareness state `{user, pointer}` under a client id of the
//! server's; an awareness state of a Yjs client is an ephemeral state of kind `awareness`. Identity is the server's to
//! write: the user id always, the name where the token has one.
//!
//! News is gathered and handed out once a tick, encoded once for everyone. Only the newest state of a session and kind
//! counts; strokes add up. A session that leaves takes all it showed with it, so nobody is left behind as a ghost: ends
//! are told even where the tick had not yet told the beginning, because a snapshot may have.
//!
//! Rooms of the board on other nodes are told of the people here, and their people are shown here: see [`others`].
//!
//! Pure: time comes in as an argument, client ids are drawn upwards from a given base.

mod awareness;
mod others;
mod session;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::protocol::element::Value;
use crate::protocol::ids::{GestureId, SessionId, Timestamp, UserId};
use crate::protocol::limits::{CLIENT_ID_MAX, CLOCK_MAX, Limits};
use crate::protocol::relay::{Lane, Relayed};
use crate::protocol::{Ephemeral, EphemeralState, ServerFrame};

use awareness::{Encoder, Entry, Gone};
pub use others::Unshown;
use others::{Elsewhere, Others};
use session::{News, OwnDoor, Session, is_pointer};
use shown::{STROKE_FRAMES_ELSEWHERE_MAX, STROKE_FRAMES_TICK_MAX};

/// Yjs clients forget a state they have not heard of for 30 s; half of it leaves room for one lost message.
const REFRESH_INTERVAL_MS: u64 = 15_000;
/// How often resting entries and silent gestures are looked for.
const SWEEP_INTERVAL_MS: u64 = 250;
/// State text that ends an awareness entry.
const ENDED: &str = "null";

/// Everybody on one board.
pub struct Presence {
    limits: PresenceLimits,
    next_client: u64,
    /// Counts joins and ends, so that it is known which came first.
    turn: u64,
    /// Boxed: a node of the map has eleven places, and a board mostly fewer people.
    sessions: BTreeMap<SessionId, Box<Session>>,
    entries: BTreeMap<u64, Entry>,
    gone: Gone,
    news: News,
    swept: Timestamp,
    others: Others,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The connection.
    pub session: SessionId,
    /// Whose it is, by the verified token.
    pub user: UserId,
    /// Name from the token; without one the client's own name in its state is kept.
    pub name: Option<String>,
}

/// The way a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Speaks `panseo.v1`.
    Own,
    /// Speaks the Yjs protocols.
    Yjs,
}

/// Ceilings of what clients may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceLimits {
    /// Bytes of one awareness entry, or of the data of one ephemeral frame.
    pub entry_bytes_max: usize,
    /// Awareness entries of one Yjs connection.
    pub entries_session_max: usize,
    /// Awareness entries on a board.
    pub entries_board_max: usize,
    /// Kinds of state one session shows at a time.
    pub kinds_session_max: usize,
    /// Strokes one session has in the making; more than fingers on a tablet make no sense.
    pub strokes_session_max: usize,
    /// Bytes kept of a session's strokes for those who join in between, half a minute of drawing or so; what goes beyond
    /// is passed on and forgotten.
    pub stroke_bytes_max: usize,
}

impl From<&Limits> for PresenceLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            entry_bytes_max: limits.awareness_bytes_max,
            entries_session_max: limits.awareness_entries_max,
            entries_board_max: limits.awareness_board_max,
            kinds_session_max: 8,
            strokes_session_max: 10,
            stroke_bytes_max: 128 * 1024,
        }
    }
}

/// What became of the entries of an awareness message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Entries that count.
    pub taken: usize,
    /// Entries that say nothing new.
    pub stale: usize,
    /// Entries under a client id that is not the session's to use; mostly echoes.
    pub foreign: usize,
    /// Entries that are too large, no JSON object, or out of range.
    pub malformed: usize,
}

/// Why an ephemeral frame was refused; always the sender's fault.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PresenceError {
    /// The session has not joined through our own door.
    #[error("the session is not on this board")]
    NotHere,
    /// The kind is one only the server says, or too long.
    #[error("the kind is reserved or too long")]
    BadKind,
    /// A pointer without place.
    #[error("a pointer needs numbers x and y")]
    BadPointer,
    /// A stroke that does not say which.
    #[error("a stroke names its gesture, unless it goes on with the last one")]
    NoGesture,
    /// The data takes too much room.
    #[error("the data takes {size_bytes} bytes, {max_bytes} at most are allowed")]
    TooLarge {
        /// What it takes, roughly.
        size_bytes: usize,
        /// What it may take.
        max_bytes: usize,
    },
    /// Too many kinds at a time.
    #[error("{max} kinds at most at a time")]
    TooManyKinds {
        /// How many there may be.
        max: usize,
    },
    /// Too many strokes at a time.
    #[error("{max} strokes at most at a time")]
    TooManyStrokes {
        /// How many there may be.
        max: usize,
    },
    /// Too many frames of strokes between two ticks.
    #[error("too many frames at once")]
    TooFast,
}

/// What changed since the last tick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tick {
    /// Whole message for the Yjs door.
    pub awareness: Option<Bytes>,
    /// Frame for our own door.
    pub ephemeral: Option<ServerFrame>,
    /// For the rooms of the board on other nodes.
    pub relayed: Vec<(Lane, Relayed)>,
}

impl Presence {
    /// Nobody is here. Client ids for people of our own door are drawn upwards from `first_client`, which should lie at
    /// 2^32 or above, where those of most Yjs clients end.
    pub fn new(first_client: u64, limits: PresenceLimits) -> Self {
        Self {
            limits,
            next_client: first_client,
            turn: 0,
            sessions: BTreeMap::new(),
            entries: BTreeMap::new(),
            gone: Gone::default(),
            news: News::default(),
            swept: Timestamp::default(),
            others: Others::default(),
        }
    }

    /// A connection joins. A person of our own door is told to everybody; a Yjs client shows itself by its awareness.
    pub fn join(&mut self, now: Timestamp, person: Person, door: Door) {
        let id = person.session;
        self.admit(now, person, door, None);
        self.others.joined(id);
    }

    fn admit(&mut self, now: Timestamp, person: Person, door: Door, elsewhere: Option<Elsewhere>) {
        let id = person.session;
        self.leave(now, id);
        self.turn += 1;
        let mut session = Box::new(Session::new(person, self.turn, elsewhere));
        if door == Door::Own {
            let own = OwnDoor::new(&session.person);
            if self.entries.len() < self.limits.entries_board_max {
                let client = self.draw_client();
                session.claimed.push(client);
                let text = own.state_text(None);
                let entry = Entry::new(id, 1, text, Value::Null);
                self.entries.insert(client, entry);
                self.news.entry(client);
            }
            session.own = Some(own);
            session.is_shown = true;
            self.news.session(id);
        }
        self.sessions.insert(id, session);
    }

    /// A connection is gone, and with it all it showed.
    pub fn leave(&mut self, now: Timestamp, session: SessionId) {
        let Some(left) = self.sessions.remove(&session) else {
            return;
        };
        for client in left.claimed {
            if let Some(entry) = self.entries.remove(&client) {
                // The null has the entry's own clock, as y-websocket's server does it: a client that comes back is seen
                // again with its next clock, not with the one after that.
                self.end_entry(now, client, left.person.user.clone(), entry.clock, None);
            }
        }
        self.others.left(session, left.elsewhere.is_some());
        if left.is_shown {
            self.news.left.push(left.person);
        }
    }

    /// An awareness message of a Yjs client, as `(client id, clock, JSON state)`. An entry counts if its client id is
    /// this session's, or nobody's while the session has a free place and `may_claim` agrees. The rest is dropped and
    /// counted: Yjs clients echo all they hear.
    pub fn awareness<'a>(
        &mut self,
        now: Timestamp,
        session: SessionId,
        entries: impl IntoIterator<Item = (u64, u32, &'a str)>,
        may_claim: impl Fn(u64) -> bool,
    ) -> Counted {
        let mut counted = Counted::default();
        // One end and one new state for each place: more would be a flood of ids, each of which costs everybody a null.
        let taken_max = 2 * self.limits.entries_session_max;
        for (client, clock, text) in entries {
            if counted.taken >= taken_max {
                counted.foreign += 1;
                continue;
            }
            let count = match self.awareness_entry(now, session, (client, clock, text), &may_claim) {
                Verdict::Taken => &mut counted.taken,
                Verdict::Stale => &mut counted.stale,
                Verdict::Foreign => &mut counted.foreign,
                Verdict::Malformed => &mut counted.malformed,
            };
            *count += 1;
        }
        counted
    }

    /// Whether a Yjs client shows itself under this client id.
    pub fn speaks_for(&self, session: SessionId, client: u64) -> bool {
        let entry = self.entries.get(&client).filter(|entry| entry.session == session);
        entry.is_some() && self.sessions.get(&session).is_some_and(|session| session.own.is_none())
    }

    /// A frame of our own door. `stroke` adds to its gesture; of any other kind the newest counts. `Null` data ends it.
    pub fn ephemeral(&mut self, now: Timestamp, session: SessionId, frame: Ephemeral) -> Result<(), PresenceError> {
        let id = session;
        let sender = self.sessions.get_mut(&id).ok_or(PresenceError::NotHere)?;
        let Some(own) = &sender.own else {
            return Err(PresenceError::NotHere);
        };
        let pointer = (frame.kind == "pointer").then(|| frame.data.clone());
        if pointer.as_ref().is_some_and(|data| !is_pointer(data)) {
            return Err(PresenceError::BadPointer);
        }
        // Two ticks of another node may come between two of ours.
        let frames_max = if sender.elsewhere.is_some() {
            STROKE_FRAMES_ELSEWHERE_MAX
        } else {
            STROKE_FRAMES_TICK_MAX
        };
        sender.shown.take(now, frame, &self.limits, frames_max)?;
        self.news.session(id);
        if let (Some(data), Some(client)) = (pointer, sender.claimed.first())
            && let Some(entry) = self.entries.get_mut(client)
        {
            entry.clock = entry.clock.saturating_add(1);
            entry.text = own.state_text(Some(&data));
            self.news.changed_entry(*client, entry);
        }
        Ok(())
    }

    /// A gesture has been committed: what was shown of it ends.
    pub fn committed(&mut self, session: SessionId, gesture: GestureId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.shown.committed(gesture);
        }
    }

    /// Hands out what changed since the last tick.
    pub fn tick(&mut self, now: Timestamp) -> Tick {
        if now.0.abs_diff(self.swept.0) >= SWEEP_INTERVAL_MS {
            self.swept = now;
            self.sweep(now);
        }
        // Before what is new: that goes to all others by itself.
        let answers = self.answer_others(now);
        let awareness = self.flush_awareness(now);
        let ephemeral = self.flush_ephemeral();
        let mut relayed = self.tell_others(now);
        relayed.extend(answers);
        Tick {
            awareness,
            ephemeral,
            relayed,
        }
    }

    /// All awareness states, for a Yjs client that has just joined or asks.
    pub fn snapshot_awareness(&self) -> Option<Bytes> {
        let mut encoder = Encoder::default();
        for (client, entry) in &self.entries {
            encoder.push(*client, entry.clock, &entry.text);
        }
        encoder.finish()
    }

    /// All that is shown, for a client of our own door that has just joined and will get every tick from now on.
    pub fn snapshot_ephemeral(&self) -> Option<ServerFrame> {
        let mut states = Vec::new();
        for session in self.sessions.values() {
            session.introduce(&self.entries, &mut states);
            session.shown.snapshot(&session.person, &mut states);
        }
        (!states.is_empty()).then_some(ServerFrame::Ephemeral { states })
    }

    /// Everybody who is connected, by session.
    pub fn people(&self) -> impl ExactSizeIterator<Item = &Person> {
        self.sessions.values().map(|session| &session.person)
    }

    fn awareness_entry(
        &mut self,
        now: Timestamp,
        id: SessionId,
        (client, clock, text): (u64, u32, &str),
        may_claim: &impl Fn(u64) -> bool,
    ) -> Verdict {
        let Some(session) = self.sessions.get(&id).filter(|session| session.own.is_none()) else {
            return Verdict::Foreign;
        };
        if client >= CLIENT_ID_MAX || clock > CLOCK_MAX || text.len() > self.limits.entry_bytes_max {
            return Verdict::Malformed;
        }
        let is_end = text.trim() == ENDED;
        let known = self.entries.get(&client);
        if let Some(entry) = known.filter(|entry| entry.session == id) {
            if clock < entry.clock || (clock == entry.clock && !is_end) {
                return Verdict::Stale;
            }
            if is_end {
                self.withdraw(now, id, client, clock);
                return Verdict::Taken;
            }
        } else if is_end || !self.may_take(session, known, client, clock) || !may_claim(client) {
            return Verdict::Foreign;
        }
        let Some((text, state)) = session.stamp.apply(text) else {
            return Verdict::Malformed;
        };
        self.put_entry(id, client, clock, text, state);
        Verdict::Taken
    }

    /// Whether a session may have a client id that is not its own so far.
    fn may_take(&self, session: &Session, known: Option<&Entry>, client: u64, clock: u32) -> bool {
        if session.claimed.len() >= self.limits.entries_session_max {
            return false;
        }
        let Some(entry) = known else {
            let has_room = self.entries.len() < self.limits.entries_board_max;
            let user = &session.person.user;
            return has_room && self.gone.may_return(client, user, clock, session.joined);
        };
        // The owner's connection hangs and the client is back on a new one. A newer clock proves that it is the client:
        // an echo has at most the clock we sent out.
        let owner = self.sessions.get(&entry.session);
        clock > entry.clock
            && owner.is_some_and(|owner| owner.own.is_none() && owner.person.user == session.person.user)
    }

    fn put_entry(&mut self, id: SessionId, client: u64, clock: u32, text: Arc<str>, state: Value) {
        let is_same = if let Some(entry) = self.entries.get_mut(&client) {
            let before = std::mem::replace(&mut entry.session, id);
            let is_same = entry.text == text && before == id;
            entry.clock = clock;
            (entry.text, entry.state) = (text, state);
            self.news.changed_entry(client, entry);
            if before != id {
                self.release(before, client);
                self.claim(id, client);
            }
            is_same
        } else {
            self.entries.insert(client, Entry::new(id, clock, text, state));
            self.news.entry(client);
            self.claim(id, client);
            false
        };
        // Keeping alive matters to the Yjs door alone; on ours the session does that.
        if let Some(session) = self.sessions.get_mut(&id).filter(|_| !is_same) {
            (session.newest, session.is_shown) = (Some(client), true);
            self.news.session(id);
        }
    }

    fn claim(&mut self, id: SessionId, client: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.claimed.push(client);
        }
    }

    fn release(&mut self, id: SessionId, client: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.claimed.retain(|claimed| *claimed != client);
            if session.newest == Some(client) {
                session.newest = session.claimed.last().copied();
                self.news.session(id);
            }
        }
    }

    fn withdraw(&mut self, now: Timestamp, id: SessionId, client: u64, clock: u32) {
        self.entries.remove(&client);
        self.release(id, client);
        if let Some(user) = self.sessions.get(&id).map(|session| session.person.user.clone()) {
            self.end_entry(now, client, user, clock, Some(id));
        }
    }

    /// `by`: the session that ended it and goes on.
    fn end_entry(&mut self, now: Timestamp, client: u64, user: UserId, clock: u32, by: Option<SessionId>) {
        self.turn += 1;
        self.news.ended.push((client, clock, by));
        let max = self.limits.entries_board_max;
        self.gone.add(now, self.turn, client, user, clock, max);
    }

    fn draw_client(&mut self) -> u64 {
        while self.entries.contains_key(&self.next_client) {
            self.next_client += 1;
        }
        self.next_client += 1;
        self.next_client - 1
    }

    fn sweep(&mut self, now: Timestamp) {
        self.gone.sweep(now);
        self.sweep_others(now);
        for (id, session) in &mut self.sessions {
            if session.own.is_none() {
                continue;
            }
            if session.shown.expire(now) {
                self.news.session(*id);
            }
            for client in &session.claimed {
                if let Some(entry) = self.entries.get_mut(client)
                    && !entry.is_changed
                    && now.0.abs_diff(entry.sent.0) >= REFRESH_INTERVAL_MS
                {
                    entry.clock = entry.clock.saturating_add(1);
                    self.news.changed_entry(*client, entry);
                }
            }
        }
    }

    fn flush_awareness(&mut self, now: Timestamp) -> Option<Bytes> {
        let mut encoder = Encoder::default();
        let (sessions, others) = (&self.sessions, &mut self.others);
        for (client, clock, by) in self.news.ended.drain(..) {
            // Who was away for less than a tick is not taken from the others' screens.
            if self.entries.get(&client).is_none_or(|entry| entry.clock < clock) {
                encoder.push(client, clock, ENDED);
                let by = by.and_then(|by| sessions.get(&by));
                others.note_awareness(by.map(|by| &**by), client, clock, ENDED);
            }
        }
        for client in self.news.entries.drain(..) {
            if let Some(entry) = self.entries.get_mut(&client).filter(|entry| entry.is_changed) {
                (entry.is_changed, entry.sent) = (false, now);
                encoder.push(client, entry.clock, &entry.text);
                let session = sessions.get(&entry.session).map(|session| &**session);
                others.note_awareness(session, client, entry.clock, &entry.text);
            }
        }
        encoder.finish()
    }

    fn flush_ephemeral(&mut self) -> Option<ServerFrame> {
        let left = self.news.left.drain(..);
        let mut states: Vec<_> = left.map(|person| person.shows("leave", None, Value::Null)).collect();
        for id in std::mem::take(&mut self.news.sessions) {
            if let Some(session) = self.sessions.get_mut(&id) {
                let before = states.len();
                session.flush(&self.entries, &mut states);
                self.others.note_states(session, &states[before..]);
            }
        }
        (!states.is_empty()).then_some(ServerFrame::Ephemeral { states })
    }
}

impl Person {
    fn shows(&self, kind: &str, gesture: Option<GestureId>, data: Value) -> EphemeralState {
        EphemeralState {
            session: self.session,
            user: self.user.clone(),
            kind: kind.to_owned(),
            gesture,
            data,
        }
    }
}

enum Verdict {
    Taken,
    Stale,
    Foreign,
    Malformed,
}
