//! The wire stays as released: schemas and golden samples under `schemas/` agree with the types and with each other.
//!
//! A sample is a `.json` and a `.msgpack` of one frame or record. Which samples must exist follows from the schemas, so a
//! new variant fails here until it has one. See `schemas/README.md` for how to add it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use panseo::protocol::codec::{self, Format};
use panseo::protocol::notice::Notice;
use panseo::protocol::relay::Relayed;
use panseo::protocol::{ClientFrame, Record, ServerFrame};
use schemars::{Schema, schema_for};
use serde_json::Value;

const KINDS: [Kind; 5] = [Kind::Client, Kind::Server, Kind::Record, Kind::Notice, Kind::Relayed];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Client,
    Server,
    Record,
    Notice,
    Relayed,
}

#[derive(Debug, PartialEq)]
enum Decoded {
    Client(ClientFrame),
    Server(ServerFrame),
    Record(Box<Record>),
    Notice(Notice),
    Relayed(Relayed),
}

impl Kind {
    fn folder(self) -> PathBuf {
        schemas().join("golden/v1").join(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Record => "record",
            Self::Notice => "notice",
            Self::Relayed => "relayed",
        })
    }

    fn schema_file(self) -> PathBuf {
        schemas().join(match self {
            Self::Client => "client-frame.schema.json",
            Self::Server => "server-frame.schema.json",
            Self::Record => "record.schema.json",
            Self::Notice => "notice.schema.json",
            Self::Relayed => "relayed.schema.json",
        })
    }

    fn schema(self) -> Schema {
        match self {
            Self::Client => schema_for!(ClientFrame),
            Self::Server => schema_for!(ServerFrame),
            Self::Record => schema_for!(Record),
            Self::Notice => schema_for!(Notice),
            Self::Relayed => schema_for!(Relayed),
        }
    }

    /// Whatever lies in a topic is MessagePack only; its JSON is for readers of this folder.
    fn decode(self, format: Format, bytes: &[u8]) -> Result<Decoded, String> {
        let text = |error: codec::CodecError| error.to_string();
        match (self, format) {
            (Self::Client, _) => codec::decode_client(format, bytes).map(Decoded::Client).map_err(text),
            (Self::Server, _) => codec::decode_server(format, bytes).map(Decoded::Server).map_err(text),
            (Self::Record, Format::MsgPack) => codec::decode_record(bytes)
                .map(Box::new)
                .map(Decoded::Record)
                .map_err(text),
            (Self::Record, Format::Json) => serde_json::from_slice(bytes)
                .map(Decoded::Record)
                .map_err(|error| error.to_string()),
            (Self::Notice, Format::MsgPack) => codec::unpack(bytes).map(Decoded::Notice).map_err(text),
            (Self::Notice, Format::Json) => serde_json::from_slice(bytes)
                .map(Decoded::Notice)
                .map_err(|error| error.to_string()),
            (Self::Relayed, Format::MsgPack) => codec::unpack(bytes).map(Decoded::Relayed).map_err(text),
            (Self::Relayed, Format::Json) => serde_json::from_slice(bytes)
                .map(Decoded::Relayed)
                .map_err(|error| error.to_string()),
        }
    }

    fn samples(self) -> Vec<PathBuf> {
        let folder = self.folder();
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("the folder can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths
    }
}

