use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::protocol::element::{Change, EntryKind, Property, Value};
use crate::protocol::ids::{Position, RecordId, Timestamp, UserId};
use crate::protocol::op::{Op, StepName};
use crate::protocol::{Blob, RecordKind};

const BOTH: [Format; 2] = [Format::MsgPack, Format::Json];

fn op_frame(op: Op) -> ClientFrame {
    ClientFrame::Op {
        seq: 7,
        gesture: Some(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        ops: vec![op],
    }
}

fn set(property: Property, value: Option<Value>) -> ClientFrame {
    op_frame(Op::ElementUpdate {
        target: crate::protocol::ids::EntryId::new("a").unwrap(),
        set: [(property, value)].into_iter().collect(),
    })
}

fn survives(frame: &ClientFrame) {
    for format in BOTH {
        let bytes = encode_client(format, frame);
        assert_eq!(decode_client(format, &bytes).as_ref(), Ok(frame), "{format:?}");
        assert_eq!(seq_of(format, &bytes), Some(7), "{format:?}");
    }
}

fn record(changes: Vec<Change>) -> Record {
    Record {
        id: RecordId(9, 1),
        base: Position(1, 2),
        author: UserId::new("alice").unwrap(),
        client: Some(Uuid::from_u128(5)),
        seq: Some(7),
        refused: Vec::new(),
        kind: RecordKind::Op,
        gesture: Some(Uuid::from_u128(6)),
        time: Timestamp(1_700_000_000_000),
        owner: None,
        steps: vec![RecordId(9, 0)],
        changes,
        changes_left_out: false,
        relayed: vec![(1, 2, 3)],
        update: Blob::from(vec![0, 255]),
    }
}

fn change_with(value: Value) -> Change {
    Change {
        kind: EntryKind::Element,
        id: "a".into(),
        before: None,
        after: Some([(Property::Extra, value)].into_iter().collect()),
        print: Some(u64::MAX),
    }
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::Int(1), |inner, _| Value::Array([inner].into()))
}

