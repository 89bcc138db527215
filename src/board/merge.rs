//! Raw updates into the document: what their editor may not do is put back in the same transaction, so that nobody sees
//! it and the offender's copy turns back.

use std::sync::Arc;

use yrs::updates::decoder::Decode as _;
use yrs::{Map, ReadTxn as _, Transact, TransactionMut, Update};

use super::guard::{Admission, Deed, Owner, Touch};
use super::rights::Editor;
use super::write::{write_entry, write_property, write_value};
use super::{Applied, BLOCK_BYTES, Board, MergeError, emit, guard, written_bytes};
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};
use crate::protocol::ids::UserId;
use crate::protocol::limits::PUT_BACK_BYTES_MAX;

/// What is set right in the transaction of a raw update.
enum Amend {
    /// The entry as it was.
    Whole(Target),
    /// One property as it was.
    Property(Target, Property),
    /// The author that an entry really has.
    Author(Target, Arc<str>),
}

impl Board {
    /// Merges a raw update that [`Board::check`] admitted; what the editor may not do is put back in the same
    /// transaction, so that nobody sees it and the offender's copy turns back.
    pub fn merge(&mut self, update: &[u8], admission: &Admission, editor: &Editor) -> Result<Applied, MergeError> {
        let decoded = Update::decode_v1(update).map_err(|_walked_but_undecodable| MergeError::Undecodable)?;
        let amends = self.amends(admission, editor);
        if self.bytes_of(&amends) > PUT_BACK_BYTES_MAX {
            return Err(MergeError::TooLarge);
        }
        let mut txn = self.doc.transact_mut();
        // The walk lets nothing through that can fail here; if it does, the room is rebuilt.
        txn.apply_update(decoded).expect("a walked update can be applied");
        for amend in &amends {
            self.amend(&mut txn, amend);
        }
        let completed = self.complete(&mut txn, admission);
        assert!(!txn.has_missing_updates(), "a walked update left a gap");
        let update = emit(txn);
        let put_back = amends.len() + completed;
        let relayed = admission.relayed.clone();
        let applied = self.finish(update, Some(&editor.user), &relayed);
        Ok(Applied {
            put_back,
            relayed,
            ..applied
        })
    }

    /// Whether something of the update would be put back.
    pub fn puts_back(&self, admission: &Admission, editor: &Editor) -> bool {
        !self.amends(admission, editor).is_empty()
    }

    /// Bytes that these write, at most.
    fn bytes_of(&self, amends: &[Amend]) -> usize {
        let bytes = amends.iter().map(|amend| match amend {
            Amend::Whole(target) => {
                let values = self.read.get(target).into_iter().flat_map(Properties::iter);
                BLOCK_BYTES + target.1.len() + values.map(|(_, value)| written_bytes(value)).sum::<usize>()
            }
            Amend::Property((kind, id), property) => {
                let value = self.read.entry(*kind, id).and_then(|entry| entry.get(*property));
                value.map_or(0, written_bytes)
            }
            Amend::Author(_, author) => BLOCK_BYTES + author.len(),
        });
        bytes.sum()
    }

    /// What must be set right after an update that did what its editor may not.
    fn amends(&self, admission: &Admission, editor: &Editor) -> Vec<Amend> {
        let mut amends = Vec::new();
        for touch in &admission.touched {
            let target = || (touch.kind, Arc::clone(&touch.id));
            let changed = match &touch.deed {
                Deed::Changed { .. } if touch.kind == EntryKind::Like => None,
                Deed::Changed { set, unset } => Some(set.union(*unset)),
                Deed::Created { author, client } => {
                    let owner = self.owner_of(*client, admission, editor);
                    if author.as_deref().is_some_and(|claimed| claimed != owner.as_str()) {
                        amends.push(Amend::Author(target(), owner.as_str().into()));
                    }
                    continue;
                }
                Deed::Removed | Deed::Replaced { .. } => None,
            };
            let may_touch_all = editor.may_touch_all();
            let entry = (!may_touch_all)
                .then(|| self.read.entry(touch.kind, &touch.id))
                .flatten();
            let may_touch = |property| {
                let creator = || self.index.creator(touch.kind, &touch.id);
                may_touch_all || editor.may_touch((touch.kind, &touch.id), entry, property, creator)
            };
            if let Some(changed) = changed {
                let barred = changed
                    .iter()
                    .filter(|&property| guard::is_fixed(property) || !may_touch(Some(property)));
                amends.extend(barred.map(|property| Amend::Property(target(), property)));
            } else if !may_touch(None) {
                amends.push(Amend::Whole(target()));
                // Its map is another client's from then on.
                let entry = self.read.entry(touch.kind, &touch.id);
                if touch.kind != EntryKind::Like
                    && entry.is_some_and(|entry| entry.get(Property::Author).is_none())
                    && let Some(creator) = self.index.creator(touch.kind, &touch.id)
                {
                    amends.push(Amend::Author(target(), creator.as_str().into()));
                }
            } else {
                self.amend_replaced(touch, admission, editor, &mut amends);
            }
        }
        amends
    }

