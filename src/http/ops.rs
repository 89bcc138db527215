//! Edits and reads for programs without a socket.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::http::AppState;
use crate::http::assets::complete;
use crate::http::auth::{admit, admit_as};
use crate::http::error::Problem;
use crate::http::request::{BoardPath, BodyFormat, body_format, is_object, whole_body};
use crate::protocol::Undone;
use crate::protocol::codec::{self, Format};
use crate::protocol::element::Item;
use crate::protocol::ids::{ClientId, GestureId, Position, Role};
use crate::protocol::op::Op;
use crate::room::hub::OpsFrame;

/// One frame of ops: one transaction, all or none.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct OpsBody {
    /// The program's outbox (UUIDv7); with `seq` it names the frame for ever, so that it can be sent again safely.
    #[schema(value_type = Option<String>)]
    client: Option<ClientId>,
    /// Counted from 1 for each `client` and board.
    #[schema(minimum = 1)]
    seq: Option<u64>,
    /// Step of undo these ops belong to (UUIDv7).
    #[schema(value_type = Option<String>)]
    gesture: Option<GestureId>,
    /// What is asked for; see `schemas/` for the closed list of ops.
    #[schema(value_type = Vec<Object>)]
    ops: Vec<Op>,
}

/// The ops are durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpsReply {
    /// Place in the log, `[epoch, offset]`.
    #[schema(value_type = Vec<u64>)]
    position: Position,
    /// What an undo or redo came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    undone: Option<Undone>,
}

/// Edits a board (role: editor). The answer comes when the edit is durable; a repeat of `(client, seq)` gets it again.
#[utoipa::path(post, path = "/v1/boards/{id}/ops", tag = "content", params(("id" = String, Path)),
    request_body(content((OpsBody = "application/json"), (OpsBody = "application/msgpack"))), responses(
    (status = 200, body = OpsReply), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem),
    (status = 429, body = Problem), (status = 503, body = Problem, description = "Send it again later"),
))]
pub(super) async fn ops(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OpsReply>, Problem> {
    state.rates.edit(&caller.identity.user).map_err(Problem::too_many)?;
    let format = body_format(&headers)?;
    let bytes = whole_body(&state, &caller, &headers, body, state.limits.body_bytes_max).await?;
    let mut body = decode(format, &bytes)?;
    if body.client.is_some() != body.seq.is_some() {
        return Err(Problem::bad_request(
            "`client` and `seq` go together: send both or neither.",
        ));
    }
    if body.ops.is_empty() {
        return Err(Problem::bad_request("`ops` is empty: send at least one op."));
    }
    let (_, role) = admit(&state, &caller, &board).await?;
    if role < Role::Editor {
        return Err(Problem::forbidden("Viewers cannot edit. Ask the teacher for the pen."));
    }
    complete(&state, &board, &mut body.ops).await?;
    let frame = OpsFrame {
        client: body.client,
        seq: body.seq,
        gesture: body.gesture,
        ops: body.ops,
    };
    let answer = state.hub.ops(&board, &caller.identity, role, frame).await?;
    Ok(Json(OpsReply {
        position: answer.position,
        undone: answer.undone,
    }))
}

fn decode(format: BodyFormat, bytes: &Bytes) -> Result<OpsBody, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_op", detail);
    if !is_object(format, bytes) {
        return Err(bad("The body must be an object.".to_owned()));
    }
    let format = match format {
        BodyFormat::Json => Format::Json,
        BodyFormat::MessagePack => Format::MsgPack,
    };
    codec::decode_body(format, bytes).map_err(|error| bad(error.to_string()))
}

/// All that is on a board.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StateReply {
    /// Place in the log the entries stand at, `[epoch, offset]`.
    #[schema(value_type = Vec<u64>)]
    position: Position,
    /// Elements, pages, assets, comments and likes: `{kind, id, properties}`.
    #[schema(value_type = Vec<Object>)]
    entries: Vec<Item>,
}

/// Reads all entries of a board.
#[utoipa::path(get, path = "/v1/boards/{id}/state", tag = "content", params(("id" = String, Path)), responses(
    (status = 200, body = StateReply), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem, description = "Ask again later"),
))]
pub(super) async fn state(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<impl IntoResponse, Problem> {
    admit_as(&state, &caller, &board, Role::Viewer).await?;
    let _place = state.downloads.take().await?;
    let content = state.hub.state(&board).await?;
    let reply = StateReply {
        position: content.position,
        entries: content.items,
    };
    // A full board takes tens of milliseconds to write out.
    let json = tokio::task::spawn_blocking(move || serde_json::to_vec(&reply))
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}
