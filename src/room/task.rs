//! The task that owns one room: feeds it inputs, carries out its effects, opens it and lets it go.
//!
//! Sessions, the log and the clock meet here; nothing else touches the room. A panic inside the room ends this task and
//! no other: the document is leaked, its sessions come back, and the board opens anew from what is durable.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::appending::{Appending, appended, next_appended};
use super::busy::Busy;
use super::gather::Gathered;
use super::hub::{BoardState, Shared};
use super::pulse::Pulse;
use super::ring::Ring;
use super::session::Door;
use super::yjs::{self, YjsMessage};
use super::{Answer, Audit, Counter, Deed, Effect, Input, Opened, Room};
use crate::board::Board;
use crate::board::keyframe::OpenError;
use crate::log::{Lead, LogError, Logged};
use crate::protocol::ErrorCode;
use crate::protocol::close::CloseCode;
use crate::protocol::element::Item;
use crate::protocol::ids::{BoardId, Position, SessionId, Timestamp};
use crate::store::{StoreError, StoredKeyframe};
use crate::telemetry;

/// Inputs handled before the readers are woken and the clock is looked at, at most.
const BATCH_MAX: usize = 128;
/// An upload may wait this long for the op that makes it known.
const UNUSED_ASSET_MS: u64 = 24 * 60 * 60 * 1000;

/// What reaches a room's task.
#[derive(Debug)]
pub enum Message {
    /// For the room itself. Boxed: the inbox of every board reserves place for 32.
    Input(Box<Input>),
    /// A request and where its answer goes.
    Request(Box<super::session::Joining>, Box<Input>, oneshot::Sender<Answer>),
    /// Ephemeral inputs wait for the tick.
    Gathered,
    /// All entries and their position.
    Read(oneshot::Sender<BoardState>),
    /// End: flush, and close all sessions with this code.
    Stop(CloseCode),
}

impl Message {
    /// An input for the room itself.
    pub(super) fn input(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
}

/// A room with all that belongs to it.
struct Task {
    board: BoardId,
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    gathered: Arc<Gathered>,
    room: Room,
    tail: mpsc::Receiver<Logged>,
    appending: Appending,
    answers: HashMap<SessionId, oneshot::Sender<Answer>>,
    sessions: BTreeSet<SessionId>,
    pending_bytes: usize,
    /// See [`Pulse::is_crowded`].
    is_crowded: bool,
    busy: Busy,
}

/// Why a room's task ended.
pub(super) enum Ended {
    /// Nobody was here any more, or it was told to.
    Closed,
    /// The board could not be opened.
    NotOpened,
    /// Its document could not be trusted any more.
    Poisoned,
    /// The log does not bring it records any more: it has to be read anew.
    LostLog,
}

/// Opens the board and runs its room until it ends.
pub(super) async fn run(
    board: BoardId,
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    gathered: Arc<Gathered>,
    inbox: &mut mpsc::Receiver<Message>,
    busy: Busy,
) -> Ended {
    let mut waiting = VecDeque::new();
    // Boxed like all that is rare: what a task may once need, it holds all its life.
    let opened = Box::pin(open(&board, &shared, &ring, inbox, &mut waiting)).await;
    let (opened, tail) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(board.id = %board, %error, "A board could not be opened.");
            for message in waiting {
                turn_away(message, &ring, CloseCode::Loading);
            }
            return Ended::NotOpened;
        }
    };
    let room = Room::new(opened, shared.limits.clone());
    let mut task = Task {
        board,
        shared,
        ring,
        gathered,
        room,
        tail,
        appending: VecDeque::new(),
        answers: HashMap::new(),
        sessions: BTreeSet::new(),
        pending_bytes: 0,
        is_crowded: false,
        busy,
    };
    let ended = task.serve(inbox, waiting).await;
    task.shared.move_pending(task.pending_bytes, 0);
    if matches!(ended, Ended::Poisoned) {
        for session in &task.sessions {
            task.ring.close(*session, CloseCode::Rebuilt);
        }
        // A document that panicked may panic again while it is dropped.
        std::mem::forget(task.room);
    }
    ended
}

