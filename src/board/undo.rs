//! Stacks of undo for each user of a board, built from records alone.
//!
//! Every node that reads the log up to the same position has the same stacks: [`Stacks::note`] is fed in log order and
//! nowhere else, own records too. What an undo writes is worked out against the document as it is now (see
//! [`inverse`]), so it never takes back what somebody else did.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::draft::Draft;
use crate::protocol::element::{Change, EntryKind, Properties, Property, Target, Value};
use crate::protocol::ids::{GestureId, Position, RecordId, Timestamp, UserId};
use crate::protocol::limits::{UNDO_BYTES_MAX, UNDO_STEPS_MAX, WINDOW_BYTES_MAX, WINDOW_CHANGES_MAX};
use crate::protocol::op::StepName;
use crate::protocol::{Record, RecordKind};

/// How many of the newest steps a record may join by its gesture.
const JOIN_DEPTH: usize = 8;

/// Print of an entry: the XOR of the hashes of its properties, so that a change folds into it.
pub fn print(properties: &Properties) -> u64 {
    properties
        .iter()
        .fold(0, |sum, (property, value)| sum ^ hash(property, value))
}

fn hash(property: Property, value: &Value) -> u64 {
    // FNV-1a: prints lie in records and keyframes, so the hash may not change with the compiler.
    fn mix(sum: u64, bytes: &[u8]) -> u64 {
        bytes
            .iter()
            .fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }
    fn walk(sum: u64, value: &Value) -> u64 {
        match value {
            Value::Null => mix(sum, b"n"),
            Value::Bool(fact) => mix(sum, if *fact { b"t" } else { b"f" }),
            Value::Int(number) => mix(mix(sum, b"i"), &number.to_le_bytes()),
            Value::Float(number) => mix(mix(sum, b"d"), &number.to_bits().to_le_bytes()),
            Value::String(text) => mix(mix(sum, b"s"), text.as_bytes()),
            Value::Bytes(bytes) => mix(mix(sum, b"b"), bytes),
            Value::Array(items) => items.iter().fold(mix(sum, b"["), walk),
            Value::Map(map) => map.iter().fold(mix(sum, b"{"), |sum, (key, value)| {
                walk(mix(sum, key.as_bytes()), value)
            }),
        }
    }
    walk(mix(0xcbf2_9ce4_8422_2325, property.name().as_bytes()), value)
}

fn fold(print: &mut u64, change: &StepChange) {
    for (property, (before, after)) in &change.set {
        for value in [before, after].into_iter().flatten() {
            *print ^= hash(*property, value);
        }
    }
}

/// What a step did to the life of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Life {
    /// It lived before and after; only properties changed.
    Kept,
    /// It was created, at this time.
    Created(Timestamp),
    /// A foreign client removed it; this is what it was.
    Removed(Properties),
}

/// What a step did to one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StepChange {
    life: Life,
    /// Property -> (before, after).
    set: BTreeMap<Property, (Option<Value>, Option<Value>)>,
    /// The entry as its user left it, where undoing the step would delete it.
    print: Option<u64>,
}

/// What one gesture of one user did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The record that opened it.
    pub id: RecordId,
    /// Its gesture.
    pub gesture: Option<GestureId>,
    changes: BTreeMap<Target, StepChange>,
    size_bytes: usize,
    /// What it did is not in its record: it cannot be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_left_out: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Steps {
    /// Newest last.
    undo: VecDeque<Step>,
    redo: VecDeque<Step>,
}

/// A change somebody made lately, to complete what a record of another node had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Recent {
    position: Position,
    room: u64,
    target: Target,
    property: Property,
    after: Option<Value>,
}

/// The newest changes of the log, as many as the limits let stay: what is in it depends on the records alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
struct Window {
    changes: VecDeque<Recent>,
    #[serde(skip)]
    size_bytes: usize,
}

/// The stacks of all users of a board, and the window of recent changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stacks {
    users: BTreeMap<UserId, Steps>,
    window: Window,
}

/// Which stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Takes a step back.
    Undo,
    /// Does it again.
    Redo,
}

impl Stacks {
    /// Takes the next record of the log.
    pub fn note(&mut self, record: &Record, position: Position) {
        let changes = self.completed(record);
        if record.kind == RecordKind::Purge {
            for steps in self.users.values_mut() {
                steps.forget(&changes);
            }
        } else if let Some(steps) = steps_of(&mut self.users, record) {
            steps.note(record, &changes);
        }
        for (target, change) in changes {
            let room = record.id.0;
            self.window
                .extend(change.set.into_iter().map(|(property, (_, after))| Recent {
                    position,
                    room,
                    target: target.clone(),
                    property,
                    after,
                }));
        }
        self.window.bound();
    }