#[test]
fn points_are_bytes_in_both_formats() {
    survives(&set(Property::Points, Some(Value::Bytes(vec![1, 2, 255].into()))));
    survives(&set(Property::Link, None));
    let json = encode_client(
        Format::Json,
        &set(Property::Points, Some(Value::Bytes(vec![1, 2, 255].into()))),
    );
    assert!(std::str::from_utf8(&json).unwrap().contains(r#""points":"AQL/""#));
}

#[test]
fn steps_keep_their_form_in_both_formats() {
    let gesture = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002);
    for step in [StepName::Record(RecordId(3, 4)), StepName::Gesture(gesture)] {
        survives(&op_frame(Op::Undo {
            step: Some(step),
            user: None,
        }));
    }
}

// [R-21]
#[test]
fn ids_and_blobs_are_binary_in_messagepack_and_text_in_json() {
    let update = ClientFrame::Update {
        seq: 7,
        gesture: Some(Uuid::from_u128(1)),
        update: Blob::from(vec![250; 3]),
    };
    survives(&update);
    let packed = encode_client(Format::MsgPack, &update);
    let holds = |part: &[u8]| packed.windows(part.len()).any(|window| window == part);
    assert!(holds(&[0xc4, 16, 0, 0]) && holds(&[0xc4, 3, 250, 250, 250]));
    let json = encode_client(Format::Json, &update);
    assert!(std::str::from_utf8(&json).unwrap().contains(r#""update":"+vr6""#));
}

#[test]
fn a_record_survives() {
    let record = record(vec![change_with(Value::Float(0.5))]);
    assert_eq!(decode_record(&encode_record(&record)), Ok(record));
}

#[test]
fn a_record_with_a_value_as_deep_as_allowed_can_be_read() {
    let record = record(vec![change_with(nested(VALUE_DEPTH_MAX))]);
    assert_eq!(decode_record(&encode_record(&record)), Ok(record));
}

#[test]
fn a_record_never_holds_a_number_that_cannot_be_read_again() {
    let encoded = encode_record(&record(vec![change_with(Value::Float(f64::NAN))]));
    assert_eq!(decode_record(&encoded), Ok(record(vec![change_with(Value::Null)])));
}

#[test]
fn depth_is_bounded_in_both_formats() {
    for format in BOTH {
        for (depth, fits) in [(VALUE_DEPTH_MAX - 4, true), (VALUE_DEPTH_MAX, false)] {
            let bytes = encode_client(format, &set(Property::Extra, Some(nested(depth))));
            assert_eq!(decode_client(format, &bytes).is_ok(), fits, "{format:?} {depth}");
        }
    }
    let bomb = [&[0x81, 0xa1, b't'][..], &vec![0x91; 100_000]].concat();
    assert_eq!(
        decode_client(Format::MsgPack, &bomb),
        Err(CodecError::TooDeep { max: VALUE_DEPTH_MAX })
    );
    assert!(decode_client(Format::Json, &[b"{\"t\":".as_slice(), &vec![b'['; 100_000]].concat()).is_err());
}

#[test]
fn lengths_must_be_backed_by_bytes() {
    for bytes in [
        &[0xdf, 0xff, 0xff, 0xff, 0xff][..],
        &[0x81, 0xa1, b't', 0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0x81, 0xa1, b't', 0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0x81, 0xd9, 9, b't'],
        &[],
    ] {
        assert_eq!(decode_client(Format::MsgPack, bytes), Err(CodecError::Truncated));
    }
}

#[test]
fn what_is_no_plain_frame_is_refused() {
    let pong = encode_client(Format::MsgPack, &ClientFrame::Ping {});
    let with = |more: &[u8]| decode_client(Format::MsgPack, &[&[0x82], &pong[1..], &[0xa1, b'x'], more].concat());
    assert_eq!(with(&[1]), Ok(ClientFrame::Ping {}));
    assert_eq!(with(&[1, 1]), Err(CodecError::Trailing { bytes: 1 }));
    assert_eq!(with(&[0xd4, 1, 1]), Err(CodecError::Extension));
    assert_eq!(with(&[0xa1, 0xff]), Err(CodecError::NotUtf8));
    assert_eq!(
        with(&[&[0xcb][..], &f64::NAN.to_be_bytes()].concat()),
        Err(CodecError::NotFinite)
    );
    assert_eq!(
        with(&[&[0xca][..], &f32::INFINITY.to_be_bytes()].concat()),
        Err(CodecError::NotFinite)
    );
    assert_eq!(
        decode_client(Format::MsgPack, &[0x91, 0xa4, b'p', b'i', b'n', b'g']),
        Err(CodecError::NotAMap)
    );
    assert_eq!(decode_client(Format::Json, b"[\"ping\"]"), Err(CodecError::NotAMap));
    assert!(decode_client(Format::Json, b"{\"t\":\"ping\"} 1").is_err());
    assert!(decode_client(Format::Json, br#"{"t":"ephemeral","kind":"k","data":1e999}"#).is_err());
    assert!(decode_client(Format::Json, br#" {"t":"ping","new":[1]} "#).is_ok());
}

#[test]
fn unknown_names_are_named_and_shortened() {
    let name = "x`, expected \"".repeat(1_000);
    let json = |text: String| decode_client(Format::Json, text.as_bytes()).unwrap_err().to_string();
    let quoted = serde_json::to_string(&name).unwrap();
    for (frame, what) in [
        (format!(r#"{{"t":{quoted}}}"#), "frame kind"),
        (format!(r#"{{"t":"op","seq":1,"ops":[{{"op":{quoted}}}]}}"#), "op"),
        (
            format!(r#"{{"t":"op","seq":1,"ops":[{{"op":"element.update","target":"a","set":{{{quoted}:1}}}}]}}"#),
            "property",
        ),
        (
            format!(r#"{{"t":"op","seq":1,"ops":[{{"op":"element.create","element":{{"id":"a",{quoted}:1}}}}]}}"#),
            "property",
        ),
    ] {
        let message = json(frame);
        assert!(
            message.starts_with(&format!("there is no {what} `x`, expected")),
            "{message}"
        );
        assert!(message.chars().count() <= 200, "{message}");
    }
    let message = json(format!(r#"{{"t":"update","seq":{quoted},"update":""}}"#));
    assert!(
        message.contains("expected u64") && message.chars().count() <= 200,
        "{message}"
    );
}

#[test]
fn seq_is_found_in_frames_that_cannot_be_decoded() {
    let broken: Arc<[u8]> = [&[0x83, 0xa1, b't', 0x91, 0xc0, 0xa3][..], b"seq", &[0xcd, 1, 0, 0xc1]]
        .concat()
        .into();
    assert!(decode_client(Format::MsgPack, &broken).is_err());
    assert_eq!(seq_of(Format::MsgPack, &broken), Some(256));
    assert_eq!(seq_of(Format::Json, br#"{"t":"nothing","seq":5}"#), Some(5));
    assert_eq!(seq_of(Format::Json, br#"{"t":"nothing"}"#), None);
    assert_eq!(seq_of(Format::MsgPack, &[0x80]), None);
}

#[test]
fn a_large_frame_of_tiny_values_is_refused_before_it_is_buffered() {
    let nulls = 1_000_000_u32;
    let packed = [
        &[0x82, 0xa1, b't', 0xa4, b'p', b'i', b'n', b'g', 0xa1, b'x', 0xdd][..],
        &nulls.to_be_bytes(),
        &vec![0xc0; nulls as usize],
    ]
    .concat();
    let json = format!(r#"{{"t":"ping","x":[{}0]}}"#, "0,".repeat(1_000_000));
    let refused = Err(CodecError::TooManyValues { max: 128 * 1024 });
    assert_eq!(decode_client(Format::MsgPack, &packed), refused);
    assert_eq!(decode_client(Format::Json, json.as_bytes()), refused);
}
