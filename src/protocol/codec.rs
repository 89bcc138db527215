//! Bytes to frames and log records, and back: the only user of `MessagePack`, and of JSON for frames.
//!
//! Bytes from a client are walked before serde sees them, because it reserves memory by declared lengths and recurses:
//! nesting, lengths, kinds and numbers are checked first. Messages of errors say what was wrong and what to do; of the
//! input they repeat at most a short name.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::limits::VALUE_DEPTH_MAX;
use super::{ClientFrame, Record, ServerFrame};

/// Longest message of an error, in bytes.
const MESSAGE_BYTES_MAX: usize = 200;

/// Which of the two subprotocols a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `panseo.v1.msgpack`, in binary frames.
    MsgPack,
    /// `panseo.v1.json`, in text frames.
    Json,
}

/// Why bytes are not a frame or record.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// Lengths, kinds or nesting do not hold.
    #[error("the frame is not well-formed: {0}")]
    Malformed(&'static str),
    /// It is well-formed, but no frame of this protocol.
    #[error("{0}")]
    Content(String),
}

/// Reads a frame from a client.
pub fn decode_client(format: Format, bytes: &[u8]) -> Result<ClientFrame, CodecError> {
    decode(format, bytes)
}

/// Reads a frame from the server, as a client does.
pub fn decode_server(format: Format, bytes: &[u8]) -> Result<ServerFrame, CodecError> {
    decode(format, bytes)
}

/// Writes a frame of a client, as a client does.
pub fn encode_client(format: Format, frame: &ClientFrame) -> Bytes {
    encode(format, frame)
}

/// Writes a frame of the server.
pub fn encode_server(format: Format, frame: &ServerFrame) -> Bytes {
    encode(format, frame)
}

/// Writes a record for the log: `MessagePack`, fields by name, so that old records stay readable.
pub fn encode_record(record: &Record) -> Bytes {
    encode(Format::MsgPack, record)
}

/// Reads a record from the log.
pub fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    decode(Format::MsgPack, bytes)
}

fn encode<T: serde::Serialize>(format: Format, value: &T) -> Bytes {
    let bytes = match format {
        Format::MsgPack => rmp_serde::to_vec_named(value).map_err(|_infallible| "MessagePack"),
        Format::Json => serde_json::to_vec(value).map_err(|_infallible| "JSON"),
    };
    bytes
        .expect("frames and records hold nothing that cannot be written")
        .into()
}

fn decode<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, CodecError> {
    match format {
        Format::MsgPack => {
            let mut walk = PackWalk { bytes, at: 0 };
            walk.value(1)?;
            if walk.at != bytes.len() {
                return Err(CodecError::Malformed("bytes are left over after the end"));
            }
            rmp_serde::from_slice(bytes).map_err(|error| describe(&error.to_string()))
        }
        Format::Json => {
            check_json_depth(bytes)?;
            serde_json::from_slice(bytes).map_err(|error| {
                if error.is_data() {
                    describe(&error.to_string())
                } else {
                    CodecError::Malformed("it is not JSON")
                }
            })
        }
    }
}

/// Names are repeated where they are short; whatever else of the input serde would quote is cut off.
fn describe(message: &str) -> CodecError {
    let message = message.split(" at line ").next().unwrap_or(message);
    let mut text = String::new();
    for (number, part) in message.split('`').enumerate() {
        let is_name = number % 2 == 1;
        if is_name && (part.len() > 40 || part.chars().any(char::is_control)) {
            text.push_str("`...`");
        } else if is_name {
            text.extend(["`", part, "`"]);
        } else {
            // `invalid type: string "..."`: values stand in double quotes.
            text.push_str(&without_quotes(part));
        }
    }
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    CodecError::Content(text)
}

fn without_quotes(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"...\"{}", &text[..first], &text[last + 1..]),
        (Some(first), _) => text[..first].to_owned(),
        (None, _) => text.to_owned(),
    }
}