    /// The user's steps, newest first, with the room's records laid on top that are not in the log yet.
    pub fn steps<'a>(
        &self,
        user: &UserId,
        direction: Direction,
        pending: impl Iterator<Item = &'a Record>,
    ) -> Vec<Step> {
        let mut steps = self.users.get(user).cloned().unwrap_or_default();
        for record in pending.filter(|record| owner(record) == user && record.kind != RecordKind::Purge) {
            steps.note(record, &self.completed(record));
        }
        let mut stack = match direction {
            Direction::Undo => steps.undo,
            Direction::Redo => steps.redo,
        };
        stack.make_contiguous().reverse();
        stack.into()
    }

    /// Entries that a step of undo or redo could bring back from the dead: no purge may take them.
    pub fn targets_that_may_return(&self) -> HashSet<Target> {
        let steps = self
            .users
            .values()
            .flat_map(|steps| steps.undo.iter().chain(&steps.redo));
        steps
            .flat_map(|step| &step.changes)
            .filter(|(_, change)| {
                [Property::Deleted, Property::Page]
                    .iter()
                    .any(|back| change.set.contains_key(back))
            })
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// The changes of a record as the log knows them: `before` of a property is what another node had set it to, where
    /// the record's own node had not seen that yet.
    fn completed(&self, record: &Record) -> BTreeMap<Target, StepChange> {
        let mut changes = BTreeMap::new();
        for change in &record.changes {
            if matches!(change.kind, EntryKind::Element | EntryKind::Page) {
                changes.insert((change.kind, Arc::clone(&change.id)), step_change(change, record.time));
            }
        }
        for recent in self
            .window
            .changes
            .iter()
            .rev()
            .take_while(|recent| recent.position > record.base)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            if recent.room == record.id.0 || recent.property == Property::Deleted {
                continue;
            }
            if let Some((before, _)) = changes
                .get_mut(&recent.target)
                .and_then(|change| change.set.get_mut(&recent.property))
            {
                before.clone_from(&recent.after);
            }
        }
        changes
    }
}

impl Window {
    fn extend(&mut self, changes: impl Iterator<Item = Recent>) {
        for recent in changes {
            self.size_bytes += recent.size_bytes();
            self.changes.push_back(recent);
        }
    }

    fn bound(&mut self) {
        while self.changes.len() > WINDOW_CHANGES_MAX || self.size_bytes > WINDOW_BYTES_MAX {
            self.size_bytes -= self.changes.pop_front().map_or(0, |recent| recent.size_bytes());
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut window = Self::default();
        window.extend(VecDeque::deserialize(deserializer)?.into_iter());
        // A keyframe from before there was a limit of bytes may hold more.
        window.bound();
        Ok(window)
    }
}

impl Recent {
    fn size_bytes(&self) -> usize {
        48 + self.target.1.len() + self.after.as_ref().map_or(0, size_of_value)
    }
}

fn owner(record: &Record) -> &UserId {
    record.owner.as_ref().unwrap_or(&record.author)
}

/// The steps a record speaks of; made only where the record will leave something in them.
fn steps_of<'a>(users: &'a mut BTreeMap<UserId, Steps>, record: &Record) -> Option<&'a mut Steps> {
    let owner = owner(record);
    if !users.contains_key(owner) {
        if record.changes.is_empty() && !record.changes_left_out {
            return None;
        }
        users.insert(owner.clone(), Steps::default());
    }
    users.get_mut(owner)
}

fn step_change(change: &Change, time: Timestamp) -> StepChange {
    let empty = Properties::new();
    let (before, after) = (
        change.before.as_ref().unwrap_or(&empty),
        change.after.as_ref().unwrap_or(&empty),
    );
    let life = match (&change.before, &change.after) {
        (None, Some(_)) => Life::Created(time),
        (Some(whole), None) => Life::Removed(whole.clone()),
        (Some(_), Some(_)) | (None, None) => Life::Kept,
    };
    let mut set = BTreeMap::new();
    if life == Life::Kept {
        for (property, _) in before.iter().chain(after.iter()) {
            let mut pair = (before.get(property).cloned(), after.get(property).cloned());
            if property == Property::Deleted && pair.1.is_some() {
                // A delete has nothing before it: its undo makes the entry live, whoever else deleted it earlier.
                pair.0 = None;
            }
            set.insert(property, pair);
        }
    }
    StepChange {
        life,
        set,
        print: change.print,
    }
}

