//! Ways onto a board: invites by code, and the boards somebody was on.

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{Caller, Grants, role_on_board};
use crate::http::AppState;
use crate::http::auth::{admit_as, admit_existing};
use crate::http::error::Problem;
use crate::http::request::{BoardPath, Segments, json_body, to_the_end};
use crate::protocol::ids::{BoardId, Role, Timestamp};
use crate::store::{BoardInfo, Invite};

/// Letters and digits that nobody mistakes for another.
const CODE_ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
/// 31^8: at 20 guesses a minute and address nobody meets a valid code.
const CODE_LENGTH: usize = 8;
/// A school year has 40 weeks; a link on paper outlives the lesson, not the year.
const DAYS_MAX: u32 = 280;
/// Life of an invite that says nothing of it.
const DAYS_DEFAULT: u32 = 30;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// An invite to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvite {
    /// What those who come by it may do: `viewer` or `editor`.
    role: Role,
    /// Days it holds: 1 to 280, 30 by default.
    days: Option<u32>,
}

/// Makes a code by which people come onto the board (role: teacher).
#[utoipa::path(post, path = "/v1/boards/{id}/invites", tag = "members", params(("id" = String, Path)),
    request_body = NewInvite, responses(
    (status = 201, body = Invite), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "The board has too many invites"),
))]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Invite>), Problem> {
    let new: NewInvite = json_body(&state, &caller, &headers, body).await?;
    admit_as(&state, &caller, &board, Role::Teacher).await?;
    if new.role == Role::Teacher {
        return Err(Problem::bad_request(
            "An invite gives the role viewer or editor. Make somebody a teacher by name.",
        ));
    }
    let days = new.days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::bad_request(format!("`days` must be 1 to {DAYS_MAX}.")));
    }
    let now = (state.clock)();
    let invite = Invite {
        code: fresh_code(),
        board,
        role: new.role,
        expires: Timestamp(now.0 + u64::from(days) * DAY_MS),
    };
    state.store.put_invite(&invite, now).await?;
    Ok((StatusCode::CREATED, Json(invite)))
}

/// Lists the invites of a board (role: teacher).
#[utoipa::path(get, path = "/v1/boards/{id}/invites", tag = "members", params(("id" = String, Path)), responses(
    (status = 200, body = Vec<Invite>), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<Json<Vec<Invite>>, Problem> {
    admit_as(&state, &caller, &board, Role::Teacher).await?;
    let now = (state.clock)();
    let mut invites = state.store.invites(&board).await?;
    invites.retain(|invite| invite.expires > now);
    Ok(Json(invites))
}

#[derive(Debug, Deserialize)]
pub(super) struct InvitePath {
    id: BoardId,
    code: String,
}

/// Ends an invite (role: teacher). Who came by it stays.
#[utoipa::path(delete, path = "/v1/boards/{id}/invites/{code}", tag = "members",
    params(("id" = String, Path), ("code" = String, Path)), responses(
    (status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Segments(path): Segments<InvitePath>,
) -> Result<StatusCode, Problem> {
    admit_as(&state, &caller, &path.id, Role::Teacher).await?;
    if state.store.remove_invite(&path.id, &normal(&path.code)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("The board has no such invite."))
    }
}

/// Where an invite led.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Joined {
    /// The board.
    #[schema(value_type = String)]
    board: BoardId,
    /// The caller's role on it from now on.
    role: Role,
}

#[derive(Debug, Deserialize)]
pub(super) struct CodePath {
    code: String,
}

/// Makes the caller a member of the board that the code leads to. Who is a member already keeps their role.
#[utoipa::path(post, path = "/v1/invites/{code}/join", tag = "members", params(("code" = String, Path)), responses(
    (status = 200, body = Joined), (status = 404, body = Problem),
    (status = 410, body = Problem, description = "It has expired"), (status = 429, body = Problem),
))]
pub(super) async fn join(
    State(state): State<AppState>,
    caller: Caller,
    ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>,
    Segments(path): Segments<CodePath>,
) -> Result<Json<Joined>, Problem> {
    let now = (state.clock)();
    // Guessing a code is a log-in, too.
    state.rates.may_log_in(peer.ip(), now).map_err(Problem::too_many)?;
    let Some(invite) = state.store.invite(&normal(&path.code)).await? else {
        state.rates.log_in_failed(peer.ip(), now);
        return Err(Problem::not_found("There is no such invite. Ask for the code again."));
    };
    if invite.expires <= now {
        let detail = "This invite has expired. Ask the teacher for a new one.";
        return Err(Problem::new(StatusCode::GONE, "invite_expired", detail));
    }
    let user = caller.identity.user;
    let role = if let Some(role) = state.store.role(&invite.board, &user).await? {
        role
    } else {
        // What a token says of this board is not lowered by a link; in the open mode it says nothing.
        let granted = match &caller.grants {
            Grants::Open => None,
            grants @ (Grants::Members | Grants::Listed(_)) => role_on_board(None, grants, &invite.board),
        };
        let role = granted.map_or(invite.role, |granted| granted.max(invite.role));
        let board = invite.board.clone();
        to_the_end(async move {
            let role = state.store.add_member(&board, &user, role).await?;
            // Who gains a role need not wait until all nodes know it: they are let in by the store.
            _ = state.hub.set_role(&board, &user, Some(role)).await;
            Ok(role)
        })
        .await?
    };
    Ok(Json(Joined {
        board: invite.board,
        role,
    }))
}

/// A board somebody was on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Visit {
    #[serde(flatten)]
    info: BoardInfo,
    /// When they were there last, in ms since 1970.
    #[schema(value_type = u64)]
    visited: Timestamp,
}

/// Lists the boards the caller was on, newest first, 50 at most.
#[utoipa::path(get, path = "/v1/recent", tag = "boards", responses(
    (status = 200, body = Vec<Visit>), (status = 401, body = Problem),
))]
pub(super) async fn recent(State(state): State<AppState>, caller: Caller) -> Result<Json<Vec<Visit>>, Problem> {
    let mut seen = Vec::new();
    for (info, visited) in state.store.visits(&caller.identity.user).await? {
        let member = state.store.role(&info.id, &caller.identity.user).await?;
        // Who was removed since does not learn the title any more.
        if role_on_board(member, &caller.grants, &info.id).is_some() {
            seen.push(Visit { info, visited });
        }
    }
    Ok(Json(seen))
}

/// Notes that the caller is on this board now.
#[utoipa::path(put, path = "/v1/recent/{id}", tag = "boards", params(("id" = String, Path)), responses(
    (status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn visit(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<StatusCode, Problem> {
    admit_existing(&state, &caller, &board).await?;
    let now = (state.clock)();
    state.store.note_visit(&caller.identity.user, &board, now).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn fresh_code() -> String {
    let mut random = Uuid::new_v4().as_u128();
    let base = CODE_ALPHABET.len() as u128;
    let letters = std::iter::repeat_with(|| {
        let index = usize::try_from(random % base).expect("below the base");
        random /= base;
        char::from(CODE_ALPHABET[index])
    });
    letters.take(CODE_LENGTH).collect()
}

/// The code as it is kept: people type capitals, spaces and dashes.
fn normal(code: &str) -> String {
    let letters = code.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}
