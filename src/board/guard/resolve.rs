//! Where the new blocks of an update belong.
//!
//! A block may lean on blocks of other clients that come later in the bytes, so clients take turns: one goes on until it
//! needs a block that is not placed yet, then that block's client goes on until it is. A client that waits for itself
//! would wait for ever: yrs would park such blocks, here it is a gap. Each turn places at least one block.

use super::check::Refusal;
use super::index::{BlockIndex, ClientBlocks};
use super::place::{self, Container, DEAD, ENTRIES, FOREIGN, FOREIGN_LAST, META, Place, Slot};
use super::shape::Misfit;
use super::walk::{Block, BlockId, Content, Parent, Walk};
use crate::protocol::element::{EntryKind, Property};

/// A key that the update writes into a root of the schema.
#[derive(Debug)]
pub(super) struct NewEntry<'a> {
    pub(super) kind: EntryKind,
    pub(super) id: &'a str,
    pub(super) block: BlockId,
    /// Whether a shared type is put there; else what was there is gone already.
    pub(super) is_type: bool,
}

#[derive(Debug)]
pub(super) struct Resolved<'a> {
    /// Place of each block by its number; meaningless for those known before.
    pub(super) places: Vec<Place>,
    /// Containers that the index does not have yet, numbered on from its last.
    pub(super) entries: Vec<NewEntry<'a>>,
    /// First block that fits nowhere: what is wrong with it.
    pub(super) misfit: Option<Misfit>,
}

/// Places all new blocks, or finds the gap.
///
/// `visit` looks at each of them once it has its place, and at the new entries so far: reading a head is what a block
/// costs most, so whoever has more to ask of it asks here.
pub(super) fn resolve<'a>(
    index: &'a BlockIndex,
    walk: &'a Walk<'a>,
    mut visit: impl FnMut(&Block<'a>, Place, &[NewEntry<'a>]) -> Result<(), Misfit>,
) -> Result<Resolved<'a>, Refusal> {
    let mut resolver = Resolver {
        index,
        walk,
        turns: Vec::with_capacity(walk.sections().len()),
        first_new: index.next_container(),
        resolved: Resolved {
            places: vec![Place::DEAD; walk.block_count()],
            entries: Vec::new(),
            misfit: None,
        },
        last: None,
        near: 0,
    };
    resolver.begin()?;
    let mut waiting = Vec::new();
    for section in 0..walk.sections().len() {
        resolver.turns[section].is_waiting = true;
        waiting.push((section, walk.sections()[section].to));
        while let Some(&(section, until)) = waiting.last() {
            if let Some(wait) = resolver.advance(section, until, &mut visit)? {
                if std::mem::replace(&mut resolver.turns[wait.0].is_waiting, true) {
                    return Err(Refusal::Gap);
                }
                waiting.push(wait);
            } else {
                resolver.turns[section].is_waiting = false;
                waiting.pop();
            }
        }
    }
    Ok(resolver.resolved)
}

struct Turn {
    known: u32,
    /// Number of the next block to be placed.
    next: u32,
    is_waiting: bool,
}

enum Stop {
    /// This section must get past this clock first.
    Wait(usize, u32),
    Gap,
    Misfit(Misfit),
}

struct Resolver<'a> {
    index: &'a BlockIndex,
    walk: &'a Walk<'a>,
    turns: Vec<Turn>,
    first_new: Container,
    resolved: Resolved<'a>,
    /// The client looked up last: most blocks lean on one and the same.
    last: Option<(u64, Option<&'a ClientBlocks>)>,
    /// Run of blocks looked at last.
    near: usize,
}

/// A block that another one leans on.
enum Found<'a> {
    Known(&'a ClientBlocks, u32),
    Here(usize, u32),
}

