//! The read model: the room's plain copy of all entries, values shared with the document.
//!
//! Built once when a board opens, then kept level by the keys that events name. It says what a value was before; the
//! document after commit says what it is. Rights, undo and export read it; nobody else keeps a copy.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use yrs::types::ToJson;
use yrs::{Any, Map, MapRef, Number, Out, ReadTxn};

use super::guard::BlockIndex;
use super::idmap::IdMap;
use super::{shape, undo};
use crate::protocol::element::{Change, EntryKind, Item, Properties, Property, Target, Value};

/// Collections of entries and the roots they live under.
pub const KINDS: [(EntryKind, &str); 5] = [
    (EntryKind::Element, "board:elements"),
    (EntryKind::Page, "board:pages"),
    (EntryKind::Asset, "board:assets"),
    (EntryKind::Comment, "board:comments"),
    (EntryKind::Like, "board:likes"),
];

/// A key `pos`, and the id of the entry that has it.
pub type Place = (Arc<str>, Arc<str>);

/// Entries of one kind by `pos`, lowest first, ties by id.
pub type Order = BTreeSet<Place>;

/// Plain copy of all entries.
#[derive(Debug, Default)]
pub struct ReadModel {
    kinds: [IdMap<Properties>; 5],
    orders: [Order; 5],
    /// Ids that elements name as their container or are tied to, each with the element that says so.
    bound: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl ReadModel {
    /// The entry, if the document has it.
    pub fn get(&self, (kind, id): &Target) -> Option<&Properties> {
        self.entry(*kind, id)
    }

    /// The same, by its parts.
    pub fn entry(&self, kind: EntryKind, id: &str) -> Option<&Properties> {
        self.kinds[kind as usize].get(id)
    }

    /// All entries of a collection, in no order.
    pub fn entries(&self, kind: EntryKind) -> impl Iterator<Item = (&Arc<str>, &Properties)> {
        self.kinds[kind as usize].iter()
    }

    /// Z-order of elements or places of pages, deleted ones included.
    pub fn order(&self, kind: EntryKind) -> &Order {
        &self.orders[kind as usize]
    }

    /// Elements, deleted ones too, that name one of these as their container, or are tied to one by their bindings.
    pub fn bound_to(&self, ids: &HashSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let bound_to = |id| {
            let from = (Arc::clone(id), Arc::default());
            self.bound.range(from..).take_while(move |(to, _)| to == id)
        };
        ids.iter().flat_map(bound_to).map(|(_, id)| Arc::clone(id)).collect()
    }

    /// Number of entries of a collection, deleted ones included.
    pub fn len(&self, kind: EntryKind) -> usize {
        self.kinds[kind as usize].iter().len()
    }

    /// All entries, each collection in the order of its ids.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for (kind, _) in KINDS {
            let mut entries: Vec<_> = self.entries(kind).collect();
            entries.sort_by_key(|(id, _)| Arc::clone(id));
            items.extend(entries.into_iter().map(|(id, properties)| Item {
                kind,
                id: Arc::clone(id),
                properties: properties.clone(),
            }));
        }
        items
    }

    /// Copies a whole collection from the document; ids are shared with `index`.
    pub fn load<T: ReadTxn>(&mut self, kind: EntryKind, root: &MapRef, index: &BlockIndex, txn: &T) {
        let entries = root.iter(txn).filter_map(|(id, out)| {
            let properties = properties_of(kind, &out, txn)?;
            Some((index.id(kind, id).unwrap_or_else(|| id.into()), properties))
        });
        // At once: lists and sets that grow by chance leave room idle.
        let entries: Vec<_> = entries.collect();
        let entries: IdMap<_> = entries.into_iter().collect();
        let places = entries.iter().filter_map(|(id, entry)| place_of(id, Some(entry)));
        self.orders[kind as usize] = places.collect();
        if kind == EntryKind::Element {
            self.bound = entries.iter().flat_map(|(id, entry)| ties(id, entry)).collect();
        }
        self.kinds[kind as usize] = entries;
    }

    /// Copies one entry anew and tells what changed.
    pub fn refresh<T: ReadTxn>(&mut self, target: &Target, root: &MapRef, txn: &T) -> Option<Change> {
        let (kind, id) = target;
        let now = root.get(txn, id).and_then(|out| properties_of(*kind, &out, txn));
        let entries = &mut self.kinds[*kind as usize];
        let was = match &now {
            Some(properties) => entries.insert(Arc::clone(id), properties.clone()),
            None => entries.remove(id),
        };
        let places = (place_of(id, was.as_ref()), place_of(id, now.as_ref()));
        put_elsewhere(&mut self.orders[*kind as usize], places);
        if *kind == EntryKind::Element {
            self.bind_anew(id, was.as_ref(), now.as_ref());
        }
        difference(target, was, now)
    }

    fn bind_anew(&mut self, id: &Arc<str>, was: Option<&Properties>, now: Option<&Properties>) {
        let said = |entry: Option<&Properties>, property| entry.and_then(|entry| entry.get(property)).cloned();
        let differs = |property| said(was, property) != said(now, property);
        if differs(Property::ContainerId) || differs(Property::Bindings) {
            for tie in was.into_iter().flat_map(|was| ties(id, was)) {
                self.bound.remove(&tie);
            }
            self.bound.extend(now.into_iter().flat_map(|now| ties(id, now)));
        }
    }
}

