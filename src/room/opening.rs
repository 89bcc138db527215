//! Reading a board: its keyframe, the records after it in store and log, and the document built of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::hub::Shared;
use super::ring::Ring;
use super::session::Door;
use super::task::Message;
use super::yjs::{self, YjsMessage};
use super::{Input, Opened};
use crate::board::Board;
use crate::board::guard::{WalkLimits, walk_within};
use crate::board::keyframe::OpenError;
use crate::log::{Lead, LogError, Logged};
use crate::protocol::ErrorCode;
use crate::protocol::element::Item;
use crate::protocol::ids::{BoardId, Position};
use crate::store::StoreError;
use crate::telemetry;

/// Time in which an earlier state must be found: the room waits for it.
const FIND_TIMEOUT: Duration = Duration::from_secs(10);

/// Records of the history that are read at once.
const PAGE_RECORDS: usize = 1_000;

/// Why a board was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("there is no such board")]
    NoBoard,
    #[error("opening it panicked")]
    Panicked,
}

/// What the log has beyond the store; to be read before the store is.
async fn lead(shared: &Shared, board: &BoardId) -> Result<Lead, LoadError> {
    let stored = shared.store.complete_to(board).await?;
    Ok(shared.log.lead(board, stored).await?)
}

/// All records of the board after `after`, up to `until` if one is given: the store's, and those that only the log had when
/// it was asked.
async fn records_after(
    shared: &Shared,
    board: &BoardId,
    newest: Vec<Logged>,
    after: Option<Position>,
    until: Option<Position>,
) -> Result<Vec<Logged>, StoreError> {
    // A year may lie behind that place.
    let limit = until.map_or(usize::MAX, |_| PAGE_RECORDS);
    let (mut records, mut last) = (Vec::new(), after);
    loop {
        let page = shared.store.history(board, last, limit).await?;
        let is_last = page.len() < limit;
        last = page.last().map(|logged| logged.position).max(last);
        records.extend(page);
        if is_last || last >= until {
            break;
        }
    }
    records.extend(newest.into_iter().filter(|logged| Some(logged.position) > last));
    records.retain(|logged| until.is_none_or(|until| logged.position <= until));
    Ok(records)
}

/// What a board was opened as.
pub(super) struct Found {
    pub(super) opened: Opened,
    /// Its records to come; none, if the log does not answer: the board is what the store has, which may be too little.
    pub(super) tail: Option<mpsc::Receiver<Logged>>,
}

/// Reads keyframe and records and builds the board off the workers. Meanwhile a fresh Yjs client is sent the stored
/// document as it lies there, if no record came after it.
pub(super) async fn open(
    board: &BoardId,
    shared: &Shared,
    ring: &Ring,
    inbox: &mut mpsc::Receiver<Message>,
    waiting: &mut VecDeque<Message>,
) -> Result<Found, LoadError> {
    let info = shared.store.board(board).await?.ok_or(LoadError::NoBoard)?;
    let stored = shared.store.complete_to(board).await?;
    let lead = match shared.log.lead(board, stored).await {
        Err(LogError::Away(why)) => {
            tracing::warn!(board.id = %board, why, "A board was opened from the store alone, for reading.");
            None
        }
        lead => Some(lead?),
    };
    let keyframe = shared.store.keyframe(board).await?;
    let after = keyframe.as_ref().map(|keyframe| keyframe.position);
    let end = lead.as_ref().map(|lead| lead.end);
    let records = records_after(
        shared,
        board,
        lead.map_or_else(Vec::new, |lead| lead.records),
        after,
        None,
    )
    .await?;
    // Nobody is let in before all is here that was durable when they came.
    let position = records.last().map(|last| last.position).max(after).max(stored).max(end);
    let position = position.unwrap_or(Position(0, 0));
    let (mut tail, mut tail_bytes) = (None, 0);
    if end.is_some() {
        tail = Some(shared.log.tail(board, Some(position)).await?);
        tail_bytes = records.iter().map(|logged| logged.record.update.0.len()).sum();
    }
    let bytes = keyframe.map(|keyframe| keyframe.bytes);
    let stored = match &bytes {
        Some(bytes) if records.is_empty() => Some(stored_document(bytes.clone()).await?),
        _ => None,
    };
    let replica = Shared::fresh_replica();
    let mut building = tokio::task::spawn_blocking(move || build(replica, bytes.as_deref(), &records));
    let built = loop {
        tokio::select! {
            built = &mut building => break built.map_err(|_panic| LoadError::Panicked)??,
            Some(message) = inbox.recv(), if waiting.len() < shared.limits.inbox_max => {
                let message = serve_stored(message, stored.as_ref(), waiting, ring);
                waiting.push_back(message);
            }
        }
    };
    let opened = Opened {
        board: built,
        position,
        tail_bytes,
        title: info.title.into(),
        scope: info.edit,
    };
    Ok(Found { opened, tail })
}

/// The entries as they were at another place of the log, or what to tell whoever asks.
pub(super) async fn state_at(
    shared: Arc<Shared>,
    board: BoardId,
    now: Position,
    at: Position,
) -> Result<Vec<Item>, ErrorCode> {
    if at.epoch() != now.epoch() || at > now {
        return Err(ErrorCode::UnknownPosition);
    }
    let Ok(found) = timeout(FIND_TIMEOUT, history_to(shared, &board, at)).await else {
        tracing::warn!(board.id = %board, "The history of a board took too long to read.");
        return Err(ErrorCode::Busy);
    };
    found.map_err(|error| {
        if let LoadError::Log(LogError::UnknownPosition(_)) = error {
            return ErrorCode::UnknownPosition;
        }
        tracing::warn!(board.id = %board, %error, "The history of a board could not be read.");
        ErrorCode::Busy
    })
}

