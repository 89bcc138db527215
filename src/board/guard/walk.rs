//! The form of an update, a state vector and an awareness message: read once from front to back, nothing built.
//!
//! A [`Walk`] keeps eight bytes a block (where it starts, its clock) and reads the head again when asked for one, so that
//! a hostile update cannot make it much larger than itself.

use std::ops::Range;

use super::bytes::{Cursor, WalkError};
use super::json;
use crate::protocol::limits::{
    CLOCK_MAX, DELETED_RUN_MAX, ITEM_BYTES_MAX, STATE_VECTOR_CLIENTS_MAX, UPDATE_BLOCKS_MAX, UPDATE_CLIENTS_MAX,
};

const HAS_ORIGIN: u8 = 0b1000_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_KEY: u8 = 0b0010_0000;
const CONTENT_BITS: u8 = 0b0001_1111;

/// `y-websocket` echoes every awareness state it hears, so one message may hold a whole board's.
pub(super) const AWARENESS_ENTRIES_MAX: usize = 1_024;

/// Name of a block: client id and clock.
pub type BlockId = (u64, u32);

/// Ceilings of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimits {
    /// Clients with blocks.
    pub clients_max: usize,
    /// Blocks.
    pub blocks_max: usize,
    /// Delete ranges: a client's first message brings those of the whole document.
    pub delete_ranges_max: usize,
    /// Bytes of one string, binary or value.
    pub item_bytes_max: usize,
    /// Length of one run of deleted or collected blocks.
    pub deleted_run_max: u32,
}

impl WalkLimits {
    /// What a client may send.
    pub const CLIENT: Self = Self {
        clients_max: UPDATE_CLIENTS_MAX,
        blocks_max: UPDATE_BLOCKS_MAX,
        delete_ranges_max: 1 << 20,
        item_bytes_max: ITEM_BYTES_MAX,
        deleted_run_max: DELETED_RUN_MAX,
    };
    /// What our own document emitted: a keyframe joins runs and holds all clients.
    pub const TRUSTED: Self = Self {
        clients_max: usize::MAX,
        blocks_max: usize::MAX,
        delete_ranges_max: usize::MAX,
        item_bytes_max: usize::MAX,
        deleted_run_max: CLOCK_MAX,
    };
}

/// The blocks of one client in an update, without a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Their client id.
    pub client: u64,
    /// Clock of the first one.
    pub from: u32,
    /// Clock after the last one.
    pub to: u32,
    /// Their numbers in the walk.
    pub blocks: Range<u32>,
    /// Where the last one ends in the bytes.
    end: u32,
}

/// Blocks of one client that an update deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteRange {
    /// Their client id.
    pub client: u64,
    /// Clock of the first one.
    pub from: u32,
    /// Clock after the last one.
    pub to: u32,
}

/// Where a block says that it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent<'a> {
    /// Where its origin or right origin belongs.
    Inherited,
    /// A root of this name.
    Root(&'a str),
    /// The shared type that this block holds.
    Block(BlockId),
}

/// Kinds of shared types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedType {
    /// Y.Map.
    Map,
    /// Any other kind that both libraries know.
    Other,
}

/// Kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Collected: it has no place any more.
    Collected,
    /// Deleted: it has a place and no content.
    Deleted,
    /// Plain values.
    Any,
    /// Bytes.
    Binary,
    /// Text.
    Text,
    /// Embedded object or format mark in a text.
    Mark,
    /// A shared type.
    Type(SharedType),
}

/// One block, read from its head.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Its client id.
    pub client: u64,
    /// Its clock.
    pub clock: u32,
    /// How many clocks it takes.
    pub len: u32,
    /// Block it was put behind.
    pub origin: Option<BlockId>,
    /// Block it was put before.
    pub right_origin: Option<BlockId>,
    /// Where it says that it belongs.
    pub parent: Parent<'a>,
    /// Its key there, if it says so.
    pub key: Option<&'a str>,
    /// Kind of content.
    pub content: Content,
    /// The bytes from its content on.
    pub(super) body: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Start {
    at: u32,
    clock: u32,
}

#[derive(Debug)]
struct DeleteSection {
    client: u64,
    ranges: Range<u32>,
}

/// An update whose form is sound.
#[derive(Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
    starts: Vec<Start>,
    delete_sections: Vec<DeleteSection>,
    deletes: Vec<(u32, u32)>,
}

