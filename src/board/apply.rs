//! Op -> draft: the only place where an op gets its meaning.
//!
//! Everything is checked against the draft before anything is written into the document, so that the ops of a frame
//! are all or none.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use self::delete::{Deletions, mark_deleted};
use super::draft::Draft;
use super::rights::Editor;
use super::shape;
use super::undo::time_value;
use crate::protocol::ErrorCode;
use crate::protocol::element::{Entry, EntryKind, Properties, Property, Target, Value};
use crate::protocol::ids::{EntryId, UserId};
use crate::protocol::like_key;
use crate::protocol::op::Op;
use crate::protocol::order;
use crate::protocol::points::round_px;

mod delete;

/// Why an op was refused. Nothing was changed.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ApplyError {
    /// An entry it names is not on the board.
    #[error("there is no {what} `{id}` on this board; ask for its state and try again")]
    NotFound {
        /// Kind of entry.
        what: &'static str,
        /// The key that was named.
        id: String,
    },
    /// The id is taken.
    #[error("the id `{0}` is taken by another content; use a fresh one")]
    Conflict(String),
    /// The editor may not touch an entry it names.
    #[error("you may not change `{0}`: it is locked, or somebody else's")]
    Forbidden(String),
    /// A value does not fit.
    #[error("{0}")]
    BadOp(String),
    /// The board has as many elements as it may.
    #[error("the board is full: it holds {0} elements, deleted ones of the last day included")]
    BoardFull(usize),
    /// It would write too much at once.
    #[error(transparent)]
    TooLarge(#[from] super::TooLarge),
}

impl ApplyError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Conflict(_) => ErrorCode::Conflict,
            Self::Forbidden(_) => ErrorCode::Forbidden,
            Self::BadOp(_) => ErrorCode::BadOp,
            Self::BoardFull(_) => ErrorCode::BoardFull,
            Self::TooLarge(_) => ErrorCode::TooLarge,
        }
    }
}

/// What the ops of a frame are checked against.
pub struct Context<'a> {
    /// Who asks.
    pub editor: &'a Editor,
    /// User whose client made an entry, for entries that name no author.
    pub creator: &'a dyn Fn(&Target) -> Option<&'a UserId>,
    /// Elements a board may hold.
    pub elements_max: usize,
}

impl Context<'_> {
    fn may_touch(&self, draft: &Draft<'_>, target: &Target, property: Option<Property>) -> Result<(), ApplyError> {
        let entry = draft.read().get(target);
        let creator = || (self.creator)(target);
        if self.editor.may_touch((target.0, &target.1), entry, property, creator) {
            Ok(())
        } else {
            Err(ApplyError::Forbidden(target.1.to_string()))
        }
    }
}

/// Writes what the ops of a frame ask for into the draft. Undo, redo and restore are the board's own and never come
/// here.
pub fn apply<'a>(
    draft: &mut Draft<'_>,
    ops: impl IntoIterator<Item = &'a Op>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let mut deletions = Deletions::default();
    for op in ops {
        apply_one(draft, op, context, &mut deletions)?;
    }
    deletions.settle(draft, context);
    Ok(())
}