async fn history_to(shared: Arc<Shared>, board: &BoardId, at: Position) -> Result<Vec<Item>, LoadError> {
    let lead = lead(&shared, board).await?;
    let keyframe = shared.store.keyframe_before(board, at).await?;
    let after = keyframe.as_ref().map(|keyframe| keyframe.position);
    let records = records_after(&shared, board, lead.records, after, Some(at)).await?;
    let replica = Shared::fresh_replica();
    let bytes = keyframe.map(|keyframe| keyframe.bytes);
    let building = tokio::task::spawn_blocking(move || build(replica, bytes.as_deref(), &records));
    Ok(building.await.map_err(|_panic| LoadError::Panicked)??.items())
}

fn build(replica: u64, keyframe: Option<&[u8]>, records: &[Logged]) -> Result<Board, LoadError> {
    let mut skip = BTreeSet::new();
    loop {
        match Board::open(replica, keyframe, records, &skip) {
            Ok(board) => return Ok(board),
            Err(OpenError::Record(position)) if skip.insert(position) => {
                tracing::error!(
                    log.offset = position.offset(),
                    "A record cannot be applied; the board opens without it."
                );
                metrics::counter!(telemetry::RECORDS_SKIPPED_TOTAL).increment(1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A document as it lies in the store.
struct Stored {
    /// Sync step 2 with all of it.
    step2: Bytes,
    /// Its state vector.
    vector: Bytes,
}

async fn stored_document(keyframe: Bytes) -> Result<Stored, LoadError> {
    let unpack = tokio::task::spawn_blocking(move || {
        let document = Board::document_of(&keyframe)?;
        let state = zstd::decode_all(document.as_slice()).map_err(|error| OpenError::Keyframe(error.to_string()))?;
        let walk = walk_within(&state, &WalkLimits::TRUSTED).map_err(|error| OpenError::Keyframe(error.to_string()))?;
        let clocks = walk.sections().iter().map(|section| (section.client, section.to));
        Ok::<_, OpenError>(Stored {
            step2: yjs::step2(&state),
            vector: yjs::vector(clocks),
        })
    });
    Ok(unpack.await.map_err(|_panic| LoadError::Panicked)??)
}

/// Answers the sync step 1 of a Yjs client that has nothing. Gives the message that waits for the room: for that client the
/// question for what is newer than the stored document, because it hears nothing of that before its join is taken.
fn serve_stored(message: Message, stored: Option<&Stored>, waiting: &VecDeque<Message>, ring: &Ring) -> Message {
    const NOTHING: &[u8] = &[0];
    let (Some(Input::Yjs(id, YjsMessage::Step1(vector))), Some(stored)) = (input(&message), stored) else {
        return message;
    };
    let is_here = waiting
        .iter()
        .filter_map(input)
        .any(|input| matches!(input, Input::Join(joining) if joining.session == *id && joining.door == Door::Yjs));
    if !is_here || vector.as_ref() != NOTHING {
        return message;
    }
    ring.send(*id, stored.step2.clone());
    Message::input(Input::Yjs(*id, YjsMessage::Step1(stored.vector.clone())))
}

fn input(message: &Message) -> Option<&Input> {
    match message {
        Message::Input(input) => Some(input),
        Message::Request(..) | Message::Behind(_) | Message::Gathered | Message::Read(_) | Message::Stop(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::{Role, SessionId, UserId};
    use crate::room::ring::{Form, Pulled};
    use crate::room::session::Joining;

    const ID: SessionId = SessionId(1);

    #[test]
    fn who_was_served_early_still_asks_for_what_is_newer() {
        let ring = Ring::new(8, 1_000);
        ring.join(ID, Form::Yjs);
        let stored = Stored {
            step2: yjs::step2(b"all"),
            vector: yjs::vector([(7, 9)]),
        };
        let joining = Joining {
            session: ID,
            user: UserId::new("ben").unwrap(),
            name: None,
            role: Role::Editor,
            is_level: true,
            door: Door::Yjs,
            vector: None,
            route: None,
        };
        let waiting = VecDeque::from([Message::input(Input::Join(joining))]);
        let asks = |vector: &Bytes| Message::input(Input::Yjs(ID, YjsMessage::Step1(vector.clone())));
        let nothing = Bytes::from_static(&[0]);
        let left = serve_stored(asks(&nothing), Some(&stored), &waiting, &ring);
        assert!(
            matches!(input(&left), Some(Input::Yjs(ID, YjsMessage::Step1(vector))) if *vector == stored.vector),
            "{left:?}"
        );
        let mut got = Vec::new();
        assert_eq!(ring.pull(ID, &mut got, 1_000), Pulled::All);
        assert_eq!(got, std::slice::from_ref(&stored.step2));
        // Who has something is answered by the room alone.
        let left = serve_stored(asks(&stored.vector), Some(&stored), &waiting, &ring);
        assert!(
            matches!(input(&left), Some(Input::Yjs(ID, YjsMessage::Step1(_)))),
            "{left:?}"
        );
        assert_eq!(ring.pull(ID, &mut Vec::new(), 1_000), Pulled::Empty);
    }
}
