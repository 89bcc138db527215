//! A sound update held against the board: known already, gap, owners, shape; and what it would touch.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;

use super::bytes::AnyKind;
use super::index::{BlockIndex, Owner};
use super::place::{Container, ENTRIES, META, Place, Slot};
use super::resolve::{NewEntry, resolve};
use super::rivals::{self, Rival, Winner};
use super::shape::{self, Misfit};
use super::walk::{Block, Content, Section, Walk};
use crate::protocol::element::{EntryKind, Property, PropertySet};
use crate::protocol::ids::UserId;

/// Who sends an update.
pub struct CheckContext<'a> {
    /// The session's user.
    pub user: &'a UserId,
    /// Whether the session hands over all that this side lacks. It may have seen a value go for one that is lost: what an
    /// entry then lacks is put back, where an update would be refused.
    pub is_handover: bool,
    /// Whether new blocks under this client id, which is nobody's yet, are the session's own. Else it hands them over.
    pub may_bind: &'a dyn Fn(u64) -> bool,
    /// Whether the session may hand over blocks of this client id, which is another user's or the server's.
    pub may_relay: &'a dyn Fn(u64) -> Relay,
}

/// Whether blocks may be handed over for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// They may.
    Yes,
    /// Their owner may still bring them.
    Later,
    /// They may not.
    No,
}

/// Why an update is not taken. Nothing of it was applied.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It builds on blocks that the board does not have.
    #[error("the update builds on blocks that are not known")]
    Gap,
    /// It brings blocks under client ids of another user or of the server.
    #[error("a client id belongs to somebody else")]
    ForeignClient {
        /// Those blocks: `(client id, first clock, end clock)`.
        blocks: Vec<(u64, u32, u32)>,
    },
    /// It brings blocks that their owner, who is here, may still bring.
    #[error("client id {client} belongs to somebody who may bring its blocks: try again")]
    Later {
        /// That client id.
        client: u64,
    },
    /// It does not fit the schema.
    #[error("{0}")]
    Shape(&'static str),
}

/// What is to be done with an update.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// Nothing: it is known already.
    Known,
    /// It may be applied, and what the session may not do put back.
    New(Admission),
}

/// What an update brings that is new.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admission {
    /// What it does to entries of the schema's roots.
    pub touched: Vec<Touch>,
    /// Client ids that become the session's user's.
    pub binds: Vec<u64>,
    /// Blocks of other users' client ids that the session hands over: `(client id, first clock, end clock)`.
    pub relayed: Vec<(u64, u32, u32)>,
    /// New blocks: `(client id, first clock, end clock)`.
    pub advances: Vec<(u64, u32, u32)>,
    /// Blocks it adds or deletes: the size of the transaction.
    pub weight: usize,
}

impl Admission {
    /// Number of entries of a kind that did not exist before.
    pub fn new_entries(&self, kind: EntryKind) -> usize {
        self.touched
            .iter()
            .filter(|touch| touch.kind == kind && matches!(touch.deed, Deed::Created { .. }))
            .count()
    }
}

/// What an update does to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Collection of the entry.
    pub kind: EntryKind,
    /// Its key there.
    pub id: Arc<str>,
    /// What is done.
    pub deed: Deed,
}

/// What is done to an entry. A like that is given counts as changed by `created`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is new.
    Created {
        /// Client id that made it.
        client: u64,
        /// Author it claims.
        author: Option<Box<str>>,
    },
    /// Another map is put under its key.
    Replaced {
        /// Client id that made the new one.
        client: u64,
        /// Author the new one claims.
        author: Option<Box<str>>,
        /// Whether the new one is locked.
        says_locked: bool,
    },
    /// Its key is removed.
    Removed,
    /// Properties of it change.
    Changed {
        /// Those that are set.
        set: PropertySet,
        /// Those that are removed, or set and removed again. Whoever applies it must look: while somebody else's value
        /// stands, nothing changes; and a required one that is missing afterwards must be put back.
        unset: PropertySet,
    },
}

impl Deed {
    fn given() -> Self {
        Self::Changed {
            set: PropertySet::of(&[Property::Created]),
            unset: PropertySet::default(),
        }
    }
}

