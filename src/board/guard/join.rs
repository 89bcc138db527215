//! Updates of one sender, one behind the other, as one update: so they are checked at once and become one transaction.
//! Awareness messages, too.
//!
//! Blocks are copied as they lie there. Overwritten values go only when the transaction is committed, so nothing is
//! gained here but that there is one.

use std::collections::{BTreeMap, HashSet};

use super::bytes::WalkError;
use super::walk::{AWARENESS_ENTRIES_MAX, Walk, walk_awareness};

/// The update that does what these do in order; none where one does not begin where those before it end.
pub fn join(walks: &[Walk<'_>]) -> Option<Vec<u8>> {
    let mut sections: BTreeMap<u64, Joined<'_>> = BTreeMap::new();
    let mut deletes: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
    for walk in walks {
        for section in walk.sections() {
            let joined = sections.entry(section.client).or_insert(Joined {
                from: section.from,
                to: section.from,
                blocks: 0,
                bytes: Vec::new(),
            });
            if joined.to != section.from {
                return None;
            }
            joined.to = section.to;
            joined.blocks += section.blocks.len();
            joined.bytes.push(walk.bytes_of(section));
        }
        for range in walk.deletes() {
            deletes.entry(range.client).or_default().push((range.from, range.to));
        }
    }
    let mut update = Vec::new();
    write(&mut update, sections.len() as u64);
    for (client, joined) in &sections {
        write(&mut update, joined.blocks as u64);
        write(&mut update, *client);
        write(&mut update, u64::from(joined.from));
        joined.bytes.iter().for_each(|bytes| update.extend_from_slice(bytes));
    }
    write(&mut update, deletes.len() as u64);
    for (client, ranges) in deletes {
        let ranges = united(ranges);
        write(&mut update, client);
        write(&mut update, ranges.len() as u64);
        for (from, to) in ranges {
            write(&mut update, u64::from(from));
            write(&mut update, u64::from(to - from));
        }
    }
    Some(update)
}

/// One message with all of `newer`, and before it what `older` tells of other client ids: its last states, of so many
/// bytes at most. Beside it the number of those left out.
pub fn join_awareness(older: &[u8], newer: &[u8], older_bytes_max: usize) -> Result<(Vec<u8>, usize), WalkError> {
    let (older, newer) = (walk_awareness(older)?, walk_awareness(newer)?);
    let renewed: HashSet<u64> = newer.iter().map(|entry| entry.client).collect();
    let mut bytes = 0;
    let mut kept: Vec<_> = older
        .iter()
        .rev()
        .filter(|entry| !renewed.contains(&entry.client))
        .take_while(|entry| {
            bytes += entry.json.len();
            bytes <= older_bytes_max
        })
        .take(AWARENESS_ENTRIES_MAX - newer.len())
        .collect();
    kept.reverse();
    let mut message = Vec::new();
    write(&mut message, (kept.len() + newer.len()) as u64);
    for entry in kept.iter().copied().chain(&newer) {
        write(&mut message, entry.client);
        write(&mut message, u64::from(entry.clock));
        write(&mut message, entry.json.len() as u64);
        message.extend_from_slice(entry.json.as_bytes());
    }
    Ok((message, older.len() - kept.len()))
}

/// The blocks of one client.
struct Joined<'a> {
    from: u32,
    to: u32,
    blocks: usize,
    bytes: Vec<&'a [u8]>,
}

/// The same clocks in order, each once.
fn united(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let is_near = next.0 <= last.1;
        if is_near {
            last.1 = last.1.max(next.1);
        }
        is_near
    });
    ranges
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}
