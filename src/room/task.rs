//! The task that owns one room: feeds it inputs, carries out its effects, and lets it go.
//!
//! Sessions, the log and the clock meet here; nothing else touches the room. A panic inside the room ends this task and
//! no other: the document is leaked, its sessions come back, and the board opens anew from what is durable.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at};

use super::appending::{Appending, appended, next_appended};
use super::busy::Busy;
use super::counting::{count, note};
use super::gather::Gathered;
use super::hub::{BoardState, Shared};
use super::level::{NotLevel, next_logged, reach_level};
use super::opening::{Found, open, state_at};
use super::pulse::Pulse;
use super::ring::Ring;
use super::sharing::{Sharing, heard};
use super::{Answer, Counter, Effect, Input, Room};
use crate::log::Logged;
use crate::protocol::ErrorCode;
use crate::protocol::close::CloseCode;
use crate::protocol::ids::{BoardId, SessionId, Timestamp};
use crate::store::StoredKeyframe;
use crate::telemetry;

/// Inputs handled before the readers are woken and the clock is looked at, at most.
const BATCH_MAX: usize = 128;
/// Requests that wait for the log at once, some hundred bytes each: repeats and frames without effect add nothing to
/// what is bounded by its bytes.
const REQUESTS_MAX: usize = 4_096;
/// Patience with the log after the room was kept from working.
const LATE_CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// Between two looks at the clock while a room that ends waits for the log.
const FLUSH_TICK: Duration = Duration::from_millis(500);
/// An upload may wait this long for the op that makes it known.
const UNUSED_ASSET_MS: u64 = 24 * 60 * 60 * 1000;

