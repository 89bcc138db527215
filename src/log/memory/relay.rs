//! The way between nodes that share a log in memory.

use std::sync::{Arc, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::log::{LogError, Relay};
use crate::protocol::ids::BoardId;
use crate::protocol::notice::Notice;
use crate::protocol::relay::{Lane, Relayed};

/// Messages that a reader may be behind; what comes then is lost for it.
const WAITING_MAX: usize = 1_024;

/// All nodes of one log.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    all: Mutex<Vec<Weak<Node>>>,
}

/// One node's end of the way.
#[derive(Debug)]
pub(super) struct Node {
    nodes: Arc<Nodes>,
    told: mpsc::Sender<Notice>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    watching: Mutex<Vec<Watching>>,
}

#[derive(Debug)]
struct Watching {
    board: BoardId,
    room: u64,
    reader: mpsc::Sender<Arc<Relayed>>,
}

impl Nodes {
    /// One more node.
    pub(super) fn join(self: &Arc<Self>) -> Arc<Node> {
        let (told, notices) = mpsc::channel(WAITING_MAX);
        let node = Arc::new(Node {
            nodes: Arc::clone(self),
            told,
            notices: Mutex::new(Some(notices)),
            watching: Mutex::default(),
        });
        self.all.lock().push(Arc::downgrade(&node));
        node
    }

    fn each(&self, act: impl Fn(&Node)) {
        let mut all = self.all.lock();
        all.retain(|node| node.strong_count() > 0);
        let nodes: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all);
        for node in nodes {
            act(&node);
        }
    }
}

impl Relay for Node {
    fn tell(&self, notice: Notice) -> BoxFuture<'static, Result<(), LogError>> {
        let nodes = Arc::clone(&self.nodes);
        nodes.each(|node| {
            // Who reads none is not concerned.
            drop(node.told.try_send(notice.clone()));
        });
        std::future::ready(Ok(())).boxed()
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.notices.lock().take()
    }

    fn show(&self, board: &BoardId, lane: Lane, relayed: &Relayed) {
        let relayed = Arc::new(relayed.clone());
        self.nodes.each(|node| {
            let mut watching = node.watching.lock();
            watching.retain(|watching| !watching.reader.is_closed());
            let here = watching.iter().filter(|watching| watching.board == *board);
            for reader in here.filter(|watching| lane == Lane::Presence || watching.room != relayed.room) {
                // As the port says, it may be lost.
                drop(reader.reader.try_send(Arc::clone(&relayed)));
            }
        });
    }

    fn watch(&self, board: &BoardId, room: u64) -> mpsc::Receiver<Arc<Relayed>> {
        let (reader, receiver) = mpsc::channel(WAITING_MAX);
        let board = board.clone();
        self.watching.lock().push(Watching { board, room, reader });
        receiver
    }
}
