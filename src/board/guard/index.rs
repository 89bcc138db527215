//! What the board knows of its own blocks: how far each client got, where each block belongs, what is deleted, whose each
//! client id is. Fed by [`BlockIndex::note`] with every update that was applied, never by what a client only claims.
//!
//! A block costs one byte where its neighbour belongs to the same entry: blocks lie in runs, entries are numbered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::check::Refusal;
use super::place::{Container, ENTRIES, Place, Slot};
use super::resolve::resolve;
use super::walk::{BlockId, Content, Walk};
use crate::board::idmap::{IdNumbers, push_tight};
use crate::protocol::element::EntryKind;
use crate::protocol::ids::UserId;

/// What `Run::keys` says where it is no place in `ClientBlocks::keys`.
const PLAIN: u32 = u32::MAX;
const TYPE: u32 = u32::MAX - 1;
/// All blocks of the run have the key in the low byte.
const UNIFORM: u32 = 0x8000_0000;

/// Keys that are no property: the block sits in the root, as a shared type or as anything else.
const ROOT_TYPE: u8 = u8::MAX;
const ROOT: u8 = u8::MAX - 1;

/// Whose a client id is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A person's: their first block under it decided so.
    User(UserId),
    /// The server's own, of this or another opening of the board.
    Server,
}

/// Whose a client id is, and how sure that is. Owners follow from the log alone, whatever order a node met them in: the
/// first firm one there counts, else the first that handed blocks over.
#[derive(Debug)]
struct Binding {
    owner: Owner,
    /// Its blocks came from the owner's own hand. Else somebody handed them over, and the first to go on under the id is
    /// its owner.
    is_firm: bool,
    /// The log has it; before, another node may come first.
    is_logged: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    from: u32,
    container: Container,
    keys: u32,
}

#[derive(Debug, Default)]
pub(super) struct ClientBlocks {
    next: u32,
    /// Its number among those that made entries.
    maker: Option<u32>,
    runs: Vec<Run>,
    keys: Vec<u8>,
    deleted: BTreeMap<u32, u32>,
}

#[derive(Debug)]
pub(super) struct EntryContainer {
    pub(super) id: Arc<str>,
    pub(super) kind: EntryKind,
    is_dead: bool,
    /// Number of the client id that made it.
    maker: u32,
}

/// What the board knows of its own blocks.
#[derive(Debug, Default)]
pub struct BlockIndex {
    clients: HashMap<u64, ClientBlocks>,
    owners: HashMap<u64, Binding>,
    /// Bindings that the log does not have yet.
    unlogged: usize,
    containers: Vec<EntryContainer>,
    /// Client ids that made entries, in the order in which they first did.
    makers: Vec<u64>,
    entries: [IdNumbers; 5],
}

impl BlockIndex {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Clock that this client's next block must have.
    pub fn next_clock(&self, client: u64) -> u32 {
        self.clients.get(&client).map_or(0, |blocks| blocks.next)
    }

    /// How far each client got, in no order.
    pub fn state_vector(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.clients.iter().map(|(&client, blocks)| (client, blocks.next))
    }

    /// Number of client ids that have blocks.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Number of entries of a kind whose key is in its root.
    pub fn entry_count(&self, kind: EntryKind) -> usize {
        self.entries[kind as usize].len()
    }

    /// Whether the key of this entry is in its root.
    pub fn contains(&self, kind: EntryKind, id: &str) -> bool {
        self.live(kind, id).is_some()
    }

    /// The key of an entry, to be shared with whoever keeps entries too.
    pub fn id(&self, kind: EntryKind, id: &str) -> Option<Arc<str>> {
        self.live(kind, id)
            .map(|container| Arc::clone(&self.entry(container).id))
    }

    /// The person whose client id made the entry's present map; none where the server did.
    pub fn creator(&self, kind: EntryKind, id: &str) -> Option<&UserId> {
        let container = self.live(kind, id)?;
        match self.owner(self.makers[self.entry(container).maker as usize])? {
            Owner::User(user) => Some(user),
            Owner::Server => None,
        }
    }

