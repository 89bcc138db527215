//! The same board on other nodes: telling its rooms there who is here and what they show, and taking in what they tell.
//!
//! A session of another node is a session like those here, marked with the room it comes from; so the same limits hold
//! for it, and it is in everything that people here are told. Whatever is lost on the way is told again some seconds
//! later. A room that is not heard of any more takes its people with it after a grace.
//!
//! What is shown goes out only while another room says that somebody is on the board through it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::awareness::Encoder;
use super::session::Session;
use super::shown::value_bytes;
use super::{Door, Person, Presence};
use crate::protocol::ids::{GestureId, RecordId, SessionId, Timestamp};
use crate::protocol::limits::VALUE_DEPTH_MAX;
use crate::protocol::relay::{Lane, Present, Relayed};
use crate::protocol::{Blob, Ephemeral, EphemeralState};

/// How often everything is told again.
const REFRESH_MS: u64 = 10_000;
/// A session of another node that was not told of for so long is gone: two refreshes may be lost.
const GRACE_MS: u64 = 30_000;
/// What was shown so long ago is of no use any more.
const STALE_MS: i64 = 2_000;
/// By so much a node's clock may seem to fall behind between two refreshes.
const DRIFT_MS: i64 = 1_000;
/// Between two questions what is shown elsewhere; doubled while nobody hears them.
const ASK_MS: u64 = 200;
const ASK_DOUBLINGS_MAX: u32 = 5;
/// The first questions do not wait for a slow tick.
const ASKS_SOON: u32 = 4;
/// Rough size of one message; the topics take twice as much.
const PART_BYTES: usize = 96 * 1024;
/// Rough size of a person in it, beside their names.
const PERSON_BYTES: usize = 64;
/// Rooms of one board: far more than nodes make sense.
const ROOMS_MAX: usize = 256;
/// People on other nodes: as many as one node has connections.
const SESSIONS_MAX: usize = 20_000;
/// Gestures that others have just committed. What was shown of one before that may come behind its record.
const COMMITTED_MAX: usize = 256;

/// Where a session of another node comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere {
    room: u64,
    heard: Timestamp,
}

/// What is known of the other rooms, and what they are to be told.
#[derive(Default)]
pub(super) struct Others {
    /// Name of this room there; none: there are no other nodes.
    room: Option<u64>,
    rooms: BTreeMap<u64, Other>,
    /// Sessions of theirs that are shown here.
    count: usize,
    /// Sessions that came, and that left, since the others were told last.
    joined: BTreeSet<SessionId>,
    left: Vec<SessionId>,
    /// What was shown since the last tick.
    states: Vec<EphemeralState>,
    awareness: BTreeMap<SessionId, Encoder>,
    /// Rooms that asked what is shown here.
    askers: BTreeSet<u64>,
    /// When everything was told last; none: the others know nothing of this room.
    told: Option<Timestamp>,
    asking: Asking,
    committed: VecDeque<(GestureId, RecordId)>,
}

/// Another room of the board.
struct Other {
    heard: Timestamp,
    /// By how much its clock was behind ours when its quickest message came.
    behind_ms: i64,
}

/// Whether this room still has to ask the others what they show.
#[derive(Default)]
struct Asking {
    /// It has heard itself, so it is reached by the others; and they left nothing open.
    is_done: bool,
    last: Option<Timestamp>,
    count: u32,
}

/// What others told and is not shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unshown {
    /// It was on its way for too long.
    pub old: usize,
    /// It comes from somebody of whom is not known that they are there.
    pub unknown: usize,
    /// It is above a limit, or malformed.
    pub refused: usize,
}

impl Others {
    /// Somebody joined here.
    pub(super) fn joined(&mut self, id: SessionId) {
        if self.room.is_some() {
            self.joined.insert(id);
        }
    }

    /// A session ended, here or elsewhere.
    pub(super) fn left(&mut self, id: SessionId, is_elsewhere: bool) {
        if is_elsewhere {
            self.count -= 1;
        } else if self.room.is_some() && !self.joined.remove(&id) {
            self.left.push(id);
        }
    }

