//! A change in the making: what entries shall be, laid over what they are.
//!
//! A CRDT transaction cannot be rolled back, so every op, undo and restore is first written here and checked, and only
//! a draft that is complete is written into the document, in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::read::ReadModel;
use super::shape;
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};

/// What entries shall be, laid over what they are.
pub struct Draft<'a> {
    read: &'a ReadModel,
    /// In the order in which entries were first touched.
    order: Vec<Target>,
    entries: HashMap<Target, Option<Properties>>,
}

impl<'a> Draft<'a> {
    /// A draft that changes nothing.
    pub fn new(read: &'a ReadModel) -> Self {
        Self {
            read,
            order: Vec::new(),
            entries: HashMap::new(),
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
        *self.slot(target) = Some(properties);
    }

    /// Sets or removes a property of an entry that exists.
    pub fn set(&mut self, target: &Target, property: Property, value: Option<Value>) {
        if let Some(properties) = self.slot(target) {
            properties.put(property, value);
        }
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
        *self.slot(target) = None;
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

    /// Highest z-order key of all elements.
    pub fn top_pos(&self) -> Option<String> {
        let drafted = self.drafted_pos().max();
        let known = self.read.order().next_back().map(|(pos, _)| pos.to_string());
        drafted.max(known)
    }

    /// The next z-order key above or below `pos`, those of the elements `moving` left aside.
    pub fn pos_beside(&self, pos: &str, is_above: bool, moving: &HashSet<Arc<str>>) -> Option<String> {
        let is_beside = |key: &str| if is_above { key > pos } else { key < pos };
        let mut known = self
            .read
            .order()
            .filter(|(key, id)| is_beside(key) && !moving.contains(id))
            .map(|(key, _)| key.to_string());
        let drafted = self.drafted_pos().filter(|key| is_beside(key));
        if is_above {
            known.next().into_iter().chain(drafted).min()
        } else {
            known.next_back().into_iter().chain(drafted).max()
        }
    }

    /// Other living elements that name one of these as their container, or are tied to one by their bindings.
    pub fn bound_to(&self, ids: &HashSet<Arc<str>>) -> Vec<Target> {
        let leads_there = |entry: &Properties| {
            let container = entry.get(Property::ContainerId).and_then(Value::as_str);
            container.is_some_and(|id| ids.contains(id))
                || entry
                    .get(Property::Bindings)
                    .is_some_and(|bindings| shape::freed(bindings, ids).is_some())
        };
        let mut bound: Vec<Target> = self
            .read
            .entries(EntryKind::Element)
            .filter(|(id, entry)| !ids.contains(*id) && entry.get(Property::Deleted).is_none() && leads_there(entry))
            .map(|(id, _)| (EntryKind::Element, Arc::clone(id)))
            .collect();
        bound.sort();
        bound
    }

    /// Places of all pages, lowest first.
    pub fn page_places(&self) -> Vec<String> {
        let untouched = self.read.entries(EntryKind::Page).filter_map(|(id, page)| {
            let target = (EntryKind::Page, Arc::clone(id));
            (!self.entries.contains_key(&target)).then_some(page)
        });
        let drafted = self.order.iter().filter(|(kind, _)| *kind == EntryKind::Page);
        let pages = untouched.chain(drafted.filter_map(|target| self.get(target)));
        let mut places: Vec<_> = pages.filter_map(|page| shape::text(page, Property::Pos)).collect();
        places.sort();
        places
    }

    fn drafted_pos(&self) -> impl Iterator<Item = String> {
        self.order
            .iter()
            .filter(|(kind, _)| *kind == EntryKind::Element)
            .filter_map(|target| shape::text(self.get(target)?, Property::Pos))
    }

    fn slot(&mut self, target: &Target) -> &mut Option<Properties> {
        if !self.entries.contains_key(target) {
            self.order.push(target.clone());
            self.entries.insert(target.clone(), self.read.get(target).cloned());
        }
        self.entries.get_mut(target).expect("the slot was made right before")
    }
}