impl Task {
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Message>, waiting: VecDeque<Message>) -> Ended {
        let mut pulse = Pulse::new(Duration::from_millis(self.shared.limits.tick_ms));
        if let Some(ended) = Box::pin(self.catch_up()).await {
            return ended;
        }
        if !self.mind_edits().await {
            return Ended::Poisoned;
        }
        // It grows with what comes: most rooms are quiet, and each would hold it all its life.
        let mut batch = Vec::from(waiting);
        let mut unsettled = batch.len();
        loop {
            let mut messages = batch.drain(..).peekable();
            while let Some(message) = messages.next() {
                match self.take(message.with_followers(&mut messages)).await {
                    Some(Ended::Closed) => return Box::pin(self.drain()).await,
                    Some(ended) => return ended,
                    None => {}
                }
            }
            drop(messages);
            let is_full = unsettled >= BATCH_MAX;
            pulse.set_alarm();
            tokio::select! {
                biased;
                (number, result) = next_appended(&mut self.appending), if !is_full => {
                    unsettled += 1;
                    if !self.step(appended(number, result)).await { return Ended::Poisoned }
                }
                logged = self.tail.recv(), if !is_full => {
                    unsettled += 1;
                    let Some(logged) = logged else { return self.lose_log() };
                    if !self.step(Input::Logged(logged)).await { return Ended::Poisoned }
                }
                count = inbox.recv_many(&mut batch, BATCH_MAX), if !is_full => {
                    if count == 0 { return Ended::Closed }
                    unsettled += count;
                }
                // All that was there is done: only now others hear of it.
                () = std::future::ready(()), if unsettled > 0 => {
                    unsettled = 0;
                    pulse.tick_soon();
                    if let Some(ended) = self.settle(&mut pulse, inbox).await { return ended }
                }
                () = &mut pulse.alarm => {
                    if let Some(ended) = self.settle(&mut pulse, inbox).await { return ended }
                }
            }
        }
    }

    /// Reads what was durable when the last of those came who wait.
    async fn catch_up(&mut self) -> Option<Ended> {
        let (log, board) = (Arc::clone(&self.shared.log), self.board.clone());
        let level = log.level(&board);
        tokio::pin!(level);
        let mut is_level = false;
        loop {
            let logged = tokio::select! {
                biased;
                logged = self.tail.recv() => logged,
                done = &mut level, if !is_level => {
                    if done.is_err() {
                        return Some(self.lose_log());
                    }
                    is_level = true;
                    continue;
                }
                () = std::future::ready(()), if is_level => return None,
            };
            let Some(logged) = logged else {
                return Some(self.lose_log());
            };
            if !self.step(Input::Logged(logged)).await {
                return Some(Ended::Poisoned);
            }
        }
    }

    /// Does what is due by the clock, and wakes the readers.
    async fn settle(&mut self, pulse: &mut Pulse, inbox: &mpsc::Receiver<Message>) -> Option<Ended> {
        let now = Instant::now();
        if now >= pulse.next_tick {
            if !self.take_gathered().await || !self.step(Input::Tick).await {
                return Some(Ended::Poisoned);
            }
            pulse.ticked(now, self.room.is_restless());
            if !self.room.is_idle() {
                pulse.idle_since = now;
            }
            let idle = Duration::from_millis(self.shared.limits.room_idle_ms);
            if now - pulse.idle_since >= idle && inbox.is_empty() {
                return Some(Box::pin(self.close()).await);
            }
        }
        self.account();
        if !self.mind_edits().await {
            return Some(Ended::Poisoned);
        }
        let news = self.ring.news();
        if news > 0 && pulse.may_wake(now, self.sessions.len(), news) {
            self.ring.wake();
            self.is_crowded = pulse.is_crowded;
        }
        None
    }

    /// Lets the room know whether the board takes edits.
    async fn mind_edits(&mut self) -> bool {
        let read_only = self.shared.read_only(&self.board);
        read_only == self.room.read_only() || self.step(Input::ReadOnly(read_only)).await
    }

    /// Hands over the ephemeral inputs that wait for the tick.
    async fn take_gathered(&mut self) -> bool {
        for input in self.gathered.take() {
            if !self.step(input).await {
                return false;
            }
        }
        true
    }

    async fn take(&mut self, message: Message) -> Option<Ended> {
        // What a session showed before is not overtaken by its edits, nor by its end.
        let is_trusted = (matches!(message, Message::Gathered) || self.take_gathered().await)
            && match message {
                Message::Input(input) => {
                    if let Input::Join(joining) = &*input {
                        self.sessions.insert(joining.session);
                    } else if let Input::Leave(session) = &*input {
                        self.sessions.remove(session);
                        self.ring.leave(*session);
                    }
                    self.step(*input).await
                }
                Message::Request(joining, input, answer) => {
                    self.answers.insert(joining.session, answer);
                    self.step(Input::Join(*joining)).await && self.step(*input).await
                }
                Message::Read(answer) => {
                    // Nobody waits any more if the request was dropped.
                    _ = answer.send(BoardState {
                        position: self.room.position(),
                        items: self.room.board().items(),
                    });
                    true
                }
                // It has woken the task, so the tick is not far.
                Message::Gathered => true,
                Message::Stop(code) => {
                    for session in &self.sessions {
                        self.ring.close(*session, code);
                    }
                    return Some(Ended::Closed);
                }
            };
        (!is_trusted).then_some(Ended::Poisoned)
    }

    /// Hands one input to the room and carries out what follows; `false` if the room cannot be trusted any more.
    async fn step(&mut self, input: Input) -> bool {
        let mut next = Some(input);
        let mut behind = VecDeque::new();
        while let Some(input) = next {
            let now = (self.shared.clock)();
            let started = Instant::now();
            let is_heavy = self.room.is_heavy(&input);
            self.busy.begin(started);
            let room = &mut self.room;
            let handle = || catch_unwind(AssertUnwindSafe(|| room.handle(now, input)));
            // Heavy work must not keep this worker from other rooms and sockets.
            let effects = if is_heavy {
                tokio::task::block_in_place(handle)
            } else {
                handle()
            };
            self.busy.end();
            if started.elapsed() > Duration::from_millis(self.shared.limits.apply_soft_ms) {
                let duration_ms = started.elapsed().as_millis();
                tracing::warn!(board.id = %self.board, %duration_ms, "One input kept a room busy.");
                metrics::counter!(telemetry::SLOW_INPUTS_TOTAL).increment(1);
            }
            let Ok(effects) = effects else {
                tracing::error!(board.id = %self.board, "A room panicked; its board is opened anew.");
                return false;
            };
            for effect in effects {
                if let Effect::Rebuild = effect {
                    return false;
                }
                behind.extend(self.carry_out(effect).await);
            }
            next = behind.pop_front();
        }
        true
    }

    async fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::FanOut(frame) => self.ring.push(frame),
            Effect::Send(session, bytes) => self.ring.send(session, bytes),
            Effect::Mark(session) => self.ring.mark(session),
            Effect::Level(session, frames) => self.ring.level(session, frames),
            Effect::Answer(session, answer) => {
                if let Some(waiting) = self.answers.remove(&session) {
                    // Nobody waits any more if the request was dropped.
                    _ = waiting.send(answer);
                }
                return Some(Input::Leave(session));
            }
            Effect::Close(session, code) => {
                self.ring.close(session, code);
            }
            Effect::Append(record) => {
                let number = record.id.1;
                // Yjs clients hear of no record; a crowded room takes larger steps in all.
                let is_awaited = (record.seq.is_some() && !self.is_crowded) || !self.answers.is_empty();
                let append = if is_awaited {
                    self.shared.log.append(&self.board, record)
                } else {
                    self.shared.log.append_soon(&self.board, record)
                };
                self.appending.push_back((number, append));
            }
            Effect::StoreKeyframe(keyframe) => {
                if let Err(error) = Box::pin(self.keep(keyframe)).await {
                    tracing::warn!(board.id = %self.board, %error, "A keyframe was not stored.");
                    metrics::counter!(telemetry::KEYFRAMES_FAILED_TOTAL).increment(1);
                }
            }
            Effect::FindState(session, seq, at) => {
                let (shared, board) = (Arc::clone(&self.shared), self.board.clone());
                let items = Box::pin(state_at(shared, board, self.room.position(), at)).await;
                return Some(Input::Restored(session, seq, items));
            }
            Effect::Count(counter) => count(counter),
            Effect::Audit(audit) => note(&self.board, &audit),
            Effect::Rebuild => {}
        }
        None
    }

    /// Stores a keyframe, then collects uploads that nothing on the board names.
    async fn keep(&mut self, keyframe: StoredKeyframe) -> Result<(), StoreError> {
        let used: Vec<String> = self.room.board().asset_names();
        let before = Timestamp((self.shared.clock)().0.saturating_sub(UNUSED_ASSET_MS));
        self.shared.store.put_keyframe(&self.board, keyframe).await?;
        self.shared
            .store
            .collect_assets(&self.board, &used, before)
            .await
            .map(drop)
    }

    /// Nobody has been here for a while: a keyframe, then the room goes.
    async fn close(&mut self) -> Ended {
        for _ in 0..2 {
            // The first may be a purge, whose record must come back before the keyframe.
            if !self.step(Input::Closing).await {
                return Ended::Poisoned;
            }
            if !self.flush().await {
                return Ended::Poisoned;
            }
        }
        Ended::Closed
    }

    /// Its sessions come back to a room that reads the log anew, and bring again what was not acknowledged.
    fn lose_log(&mut self) -> Ended {
        tracing::warn!(board.id = %self.board, "The log ended for a board; it is opened anew.");
        for session in &self.sessions {
            self.ring.close(*session, CloseCode::Rebuilt);
        }
        Ended::LostLog
    }

    async fn drain(&mut self) -> Ended {
        if self.flush().await {
            self.close().await
        } else {
            Ended::Poisoned
        }
    }

    /// Waits until the log has answered for all that is on its way, 10 s at most.
    async fn flush(&mut self) -> bool {
        if !self.step(Input::Tick).await {
            return false;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.room.pending_bytes() > 0 && Instant::now() < deadline {
            let input = tokio::select! {
                (number, result) = next_appended(&mut self.appending) => appended(number, result),
                Some(logged) = self.tail.recv() => Input::Logged(logged),
                () = tokio::time::sleep_until(deadline) => Input::Tick,
            };
            if !self.step(input).await {
                return false;
            }
        }
        self.ring.wake();
        true
    }

    /// Keeps the node's sum of bytes that wait for the log.
    fn account(&mut self) {
        let now = self.room.pending_bytes();
        self.shared.move_pending(self.pending_bytes, now);
        self.pending_bytes = now;
        self.room.set_node_busy(self.shared.is_busy());
    }
}

