//! Which of several new values of one property stays.
//!
//! A property is a list of values of which the last one counts. Behind the same block the highest client's comes last, of
//! one client's the first, and so on behind that. The libraries delete all others, so a value that is still there must
//! be the last: an update that claims otherwise would leave the entry without one.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::place::Place;
use super::walk::{Block, BlockId};

/// One new value of a property.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rival {
    pub(super) place: Place,
    pub(super) first: BlockId,
    last: BlockId,
    origin: Option<BlockId>,
    is_alive: bool,
}

impl Rival {
    pub(super) fn new(block: &Block<'_>, place: Place, is_alive: bool) -> Self {
        Self {
            place,
            first: (block.client, block.clock),
            last: (block.client, block.clock + block.len - 1),
            origin: block.origin,
            is_alive,
        }
    }
}

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Winner {
    /// A value that is there.
    Alive,
    /// None of them, and none claims to.
    Dead,
    /// None of them, though one claims to.
    None,
}

/// Settles it among values of one place, sorted by their first block.
pub(super) fn settle(rivals: &[Rival]) -> Winner {
    if let [only] = rivals {
        return if only.is_alive { Winner::Alive } else { Winner::Dead };
    }
    if !rivals.iter().any(|rival| rival.is_alive) {
        return Winner::Dead;
    }
    let mut behind: HashMap<Option<BlockId>, &Rival> = HashMap::with_capacity(rivals.len());
    let mut roots = Vec::new();
    for rival in rivals {
        match rival.origin.and_then(|origin| holder(rivals, origin)) {
            // Behind the middle of a run the libraries never write.
            Some(holder) if rival.origin != Some(holder.last) => return Winner::None,
            Some(_) => {}
            None => roots.push(rival.origin),
        }
        let rank = |rival: &Rival| (rival.first.0, Reverse(rival.first.1));
        let best = behind.entry(rival.origin).or_insert(rival);
        if rank(rival) > rank(best) {
            *best = rival;
        }
    }
    for root in roots {
        let mut end = None;
        let mut origin = root;
        while let Some(next) = behind.remove(&origin) {
            origin = Some(next.last);
            end = Some(next);
        }
        if end.is_some_and(|end| end.is_alive) {
            return Winner::Alive;
        }
    }
    Winner::None
}

/// The value that this block is part of.
fn holder(rivals: &[Rival], origin: BlockId) -> Option<&Rival> {
    let next = rivals.partition_point(|rival| rival.first <= origin);
    let rival = &rivals[next.checked_sub(1)?];
    (rival.first.0 == origin.0 && origin.1 <= rival.last.1).then_some(rival)
}