    /// A Yjs client's entry went out.
    pub(super) fn note_awareness(&mut self, session: Option<&Session>, client: u64, clock: u32, text: &str) {
        let Some(session) = session.filter(|session| session.own.is_none() && session.elsewhere.is_none()) else {
            return;
        };
        if !self.rooms.is_empty() {
            let entries = self.awareness.entry(session.person.session).or_default();
            entries.push(client, clock, text);
        }
    }

    /// States of a session went out.
    pub(super) fn note_states(&mut self, session: &Session, states: &[EphemeralState]) {
        if !self.rooms.is_empty() && session.own.is_some() && session.elsewhere.is_none() {
            // Who is here is told by itself.
            let shown = states.iter().filter(|state| state.kind != "join");
            self.states.extend(shown.cloned());
        }
    }

    /// Age of a message, by clocks that may differ.
    fn age(&mut self, now: Timestamp, relayed: &Relayed) -> i64 {
        let signed = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
        let behind = signed(now).saturating_sub(signed(relayed.sent));
        let Some(other) = self.rooms.get_mut(&relayed.room) else {
            return 0;
        };
        // Clocks are set from time to time: without the drift, a node that goes back by seconds would never be heard again.
        let drift = if relayed.here.is_empty() { 0 } else { DRIFT_MS };
        other.behind_ms = behind.min(other.behind_ms.saturating_add(drift));
        behind - other.behind_ms
    }

    /// Whether a record that came already has ended what this message shows of the gesture.
    fn is_committed(&self, gesture: Option<GestureId>, relayed: &Relayed) -> bool {
        let mut committed = self.committed.iter();
        gesture.is_some_and(|gesture| {
            committed.any(|(other, id)| *other == gesture && id.0 == relayed.room && relayed.number < id.1)
        })
    }
}

impl Asking {
    fn is_due(&mut self, now: Timestamp) -> bool {
        let pause = ASK_MS << self.count.min(ASK_DOUBLINGS_MAX);
        if self.is_done || self.last.is_some_and(|last| now.0.abs_diff(last.0) < pause) {
            return false;
        }
        (self.last, self.count) = (Some(now), self.count + 1);
        true
    }

    fn heard_itself(&mut self) {
        (self.is_done, self.count) = (true, 0);
    }
}

impl Presence {
    /// There are other nodes: from now on their rooms of this board are told of the people here. `room` is this one's name.
    pub fn share(&mut self, room: u64) {
        self.others.room = Some(room);
    }

    /// Whether what other rooms tell matters here: somebody is here to see it.
    pub fn is_shared(&self) -> bool {
        self.others.room.is_some() && self.sessions.len() > self.others.count
    }

    /// Whether the others are to be asked soon.
    pub fn is_asking(&self) -> bool {
        let asking = &self.others.asking;
        self.is_shared() && !asking.is_done && asking.count < ASKS_SOON
    }

    /// Another room's record committed a gesture: what was shown of it ends.
    pub fn committed_elsewhere(&mut self, gesture: GestureId, record: RecordId) {
        if self.others.room.is_none() {
            return;
        }
        for session in self.sessions.values_mut().filter(|session| session.elsewhere.is_some()) {
            session.shown.committed(gesture);
        }
        self.others.committed.push_back((gesture, record));
        if self.others.committed.len() > COMMITTED_MAX {
            self.others.committed.pop_front();
        }
    }

