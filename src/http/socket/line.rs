//! One connection, from the upgrade to its close: reads, judges and hands over what comes, writes what waits.
//!
//! Idle connections are many, so a line holds little: rare work is boxed, and one timer serves all deadlines.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::pace::Pace;
use super::{Closing, close_code, payload};
use crate::http::AppState;
use crate::http::assets::complete;
use crate::http::progress::Progress;
use crate::protocol::close::CloseCode;
use crate::protocol::codec::{self, Format};
use crate::protocol::ids::{BoardId, SessionId};
use crate::protocol::limits::Limits;
use crate::protocol::{ClientFrame, ErrorCode};
use crate::room::Input;
use crate::room::hub::Connection;
use crate::room::ring::Pulled;
use crate::room::session::Door;
use crate::room::yjs::YjsMessage;
use crate::telemetry;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Time a peer has to take our close frame, and again to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Ephemeral messages above this do not wait for the tick: what waits is counted in messages, not in bytes.
const SHOWN_BYTES_MAX: usize = 16 * 1024;
/// Bytes around a message, at least.
const HEAD_BYTES: usize = 6;
/// Awareness of nobody: Yjs providers hang up after 30 s without a message, and do not see pings.
const YJS_KEEP_ALIVE: &[u8] = &[1, 1, 0];

/// One connection: its socket, and what is known of its pace.
pub(super) struct Line {
    pub(super) socket: WebSocket,
    pub(super) door: Door,
    pub(super) state: AppState,
    pub(super) board: BoardId,
    pub(super) limits: Arc<Limits>,
    /// Of one message.
    bytes_max: usize,
    progress: Progress,
    pace: Pace,
    has_sent_update: bool,
    /// Until when the first message must have come; none once it has.
    pub(super) handshake_ends: Option<Instant>,
    /// When the token ends.
    pub(super) end: Option<Instant>,
    /// Resolves when the token is revoked.
    pub(super) revoked: Option<BoxFuture<'static, ()>>,
    last_heard: Instant,
    /// Bytes that had come by then: a large message may take long on a slow line.
    heard_bytes: u64,
    next_ping: Instant,
    /// Goes off at the next deadline or before it: setting it anew costs more than an early turn.
    alarm: Pin<Box<Sleep>>,
    /// Frames on their way from the ring to the socket.
    buffer: Vec<Bytes>,
}

/// What a line does next.
enum Turn {
    /// Take what came; none: the far end is gone.
    Heard(Option<Result<Message, axum::Error>>),
    /// Write what waits.
    News,
    /// Leave: the token counts no more.
    Revoked,
    /// See what is due by the clock.
    Due,
}

impl Line {
    pub(super) fn new(socket: WebSocket, progress: Progress, door: Door, state: AppState, board: BoardId) -> Self {
        let limits = Arc::clone(&state.limits);
        let now = Instant::now();
        let wait = Duration::from_millis(limits.handshake_timeout_ms);
        let next_ping = now + Duration::from_millis(limits.ping_interval_ms);
        Self {
            socket,
            door,
            state,
            board,
            progress,
            pace: Pace::new(&limits),
            bytes_max: super::message_bytes_max(&limits),
            limits,
            has_sent_update: false,
            handshake_ends: Some(now + wait),
            end: None,
            revoked: None,
            last_heard: now,
            heard_bytes: 0,
            next_ping,
            alarm: Box::pin(sleep_until(next_ping)),
            buffer: Vec::new(),
        }
    }

    /// Reads and writes until one side has enough, or the token ends; gives what to say at the end, if anything.
    ///
    /// It borrows: a future that takes its arguments by value holds them twice.
    pub(super) async fn serve(&mut self, connection: &Connection) -> Closing {
        let mut has_written = false;
        loop {
            let pause = self.pace.pause();
            self.set_alarm(pause);
            let turn = poll_fn(|context| self.poll_turn(context, connection, pause.is_some(), has_written)).await;
            has_written = matches!(turn, Turn::News);
            let done = match turn {
                Turn::Heard(message) => {
                    self.note_heard(Instant::now());
                    self.handshake_ends = None;
                    match message {
                        Some(Ok(message)) => self.take(message, connection).await,
                        Some(Err(error)) => Err(close_code(&error)),
                        None => Err(None),
                    }
                }
                Turn::News => self.write(connection).await,
                Turn::Revoked => Err(Some(CloseCode::Unauthenticated)),
                Turn::Due => self.by_the_clock(connection, pause).await,
            };
            if let Err(code) = done {
                return code;
            }
        }
    }

