//! Records lie compressed in the log, but for small ones: what tells programs without a document what was created says
//! the same again as the update, and half of it are names.
//!
//! A compressed record is `0xc1 | size before, in little-endian | zstd frame`. No MessagePack begins with 0xc1, so both
//! kinds lie side by side. The dictionary is part of the format: it is what records of each kind of element look like,
//! and never changes. Another one would come with another first byte.

use std::cell::RefCell;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::protocol::limits::RECORD_BYTES_MAX;

/// First byte of a compressed record.
const MARK: u8 = 0xc1;
/// Bytes before the zstd frame.
const HEAD_BYTES: usize = 5;
/// Smaller records are mostly numbers, and there are many of them.
const PACKED_BYTES_MIN: usize = 400;
/// Larger ones are compressed when they are sealed: here they would keep a room waiting.
const PACKED_BYTES_MAX: usize = 64 * 1024;
/// The fastest of the usual levels: a record of a stroke takes some microseconds.
const LEVEL: i32 = 1;

static DICTIONARY: &[u8] = include_bytes!("record.dict");
static FOR_PACKING: LazyLock<EncoderDictionary<'_>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static FOR_UNPACKING: LazyLock<DecoderDictionary<'_>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    // Making one costs more than using it.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::with_prepared_dictionary(&FOR_PACKING).ok());
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> =
        RefCell::new(Decompressor::with_prepared_dictionary(&FOR_UNPACKING).ok());
}

/// The record as it is stored: smaller where that is worth it.
pub(super) fn pack(record: Vec<u8>) -> Vec<u8> {
    if !(PACKED_BYTES_MIN..=PACKED_BYTES_MAX).contains(&record.len()) {
        return record;
    }
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress(&record).ok());
    let size = u32::try_from(record.len()).ok();
    match compressed.zip(size) {
        Some((compressed, size)) if HEAD_BYTES + compressed.len() < record.len() => {
            let mut packed = Vec::with_capacity(HEAD_BYTES + compressed.len());
            packed.push(MARK);
            packed.extend_from_slice(&size.to_le_bytes());
            packed.extend_from_slice(&compressed);
            packed
        }
        Some(_) | None => record,
    }
}

/// The record that was packed, or `None` if it lies there as it is.
pub(super) fn unpack(stored: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some((head, frame)) = stored.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let [MARK, size @ ..] = *head else { return Ok(None) };
    let size = usize::try_from(u32::from_le_bytes(size)).map_err(|error| error.to_string())?;
    if size > RECORD_BYTES_MAX {
        return Err(format!("{size} bytes are more than a record may have"));
    }
    let record = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = decompressor.as_mut().ok_or("no memory to unpack it")?;
        decompressor.decompress(frame, size).map_err(|error| error.to_string())
    })?;
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like a record: names, and numbers that none of the others has.
    fn record(bytes: usize) -> Vec<u8> {
        let numbers = (0..).flat_map(|number: u32| [b"strokeColor".as_slice(), &number.to_le_bytes()].concat());
        [0x8a].into_iter().chain(numbers).take(bytes).collect()
    }

    #[test]
    fn what_was_packed_is_unpacked_and_small_records_lie_as_they_are() {
        for bytes in [0, 1, PACKED_BYTES_MIN, PACKED_BYTES_MAX] {
            let packed = pack(record(bytes));
            let unpacked = unpack(&packed).unwrap();
            assert_eq!(unpacked.is_some(), bytes >= PACKED_BYTES_MIN);
            assert_eq!(unpacked.unwrap_or(packed), record(bytes));
        }
        let large = record(PACKED_BYTES_MAX + 1);
        assert_eq!(pack(large.clone()), large);
    }

    #[test]
    fn damage_is_told_and_reserves_nothing() {
        let mut packed = pack(record(1_000));
        packed.truncate(40);
        assert!(unpack(&packed).is_err());
        packed[1..HEAD_BYTES].fill(0xff);
        assert!(unpack(&packed).unwrap_err().contains("more than a record may have"));
    }

    #[test]
    fn the_dictionary_is_the_one_that_logs_were_written_with() {
        assert_eq!((DICTIONARY.len(), crc32fast::hash(DICTIONARY)), (12_403, 100_081_323));
    }
}