/// The entries as they were at another place of the log.
async fn state_at(shared: Arc<Shared>, board: BoardId, now: Position, at: Position) -> Option<Vec<Item>> {
    if at.epoch() != now.epoch() || at > now {
        return None;
    }
    let lead = lead(&shared, &board).await.ok()?;
    let keyframe = shared.store.keyframe_before(&board, at).await.ok()?;
    let after = keyframe.as_ref().map(|keyframe| keyframe.position);
    let mut records = records_after(&shared, &board, lead.records, after).await.ok()?;
    records.retain(|logged| logged.position <= at);
    let replica = Shared::fresh_replica();
    let bytes = keyframe.map(|keyframe| keyframe.bytes);
    let opening = tokio::task::spawn_blocking(move || {
        Board::open(replica, bytes.as_deref(), &records, &BTreeSet::new()).map(|board| board.items())
    });
    opening.await.ok()?.ok()
}

fn note(board: &BoardId, audit: &Audit) {
    let Audit { user, deed, blocks } = audit;
    let (deed, fact) = match deed {
        Deed::Relayed => ("relayed", "Blocks of other users were handed over."),
        Deed::ForeignClient => ("foreign_client", "Blocks under client ids of others were refused."),
    };
    tracing::warn!(target: telemetry::AUDIT, { board.id = %board, user.id = %user, deed, ?blocks }, "{fact}");
    metrics::counter!(telemetry::AUDIT_RECORDS_TOTAL, "deed" => deed).increment(1);
}