fn apply_one<'a>(
    draft: &mut Draft<'_>,
    op: &'a Op,
    context: &Context<'_>,
    deletions: &mut Deletions<'a>,
) -> Result<(), ApplyError> {
    match op {
        Op::ElementCreate { element, after } => create_element(draft, element, after.as_ref(), context),
        Op::ElementUpdate { target, set } => update_element(draft, target, set, context),
        Op::ElementMove { targets, dx, dy } => move_elements(draft, targets, (*dx, *dy), context),
        Op::ElementOrder { targets, after, before } => {
            order_elements(draft, targets, (after.as_ref(), before.as_ref()), context)
        }
        Op::ElementDelete { targets } => deletions.delete(draft, targets, context),
        Op::BoardClear { page } => {
            deletions.clear(page.as_deref());
            Ok(())
        }
        Op::PageAdd {
            page,
            title,
            after,
            background,
        } => add_page(
            draft,
            page,
            (title.as_deref(), after.as_deref(), background.as_deref()),
            context,
        ),
        Op::PageUpdate {
            page,
            title,
            after,
            background,
        } => update_page(
            draft,
            page,
            (title.as_deref(), after.as_deref(), background.as_deref()),
            context,
        ),
        Op::PageDelete { page } => {
            let target = existing(draft, EntryKind::Page, page.as_str())?;
            context.may_touch(draft, &target, None)?;
            mark_deleted(draft, &target, context);
            Ok(())
        }
        Op::AssetAdd {
            sha256,
            mime_type,
            bytes,
            width,
            height,
        } => {
            add_asset(draft, sha256, (mime_type.as_deref(), *bytes, *width, *height), context);
            Ok(())
        }
        Op::CommentAdd { .. } => add_comment(draft, op, context),
        Op::CommentEdit { comment, text } => {
            set_on_comment(draft, comment, Property::Text, Some(&text.as_str().into()), context)
        }
        Op::CommentResolve { comment, resolved } => {
            let value = resolved.then_some(Value::Bool(true));
            set_on_comment(draft, comment, Property::Resolved, value.as_ref(), context)
        }
        Op::CommentDelete { comment } => {
            let now = time_value(context.editor.now);
            set_on_comment(draft, comment, Property::Deleted, Some(&now), context)
        }
        Op::LikeSet { target, on } => set_like(draft, target, *on, context),
        Op::Undo { .. } | Op::Redo { .. } | Op::BoardRestore { .. } => Err(ApplyError::BadOp(
            "undo, redo and restore stand alone in their frame".into(),
        )),
    }
}

fn element(id: &EntryId) -> Target {
    (EntryKind::Element, id.shared())
}

fn existing(draft: &Draft<'_>, kind: EntryKind, id: &str) -> Result<Target, ApplyError> {
    let what = match kind {
        EntryKind::Element => "element",
        EntryKind::Page => "page",
        EntryKind::Asset => "asset",
        EntryKind::Comment => "comment",
        EntryKind::Like => "like",
    };
    let target = (kind, Arc::from(id));
    match draft.get(&target) {
        Some(_) => Ok(target),
        None => Err(ApplyError::NotFound {
            what,
            id: id.to_owned(),
        }),
    }
}

pub(super) fn create_element(
    draft: &mut Draft<'_>,
    entry: &Entry,
    after: Option<&EntryId>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let target = element(&entry.id);
    let mut properties = checked(EntryKind::Element, entry.properties.iter())?;
    for needed in [Property::Type, Property::X, Property::Y] {
        if properties.get(needed).is_none() {
            return Err(ApplyError::BadOp(format!("a new element needs `{}`", needed.name())));
        }
    }
    if !context.editor.imports {
        for own in [Property::Author, Property::Created, Property::Deleted, Property::Pos] {
            properties.remove(own);
        }
    }
    if let Some(known) = draft.get(&target) {
        let is_same = properties
            .iter()
            .all(|(property, value)| known.get(property) == Some(value));
        return if is_same {
            Ok(())
        } else {
            Err(ApplyError::Conflict(entry.id.to_string()))
        };
    }
    if draft.read().len(EntryKind::Element) + draft.len() >= context.elements_max {
        return Err(ApplyError::BoardFull(context.elements_max));
    }
    if properties.get(Property::Pos).is_none() {
        let pos = match after {
            None => order::between(draft.top_pos(EntryKind::Element).as_deref(), None, context.editor.seed),
            Some(after) => place(draft, (Some(after), None), 1, &HashSet::new(), context)?.remove(0),
        };
        properties.set(Property::Pos, pos.as_str().into());
    }
    properties.set(Property::Author, context.editor.user.as_str().into());
    if properties.get(Property::Created).is_none() {
        properties.set(Property::Created, time_value(context.editor.now));
    }
    draft.create(&target, properties);
    Ok(())
}