impl Decoded {
    fn encode(&self, format: Format) -> Vec<u8> {
        match (self, format) {
            (Self::Client(frame), _) => codec::encode_client(format, frame).into(),
            (Self::Server(frame), _) => codec::encode_server(format, frame).into(),
            (Self::Record(record), Format::MsgPack) => codec::encode_record(record),
            (Self::Record(record), Format::Json) => serde_json::to_vec(record).expect("records have text keys only"),
            (Self::Notice(notice), Format::MsgPack) => codec::pack(notice),
            (Self::Notice(notice), Format::Json) => serde_json::to_vec(notice).expect("notices have text keys only"),
            (Self::Relayed(relayed), Format::MsgPack) => codec::pack(relayed),
            (Self::Relayed(relayed), Format::Json) => serde_json::to_vec(relayed).expect("text keys only"),
        }
    }
}

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn asked_to_update(what: &str) -> bool {
    std::env::var_os(what).is_some_and(|value| value == "1")
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn decode(kind: Kind, format: Format, path: &Path) -> Decoded {
    kind.decode(format, &read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Completes new samples only: one that has its MessagePack is never touched again.
fn complete_new_samples(kind: Kind) {
    for json in kind.samples() {
        let msgpack = json.with_extension("msgpack");
        if !msgpack.exists() {
            let value = decode(kind, Format::Json, &json);
            write(&json, &value.encode(Format::Json));
            write(&msgpack, &value.encode(Format::MsgPack));
        }
    }
}

/// The constants that a tagged or plain enum of the schema allows: of its key `tag`, or of itself.
fn names_in(schema: &Value, tag: Option<&str>) -> BTreeSet<String> {
    let variants = schema["oneOf"].as_array().expect("an enum with documented variants");
    variants
        .iter()
        .map(|variant| tag.map_or(variant, |tag| &variant["properties"][tag]))
        .map(|name| {
            name["const"]
                .as_str()
                .expect("a variant has a constant name")
                .to_owned()
        })
        .collect()
}

#[test]
fn schemas_are_those_of_the_types() {
    for kind in KINDS {
        let path = kind.schema_file();
        let mut text = serde_json::to_string_pretty(&kind.schema()).expect("a schema is JSON");
        text.push('\n');
        if asked_to_update("UPDATE_SCHEMAS") {
            write(&path, text.as_bytes());
        }
        assert!(
            read(&path) == text.as_bytes(),
            "{} differs from the types: run `UPDATE_SCHEMAS=1 cargo test schemas_are` and read the difference",
            path.display()
        );
    }
}

#[test]
fn samples_survive_decoding_and_encoding() {
    for kind in KINDS {
        if asked_to_update("UPDATE_GOLDEN") {
            complete_new_samples(kind);
        }
        for json in kind.samples() {
            let msgpack = json.with_extension("msgpack");
            let name = json.display();
            let from_json = decode(kind, Format::Json, &json);
            let from_msgpack = decode(kind, Format::MsgPack, &msgpack);
            assert_eq!(from_json, from_msgpack, "{name}: the formats differ");
            assert!(from_json.encode(Format::Json) == read(&json), "{name}: other JSON");
            assert!(
                from_json.encode(Format::MsgPack) == read(&msgpack),
                "{name}: other MessagePack"
            );
        }
    }
}

// [R-72]
#[test]
fn a_frame_that_does_not_say_what_it_is_adds_to_a_stroke() {
    let short = br#"{"t":"ephemeral","data":1}"#;
    let Ok(Decoded::Client(ClientFrame::Ephemeral(frame))) = Kind::Client.decode(Format::Json, short) else {
        panic!("another frame");
    };
    assert_eq!(frame, panseo::protocol::Ephemeral::more(frame.data.clone()));
    assert_eq!((frame.kind.as_str(), frame.gesture), ("stroke", None));
}

#[test]
fn samples_fit_their_schema() {
    for kind in KINDS {
        let validator = jsonschema::validator_for(kind.schema().as_value()).expect("a valid schema");
        for json in kind.samples() {
            if let Err(error) = validator.validate(&read_json(&json)) {
                panic!("{}: {error} at {}", json.display(), error.instance_path);
            }
        }
    }
}

#[test]
fn every_variant_has_a_sample() {
    let mut missing = Vec::new();
    let mut expect = |what: &str, expected: BTreeSet<String>, found: &BTreeSet<String>| {
        missing.extend(expected.difference(found).map(|name| format!("{what} {name}")));
    };
    let found = |kind: Kind, pick: fn(&Value) -> Option<&str>| -> BTreeSet<String> {
        let samples = kind.samples();
        let values = samples.iter().map(|path| read_json(path));
        values.filter_map(|value| pick(&value).map(str::to_owned)).collect()
    };
    let [client, server, record, notice, _] = KINDS.map(|kind| kind.schema().to_value());

    expect(
        "client frame",
        names_in(&client, Some("t")),
        &found(Kind::Client, |frame| frame["t"].as_str()),
    );
    expect(
        "server frame",
        names_in(&server, Some("t")),
        &found(Kind::Server, |frame| frame["t"].as_str()),
    );
    expect(
        "op",
        names_in(&client["$defs"]["Op"], Some("op")),
        &found(Kind::Client, |frame| frame["ops"][0]["op"].as_str()),
    );
    expect(
        "notice",
        names_in(&notice, Some("t")),
        &found(Kind::Notice, |notice| notice["t"].as_str()),
    );
    let kinds = names_in(&record["$defs"]["RecordKind"], None);
    expect(
        "record kind",
        kinds.clone(),
        &found(Kind::Record, |record| record["kind"].as_str()),
    );
    expect(
        "event kind",
        kinds,
        &found(Kind::Server, |frame| frame["kind"].as_str()),
    );
    expect(
        "error code",
        names_in(&server["$defs"]["ErrorCode"], None),
        &found(Kind::Server, |frame| frame["code"].as_str()),
    );

    assert!(missing.is_empty(), "no sample for: {missing:?}; see schemas/README.md");
}
