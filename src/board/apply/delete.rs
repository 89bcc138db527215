//! Ops that delete. To find what goes along, or all that a clear takes, is a walk over much of the board: it is done
//! once for a frame, behind its last op, however many of its ops delete.

use std::collections::HashSet;
use std::sync::Arc;

use super::{ApplyError, Context, existing};
use crate::board::draft::Draft;
use crate::board::shape;
use crate::board::undo::time_value;
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};
use crate::protocol::ids::EntryId;

/// What the ops of a frame delete.
#[derive(Default)]
pub(super) struct Deletions<'a> {
    elements: HashSet<Arc<str>>,
    /// Pages that are cleared; `None` is all of them.
    cleared: HashSet<Option<&'a str>>,
}

impl<'a> Deletions<'a> {
    pub(super) fn delete(
        &mut self,
        draft: &mut Draft<'_>,
        ids: &[EntryId],
        context: &Context<'_>,
    ) -> Result<(), ApplyError> {
        for id in ids {
            let target = existing(draft, EntryKind::Element, id.as_str())?;
            context.may_touch(draft, &target, None)?;
            mark_deleted(draft, &target, context);
            self.elements.insert(target.1);
        }
        Ok(())
    }

    /// All that lives on a page, or on the board.
    pub(super) fn clear(&mut self, page: Option<&'a str>) {
        self.cleared.insert(page);
    }

    /// Deletes the text bound to what is deleted, and frees the arrows tied to it. What the editor may not touch stays
    /// as it is.
    pub(super) fn settle(self, draft: &mut Draft<'_>, context: &Context<'_>) {
        if !self.cleared.is_empty() {
            clear(draft, &self.cleared, context);
        }
        let mut gone = self.elements;
        gone.retain(|id| !lives(draft, &(EntryKind::Element, Arc::clone(id))));
        let in_it = |draft: &Draft<'_>, target: &Target| {
            let container = draft
                .get(target)
                .and_then(|entry| entry.get(Property::ContainerId)?.as_str());
            container.is_some_and(|id| gone.contains(id))
        };
        let mut labels = bound_to(draft, &gone);
        labels.retain(|target| in_it(draft, target) && context.may_touch(draft, target, None).is_ok());
        for target in &labels {
            mark_deleted(draft, target, context);
        }
        gone.extend(labels.into_iter().map(|(_, id)| id));
        for target in bound_to(draft, &gone) {
            let bindings = draft.get(&target).and_then(|entry| entry.get(Property::Bindings));
            if let Some(freed) = bindings.and_then(|bindings| shape::freed(bindings, &gone))
                && context.may_touch(draft, &target, Some(Property::Bindings)).is_ok()
            {
                draft.set(&target, Property::Bindings, freed);
            }
        }
    }
}

pub(super) fn mark_deleted(draft: &mut Draft<'_>, target: &Target, context: &Context<'_>) {
    if lives(draft, target) {
        draft.set(target, Property::Deleted, Some(time_value(context.editor.now)));
    }
}

fn lives(draft: &Draft<'_>, target: &Target) -> bool {
    let entry = draft.get(target);
    entry.is_some_and(|entry| entry.get(Property::Deleted).is_none())
}

/// Living elements that are bound to one of these.
fn bound_to(draft: &Draft<'_>, ids: &HashSet<Arc<str>>) -> Vec<Target> {
    let bound = draft.read().bound_to(ids).into_iter();
    bound
        .map(|id| (EntryKind::Element, id))
        .filter(|target| lives(draft, target))
        .collect()
}

fn clear(draft: &mut Draft<'_>, cleared: &HashSet<Option<&str>>, context: &Context<'_>) {
    let is_cleared = |entry: &Properties| {
        let page = entry.get(Property::Page).and_then(Value::as_str).unwrap_or("");
        cleared.contains(&None) || cleared.contains(&Some(page))
    };
    let mut live: Vec<Target> = draft
        .read()
        .entries(EntryKind::Element)
        .filter(|(_, entry)| entry.get(Property::Deleted).is_none() && is_cleared(entry))
        .map(|(id, _)| (EntryKind::Element, Arc::clone(id)))
        .collect();
    live.sort();
    for target in live {
        mark_deleted(draft, &target, context);
    }
}