/// Values that fit their properties, rounded as the document keeps them.
fn checked<'v>(kind: EntryKind, values: impl Iterator<Item = (Property, &'v Value)>) -> Result<Properties, ApplyError> {
    values
        .map(|(property, value)| {
            shape::fit(kind, property, value)
                .map(|value| (property, value))
                .map_err(ApplyError::BadOp)
        })
        .collect()
}

fn update_element(
    draft: &mut Draft<'_>,
    id: &EntryId,
    set: &BTreeMap<Property, Option<Value>>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let target = existing(draft, EntryKind::Element, id.as_str())?;
    for (property, value) in set {
        if matches!(property, Property::Type | Property::Author | Property::Created) {
            return Err(ApplyError::BadOp(format!("`{}` never changes", property.name())));
        }
        let is_needed = matches!(property, Property::X | Property::Y | Property::Pos);
        if value.is_none() && is_needed {
            return Err(ApplyError::BadOp(format!("`{}` cannot be removed", property.name())));
        }
        context.may_touch(draft, &target, Some(*property))?;
        let value = match value {
            None => None,
            Some(value) => Some(shape::fit(EntryKind::Element, *property, value).map_err(ApplyError::BadOp)?),
        };
        draft.set(&target, *property, value);
    }
    draft.follow_text(&target, set);
    Ok(())
}

fn move_elements(
    draft: &mut Draft<'_>,
    ids: &[EntryId],
    (dx, dy): (f64, f64),
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    for id in ids {
        let target = existing(draft, EntryKind::Element, id.as_str())?;
        for (property, by) in [(Property::X, dx), (Property::Y, dy)] {
            if by == 0.0 {
                continue;
            }
            context.may_touch(draft, &target, Some(property))?;
            let at = draft
                .get(&target)
                .and_then(|entry| entry.get(property))
                .and_then(Value::as_f64)
                .unwrap_or(0.0);
            let value = shape::fit(EntryKind::Element, property, &Value::number(round_px(at + by)));
            draft.set(&target, property, Some(value.map_err(ApplyError::BadOp)?));
        }
    }
    Ok(())
}

fn order_elements(
    draft: &mut Draft<'_>,
    ids: &[EntryId],
    (after, before): (Option<&EntryId>, Option<&EntryId>),
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    if after.is_some() && before.is_some() {
        return Err(ApplyError::BadOp("say `after` or `before`, not both".into()));
    }
    let (mut targets, mut moving) = (Vec::new(), HashSet::new());
    for id in ids {
        let target = existing(draft, EntryKind::Element, id.as_str())?;
        context.may_touch(draft, &target, Some(Property::Pos))?;
        if moving.insert(Arc::clone(&target.1)) {
            targets.push(target);
        }
    }
    targets.sort_by_cached_key(|target| (draft.pos(target), Arc::clone(&target.1)));
    let keys = place(draft, (after, before), targets.len(), &moving, context)?;
    for (target, key) in targets.iter().zip(keys) {
        draft.set(target, Property::Pos, Some(key.as_str().into()));
    }
    Ok(())
}

/// Keys for `count` elements right above `after`, right below `before`, or on top; `moving` are no neighbours.
fn place(
    draft: &Draft<'_>,
    (after, before): (Option<&EntryId>, Option<&EntryId>),
    count: usize,
    moving: &HashSet<Arc<str>>,
    context: &Context<'_>,
) -> Result<Vec<String>, ApplyError> {
    let neighbour = |id: &EntryId| {
        let target = existing(draft, EntryKind::Element, id.as_str())?;
        if moving.contains(&target.1) {
            return Err(ApplyError::BadOp(format!("`{id}` cannot be put next to itself")));
        }
        Ok(draft.pos(&target))
    };
    let (lower, upper) = match (after, before) {
        (Some(after), _) => {
            let lower = neighbour(after)?;
            let upper = draft.pos_beside(EntryKind::Element, &lower, true, moving);
            (Some(lower), upper)
        }
        (None, Some(before)) => {
            let upper = neighbour(before)?;
            (draft.pos_beside(EntryKind::Element, &upper, false, moving), Some(upper))
        }
        (None, None) => (draft.top_pos(EntryKind::Element), None),
    };
    let keys = order::sequence(lower.as_deref(), upper.as_deref(), count, context.editor.seed);
    let named = after.or(before).map(EntryId::as_str);
    has_room(keys, (lower.as_deref(), upper.as_deref()), named)
}

