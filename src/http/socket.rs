//! The WebSocket doors: upgrade, handshake, one task for each connection.
//!
//! `GET /v1/boards/{id}/ws` speaks `panseo.v1.msgpack` and `panseo.v1.json`, `GET /yjs/{id}` speaks y-protocols as
//! `y-websocket`'s provider expects it. Who is at the door is decided in `http/auth.rs`; a frame's size, kind and rate
//! are judged here, all else in the room. This is the only file that knows the WebSocket type.

mod pace;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::AppState;
use super::assets::complete;
use super::auth::{self, AdmitError, AuthError};
use super::error::Problem;
use super::request::BoardPath;
use super::seats::Seat;
use super::token::CLOCK_SKEW_SECONDS;
use crate::access::Caller;
use crate::board::guard::walk_state_vector;
use crate::protocol::close::CloseCode;
use crate::protocol::codec::{self, Format};
use crate::protocol::ids::{BoardId, Timestamp};
use crate::protocol::limits::Limits;
use crate::protocol::{ClientFrame, ErrorCode};
use crate::room::Input;
use crate::room::hub::Connection;
use crate::room::ring::Pulled;
use crate::room::session::Door;
use crate::room::yjs::YjsMessage;
use crate::telemetry;
use pace::Pace;

/// A connection costs its read buffer all its life: the library's 128 KiB would be nine tenths of it.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Bytes gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Time a peer has to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Awareness of nobody: Yjs providers hang up after 30 s without a message, and do not see pings.
const YJS_KEEP_ALIVE: &[u8] = &[1, 1, 0];

/// After so long somebody who has too many sockets open may try again.
const SEAT_WAIT_SECONDS: u64 = 5;

/// Longest time that somebody is asked to wait.
const BUSY_SECONDS_MAX: u64 = 10;

const SUBPROTOCOLS: [(&str, Format); 2] = [("panseo.v1.msgpack", Format::MsgPack), ("panseo.v1.json", Format::Json)];

/// The WebSocket doors.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/boards/{id}/ws", get(own_door))
        .route("/yjs/{id}", get(yjs_door))
}

async fn yjs_door(
    State(state): State<AppState>,
    BoardPath(board): BoardPath,
    ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let caller = match auth::identify(&state, peer.ip(), &headers, &uri)? {
        Some(caller) => caller,
        None if state.auth.is_open() => auth::open_caller(None),
        None => return Err(AuthError::Missing.into()),
    };
    let (_, role) = auth::admit(&state, &caller, &board).await?;
    let seat = take_seat(&state, &caller, &board).map_err(Problem::too_many)?;
    Ok(sized(upgrade, &state.limits)
        .on_upgrade(async move |socket| {
            let _held = (seat, state.sockets.token());
            let line = Line::new(socket, Door::Yjs, &state, &board);
            match state.hub.connect(&board, &caller.identity, role, Door::Yjs, None).await {
                Ok(connection) => line.serve(connection, &caller).await,
                Err(_) => line.close(CloseCode::Loading).await,
            }
        })
        .into_response())
}

async fn own_door(
    State(state): State<AppState>,
    BoardPath(board): BoardPath,
    ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let caller = auth::identify(&state, peer.ip(), &headers, &uri)?;
    let mut seat = None;
    if let Some(caller) = &caller {
        // What can be refused before the upgrade is: a status says more than a close code.
        auth::admit(&state, caller, &board).await?;
        seat = Some(take_seat(&state, caller, &board).map_err(Problem::too_many)?);
    }
    let upgrade = sized(upgrade, &state.limits).protocols(SUBPROTOCOLS.map(|(name, _)| name));
    let chosen = upgrade.selected_protocol().and_then(|chosen| chosen.to_str().ok());
    let Some((_, format)) = SUBPROTOCOLS.into_iter().find(|(name, _)| Some(*name) == chosen) else {
        return Err(Problem::bad_request(
            "Ask for the subprotocol `panseo.v1.msgpack` or `panseo.v1.json`.",
        ));
    };
    Ok(upgrade
        .on_upgrade(async move |socket| {
            let _open = state.sockets.token();
            let mut line = Line::new(socket, Door::Request { client: None }, &state, &board);
            match line.greet(&state, &board, (caller, seat), peer.ip(), format).await {
                Ok((connection, _seat, caller)) => line.serve(connection, &caller).await,
                Err(Some(code)) => line.close(code).await,
                Err(None) => {}
            }
        })
        .into_response())
}

