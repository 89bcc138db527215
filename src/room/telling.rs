//! What changed about a board or its people: told to the rooms of this node, and to the other nodes.
//!
//! The store has it already, so whoever joins from now on finds it. Here it reaches those who are connected. This node's
//! sockets hear of it first, whatever becomes of the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::Input;
use super::hub::{Hub, HubError};
use super::task::Message;
use crate::log::{LogError, Relay};
use crate::protocol::close::CloseCode;
use crate::protocol::ids::{BoardId, EditScope, Role, UserId};
use crate::protocol::notice::{Notice, Revocation};
use crate::store::BoardInfo;
use crate::telemetry;

/// Patience of whoever changed a right; the notice stays on its way.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// Patience with a room whose inbox is full, while others may have to be told.
const TAKEN_WITHIN: Duration = Duration::from_millis(200);
/// Patience with a room that saves what it has: where the log does not answer, it gives up itself before.
const ENDED_WITHIN: Duration = Duration::from_secs(35);

impl Hub {
    /// A member's role changed or ended; their open sessions on all nodes learn it.
    pub async fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), HubError> {
        self.grant(board, user, role).await;
        let (board, user) = (board.clone(), user.clone());
        self.tell_all(Notice::Role { board, user, role }).await
    }

    /// Title or edit scope changed.
    pub async fn set_info(&self, info: &BoardInfo) -> Result<(), HubError> {
        self.show_info(&info.id, &info.title, info.edit).await;
        let (board, title, edit) = (info.id.clone(), info.title.clone(), info.edit);
        self.tell_all(Notice::Info { board, title, edit }).await
    }

    /// The board was deleted: its sessions on all nodes end.
    pub async fn forget(&self, board: &BoardId) -> Result<(), HubError> {
        self.end(board).await;
        let board = board.clone();
        self.tell_all(Notice::Deleted { board }).await
    }

    /// Tokens were revoked: the other nodes learn it.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), HubError> {
        self.tell_all(Notice::Revoked(revocation)).await
    }

    /// What all nodes are told; once, and none without others.
    pub fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.relay()?.notices()
    }

    /// Lets the sessions of this node know a role.
    pub async fn grant(&self, board: &BoardId, user: &UserId, role: Option<Role>) {
        self.note_grant();
        self.tell_soon(board, || Message::input(Input::Grant(user.clone(), role)))
            .await;
    }

    /// Counts a changed role, before anything else is done about it: who is on the way into a room, which may not be there
    /// yet, sees behind this that there was a change.
    pub fn note_grant(&self) {
        self.0.grants.fetch_add(1, Ordering::SeqCst);
    }

    /// Changed roles that this node was told of. Whoever joined by a role that was looked up before the last of them looks
    /// again: the room may have heard of the change first.
    pub fn grants(&self) -> u64 {
        self.0.grants.load(Ordering::SeqCst)
    }

    /// Lets the room of this node know title and edit scope.
    pub async fn show_info(&self, board: &BoardId, title: &str, edit: EditScope) {
        self.tell_soon(board, || Message::input(Input::Info(title.into(), edit)))
            .await;
    }

    /// Ends the sessions of this node on a board that is no more.
    pub async fn end(&self, board: &BoardId) {
        self.tell_soon(board, || Message::Stop(CloseCode::NoBoard)).await;
    }

    /// The same, and waits until its room here has written its last.
    pub async fn end_for_good(&self, board: &BoardId) {
        let inbox = self.0.rooms.get(board).map(|room| room.inbox.clone());
        self.end(board).await;
        if let Some(inbox) = inbox
            && tokio::time::timeout(ENDED_WITHIN, inbox.closed()).await.is_err()
        {
            tracing::warn!(board.id = %board, "The room of a board that is deleted has not ended in time.");
        }
    }

    /// Lets the sessions of this node on a board come back, so that it and whatever they may is looked up again.
    pub async fn readmit(&self, board: &BoardId) {
        self.tell_soon(board, || Message::Stop(CloseCode::Rebuilt)).await;
    }

    /// The same for all boards.
    pub async fn readmit_all(&self) {
        for board in self.live() {
            self.readmit(&board).await;
        }
    }

    pub(super) fn relay(&self) -> Option<Arc<dyn Relay>> {
        self.0.log.relay()
    }

    async fn tell_all(&self, notice: Notice) -> Result<(), HubError> {
        let Some(relay) = self.relay() else { return Ok(()) };
        let told: BoxFuture<'static, Result<(), LogError>> = relay.tell(notice);
        let why = match tokio::time::timeout(TOLD_WITHIN, told).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer yet".to_owned(),
        };
        tracing::warn!(why, "The other nodes were not told of a change in time.");
        metrics::counter!(telemetry::NOTICES_LATE_TOTAL).increment(1);
        Err(HubError::Untold)
    }

    /// Tells the board's room, if it is live here. A full inbox holds up nobody else.
    async fn tell_soon(&self, board: &BoardId, message: impl Fn() -> Message) {
        if tokio::time::timeout(TAKEN_WITHIN, self.tell(board, message()))
            .await
            .is_err()
        {
            let (hub, board, message) = (self.clone(), board.clone(), message());
            tokio::spawn(async move { hub.tell(&board, message).await });
        }
    }
}
