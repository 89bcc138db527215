//! A board: the CRDT document with whiteboard meaning.
//!
//! Two ways in, one way out: raw updates of Yjs clients ([`Board::merge`]) and ops ([`Board::apply`], [`Board::undo`])
//! both become one transaction, and what the document says changed comes back as [`Applied`]. Bytes from outside pass
//! [`guard`] before they come near the CRDT library; this module and those below it are its only users.
//!
//! A board has no clock, no randomness and no I/O: time, replica id and seed come in as arguments.

pub mod apply;
pub mod draft;
pub mod guard;
mod idmap;
pub mod keyframe;
mod merge;
pub mod outbox;
pub mod read;
pub mod rights;
pub mod shape;
pub mod undo;
mod write;

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{DeepObservable, Doc, Map, MapRef, ReadTxn, StateVector, Transact, TransactionMut, Update};

use crate::protocol::element::{Change, Entry, EntryKind, Item, Properties, Property, Target, Value};
use crate::protocol::ids::{Position, Timestamp, UserId};
use crate::protocol::limits::WRITE_BYTES_MAX;
use crate::protocol::op::{Op, StepName};
use crate::protocol::{ErrorCode, Record, RecordKind, Undone};
use apply::{ApplyError, Context};
use draft::Draft;
use guard::{BlockIndex, CheckContext, Checked, WalkError, WalkLimits};
use outbox::Outboxes;
use read::{KINDS, ReadModel, any_of};
use rights::Editor;
use undo::{Direction, Rules, Stacks};
use write::write_entry;

/// An update that is longer than this holds blocks or deletes; a shorter one says nothing.
const EMPTY_UPDATE_BYTES: usize = 2;
/// Bytes of a block around its content, at most.
const BLOCK_BYTES: usize = 48;
/// The root that tells a Yjs client what the document is; written by the server only.
const META: &str = "board:meta";
/// Version of the layout of the other roots.
const SCHEMA: i64 = 1;

/// The CRDT document of a board, and all that is worked out from it.
pub struct Board {
    doc: Doc,
    roots: [MapRef; 5],
    meta: MapRef,
    touched: Arc<Mutex<BTreeSet<Target>>>,
    index: BlockIndex,
    read: ReadModel,
    stacks: Stacks,
    outboxes: Outboxes,
    /// Highest number of each room, and when it came.
    rooms: HashMap<u64, (u64, Timestamp)>,
    replica: u64,
    document_bytes: usize,
    rest_bytes: usize,
}

/// What a transaction came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// The one update that is logged and sent; `None` if the document knew it all.
    pub update: Option<Bytes>,
    /// What changed, read from the document.
    pub changes: Vec<Change>,
    /// Entries that the editor may not touch, put back.
    pub put_back: usize,
    /// Blocks of other users that the editor handed over.
    pub relayed: Vec<(u64, u32, u32)>,
    /// What an undo or redo came to.
    pub undone: Option<Undone>,
}

/// Why a raw update was not taken. Nothing of it was applied.
#[derive(Debug, Error)]
pub enum MergeError {
    /// Its form is bad.
    #[error(transparent)]
    Malformed(#[from] WalkError),
    /// It does not fit this board.
    #[error(transparent)]
    Refused(#[from] guard::Refusal),
    /// It would make the board larger than it may be.
    #[error("the board is full")]
    BoardFull,
    /// What it does and its editor may not is more than can be put back at once.
    #[error("too much of it would be put back: send less at once")]
    TooLarge,
    /// The CRDT library would not have it, although the walk did.
    #[error("the update cannot be decoded")]
    Undecodable,
}

/// What is asked for would write more than a record holds.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("this would write more than {} MiB at once: do it in parts", WRITE_BYTES_MAX >> 20)]
pub struct TooLarge;

/// Why an undo did nothing.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum UndoError {
    /// There is no step, or none of that name.
    #[error("there is nothing to undo or redo")]
    Nothing,
    /// It would write too much at once.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl UndoError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Nothing => ErrorCode::NothingToUndo,
            Self::TooLarge(_) => ErrorCode::TooLarge,
        }
    }
}