/// A place for one more socket of the caller; else the seconds to wait.
fn take_seat(state: &AppState, caller: &Caller, board: &BoardId) -> Result<Seat, u64> {
    let user = &caller.identity.user;
    if user.as_str() != auth::GUEST {
        state.rates.join(user)?;
    }
    state.seats.take(user, board).ok_or(SEAT_WAIT_SECONDS)
}

/// When the caller's token is not accepted any more, by the clock that sockets wait by.
fn ends(state: &AppState, caller: &Caller) -> Option<Instant> {
    let end = Timestamp(caller.expires?.0 + CLOCK_SKEW_SECONDS * 1_000);
    let left_ms = end.since((state.clock)());
    Some(Instant::now() + Duration::from_millis(left_ms))
}

fn sized(upgrade: WebSocketUpgrade, limits: &Limits) -> WebSocketUpgrade {
    // A message carries a few bytes around the largest update.
    let bytes_max = limits.first_update_bytes_max + 1_024;
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
}

/// One connection: its socket, and what is known of its pace.
struct Line {
    socket: WebSocket,
    door: Door,
    limits: Arc<Limits>,
    state: AppState,
    board: BoardId,
    pace: Pace,
    has_sent_update: bool,
    /// Until when the first message must have come; none once it has.
    handshake_ends: Option<Instant>,
    last_heard: Instant,
}

/// Why reading ends.
type Closing = Option<CloseCode>;

impl Line {
    fn new(socket: WebSocket, door: Door, state: &AppState, board: &BoardId) -> Self {
        let limits = Arc::clone(&state.limits);
        let pace = Pace::new(&limits);
        let now = Instant::now();
        let wait = Duration::from_millis(limits.handshake_timeout_ms);
        Self {
            socket,
            door,
            limits,
            state: state.clone(),
            board: board.clone(),
            pace,
            has_sent_update: false,
            handshake_ends: Some(now + wait),
            last_heard: now,
        }
    }

    /// Waits for `hello`, finds out who it is, and joins the board.
    async fn greet(
        &mut self,
        state: &AppState,
        board: &BoardId,
        (caller, seat): (Option<Caller>, Option<Seat>),
        peer: IpAddr,
        format: Format,
    ) -> Result<(Connection, Seat, Caller), Closing> {
        let wait = Duration::from_millis(self.limits.handshake_timeout_ms);
        let first = timeout(wait, self.socket.recv())
            .await
            .map_err(|_elapsed| Some(CloseCode::HandshakeTimeout))?;
        let message = first.ok_or(None)?.map_err(|error| close_code(&error))?;
        let bytes = payload(&message, format).ok_or(Some(CloseCode::WrongFrameKind))?;
        let Ok(ClientFrame::Hello(hello)) = codec::decode_client(format, &bytes) else {
            return Err(Some(CloseCode::Malformed));
        };
        let caller = match (caller, &hello.token) {
            (Some(caller), _) => caller,
            (None, Some(token)) if !state.auth.is_open() => {
                auth::identify_token(state, peer, token).map_err(|_refused| Some(CloseCode::Unauthenticated))?
            }
            (None, _) if state.auth.is_open() => auth::open_caller(hello.user),
            (None, _) => return Err(Some(CloseCode::Unauthenticated)),
        };
        let (_, role) = auth::admit(state, &caller, board).await.map_err(|error| match error {
            AdmitError::NoBoard => Some(CloseCode::NoBoard),
            AdmitError::Forbidden => Some(CloseCode::Forbidden),
            AdmitError::Store(_) => Some(CloseCode::TryLater),
        })?;
        let seat = match seat {
            Some(seat) => seat,
            None => take_seat(state, &caller, board).map_err(|_seconds| Some(CloseCode::TryLater))?,
        };
        let vector = match &hello.vector {
            Some(vector) => Some(walk_state_vector(&vector.0).map_err(|_malformed| Some(CloseCode::Malformed))?),
            None => None,
        };
        self.handshake_ends = None;
        self.door = Door::Own {
            format,
            document: hello.document,
            client: hello.client,
        };
        let joined = state
            .hub
            .connect(board, &caller.identity, role, self.door, vector)
            .await;
        let connection = joined.map_err(|_unavailable| Some(CloseCode::Loading))?;
        Ok((connection, seat, caller))
    }