/// Counts brackets outside of strings. serde's own limit is four times ours.
fn check_json_depth(bytes: &[u8]) -> Result<(), CodecError> {
    let (mut depth, mut is_in_string, mut is_escaped) = (0_usize, false, false);
    for &byte in bytes {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match byte {
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b'[' | b'{' if !is_in_string => {
                depth += 1;
                if depth > VALUE_DEPTH_MAX {
                    return Err(TOO_DEEP);
                }
            }
            b']' | b'}' if !is_in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

const TOO_DEEP: CodecError = CodecError::Malformed("values may be nested 32 deep");

/// A pass over `MessagePack` that builds nothing.
struct PackWalk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl PackWalk<'_> {
    fn value(&mut self, depth: usize) -> Result<(), CodecError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        let marker = self.take(1)?[0];
        match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(()),
            0x80..=0x8f => self.items(2 * usize::from(marker & 0x0f), depth),
            0x90..=0x9f => self.items(usize::from(marker & 0x0f), depth),
            0xa0..=0xbf => self.skip(usize::from(marker & 0x1f)),
            0xc4 | 0xd9 => self.sized(1),
            0xc5 | 0xda => self.sized(2),
            0xc6 | 0xdb => self.sized(4),
            0xca => self.finite(4),
            0xcb => self.finite(8),
            0xcc | 0xd0 => self.skip(1),
            0xcd | 0xd1 => self.skip(2),
            0xce | 0xd2 => self.skip(4),
            0xcf | 0xd3 => self.skip(8),
            0xdc => self.number(2).and_then(|count| self.items(count, depth)),
            0xdd => self.number(4).and_then(|count| self.items(count, depth)),
            0xde => self.number(2).and_then(|count| self.items(2 * count, depth)),
            0xdf => self.number(4).and_then(|count| self.items(2 * count, depth)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Err(CodecError::Malformed("extension types are not taken")),
        }
    }

    fn items(&mut self, count: usize, depth: usize) -> Result<(), CodecError> {
        if count > self.bytes.len() - self.at {
            return Err(CodecError::Malformed("it declares more than it holds"));
        }
        (0..count).try_for_each(|_| self.value(depth + 1))
    }

    fn take(&mut self, len: usize) -> Result<&[u8], CodecError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(CodecError::Malformed("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, len: usize) -> Result<(), CodecError> {
        self.take(len).map(|_| ())
    }

    fn number(&mut self, len: usize) -> Result<usize, CodecError> {
        Ok(self
            .take(len)?
            .iter()
            .fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn sized(&mut self, len: usize) -> Result<(), CodecError> {
        let size = self.number(len)?;
        self.skip(size)
    }

    fn finite(&mut self, len: usize) -> Result<(), CodecError> {
        let bytes = self.take(len)?;
        let is_finite = if let Ok(single) = bytes.try_into() {
            f32::from_be_bytes(single).is_finite()
        } else {
            bytes
                .try_into()
                .is_ok_and(|double| f64::from_be_bytes(double).is_finite())
        };
        if is_finite {
            Ok(())
        } else {
            Err(CodecError::Malformed("a number is NaN or infinite"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pack(json: &serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec_named(json).unwrap()
    }

    fn refused(bytes: &[u8]) -> String {
        decode_client(Format::MsgPack, bytes).unwrap_err().to_string()
    }

    #[test]
    fn both_formats_carry_the_same_frames() {
        let step = "0198c0de-0000-7000-8000-000000000001";
        let frames = [
            json!({"t": "hello", "client": step, "vector": "AQI="}),
            json!({"t": "update", "seq": 1, "gesture": step, "update": "AAA="}),
            json!({"t": "op", "seq": 2, "ops": [{"op": "undo", "step": [4_294_967_297_u64, 3]}]}),
            json!({"t": "op", "seq": 3, "ops": [{"op": "undo", "step": step}]}),
            json!({"t": "op", "seq": 4, "ops": [{"op": "element.create",
                "element": {"id": "e", "type": "freedraw", "x": 1.5, "y": -2, "points": "AQL/"}}]}),
            json!({"t": "op", "seq": 5, "ops": [{"op": "element.update", "target": "e", "set": {"text": null}}]}),
            json!({"t": "ephemeral", "kind": "pointer", "data": {"x": 1, "y": [0.5]}}),
            json!({"t": "ping", "later": "unknown keys are ignored"}),
        ];
        for frame in frames {
            let first = decode_client(Format::Json, frame.to_string().as_bytes()).unwrap();
            for format in [Format::MsgPack, Format::Json] {
                let bytes = encode_client(format, &first);
                let again = decode_client(format, &bytes).unwrap();
                assert_eq!(again, first, "{format:?}");
                assert_eq!(encode_client(format, &again), bytes);
            }
        }
    }

    #[test]
    fn hostile_lengths_and_nesting_are_refused() {
        assert!(refused(&[0xdf, 0xff, 0xff, 0xff, 0xff]).contains("more than it holds"));
        assert!(refused(&[0xc6, 0xff, 0xff, 0xff, 0xff]).contains("too early"));
        assert!(refused(&[0x91].repeat(100_000)).contains("nested"));
        assert!(refused(&[0xc7, 1, 1, 1]).contains("extension"));
        assert!(refused(&[0x80, 0x80]).contains("left over"));
        let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
        assert_eq!(decode_client(Format::Json, deep.as_bytes()), Err(TOO_DEEP));
        let mut nan =
            pack(&json!({"t": "op", "seq": 1, "ops": [{"op": "element.move", "targets": [], "dx": 1, "dy": 0.5}]}));
        let at = nan.len() - 8;
        nan[at..].copy_from_slice(&f64::NAN.to_be_bytes());
        assert!(refused(&nan).contains("NaN"));
        assert!(decode_client(Format::Json, br#"{"t":"ephemeral","kind":"a","data":1e999}"#).is_err());
    }

    #[test]
    fn errors_name_what_is_wrong_and_echo_no_more() {
        let op = refused(&pack(&json!({"t": "op", "seq": 1, "ops": [{"op": "element.explode"}]})));
        assert!(op.contains("element.explode"), "{op}");
        let set = json!({"op": "element.update", "target": "e", "set": {"colour": 1}});
        let property = refused(&pack(&json!({"t": "op", "seq": 1, "ops": [set]})));
        assert!(property.contains("colour"), "{property}");
        let missing = refused(&pack(&json!({"t": "op", "ops": []})));
        assert!(missing.contains("seq"), "{missing}");
        let long = "x".repeat(5_000);
        for frame in [
            json!({"t": long}),
            json!({"t": "op", "seq": long, "ops": []}),
            json!({"t": "hello", "client": long}),
        ] {
            let message = refused(&pack(&frame));
            assert!(
                message.len() <= MESSAGE_BYTES_MAX && !message.contains("xxxxxxxxx"),
                "{message}"
            );
        }
    }
}