    /// What there is to do. Writing comes before reading, since most wakings are for that, but never twice before the
    /// socket was looked at.
    fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        connection: &Connection,
        is_paused: bool,
        has_written: bool,
    ) -> Poll<Turn> {
        // First: neither a flood of messages nor one of news may put it off.
        if let Some(revoked) = &mut self.revoked
            && revoked.poll_unpin(context).is_ready()
        {
            return Poll::Ready(Turn::Revoked);
        }
        if !has_written && connection.poll_news(context).is_ready() {
            return Poll::Ready(Turn::News);
        }
        if !is_paused && let Poll::Ready(message) = self.socket.poll_next_unpin(context) {
            return Poll::Ready(Turn::Heard(message));
        }
        if has_written && connection.poll_news(context).is_ready() {
            return Poll::Ready(Turn::News);
        }
        self.alarm.as_mut().poll(context).map(|()| Turn::Due)
    }

    fn note_heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.heard_bytes = self.progress.heard();
    }

    fn set_alarm(&mut self, pause: Option<Instant>) {
        let idle = Duration::from_millis(self.limits.idle_timeout_ms);
        // While the socket is not read, its silence says nothing.
        let silence = pause.unwrap_or(self.last_heard + idle);
        let others = [self.end, self.handshake_ends, self.pace.next_held()];
        let due = others
            .into_iter()
            .flatten()
            .fold(silence.min(self.next_ping), Instant::min);
        if due < self.alarm.deadline() || self.alarm.is_elapsed() {
            self.alarm.as_mut().reset(due);
        }
    }

    /// Does what is due.
    async fn by_the_clock(&mut self, connection: &Connection, pause: Option<Instant>) -> Result<(), Closing> {
        let now = Instant::now();
        if self.end.is_some_and(|end| now >= end) {
            return Err(Some(CloseCode::Unauthenticated));
        }
        if self.handshake_ends.is_some_and(|end| now >= end) {
            return Err(Some(CloseCode::HandshakeTimeout));
        }
        if let Some(held) = self.pace.take_held(now) {
            let shown = connection.show(held).await;
            shown.map_err(|_room_ended| Some(CloseCode::Rebuilt))?;
        }
        if pause.is_none() && now >= self.last_heard + Duration::from_millis(self.limits.idle_timeout_ms) {
            if self.progress.heard() == self.heard_bytes {
                return Err(None);
            }
            self.note_heard(now);
        }
        if now >= self.next_ping {
            self.next_ping = now + Duration::from_millis(self.limits.ping_interval_ms);
            self.keep_alive(connection).await?;
        }
        Ok(())
    }

    /// Judges one message and hands it to the room.
    async fn take(&mut self, message: Message, connection: &Connection) -> Result<(), Closing> {
        let session = connection.session();
        let bytes = size(&message);
        // Pings, too: each is answered.
        self.pace.note_bytes(bytes + HEAD_BYTES);
        if bytes > self.bytes_max {
            return Err(Some(CloseCode::TooBig));
        }
        let is_small = bytes <= SHOWN_BYTES_MAX;
        let (input, is_ephemeral) = match (self.door, message) {
            (_, Message::Ping(_) | Message::Pong(_)) => return Ok(()),
            (_, Message::Close(_)) => return Err(None),
            (Door::Yjs, Message::Binary(frame)) => {
                let message = YjsMessage::parse(&frame).ok_or(Some(CloseCode::Malformed))?;
                self.judge_size(&frame, matches!(message, YjsMessage::Step2(_) | YjsMessage::Update(_)))?;
                let is_ephemeral = matches!(message, YjsMessage::Awareness(_));
                (Input::Yjs(session, message), is_ephemeral)
            }
            (Door::Own { format, .. }, message) => {
                let frame = payload(&message, format).ok_or(Some(CloseCode::WrongFrameKind))?;
                match codec::decode_client(format, &frame) {
                    Ok(mut decoded) => {
                        let bytes_max = self.frame_bytes_max(&decoded);
                        let is_ephemeral = matches!(decoded, ClientFrame::Ephemeral(_) | ClientFrame::More { .. });
                        if frame.len() > bytes_max {
                            (too_large(session, &decoded, bytes_max)?, false)
                        } else if let ClientFrame::Op { seq, ops, .. } = &mut decoded
                            && let Err(problem) = Box::pin(complete(&self.state, &self.board, ops)).await
                        {
                            let code = if problem.status < 500 {
                                ErrorCode::NotFound
                            } else {
                                ErrorCode::Busy
                            };
                            (Input::Refused(session, *seq, code, problem.detail), false)
                        } else {
                            (Input::Frame(session, decoded), is_ephemeral)
                        }
                    }
                    Err(error) => {
                        let seq = codec::seq_of(format, &frame);
                        (Input::BadFrame(session, error.to_string(), seq), false)
                    }
                }
            }
            (Door::Yjs | Door::Request { .. }, _) => return Err(Some(CloseCode::WrongFrameKind)),
        };
        // Points of a stroke add up, so none of them gives way to a newer frame.
        let may_give_way = is_ephemeral && !adds_to_stroke(&input);
        let sent = match self.pace.admit(input, may_give_way) {
            Some(input) if is_ephemeral && is_small => connection.show(input).await,
            Some(input) => connection.send(input).await,
            None => Ok(()),
        };
        sent.map_err(|_room_ended| Some(CloseCode::Rebuilt))
    }

    /// Bytes that a frame of our own door may have.
    fn frame_bytes_max(&mut self, frame: &ClientFrame) -> usize {
        match frame {
            ClientFrame::Op { .. } => self.limits.op_bytes_max,
            ClientFrame::Resync { .. } => self.limits.first_update_bytes_max,
            ClientFrame::Update { .. } if !std::mem::replace(&mut self.has_sent_update, true) => {
                self.limits.first_update_bytes_max
            }
            ClientFrame::Update { .. }
            | ClientFrame::Hello(_)
            | ClientFrame::Ephemeral(_)
            | ClientFrame::More { .. }
            | ClientFrame::Ping {} => self.limits.update_bytes_max,
        }
    }

    /// The first update of a connection may hold what was drawn offline; later ones are smaller.
    fn judge_size(&mut self, frame: &Bytes, is_update: bool) -> Result<(), Closing> {
        let is_first = is_update && !self.has_sent_update;
        self.has_sent_update |= is_update;
        if !is_first && frame.len() > self.limits.update_bytes_max {
            return Err(Some(CloseCode::TooBig));
        }
        Ok(())
    }

    /// Writes all that waits, several frames a write.
    async fn write(&mut self, connection: &Connection) -> Result<(), Closing> {
        loop {
            match connection.pull(&mut self.buffer, WRITE_BYTES) {
                Pulled::Empty => return Ok(()),
                Pulled::All => return self.send(connection).await,
                Pulled::Frames => self.send(connection).await?,
                Pulled::Behind => {
                    let level = connection.level().await;
                    level.map_err(|_room_ended| Some(CloseCode::Rebuilt))?;
                }
                Pulled::Close(code) => return Err(Some(code)),
            }
        }
    }

    /// Sends what is in the buffer; a socket that takes nothing for a while is given up. What ends a session ends it here,
    /// too: of a token at once, else once what is on its way had the time for it.
    async fn send(&mut self, connection: &Connection) -> Result<(), Closing> {
        let is_text = matches!(
            self.door,
            Door::Own {
                format: Format::Json,
                ..
            }
        );
        let stall = Duration::from_millis(self.limits.write_stall_ms);
        let has_waited = {
            let Self {
                socket,
                buffer,
                alarm,
                progress,
                revoked,
                end,
                ..
            } = self;
            let ends = *end;
            let next_look = || ends.into_iter().fold(Instant::now() + stall, Instant::min);
            let mut write = pin!(feed(socket, buffer, is_text));
            let (mut is_stalling, mut over) = (false, None);
            let mut taken = progress.bytes();
            loop {
                tokio::select! {
                    biased;
                    written = &mut write => {
                        written.map_err(|_gone| None)?;
                        break is_stalling;
                    }
                    // Most sockets take all at once; only for the others the timer is set.
                    () = std::future::ready(()), if !is_stalling => {
                        is_stalling = true;
                        alarm.as_mut().reset(next_look());
                    }
                    () = ended(revoked), if is_stalling => return Err(Some(CloseCode::Unauthenticated)),
                    code = poll_fn(|context| connection.poll_over(context)), if is_stalling && over.is_none() => {
                        over = Some(code);
                        alarm.as_mut().reset(next_look());
                    }
                    () = alarm.as_mut(), if is_stalling => {
                        if ends.is_some_and(|end| Instant::now() >= end) {
                            return Err(Some(CloseCode::Unauthenticated));
                        }
                        if over.is_some() || progress.bytes() == taken {
                            return Err(Some(over.unwrap_or(CloseCode::TryLater)));
                        }
                        taken = progress.bytes();
                        alarm.as_mut().reset(next_look());
                    }
                }
            }
        };
        if has_waited {
            // What the far end took is as good as a word from it, and it was not listened to meanwhile.
            self.note_heard(Instant::now());
        }
        Ok(())
    }

    async fn keep_alive(&mut self, connection: &Connection) -> Result<(), Closing> {
        let ping = Message::Ping(Bytes::new());
        self.socket.feed(ping).await.map_err(|_gone| None)?;
        if self.door == Door::Yjs {
            self.buffer.push(Bytes::from_static(YJS_KEEP_ALIVE));
        }
        self.send(connection).await
    }

    /// Says why, and waits a moment for the answer, so that the reason is not lost with unread data.
    pub(super) async fn close(&mut self, code: CloseCode) {
        metrics::counter!(telemetry::CLOSES_TOTAL, "code" => code.code().to_string()).increment(1);
        let frame = CloseFrame {
            code: code.code(),
            reason: super::reason(code).into(),
        };
        let said = timeout(CLOSE_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
        match said {
            Ok(Ok(())) => {
                let answer = async { while let Some(Ok(_)) = self.socket.recv().await {} };
                // Who does not answer in time is cut off.
                _ = timeout(CLOSE_TIMEOUT, answer).await;
            }
            Ok(Err(_gone)) => {}
            // The reason stands behind all that the far end does not take: it finds the connection reset.
            Err(_elapsed) => self.progress.give_up(),
        }
    }
}