    /// Takes what another room tells; `walk` takes an awareness update apart, if it is well-formed.
    pub fn relayed<'a>(
        &mut self,
        now: Timestamp,
        relayed: &'a Relayed,
        walk: impl Fn(&'a [u8]) -> Option<Vec<(u64, u32, &'a str)>>,
    ) -> Unshown {
        let mut unshown = Unshown::default();
        if Some(relayed.room) == self.others.room {
            if relayed.asks {
                self.others.asking.heard_itself();
            }
            return unshown;
        }
        if !self.is_shared() || relayed.to.is_some_and(|to| Some(to) != self.others.room) {
            return unshown;
        }
        if relayed.is_over {
            self.others.rooms.remove(&relayed.room);
            self.leave_elsewhere(now, |elsewhere| elsewhere.room == relayed.room);
            return unshown;
        }
        let shows = relayed.states.len() + relayed.awareness.len();
        if !self.others.rooms.contains_key(&relayed.room) && relayed.here.is_empty() {
            unshown.unknown += shows;
            self.others.asking.is_done = false;
            return unshown;
        }
        if !self.hears_of(now, relayed) {
            unshown.refused += 1;
            return unshown;
        }
        let age = self.others.age(now, relayed);
        if age >= i64::try_from(GRACE_MS).unwrap_or(i64::MAX) {
            unshown.old += 1;
            return unshown;
        }
        self.take_people(now, relayed, &mut unshown);
        if age >= STALE_MS {
            unshown.old += shows;
        } else if shows > 0 {
            self.take_states(now, relayed, &mut unshown);
            self.take_awareness(now, relayed, walk, &mut unshown);
        }
        // Somebody came whom this room was not told of: all are asked again.
        if unshown.unknown > 0 {
            self.others.asking.is_done = false;
        }
        unshown
    }

    /// Notes the room; `false` if there are too many.
    fn hears_of(&mut self, now: Timestamp, relayed: &Relayed) -> bool {
        let others = &mut self.others;
        if !others.rooms.contains_key(&relayed.room) && others.rooms.len() >= ROOMS_MAX {
            return false;
        }
        let other = others.rooms.entry(relayed.room).or_insert(Other {
            heard: now,
            behind_ms: i64::MAX,
        });
        other.heard = now;
        if relayed.asks {
            others.askers.insert(relayed.room);
        }
        true
    }

    fn take_people(&mut self, now: Timestamp, relayed: &Relayed, unshown: &mut Unshown) {
        let elsewhere = Elsewhere {
            room: relayed.room,
            heard: now,
        };
        for present in &relayed.here {
            match self.sessions.get_mut(&present.session) {
                Some(session) if session.elsewhere.is_some_and(|known| known.room == relayed.room) => {
                    session.elsewhere = Some(elsewhere);
                }
                // The name is another's.
                Some(_) => unshown.refused += 1,
                None if self.others.count >= SESSIONS_MAX => unshown.refused += 1,
                None => {
                    let person = Person {
                        session: present.session,
                        user: present.user.clone(),
                        name: present.name.clone(),
                    };
                    let door = if present.is_yjs { Door::Yjs } else { Door::Own };
                    self.admit(now, person, door, Some(elsewhere));
                    self.others.count += 1;
                }
            }
        }
        for id in &relayed.left {
            if self.is_of(*id, relayed) {
                self.leave(now, *id);
            }
        }
    }

    fn take_states(&mut self, now: Timestamp, relayed: &Relayed, unshown: &mut Unshown) {
        // What was asked for is told whole: strokes that are known would be there twice.
        let (mut known, mut new) = (BTreeSet::new(), BTreeSet::new());
        for state in &relayed.states {
            if !self.is_of(state.session, relayed) {
                unshown.unknown += 1;
                continue;
            }
            if state.data.depth() >= VALUE_DEPTH_MAX {
                unshown.refused += 1;
                continue;
            }
            let shown = &self.sessions[&state.session].shown;
            if let (true, Some(gesture)) = (relayed.to.is_some() && state.kind == "stroke", state.gesture) {
                if !new.contains(&gesture) && shown.has_stroke(gesture) {
                    known.insert(gesture);
                }
                new.insert(gesture);
                if known.contains(&gesture) {
                    continue;
                }
            }
            if shown.has(state) || self.others.is_committed(state.gesture, relayed) {
                continue;
            }
            let frame = Ephemeral {
                kind: state.kind.clone(),
                gesture: state.gesture,
                data: state.data.clone(),
            };
            if self.ephemeral(now, state.session, frame).is_err() {
                unshown.refused += 1;
            }
        }
    }

    fn take_awareness<'a>(
        &mut self,
        now: Timestamp,
        relayed: &'a Relayed,
        walk: impl Fn(&'a [u8]) -> Option<Vec<(u64, u32, &'a str)>>,
        unshown: &mut Unshown,
    ) {
        for (id, update) in &relayed.awareness {
            if !self.is_of(*id, relayed) {
                unshown.unknown += 1;
            } else if let Some(entries) = walk(&update.0) {
                // Whose the client id is was decided where its client is.
                let counted = self.awareness(now, *id, entries, |_client| true);
                unshown.refused += counted.malformed + counted.foreign;
            } else {
                unshown.refused += 1;
            }
        }
    }

    /// Whether the session is one of the room that speaks.
    fn is_of(&self, id: SessionId, relayed: &Relayed) -> bool {
        let elsewhere = self.sessions.get(&id).and_then(|session| session.elsewhere);
        elsewhere.is_some_and(|elsewhere| elsewhere.room == relayed.room)
    }

    fn leave_elsewhere(&mut self, now: Timestamp, is_meant: impl Fn(Elsewhere) -> bool) {
        let sessions = self.sessions.iter();
        let gone: Vec<_> = sessions
            .filter(|(_, session)| session.elsewhere.is_some_and(&is_meant))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.leave(now, id);
        }
    }

    /// Forgets rooms and people that were not heard of for too long.
    pub(super) fn sweep_others(&mut self, now: Timestamp) {
        let is_over = |heard: Timestamp| now.since(heard) >= GRACE_MS;
        if self.others.rooms.values().any(|other| is_over(other.heard)) {
            self.others.rooms.retain(|_, other| !is_over(other.heard));
        }
        if self.others.count > 0 {
            self.leave_elsewhere(now, |elsewhere| is_over(elsewhere.heard));
        }
    }

    /// All that is shown here, for those who asked.
    pub(super) fn answer_others(&mut self, now: Timestamp) -> Vec<(Lane, Relayed)> {
        let mut said = Vec::new();
        for asker in std::mem::take(&mut self.others.askers) {
            let mut parts = Parts::new(self.others.room, now, Some(asker));
            self.say_people(&mut parts, |_| true);
            let mut states = Vec::new();
            for session in self.own_sessions() {
                session.shown.snapshot(&session.person, &mut states);
            }
            parts.states(states);
            self.say_entries(&mut parts);
            said.extend(parts.said(Lane::Presence));
        }
        said
    }

    /// What the other rooms are to be told now.
    pub(super) fn tell_others(&mut self, now: Timestamp) -> Vec<(Lane, Relayed)> {
        if self.others.room.is_none() {
            return Vec::new();
        }
        if !self.is_shared() {
            return self.part(now).into_iter().map(|over| (Lane::Presence, over)).collect();
        }
        let asks = self.others.asking.is_due(now);
        let is_due = asks || self.others.told.is_none_or(|told| now.0.abs_diff(told.0) >= REFRESH_MS);
        let mut presence = Parts::new(self.others.room, now, None);
        let mut cursors = Parts::new(self.others.room, now, None);
        presence.part.asks = asks;
        let joined = std::mem::take(&mut self.others.joined);
        self.say_people(&mut presence, |id| is_due || joined.contains(id));
        presence.part.left = std::mem::take(&mut self.others.left);
        if is_due {
            self.others.told = Some(now);
            if !self.others.rooms.is_empty() {
                self.say_rest(&mut presence, &joined);
            }
        }
        // What newcomers show goes with them, so that it does not come before them.
        for state in std::mem::take(&mut self.others.states) {
            let parts = if joined.contains(&state.session) {
                &mut presence
            } else {
                &mut cursors
            };
            parts.state(state);
        }
        for (id, entries) in std::mem::take(&mut self.others.awareness) {
            let parts = if joined.contains(&id) {
                &mut presence
            } else {
                &mut cursors
            };
            parts.awareness(id, entries);
        }
        let mut said = presence.said(Lane::Presence);
        said.extend(cursors.said(Lane::Cursors));
        said
    }

    /// Nobody is here any more: the others hear it, and are forgotten.
    fn part(&mut self, now: Timestamp) -> Option<Relayed> {
        let has_told = self.others.told.take().is_some();
        self.leave_elsewhere(now, |_| true);
        let room = self.others.room;
        self.others = Others {
            room,
            committed: std::mem::take(&mut self.others.committed),
            ..Others::default()
        };
        has_told.then(|| Relayed {
            is_over: true,
            ..Parts::new(room, now, None).part
        })
    }

    fn own_sessions(&self) -> impl Iterator<Item = &Session> {
        let sessions = self.sessions.values().map(|session| &**session);
        sessions.filter(|session| session.elsewhere.is_none())
    }

    fn say_people(&self, parts: &mut Parts, is_meant: impl Fn(&SessionId) -> bool) {
        let sessions = self.own_sessions();
        for session in sessions.filter(|session| is_meant(&session.person.session)) {
            parts.person(&session.person, session.own.is_none());
        }
    }

    /// What does not add up, of all who did not come just now.
    fn say_rest(&self, parts: &mut Parts, joined: &BTreeSet<SessionId>) {
        let mut states = Vec::new();
        for session in self.own_sessions() {
            if !joined.contains(&session.person.session) {
                session.shown.rest(&session.person, &mut states);
            }
        }
        parts.states(states);
        self.say_entries(parts);
    }

    fn say_entries(&self, parts: &mut Parts) {
        for session in self.own_sessions().filter(|session| session.own.is_none()) {
            let mut encoder = Encoder::default();
            for client in &session.claimed {
                if let Some(entry) = self.entries.get(client) {
                    encoder.push(*client, entry.clock, &entry.text);
                }
            }
            if !encoder.is_empty() {
                parts.awareness(session.person.session, encoder);
            }
        }
    }
}

