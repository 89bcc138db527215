//! One connection inside a room: who it is, what it may do, and how it has behaved.

use std::collections::VecDeque;

use crate::protocol::Route;
use crate::protocol::codec::Format;
use crate::protocol::ids::{ClientId, GestureId, Role, SessionId, Timestamp, UserId};

use super::ring::Form;
use super::run::Recent;

/// Edits of one session less than this apart belong to one step of undo, where the client names no gesture.
const GESTURE_WINDOW_MS: u64 = 500;

/// Through which door a session came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// y-protocols.
    Yjs,
    /// `panseo.v1`.
    Own {
        /// Encoding of its frames.
        format: Format,
        /// Whether it keeps a document: it is sent updates, else changes.
        document: bool,
        /// Its outbox.
        client: ClientId,
    },
    /// One request over HTTP; it reads nothing but its answer.
    Request {
        /// Its outbox, where it names one.
        client: Option<ClientId>,
    },
}

impl Door {
    /// The form in which frames for all reach the session; none for a request.
    pub fn form(self) -> Option<Form> {
        match self {
            Self::Yjs => Some(Form::Yjs),
            Self::Own {
                format: Format::MsgPack,
                document: true,
                ..
            } => Some(Form::MsgPackUpdates),
            Self::Own {
                format: Format::MsgPack,
                document: false,
                ..
            } => Some(Form::MsgPackChanges),
            Self::Own {
                format: Format::Json,
                document: true,
                ..
            } => Some(Form::JsonUpdates),
            Self::Own {
                format: Format::Json,
                document: false,
                ..
            } => Some(Form::JsonChanges),
            Self::Request { .. } => None,
        }
    }

    /// The outbox that numbers the session's frames.
    pub fn client(self) -> Option<ClientId> {
        match self {
            Self::Yjs => None,
            Self::Own { client, .. } => Some(client),
            Self::Request { client } => client,
        }
    }
}

/// Who joins, and how.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The new session.
    pub session: SessionId,
    /// The person, by their token.
    pub user: UserId,
    /// Their name, by their token.
    pub name: Option<String>,
    /// What they may do.
    pub role: Role,
    /// Whether the room knows all that their client has sent, through other nodes too.
    pub is_level: bool,
    /// Through which door.
    pub door: Door,
    /// Next clocks of the client's document, where it said so.
    pub vector: Option<Vec<(u64, u32)>>,
    /// Where the board is best served, if somebody knows.
    pub route: Option<Route>,
}

impl Joining {
    /// Whether a client of our own door keeps a document that may hold what this side lost.
    pub fn is_asked(&self) -> bool {
        let keeps_document = matches!(self.door, Door::Own { document: true, .. });
        keeps_document && self.vector.is_some() && self.role >= Role::Editor && self.is_level
    }
}

/// One connection inside a room.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not follow from each other")]
pub struct Session {
    /// The person, by their token.
    pub user: UserId,
    /// What they may do now.
    pub role: Role,
    /// Without it nothing is taken: what it sends may have come before, and has to come again.
    pub is_level: bool,
    /// Through which door it came.
    pub door: Door,
    /// Steps of undo are told apart by time where the client names no gesture.
    window: Option<(GestureId, Timestamp)>,
    /// Refused `busy`: all behind it is refused too, until the log has caught up.
    pub is_held: bool,
    /// It has handed over what this side lacked, or its client keeps no document.
    pub is_settled: bool,
    /// Client id that its own blocks came under last.
    pub document: Option<u64>,
    /// What it wrote last, where something may overwrite it soon.
    pub(super) recent: Option<Recent>,
    /// It was told to end: what it still sends is not read, but comes again.
    pub is_over: bool,
    /// When sync step 1 came last, and an awareness query.
    pub asked: [Option<Timestamp>; 2],
    malformed: Strikes,
    gaps: Strikes,
    put_back: Strikes,
}

/// Offences that end a session when too many come in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// A frame that is no frame.
    Malformed,
    /// An update that builds on what is not known.
    Gap,
    /// A change of an entry that the user may not touch.
    PutBack,
}

#[derive(Debug, Default)]
struct Strikes(VecDeque<Timestamp>);

impl Strikes {
    fn count(&mut self, now: Timestamp, window_ms: u64) -> usize {
        self.0.push_back(now);
        while self.0.front().is_some_and(|time| now.since(*time) > window_ms) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

impl Session {
    /// A session that has just joined.
    pub fn new(joining: &Joining) -> Self {
        Self {
            user: joining.user.clone(),
            role: joining.role,
            is_level: joining.is_level,
            door: joining.door,
            window: None,
            is_held: false,
            is_settled: joining.door != Door::Yjs && !joining.is_asked(),
            document: None,
            recent: None,
            is_over: false,
            asked: [None; 2],
            malformed: Strikes::default(),
            gaps: Strikes::default(),
            put_back: Strikes::default(),
        }
    }

    /// The gesture of an edit that names none: that of the last one, if it is recent, else `fresh`.
    pub fn implied_gesture(&mut self, now: Timestamp, fresh: GestureId) -> GestureId {
        let gesture = match self.window {
            Some((gesture, last)) if now.since(last) < GESTURE_WINDOW_MS => gesture,
            _ => fresh,
        };
        self.window = Some((gesture, now));
        gesture
    }

    /// The next edit begins a new step.
    pub fn end_gesture(&mut self) {
        self.window = None;
    }

    /// Counts an offence; gives how many there were lately.
    pub fn strike(&mut self, offence: Offence, now: Timestamp) -> usize {
        match offence {
            Offence::Malformed => self.malformed.count(now, 10_000),
            Offence::Gap => self.gaps.count(now, 60_000),
            Offence::PutBack => self.put_back.count(now, 60_000),
        }
    }
}
