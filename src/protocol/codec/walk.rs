//! A look at raw frames before serde sees them: form, depth and lengths, without recursion and without reserving
//! anything from a count that the sender chose.
//!
//! serde buffers tagged frames whole and recurses while it does, so whatever could hurt there is refused here.

use super::CodecError;

/// What a frame may be at most, besides its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) depth: usize,
    pub(super) values: usize,
}

/// Checks that `bytes` are exactly one MessagePack map within `bounds`.
pub(super) fn check_msgpack(bytes: &[u8], bounds: Bounds) -> Result<(), CodecError> {
    let mut walk = Walk { rest: bytes };
    if !matches!(Walk { rest: bytes }.token()?, Token::Map(_)) {
        return Err(CodecError::NotAMap);
    }
    walk.skip_value(bounds)?;
    if walk.rest.is_empty() {
        Ok(())
    } else {
        Err(CodecError::Trailing { bytes: walk.rest.len() })
    }
}

/// Checks that `bytes` begin a JSON object within `bounds`; the parser sees to the rest.
pub(super) fn check_json(bytes: &[u8], bounds: Bounds) -> Result<(), CodecError> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(CodecError::NotAMap);
    }
    let (mut depth, mut values, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                values += 1;
                if depth > bounds.depth {
                    return Err(CodecError::TooDeep { max: bounds.depth });
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            b',' | b':' if !in_string => values += 1,
            _ => {}
        }
        if values > bounds.values {
            return Err(CodecError::TooManyValues { max: bounds.values });
        }
    }
    Ok(())
}

/// The whole number under `key` in the outermost map, even if what comes behind it is broken.
pub(super) fn number_in_msgpack(bytes: &[u8], key: &str, bounds: Bounds) -> Option<u64> {
    let mut walk = Walk { rest: bytes };
    let Token::Map(pairs) = walk.token().ok()? else {
        return None;
    };
    for _ in 0..pairs {
        let Token::Text(name) = walk.token().ok()? else {
            return None;
        };
        if name == key {
            return match walk.token().ok()? {
                Token::Number(number) => Some(number),
                Token::Text(_) | Token::Array(_) | Token::Map(_) | Token::Other => None,
            };
        }
        walk.skip_value(bounds).ok()?;
    }
    None
}

/// What one marker begins. Counts are known to fit into the bytes that follow.
enum Token<'a> {
    Number(u64),
    Text(&'a str),
    Array(usize),
    Map(usize),
    Other,
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn skip_value(&mut self, bounds: Bounds) -> Result<(), CodecError> {
        let mut values_seen = 0_usize;
        // Values still to come in each container that is open.
        let mut open: Vec<usize> = Vec::new();
        loop {
            values_seen += 1;
            if values_seen > bounds.values {
                return Err(CodecError::TooManyValues { max: bounds.values });
            }
            let values = match self.token()? {
                Token::Array(items) => Some(items),
                Token::Map(pairs) => Some(pairs * 2),
                Token::Number(_) | Token::Text(_) | Token::Other => None,
            };
            if values.is_some() && open.len() == bounds.depth {
                return Err(CodecError::TooDeep { max: bounds.depth });
            }
            if let Some(values @ 1..) = values {
                open.push(values);
                continue;
            }
            while let Some(left) = open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                open.pop();
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token<'a>, CodecError> {
        let marker = self.take(1)?[0];
        match marker {
            0x00..=0x7f => Ok(Token::Number(u64::from(marker))),
            0x80..=0x8f => self.container(usize::from(marker & 0x0f), 2).map(Token::Map),
            0x90..=0x9f => self.container(usize::from(marker & 0x0f), 1).map(Token::Array),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f)),
            0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Ok(Token::Other),
            0xc1 => Err(CodecError::Malformed {
                reason: "0xc1 begins no value".to_owned(),
            }),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                self.take(length).map(|_| Token::Other)
            }
            0xc7..=0xc9 | 0xd4..=0xd8 => Err(CodecError::Extension),
            0xca => {
                let bits = self.take_array::<4>()?;
                finite(f64::from(f32::from_be_bytes(bits)))
            }
            0xcb => self.take_array::<8>().and_then(|bits| finite(f64::from_be_bytes(bits))),
            0xcc..=0xcf => self.unsigned(1 << (marker - 0xcc)).map(Token::Number),
            0xd0..=0xd3 => self.take(1 << (marker - 0xd0)).map(|_| Token::Other),
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.text(length)
            }
            0xdc | 0xdd => {
                let items = self.length(2 << (marker - 0xdc))?;
                self.container(items, 1).map(Token::Array)
            }
            0xde | 0xdf => {
                let pairs = self.length(2 << (marker - 0xde))?;
                self.container(pairs, 2).map(Token::Map)
            }
        }
    }

    /// A value takes a byte at least, so a container cannot hold more of them than there are bytes.
    fn container(&self, count: usize, values_each: usize) -> Result<usize, CodecError> {
        if count > self.rest.len() / values_each {
            return Err(CodecError::Truncated);
        }
        Ok(count)
    }

    fn text(&mut self, length: usize) -> Result<Token<'a>, CodecError> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_not_utf8| CodecError::NotUtf8)?;
        Ok(Token::Text(text))
    }

    fn length(&mut self, width: usize) -> Result<usize, CodecError> {
        usize::try_from(self.unsigned(width)?).map_err(|_too_large| CodecError::Truncated)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, CodecError> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn finite<'a>(number: f64) -> Result<Token<'a>, CodecError> {
    if number.is_finite() {
        Ok(Token::Other)
    } else {
        Err(CodecError::NotFinite)
    }
}