    /// Reads and writes until one side has enough, or the token ends.
    async fn serve(mut self, connection: Connection, caller: &Caller) {
        let end = ends(&self.state, caller);
        let revocations = Arc::clone(&self.state.revoked);
        let mut revoked = pin!(revocations.until(caller));
        let ping = Duration::from_millis(self.limits.ping_interval_ms);
        let idle = Duration::from_millis(self.limits.idle_timeout_ms);
        let mut next_ping = Instant::now() + ping;
        let mut buffer = Vec::new();
        let code = loop {
            let pause = self.pace.pause();
            let deadline = self
                .pace
                .next_held()
                .unwrap_or(next_ping)
                .min(next_ping)
                .min(self.last_heard + idle);
            let ends = [end, self.handshake_ends].into_iter().flatten();
            let deadline = ends.fold(deadline, Instant::min);
            tokio::select! {
                message = self.socket.recv(), if pause.is_none() => {
                    self.last_heard = Instant::now();
                    self.handshake_ends = None;
                    let Some(message) = message else { break None };
                    let taken = match message {
                        Ok(message) => self.take(message, &connection).await,
                        Err(error) => Err(close_code(&error)),
                    };
                    if let Err(code) = taken { break code }
                }
                () = &mut revoked => break Some(CloseCode::Unauthenticated),
                () = connection.news() => {
                    if let Err(code) = self.write(&connection, &mut buffer).await { break code }
                }
                () = sleep_until(pause.unwrap_or(deadline)) => {
                    let now = Instant::now();
                    if end.is_some_and(|end| now >= end) { break Some(CloseCode::Unauthenticated) }
                    if self.handshake_ends.is_some_and(|end| now >= end) { break Some(CloseCode::HandshakeTimeout) }
                    if let Some(held) = self.pace.take_held(now)
                        && connection.send(held).await.is_err()
                    {
                        break Some(CloseCode::Rebuilt);
                    }
                    if pause.is_none() && now >= self.last_heard + idle { break None }
                    if now >= next_ping {
                        next_ping = now + ping;
                        if self.keep_alive().await.is_err() { break None }
                    }
                }
            }
        };
        drop(connection);
        if let Some(code) = code {
            self.close(code).await;
        }
    }