/// Something to say, in as many messages as it takes.
struct Parts {
    /// The message that is being made.
    part: Relayed,
    full: Vec<Relayed>,
    bytes: usize,
}

impl Parts {
    fn new(room: Option<u64>, now: Timestamp, to: Option<u64>) -> Self {
        let part = Relayed {
            room: room.unwrap_or_default(),
            sent: now,
            to,
            ..Relayed::default()
        };
        Self {
            part,
            full: Vec::new(),
            bytes: 0,
        }
    }

    /// Makes room for so many bytes.
    fn reserve(&mut self, bytes: usize) -> &mut Relayed {
        if self.bytes > 0 && self.bytes + bytes > PART_BYTES {
            let next = Relayed {
                room: self.part.room,
                sent: self.part.sent,
                to: self.part.to,
                ..Relayed::default()
            };
            self.full.push(std::mem::replace(&mut self.part, next));
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.part
    }

    fn person(&mut self, person: &Person, is_yjs: bool) {
        let bytes = PERSON_BYTES + person.user.as_str().len() + person.name.as_ref().map_or(0, String::len);
        self.reserve(bytes).here.push(Present {
            session: person.session,
            user: person.user.clone(),
            name: person.name.clone(),
            is_yjs,
        });
    }

    fn state(&mut self, state: EphemeralState) {
        let bytes = PERSON_BYTES + state.user.as_str().len() + state.kind.len() + value_bytes(&state.data);
        self.reserve(bytes).states.push(state);
    }

    fn states(&mut self, states: Vec<EphemeralState>) {
        for state in states {
            self.state(state);
        }
    }

    fn awareness(&mut self, id: SessionId, entries: Encoder) {
        let update = Blob::from(entries.payload());
        self.reserve(PERSON_BYTES + update.0.len()).awareness.push((id, update));
    }

    fn said(self, lane: Lane) -> Vec<(Lane, Relayed)> {
        let is_empty = |part: &Relayed| {
            part.here.is_empty() && part.left.is_empty() && part.states.is_empty() && part.awareness.is_empty()
        };
        let all = self.full.into_iter().chain([self.part]);
        all.filter(|part| !is_empty(part)).map(|part| (lane, part)).collect()
    }
}