/// Walks over an update of a client.
pub fn walk(bytes: &[u8]) -> Result<Walk<'_>, WalkError> {
    walk_within(bytes, &WalkLimits::CLIENT)
}

/// Walks over an update within the given limits.
pub fn walk_within<'a>(bytes: &'a [u8], limits: &WalkLimits) -> Result<Walk<'a>, WalkError> {
    let mut cursor = Cursor::new(bytes);
    let mut walk = Walk {
        bytes,
        sections: Vec::new(),
        starts: Vec::new(),
        delete_sections: Vec::new(),
        deletes: Vec::new(),
    };
    let sections = cursor.count(4)?;
    if sections > limits.clients_max {
        return Err(WalkError::TooManyClients);
    }
    for _ in 0..sections {
        walk.read_section(&mut cursor, limits)?;
    }
    walk.read_deletes(&mut cursor, limits)?;
    cursor.end()?;
    // Blocks and ranges keep their numbers, so the sections may be put in order for the search.
    walk.sections.sort_unstable_by_key(|section| section.client);
    walk.delete_sections.sort_unstable_by_key(|section| section.client);
    let is_twice = !walk.sections.is_sorted_by(|a, b| a.client < b.client)
        || !walk.delete_sections.is_sorted_by(|a, b| a.client < b.client);
    if is_twice {
        return Err(WalkError::ClientTwice);
    }
    Ok(walk)
}

impl<'a> Walk<'a> {
    /// Whether it neither brings nor deletes anything.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.deletes.is_empty()
    }

    /// The clients that bring blocks, by client id.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.starts.len()
    }

    /// All blocks, by client id and clock.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + '_ {
        self.sections
            .iter()
            .flat_map(|section| section.blocks.clone().map(|number| self.block(section, number)))
    }

    /// The blocks of this client.
    pub fn section(&self, client: u64) -> Option<&Section> {
        self.section_number(client).map(|number| &self.sections[number])
    }

    pub(super) fn section_number(&self, client: u64) -> Option<usize> {
        self.sections
            .binary_search_by_key(&client, |section| section.client)
            .ok()
    }

    /// All delete ranges, by client id and clock.
    pub fn deletes(&self) -> impl Iterator<Item = DeleteRange> + '_ {
        self.delete_sections.iter().flat_map(|section| {
            self.ranges(section).iter().map(|&(from, to)| DeleteRange {
                client: section.client,
                from,
                to,
            })
        })
    }

    /// Whether the update itself deletes this block.
    pub(super) fn deletes_block(&self, (client, clock): BlockId) -> bool {
        let Ok(section) = self
            .delete_sections
            .binary_search_by_key(&client, |section| section.client)
        else {
            return false;
        };
        let ranges = self.ranges(&self.delete_sections[section]);
        let next = ranges.partition_point(|&(from, _)| from <= clock);
        next > 0 && clock < ranges[next - 1].1
    }

    fn ranges(&self, section: &DeleteSection) -> &[(u32, u32)] {
        &self.deletes[section.ranges.start as usize..section.ranges.end as usize]
    }

    /// Block number `number`, which lies in `section`.
    #[expect(
        clippy::inline_always,
        reason = "the block is taken apart where it is read: copying it costs as much as reading it"
    )]
    #[inline(always)]
    pub(super) fn block(&self, section: &Section, number: u32) -> Block<'a> {
        let start = self.starts[number as usize];
        let mut cursor = Cursor::starting_at(self.bytes, start.at as usize);
        let mut block =
            read_head(&mut cursor, section.client, start.clock).expect("the walk has read this head before");
        let next = number + 1;
        block.len = if next < section.blocks.end {
            self.starts[next as usize].clock
        } else {
            section.to
        } - start.clock;
        block.body = &self.bytes[cursor.at()..];
        block
    }

    /// All blocks of a section as they lie in the update.
    pub(super) fn bytes_of(&self, section: &Section) -> &'a [u8] {
        let first = self.starts[section.blocks.start as usize].at;
        &self.bytes[first as usize..section.end as usize]
    }

    pub(super) fn clock(&self, number: u32) -> u32 {
        self.starts[number as usize].clock
    }

    /// Number of the block of this section that holds `clock`.
    pub(super) fn find(&self, section: &Section, clock: u32) -> u32 {
        let starts = &self.starts[section.blocks.start as usize..section.blocks.end as usize];
        let next = starts.partition_point(|start| start.clock <= clock);
        section.blocks.start + u32::try_from(next).expect("blocks are counted in 32 bits") - 1
    }

    fn read_section(&mut self, cursor: &mut Cursor<'a>, limits: &WalkLimits) -> Result<(), WalkError> {
        let count = cursor.count(2)?;
        if count > limits.blocks_max - self.starts.len() {
            return Err(WalkError::TooManyBlocks);
        }
        let client = cursor.client()?;
        let from = cursor.u32()?;
        if count == 0 {
            return Err(WalkError::Empty);
        }
        let first = number(self.starts.len())?;
        let mut clock = from;
        // Backed by two bytes each, so it stays linear in the update.
        self.starts.reserve(count);
        for _ in 0..count {
            self.starts.push(Start {
                at: number(cursor.at())?,
                clock,
            });
            let block = read_head(cursor, client, clock)?;
            let len = read_body(cursor, block.content, limits)?;
            if len == 0 {
                return Err(WalkError::Empty);
            }
            clock = clock
                .checked_add(len)
                .filter(|&end| end <= CLOCK_MAX)
                .ok_or(WalkError::ClockTooHigh)?;
        }
        self.sections.push(Section {
            client,
            from,
            to: clock,
            blocks: first..number(self.starts.len())?,
            end: number(cursor.at())?,
        });
        Ok(())
    }

    fn read_deletes(&mut self, cursor: &mut Cursor<'a>, limits: &WalkLimits) -> Result<(), WalkError> {
        for _ in 0..cursor.count(4)? {
            let client = cursor.client()?;
            let count = cursor.count(2)?;
            if count == 0 {
                return Err(WalkError::Empty);
            }
            if count > limits.delete_ranges_max - self.deletes.len() {
                return Err(WalkError::TooManyBlocks);
            }
            let first = number(self.deletes.len())?;
            let mut end = 0;
            for _ in 0..count {
                let (from, len) = (cursor.u32()?, cursor.u32()?);
                let to = from.checked_add(len).ok_or(WalkError::ClockTooHigh)?;
                if len == 0 {
                    return Err(WalkError::Empty);
                }
                if to > CLOCK_MAX {
                    return Err(WalkError::ClockTooHigh);
                }
                if from < end {
                    return Err(WalkError::Unsorted);
                }
                end = to;
                self.deletes.push((from, to));
            }
            self.delete_sections.push(DeleteSection {
                client,
                ranges: first..number(self.deletes.len())?,
            });
        }
        Ok(())
    }
}