    /// Whose a client id is.
    pub fn owner(&self, client: u64) -> Option<&Owner> {
        self.owners.get(&client).map(|binding| &binding.owner)
    }

    /// Whether all of a client id's blocks were handed over by others than their maker, as far as the board can tell:
    /// then it is not settled whose it is.
    pub fn is_handed(&self, client: u64) -> bool {
        self.owners.get(&client).is_some_and(|binding| !binding.is_firm)
    }

    /// All bindings of client ids, in no order: whose, and whether that is firm.
    pub fn owners(&self) -> impl Iterator<Item = (u64, &Owner, bool)> + '_ {
        let all = self.owners.iter();
        all.map(|(&client, binding)| (client, &binding.owner, binding.is_firm))
    }

    /// Binds a client id as the log has it.
    pub fn bind(&mut self, client: u64, user: &UserId, is_firm: bool) {
        self.bind_as(client, user, is_firm, true);
    }

    fn bind_as(&mut self, client: u64, user: &UserId, is_firm: bool, is_logged: bool) {
        if let Some(known) = self.owners.get(&client) {
            let is_better = is_firm && !known.is_firm;
            let is_surer = is_firm == known.is_firm && is_logged && !known.is_logged;
            if !is_better && !is_surer {
                return;
            }
            self.unlogged -= usize::from(!known.is_logged);
        }
        self.unlogged += usize::from(!is_logged);
        let owner = Owner::User(user.clone());
        self.owners.insert(
            client,
            Binding {
                owner,
                is_firm,
                is_logged,
            },
        );
    }

    /// Makes a client id the server's, which no client may use.
    pub fn bind_server(&mut self, client: u64) {
        let owner = Owner::Server;
        let before = self.owners.insert(
            client,
            Binding {
                owner,
                is_firm: true,
                is_logged: true,
            },
        );
        self.unlogged -= usize::from(before.is_some_and(|binding| !binding.is_logged));
    }

    /// Whether a record of this node says whose a client id is, and the log has not brought it back yet.
    pub fn has_unlogged(&self) -> bool {
        self.unlogged > 0
    }

    /// Binds the client ids of a record in its place in the log.
    pub fn note_owners(&mut self, walk: &Walk<'_>, author: &UserId, relayed: &[(u64, u32, u32)]) {
        self.bind_sections(walk, author, relayed, true);
    }

    fn bind_sections(&mut self, walk: &Walk<'_>, author: &UserId, relayed: &[(u64, u32, u32)], is_logged: bool) {
        for section in walk.sections() {
            let is_relayed = relayed.iter().any(|&(client, ..)| client == section.client);
            self.bind_as(section.client, author, !is_relayed, is_logged);
        }
    }

    /// The blocks that are deleted, in no order of clients.
    pub fn deleted(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        self.clients
            .iter()
            .flat_map(|(&client, blocks)| blocks.deleted.iter().map(move |(&from, &to)| (client, from, to)))
    }

    /// Takes up an update that was applied, in the form in which the document emitted it. Its new client ids become
    /// `author`'s until the log says otherwise, those that were `relayed` not firmly; see [`BlockIndex::note_owners`].
    ///
    /// An error means that the index and the document are not level any more.
    pub fn note(
        &mut self,
        walk: &Walk<'_>,
        author: Option<&UserId>,
        relayed: &[(u64, u32, u32)],
    ) -> Result<(), Refusal> {
        let places = self.take_entries(walk)?;
        if let Some(author) = author {
            self.bind_sections(walk, author, relayed, false);
        }
        for section in walk.sections() {
            let known = self.next_clock(section.client);
            if section.to <= known {
                continue;
            }
            let blocks = self.clients.entry(section.client).or_default();
            for number in walk.find(section, known)..section.blocks.end {
                let block = walk.block(section, number);
                blocks.push(block.clock + block.len, places[number as usize], block.content);
            }
        }
        for range in walk.deletes() {
            self.note_delete(range.client, range.from, range.to);
        }
        Ok(())
    }

    /// Places the new blocks and takes up the entries among them.
    fn take_entries(&mut self, walk: &Walk<'_>) -> Result<Vec<Place>, Refusal> {
        let resolved = resolve(self, walk, |_, _, _| Ok(()))?;
        let places = resolved.places;
        let new: Vec<_> = resolved
            .entries
            .iter()
            .map(|entry| {
                let is_live = entry.is_type && !walk.deletes_block(entry.block);
                let id: Arc<str> = entry.id.into();
                (id, entry.kind, is_live, entry.block.0)
            })
            .collect();
        for (id, kind, is_live, client) in new {
            let number = self.next_container();
            let entry = EntryContainer {
                id: Arc::clone(&id),
                kind,
                is_dead: !is_live,
                maker: self.maker(client),
            };
            push_tight(&mut self.containers, entry);
            if is_live || kind == EntryKind::Like {
                self.entries[kind as usize].insert(&id, number, id_in(&self.containers));
            }
        }
        Ok(places)
    }

    /// Number of a client id that makes an entry.
    fn maker(&mut self, client: u64) -> u32 {
        let blocks = self.clients.entry(client).or_default();
        *blocks.maker.get_or_insert_with(|| {
            self.makers.push(client);
            u32::try_from(self.makers.len() - 1).expect("fewer client ids than clocks")
        })
    }

    fn note_delete(&mut self, client: u64, from: u32, to: u32) {
        let Some(blocks) = self.clients.get_mut(&client) else {
            return;
        };
        let (entries, containers) = (&mut self.entries, &mut self.containers);
        for (from, to) in blocks.alive_in(from, to) {
            blocks.each_in(from, to, |place, is_type| {
                if place.slot == Slot::Root && is_type {
                    let entry = &mut containers[(place.container - ENTRIES) as usize];
                    entry.is_dead = true;
                    entries[entry.kind as usize].remove(&entry.id, place.container);
                }
            });
        }
        blocks.delete(from, to);
    }

    pub(super) fn live(&self, kind: EntryKind, id: &str) -> Option<Container> {
        self.entries[kind as usize].get(id, id_in(&self.containers))
    }

    pub(super) fn entry(&self, container: Container) -> &EntryContainer {
        &self.containers[(container - ENTRIES) as usize]
    }

    /// Number that the next new entry gets.
    pub(super) fn next_container(&self) -> Container {
        ENTRIES + u32::try_from(self.containers.len()).expect("fewer entries than clocks")
    }

    pub(super) fn blocks_of(&self, client: u64) -> Option<&ClientBlocks> {
        self.clients.get(&client)
    }

    /// Where a known block belongs and whether it is a shared type.
    pub(super) fn place(&self, (client, clock): BlockId) -> Option<(Place, bool)> {
        let blocks = self.clients.get(&client).filter(|blocks| clock < blocks.next)?;
        Some(self.place_in(blocks, clock, &mut 0))
    }

    /// The same, the client's blocks at hand, and the run where it was looked last. What lies below a dead entry is
    /// dead.
    pub(super) fn place_in(&self, blocks: &ClientBlocks, clock: u32, near: &mut usize) -> (Place, bool) {
        let (place, is_type) = blocks.at(clock, near);
        if matches!(place.slot, Slot::Property(_)) && self.entry(place.container).is_dead {
            return (Place::DEAD, false);
        }
        (place, is_type)
    }

    pub(super) fn is_dead(&self, container: Container) -> bool {
        container >= ENTRIES && self.entry(container).is_dead
    }
}