fn count(counter: Counter) {
    match counter {
        Counter::Edits => metrics::counter!(telemetry::EDITS_TOTAL).increment(1),
        Counter::Joined => metrics::counter!(telemetry::EDITS_JOINED_TOTAL).increment(1),
        Counter::Refusals(code) => {
            metrics::counter!(telemetry::REFUSALS_TOTAL, "code" => format!("{code:?}")).increment(1);
        }
        Counter::Repeats => metrics::counter!(telemetry::REPEATS_TOTAL).increment(1),
        Counter::ViewerEdits => metrics::counter!(telemetry::VIEWER_EDITS_TOTAL).increment(1),
        Counter::PutBacks => metrics::counter!(telemetry::PUT_BACKS_TOTAL).increment(1),
        Counter::Relays => metrics::counter!(telemetry::RELAYS_TOTAL).increment(1),
        Counter::Late => metrics::counter!(telemetry::LATE_MESSAGES_TOTAL).increment(1),
        Counter::AwarenessDrops => metrics::counter!(telemetry::AWARENESS_DROPS_TOTAL).increment(1),
        Counter::Levels => metrics::counter!(telemetry::LEVELS_TOTAL).increment(1),
    }
}

/// Tells whoever waits behind a room that ended to come back.
pub(super) fn turn_away(message: Message, ring: &Ring, code: CloseCode) {
    match message {
        Message::Input(input) => {
            if let Input::Join(joining) = &*input {
                ring.close(joining.session, code);
            } else if let Input::Leave(session) = &*input {
                ring.leave(*session);
            }
        }
        Message::Request(_, _, answer) => {
            // Nobody waits any more if the request was dropped.
            _ = answer.send(Err((ErrorCode::Busy, "the board is opened anew: send it again".into())));
        }
        // Dropping the sender tells the reader.
        Message::Read(_) | Message::Stop(_) | Message::Gathered => {}
    }
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
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

/// All records of the board after `after`: the store's, and those that only the log had when it was asked.
async fn records_after(
    shared: &Shared,
    board: &BoardId,
    newest: Vec<Logged>,
    after: Option<Position>,
) -> Result<Vec<Logged>, StoreError> {
    let mut records = shared.store.history(board, after, usize::MAX).await?;
    let known = records.last().map(|last| last.position).max(after);
    records.extend(newest.into_iter().filter(|logged| Some(logged.position) > known));
    Ok(records)
}

/// Reads keyframe and records and builds the board off the workers. Meanwhile a fresh Yjs client is sent the stored
/// document as it lies there, if no record came after it.
async fn open(
    board: &BoardId,
    shared: &Shared,
    ring: &Ring,
    inbox: &mut mpsc::Receiver<Message>,
    waiting: &mut VecDeque<Message>,
) -> Result<(Opened, mpsc::Receiver<Logged>), LoadError> {
    let info = shared.store.board(board).await?.ok_or(LoadError::NoBoard)?;
    let lead = lead(shared, board).await?;
    let keyframe = shared.store.keyframe(board).await?;
    let after = keyframe.as_ref().map(|keyframe| keyframe.position);
    let records = records_after(shared, board, lead.records, after).await?;
    // Nobody is let in before all is here that was durable when they came.
    let position = records.last().map_or(lead.end, |last| last.position.max(lead.end));
    let tail = shared.log.tail(board, Some(position)).await?;
    let tail_bytes = records.iter().map(|logged| logged.record.update.0.len()).sum();
    let bytes = keyframe.map(|keyframe| keyframe.bytes);
    let keyframe_bytes = bytes.as_ref().map_or(0, Bytes::len);
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
                if !serve_stored(&message, stored.as_ref(), waiting, ring) {
                    waiting.push_back(message);
                }
            }
        }
    };
    let opened = Opened {
        board: built,
        position,
        tail_bytes,
        keyframe_bytes,
        title: info.title.into(),
        scope: info.edit,
    };
    Ok((opened, tail))
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