    fn owner_of<'a>(&'a self, client: u64, admission: &Admission, editor: &'a Editor) -> &'a UserId {
        let is_relayed = admission.relayed.iter().any(|(relayed, ..)| *relayed == client);
        match self.index.owner(client) {
            Some(Owner::User(owner)) if is_relayed => owner,
            _ => &editor.user,
        }
    }

    /// Puts back what no entry may be without; gives how many properties that were. A client that knows nothing of the
    /// schema removes them, and so does one whose own value lost against another's.
    fn complete(&self, txn: &mut TransactionMut<'_>, admission: &Admission) -> usize {
        let mut completed = 0;
        for touch in &admission.touched {
            let Deed::Changed { set, unset } = &touch.deed else {
                continue;
            };
            let needed: &[Property] = match touch.kind {
                EntryKind::Element => &[Property::X, Property::Y, Property::Pos],
                EntryKind::Comment => &[Property::Text, Property::At],
                EntryKind::Page | EntryKind::Asset | EntryKind::Like => continue,
            };
            let changed = set.union(*unset);
            let mut needed = needed.iter().filter(|property| changed.contains(**property)).peekable();
            if needed.peek().is_none() {
                continue;
            }
            let target = (touch.kind, Arc::clone(&touch.id));
            let Some(yrs::Out::YMap(map)) = self.roots[touch.kind as usize].get(txn, &touch.id) else {
                continue;
            };
            for &property in needed {
                if map.get(txn, property.name()).is_none() {
                    let value = self.read.get(&target).and_then(|entry| entry.get(property));
                    write_value(txn, &map, property, value);
                    completed += 1;
                }
            }
        }
        completed
    }

    /// Another map under an entry's key is the same entry: it names no other author, and only a teacher locks it.
    fn amend_replaced(&self, touch: &Touch, admission: &Admission, editor: &Editor, amends: &mut Vec<Amend>) {
        let (
            Deed::Replaced {
                author: claimed,
                says_locked,
                client,
            },
            EntryKind::Element | EntryKind::Comment,
        ) = (&touch.deed, touch.kind)
        else {
            return;
        };
        let target = || (touch.kind, Arc::clone(&touch.id));
        let was = self.read.entry(touch.kind, &touch.id);
        let creator = || self.index.creator(touch.kind, &touch.id).map(UserId::as_str);
        let author = was.and_then(|was| was.get(Property::Author)?.as_str()).or_else(creator);
        let owner = || self.owner_of(*client, admission, editor).as_str();
        match author {
            Some(author) if claimed.as_deref().unwrap_or_else(owner) != author => {
                amends.push(Amend::Author(target(), author.into()));
            }
            None if claimed.is_some() => amends.push(Amend::Property(target(), Property::Author)),
            Some(_) | None => {}
        }
        if *says_locked && !editor.may_touch_all() {
            amends.push(Amend::Property(target(), Property::Locked));
        }
    }

    fn amend(&self, txn: &mut TransactionMut<'_>, amend: &Amend) {
        match amend {
            Amend::Whole(target) => write_entry(txn, &self.roots, target, self.read.get(target)),
            Amend::Property(target, property) => {
                let value = self.read.get(target).and_then(|entry| entry.get(*property));
                write_property(txn, &self.roots, target, *property, value);
            }
            Amend::Author(target, author) => {
                write_property(
                    txn,
                    &self.roots,
                    target,
                    Property::Author,
                    Some(&Value::String(Arc::clone(author))),
                );
            }
        }
    }
}
