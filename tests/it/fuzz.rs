//! The fuzz targets without libFuzzer: over their corpus, and over changes of it that are the same in every run.
//!
//! `cargo +nightly fuzz run NAME` drives the same bodies for as long as one likes, see CONTRIBUTING.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/bodies/apply_ops.rs"]
mod apply_ops;
#[path = "../../fuzz/bodies/decode_frame.rs"]
mod decode_frame;
#[path = "../../fuzz/bodies/merge_update.rs"]
mod merge_update;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(mixed >> 33).unwrap() % end.max(1)
    }
}

/// One to four small changes: a byte, a bit, a cut, a piece of another input.
fn change(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, [0, 1, 127, 128, 255][random.below(5)]),
            _ => {
                let from = random.below(other.len());
                let piece = &other[from..other.len().min(from + 16)];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn drive(target: &str, rounds: usize, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(corpus.len() > 3, "the corpus of {target} is missing");
    for bytes in &corpus {
        body(bytes);
    }
    let rounds = if std::env::var_os("PANSEO_SOAK").is_some() {
        rounds * 100
    } else {
        rounds
    };
    let mut random = Random(1);
    for _ in 0..rounds {
        let (one, other) = (random.below(corpus.len()), random.below(corpus.len()));
        let bytes = change(&corpus[one], &corpus[other], &mut random);
        let outcome = std::panic::catch_unwind(|| body(&bytes));
        assert!(outcome.is_ok(), "{target} fails on {bytes:02x?}");
    }
}

#[test]
fn frames_are_read_as_they_are_written() {
    drive("decode_frame", 20_000, decode_frame::run);
}

#[test]
fn updates_leave_index_and_document_level() {
    drive("merge_update", 20_000, merge_update::run);
}

#[test]
fn ops_are_all_or_none_and_the_log_gives_the_board_again() {
    drive("apply_ops", 300, apply_ops::run);
}