impl Board {
    /// A board without anything on it. `replica` is the CRDT client id of this opening: never used before.
    pub fn empty(replica: u64) -> Self {
        let doc = Doc::with_client_id(replica);
        let roots = KINDS.map(|(_, name)| doc.get_or_insert_map(name));
        let meta = doc.get_or_insert_map(META);
        let mut index = BlockIndex::new();
        index.bind_server(replica);
        Self {
            doc,
            roots,
            meta,
            touched: Arc::default(),
            index,
            read: ReadModel::default(),
            stacks: Stacks::default(),
            outboxes: Outboxes::default(),
            rooms: HashMap::new(),
            replica,
            document_bytes: 0,
            rest_bytes: 0,
        }
    }

    /// CRDT client id of this opening; also the `room` of its records.
    pub fn replica(&self) -> u64 {
        self.replica
    }

    /// The plain copy of all entries.
    pub fn read(&self) -> &ReadModel {
        &self.read
    }

    /// All entries.
    pub fn items(&self) -> Vec<Item> {
        self.read.items()
    }

    /// Assets that the board knows or an element shows.
    pub fn asset_names(&self) -> Vec<String> {
        let shown = self.read.entries(EntryKind::Element);
        let shown = shown.filter_map(|(_, entry)| shape::text(entry, Property::FileId));
        self.read
            .entries(EntryKind::Asset)
            .map(|(id, _)| id.to_string())
            .chain(shown)
            .collect()
    }

    /// What the board knows of its blocks.
    pub fn index(&self) -> &BlockIndex {
        &self.index
    }

    /// What was taken and refused of each client's outbox.
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// Bytes of the encoded document, at most: exact at the last keyframe, plus all updates since.
    pub fn document_bytes(&self) -> usize {
        self.document_bytes
    }

    /// The stacks of undo.
    pub fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// Checks raw updates of one session without changing anything.
    pub fn check(&self, update: &[u8], context: &CheckContext<'_>) -> Result<Checked, MergeError> {
        let walk = guard::walk(update)?;
        Ok(self.index.check(&walk, context)?)
    }