impl Steps {
    fn note(&mut self, record: &Record, changes: &BTreeMap<Target, StepChange>) {
        for step in self.undo.iter_mut().chain(self.redo.iter_mut()) {
            step.fold(changes);
        }
        match record.kind {
            RecordKind::Op | RecordKind::Update => {
                if !changes.is_empty() || record.changes_left_out {
                    self.redo.clear();
                    let joined = self
                        .undo
                        .iter_mut()
                        .rev()
                        .take(JOIN_DEPTH)
                        // Not below it either: the newest edit would be taken back after what came before it.
                        .take_while(|step| !step.is_left_out && !record.changes_left_out)
                        .find(|step| step.takes(record));
                    match joined {
                        Some(step) => step.join(changes),
                        None => self.undo.push_back(Step::new(record, record.gesture, changes)),
                    }
                }
            }
            RecordKind::Undo => take_back(&mut self.undo, &mut self.redo, record, changes),
            RecordKind::Redo => take_back(&mut self.redo, &mut self.undo, record, changes),
            RecordKind::Purge => {}
        }
        bound(&mut self.undo);
        bound(&mut self.redo);
    }

    fn forget(&mut self, purged: &BTreeMap<Target, StepChange>) {
        for step in self.undo.iter_mut().chain(self.redo.iter_mut()) {
            step.changes.retain(|target, _| !purged.contains_key(target));
        }
    }
}

fn take_back(
    from: &mut VecDeque<Step>,
    to: &mut VecDeque<Step>,
    record: &Record,
    changes: &BTreeMap<Target, StepChange>,
) {
    let taken = record
        .steps
        .last()
        .and_then(|last| from.iter().find(|step| step.id == *last));
    // Two nodes that took back the same step at once: the first in the log did it, the second finds it gone.
    let gesture = taken.map(|step| step.gesture);
    from.retain(|step| !record.steps.contains(&step.id));
    if let Some(gesture) = gesture
        && (!changes.is_empty() || record.changes_left_out)
    {
        to.push_back(Step::new(record, gesture, changes));
    }
}

fn bound(stack: &mut VecDeque<Step>) {
    let mut size_bytes: usize = stack.iter().map(|step| step.size_bytes).sum();
    while stack.len() > 1 && (stack.len() > UNDO_STEPS_MAX || size_bytes > UNDO_BYTES_MAX) {
        size_bytes -= stack.pop_front().map_or(0, |step| step.size_bytes);
    }
}

impl Step {
    fn new(record: &Record, gesture: Option<GestureId>, changes: &BTreeMap<Target, StepChange>) -> Self {
        let mut step = Self {
            id: record.id,
            gesture,
            changes: changes.clone(),
            size_bytes: 0,
            is_left_out: record.changes_left_out,
        };
        step.measure();
        step
    }

    /// Whether the step is the one that a request names.
    pub fn is_named(&self, name: StepName) -> bool {
        match name {
            StepName::Record(id) => self.id == id,
            StepName::Gesture(gesture) => self.gesture == Some(gesture),
        }
    }

    /// Whether nobody knows what it did.
    pub fn is_left_out(&self) -> bool {
        self.is_left_out
    }

    fn takes(&self, record: &Record) -> bool {
        record.gesture.is_some() && self.gesture == record.gesture
    }

    /// The user touched entries again: what the step remembers of how they left them follows.
    fn fold(&mut self, changes: &BTreeMap<Target, StepChange>) {
        for (target, mine) in &mut self.changes {
            if let (Some(print), Some(change)) = (&mut mine.print, changes.get(target)) {
                fold(print, change);
            }
        }
    }

    /// First `before`, last `after`.
    fn join(&mut self, changes: &BTreeMap<Target, StepChange>) {
        for (target, change) in changes {
            match self.changes.get_mut(target) {
                None => _ = self.changes.insert(target.clone(), change.clone()),
                Some(mine) if mine.is_creation() && change.is_removal() => _ = self.changes.remove(target),
                Some(mine) => mine.join(change),
            }
        }
        self.measure();
    }

    fn measure(&mut self) {
        self.size_bytes = self
            .changes
            .iter()
            .map(|((_, id), change)| {
                let values = change
                    .set
                    .values()
                    .flat_map(|(before, after)| [before, after])
                    .flatten();
                let removed = if let Life::Removed(whole) = &change.life {
                    size_of_properties(whole)
                } else {
                    0
                };
                48 + id.len() + removed + values.map(size_of_value).sum::<usize>()
            })
            .sum();
    }
}

impl StepChange {
    fn is_creation(&self) -> bool {
        matches!(self.life, Life::Created(_))
    }

    fn is_removal(&self) -> bool {
        matches!(self.life, Life::Removed(_))
    }

