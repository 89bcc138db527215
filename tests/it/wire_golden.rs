//! The wire does not change by accident: schemas are made from the types, samples decode and encode to the same bytes.
//!
//! `UPDATE_SCHEMAS=1 cargo test wire_golden` rewrites the schemas and adds the packed form of new samples. A sample that
//! is there is never rewritten.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use panseo::protocol::codec::{self, CodecError, Format};
use panseo::protocol::op::Op;
use panseo::protocol::{ClientFrame, Record, ServerFrame};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_SCHEMAS").is_some()
}

fn schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

#[test]
fn schemas_are_those_of_the_types() {
    let all = [
        ("client-frame", schema::<ClientFrame>()),
        ("server-frame", schema::<ServerFrame>()),
        ("record", schema::<Record>()),
        ("op", schema::<Op>()),
    ];
    for (name, schema) in all {
        let path = schemas().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).expect("schemas and samples are sound") + "\n";
        if is_updating() {
            fs::write(&path, &text).expect("schemas and samples are sound");
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == text,
            "schemas/{name}.json differs from the types: run UPDATE_SCHEMAS=1 cargo test"
        );
    }
}

/// Decodes and encodes one kind of message.
struct Wire<T> {
    decode: fn(Format, &[u8]) -> Result<T, CodecError>,
    encode: fn(Format, &T) -> Bytes,
}

/// Checks all samples of a directory and returns them as JSON.
fn check_samples<T: PartialEq + Debug + JsonSchema>(directory: &str, wire: &Wire<T>) -> Vec<Value> {
    let validator = jsonschema::validator_for(&schema::<T>()).expect("schemas and samples are sound");
    let mut paths: Vec<_> = fs::read_dir(schemas().join("golden/v1").join(directory))
        .expect("schemas and samples are sound")
        .map(|entry| entry.expect("schemas and samples are sound").path())
        .collect();
    paths.sort();
    let mut samples = Vec::new();
    for json in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
    {
        let name = json.display();
        let text = fs::read(json).expect("schemas and samples are sound");
        let value =
            (wire.decode)(Format::Json, text.trim_ascii_end()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = (wire.encode)(Format::Json, &value);
        assert_eq!(str::from_utf8(&again), str::from_utf8(text.trim_ascii_end()), "{name}");
        let packed_path = json.with_extension("msgpack");
        if is_updating() && !packed_path.exists() {
            fs::write(&packed_path, (wire.encode)(Format::MsgPack, &value)).expect("schemas and samples are sound");
        }
        let packed = fs::read(&packed_path).unwrap_or_else(|error| panic!("{}: {error}", packed_path.display()));
        assert_eq!(
            (wire.decode)(Format::MsgPack, &packed).expect("schemas and samples are sound"),
            value,
            "{name}"
        );
        assert!(
            (wire.encode)(Format::MsgPack, &value) == packed,
            "{name}: packed form differs"
        );
        let plain: Value = serde_json::from_slice(&text).expect("schemas and samples are sound");
        if let Err(error) = validator.validate(&plain) {
            panic!("{name} does not fit its schema: {error}");
        }
        samples.push(plain);
    }
    samples
}

/// The names that a tagged enum gives its variants, read from its schema so that none can be forgotten.
fn variants(schema: &Value, tag: &str) -> BTreeSet<String> {
    let list = schema["oneOf"].as_array().expect("a tagged enum is a choice");
    list.iter()
        .map(|variant| {
            variant["properties"][tag]["const"]
                .as_str()
                .expect("schemas and samples are sound")
                .to_owned()
        })
        .collect()
}

fn tags(samples: &[Value], tag: &str) -> BTreeSet<String> {
    samples
        .iter()
        .filter_map(|sample| sample[tag].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn every_client_frame_and_op_has_a_sample() {
    let samples = check_samples(
        "client",
        &Wire {
            decode: codec::decode_client,
            encode: codec::encode_client,
        },
    );
    assert_eq!(tags(&samples, "t"), variants(&schema::<ClientFrame>(), "t"));
    let ops: Vec<_> = samples
        .iter()
        .filter_map(|sample| sample["ops"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(tags(&ops, "op"), variants(&schema::<Op>(), "op"));
    let validator = jsonschema::validator_for(&schema::<Op>()).expect("schemas and samples are sound");
    for op in &ops {
        assert!(validator.is_valid(op), "{op}");
    }
}

#[test]
fn every_server_frame_has_a_sample() {
    let samples = check_samples(
        "server",
        &Wire {
            decode: codec::decode_server,
            encode: codec::encode_server,
        },
    );
    assert_eq!(tags(&samples, "t"), variants(&schema::<ServerFrame>(), "t"));
}

#[test]
fn every_kind_of_record_has_a_sample() {
    let samples = check_samples(
        "record",
        &Wire {
            decode: |format, bytes| match format {
                Format::MsgPack => codec::decode_record(bytes),
                Format::Json => Ok(serde_json::from_slice(bytes).expect("schemas and samples are sound")),
            },
            encode: |format, record: &Record| match format {
                Format::MsgPack => codec::encode_record(record),
                Format::Json => serde_json::to_vec(record)
                    .expect("schemas and samples are sound")
                    .into(),
            },
        },
    );
    let kinds = ["op", "update", "undo", "redo", "purge"].map(str::to_owned);
    assert_eq!(tags(&samples, "kind"), BTreeSet::from(kinds));
}
