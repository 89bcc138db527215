//! The closed list of what can be asked of a board, and the role each request needs.
//!
//! To add an op: a variant here, an arm in `board/apply.rs`, a golden sample, the gesture in `web/` that sends it. All
//! matches on [`Op`] are exhaustive, so the compiler lists what is missing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::element::{Entry, Properties, Property, Value};
use super::ids::{EntryId, GestureId, Position, RecordId, Role, UserId};

/// One request. The ops of one frame are one transaction and one record: all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op")]
pub enum Op {
    /// New element on top, or right above `after`. A known id with the same content is acknowledged, with other
    /// content refused as `conflict`.
    #[serde(rename = "element.create")]
    ElementCreate {
        /// At least `type`, `x` and `y`; `author`, `created`, `deleted` and `pos` are the server's.
        element: Entry,
        /// Element it lies right above; absent = on top of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<EntryId>,
    },
    /// Sets the listed properties; `null` removes one.
    #[serde(rename = "element.update")]
    ElementUpdate {
        /// The element, deleted or not.
        target: EntryId,
        /// Property -> value, or `null` to put it back to its default.
        #[serde(deserialize_with = "super::element::deserialize_set")]
        #[schemars(with = "Properties")]
        set: BTreeMap<Property, Option<Value>>,
    },
    /// Moves elements by a distance.
    #[serde(rename = "element.move")]
    ElementMove {
        /// Elements to move.
        targets: Vec<EntryId>,
        /// To the right, in px.
        dx: f64,
        /// Down, in px.
        dy: f64,
    },
    /// Puts elements at another place in the z-order, keeping their order among themselves.
    #[serde(rename = "element.order")]
    ElementOrder {
        /// Elements to put elsewhere.
        targets: Vec<EntryId>,
        /// Element they shall lie right above; `after` or `before`, not both. Neither: on top.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<EntryId>,
        /// Element they shall lie right below.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<EntryId>,
    },
    /// Marks elements as deleted, with the text bound to them; arrows tied to them are freed.
    #[serde(rename = "element.delete")]
    ElementDelete {
        /// Elements to delete.
        targets: Vec<EntryId>,
    },
    /// Deletes all that lives on a page, or on the board.
    #[serde(rename = "board.clear")]
    BoardClear {
        /// Page to clear (`""` is the first); absent = all pages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
    },
    /// New page.
    #[serde(rename = "page.add")]
    PageAdd {
        /// Key of the new page.
        page: EntryId,
        /// Its title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Page it comes after; absent = last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// CSS colour.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        background: Option<String>,
    },
    /// Changes title, background or place of a page.
    #[serde(rename = "page.update")]
    PageUpdate {
        /// The page; `""` is the first.
        page: String,
        /// New title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Page it shall come after; `""` too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// New background.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        background: Option<String>,
    },
    /// Deletes a page, which hides what lies on it. The page `""` stays.
    #[serde(rename = "page.delete")]
    PageDelete {
        /// The page.
        page: EntryId,
    },
    /// Makes an uploaded asset known to the board.
    #[serde(rename = "asset.add")]
    AssetAdd {
        /// SHA-256 of the content, in lower-case hex.
        sha256: EntryId,
        /// Media type; filled in by the server from the uploaded content.
        #[serde(rename = "mimeType", default, skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        /// Size in bytes; filled in by the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// Width in px; filled in by the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<u32>,
        /// Height in px; filled in by the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<u32>,
    },
    /// New comment at an element or a place.
    #[serde(rename = "comment.add")]
    CommentAdd {
        /// Key of the new comment.
        comment: EntryId,
        /// What it says.
        text: String,
        /// Element it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        element: Option<EntryId>,
        /// Place on the page in px.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        x: Option<f64>,
        /// Place on the page in px.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        y: Option<f64>,
        /// Page it is on; absent = `""`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
        /// Comment it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<EntryId>,
    },
    /// New text of one's own comment.
    #[serde(rename = "comment.edit")]
    CommentEdit {
        /// The comment.
        comment: EntryId,
        /// What it says now.
        text: String,
    },
    /// Settles a thread, or opens it again.
    #[serde(rename = "comment.resolve")]
    CommentResolve {
        /// The comment that began the thread.
        comment: EntryId,
        /// Whether it is settled.
        resolved: bool,
    },
    /// Deletes one's own comment.
    #[serde(rename = "comment.delete")]
    CommentDelete {
        /// The comment.
        comment: EntryId,
    },
    /// Sets or takes back one's own like. Setting twice is once; not in undo.
    #[serde(rename = "like.set")]
    LikeSet {
        /// Element or comment.
        target: EntryId,
        /// Whether it is liked.
        on: bool,
    },
    /// Takes back a step of one's own.
    #[serde(rename = "undo")]
    Undo {
        /// Which step; absent = the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepName>,
        /// Whose step (right: moderate); absent = one's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
    },
    /// Brings back what an undo took.
    #[serde(rename = "redo")]
    Redo {
        /// Which step; absent = the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepName>,
        /// Whose step (right: moderate); absent = one's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
    },
    /// New changes that bring an old state back. History is never rewritten.
    #[serde(rename = "board.restore")]
    BoardRestore {
        /// Place in the log whose state shall return.
        at: Position,
    },
}