/// The keys, if they lie where they were asked to: keys that are too long or not made here may leave no room.
fn has_room(
    keys: Vec<String>,
    (lower, upper): (Option<&str>, Option<&str>),
    named: Option<&str>,
) -> Result<Vec<String>, ApplyError> {
    let is_between = |key: &str| lower.is_none_or(|lower| lower < key) && upper.is_none_or(|upper| key < upper);
    match named {
        Some(named) if !keys.iter().all(|key| is_between(key)) => Err(ApplyError::BadOp(format!(
            "there is no room next to `{named}`: put that one elsewhere first"
        ))),
        Some(_) | None => Ok(keys),
    }
}

type PageFields<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn add_page(
    draft: &mut Draft<'_>,
    page: &EntryId,
    (title, after, background): PageFields<'_>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let target = (EntryKind::Page, page.shared());
    if draft.get(&target).is_some() {
        return Err(ApplyError::Conflict(page.to_string()));
    }
    let pos = page_place(draft, after, context)?;
    let fields = [
        (Property::Title, title),
        (Property::Background, background),
        (Property::Pos, Some(pos.as_str())),
    ];
    let properties = fields
        .into_iter()
        .filter_map(|(property, text)| Some((property, text?.into())))
        .collect();
    draft.create(&target, properties);
    Ok(())
}

fn update_page(
    draft: &mut Draft<'_>,
    page: &str,
    (title, after, background): PageFields<'_>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let target: Target = (EntryKind::Page, page.into());
    if page.is_empty() && draft.get(&target).is_none() {
        draft.create(&target, Properties::new());
    }
    existing(draft, EntryKind::Page, page)?;
    context.may_touch(draft, &target, None)?;
    let pos = if after.is_some() {
        Some(page_place(draft, after, context)?)
    } else {
        None
    };
    for (property, text) in [
        (Property::Title, title),
        (Property::Background, background),
        (Property::Pos, pos.as_deref()),
    ] {
        if let Some(text) = text {
            draft.set(&target, property, Some(text.into()));
        }
    }
    Ok(())
}

/// Key of a page right after another, or last. The page `""` comes first while it has no key.
fn page_place(draft: &Draft<'_>, after: Option<&str>, context: &Context<'_>) -> Result<String, ApplyError> {
    let lower = match after {
        None => draft.top_pos(EntryKind::Page),
        Some("") => draft
            .get(&(EntryKind::Page, "".into()))
            .and_then(|page| shape::text(page, Property::Pos)),
        Some(after) => {
            let target = existing(draft, EntryKind::Page, after)?;
            draft.get(&target).and_then(|page| shape::text(page, Property::Pos))
        }
    };
    let from = lower.as_deref().unwrap_or_default();
    let upper = after.and_then(|_| draft.pos_beside(EntryKind::Page, from, true, &HashSet::new()));
    let beside = (lower.as_deref(), upper.as_deref());
    let keys = order::sequence(beside.0, beside.1, 1, context.editor.seed);
    Ok(has_room(keys, beside, after)?.remove(0))
}

type AssetFields<'a> = (Option<&'a str>, Option<u64>, Option<u32>, Option<u32>);