impl BlockIndex {
    /// Holds an update against the board, in the order of the rules: known already, gap, owners, shape.
    pub fn check(&self, walk: &Walk<'_>, context: &CheckContext<'_>) -> Result<Checked, Refusal> {
        if self.knows(walk) {
            return Ok(Checked::Known);
        }
        let mut check = Check {
            index: self,
            walk,
            context,
            entries: Vec::new(),
            facts: Vec::new(),
            deeds: Vec::with_capacity(walk.block_count()),
            foreign: Vec::new(),
            later: None,
            rivals: Vec::new(),
            admission: Admission::default(),
        };
        for section in walk.sections() {
            check.owner(section);
        }
        let resolved = resolve(self, walk, |block, place, entries| check.block(block, place, entries))?;
        self.check_deletes(walk)?;
        if !check.foreign.is_empty() {
            return Err(Refusal::ForeignClient { blocks: check.foreign });
        }
        if let Some(client) = check.later {
            return Err(Refusal::Later { client });
        }
        if let Some(misfit) = resolved.misfit {
            return Err(Refusal::Shape(misfit));
        }
        check.facts.resize(resolved.entries.len(), Fresh::default());
        check.entries = resolved.entries;
        check.rivals().map_err(Refusal::Shape)?;
        check.deletes().map_err(Refusal::Shape)?;
        check.new_entries().map_err(Refusal::Shape)?;
        check.old_entries().map_err(Refusal::Shape)?;
        Ok(Checked::New(check.admission))
    }

    fn knows(&self, walk: &Walk<'_>) -> bool {
        let is_reached = |section: &Section| section.to <= self.next_clock(section.client);
        walk.sections().iter().all(is_reached)
            && walk.deletes().all(|range| {
                self.blocks_of(range.client)
                    .is_some_and(|blocks| blocks.is_deleted(range.from, range.to))
            })
    }

    fn check_deletes(&self, walk: &Walk<'_>) -> Result<(), Refusal> {
        let mut last = None;
        for range in walk.deletes() {
            let end = match last {
                Some((client, end)) if client == range.client => end,
                _ => {
                    let brought = walk.section(range.client).map_or(0, |section| section.to);
                    last.insert((range.client, brought.max(self.next_clock(range.client))))
                        .1
                }
            };
            if range.to > end {
                return Err(Refusal::Gap);
            }
        }
        Ok(())
    }
}

/// What an update says of an entry that it creates.
#[derive(Debug, Clone, Copy, Default)]
struct Fresh<'a> {
    present: PropertySet,
    says_locked: bool,
    author: Option<&'a str>,
}

/// What becomes of a value that exists, as far as one block tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    /// A new value is there.
    Set,
    /// A value came and went: somebody else's stands, or none.
    Overwritten,
    /// The value is deleted.
    Gone,
}

/// What becomes of one value of a container, packed in that order: as a number it sorts fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Done(u64);

impl Done {
    fn new(container: Container, slot: Slot, after: After) -> Self {
        let slot = match slot {
            Slot::Plain | Slot::Root => 0,
            Slot::Property(number) => number + 1,
        };
        Self(u64::from(container) << 16 | u64::from(slot) << 8 | after as u64)
    }

    fn container(self) -> Container {
        u32::try_from(self.0 >> 16).expect("packed from 32 bits")
    }

    /// Number of the property; none for the entry as a whole.
    fn property(self) -> Option<u8> {
        self.0.to_le_bytes()[1].checked_sub(1)
    }

    fn is(self, after: After) -> bool {
        self.0.to_le_bytes()[0] == after as u8
    }
}

struct Check<'a> {
    index: &'a BlockIndex,
    walk: &'a Walk<'a>,
    context: &'a CheckContext<'a>,
    entries: Vec<NewEntry<'a>>,
    facts: Vec<Fresh<'a>>,
    /// What happens to containers that exist.
    deeds: Vec<Done>,
    /// New blocks under client ids that the session may not write.
    foreign: Vec<(u64, u32, u32)>,
    /// A client id whose owner may still bring the new blocks.
    later: Option<u64>,
    /// New values of required properties.
    rivals: Vec<Rival>,
    admission: Admission,
}

impl<'a> Check<'a> {
    fn owner(&mut self, section: &Section) {
        let known = self.index.next_clock(section.client);
        if section.to <= known {
            return;
        }
        let advance = (section.client, known, section.to);
        self.admission.advances.push(advance);
        let client = section.client;
        let owner = self.index.owner(client).filter(|_| !self.index.is_handed(client));
        let relay = match owner {
            None if (self.context.may_bind)(client) => {
                self.admission.binds.push(client);
                return;
            }
            None => Relay::Yes,
            Some(Owner::User(user)) if user == self.context.user => return,
            Some(Owner::User(_) | Owner::Server) => (self.context.may_relay)(client),
        };
        match relay {
            Relay::Yes => self.admission.relayed.push(advance),
            Relay::Later => self.later = Some(client),
            Relay::No => self.foreign.push(advance),
        }
    }

