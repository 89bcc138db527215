//! All that crosses the wire or lies in the log: frames of `panseo.v1` in both directions, and records.
//!
//! Frames are one map each, `t` names the kind, unknown keys are ignored. The subprotocols `panseo.v1.msgpack` and
//! `panseo.v1.json` carry the same frames. Nothing here knows a socket, a file or the CRDT library.

pub mod close;
pub mod codec;
pub mod element;
pub mod extent;
pub mod ids;
pub mod limits;
pub mod notice;
pub mod op;
pub mod order;
pub mod points;
pub mod relay;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use element::{Change, Item, Value};
use ids::{ClientId, EntryId, GestureId, Position, RecordId, Role, SessionId, Timestamp, UserId};
use op::Op;

/// Version in the names of the subprotocols.
pub const PROTOCOL_VERSION: u32 = 1;

/// Bytes: `bin` in MessagePack, base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Both forms are taken, because serde forgets which format it reads once it buffers a tagged frame.
        deserializer.deserialize_any(BlobVisitor)
    }
}

struct BlobVisitor;

impl Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or base64 in JSON")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob::from(bytes))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
        BASE64
            .decode(text)
            .map(Blob::from)
            .map_err(|_malformed| E::custom("bytes must be base64"))
    }
}

impl JsonSchema for Blob {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Blob".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Bytes: `bin` in MessagePack, base64 in JSON.",
            "type": "string",
            "contentEncoding": "base64"
        })
    }
}

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum ClientFrame {
    /// First frame of a connection.
    Hello(Hello),
    /// Ops: one transaction, one record, all or none.
    Op {
        /// Counted from 1 for each `client` and board.
        #[schemars(range(min = 1))]
        seq: u64,
        /// Step of undo these ops belong to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gesture: Option<GestureId>,
        /// What is asked for.
        ops: Vec<Op>,
    },
    /// A Yjs v1 update of the client's own document.
    Update {
        /// Counted from 1 for each `client` and board.
        #[schemars(range(min = 1))]
        seq: u64,
        /// Step of undo this update belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gesture: Option<GestureId>,
        /// Yjs update, encoding v1.
        update: Blob,
    },
    /// What the server lacks, where its `resync` had a vector: all that the client's document has beyond that.
    Resync {
        /// Yjs update, encoding v1.
        update: Blob,
    },
    /// A state that is shown and never stored: pointer, stroke in the making, drag.
    Ephemeral(Ephemeral),
    //
    /// Goes on with the stroke that this session added to last. It comes 20 times a second, so its names are short.
    More {
        /// What is added, as in `data` of `ephemeral`.
        d: Value,
    },
    /// Asks for a `pong`.
    Ping {},
}

/// First frame of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The client's outbox (UUIDv7): `(client, seq)` names a frame for ever.
    pub client: ClientId,
    /// Token, where neither header nor query could carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Name to go by; taken with `--auth open` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Whether the client keeps a Yjs document. `false`: events carry changes, not updates.
    #[serde(default = "yes")]
    pub document: bool,
    /// State vector of the client's document, encoding v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Blob>,
}

fn yes() -> bool {
    true
}

/// Strokes are many and small, so their frames need not say what they are.
fn stroke() -> String {
    "stroke".into()
}

fn is_stroke(kind: &str) -> bool {
    kind == "stroke"
}

/// A state that is shown and never stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ephemeral {
    /// `pointer`, `drag`, `viewport`, ...: the newest of a session and kind counts. `stroke` adds to its gesture.
    #[serde(default = "stroke", skip_serializing_if = "is_stroke")]
    #[schemars(length(max = 32), extend("default" = "stroke"))]
    pub kind: String,
    /// Gesture that a `stroke` or `drag` will commit under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gesture: Option<GestureId>,
    /// What is shown.
    pub data: Value,
}

impl Ephemeral {
    /// What goes on with the stroke that its session added to last.
    pub fn more(data: Value) -> Self {
        let (kind, gesture) = (stroke(), None);
        Self { kind, gesture, data }
    }
}