fn number(size: usize) -> Result<u32, WalkError> {
    u32::try_from(size).map_err(|_checked| WalkError::TooManyBlocks)
}

fn refuse_twice(clients: impl Iterator<Item = u64>) -> Result<(), WalkError> {
    let mut sorted: Vec<_> = clients.collect();
    sorted.sort_unstable();
    if sorted.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(WalkError::ClientTwice)
    }
}

/// Reads what stands before the content; length and body are the caller's to fill in.
#[expect(
    clippy::inline_always,
    reason = "the block is taken apart where it is read: copying it costs as much as reading it"
)]
#[inline(always)]
fn read_head<'a>(cursor: &mut Cursor<'a>, client: u64, clock: u32) -> Result<Block<'a>, WalkError> {
    let info = cursor.byte()?;
    let content = match (info, info & CONTENT_BITS) {
        (0, _) => Content::Collected,
        (10, _) => return Err(WalkError::Skip),
        (_, 1) => Content::Deleted,
        (_, 2) => return Err(WalkError::OldJson),
        (_, 3) => Content::Binary,
        (_, 4) => Content::Text,
        // Both marks carry JSON; which one it is shows in the number of strings, so it is kept by `read_body`.
        (_, 5 | 6) => Content::Mark,
        (_, 7) => Content::Type(SharedType::Other),
        (_, 8) => Content::Any,
        (_, 9) => return Err(WalkError::Subdocument),
        _ => return Err(WalkError::UnknownContent),
    };
    let mut block = Block {
        client,
        clock,
        len: 0,
        origin: None,
        right_origin: None,
        parent: Parent::Inherited,
        key: None,
        content,
        body: &[],
    };
    if info & HAS_ORIGIN != 0 {
        block.origin = Some(read_id(cursor)?);
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        block.right_origin = Some(read_id(cursor)?);
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 && content != Content::Collected {
        block.parent = match cursor.u32()? {
            1 => Parent::Root(cursor.text()?),
            0 => Parent::Block(read_id(cursor)?),
            _ => return Err(WalkError::UnknownContent),
        };
        if info & HAS_KEY != 0 {
            block.key = Some(cursor.text()?);
        }
    }
    if info & CONTENT_BITS == 6 {
        // The name of a format mark; after it the value is JSON as in an embed.
        cursor.text()?;
    }
    if content == Content::Type(SharedType::Other) {
        block.content = Content::Type(read_type(cursor)?);
    }
    Ok(block)
}