    /// What a new block is to entries, once its place is known.
    fn block(&mut self, block: &Block<'a>, place: Place, entries: &[NewEntry<'a>]) -> Result<(), Misfit> {
        self.admission.weight += 1;
        if place.container < ENTRIES {
            // Handed over blocks of the server's may say the title; the room writes the right one behind them.
            if place.container == META && !self.is_unknown(block.client) {
                return Err("`board:meta` is the server's");
            }
            return Ok(());
        }
        if block.right_origin.is_some() {
            return Err("a value of a map has no right neighbour");
        }
        if self.facts.len() < entries.len() {
            self.facts.resize(entries.len(), Fresh::default());
        }
        let fresh = self.fresh(place.container);
        let is_alive = block.content != Content::Deleted && !self.walk.deletes_block((block.client, block.clock));
        let (kind, id) = match fresh {
            Some(number) => (entries[number].kind, entries[number].id),
            None => self.known_entry(place.container),
        };
        match place.slot {
            Slot::Plain => {}
            Slot::Root => {
                shape::check_entry(kind, block)?;
                // Of a handed over one nobody knows whose it is: it is put back unless it is the hander's own.
                if kind == EntryKind::Like && !self.is_unknown(block.client) {
                    shape::check_like(id, self.owner_of(block.client))?;
                }
                match fresh {
                    // A like is read as an entry that has only this.
                    Some(number) if kind == EntryKind::Like && is_alive => {
                        self.facts[number].present.insert(Property::Created);
                    }
                    Some(_) => {}
                    None => {
                        let after = if is_alive { After::Set } else { After::Gone };
                        self.deeds.push(Done::new(place.container, Slot::Root, after));
                    }
                }
            }
            Slot::Property(number) => {
                let property = Property::ALL[number as usize];
                shape::check_property(property, block)?;
                if shape::required(kind).contains(property) {
                    self.rivals.push(Rival::new(block, place, is_alive));
                }
                let Some(fresh) = fresh else {
                    // The server sets authors right; who hands that over is not to blame, and it is put back.
                    if shape::is_fixed(property) && !self.is_relayed(block.client) {
                        return Err("type, author and created never change");
                    }
                    let after = if is_alive { After::Set } else { After::Overwritten };
                    self.deeds.push(Done::new(place.container, place.slot, after));
                    return Ok(());
                };
                self.facts[fresh].says_locked |= property == Property::Locked && is_alive && shape::is_true(block);
                if let (Property::Author, true) = (property, is_alive)
                    && let Some(AnyKind::Text(author)) = shape::value(block)
                {
                    // Which of two stays depends on more than this; the libraries delete the other one.
                    if self.facts[fresh].author.replace(author).is_some() {
                        return Err("a new entry names one author");
                    }
                }
            }
        }
        Ok(())
    }

    fn is_relayed(&self, client: u64) -> bool {
        self.admission.relayed.iter().any(|&(relayed, ..)| relayed == client)
    }

    fn is_unknown(&self, client: u64) -> bool {
        let is_person = matches!(self.index.owner(client), Some(Owner::User(_)));
        self.is_relayed(client) && (!is_person || self.index.is_handed(client))
    }

    /// Likes that are handed over stay those of the person they come from.
    fn owner_of(&self, client: u64) -> &'a UserId {
        match self.index.owner(client) {
            Some(Owner::User(user)) => user,
            Some(Owner::Server) | None => self.context.user,
        }
    }

    fn fresh(&self, container: u32) -> Option<usize> {
        container
            .checked_sub(self.index.next_container())
            .map(|number| number as usize)
    }

    fn known_entry(&self, container: u32) -> (EntryKind, &'a str) {
        let entry = self.index.entry(container);
        (entry.kind, &entry.id)
    }

    /// Notes what the deletes do to blocks that are known and alive.
    fn deletes(&mut self) -> Result<(), Misfit> {
        let mut is_meta_touched = false;
        let mut last = None;
        for range in self.walk.deletes() {
            let blocks = match last {
                Some((client, blocks)) if client == range.client => blocks,
                _ => last.insert((range.client, self.index.blocks_of(range.client))).1,
            };
            let Some(blocks) = blocks else {
                continue;
            };
            if range.from >= blocks.next() || blocks.is_deleted(range.from, range.to) {
                continue;
            }
            for (from, to) in blocks.alive_in(range.from, range.to) {
                blocks.each_in(from, to, |place, _| {
                    self.admission.weight += 1;
                    is_meta_touched |= place.container == META;
                    if place.container >= ENTRIES {
                        self.deeds.push(Done::new(place.container, place.slot, After::Gone));
                    }
                });
            }
        }
        if is_meta_touched && self.admission.relayed.is_empty() {
            return Err("`board:meta` is the server's");
        }
        Ok(())
    }

    /// A required value that comes must be the one that stays.
    fn rivals(&mut self) -> Result<(), Misfit> {
        let mut all = std::mem::take(&mut self.rivals);
        all.sort_unstable_by_key(|rival| (rival.place, rival.first));
        for rivals in all.chunk_by(|a, b| a.place == b.place) {
            let winner = rivals::settle(rivals);
            let Place { container, slot } = rivals[0].place;
            match (self.fresh(container), slot, winner) {
                (Some(fresh), Slot::Property(number), Winner::Alive) => {
                    self.facts[fresh].present.insert(Property::ALL[number as usize]);
                }
                (None, _, Winner::None) if self.context.is_handover => {}
                (_, _, Winner::None) => return Err("an entry must stay complete"),
                (None, ..) | (Some(_), Slot::Plain | Slot::Root, _) | (Some(_), _, Winner::Dead) => {}
            }
        }
        Ok(())
    }

    fn new_entries(&mut self) -> Result<(), Misfit> {
        for (entry, fresh) in self.entries.iter().zip(&self.facts) {
            shape::check_key(entry.kind, entry.id)?;
            let is_there = self.index.contains(entry.kind, entry.id);
            let is_gone = match entry.kind {
                EntryKind::Like => !fresh.present.contains(Property::Created),
                EntryKind::Element | EntryKind::Page | EntryKind::Asset | EntryKind::Comment => {
                    !entry.is_type || self.walk.deletes_block(entry.block)
                }
            };
            let deed = if is_gone {
                // It takes along what stands under its key.
                if !is_there {
                    continue;
                }
                Deed::Removed
            } else if entry.kind == EntryKind::Like {
                Deed::given()
            } else {
                if !fresh.present.contains_all(shape::required(entry.kind)) {
                    return Err("a new entry must come complete");
                }
                let (client, author) = (entry.block.0, fresh.author.map(Into::into));
                if is_there {
                    Deed::Replaced {
                        client,
                        author,
                        says_locked: fresh.says_locked,
                    }
                } else {
                    Deed::Created { client, author }
                }
            };
            self.admission.touched.push(Touch {
                kind: entry.kind,
                id: entry.id.into(),
                deed,
            });
        }
        Ok(())
    }

    fn old_entries(&mut self) -> Result<(), Misfit> {
        let mut deeds = std::mem::take(&mut self.deeds);
        // What is set and what is deleted mostly come in order each: a stable sort merges them in one go.
        deeds.sort();
        let new = self.admission.touched.iter();
        let replaced: HashSet<_> = new.map(|touch| (touch.kind, Arc::clone(&touch.id))).collect();
        for group in deeds.chunk_by(|a, b| a.container() == b.container()) {
            let entry = self.index.entry(group[0].container());
            // An entry that goes takes its properties along.
            if group[0].property().is_none() {
                let is_given = group[0].is(After::Set);
                if entry.kind == EntryKind::Like && is_given {
                    self.touch(entry.kind, &entry.id, Deed::given());
                } else if !replaced.contains(&(entry.kind, Arc::clone(&entry.id))) {
                    self.touch(entry.kind, &entry.id, Deed::Removed);
                }
                continue;
            }
            let deed = self.changed(entry.kind, group)?;
            self.touch(entry.kind, &entry.id, deed);
        }
        Ok(())
    }

    /// What becomes of an entry that stays; of each value what is set comes first, and what is gone last.
    fn changed(&self, kind: EntryKind, group: &[Done]) -> Result<Deed, Misfit> {
        let (mut set, mut unset) = (PropertySet::default(), PropertySet::default());
        for values in group.chunk_by(|a, b| a.property() == b.property()) {
            let (first, last) = (values[0], values[values.len() - 1]);
            let Some(number) = first.property() else { continue };
            let property = Property::ALL[number as usize];
            if first.is(After::Set) {
                set.insert(property);
                continue;
            }
            let is_kept = shape::is_fixed(property) || shape::required(kind).contains(property);
            if is_kept && !self.context.is_handover && last.is(After::Gone) {
                return Err("an entry must stay complete");
            }
            unset.insert(property);
        }
        Ok(Deed::Changed { set, unset })
    }

    fn touch(&mut self, kind: EntryKind, id: &Arc<str>, deed: Deed) {
        self.admission.touched.push(Touch {
            kind,
            id: Arc::clone(id),
            deed,
        });
    }
}