    fn join(&mut self, later: &Self) {
        let was_made_anew = self.is_removal() && self.print.is_some();
        self.print = later.print.or(self.print);
        match (&mut self.life, &later.life) {
            // What a created entry became belongs to its creation.
            (Life::Created(_), Life::Kept) => {}
            (Life::Kept | Life::Removed(_), Life::Kept) => {
                for (property, (before, after)) in &later.set {
                    let pair = self.set.entry(*property).or_insert_with(|| (before.clone(), None));
                    pair.1.clone_from(after);
                }
            }
            // It was there before the step: the print tells whether it still is what its user put in its place.
            (Life::Removed(_), Life::Created(_)) => self.set.clear(),
            (Life::Removed(_), Life::Removed(_)) if was_made_anew => {
                self.set.clear();
                self.print = None;
            }
            (Life::Kept, Life::Removed(whole)) => {
                let mut whole = whole.clone();
                for (property, (before, _)) in std::mem::take(&mut self.set) {
                    whole.put(property, before);
                }
                self.life = Life::Removed(whole);
                self.print = None;
            }
            (_, Life::Created(_) | Life::Removed(_)) => *self = later.clone(),
        }
    }
}

/// Bytes of an entry, about.
pub(crate) fn size_of_properties(properties: &Properties) -> usize {
    properties.iter().map(|(_, value)| size_of_value(value)).sum()
}

/// Bytes of a value, about.
pub(crate) fn size_of_value(value: &Value) -> usize {
    8 + match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(size_of_value).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| key.len() + size_of_value(value)).sum(),
    }
}

/// What an undo must leave alone.
pub struct Rules<'a> {
    /// Whether who asks may touch an entry, or one property of it.
    pub may_touch: &'a dyn Fn(&Target, Option<Property>) -> bool,
    /// Whether something lives on the page that others made.
    pub is_drawn_on: &'a dyn Fn(&str) -> bool,
}

/// Writes into `draft` what takes the step back, against the document as it is now.
///
/// Gives the number of entries that change and of those that stay, because somebody else has changed them since. A step
/// that was left out counts as one that stays.
pub fn inverse(step: &Step, draft: &mut Draft<'_>, rules: &Rules<'_>) -> (usize, usize) {
    let (mut changed, mut skipped) = (0, usize::from(step.is_left_out));
    for (target, change) in &step.changes {
        if inverse_of(target, change, draft, rules) {
            changed += 1;
        } else {
            skipped += 1;
        }
    }
    (changed, skipped)
}

fn inverse_of(target: &Target, change: &StepChange, draft: &mut Draft<'_>, rules: &Rules<'_>) -> bool {
    let may_touch = rules.may_touch;
    let Some(now) = draft.get(target).cloned() else {
        if let Life::Removed(whole) = &change.life {
            draft.create(target, whole.clone());
            return true;
        }
        return false;
    };
    let is_as_left = change.print.is_some_and(|known| known == print(&now));
    // A deleted page would hide what others drew on it.
    let is_drawn_on = || target.0 == EntryKind::Page && (rules.is_drawn_on)(&target.1);
    let may_delete = now.get(Property::Deleted).is_none() && is_as_left && !is_drawn_on();
    if let Life::Removed(whole) = &change.life
        && is_as_left
    {
        let may_return = may_touch(target, None);
        if may_return {
            draft.create(target, whole.clone());
        }
        return may_return;
    }
    if let Life::Created(time) = change.life {
        if is_as_left && now.came_deleted() && may_touch(target, None) {
            // It stays deleted, but is no longer the file's.
            draft.set(target, Property::Extra, now.extra_of_deleted_here());
            return true;
        }
        let may_delete = may_delete && may_touch(target, None);
        if may_delete && target.0 == EntryKind::Page && target.1.is_empty() {
            // The first page stays: it is as if nothing was ever said of it.
            draft.create(target, Properties::new());
        } else if may_delete {
            // The step's time, not now: two nodes that take it back at once write the same value.
            draft.set(target, Property::Deleted, Some(time_value(time)));
        }
        return may_delete;
    }
    let mut is_changed = false;
    for (property, (before, after)) in &change.set {
        let deletes = *property == Property::Deleted && after.is_none();
        if now.get(*property) == after.as_ref()
            && (!deletes || may_delete)
            && before != after
            && may_touch(target, Some(*property))
        {
            draft.set(target, *property, before.clone());
            is_changed = true;
        }
    }
    is_changed
}

/// A time as the document holds it.
#[expect(clippy::cast_possible_wrap, reason = "milliseconds since 1970 stay far below 2^63")]
pub fn time_value(time: Timestamp) -> Value {
    Value::Int(time.0 as i64)
}