#[expect(
    clippy::inline_always,
    reason = "the block is taken apart where it is read: copying it costs as much as reading it"
)]
#[inline(always)]
fn read_id(cursor: &mut Cursor<'_>) -> Result<BlockId, WalkError> {
    Ok((cursor.client()?, cursor.u32()?))
}

fn read_type(cursor: &mut Cursor<'_>) -> Result<SharedType, WalkError> {
    match cursor.byte()? {
        1 => Ok(SharedType::Map),
        // Array, text, XML fragment, XML text.
        0 | 2 | 4 | 6 => Ok(SharedType::Other),
        3 => cursor.text().map(|_tag| SharedType::Other),
        9 => Err(WalkError::Subdocument),
        // Hooks, weak links, undefined: the libraries do not agree on how they are read.
        _ => Err(WalkError::UnknownContent),
    }
}

/// Walks over the content and returns how many clocks it takes.
#[inline]
fn read_body(cursor: &mut Cursor<'_>, content: Content, limits: &WalkLimits) -> Result<u32, WalkError> {
    let start = cursor.at();
    let len = match content {
        Content::Collected | Content::Deleted => {
            let len = cursor.u32()?;
            if len > limits.deleted_run_max {
                return Err(WalkError::RunTooLong);
            }
            return Ok(len);
        }
        Content::Type(_) => return Ok(1),
        Content::Any => return read_values(cursor, limits),
        Content::Binary => cursor.buffer().map(|_| 1)?,
        Content::Text => utf16_len(cursor.text()?)?,
        Content::Mark => cursor.text().and_then(json::check).map(|()| 1)?,
    };
    if cursor.since(start).len() > limits.item_bytes_max {
        return Err(WalkError::ItemTooLarge);
    }
    Ok(len)
}

fn read_values(cursor: &mut Cursor<'_>, limits: &WalkLimits) -> Result<u32, WalkError> {
    let count = cursor.count(1)?;
    for _ in 0..count {
        let start = cursor.at();
        cursor.any(1)?;
        if cursor.since(start).len() > limits.item_bytes_max {
            return Err(WalkError::ItemTooLarge);
        }
    }
    number(count)
}

/// Yjs counts text as JavaScript does.
fn utf16_len(text: &str) -> Result<u32, WalkError> {
    if text.is_ascii() {
        return number(text.len());
    }
    number(text.chars().map(char::len_utf16).sum())
}

/// Walks over a state vector: `(client id, next clock)`.
pub fn walk_state_vector(bytes: &[u8]) -> Result<Vec<(u64, u32)>, WalkError> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.count(2)?;
    if count > STATE_VECTOR_CLIENTS_MAX {
        return Err(WalkError::TooManyClients);
    }
    let mut vector = Vec::with_capacity(count);
    for _ in 0..count {
        let (client, clock) = (cursor.client()?, cursor.u32()?);
        if clock > CLOCK_MAX {
            return Err(WalkError::ClockTooHigh);
        }
        vector.push((client, clock));
    }
    cursor.end()?;
    refuse_twice(vector.iter().map(|&(client, _)| client))?;
    Ok(vector)
}

/// One state of an awareness message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwarenessEntry<'a> {
    /// Client id it is of.
    pub client: u64,
    /// Counts this client's states.
    pub clock: u32,
    /// The state, `null` for one that is gone.
    pub json: &'a str,
}

/// Walks over an awareness message. The size of one state is the caller's to bound.
pub fn walk_awareness(bytes: &[u8]) -> Result<Vec<AwarenessEntry<'_>>, WalkError> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.count(3)?;
    if count > AWARENESS_ENTRIES_MAX {
        return Err(WalkError::TooManyClients);
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (client, clock, json) = (cursor.client()?, cursor.u32()?, cursor.text()?);
        if clock > CLOCK_MAX {
            return Err(WalkError::ClockTooHigh);
        }
        json::check(json)?;
        entries.push(AwarenessEntry { client, clock, json });
    }
    cursor.end()?;
    refuse_twice(entries.iter().map(|entry| entry.client))?;
    Ok(entries)
}
