//! A change in the making: what entries shall be, laid over what they are.
//!
//! A CRDT transaction cannot be rolled back, so every op, undo and restore is first written here and checked, and only
//! a draft that is complete is written into the document, in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::read::{Order, Place, ReadModel, place_of, put_elsewhere};
use super::shape;
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};

/// What entries shall be, laid over what they are.
pub struct Draft<'a> {
    read: &'a ReadModel,
    /// In the order in which entries were first touched.
    order: Vec<Target>,
    entries: HashMap<Target, Option<Properties>>,
    /// Entries that are at another place than in `read`.
    places: [Order; 5],
}

impl<'a> Draft<'a> {
    /// A draft that changes nothing.
    pub fn new(read: &'a ReadModel) -> Self {
        Self {
            read,
            order: Vec::new(),
            entries: HashMap::new(),
            places: Default::default(),
        }
    }

    /// The document as it is, without the draft.
    pub fn read(&self) -> &'a ReadModel {
        self.read
    }

    /// The entry as the draft has it.
    pub fn get(&self, target: &Target) -> Option<&Properties> {
        match self.entries.get(target) {
            Some(drafted) => drafted.as_ref(),
            None => self.read.get(target),
        }
    }

    /// Makes an entry, or sets all of its properties anew.
    pub fn create(&mut self, target: &Target, properties: Properties) {
        self.change(target, |entry| *entry = Some(properties));
    }

    /// Sets or removes a property of an entry that exists.
    pub fn set(&mut self, target: &Target, property: Property, value: Option<Value>) {
        self.change(target, |entry| {
            if let Some(properties) = entry {
                properties.put(property, value);
            }
        });
    }

    /// An op has set these: the text before it was broken into lines goes with an older text.
    pub fn follow_text(&mut self, target: &Target, set: &BTreeMap<Property, Option<Value>>) {
        let is_same = |now: &Properties| {
            let was = self.read.get(target);
            was.is_some_and(|was| was.get(Property::Text) == now.get(Property::Text))
        };
        if !set.contains_key(&Property::Text)
            || set.contains_key(&Property::Extra)
            || self.get(target).is_none_or(is_same)
        {
            return;
        }
        if let Some(Value::Map(extra)) = self.get(target).and_then(|entry| entry.get(Property::Extra))
            && extra.contains_key("originalText")
        {
            let mut extra = (**extra).clone();
            extra.remove("originalText");
            let extra = (!extra.is_empty()).then(|| Value::Map(Arc::new(extra)));
            self.set(target, Property::Extra, extra);
        }
    }

    /// Removes an entry for good: likes, and what a purge takes.
    pub fn remove(&mut self, target: &Target) {
        self.change(target, |entry| *entry = None);
    }

    /// Entries that the draft may have changed: what they are, and what they shall be.
    pub fn into_entries(mut self) -> Vec<(Target, Option<Properties>)> {
        let order = std::mem::take(&mut self.order);
        order
            .into_iter()
            .filter_map(|target| {
                let drafted = self.entries.remove(&target)?;
                (drafted.as_ref() != self.read.get(&target)).then_some((target, drafted))
            })
            .collect()
    }

    /// Number of entries touched.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Z-order key of an element or place of a page; empty where it has none.
    pub fn pos(&self, target: &Target) -> String {
        self.get(target)
            .and_then(|entry| shape::text(entry, Property::Pos))
            .unwrap_or_default()
    }

    /// Highest key of all elements or pages.
    pub fn top_pos(&self, kind: EntryKind) -> Option<String> {
        let tops = self.orders(kind).into_iter().filter_map(Order::last);
        tops.max().map(|(pos, _)| pos.to_string())
    }

    /// The next key above or below `pos`, those of the entries `moving` left aside.
    pub fn pos_beside(&self, kind: EntryKind, pos: &str, is_above: bool, moving: &HashSet<Arc<str>>) -> Option<String> {
        let stays = |place: &&Place| !moving.contains(&place.1);
        let beside = if is_above {
            // No text lies between these two.
            let next: Place = (format!("{pos}\0").into(), Arc::default());
            let orders = self.orders(kind).into_iter();
            orders.filter_map(|order| order.range(&next..).find(stays)).min()
        } else {
            let end: Place = (pos.into(), Arc::default());
            let orders = self.orders(kind).into_iter();
            orders.filter_map(|order| order.range(..&end).rfind(stays)).max()
        };
        beside.map(|(pos, _)| pos.to_string())
    }

    /// A place that an entry has left in the draft still counts: less room is used then, the order is right all the same.
    fn orders(&self, kind: EntryKind) -> [&Order; 2] {
        [self.read.order(kind), &self.places[kind as usize]]
    }

    fn change(&mut self, target: &Target, change: impl FnOnce(&mut Option<Properties>)) {
        let (kind, id) = target;
        if !self.entries.contains_key(target) {
            self.order.push(target.clone());
            self.entries.insert(target.clone(), self.read.get(target).cloned());
        }
        let entry = self.entries.get_mut(target).expect("it was put there right before");
        let was = place_of(id, entry.as_ref());
        change(entry);
        put_elsewhere(&mut self.places[*kind as usize], (was, place_of(id, entry.as_ref())));
    }
}
