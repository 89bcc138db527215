//! A restore on its way: the state that is looked for, while the room works on, and what its author sends behind it.

use std::future::Future;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::Input;
use super::task::Message;
use crate::protocol::ErrorCode;
use crate::protocol::element::Item;
use crate::protocol::ids::SessionId;

/// The restore that is on its way, if one is.
#[derive(Default)]
pub(super) struct Restoring(Option<Box<Search>>);

struct Search {
    session: SessionId,
    input: BoxFuture<'static, Input>,
    behind: Vec<Message>,
}

impl Restoring {
    /// Begins to look for a state. Where another one is looked for, it is refused: the input that says so.
    pub(super) fn begin(
        &mut self,
        session: SessionId,
        seq: u64,
        state: impl Future<Output = Result<Vec<Item>, ErrorCode>> + Send + 'static,
    ) -> Option<Input> {
        if self.0.is_some() {
            return Some(Input::Restored(session, seq, Err(ErrorCode::Busy)));
        }
        let input = state.map(move |items| Input::Restored(session, seq, items)).boxed();
        let behind = Vec::new();
        self.0 = Some(Box::new(Search { session, input, behind }));
        None
    }

    /// Gives the message back, unless it has to wait: edits of one session count in the order of their `seq`.
    pub(super) fn hold(&mut self, message: Message) -> Option<Message> {
        match &mut self.0 {
            Some(search) if message.sender() == Some(search.session) => {
                search.behind.push(message);
                None
            }
            _ => Some(message),
        }
    }

    /// What was found; never, while nothing is looked for. Cancel-safe. [`Restoring::end`] comes behind it.
    pub(super) async fn found(&mut self) -> Input {
        match &mut self.0 {
            Some(search) => (&mut search.input).await,
            None => std::future::pending().await,
        }
    }

    /// The end, found or not: gives what waited.
    pub(super) fn end(&mut self) -> Vec<Message> {
        self.0.take().map_or_else(Vec::new, |search| search.behind)
    }
}