/// One person's ephemeral state as others get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EphemeralState {
    /// Connection it comes from.
    pub session: SessionId,
    /// Person it comes from, by their token.
    pub user: UserId,
    /// As sent, or `join` and `leave`, which the server says.
    pub kind: String,
    /// Gesture that a `stroke` or `drag` will commit under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gesture: Option<GestureId>,
    /// What is shown.
    pub data: Value,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum ServerFrame {
    //
    /// Answer to `hello`.
    Welcome {
        /// This connection.
        session: SessionId,
        /// Who the server takes the client for.
        user: UserId,
        /// What the client may do.
        role: Role,
        /// Highest `seq` of this client that was taken.
        seq: u64,
        /// Frames of this client that were refused, in case their errors were lost. No `ack` speaks for them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Refused>,
        /// Place in the log up to which the server has applied.
        position: Position,
        /// Ceilings the client should know.
        limits: ClientLimits,
        //
        /// Where the board is best served, in a cluster whose nodes have addresses of their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<Route>,
    },
    //
    /// What the client lacks, or all of it: after `welcome`, and instead of a backlog.
    Resync {
        /// Yjs update, for clients with a document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        update: Option<Blob>,
        /// All entries, for clients without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entries: Option<Vec<Item>>,
        /// State vector of the server, encoding v1: the client answers with a `resync` of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector: Option<Blob>,
        /// Place in the log up to which this is known to hold everything.
        position: Position,
    },
    //
    /// What somebody did.
    Event {
        /// Name of the record.
        id: RecordId,
        /// Who did it.
        author: UserId,
        /// How it came about.
        kind: RecordKind,
        /// Step of undo it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gesture: Option<GestureId>,
        /// When the room took it.
        time: Timestamp,
        /// Yjs update, for clients with a document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        update: Option<Blob>,
        /// What changed, for clients without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changes: Option<Vec<Change>>,
        /// Place in the log, where the log brought it from elsewhere; its absence says nothing about durability.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// What changed among the ephemeral states since the last tick.
    Ephemeral {
        /// The changed states.
        states: Vec<EphemeralState>,
    },
    //
    /// All frames of this client up to `seq` that got no `error` are durable.
    Ack {
        /// Highest acknowledged.
        seq: u64,
        /// Place of its record; where it changed nothing, what the server has applied.
        position: Position,
        /// What an undo or redo came to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undone: Option<Undone>,
    },
    //
    /// All records of this room up to `id` are durable.
    Saved {
        /// The newest of them.
        id: RecordId,
        /// Its place in the log.
        position: Position,
    },
    /// The session's role is another one now.
    Role {
        /// The new role.
        role: Role,
        /// Why, in fixed words.
        why: String,
    },
    /// A frame was refused; it changed nothing.
    Error {
        /// What was wrong, for programs.
        code: ErrorCode,
        /// What was wrong and what to do, for people.
        message: String,
        /// Frame that was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
    /// Answer to `ping`.
    Pong {},
}

/// Ceilings a client should know, so that it can refuse by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientLimits {
    /// Bytes of an `op` frame.
    pub op_bytes_max: usize,
    /// Bytes of an `update` frame.
    pub update_bytes_max: usize,
    /// Bytes of the first update of a connection.
    pub first_update_bytes_max: usize,
    /// Bytes of an asset.
    pub asset_bytes_max: usize,
    /// Elements on a board.
    pub elements_max: usize,
    /// Updates and ops a second.
    pub updates_per_second: u32,
    /// Ephemeral frames a second.
    pub ephemeral_per_second: u32,
    /// Milliseconds between frames of ephemeral states.
    pub tick_ms: u64,
}

//
/// What an undo or redo came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undone {
    /// Steps that were taken from the stack, those without effect first.
    pub steps: Vec<RecordId>,
    /// Entries that changed.
    pub changed: usize,
    /// Entries that stayed because somebody else has changed them since.
    pub skipped: usize,
}

//
/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not a valid op frame.
    BadOp,
    /// The session's role or rights do not allow it.
    Forbidden,
    /// An entry it names does not exist.
    NotFound,
    /// The id is taken by another content.
    Conflict,
    /// The frame is larger than its kind may be.
    TooLarge,
    /// The board has as many elements, or its document as many bytes, as it may.
    BoardFull,
    /// The log does not keep up: send it again later, with all that came behind it.
    Busy,
    /// The board takes no edits now.
    ReadOnly,
    /// The update builds on what the server does not have: send the whole difference.
    NeedsResync,
    /// There is nothing to undo or redo.
    NothingToUndo,
    /// The place in the log is not known.
    UnknownPosition,
}

//
/// Where a board is best served: addresses like `https://host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct Route {
    /// The node that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// All nodes, the best first. Empty: this one serves every board, or the nodes cannot be told apart from outside.
    pub hosts: Vec<String>,
}

/// A run of frames that were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// `seq` of the first.
    pub first: u64,
    /// `seq` of the last.
    pub last: u64,
    /// Why.
    pub code: ErrorCode,
}

//
/// How a record came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Ops.
    Op,
    /// A Yjs update of a client.
    Update,
    /// An undo.
    Undo,
    /// A redo.
    Redo,
    /// Long deleted elements were removed for good.
    Purge,
}

//
/// An update with author and circumstances, as it lies in the log. Its position is the log's to give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Name of the record.
    pub id: RecordId,
    /// Place in the log that the room had applied when it made the record.
    pub base: Position,
    /// Who did it.
    pub author: UserId,
    /// Outbox the frame came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// Highest `seq` of that outbox in this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Frames of that outbox before `seq`, and after its last record, that were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// How it came about.
    pub kind: RecordKind,
    /// Step of undo it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gesture: Option<GestureId>,
    /// When the room took it.
    pub time: Timestamp,
    /// Whose stack `steps` speaks of, where it is not the author's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// Steps that an undo or redo takes from the stack; the last one is what `changes` takes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<RecordId>,
    /// What changed, read from the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    //
    /// `changes` would have been too large: the step cannot be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changes_left_out: bool,
    /// Blocks of other users' client ids that this author handed over: `(client id, first clock, end clock)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relayed: Vec<(u64, u32, u32)>,
    /// Yjs update, encoding v1.
    pub update: Blob,
}

/// A record in its place.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where it lies.
    pub position: Position,
    /// What it is.
    pub record: Arc<Record>,
}

/// Key of the like that `user` gives to `target`.
pub fn like_key(target: &EntryId, user: &UserId) -> String {
    format!("{target}:{user}")
}
