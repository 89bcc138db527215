//! The WebSocket doors: upgrade, handshake, one task for each connection.
//!
//! `GET /v1/boards/{id}/ws` speaks `panseo.v1.msgpack` and `panseo.v1.json`, `GET /yjs/{id}` speaks y-protocols as
//! `y-websocket`'s provider expects it. Who is at the door is decided in `http/auth.rs`; a frame's size, kind and rate
//! are judged in `socket/line.rs`, all else in the room. Only these two files know the WebSocket type.

mod line;
mod pace;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::AppState;
use super::auth::{self, AdmitError, AuthError};
use super::error::Problem;
use super::progress::Progress;
use super::request::BoardPath;
use super::seats::Seat;
use super::token::CLOCK_SKEW_SECONDS;
use crate::access::Caller;
use crate::board::guard::walk_state_vector;
use crate::protocol::ClientFrame;
use crate::protocol::close::CloseCode;
use crate::protocol::codec::{self, Format};
use crate::protocol::ids::{BoardId, Role, Timestamp};
use crate::protocol::limits::Limits;
use crate::room::hub::Connection;
use crate::room::session::Door;
use line::Line;

/// A connection costs its read buffer all its life: the library's 128 KiB would be nine tenths of it. Most messages fit
/// twenty times.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes beyond the largest message that are read all the same: whoever sends before they listen would find the
/// connection reset, and not the reason.
const UNWANTED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// After so long somebody who has too many sockets open may try again.
const SEAT_WAIT_SECONDS: u64 = 5;

const SUBPROTOCOLS: [(&str, Format); 2] = [("panseo.v1.msgpack", Format::MsgPack), ("panseo.v1.json", Format::Json)];

/// Longest time that somebody is asked to wait.
const BUSY_SECONDS_MAX: u64 = 10;

/// The WebSocket doors.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/boards/{id}/ws", get(own_door))
        .route("/yjs/{id}", get(yjs_door))
}

/// The request to go over to the WebSocket protocol.
struct Upgrade(WebSocketUpgrade);

impl FromRequestParts<AppState> for Upgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let asked = WebSocketUpgrade::from_request_parts(parts, state).await;
        asked.map(Self).map_err(|_plain| {
            let detail = "This is the address of a WebSocket. Open it with a WebSocket client; the board's page is at `/b/{id}`.";
            let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail);
            // What RFC 9110 §15.5.22 and RFC 6455 §4.4 want said.
            let headers = [
                (header::UPGRADE, "websocket"),
                (header::CONNECTION, "upgrade"),
                (header::SEC_WEBSOCKET_VERSION, "13"),
            ];
            (headers, problem).into_response()
        })
    }
}