/// Finds the id of a container that is an entry.
fn id_in<'a>(containers: &'a [EntryContainer]) -> impl Fn(Container) -> &'a str {
    |container| &containers[(container - ENTRIES) as usize].id
}

impl ClientBlocks {
    pub(super) fn is_deleted(&self, from: u32, to: u32) -> bool {
        self.deleted
            .range(..=from)
            .next_back()
            .is_some_and(|(_, &end)| to <= end)
    }

    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// The parts of a range that are known and not deleted yet.
    pub(super) fn alive_in(&self, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut alive = Vec::new();
        let mut at = from;
        let to = to.min(self.next);
        let first = self
            .deleted
            .range(..=from)
            .next_back()
            .map_or(from, |(&start, _)| start);
        for (&start, &end) in self.deleted.range(first..to.max(first)) {
            if start > at {
                alive.push((at, start));
            }
            at = at.max(end);
        }
        if at < to {
            alive.push((at, to));
        }
        alive
    }

    fn delete(&mut self, mut from: u32, mut to: u32) {
        if let Some((&start, &end)) = self.deleted.range(..=from).next_back()
            && end >= from
        {
            if end >= to {
                return;
            }
            from = start;
        }
        while let Some((&start, &end)) = self.deleted.range(from..=to).next_back() {
            to = to.max(end);
            self.deleted.remove(&start);
        }
        self.deleted.insert(from, to);
    }

