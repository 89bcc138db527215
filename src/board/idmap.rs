//! Tens of thousands of entries by id, without room to spare: a hash table of four-byte numbers finds them in one dense
//! list. A map of the standard library keeps room for twice as many whole values once it has grown.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Numbers by id, in no order. The ids lie with whoever owns what is numbered: `id_of` finds them there.
#[derive(Debug, Default)]
pub(super) struct IdNumbers {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl IdNumbers {
    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The number under this id.
    pub(super) fn get<'a>(&self, id: &str, id_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        let is_it = |number: &u32| id_of(*number) == id;
        self.table.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// Sets the number under this id.
    pub(super) fn insert<'a>(&mut self, id: &str, number: u32, id_of: impl Fn(u32) -> &'a str) {
        let is_it = |number: &u32| id_of(*number) == id;
        let hash = |number: &u32| self.hasher.hash_one(id_of(*number));
        match self.table.entry(self.hasher.hash_one(id), is_it, hash) {
            Entry::Occupied(mut known) => *known.get_mut() = number,
            Entry::Vacant(free) => _ = free.insert(number),
        }
    }

    /// Removes the id, if this is its number.
    pub(super) fn remove(&mut self, id: &str, number: u32) {
        let is_it = |known: &u32| *known == number;
        if let Ok(known) = self.table.find_entry(self.hasher.hash_one(id), is_it) {
            known.remove();
        }
    }
}

/// Values by id, in no order.
#[derive(Debug)]
pub(super) struct IdMap<V> {
    entries: Vec<(Arc<str>, V)>,
    numbers: IdNumbers,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            numbers: IdNumbers::default(),
        }
    }
}

impl<V> IdMap<V> {
    fn number(&self, id: &str) -> Option<u32> {
        self.numbers.get(id, |number| &self.entries[number as usize].0)
    }

    /// The value under this id.
    pub(super) fn get(&self, id: &str) -> Option<&V> {
        self.number(id).map(|number| &self.entries[number as usize].1)
    }

    /// Sets a value and returns the one before.
    pub(super) fn insert(&mut self, id: Arc<str>, value: V) -> Option<V> {
        if let Some(number) = self.number(&id) {
            return Some(std::mem::replace(&mut self.entries[number as usize].1, value));
        }
        let number = count(&self.entries);
        push_tight(&mut self.entries, (id, value));
        let (id, id_of) = (&self.entries[number as usize].0, |number| {
            &*self.entries[number as usize].0
        });
        self.numbers.insert(id, number, id_of);
        None
    }

    /// Removes a value and returns it.
    pub(super) fn remove(&mut self, id: &str) -> Option<V> {
        let number = self.number(id)?;
        self.numbers.remove(id, number);
        let (_, value) = self.entries.swap_remove(number as usize);
        // The last one lies there now.
        if let Some((moved, _)) = self.entries.get(number as usize) {
            self.numbers.remove(moved, count(&self.entries));
            self.numbers
                .insert(moved, number, |number| &self.entries[number as usize].0);
        }
        Some(value)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &V)> {
        self.entries.iter().map(|(id, value)| (id, value))
    }
}

impl<V> FromIterator<(Arc<str>, V)> for IdMap<V> {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::default();
        map.entries.reserve_exact(entries.size_hint().0);
        entries.for_each(|(id, value)| _ = map.insert(id, value));
        map
    }
}

fn count<V>(entries: &[V]) -> u32 {
    u32::try_from(entries.len()).expect("fewer entries than clocks")
}

/// Grows by an eighth: a full board has tens of thousands of entries, and half of a doubled list lies idle.
pub(super) fn push_tight<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 4);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashMap;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(steps in prop::collection::vec((0..40_u32, any::<bool>()), 0..400)) {
            let (mut ours, mut plain) = (IdMap::default(), HashMap::new());
            for (number, (key, is_insert)) in steps.into_iter().enumerate() {
                let id: Arc<str> = key.to_string().into();
                if is_insert {
                    prop_assert_eq!(ours.insert(Arc::clone(&id), number), plain.insert(id, number));
                } else {
                    prop_assert_eq!(ours.remove(&id), plain.remove(&id));
                }
                prop_assert_eq!(ours.iter().len(), plain.len());
            }
            for key in 0..40_u32 {
                prop_assert_eq!(ours.get(&key.to_string()), plain.get(&*key.to_string()));
            }
            prop_assert!(ours.iter().all(|(id, value)| plain.get(id) == Some(value)));
        }
    }
}