/// Names a step of undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StepName {
    /// The record that opened it.
    Record(RecordId),
    /// The newest step of this gesture.
    Gesture(GestureId),
}

impl Op {
    /// The role a session needs for this op, before rights per element are looked at.
    pub fn role_needed(&self) -> Role {
        match self {
            Self::BoardClear { .. }
            | Self::BoardRestore { .. }
            | Self::Undo { user: Some(_), .. }
            | Self::Redo { user: Some(_), .. } => Role::Teacher,
            Self::ElementCreate { .. }
            | Self::ElementUpdate { .. }
            | Self::ElementMove { .. }
            | Self::ElementOrder { .. }
            | Self::ElementDelete { .. }
            | Self::PageAdd { .. }
            | Self::PageUpdate { .. }
            | Self::PageDelete { .. }
            | Self::AssetAdd { .. }
            | Self::CommentAdd { .. }
            | Self::CommentEdit { .. }
            | Self::CommentResolve { .. }
            | Self::CommentDelete { .. }
            | Self::LikeSet { .. }
            | Self::Undo { user: None, .. }
            | Self::Redo { user: None, .. } => Role::Editor,
        }
    }

    /// Whether the op sets what the earlier one has set, and no more.
    pub fn overwrites(&self, earlier: &Self) -> bool {
        if let (Self::ElementMove { targets, .. }, Self::ElementMove { targets: last, .. }) = (self, earlier) {
            return targets == last;
        }
        let (Self::ElementUpdate { target, set }, Self::ElementUpdate { target: last, set: was }) = (self, earlier)
        else {
            return false;
        };
        target == last && set.keys().eq(was.keys())
    }

    /// Number of elements it names, or one.
    pub fn size(&self) -> usize {
        if let Self::ElementMove { targets, .. }
        | Self::ElementOrder { targets, .. }
        | Self::ElementDelete { targets } = self
        {
            targets.len()
        } else {
            1
        }
    }

    /// Whether a full board allows it: it takes away or back, or weighs next to nothing.
    pub fn fits_always(&self) -> bool {
        matches!(
            self,
            Self::ElementDelete { .. }
                | Self::BoardClear { .. }
                | Self::PageDelete { .. }
                | Self::CommentDelete { .. }
                | Self::AssetAdd { .. }
                | Self::LikeSet { .. }
                | Self::Undo { .. }
                | Self::Redo { .. }
        )
    }

    /// Whether the op stands alone in its frame: it reads the state that the others would change.
    pub fn stands_alone(&self) -> bool {
        matches!(self, Self::Undo { .. } | Self::Redo { .. } | Self::BoardRestore { .. })
    }
}