    fn run_of(&self, clock: u32) -> usize {
        self.runs.partition_point(|run| run.from <= clock) - 1
    }

    /// The same, looked for at `near` and right behind it first: what an update leans on mostly lies in a row.
    fn run_near(&self, clock: u32, near: usize) -> usize {
        let holds = |number: usize| {
            let next = self.runs.get(number + 1).map_or(self.next, |next| next.from);
            self.runs.get(number).is_some_and(|run| run.from <= clock) && clock < next
        };
        (near..near + 2)
            .find(|number| holds(*number))
            .unwrap_or_else(|| self.run_of(clock))
    }

    fn read(&self, run: Run, clock: u32) -> (Place, bool) {
        let (slot, is_type) = match run.keys {
            PLAIN => (Slot::Plain, false),
            TYPE => (Slot::Plain, true),
            keys => {
                let is_uniform = keys & UNIFORM != 0;
                let key = if is_uniform {
                    keys.to_le_bytes()[0]
                } else {
                    self.keys[(keys + clock - run.from) as usize]
                };
                match key {
                    ROOT => (Slot::Root, false),
                    ROOT_TYPE => (Slot::Root, true),
                    property => (Slot::Property(property), false),
                }
            }
        };
        let place = Place {
            container: run.container,
            slot,
        };
        (place, is_type)
    }

    fn at(&self, clock: u32, near: &mut usize) -> (Place, bool) {
        *near = self.run_near(clock, *near);
        self.read(self.runs[*near], clock)
    }

    /// Visits what lies in a known range: once for each block of an entry, once for each run of anything else.
    pub(super) fn each_in(&self, from: u32, to: u32, mut visit: impl FnMut(Place, bool)) {
        let mut number = self.run_of(from);
        let mut clock = from;
        while clock < to {
            let run = self.runs[number];
            let end = self.runs.get(number + 1).map_or(self.next, |next| next.from).min(to);
            if run.keys < UNIFORM {
                for clock in clock..end {
                    let (place, is_type) = self.read(run, clock);
                    visit(place, is_type);
                }
            } else {
                let (place, is_type) = self.read(run, clock);
                visit(place, is_type);
            }
            clock = end;
            number += 1;
        }
    }

    /// Adds blocks from the next clock up to `to`.
    fn push(&mut self, to: u32, place: Place, content: Content) {
        let from = self.next;
        self.next = to;
        if matches!(content, Content::Collected | Content::Deleted) {
            self.delete(from, to);
        }
        let is_type = matches!(content, Content::Type(_));
        let last = self
            .runs
            .last()
            .copied()
            .filter(|last| last.container == place.container);
        let key = match place.slot {
            Slot::Plain => None,
            Slot::Root if is_type => Some(ROOT_TYPE),
            Slot::Root => Some(ROOT),
            Slot::Property(property) => Some(property),
        };
        let keys = match key {
            None if is_type => TYPE,
            None => PLAIN,
            Some(key) if to - from > 1 => UNIFORM | u32::from(key),
            Some(key) => {
                let keys = u32::try_from(self.keys.len()).expect("fewer keys than clocks");
                push_tight(&mut self.keys, key);
                if last.is_some_and(|last| last.keys < UNIFORM) {
                    return;
                }
                keys
            }
        };
        if keys >= UNIFORM && last.is_some_and(|last| last.keys == keys) {
            return;
        }
        let container = place.container;
        push_tight(&mut self.runs, Run { from, container, keys });
    }
}