fn add_asset(
    draft: &mut Draft<'_>,
    sha256: &EntryId,
    (mime, bytes, width, height): AssetFields<'_>,
    context: &Context<'_>,
) {
    let target = (EntryKind::Asset, sha256.shared());
    if draft.get(&target).is_some() {
        return;
    }
    let number = |number: Option<u64>| number.and_then(|number| i64::try_from(number).ok()).map(Value::whole);
    let fields = [
        (Property::MimeType, mime.map(Value::from)),
        (Property::Bytes, number(bytes)),
        (Property::Width, number(width.map(u64::from))),
        (Property::Height, number(height.map(u64::from))),
        (Property::Created, Some(time_value(context.editor.now))),
    ];
    draft.create(
        &target,
        fields
            .into_iter()
            .filter_map(|(property, value)| Some((property, value?)))
            .collect(),
    );
}

fn add_comment(draft: &mut Draft<'_>, op: &Op, context: &Context<'_>) -> Result<(), ApplyError> {
    let Op::CommentAdd {
        comment,
        text,
        element,
        x,
        y,
        page,
        parent,
    } = op
    else {
        return Ok(());
    };
    let target = (EntryKind::Comment, comment.shared());
    let name = |id: &Option<EntryId>| id.as_ref().map(|id| Value::from(id.as_str()));
    let fields = [
        (Property::Author, Some(Value::from(context.editor.user.as_str()))),
        (Property::At, Some(time_value(context.editor.now))),
        (Property::Text, Some(Value::from(text.as_str()))),
        (Property::Element, name(element)),
        (Property::Parent, name(parent)),
        (Property::X, x.map(|px| Value::number(round_px(px)))),
        (Property::Y, y.map(|px| Value::number(round_px(px)))),
        (
            Property::Page,
            page.as_deref().filter(|page| !page.is_empty()).map(Value::from),
        ),
    ];
    let values: Vec<_> = fields
        .into_iter()
        .filter_map(|(property, value)| Some((property, value?)))
        .collect();
    let properties = checked(
        EntryKind::Comment,
        values.iter().map(|(property, value)| (*property, value)),
    )?;
    if let Some(known) = draft.get(&target) {
        use Property as P;
        let said = [P::Text, P::Element, P::Parent, P::X, P::Y, P::Page];
        let is_same = said.iter().all(|said| known.get(*said) == properties.get(*said));
        return if is_same && context.editor.is_author(known, || (context.creator)(&target)) {
            Ok(())
        } else {
            Err(ApplyError::Conflict(comment.to_string()))
        };
    }
    for (kind, id) in [(EntryKind::Element, element), (EntryKind::Comment, parent)] {
        if let Some(id) = id {
            existing(draft, kind, id.as_str())?;
        }
    }
    draft.create(&target, properties);
    Ok(())
}

fn set_on_comment(
    draft: &mut Draft<'_>,
    comment: &EntryId,
    property: Property,
    value: Option<&Value>,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    let target = existing(draft, EntryKind::Comment, comment.as_str())?;
    context.may_touch(draft, &target, Some(property))?;
    let value = match value {
        None => None,
        Some(value) => Some(shape::fit(EntryKind::Comment, property, value).map_err(ApplyError::BadOp)?),
    };
    draft.set(&target, property, value);
    Ok(())
}

fn set_like(draft: &mut Draft<'_>, target: &EntryId, on: bool, context: &Context<'_>) -> Result<(), ApplyError> {
    existing(draft, EntryKind::Element, target.as_str())
        .or_else(|_no_element| existing(draft, EntryKind::Comment, target.as_str()))?;
    let like = (EntryKind::Like, like_key(target, &context.editor.user).into());
    let is_on = draft.get(&like).is_some();
    if on && !is_on {
        draft.create(
            &like,
            [(Property::Created, time_value(context.editor.now))]
                .into_iter()
                .collect(),
        );
    } else if !on && is_on {
        draft.remove(&like);
    }
    Ok(())
}