async fn stored_document(keyframe: Bytes) -> Result<Bytes, LoadError> {
    let unpack = tokio::task::spawn_blocking(move || {
        let document = Board::document_of(&keyframe)?;
        let state = zstd::decode_all(document.as_slice()).map_err(|error| OpenError::Keyframe(error.to_string()))?;
        Ok::<_, OpenError>(yjs::step2(&state))
    });
    Ok(unpack.await.map_err(|_panic| LoadError::Panicked)??)
}

/// Answers the sync step 1 of a Yjs client that has nothing; whether the message is done with.
fn serve_stored<'a>(message: &'a Message, stored: Option<&Bytes>, waiting: &'a VecDeque<Message>, ring: &Ring) -> bool {
    const NOTHING: &[u8] = &[0];
    let input = |message: &'a Message| match message {
        Message::Input(input) => Some(&**input),
        Message::Request(..) | Message::Gathered | Message::Read(_) | Message::Stop(_) => None,
    };
    let (Some(Input::Yjs(id, YjsMessage::Step1(vector))), Some(stored)) = (input(message), stored) else {
        return false;
    };
    let is_here = waiting
        .iter()
        .filter_map(input)
        .any(|input| matches!(input, Input::Join(joining) if joining.session == *id && joining.door == Door::Yjs));
    if is_here && vector.as_ref() == NOTHING {
        ring.send(*id, stored.clone());
        return true;
    }
    false
}