/// What reaches a room's task.
#[derive(Debug)]
pub enum Message {
    /// For the room itself. Boxed: the inbox of every board reserves place for 32.
    Input(Box<Input>),
    /// A request and where its answer goes.
    Request(Box<super::session::Joining>, Box<Input>, oneshot::Sender<Answer>),
    /// A session fell behind the ring.
    Behind(SessionId),
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
    /// None: the log did not answer when the board was opened, so that it may only be looked at.
    tail: Option<mpsc::Receiver<Logged>>,
    not_level: NotLevel,
    appending: Appending,
    /// A keyframe on its way to the store: no input waits for it.
    storing: Option<BoxFuture<'static, ()>>,
    answers: HashMap<SessionId, oneshot::Sender<Answer>>,
    sessions: BTreeSet<SessionId>,
    pending_bytes: usize,
    /// See [`Pulse::is_crowded`].
    is_crowded: bool,
    /// Opened for its keyframe, and nobody has come since.
    is_kept: bool,
    /// The way to the board's rooms on other nodes, where there are any.
    sharing: Option<Box<Sharing>>,
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

/// Opens the board, perhaps for its keyframe alone, and runs its room until it ends.
pub(super) async fn run(
    board: BoardId,
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    gathered: Arc<Gathered>,
    inbox: &mut mpsc::Receiver<Message>,
    busy: Busy,
    is_kept: bool,
) -> Ended {
    let mut waiting = VecDeque::new();
    // Boxed like all that is rare: what a task may once need, it holds all its life.
    let opened = Box::pin(open(&board, &shared, &ring, inbox, &mut waiting)).await;
    let Found { opened, tail } = match opened {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(board.id = %board, %error, "A board could not be opened.");
            for message in waiting {
                turn_away(message, &ring, CloseCode::Loading);
            }
            return Ended::NotOpened;
        }
    };
    let mut room = Room::new(opened, shared.limits.clone());
    let sharing = shared.log.relay().map(|relay| {
        room.share();
        Box::new(Sharing::new(relay, board.clone(), room.board().replica()))
    });
    let mut task = Task {
        board,
        shared,
        ring,
        gathered,
        room,
        tail,
        not_level: NotLevel::default(),
        appending: VecDeque::new(),
        storing: None,
        answers: HashMap::new(),
        sessions: BTreeSet::new(),
        pending_bytes: 0,
        is_crowded: false,
        is_kept,
        sharing,
        busy,
    };
    let ended = task.serve(inbox, waiting).await;
    task.shared.move_pending(task.pending_bytes, 0);
    if let Some(sharing) = &mut task.sharing {
        sharing.end((task.shared.clock)());
    }
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
        let mut ended = Box::pin(self.catch_up(None)).await;
        if ended.is_none() && !self.mind_edits().await {
            ended = Some(Ended::Poisoned);
        }
        if let Some(ended) = ended {
            return self.leave_behind(waiting, ended);
        }
        // It grows with what comes: most rooms are quiet, and each would hold it all its life.
        let mut batch = Vec::from(waiting);
        let mut unsettled = batch.len();
        loop {
            // What has been waiting for a frozen node may have been taken by another one meanwhile.
            if pulse.is_late()
                && let Some(ended) = Box::pin(self.catch_up(Some(LATE_CATCH_UP_MAX))).await
            {
                return self.leave_behind(batch, ended);
            }
            let mut messages = batch.drain(..).peekable();
            while let Some(message) = messages.next() {
                match self.take(message.with_followers(&mut messages)).await {
                    Some(Ended::Closed) => {
                        let ended = Box::pin(self.drain()).await;
                        return self.leave_behind(messages, ended);
                    }
                    Some(ended) => return self.leave_behind(messages, ended),
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
                () = stored(&mut self.storing), if self.storing.is_some() => {}
                sessions = self.not_level.over() => {
                    if self.tail.is_none() { return self.lose_log() }
                    for session in sessions {
                        self.ring.close(session, CloseCode::Loading);
                    }
                }
                logged = next_logged(&mut self.tail), if !is_full => {
                    unsettled += 1;
                    let Some(logged) = logged else { return self.lose_log() };
                    if !self.step(Input::Logged(logged)).await { return Ended::Poisoned }
                }
                count = inbox.recv_many(&mut batch, BATCH_MAX), if !is_full => {
                    if count == 0 { return Ended::Closed }
                    unsettled += count;
                }
                relayed = heard(&mut self.sharing), if self.sharing.is_some() && !is_full => {
                    unsettled += 1;
                    if !self.step(Input::Relayed(relayed)).await { return Ended::Poisoned }
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

    /// Tells those who wait behind the end to come back: nobody else knows of them.
    fn leave_behind(&self, messages: impl IntoIterator<Item = Message>, ended: Ended) -> Ended {
        for message in messages {
            turn_away(message, &self.ring, CloseCode::Rebuilt);
        }
        ended
    }

    /// Reads what was durable when the last of those came who wait. With a limit it is an attempt: a lesson goes on while
    /// the log does not answer.
    async fn catch_up(&mut self, limit: Option<Duration>) -> Option<Ended> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        if self.tail.is_none() {
            self.not_level.wait(None, &self.shared.log, &self.board);
            return None;
        }
        let (log, board) = (Arc::clone(&self.shared.log), self.board.clone());
        let level = reach_level(&log, &board, limit.is_some());
        tokio::pin!(level);
        let mut is_level = false;
        loop {
            let logged = tokio::select! {
                biased;
                logged = next_logged(&mut self.tail) => logged,
                done = &mut level, if !is_level => {
                    if done.is_err() {
                        return Some(self.lose_log());
                    }
                    is_level = true;
                    continue;
                }
                () = std::future::ready(()), if is_level => return None,
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return None,
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
        if let Some(sharing) = &mut self.sharing {
            sharing.mind(self.room.is_shared());
        }
        if now >= pulse.next_tick {
            if !self.take_gathered().await || !self.step(Input::Tick).await {
                return Some(Ended::Poisoned);
            }
            pulse.ticked(now, self.room.is_restless());
            if !self.room.is_idle() {
                pulse.idle_since = now;
            }
            let idle = Duration::from_millis(self.shared.limits.room_idle_ms);
            let is_over = now - pulse.idle_since >= idle || (self.is_kept && self.room.is_idle());
            if is_over && inbox.is_empty() {
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
                Message::Input(mut input) => {
                    if let Input::Join(joining) = &mut *input {
                        self.is_kept = false;
                        self.sessions.insert(joining.session);
                        joining.is_level &= self.tail.is_some();
                        if !joining.is_level {
                            let session = Some(joining.session);
                            self.not_level.wait(session, &self.shared.log, &self.board);
                        }
                    } else if let Input::Leave(session) = &*input {
                        self.sessions.remove(session);
                        self.ring.leave(*session);
                    }
                    self.step(*input).await
                }
                // What may not be all of the board is nothing to build on, and nothing to keep.
                message @ (Message::Request(..) | Message::Read(_)) if self.tail.is_none() => {
                    turn_away(message, &self.ring, CloseCode::Loading);
                    true
                }
                // Nothing is said of the frame, which may be a repeat of one on its way: its sender hears `unavailable`.
                Message::Request(..) if self.answers.len() >= REQUESTS_MAX => {
                    count(Counter::Refusals(ErrorCode::Busy));
                    true
                }
                Message::Request(joining, input, answer) => {
                    self.is_kept = false;
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
                Message::Behind(session) => self.step(Input::Behind(session, self.ring.lacks(session))).await,
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
            if let Input::Tick | Input::Closing = input {
                // A tick waits for no store: it makes no keyframe while the one before is on its way.
                let may_keep = self.storing.is_none() || matches!(input, Input::Closing);
                self.room.set_keeper(may_keep && self.shared.log.is_keeper(&self.board));
            }
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
            Effect::Close(session, code) => self.ring.close(session, code),
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
            Effect::Relay(lane, relayed) => {
                if let Some(sharing) = &self.sharing {
                    sharing.show(lane, &relayed);
                }
            }
            Effect::StoreKeyframe(keyframe) => {
                stored(&mut self.storing).await;
                let used = self.room.board().asset_names();
                self.storing = Some(keep(Arc::clone(&self.shared), self.board.clone(), keyframe, used).boxed());
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
        stored(&mut self.storing).await;
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
        let mut ticks = interval_at(Instant::now() + FLUSH_TICK, FLUSH_TICK);
        while self.room.pending_bytes() > 0 && Instant::now() < deadline {
            let input = tokio::select! {
                (number, result) = next_appended(&mut self.appending) => appended(number, result),
                Some(logged) = next_logged(&mut self.tail) => Input::Logged(logged),
                // What failed is tried again by the clock.
                _ = ticks.tick() => Input::Tick,
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

/// Stores a keyframe, then collects uploads that nothing on the board names.
async fn keep(shared: Arc<Shared>, board: BoardId, keyframe: StoredKeyframe, used: Vec<String>) {
    let before = Timestamp((shared.clock)().0.saturating_sub(UNUSED_ASSET_MS));
    if let Err(error) = shared.store.put_keyframe(&board, keyframe).await {
        tracing::warn!(board.id = %board, %error, "A keyframe was not stored.");
        metrics::counter!(telemetry::KEYFRAMES_FAILED_TOTAL).increment(1);
    } else if let Err(error) = shared.store.collect_assets(&board, &used, before).await {
        tracing::warn!(board.id = %board, %error, "Unused uploads were not removed; the next keyframe does it.");
    }
}

/// Waits until what is on its way to the store has arrived.
async fn stored(storing: &mut Option<BoxFuture<'static, ()>>) {
    if let Some(store) = storing {
        store.await;
        *storing = None;
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
        Message::Read(_) | Message::Stop(_) | Message::Behind(_) | Message::Gathered => {}
    }
}
