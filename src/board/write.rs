//! Plain entries into the document, inside a transaction of the board; only what differs is written.

use std::sync::Arc;

use yrs::{Map, MapPrelim, MapRef, TransactionMut};

use super::read::any_of;
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};

/// Brings one entry of the document to what it shall be, touching only what differs.
pub(super) fn write_entry(
    txn: &mut TransactionMut<'_>,
    roots: &[MapRef; 5],
    (kind, id): &Target,
    shall: Option<&Properties>,
) {
    let root = &roots[*kind as usize];
    let Some(shall) = shall else {
        root.remove(txn, id);
        return;
    };
    if *kind == EntryKind::Like {
        if let Some(time) = shall.get(Property::Created) {
            root.insert(txn, Arc::clone(id), any_of(time));
        }
        return;
    }
    let Some(yrs::Out::YMap(map)) = root.get(txn, id) else {
        let pairs = shall.iter().map(|(property, value)| (property.name(), any_of(value)));
        root.insert(txn, Arc::clone(id), pairs.collect::<MapPrelim>());
        return;
    };
    for property in Property::ALL {
        write_value(txn, &map, *property, shall.get(*property));
    }
}

/// Sets or removes one property of an entry that is still there.
pub(super) fn write_property(
    txn: &mut TransactionMut<'_>,
    roots: &[MapRef; 5],
    (kind, id): &Target,
    property: Property,
    shall: Option<&Value>,
) {
    if let Some(yrs::Out::YMap(map)) = roots[*kind as usize].get(txn, id) {
        write_value(txn, &map, property, shall);
    }
}

pub(super) fn write_value(txn: &mut TransactionMut<'_>, map: &MapRef, property: Property, shall: Option<&Value>) {
    let is = map.get(txn, property.name());
    match shall.map(any_of) {
        Some(value) if matches!(&is, Some(yrs::Out::Any(known)) if *known == value) => {}
        Some(value) => {
            map.insert(txn, property.name(), value);
        }
        None if is.is_some() => {
            map.remove(txn, property.name());
        }
        None => {}
    }
}
