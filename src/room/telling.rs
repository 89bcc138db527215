//! What changed about a board or its people: told to the rooms of this node, and to the other nodes.
//!
//! The store has it already, so whoever joins from now on finds it. Here it reaches those who are connected. This node's
//! sockets hear of it first, whatever becomes of the rest.
//!
//! Two changes of one thing may come here in another order than the store took them. So what the store has is looked up
//! after each telling, and told if it is something else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Input;
use super::hub::{Hub, HubError};
use super::task::Message;
use crate::log::{LogError, Relay};
use crate::protocol::close::CloseCode;
use crate::protocol::ids::{BoardId, EditScope, Role, UserId};
use crate::protocol::notice::{Notice, Revocation};
use crate::store::{BoardInfo, StoreError};
use crate::telemetry;

/// Patience of whoever changed a right; the notice stays on its way.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// Patience with a room whose inbox is full, while others may have to be told.
const TAKEN_WITHIN: Duration = Duration::from_millis(200);
/// Patience with the store, where what a room was told is compared with it.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(2);
/// Patience with a room that saves what it has: where the log does not answer, it gives up itself before.
const ENDED_WITHIN: Duration = Duration::from_secs(35);

/// What the store has now; none if the board is gone.
type LookUp<T> = BoxFuture<'static, Result<Option<T>, StoreError>>;

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
        let input = {
            let user = user.clone();
            move |role: &Option<Role>| Input::Grant(user.clone(), *role)
        };
        let (shared, of, user) = (Arc::clone(&self.0), board.clone(), user.clone());
        let look_up = move || {
            let (shared, board, user) = (Arc::clone(&shared), of.clone(), user.clone());
            async move { shared.store.role(&board, &user).await.map(Some) }.boxed()
        };
        self.tell_state(board, role, input, look_up).await;
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
        let input = |(title, edit): &(String, EditScope)| Input::Info(title.as_str().into(), *edit);
        let (shared, of) = (Arc::clone(&self.0), board.clone());
        let look_up = move || {
            let (shared, board) = (Arc::clone(&shared), of.clone());
            let info = async move { shared.store.board(&board).await };
            info.map_ok(|info| info.map(|info| (info.title, info.edit))).boxed()
        };
        self.tell_state(board, (title.to_owned(), edit), input, look_up).await;
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
            && timeout(ENDED_WITHIN, inbox.closed()).await.is_err()
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
        let why = match timeout(TOLD_WITHIN, told).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer yet".to_owned(),
        };
        tracing::warn!(why, "The other nodes were not told of a change in time.");
        metrics::counter!(telemetry::NOTICES_LATE_TOTAL).increment(1);
        Err(HubError::Untold)
    }

    /// Tells the board's room, if it is live here, until it has been told what the store has. Waits for the first telling; a
    /// full inbox holds up nobody else.
    async fn tell_state<T: PartialEq + Send + 'static>(
        &self,
        board: &BoardId,
        mut state: T,
        input: impl Fn(&T) -> Input + Send + 'static,
        look_up: impl Fn() -> LookUp<T> + Send + 'static,
    ) {
        if !self.is_live(board) {
            return;
        }
        let (hub, board) = (self.clone(), board.clone());
        let (first, was_told) = oneshot::channel();
        let mut first = Some(first);
        tokio::spawn(async move {
            loop {
                hub.tell(&board, Message::input(input(&state))).await;
                if let Some(first) = first.take() {
                    // Nobody waits any more if it took long.
                    _ = first.send(());
                }
                match timeout(LOOKED_UP_WITHIN, look_up()).await {
                    Ok(Ok(Some(stored))) if stored != state => state = stored,
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(board.id = %board, %error, "The store did not say what changed.");
                        return;
                    }
                    Err(_elapsed) => return,
                }
                hub.0.grants.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Else it is told later.
        _ = timeout(TAKEN_WITHIN, was_told).await;
    }

    /// Tells the board's room, if it is live here. A full inbox holds up nobody else.
    async fn tell_soon(&self, board: &BoardId, message: impl Fn() -> Message) {
        if timeout(TAKEN_WITHIN, self.tell(board, message())).await.is_err() {
            let (hub, board, message) = (self.clone(), board.clone(), message());
            tokio::spawn(async move { hub.tell(&board, message).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::access::Identity;
    use crate::log::memory::MemoryLog;
    use crate::protocol::ServerFrame;
    use crate::protocol::codec::{Format, decode_server};
    use crate::protocol::ids::Timestamp;
    use crate::protocol::limits::Limits;
    use crate::room::session::Door;
    use crate::store::BoardStore as _;
    use crate::store::memory::MemoryStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_that_a_room_is_told_is_what_the_store_has() {
        const SOON: Duration = Duration::from_secs(10);
        let log = MemoryLog::new(7);
        let store = Arc::new(MemoryStore::new(log.clone()));
        let hub = Hub::new(
            Arc::new(log),
            Arc::clone(&store) as _,
            Limits::default(),
            || Timestamp(1),
            || true,
        );
        let [ada, ben] = ["ada", "ben"].map(|name| UserId::new(name).unwrap());
        let info = BoardInfo {
            id: BoardId::new("lesson").unwrap(),
            title: String::new(),
            edit: EditScope::All,
            created: Timestamp(1),
            owner: ada,
        };
        store.create_board(&info).await.unwrap();
        let (user, name) = (ben.clone(), None);
        let door = Door::Own {
            format: Format::Json,
            document: false,
            client: uuid::Uuid::from_u128(1),
        };
        let who = Identity { user, name };
        let connected = hub.connect(&info.id, &who, Role::Teacher, door, None);
        let connection = connected.await.unwrap();
        store.set_role(&info.id, &ben, Some(Role::Viewer)).await.unwrap();
        // As if an earlier change came last.
        hub.grant(&info.id, &ben, Some(Role::Editor)).await;
        let mut roles = Vec::new();
        let hears = async {
            while roles.last() != Some(&Role::Viewer) {
                poll_fn(|context| connection.poll_news(context)).await;
                let mut frames = Vec::new();
                connection.pull(&mut frames, usize::MAX);
                for frame in frames {
                    if let ServerFrame::Role { role, .. } = decode_server(Format::Json, &frame).unwrap() {
                        roles.push(role);
                    }
                }
            }
        };
        timeout(SOON, hears).await.unwrap();
        assert_eq!(roles, [Role::Editor, Role::Viewer]);
    }
}
