//! Which clocks a Yjs update brings, read without building anything: the generator has to know what arrived at a cost
//! far below the server's.
//!
//! Reads the server's frames only; the walls against hostile bytes are elsewhere.

/// Reads lib0's encoding from a slice; `None` means that the bytes end too early or make no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn blob(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn any(&mut self) -> Option<()> {
        match self.byte()? {
            126 | 127 | 120 | 121 => {}
            125 => while self.byte()? >= 0x80 {},
            124 => drop(self.take(4)?),
            122 | 123 => drop(self.take(8)?),
            119 | 116 => drop(self.blob()?),
            118 => {
                for _ in 0..self.number()? {
                    self.blob()?;
                    self.any()?;
                }
            }
            117 => {
                for _ in 0..self.number()? {
                    self.any()?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Content of a block; its length in clocks.
    fn content(&mut self, kind: u8) -> Option<u64> {
        match kind {
            1 => self.number(),
            2 => {
                let length = self.number()?;
                for _ in 0..length {
                    self.blob()?;
                }
                Some(length)
            }
            3 | 5 => self.blob().map(|_| 1),
            4 => {
                let text = std::str::from_utf8(self.blob()?).ok()?;
                Some(text.encode_utf16().count() as u64)
            }
            6 => {
                self.blob()?;
                self.blob().map(|_| 1)
            }
            7 => {
                if matches!(self.number()?, 3 | 5) {
                    self.blob()?;
                }
                Some(1)
            }
            8 => {
                let length = self.number()?;
                for _ in 0..length {
                    self.any()?;
                }
                Some(length)
            }
            9 => {
                self.blob()?;
                self.any().map(|()| 1)
            }
            _ => None,
        }
    }

    /// One block; its length in clocks.
    fn block(&mut self) -> Option<u64> {
        let info = self.byte()?;
        let kind = info & 0x1f;
        if matches!(kind, 0 | 10) {
            return self.number();
        }
        for bit in [0x80, 0x40] {
            if info & bit != 0 {
                self.number()?;
                self.number()?;
            }
        }
        if info & 0xc0 == 0 {
            if self.number()? == 1 {
                self.blob()?;
            } else {
                self.number()?;
                self.number()?;
            }
            if info & 0x20 != 0 {
                self.blob()?;
            }
        }
        self.content(kind)
    }
}

/// Calls `seen(client, end clock)` for each client of an update of encoding v1.
pub(super) fn clocks(update: &[u8], mut seen: impl FnMut(u64, u64)) -> Option<()> {
    let mut reader = Reader(update);
    for _ in 0..reader.number()? {
        let blocks = reader.number()?;
        let client = reader.number()?;
        let mut clock = reader.number()?;
        for _ in 0..blocks {
            clock += reader.block()?;
        }
        seen(client, clock);
    }
    Some(())
}

/// Calls `seen(client, clock)` for each entry of an awareness update.
pub(super) fn awareness(update: &[u8], mut seen: impl FnMut(u64, u64)) -> Option<()> {
    let mut reader = Reader(update);
    for _ in 0..reader.number()? {
        let client = reader.number()?;
        let clock = reader.number()?;
        reader.blob()?;
        seen(client, clock);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::args::Kind;
    use crate::bench::content::{self, Script};

    fn ends(update: &[u8]) -> Vec<(u64, u64)> {
        let mut ends = Vec::new();
        clocks(update, |client, end| ends.push((client, end))).expect("the walk reads what yrs wrote");
        ends
    }

    #[test]
    fn the_walk_finds_the_clocks_of_every_prepared_update() {
        for kind in [Kind::Update, Kind::Stroke] {
            let Script {
                setup,
                base,
                step,
                updates,
            } = content::script(7, kind, 100);
            assert_eq!(ends(&setup), [(7, base)]);
            for (index, update) in updates.iter().enumerate() {
                assert_eq!(ends(update), [(7, base + step * (index as u64 + 1))]);
            }
        }
    }
}
