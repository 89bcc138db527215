//! Bytes and memory of boards: what no stop-watch shows.
//!
//! Memory is resident memory of a process that does nothing but open the board, because the generator's own garbage
//! would hide in the measure. It is a little more than the heap: what the allocator keeps counts, too.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use uuid::Uuid;

use super::args::BenchArgs;
use super::process::resident_bytes;
use super::report::Report;
use super::tally::as_f64;
use super::{class, content};
use crate::board::Board;
use crate::log::disk::records;
use crate::protocol::codec::{self, Format};
use crate::protocol::element::Value;
use crate::protocol::ids::{Position, RecordId, Timestamp, UserId};
use crate::protocol::{Blob, ClientFrame, Ephemeral, Logged, Record, RecordKind};

/// Strokes on the boards whose memory is measured.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// Empty boards that are opened, so that one of them can be weighed.
const EMPTY_BOARDS: usize = 10_000;
/// Points that a pen gives in the 50 ms between two ephemeral frames.
const POINTS_A_FRAME: usize = 3;
/// Replica of the boards that are opened.
const REPLICA: u64 = (1 << 32) + 1;

/// All of it.
pub(super) fn run(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    hour(report)?;
    stroke(report);
    boards(args, report)
}

/// The log of an hour of class, raw and sealed, and its keyframes.
fn hour(report: &mut Report) -> anyhow::Result<()> {
    let name = "an hour of class";
    let hour = class::hour();
    let stored: Vec<_> = hour
        .log
        .iter()
        .map(|logged| (logged.position.offset(), records::encode(&logged.record)))
        .collect();
    let raw: usize = stored.iter().map(|(_, bytes)| bytes.len()).sum();
    let blocks = records::seal(&stored).map_err(anyhow::Error::msg)?;
    let sealed: usize = blocks.iter().map(|block| block.stored.len()).sum();
    let keyframes: usize = hour.keyframes.iter().map(|keyframe| keyframe.bytes.len()).sum();
    let updates: usize = hour.log.iter().map(|logged| logged.record.update.0.len()).sum();
    report.add(name, "records", as_f64(hour.log.len() as u64), "");
    report.add(name, "updates alone", megabytes(updates), "MB");
    report.add(name, "raw", megabytes(raw), "MB");
    report.goal("<= 6 MB");
    report.add(name, "sealed", megabytes(sealed), "MB");
    report.goal("<= 2 MB");
    report.add(name, "keyframes", megabytes(keyframes), "MB");
    report.goal("<= 3 MB");
    report.add(name, "number of keyframes", as_f64(hour.keyframes.len() as u64), "");
    let strokes = hour
        .log
        .iter()
        .zip(&stored)
        .filter(|(logged, _)| is_stroke(&logged.record));
    let (mut count, mut bytes) = (0, 0);
    for (_, (_, stored)) in strokes {
        count += 1;
        bytes += stored.len();
    }
    report.add(name, "a stroke in the log", as_f64(bytes as u64) / as_f64(count), "B");
    report.goal("<= 400 B");
    Ok(())
}

fn is_stroke(record: &Record) -> bool {
    record.changes.iter().any(|change| change.before.is_none())
}

/// A stroke while it is drawn: what its author sends over the own door, as our client does, and the packed points in it.
/// What the stroke looks like comes on top, once.
fn stroke(report: &mut Report) {
    let points = content::points(7);
    let gesture = Uuid::now_v7();
    let (mut frames, mut packed, mut sent) = (0, 0, 0);
    for points in points.chunks(POINTS_A_FRAME) {
        let bytes = content::packed(points);
        packed += bytes.len();
        let bytes = Value::Bytes(bytes.into());
        let frame = if sent == 0 {
            ClientFrame::Ephemeral(Ephemeral {
                kind: "stroke".into(),
                gesture: Some(gesture),
                data: Value::Map(Arc::new([("points".into(), bytes)].into())),
            })
        } else {
            let d = Value::Array([Value::Int(sent), bytes].into());
            ClientFrame::More { d }
        };
        sent += i64::try_from(points.len()).expect("some points");
        frames += codec::encode_client(Format::MsgPack, &frame).len();
    }
    let name = "a stroke while it is drawn";
    report.add(name, "packed points", as_f64(packed as u64), "B");
    report.add(name, "frames", as_f64(frames as u64), "B");
    report.goal("<= 400 B");
}

