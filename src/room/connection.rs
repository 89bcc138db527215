//! What a socket holds of a room: it hands inputs over, and pulls what waits for it.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::Input;
use super::gather::{Gathered, Put};
use super::hub::HubError;
use super::ring::{Bell, Pulled, Ring};
use super::task::Message;
use crate::protocol::close::CloseCode;
use crate::protocol::ids::SessionId;

/// A session's place in a room. Dropping it leaves the room.
pub struct Connection {
    pub(super) session: SessionId,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) ring: Arc<Ring>,
    pub(super) gathered: Arc<Gathered>,
    pub(super) bell: Arc<Bell>,
}

impl Connection {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Hands an input to the room; waits while its inbox is full.
    pub async fn send(&self, input: Input) -> Result<(), HubError> {
        self.inbox
            .send(Message::input(input))
            .await
            .map_err(|_closed| HubError::Unavailable)
    }

    /// Hands over a state that counts at the next tick.
    pub async fn show(&self, input: Input) -> Result<(), HubError> {
        // Before the room knows the session, nothing may overtake the join.
        if !self.bell.has_begun() {
            return self.send(input).await;
        }
        match self.gathered.put(input) {
            Put::First => self
                .inbox
                .send(Message::Gathered)
                .await
                .map_err(|_closed| HubError::Unavailable),
            Put::Behind => Ok(()),
            Put::Full(input) => self.send(input).await,
        }
    }

    /// Ready when something may wait for this session.
    pub fn poll_news(&self, context: &mut Context<'_>) -> Poll<()> {
        self.bell.poll_rung(context)
    }

    /// Ready once the session is to end, also while what waits is not taken.
    pub fn poll_over(&self, context: &mut Context<'_>) -> Poll<CloseCode> {
        self.bell.poll_over(context)
    }

    /// Takes what waits, about `max_bytes` of it.
    pub fn pull(&self, buffer: &mut Vec<bytes::Bytes>, max_bytes: usize) -> Pulled {
        self.ring.pull(self.session, buffer, max_bytes)
    }

    /// Asks the room to bring this session level.
    pub async fn level(&self) -> Result<(), HubError> {
        let asked = self.inbox.send(Message::Behind(self.session)).await;
        asked.map_err(|_closed| HubError::Unavailable)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ring.leave(self.session);
        let leave = Message::input(Input::Leave(self.session));
        if let Err(mpsc::error::TrySendError::Full(leave)) = self.inbox.try_send(leave) {
            let inbox = self.inbox.clone();
            tokio::spawn(async move {
                // A room that is gone needs no goodbye.
                _ = inbox.send(leave).await;
            });
        }
    }
}