    /// Judges one message and hands it to the room.
    async fn take(&mut self, message: Message, connection: &Connection) -> Result<(), Closing> {
        let session = connection.session();
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
                        self.judge_size(&frame, matches!(decoded, ClientFrame::Update { .. }))?;
                        let is_op = matches!(decoded, ClientFrame::Op { .. });
                        if is_op && frame.len() > self.limits.op_bytes_max {
                            return Err(Some(CloseCode::TooBig));
                        }
                        // Points of a stroke add up, so none of them gives way to a newer frame.
                        let is_ephemeral = matches!(&decoded, ClientFrame::Ephemeral(state) if state.kind != "stroke");
                        if let ClientFrame::Op { seq, ops, .. } = &mut decoded
                            && let Err(problem) = complete(&self.state, &self.board, ops).await
                        {
                            (
                                Input::Refused(session, *seq, ErrorCode::NotFound, problem.detail),
                                false,
                            )
                        } else {
                            (Input::Frame(session, decoded), is_ephemeral)
                        }
                    }
                    Err(error) => {
                        self.pace.note_bytes(frame.len());
                        let seq = codec::seq_of(format, &frame);
                        (Input::BadFrame(session, error.to_string(), seq), false)
                    }
                }
            }
            (Door::Yjs | Door::Request { .. }, _) => return Err(Some(CloseCode::WrongFrameKind)),
        };
        match self.pace.admit(input, is_ephemeral) {
            Some(input) => connection
                .send(input)
                .await
                .map_err(|_room_ended| Some(CloseCode::Rebuilt)),
            None => Ok(()),
        }
    }

    /// The first update of a connection may hold what was drawn offline; later ones are smaller.
    fn judge_size(&mut self, frame: &Bytes, is_update: bool) -> Result<(), Closing> {
        self.pace.note_bytes(frame.len());
        let is_first = is_update && !self.has_sent_update;
        self.has_sent_update |= is_update;
        if !is_first && frame.len() > self.limits.update_bytes_max {
            return Err(Some(CloseCode::TooBig));
        }
        Ok(())
    }

    /// Writes all that waits, several frames a write.
    async fn write(&mut self, connection: &Connection, buffer: &mut Vec<Bytes>) -> Result<(), Closing> {
        loop {
            match connection.pull(buffer, WRITE_BYTES) {
                Pulled::Empty => return Ok(()),
                Pulled::Frames => self.send(buffer).await?,
                Pulled::Behind(lacks) => {
                    connection
                        .level(lacks)
                        .await
                        .map_err(|_room_ended| Some(CloseCode::Rebuilt))?;
                }
                Pulled::Close(code) => return Err(Some(code)),
            }
        }
    }

    async fn send(&mut self, buffer: &mut Vec<Bytes>) -> Result<(), Closing> {
        let is_text = matches!(
            self.door,
            Door::Own {
                format: Format::Json,
                ..
            }
        );
        let stall = Duration::from_millis(self.limits.write_stall_ms);
        let socket = &mut self.socket;
        let write = async {
            for bytes in buffer.drain(..) {
                let message = if is_text {
                    Message::Text(bytes.try_into().expect("the codec writes UTF-8"))
                } else {
                    Message::Binary(bytes)
                };
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        match timeout(stall, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(CloseCode::TryLater)),
        }
    }

    async fn keep_alive(&mut self) -> Result<(), Closing> {
        let ping = Message::Ping(Bytes::new());
        self.socket.feed(ping).await.map_err(|_gone| None)?;
        let mut buffer = Vec::new();
        if self.door == Door::Yjs {
            buffer.push(Bytes::from_static(YJS_KEEP_ALIVE));
        }
        self.send(&mut buffer).await
    }

    /// Says why, and waits a moment for the answer, so that the reason is not lost with unread data.
    async fn close(mut self, code: CloseCode) {
        metrics::counter!(telemetry::CLOSES_TOTAL, "code" => code.code().to_string()).increment(1);
        let frame = CloseFrame {
            code: code.code(),
            reason: reason(code).into(),
        };
        let goodbye = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        // Who does not answer in time is cut off.
        _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// Whoever finds no place is told when to come back, each at another time.
fn reason(code: CloseCode) -> String {
    let words = code.reason();
    if code == CloseCode::TryLater {
        let seconds = 1 + Uuid::new_v4().as_u64_pair().0 % BUSY_SECONDS_MAX;
        return format!("{words}, wait {seconds} s");
    }
    words.to_owned()
}

fn payload(message: &Message, format: Format) -> Option<Bytes> {
    match (message, format) {
        (Message::Binary(bytes), Format::MsgPack) => Some(bytes.clone()),
        (Message::Text(text), Format::Json) => Some(text.clone().into()),
        _ => None,
    }
}

/// What a failed read says to the peer; nothing where there is nobody left to tell.
///
/// The library's own error type is not named here (axum keeps its version to itself): an I/O error is found as a source,
/// the other kinds by the fixed words their messages begin with.
fn close_code(error: &axum::Error) -> Closing {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return None;
        }
        source = cause.source();
    }
    let text = error.to_string();
    if text.contains("without closing handshake")
        || text.contains("onnection closed")
        || text.contains("closed connection")
    {
        None
    } else if text.starts_with("Space limit exceeded") {
        Some(CloseCode::TooBig)
    } else if text.starts_with("UTF-8") {
        Some(CloseCode::BadText)
    } else {
        Some(CloseCode::Malformed)
    }
}
