//! Bytes <-> frames and log records; the only user of MessagePack, and of JSON for frames.
//!
//! Bytes come from sockets and from the log, values go to the room and back. Size limits are the caller's, who knows
//! what kind of frame may come. Everything else that could hurt is refused here before serde buffers it: depth, lengths
//! that are not backed by bytes, extension types, trailing bytes, numbers that are none.
//!
//! Keys that a frame does not have are ignored, so that a newer peer can say more. An op, property or kind that does not
//! exist is an error which names it, because ignoring it would acknowledge what was not done.

mod walk;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::limits::VALUE_DEPTH_MAX;
use super::{ClientFrame, Record, ServerFrame};
use walk::Bounds;

/// What clients may send. serde buffers a tagged frame whole at 32 bytes a value, so 8 MiB of nulls would take 256 MiB;
/// an op frame of the usual 128 KiB can hold no more values than this.
const FROM_CLIENTS: Bounds = Bounds {
    depth: VALUE_DEPTH_MAX,
    values: 128 * 1024,
};
/// What we wrote ourselves. A value is [`VALUE_DEPTH_MAX`] deep at most, with up to 12 levels of a record or of the stacks
/// in a keyframe around it: one that entered by a Yjs update must not make these unreadable.
const FROM_US: Bounds = Bounds {
    depth: VALUE_DEPTH_MAX + 12,
    values: usize::MAX,
};
/// Characters of the peer's text that an error repeats.
const QUOTE_CHARS_MAX: usize = 40;
/// Characters of a reason, so that no message is longer than 200.
const REASON_CHARS_MAX: usize = 120;

/// How frames are written; the subprotocol of a socket says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `panseo.v1.msgpack`, in binary messages.
    MsgPack,
    /// `panseo.v1.json`, in text messages.
    Json,
}

/// Bytes that are no frame or record. The sender's fault; for a record, a log written by something else.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// The outermost value is an array or a plain value.
    #[error("a frame must be one map: send {{\"t\": \"op\", ...}}, or {{\"ops\": [...]}} where no socket is")]
    NotAMap,
    /// A value ends early, or a length is not backed by bytes.
    #[error("the frame ends inside a value, or a length in it exceeds the bytes that follow: send whole frames")]
    Truncated,
    /// More than one value.
    #[error("{bytes} bytes follow the frame: send one frame in each message")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Nested too deep.
    #[error("the frame is nested deeper than {max} levels: flatten it")]
    TooDeep {
        /// Levels that are allowed.
        max: usize,
    },
    /// More values than an edit needs.
    #[error("the frame holds more than {max} values: split it")]
    TooManyValues {
        /// Values that are allowed, keys included.
        max: usize,
    },
    /// A MessagePack extension type.
    #[error("MessagePack extension types are not taken: send times as whole milliseconds and bytes as `bin`")]
    Extension,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8: send bytes as `bin`")]
    NotUtf8,
    /// NaN or infinite.
    #[error("a number is NaN or infinite: send finite numbers only")]
    NotFinite,
    /// An op, property or kind that does not exist in this version.
    #[error("there is no {what} `{name}` in this version: see the schema for those there are")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// What the peer wrote, shortened.
        name: String,
    },
    /// A key is missing or holds something else, or the bytes are no MessagePack or JSON.
    #[error("the frame does not fit its schema: {reason}; compare it with the schema")]
    Malformed {
        /// What and where, shortened.
        reason: String,
    },
}

/// Reads a client's frame.
pub fn decode_client(format: Format, bytes: &[u8]) -> Result<ClientFrame, CodecError> {
    decode(format, bytes, FROM_CLIENTS)
}

/// Reads a body that a client sent without a socket; it passes the same checks as a frame.
pub fn decode_body<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, CodecError> {
    decode(format, bytes, FROM_CLIENTS)
}

/// Reads a server's frame, as clients in tests and load tools do.
pub fn decode_server(format: Format, bytes: &[u8]) -> Result<ServerFrame, CodecError> {
    decode(format, bytes, FROM_US)
}

/// Reads a record of the log.
pub fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    decode(Format::MsgPack, bytes, FROM_US)
}