/// Writes all of the buffer.
async fn feed(socket: &mut WebSocket, buffer: &mut Vec<Bytes>, is_text: bool) -> Result<(), axum::Error> {
    for bytes in buffer.drain(..) {
        let message = if is_text {
            Message::Text(bytes.try_into().expect("the codec writes UTF-8"))
        } else {
            Message::Binary(bytes)
        };
        socket.feed(message).await?;
    }
    socket.flush().await
}

/// Resolves when the token is revoked, if there is one.
async fn ended(revoked: &mut Option<BoxFuture<'static, ()>>) {
    match revoked {
        Some(revoked) => revoked.await,
        None => std::future::pending().await,
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

fn adds_to_stroke(input: &Input) -> bool {
    let Input::Frame(_, frame) = input else { return false };
    matches!(frame, ClientFrame::More { .. })
        || matches!(frame, ClientFrame::Ephemeral(state) if state.kind == "stroke")
}

/// Refuses a frame by its `seq`; one without has to end the connection.
fn too_large(session: SessionId, frame: &ClientFrame, bytes_max: usize) -> Result<Input, Closing> {
    let (ClientFrame::Op { seq, .. } | ClientFrame::Update { seq, .. }) = frame else {
        return Err(Some(CloseCode::TooBig));
    };
    let message = format!("the frame is above {bytes_max} bytes: send it in parts");
    Ok(Input::Refused(session, *seq, ErrorCode::TooLarge, message))
}
