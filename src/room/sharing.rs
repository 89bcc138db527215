//! A room's way to the rooms of its board on other nodes: what is shown and never recorded.
//!
//! Nobody listens while nobody is here to see it. What is missed meanwhile is asked for, or told again.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::log::Relay;
use crate::protocol::ids::{BoardId, Timestamp};
use crate::protocol::relay::{Lane, Relayed};

/// The way of one room.
pub(super) struct Sharing {
    relay: Arc<dyn Relay>,
    board: BoardId,
    room: u64,
    heard: Option<mpsc::Receiver<Arc<Relayed>>>,
}

impl Sharing {
    /// Of this room of the board.
    pub(super) fn new(relay: Arc<dyn Relay>, board: BoardId, room: u64) -> Self {
        Self {
            relay,
            board,
            room,
            heard: None,
        }
    }

    /// Listens from now on, or no more.
    pub(super) fn mind(&mut self, is_shared: bool) {
        if !is_shared {
            self.heard = None;
        } else if self.heard.is_none() {
            self.heard = Some(self.relay.watch(&self.board, self.room));
        }
    }

    /// Shows something to the others.
    pub(super) fn show(&self, lane: Lane, relayed: &Relayed) {
        self.relay.show(&self.board, lane, relayed);
    }

    /// The room ends: its people are gone at once.
    pub(super) fn end(&mut self, now: Timestamp) {
        if self.heard.take().is_some() {
            let over = Relayed {
                room: self.room,
                sent: now,
                is_over: true,
                ..Relayed::default()
            };
            self.show(Lane::Presence, &over);
        }
    }
}

/// What another room shows next.
pub(super) async fn heard(sharing: &mut Option<Box<Sharing>>) -> Arc<Relayed> {
    if let Some(sharing) = sharing
        && let Some(receiver) = &mut sharing.heard
    {
        if let Some(relayed) = receiver.recv().await {
            return relayed;
        }
        // The way is closed: it is looked for again.
        sharing.heard = None;
    }
    std::future::pending().await
}