/// Writes a client's frame, as clients in tests and load tools do.
pub fn encode_client(format: Format, frame: &ClientFrame) -> Bytes {
    encode(format, frame).into()
}

/// Writes a server's frame.
pub fn encode_server(format: Format, frame: &ServerFrame) -> Bytes {
    encode(format, frame).into()
}

/// Writes a record for the log.
pub fn encode_record(record: &Record) -> Vec<u8> {
    encode(Format::MsgPack, record)
}

/// Writes a record behind what is in `bytes` already.
pub fn encode_record_into(bytes: &mut Vec<u8>, record: &Record) {
    // What stands beside update and changes takes less than this.
    bytes.reserve(record.update.0.len() + 256);
    rmp_serde::encode::write_named(bytes, record).expect("a record holds nothing MessagePack lacks");
}

/// Anything of ours that lies in the store, as MessagePack.
pub fn pack(value: &impl Serialize) -> Vec<u8> {
    encode(Format::MsgPack, value)
}

/// Reads what [`pack`] made.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode(Format::MsgPack, bytes, FROM_US)
}

/// Whether JSON holds more values than that, as its commas and brackets tell: one of a byte is 72 once it is read.
pub fn json_has_more_than(bytes: &[u8], values: usize) -> bool {
    let depth = usize::MAX;
    let checked = walk::check_json(bytes, Bounds { depth, values });
    matches!(checked, Err(CodecError::TooManyValues { .. }))
}

/// The `seq` of a frame that could not be decoded, so that the error can name it. In MessagePack it is found even if
/// what comes behind it is broken.
pub fn seq_of(format: Format, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    match format {
        Format::MsgPack => walk::number_in_msgpack(bytes, "seq", FROM_CLIENTS),
        Format::Json => serde_json::from_slice::<Numbered>(bytes).ok().map(|frame| frame.seq),
    }
}

fn decode<T: DeserializeOwned>(format: Format, bytes: &[u8], bounds: Bounds) -> Result<T, CodecError> {
    match format {
        Format::MsgPack => {
            walk::check_msgpack(bytes, bounds)?;
            rmp_serde::from_slice(bytes).map_err(|error| explain(&error.to_string()))
        }
        Format::Json => {
            walk::check_json(bytes, bounds)?;
            serde_json::from_slice(bytes).map_err(|error| explain(&error.to_string()))
        }
    }
}

fn encode<T: serde::Serialize>(format: Format, value: &T) -> Vec<u8> {
    match format {
        Format::MsgPack => rmp_serde::to_vec_named(value).expect("frames and records hold nothing MessagePack lacks"),
        Format::Json => serde_json::to_vec(value).expect("frames and records have text keys only"),
    }
}

/// Turns serde's message, which may repeat the peer's text at any length, into one that is safe to send back.
fn explain(message: &str) -> CodecError {
    let unknown = message
        .strip_prefix("unknown variant `")
        .and_then(|rest| rest.rsplit_once("`, expected "));
    if let Some((name, expected)) = unknown {
        return CodecError::Unknown {
            what: what_is_expected(expected),
            name: shorten(name, QUOTE_CHARS_MAX),
        };
    }
    let reason = match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            let quoted = shorten(&message[first + 1..last], QUOTE_CHARS_MAX);
            format!("{}\"{quoted}{}", &message[..first], &message[last..])
        }
        _ => message.to_owned(),
    };
    CodecError::Malformed {
        reason: shorten(&reason, REASON_CHARS_MAX),
    }
}

/// What serde's list of names is a list of, by its first name.
fn what_is_expected(expected: &str) -> &'static str {
    let first = expected
        .trim_start_matches("one of ")
        .split('`')
        .nth(1)
        .unwrap_or_default();
    match first {
        "element.create" => "op",
        "type" => "property",
        "hello" | "welcome" => "frame kind",
        "element" => "entry kind",
        "viewer" => "role",
        "op" => "record kind",
        "bad_op" => "error code",
        _ => "name",
    }
}

fn shorten(text: &str, chars_max: usize) -> String {
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    let mut short: String = text.chars().take(chars_max).map(printable).collect();
    if text.chars().nth(chars_max).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