impl<'a> Resolver<'a> {
    fn begin(&mut self) -> Result<(), Refusal> {
        for section in self.walk.sections() {
            let known = self.index.next_clock(section.client);
            if section.from > known {
                return Err(Refusal::Gap);
            }
            let next = if section.to <= known {
                section.blocks.end
            } else {
                self.walk.find(section, known)
            };
            self.turns.push(Turn {
                known,
                next,
                is_waiting: false,
            });
        }
        Ok(())
    }

    /// Goes on until `until` is placed, or says what must be placed first.
    fn advance(
        &mut self,
        section: usize,
        until: u32,
        visit: &mut impl FnMut(&Block<'a>, Place, &[NewEntry<'a>]) -> Result<(), Misfit>,
    ) -> Result<Option<(usize, u32)>, Refusal> {
        let blocks = &self.walk.sections()[section];
        let known = self.turns[section].known;
        while self.turns[section].next < blocks.blocks.end {
            let number = self.turns[section].next;
            if self.walk.clock(number) >= until {
                return Ok(None);
            }
            let block = self.walk.block(blocks, number);
            let place = match self.place(&block).and_then(|place| self.joined(&block, known, place)) {
                Ok(place) => place,
                Err(Stop::Wait(other, clock)) => return Ok(Some((other, clock + 1))),
                Err(Stop::Gap) => return Err(Refusal::Gap),
                Err(Stop::Misfit(what)) => {
                    self.resolved.misfit.get_or_insert(what);
                    Place::DEAD
                }
            };
            self.resolved.places[number as usize] = place;
            if self.resolved.misfit.is_none() {
                self.resolved.misfit = visit(&block, place, &self.resolved.entries).err();
            }
            self.turns[section].next += 1;
        }
        Ok(None)
    }

    /// A block whose first part is known must belong where that part is, or the libraries would tear it apart.
    fn joined(&self, block: &Block<'a>, known: u32, place: Place) -> Result<Place, Stop> {
        if block.clock >= known || block.content == Content::Collected {
            return Ok(place);
        }
        match self.index.place((block.client, known - 1)) {
            Some((before, _)) if before == place => Ok(place),
            _ => Err(Stop::Misfit("a block goes on where its first part does not belong")),
        }
    }

    fn place(&mut self, block: &Block<'a>) -> Result<Place, Stop> {
        if block.content == Content::Collected {
            return Ok(Place::DEAD);
        }
        match block.parent {
            Parent::Inherited => self.inherited(block),
            Parent::Root(name) => match (place::root_named(name), block.key) {
                (container @ (META | FOREIGN), _) => Ok(Place::plain(container)),
                (_, None) => Err(Stop::Misfit("the schema's roots hold keys only")),
                (root, Some(key)) => {
                    let kind = place::kind_of_root(root).expect("all other roots hold entries");
                    Ok(self.in_root(block, kind, key))
                }
            },
            Parent::Block(parent) => {
                let container = self.container_in(parent)?;
                if container < ENTRIES {
                    return Ok(Place::plain(container));
                }
                let property = block.key.and_then(Property::from_name);
                match property {
                    Some(property) if property.fits(self.kind_of(container)) => Ok(Place {
                        container,
                        slot: Slot::Property(property as u8),
                    }),
                    _ => Err(Stop::Misfit("an entry has no such property")),
                }
            }
        }
    }

    /// The libraries disagree when the two neighbours belong to different places; Yjs and yrs never write such a block.
    fn inherited(&mut self, block: &Block<'a>) -> Result<Place, Stop> {
        let left = block.origin.map(|id| self.place_of(id)).transpose()?;
        let right = block.right_origin.map(|id| self.place_of(id)).transpose()?;
        let place = match (left, right) {
            (Some(left), Some(right)) if left != right => {
                return Err(Stop::Misfit("its neighbours belong to different places"));
            }
            (Some(place), _) | (None, Some(place)) => place,
            (None, None) => return Err(Stop::Gap),
        };
        if place.slot == Slot::Root && matches!(block.content, Content::Type(_)) {
            let (kind, id) = (self.kind_of(place.container), self.id_of(place.container));
            return Ok(self.new_entry(block, kind, id));
        }
        Ok(place)
    }

    fn in_root(&mut self, block: &Block<'a>, kind: EntryKind, key: &'a str) -> Place {
        // A like is a plain value, so all blocks of one key are one container.
        match self.index.live(kind, key).filter(|_| kind == EntryKind::Like) {
            Some(container) => Place {
                container,
                slot: Slot::Root,
            },
            None => self.new_entry(block, kind, key),
        }
    }

    fn new_entry(&mut self, block: &Block<'a>, kind: EntryKind, id: &'a str) -> Place {
        let count = u32::try_from(self.resolved.entries.len()).expect("fewer entries than blocks");
        self.resolved.entries.push(NewEntry {
            kind,
            id,
            block: (block.client, block.clock),
            is_type: matches!(block.content, Content::Type(_)),
        });
        Place {
            container: self.first_new + count,
            slot: Slot::Root,
        }
    }

    fn find(&mut self, (client, clock): BlockId) -> Result<Found<'a>, Stop> {
        let blocks = match self.last {
            Some((last, blocks)) if last == client => blocks,
            _ => self.last.insert((client, self.index.blocks_of(client))).1,
        };
        if let Some(blocks) = blocks.filter(|blocks| clock < blocks.next()) {
            return Ok(Found::Known(blocks, clock));
        }
        let section = self.walk.section_number(client).ok_or(Stop::Gap)?;
        let blocks = &self.walk.sections()[section];
        if clock >= blocks.to {
            return Err(Stop::Gap);
        }
        let number = self.walk.find(blocks, clock);
        if number >= self.turns[section].next {
            return Err(Stop::Wait(section, clock));
        }
        Ok(Found::Here(section, number))
    }

    fn place_of(&mut self, id: BlockId) -> Result<Place, Stop> {
        Ok(match self.find(id)? {
            Found::Known(blocks, clock) => self.index.place_in(blocks, clock, &mut self.near).0,
            Found::Here(_, number) => self.resolved.places[number as usize],
        })
    }

    /// The container that the shared type in this block is.
    fn container_in(&mut self, id: BlockId) -> Result<Container, Stop> {
        let (place, is_type, is_gone) = match self.find(id)? {
            Found::Known(blocks, clock) => {
                let (place, is_type) = self.index.place_in(blocks, clock, &mut self.near);
                (place, is_type, !is_type && blocks.is_deleted(clock, clock + 1))
            }
            Found::Here(section, number) => {
                let block = self.walk.block(&self.walk.sections()[section], number);
                let is_gone = matches!(block.content, Content::Collected | Content::Deleted);
                let is_type = matches!(block.content, Content::Type(_));
                (self.resolved.places[number as usize], is_type, is_gone)
            }
        };
        match place.container {
            DEAD => Ok(DEAD),
            _ if !is_type && is_gone => Ok(DEAD),
            _ if !is_type => Err(Stop::Misfit("its parent is no shared type")),
            META => Ok(META),
            container @ FOREIGN..FOREIGN_LAST => Ok(container + 1),
            FOREIGN_LAST => Err(Stop::Misfit("shared types are nested too deeply")),
            container if place.slot != Slot::Root => {
                debug_assert!(container >= ENTRIES);
                Err(Stop::Misfit("an entry holds plain values only"))
            }
            container if container < self.first_new && self.index.is_dead(container) => Ok(DEAD),
            container => Ok(container),
        }
    }

    fn kind_of(&self, container: Container) -> EntryKind {
        match container.checked_sub(self.first_new) {
            Some(new) => self.resolved.entries[new as usize].kind,
            None => self.index.entry(container).kind,
        }
    }

    fn id_of(&self, container: Container) -> &'a str {
        match container.checked_sub(self.first_new) {
            Some(new) => self.resolved.entries[new as usize].id,
            None => &self.index.entry(container).id,
        }
    }
}
