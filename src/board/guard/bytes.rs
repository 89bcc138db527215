//! A cursor over bytes in lib0's encoding, and every reason to refuse them.

use thiserror::Error;

use crate::protocol::limits::{CLIENT_ID_MAX, VALUE_DEPTH_MAX};

/// Why bytes are not a well-formed message. Nothing of it was applied.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum WalkError {
    /// The bytes end before what they declare.
    #[error("the bytes end too early")]
    Truncated,
    /// Bytes are left over after the end.
    #[error("bytes are left over after the end")]
    Trailing,
    /// A number does not fit the bits it is for.
    #[error("a number is too large for its field")]
    NumberTooLarge,
    /// A client id is 2^53 or above.
    #[error("a client id must be below 2^53")]
    ClientIdTooLarge,
    /// The same client is listed twice.
    #[error("a client is listed twice")]
    ClientTwice,
    /// A client's blocks end above the highest clock.
    #[error("a clock is above the highest one")]
    ClockTooHigh,
    /// Delete ranges of a client overlap or are not sorted.
    #[error("delete ranges must be sorted and apart")]
    Unsorted,
    /// More clients than an update may have.
    #[error("too many clients")]
    TooManyClients,
    /// More blocks or delete ranges than an update may have.
    #[error("too many blocks")]
    TooManyBlocks,
    /// A block or range without length.
    #[error("a block or range has no length")]
    Empty,
    /// A Skip block: the update has a hole.
    #[error("the update has a hole")]
    Skip,
    /// A subdocument.
    #[error("subdocuments are not taken")]
    Subdocument,
    /// Content in the old JSON form.
    #[error("content in the old JSON form is not taken")]
    OldJson,
    /// A kind of block, content or shared type that is not known.
    #[error("a kind of content is not known")]
    UnknownContent,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// Text that must be JSON is not.
    #[error("text that must be JSON is not")]
    NotJson,
    /// A value is nested too deeply.
    #[error("a value is nested too deeply")]
    TooDeep,
    /// A string, binary or value is too long.
    #[error("a value is too long")]
    ItemTooLarge,
    /// A run of deleted or collected blocks is too long.
    #[error("a run of deleted blocks is too long")]
    RunTooLong,
}

/// A place in bytes that moves forward only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn end(&self) -> Result<(), WalkError> {
        if self.left() == 0 {
            Ok(())
        } else {
            Err(WalkError::Trailing)
        }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, WalkError> {
        let byte = *self.bytes.get(self.at).ok_or(WalkError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], WalkError> {
        if len > self.left() {
            return Err(WalkError::Truncated);
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn fixed<const LEN: usize>(&mut self) -> Result<[u8; LEN], WalkError> {
        let mut fixed = [0; LEN];
        fixed.copy_from_slice(self.take(LEN)?);
        Ok(fixed)
    }

    /// Unsigned number of at most `bits` bits. The libraries let longer ones wrap, each in its own way.
    #[inline]
    fn unsigned(&mut self, bits: u32) -> Result<u64, WalkError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if number >> bits != 0 {
                return Err(WalkError::NumberTooLarge);
            }
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift >= bits {
                return Err(WalkError::NumberTooLarge);
            }
        }
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, WalkError> {
        u32::try_from(self.unsigned(32)?).map_err(|_checked| WalkError::NumberTooLarge)
    }

    #[inline]
    pub(super) fn client(&mut self) -> Result<u64, WalkError> {
        match self.unsigned(53) {
            Ok(client) if client < CLIENT_ID_MAX => Ok(client),
            Ok(_) | Err(WalkError::NumberTooLarge) => Err(WalkError::ClientIdTooLarge),
            Err(error) => Err(error),
        }
    }

    /// A number of things that take at least `bytes_each` bytes each; more than can follow is refused.
    #[inline]
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, WalkError> {
        let count = self.u32()? as usize;
        if count > self.left() / bytes_each {
            return Err(WalkError::Truncated);
        }
        Ok(count)
    }

    #[inline]
    pub(super) fn buffer(&mut self) -> Result<&'a [u8], WalkError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, WalkError> {
        std::str::from_utf8(self.buffer()?).map_err(|_malformed| WalkError::NotUtf8)
    }

    /// Walks over one `Any` value and says what it is.
    pub(super) fn any(&mut self, depth: usize) -> Result<AnyKind<'a>, WalkError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(WalkError::TooDeep);
        }
        Ok(match self.byte()? {
            127 => AnyKind::Undefined,
            126 => AnyKind::Null,
            125 => self.signed().map(|()| AnyKind::Number)?,
            124 if f32::from_be_bytes(self.fixed()?).is_finite() => AnyKind::Number,
            123 if f64::from_be_bytes(self.fixed()?).is_finite() => AnyKind::Number,
            123 | 124 => AnyKind::NotFinite,
            122 => self.take(8).map(|_| AnyKind::Number)?,
            120 | 121 => AnyKind::Bool,
            119 => AnyKind::Text(self.text()?),
            118 => self.any_map(depth)?,
            117 => self.any_array(depth)?,
            116 => self.buffer().map(|_| AnyKind::Buffer)?,
            _ => return Err(WalkError::UnknownContent),
        })
    }

    fn any_map(&mut self, depth: usize) -> Result<AnyKind<'a>, WalkError> {
        let mut kind = AnyKind::Map;
        for _ in 0..self.count(2)? {
            self.text()?;
            if self.any(depth + 1)? == AnyKind::NotFinite {
                kind = AnyKind::NotFinite;
            }
        }
        Ok(kind)
    }

    fn any_array(&mut self, depth: usize) -> Result<AnyKind<'a>, WalkError> {
        let mut kind = AnyKind::Texts;
        for _ in 0..self.count(1)? {
            kind = match (kind, self.any(depth + 1)?) {
                (AnyKind::NotFinite, _) | (_, AnyKind::NotFinite) => AnyKind::NotFinite,
                (AnyKind::Texts, AnyKind::Text(_)) => AnyKind::Texts,
                _ => AnyKind::Array,
            };
        }
        Ok(kind)
    }

    /// Signed whole number, at most 53 bits: yrs shifts longer ones out of a 64-bit word, which ends a debug build.
    fn signed(&mut self) -> Result<(), WalkError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(());
        }
        let mut number = u64::from(first & 0x3f);
        let mut shift = 6;
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if number >> 53 != 0 {
                return Err(WalkError::NumberTooLarge);
            }
            if byte < 0x80 {
                return Ok(());
            }
            shift += 7;
            if shift >= 53 {
                return Err(WalkError::NumberTooLarge);
            }
        }
    }
}

/// What an `Any` value is, as far as the schema asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnyKind<'a> {
    Undefined,
    Null,
    Bool,
    Number,
    /// A number that is NaN or infinite, or a collection that holds one.
    NotFinite,
    Text(&'a str),
    Buffer,
    /// An array of strings, or an empty one.
    Texts,
    Array,
    Map,
}