async fn yjs_door(
    State(state): State<AppState>,
    BoardPath(board): BoardPath,
    ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
    progress: Progress,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    let caller = match auth::identify(&state, peer.ip(), &headers, &uri)? {
        Some(caller) => caller,
        None if state.auth.is_open() => auth::open_caller(None),
        None => return Err(AuthError::Missing.into()),
    };
    let admission = admit(&state, &caller, &board).await?;
    let seat = take_seat(&state, &caller, &board).map_err(Problem::too_many)?;
    Ok(sized(upgrade, &state.limits)
        .on_upgrade(async move |socket| {
            let _open = state.sockets.token();
            let mut line = Line::new(socket, progress, Door::Yjs, state, board);
            watch_token(&mut line, &caller);
            match join(&mut line, &caller, admission, None).await {
                Ok(connection) => settle(line, connection, seat),
                Err(code) => line.close(code).await,
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
    progress: Progress,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Problem> {
    // First: what is refused makes no board and takes no place.
    let upgrade = sized(upgrade, &state.limits).protocols(SUBPROTOCOLS.map(|(name, _)| name));
    let chosen = upgrade.selected_protocol().and_then(|chosen| chosen.to_str().ok());
    let Some((_, format)) = SUBPROTOCOLS.into_iter().find(|(name, _)| Some(*name) == chosen) else {
        return Err(Problem::bad_request(
            "Ask for the subprotocol `panseo.v1.msgpack` or `panseo.v1.json`.",
        ));
    };
    let caller = auth::identify(&state, peer.ip(), &headers, &uri)?;
    let mut seat = None;
    if let Some(caller) = &caller {
        // What can be refused before the upgrade is: a status says more than a close code.
        auth::admit(&state, caller, &board).await?;
        seat = Some(take_seat(&state, caller, &board).map_err(Problem::too_many)?);
    }
    Ok(upgrade
        .on_upgrade(async move |socket| {
            let _open = state.sockets.token();
            let mut line = Line::new(socket, progress, Door::Request { client: None }, state, board);
            match greet(&mut line, (caller, seat), peer.ip(), format).await {
                Ok((connection, seat)) => settle(line, connection, seat),
                Err(Some(code)) => line.close(code).await,
                Err(None) => {}
            }
        })
        .into_response())
}

/// The caller's role, and how many changes of roles this node had been told of before it was looked up.
struct Admission {
    role: Role,
    grants: u64,
}

async fn admit(state: &AppState, caller: &Caller, board: &BoardId) -> Result<Admission, AdmitError> {
    let grants = state.hub.grants();
    let (_, role) = auth::admit(state, caller, board).await?;
    Ok(Admission { role, grants })
}

/// Joins the board. Whose role changed on the way, which may have to wait for the log, comes back for the new one.
async fn join(
    line: &mut Line,
    caller: &Caller,
    Admission { role, grants }: Admission,
    vector: Option<Vec<(u64, u32)>>,
) -> Result<Connection, CloseCode> {
    let (state, board) = (&line.state, &line.board);
    let joined = state.hub.connect(board, &caller.identity, role, line.door, vector);
    let connection = joined.await.map_err(|_unavailable| CloseCode::Loading)?;
    if state.hub.grants() != grants {
        let now = admit(state, caller, board).await;
        if now.map_err(|error| refusal(&error))?.role != role {
            return Err(CloseCode::Rebuilt);
        }
    }
    Ok(connection)
}

fn refusal(error: &AdmitError) -> CloseCode {
    match error {
        AdmitError::NoBoard => CloseCode::NoBoard,
        AdmitError::Forbidden => CloseCode::Forbidden,
        AdmitError::Token(_) => CloseCode::Unauthenticated,
        AdmitError::Store(_) => CloseCode::TryLater,
    }
}

/// A place for one more socket of the caller; else the seconds to wait.
fn take_seat(state: &AppState, caller: &Caller, board: &BoardId) -> Result<Seat, u64> {
    let user = &caller.identity.user;
    if user.as_str() != auth::GUEST {
        state.rates.join(user)?;
    }
    state.seats.take(user, board).ok_or(SEAT_WAIT_SECONDS)
}

/// Sees to it that the connection ends with the caller's token.
fn watch_token(line: &mut Line, caller: &Caller) {
    line.end = ends(&line.state, caller);
    if caller.token.is_some() {
        let (revoked, caller) = (Arc::clone(&line.state.revoked), caller.clone());
        line.revoked = Some(Box::pin(async move { revoked.until(&caller).await }));
    }
}

/// When the caller's token is not accepted any more, by the clock that sockets wait by.
fn ends(state: &AppState, caller: &Caller) -> Option<Instant> {
    let end = Timestamp(caller.expires?.0 + CLOCK_SKEW_SECONDS * 1_000);
    let left_ms = end.since((state.clock)());
    Some(Instant::now() + Duration::from_millis(left_ms))
}

/// Bytes of the largest message.
fn message_bytes_max(limits: &Limits) -> usize {
    let largest = limits
        .first_update_bytes_max
        .max(limits.update_bytes_max)
        .max(limits.op_bytes_max);
    // A message carries a few bytes around it.
    largest + 1_024
}

fn sized(upgrade: WebSocketUpgrade, limits: &Limits) -> WebSocketUpgrade {
    let bytes_max = message_bytes_max(limits) + UNWANTED_BYTES_MAX;
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
}

/// Why reading ends.
type Closing = Option<CloseCode>;

/// Lets the connection go on in a task of its own: that of the handshake is several times as large.
fn settle(mut line: Line, connection: Connection, seat: Seat) {
    let sockets = line.state.sockets.clone();
    let mut connection = Some(connection);
    sockets.spawn(async move {
        let _held = &seat;
        let Some(code) = line.serve(connection.as_ref().expect("it has just come")).await else {
            return;
        };
        // The room need not wait until the far end has said goodbye.
        drop(connection.take());
        Box::pin(line.close(code)).await;
    });
}

/// Waits for `hello`, finds out who it is, and joins the board.
async fn greet(
    line: &mut Line,
    (caller, seat): (Option<Caller>, Option<Seat>),
    peer: IpAddr,
    format: Format,
) -> Result<(Connection, Seat), Closing> {
    let wait = Duration::from_millis(line.limits.handshake_timeout_ms);
    let first = timeout(wait, first_message(&mut line.socket));
    let message = first.await.map_err(|_elapsed| Some(CloseCode::HandshakeTimeout))??;
    let bytes = payload(&message, format).ok_or(Some(CloseCode::WrongFrameKind))?;
    if bytes.len() > line.limits.update_bytes_max {
        return Err(Some(CloseCode::TooBig));
    }
    let Ok(ClientFrame::Hello(hello)) = codec::decode_client(format, &bytes) else {
        return Err(Some(CloseCode::Malformed));
    };
    let (state, board) = (&line.state, &line.board);
    let caller = match (caller, &hello.token) {
        (Some(caller), _) => caller,
        (None, Some(token)) if !state.auth.is_open() => {
            auth::identify_token(state, peer, token).map_err(|_refused| Some(CloseCode::Unauthenticated))?
        }
        (None, _) if state.auth.is_open() => auth::open_caller(hello.user),
        (None, _) => return Err(Some(CloseCode::Unauthenticated)),
    };
    let admission = admit(state, &caller, board).await;
    let admission = admission.map_err(|error| refusal(&error))?;
    let seat = match seat {
        Some(seat) => seat,
        None => take_seat(state, &caller, board).map_err(|_seconds| Some(CloseCode::TryLater))?,
    };
    let vector = match &hello.vector {
        Some(vector) => Some(walk_state_vector(&vector.0).map_err(|_malformed| Some(CloseCode::Malformed))?),
        None => None,
    };
    line.handshake_ends = None;
    line.door = Door::Own {
        format,
        document: hello.document,
        client: hello.client,
    };
    let connection = join(line, &caller, admission, vector).await?;
    watch_token(line, &caller);
    Ok((connection, seat))
}

/// Control frames are no messages.
async fn first_message(socket: &mut WebSocket) -> Result<Message, Closing> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(close_code(&error)),
        }
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