fn boards(args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
    let empty = heap_of(args, &[])?;
    report.add(
        "an empty board",
        "resident",
        empty / as_f64(EMPTY_BOARDS as u64) / 1e3,
        "kB",
    );
    report.goal("1.4 kB");
    for (count, goal) in SIZES.into_iter().zip(["4.5 MB", "47 MB", "487 MB"]) {
        let name = format!("a board of {count} strokes");
        let mut board = filled(count);
        report.add(&name, "state", megabytes(board.diff([]).len()), "MB");
        let keyframe = board.keyframe(Position(1, 1), Timestamp(0));
        drop(board);
        report.add(&name, "keyframe", megabytes(keyframe.len()), "MB");
        report.add(&name, "resident", heap_of(args, &keyframe)? / 1e6, "MB");
        report.goal(goal);
    }
    Ok(())
}

/// A board with this many strokes of one client.
pub fn filled(count: usize) -> Board {
    let (updates, _) = content::strokes(5, count, count.max(1));
    let log: Vec<_> = updates
        .into_iter()
        .zip(1..)
        .map(|(update, number)| logged(number, update))
        .collect();
    Board::open(REPLICA, None, &log, &BTreeSet::new()).expect("the strokes are sound")
}

/// A record of another room that holds this update.
fn logged(number: u64, update: Vec<u8>) -> Logged {
    let record = Record {
        id: RecordId(REPLICA - 1, number),
        base: Position(1, number - 1),
        author: UserId::new("anna").expect("a valid name"),
        client: None,
        seq: None,
        refused: Vec::new(),
        kind: RecordKind::Update,
        gesture: None,
        time: Timestamp(1_790_000_000_000),
        owner: None,
        steps: Vec::new(),
        changes: Vec::new(),
        changes_left_out: false,
        relayed: Vec::new(),
        update: Blob::from(update),
    };
    Logged {
        position: Position(1, number),
        record: Arc::new(record),
    }
}

/// Resident bytes that another process needs for the board of this keyframe.
fn heap_of(args: &BenchArgs, keyframe: &[u8]) -> anyhow::Result<f64> {
    let binary = args.server.clone().map_or_else(std::env::current_exe, Ok)?;
    let mut child = Command::new(binary)
        .args(["bench", "heap", "--no-pin", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the process that opens the board did not start")?;
    let mut stdin = child.stdin.take().context("its input is a pipe")?;
    stdin.write_all(keyframe)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).context("it printed no report")?;
    report["figures"][0]["value"].as_f64().context("it gave no figure")
}

/// The other process: opens what comes on standard input, and says how much it grew by it.
pub(super) fn heap(report: &mut Report) -> anyhow::Result<()> {
    let mut keyframe = Vec::new();
    std::io::stdin().lock().read_to_end(&mut keyframe)?;
    let read = || resident_bytes(std::process::id()).context("the memory of this process cannot be read");
    let before = read()?;
    let (count, bytes) = if keyframe.is_empty() {
        (EMPTY_BOARDS, None)
    } else {
        (1, Some(keyframe.as_slice()))
    };
    let boards: Vec<_> = (0..count as u64)
        .map(|number| Board::open(REPLICA + number, bytes, &[], &BTreeSet::new()))
        .collect::<Result<_, _>>()?;
    let after = read()?;
    drop(boards);
    report.add("heap", "resident", as_f64(after.saturating_sub(before)), "B");
    Ok(())
}

fn megabytes(bytes: usize) -> f64 {
    as_f64(bytes as u64) / 1e6
}