/// Where an entry is in the order of its kind.
pub(super) fn place_of(id: &Arc<str>, entry: Option<&Properties>) -> Option<Place> {
    let Value::String(pos) = entry?.get(Property::Pos)? else {
        return None;
    };
    Some((Arc::clone(pos), Arc::clone(id)))
}

/// Levels an order with an entry that was at one place and is at another.
pub(super) fn put_elsewhere(order: &mut Order, (was, is): (Option<Place>, Option<Place>)) {
    if was != is {
        was.inspect(|place| _ = order.remove(place));
        order.extend(is);
    }
}

fn ties(id: &Arc<str>, entry: &Properties) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
    shape::bound_ids(entry).map(|to| (Arc::clone(to), Arc::clone(id)))
}

fn difference((kind, id): &Target, was: Option<Properties>, now: Option<Properties>) -> Option<Change> {
    let (before, after, print) = match (was, now) {
        (None, None) => return None,
        (None, Some(now)) => {
            let print = undo::print(&now);
            (None, Some(now), Some(print))
        }
        (Some(was), None) => (Some(was), None, None),
        (Some(was), Some(now)) => {
            let only = |of: &Properties, other: &Properties| -> Properties {
                of.iter()
                    .filter(|(property, value)| other.get(*property) != Some(*value))
                    .map(|(property, value)| (property, value.clone()))
                    .collect()
            };
            let (before, after) = (only(&was, &now), only(&now, &was));
            if before.is_empty() && after.is_empty() {
                return None;
            }
            let decides_life = before.get(Property::Deleted).is_some() || after.get(Property::Deleted).is_some();
            (Some(before), Some(after), decides_life.then(|| undo::print(&now)))
        }
    };
    Some(Change {
        kind: *kind,
        id: Arc::clone(id),
        before,
        after,
        print,
    })
}

fn properties_of<T: ReadTxn>(kind: EntryKind, out: &Out, txn: &T) -> Option<Properties> {
    match out {
        Out::YMap(map) => {
            let named = map.iter(txn);
            let known = named.filter_map(|(key, out)| Some((Property::from_name(key)?, value_of(&out, txn))));
            Some(known.collect())
        }
        Out::Any(any) if kind == EntryKind::Like => {
            Some([(Property::Created, value_of_any(any))].into_iter().collect())
        }
        Out::Any(_)
        | Out::YText(_)
        | Out::YArray(_)
        | Out::YXmlElement(_)
        | Out::YXmlFragment(_)
        | Out::YXmlText(_)
        | Out::YDoc(_)
        | Out::UndefinedRef(_) => None,
    }
}

fn value_of<T: ReadTxn>(out: &Out, txn: &T) -> Value {
    // The guard lets no shared type under an entry; what there may be all the same is read as plain data.
    if let Out::Any(any) = out {
        value_of_any(any)
    } else {
        value_of_any(&out.to_json(txn))
    }
}

fn value_of_any(any: &Any) -> Value {
    match any {
        Any::Null | Any::Undefined => Value::Null,
        Any::Bool(fact) => Value::Bool(*fact),
        Any::Number(Number::Int(number)) => Value::whole(*number),
        Any::Number(Number::Float(number)) => Value::number(*number),
        Any::String(text) => Value::String(Arc::clone(text)),
        Any::Buffer(bytes) => Value::Bytes(Arc::clone(bytes)),
        Any::Array(items) => Value::Array(items.iter().map(value_of_any).collect()),
        Any::Map(map) => Value::Map(Arc::new(
            map.iter()
                .map(|(key, any)| (key.as_str().into(), value_of_any(any)))
                .collect(),
        )),
    }
}

/// A value as the document takes it.
pub fn any_of(value: &Value) -> Any {
    match value {
        Value::Null => Any::Null,
        Value::Bool(fact) => Any::Bool(*fact),
        Value::Int(number) => Any::Number(Number::Int(*number)),
        Value::Float(number) => Any::Number(Number::Float(*number)),
        Value::String(text) => Any::String(Arc::clone(text)),
        Value::Bytes(bytes) => Any::Buffer(Arc::clone(bytes)),
        Value::Array(items) => Any::Array(items.iter().map(any_of).collect()),
        Value::Map(map) => Any::Map(Arc::new(
            map.iter()
                .map(|(key, value)| (key.to_string(), any_of(value)))
                .collect(),
        )),
    }
}
