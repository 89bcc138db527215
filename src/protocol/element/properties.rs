//! The properties of one entry, and sets of properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Property, Value, with_bytes};

/// Key in `extra` of elements and of the page `""` for what an import says of them. A key of that name in a file is kept
/// below it.
pub const KEPT: &str = "panseo";

type Parts = BTreeMap<Arc<str>, Value>;

/// Some of the properties, as bits by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PropertySet(u64);

const _: () = assert!(Property::ALL.len() <= u64::BITS as usize);

impl PropertySet {
    /// Those of the list.
    pub const fn of(list: &[Property]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < list.len() {
            bits |= bit(list[index]);
            index += 1;
        }
        Self(bits)
    }

    /// Adds one.
    pub const fn insert(&mut self, property: Property) {
        self.0 |= bit(property);
    }

    const fn remove(&mut self, property: Property) {
        self.0 &= !bit(property);
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is among them.
    pub const fn contains(self, property: Property) -> bool {
        self.0 & bit(property) != 0
    }

    /// Whether all of the other are among them.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Number of those that come before this one.
    const fn before(self, property: Property) -> usize {
        (self.0 & (bit(property) - 1)).count_ones() as usize
    }

    /// Each of them, by number.
    pub fn iter(self) -> impl Iterator<Item = Property> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let property = Property::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(*property)
        })
    }
}

const fn bit(property: Property) -> u64 {
    1 << property as u8
}

/// Properties of one entry, by [`Property`]. An open board holds tens of thousands of these, so they have no room to
/// spare.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    present: PropertySet,
    /// The values of those, in their order.
    values: Box<[Value]>,
}

impl Properties {
    /// No property.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value, if present.
    pub fn get(&self, property: Property) -> Option<&Value> {
        let is_present = self.present.contains(property);
        is_present.then(|| &self.values[self.present.before(property)])
    }

    /// Sets a value and returns the one before.
    pub fn set(&mut self, property: Property, value: Value) -> Option<Value> {
        let index = self.present.before(property);
        if self.present.contains(property) {
            return Some(std::mem::replace(&mut self.values[index], value));
        }
        let mut values = std::mem::take(&mut self.values).into_vec();
        values.reserve_exact(1);
        values.insert(index, value);
        self.values = values.into();
        self.present.insert(property);
        None
    }

    /// Removes a value and returns it.
    pub fn remove(&mut self, property: Property) -> Option<Value> {
        if !self.present.contains(property) {
            return None;
        }
        let mut values = std::mem::take(&mut self.values).into_vec();
        let value = values.remove(self.present.before(property));
        self.values = values.into();
        self.present.remove(property);
        Some(value)
    }

    /// Sets the value, or removes it where there is none.
    pub fn put(&mut self, property: Property, value: Option<Value>) -> Option<Value> {
        match value {
            Some(value) => self.set(property, value),
            None => self.remove(property),
        }
    }

    /// All of them, in the order of [`Property`].
    pub fn iter(&self) -> impl Iterator<Item = (Property, &Value)> {
        self.present.iter().zip(&self.values)
    }

    /// Whether an element was deleted in the file that it came in, and not on this board. The import leaves the time of
    /// it beside: who brings the element back and deletes it again deletes it at another time.
    pub fn came_deleted(&self) -> bool {
        let mark = self.kept().and_then(|(_, kept)| kept.get(Property::Deleted.name()));
        mark.is_some() && mark == self.get(Property::Deleted)
    }

    /// `extra` without what makes it an element that came deleted.
    pub fn extra_of_deleted_here(&self) -> Option<Value> {
        let Some((extra, kept)) = self.kept() else {
            return self.get(Property::Extra).cloned();
        };
        let (mut extra, mut kept) = (extra.clone(), kept.clone());
        kept.remove(Property::Deleted.name());
        if kept.is_empty() {
            extra.remove(KEPT);
        } else {
            extra.insert(KEPT.into(), Value::Map(Arc::new(kept)));
        }
        (!extra.is_empty()).then(|| Value::Map(Arc::new(extra)))
    }

    /// `extra`, and what is below [`KEPT`] in it.
    fn kept(&self) -> Option<(&Parts, &Parts)> {
        let Some(Value::Map(extra)) = self.get(Property::Extra) else {
            return None;
        };
        let Some(Value::Map(kept)) = extra.get(KEPT) else {
            return None;
        };
        Some((extra, kept))
    }

    /// Number of properties that are present.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl FromIterator<(Property, Value)> for Properties {
    /// Of several values of one property the last one stays.
    fn from_iter<I: IntoIterator<Item = (Property, Value)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(property, _)| *property);
        pairs.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        let mut present = PropertySet::default();
        for (property, _) in &pairs {
            present.insert(*property);
        }
        let values = pairs.into_iter().map(|(_, value)| value).collect();
        Self { present, values }
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(property, value)| (property.name(), value)))
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<Property, Value>::deserialize(deserializer)?;
        map.into_iter()
            .map(|(property, value)| with_bytes(property, value).map(|value| (property, value)))
            .collect::<Result<_, _>>()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Properties {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Properties".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<_> = Property::ALL.iter().map(|property| property.name()).collect();
        schemars::json_schema!({
            "description": "Properties by Excalidraw's names; a property at its default is absent.",
            "type": "object",
            "propertyNames": { "enum": names }
        })
    }
}