    /// Ops of one frame, or of several that are done together: all or none.
    pub fn apply<'a>(
        &mut self,
        ops: impl IntoIterator<Item = &'a Op>,
        editor: &Editor,
        elements_max: usize,
    ) -> Result<Applied, ApplyError> {
        let mut draft = Draft::new(&self.read);
        let index = &self.index;
        let creator = |target: &Target| index.creator(target.0, &target.1);
        let context = Context {
            editor,
            creator: &creator,
            elements_max,
        };
        apply::apply(&mut draft, ops, &context)?;
        let entries = draft.into_entries();
        self.fits(&entries)?;
        Ok(self.write(&entries))
    }

    /// Elements and pages of a file: all or none. What is known of a page stays, the file's properties join it.
    pub fn import(
        &mut self,
        elements: &[Entry],
        pages: &[(Arc<str>, Properties)],
        editor: &Editor,
        elements_max: usize,
    ) -> Result<Applied, ApplyError> {
        let mut draft = Draft::new(&self.read);
        let creator = |_: &Target| None;
        let context = Context {
            editor,
            creator: &creator,
            elements_max,
        };
        for element in elements {
            apply::create_element(&mut draft, element, None, &context)?;
        }
        for (id, properties) in pages {
            let target = (EntryKind::Page, Arc::clone(id));
            if draft.get(&target).is_none() {
                draft.create(&target, Properties::new());
            }
            for (property, value) in properties.iter() {
                let value = shape::fit(EntryKind::Page, property, value).map_err(ApplyError::BadOp)?;
                draft.set(&target, property, Some(value));
            }
        }
        let entries = draft.into_entries();
        self.fits(&entries)?;
        Ok(self.write(&entries))
    }

    /// Takes a step back or does it again, against the document as it is now. Steps without effect are dropped and the
    /// next one is tried; a named step stands alone. What the editor may not touch any more stays.
    pub fn undo<'a>(
        &mut self,
        direction: Direction,
        user: &UserId,
        name: Option<StepName>,
        editor: &Editor,
        pending: impl Iterator<Item = &'a Record>,
    ) -> Result<Applied, UndoError> {
        let steps = self.stacks.steps(user, direction, pending);
        let tried: Vec<_> = match name {
            None => steps,
            Some(name) => steps.into_iter().find(|step| step.is_named(name)).into_iter().collect(),
        };
        if tried.is_empty() {
            return Err(UndoError::Nothing);
        }
        let mut undone = Undone::default();
        let mut draft = Draft::new(&self.read);
        let may_touch = |target: &Target, property: Option<Property>| {
            let creator = || self.index.creator(target.0, &target.1);
            editor.may_touch((target.0, &target.1), self.read.get(target), property, creator)
        };
        let drawn_on = LazyCell::new(|| self.pages_of_others(user));
        let rules = Rules {
            may_touch: &may_touch,
            is_drawn_on: &|page| drawn_on.contains(page),
        };
        for step in tried {
            let (changed, skipped) = undo::inverse(&step, &mut draft, &rules);
            undone.steps.push(step.id);
            undone.changed += changed;
            undone.skipped += skipped;
            // What lies below a step that nobody knows any more is older than what the user means.
            if changed > 0 || step.is_left_out() {
                break;
            }
        }
        let entries = draft.into_entries();
        self.fits(&entries)?;
        let applied = self.write(&entries);
        Ok(Applied {
            undone: Some(undone),
            ..applied
        })
    }

    /// Pages on which something lives that others made.
    fn pages_of_others(&self, user: &UserId) -> HashSet<&str> {
        let is_others = |id: &str, entry: &Properties| match entry.get(Property::Author).and_then(Value::as_str) {
            Some(author) => author != user.as_str(),
            None => self.index.creator(EntryKind::Element, id) != Some(user),
        };
        self.read
            .entries(EntryKind::Element)
            .filter(|(id, entry)| entry.get(Property::Deleted).is_none() && is_others(id, entry))
            .filter_map(|(_, entry)| entry.get(Property::Page)?.as_str())
            .collect()
    }

    /// Brings elements and pages back to what they were at another time, as new changes.
    pub fn restore(&mut self, old: &[Item], now: Timestamp, elements_max: usize) -> Result<Applied, ApplyError> {
        let mut draft = Draft::new(&self.read);
        let is_restored = |kind: EntryKind| matches!(kind, EntryKind::Element | EntryKind::Page);
        let mut known = BTreeSet::new();
        for item in old.iter().filter(|item| is_restored(item.kind)) {
            let target = (item.kind, Arc::clone(&item.id));
            draft.create(&target, item.properties.clone());
            known.insert(target);
        }
        let is_purged = |target: &&Target| target.0 == EntryKind::Element && self.read.get(target).is_none();
        let purged = known.iter().filter(is_purged).count();
        if purged > 0 && self.read.len(EntryKind::Element) + purged > elements_max {
            return Err(ApplyError::BoardFull(elements_max));
        }
        for kind in [EntryKind::Element, EntryKind::Page] {
            for (id, entry) in self.read.entries(kind) {
                let target = (kind, Arc::clone(id));
                if known.contains(&target) {
                    continue;
                }
                if kind == EntryKind::Page && id.is_empty() {
                    // The first page is always there, with nothing said of it.
                    draft.create(&target, Properties::new());
                } else if entry.came_deleted() {
                    draft.set(&target, Property::Extra, entry.extra_of_deleted_here());
                } else if entry.get(Property::Deleted).is_none() {
                    draft.set(&target, Property::Deleted, Some(undo::time_value(now)));
                }
            }
        }
        let entries = draft.into_entries();
        self.fits(&entries)?;
        Ok(self.write(&entries))
    }

    /// Removes for good what has been deleted since before `before`, and what lies on pages that have been, at most `most`
    /// elements, unless a step of undo could bring it back.
    pub fn purge(&mut self, before: Timestamp, most: usize) -> Applied {
        let mut draft = Draft::new(&self.read);
        let kept = self.stacks.targets_that_may_return();
        let is_old = |entry: &Properties| {
            let deleted = entry.get(Property::Deleted).and_then(Value::as_f64);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 stay far below 2^53")]
            deleted.is_some_and(|time| time < before.0 as f64)
        };
        let pages = self.read.entries(EntryKind::Page).filter(|(id, page)| {
            // The first one is always there.
            !id.is_empty() && is_old(page) && !kept.contains(&(EntryKind::Page, Arc::clone(id)))
        });
        let pages: HashSet<&str> = pages.map(|(id, _)| &**id).collect();
        let mut gone: Vec<Target> = self
            .read
            .entries(EntryKind::Element)
            .filter(|(_, entry)| {
                let page = entry.get(Property::Page).and_then(Value::as_str).unwrap_or_default();
                // What came deleted in a file belongs to the file.
                (is_old(entry) && !entry.came_deleted()) || pages.contains(page)
            })
            .map(|(id, _)| (EntryKind::Element, Arc::clone(id)))
            .filter(|target| !kept.contains(target))
            .collect();
        gone.sort();
        for target in gone.iter().take(most) {
            draft.remove(target);
        }
        let entries = draft.into_entries();
        self.write(&entries)
    }

    /// Merges a record of another node; the stacks move when the log brings it, see [`Board::note`].
    pub fn merge_record(&mut self, record: &Record) -> Result<Applied, MergeError> {
        self.index.bind_server(record.id.0);
        if record.update.0.len() <= EMPTY_UPDATE_BYTES {
            return Ok(Applied::default());
        }
        let walk = guard::walk_within(&record.update.0, &WalkLimits::TRUSTED)?;
        self.index.note_owners(&walk, &record.author, &record.relayed);
        let decoded = Update::decode_v1(&record.update.0).map_err(|_walked_but_undecodable| MergeError::Undecodable)?;
        let mut txn = self.doc.transact_mut();
        txn.apply_update(decoded).expect("a record can be applied");
        let update = emit(txn);
        Ok(self.finish(update, None, &[]))
    }

    /// A record of this room has come back in its place in the log: whose its client ids are is settled.
    pub fn settle(&mut self, record: &Record) {
        if record.kind == RecordKind::Update && self.index.has_unlogged() {
            let walk = guard::walk_within(&record.update.0, &WalkLimits::TRUSTED).expect("it was applied");
            self.index.note_owners(&walk, &record.author, &record.relayed);
        }
    }

    /// Takes the next record of the log, own ones too: it moves the stacks and the counters of clients and rooms.
    /// Gives whether the record is new; a second copy of one counts for nothing.
    pub fn note(&mut self, record: &Record, position: Position) -> bool {
        let room = self.rooms.entry(record.id.0).or_insert((0, record.time));
        if record.id.1 <= room.0 {
            return false;
        }
        *room = (record.id.1, record.time);
        self.note_seq(record);
        self.stacks.note(record, position);
        true
    }

    /// Remembers the `seq` of a record that this node has made, so that a repeat is known at once.
    pub fn note_seq(&mut self, record: &Record) {
        self.outboxes.note(record);
    }

    /// The document's state vector, encoding v1.
    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What a document with these next clocks lacks, as an update; all of it for none.
    pub fn diff(&self, vector: impl IntoIterator<Item = (u64, u32)>) -> Vec<u8> {
        let mut known = StateVector::default();
        for (client, clock) in vector {
            known.set_max(yrs::ClientID::new(client), clock);
        }
        self.doc.transact().encode_diff_v1(&known)
    }

    /// Writes the version of the layout and the board's title into the document, where they are not there yet.
    pub fn describe(&mut self, title: &str) -> Applied {
        let mut txn = self.doc.transact_mut();
        for (key, shall) in [("schema", Value::Int(SCHEMA)), ("title", title.into())] {
            let shall = any_of(&shall);
            let is = self.meta.get(&txn, key);
            if !matches!(is, Some(yrs::Out::Any(known)) if known == shall) {
                self.meta.insert(&mut txn, key, shall);
            }
        }
        let update = emit(txn);
        self.finish(update, None, &[])
    }

    /// Whether what is to be written fits a record.
    fn fits(&self, entries: &[(Target, Option<Properties>)]) -> Result<(), TooLarge> {
        let bytes = entries.iter().map(|(target, shall)| {
            let is = self.read.get(target);
            let is_new = |property, value: &Value| is.and_then(|is| is.get(property)) != Some(value);
            let written = shall.iter().flat_map(Properties::iter);
            let sizes = written
                .filter(|(property, value)| is_new(*property, value))
                .map(|(_, value)| written_bytes(value));
            sizes.sum::<usize>()
        });
        if bytes.sum::<usize>() > WRITE_BYTES_MAX {
            return Err(TooLarge);
        }
        Ok(())
    }

    fn write(&mut self, entries: &[(Target, Option<Properties>)]) -> Applied {
        if entries.is_empty() {
            return Applied::default();
        }
        let mut txn = self.doc.transact_mut();
        for (target, properties) in entries {
            write_entry(&mut txn, &self.roots, target, properties.as_ref());
        }
        let update = emit(txn);
        self.finish(update, None, &[])
    }

    /// Levels index and read model with what the document emitted.
    fn finish(&mut self, update: Vec<u8>, author: Option<&UserId>, relayed: &[(u64, u32, u32)]) -> Applied {
        let touched = std::mem::take(&mut *self.touched.lock());
        if update.len() <= EMPTY_UPDATE_BYTES {
            return Applied::default();
        }
        self.document_bytes += update.len();
        let walk = guard::walk_within(&update, &WalkLimits::TRUSTED).expect("the library emits sound updates");
        self.index
            .note(&walk, author, relayed)
            .expect("the document and its index are level");
        let txn = self.doc.transact();
        let changes = touched
            .iter()
            .filter_map(|target| self.read.refresh(target, &self.roots[target.0 as usize], &txn))
            .collect();
        Applied {
            update: Some(update.into()),
            changes,
            ..Applied::default()
        }
    }

    /// Watches the roots from now on; before, the read model is built by iteration.
    pub(crate) fn observe(&self) {
        for ((kind, _), root) in KINDS.iter().zip(&self.roots) {
            let (kind, touched) = (*kind, Arc::clone(&self.touched));
            root.observe_deep("read", move |txn: &TransactionMut<'_>, events: &yrs::types::Events| {
                note_events(kind, &mut touched.lock(), txn, events);
            });
        }
    }
}

/// Bytes of a value in the document, at most.
fn written_bytes(value: &Value) -> usize {
    BLOCK_BYTES + undo::size_of_value(value)
}

fn note_events(kind: EntryKind, touched: &mut BTreeSet<Target>, txn: &TransactionMut<'_>, events: &yrs::types::Events) {
    for event in events.iter() {
        let yrs::types::Event::Map(event) = event else { continue };
        match event.path().front() {
            Some(yrs::types::PathSegment::Key(id)) => {
                touched.insert((kind, Arc::clone(id)));
            }
            Some(yrs::types::PathSegment::Index(_)) => {}
            None => touched.extend(event.keys(txn).keys().map(|id| (kind, Arc::clone(id)))),
        }
    }
}

fn emit(mut txn: TransactionMut<'_>) -> Vec<u8> {
    // Before commit the overwritten values would still be in the update.
    txn.commit();
    txn.encode_update_v1()
}

#[cfg(test)]
mod tests;
