//! Messages of y-protocols: sync v1, awareness and awareness query, one to a frame.
//!
//! The numbers are those of the `y-protocols` package: 0 sync (0 step 1, 1 step 2, 2 update), 1 awareness, 3 query.

use bytes::{BufMut, Bytes, BytesMut};

/// A message of a Yjs client, not looked into yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum YjsMessage {
    /// State vector of the client: asks for what it lacks.
    Step1(Bytes),
    /// Answer to our step 1: all that we lack.
    Step2(Bytes),
    /// An edit.
    Update(Bytes),
    /// Awareness entries.
    Awareness(Bytes),
    /// Asks for all awareness entries.
    Query,
}

impl YjsMessage {
    /// Takes a frame apart; `None` if it is no message, or more than one.
    pub fn parse(frame: &Bytes) -> Option<Self> {
        let (kind, at) = var(frame, 0)?;
        match kind {
            0 => {
                let (step, at) = var(frame, at)?;
                let payload = payload(frame, at)?;
                match step {
                    0 => Some(Self::Step1(payload)),
                    1 => Some(Self::Step2(payload)),
                    2 => Some(Self::Update(payload)),
                    _ => None,
                }
            }
            1 => Some(Self::Awareness(payload(frame, at)?)),
            3 if at == frame.len() => Some(Self::Query),
            _ => None,
        }
    }
}

fn var(frame: &Bytes, mut at: usize) -> Option<(usize, usize)> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let byte = *frame.get(at)?;
        at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((number, at));
        }
    }
    None
}

fn payload(frame: &Bytes, at: usize) -> Option<Bytes> {
    let (len, at) = var(frame, at)?;
    (frame.len().checked_sub(at)? == len).then(|| frame.slice(at..))
}

/// Our sync step 1.
pub fn step1(vector: &[u8]) -> Bytes {
    message(0, vector)
}

/// Sync step 2: what a client lacks.
pub fn step2(update: &[u8]) -> Bytes {
    message(1, update)
}

/// An edit.
pub fn update(update: &[u8]) -> Bytes {
    message(2, update)
}

/// A state vector of these next clocks.
pub fn vector(clocks: impl IntoIterator<Item = (u64, u32), IntoIter: ExactSizeIterator>) -> Bytes {
    let clocks = clocks.into_iter();
    let mut bytes = BytesMut::new();
    put_var(&mut bytes, clocks.len() as u64);
    for (client, clock) in clocks {
        put_var(&mut bytes, client);
        put_var(&mut bytes, clock.into());
    }
    bytes.freeze()
}

fn message(step: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(payload.len() + 7);
    bytes.put_u8(0);
    bytes.put_u8(step);
    put_var(&mut bytes, payload.len() as u64);
    bytes.put_slice(payload);
    bytes.freeze()
}

fn put_var(bytes: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        bytes.put_u8(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.put_u8(u8::try_from(number).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::guard::walk_state_vector;

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 127, 128, 70_000] {
            let payload = Bytes::from(vec![7; len]);
            assert_eq!(
                YjsMessage::parse(&step1(&payload)),
                Some(YjsMessage::Step1(payload.clone()))
            );
            assert_eq!(
                YjsMessage::parse(&step2(&payload)),
                Some(YjsMessage::Step2(payload.clone()))
            );
            assert_eq!(YjsMessage::parse(&update(&payload)), Some(YjsMessage::Update(payload)));
        }
    }

    #[test]
    fn a_vector_is_read_as_it_was_written() {
        let clocks = [(7, 9), ((1 << 53) - 1, 70_000)];
        assert_eq!(walk_state_vector(&vector(clocks)), Ok(clocks.to_vec()));
    }

    #[test]
    fn two_messages_in_a_frame_are_none() {
        let mut frame = step1(b"ab").to_vec();
        frame.extend_from_slice(&update(b"c"));
        assert_eq!(YjsMessage::parse(&frame.into()), None);
        assert_eq!(YjsMessage::parse(&Bytes::from_static(&[3, 3])), None);
    }
}
