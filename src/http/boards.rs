//! Boards and their members: make, list, read, change, delete.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::{Caller, sees_all};
use crate::http::AppState;
use crate::http::auth::{admit_as, admit_existing, check_may_create, create as create_board};
use crate::http::error::Problem;
use crate::http::request::{BoardPath, Params, Segments, json_body, to_the_end};
use crate::protocol::Route;
use crate::protocol::ids::{BoardId, EditScope, Role, UserId};
use crate::store::{BoardChange, BoardInfo, Member};

/// Boards in one answer of the list, where the request does not say.
const LIST_DEFAULT: usize = 50;
/// Boards in one answer of the list at most.
const LIST_MAX: usize = 500;
/// Longest title, in bytes.
const TITLE_BYTES_MAX: usize = 400;
/// Title of a board that was given none.
pub(super) const UNTITLED: &str = "Untitled";

/// A board to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewBoard {
    /// Its id; absent = a fresh one.
    #[schema(value_type = Option<String>)]
    id: Option<BoardId>,
    /// Its title.
    title: Option<String>,
    /// Who may edit which elements.
    edit: EditScope,
}

/// A board as one person sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BoardView {
    #[serde(flatten)]
    info: BoardInfo,
    /// What the caller may do on it.
    role: Role,
}

/// Some boards, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BoardList {
    boards: Vec<BoardInfo>,
    /// Pass this as `after` for the boards that follow; absent: these were the last ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<BoardId>,
}

/// What to change of a board.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BoardPatch {
    /// New title.
    title: Option<String>,
    /// Who may edit which elements from now on.
    edit: Option<EditScope>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only boards after this id.
    #[param(value_type = Option<String>)]
    after: Option<BoardId>,
    /// Number of boards at most: 1 to 500, 50 by default.
    limit: Option<usize>,
}

/// Makes a board; the caller becomes its teacher.
#[utoipa::path(post, path = "/v1/boards", tag = "boards", request_body = NewBoard, responses(
    (status = 201, body = BoardInfo, description = "Made; `Location` is its address"),
    (status = 403, body = Problem), (status = 409, body = Problem, description = "The id is taken"),
))]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    check_may_create(&caller)?;
    let new: NewBoard = json_body(&state, &caller, &headers, body).await?;
    let title = new.title.map_or_else(|| Ok(UNTITLED.to_owned()), checked_title)?;
    let info = create_board(&state, &caller, new.id.unwrap_or_else(fresh_id), title, new.edit).await?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location(&info.id))],
        Json(info),
    ))
}

/// The id of a board that was given none, sortable by the time of its making.
pub(super) fn fresh_id() -> BoardId {
    BoardId::new(Uuid::now_v7().to_string()).expect("a UUID is a valid id")
}

pub(super) fn location(board: &BoardId) -> String {
    format!("/v1/boards/{board}")
}

/// The title, if it is fit to be shown.
pub(super) fn checked_title(title: String) -> Result<String, Problem> {
    let is_fit = !title.trim().is_empty() && title.len() <= TITLE_BYTES_MAX && !title.chars().any(char::is_control);
    if is_fit {
        return Ok(title);
    }
    Err(Problem::bad_request(format!(
        "A title must be 1 to {TITLE_BYTES_MAX} bytes of printable characters."
    )))
}

/// Lists the boards the caller is a member of; all of them where the token holds for `*`, and in the open mode.
#[utoipa::path(get, path = "/v1/boards", tag = "boards", params(ListParams), responses(
    (status = 200, body = BoardList), (status = 401, body = Problem),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<BoardList>, Problem> {
    let limit = params.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` must be 1 to {LIST_MAX}.")));
    }
    let member = (!sees_all(&caller.grants)).then_some(&caller.identity.user);
    // One more than asked for tells whether more follow.
    let mut boards = state.store.boards(member, params.after.as_ref(), limit + 1).await?;
    let has_more = boards.len() > limit;
    boards.truncate(limit);
    let next = boards.last().filter(|_| has_more).map(|info| info.id.clone());
    Ok(Json(BoardList { boards, next }))
}

/// Reads title and settings of a board, and the caller's role on it.
#[utoipa::path(get, path = "/v1/boards/{id}", tag = "boards", params(("id" = String, Path)), responses(
    (status = 200, body = BoardView), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn read(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<Json<BoardView>, Problem> {
    let (info, role) = admit_existing(&state, &caller, &board).await?;
    Ok(Json(BoardView { info, role }))
}

/// Where the board is best served. Any node serves any board; the first of `hosts` does it with the least traffic.
#[utoipa::path(get, path = "/v1/boards/{id}/route", tag = "boards", params(("id" = String, Path)), responses(
    (status = 200, body = Route), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn route(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<Json<Route>, Problem> {
    admit_existing(&state, &caller, &board).await?;
    Ok(Json(state.hub.route(&board).unwrap_or_default()))
}

/// Changes title or settings (role: teacher).
#[utoipa::path(patch, path = "/v1/boards/{id}", tag = "boards", params(("id" = String, Path)),
    request_body = BoardPatch, responses(
    (status = 200, body = BoardInfo), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem, description = "Stored; open connections elsewhere are told later"),
))]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BoardInfo>, Problem> {
    let patch: BoardPatch = json_body(&state, &caller, &headers, body).await?;
    admit_as(&state, &caller, &board, Role::Teacher).await?;
    let change = BoardChange {
        title: patch.title.map(checked_title).transpose()?,
        edit: patch.edit,
    };
    to_the_end(async move {
        let info = state.store.update_board(&board, &change).await?;
        state.hub.set_info(&info).await?;
        Ok(Json(info))
    })
    .await
}

/// Deletes a board with all that belongs to it (role: teacher). Open sessions end.
#[utoipa::path(delete, path = "/v1/boards/{id}", tag = "boards", params(("id" = String, Path)), responses(
    (status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem, description = "Deleted; open connections elsewhere are told later"),
))]
pub(super) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<StatusCode, Problem> {
    admit_as(&state, &caller, &board, Role::Teacher).await?;
    to_the_end(async move {
        // Before: so that its room appends nothing more. After: so that one opened in between goes, too.
        state.hub.end_for_good(&board).await;
        state.store.delete_board(&board).await?;
        state.hub.forget(&board).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Lists the members of a board.
#[utoipa::path(get, path = "/v1/boards/{id}/members", tag = "members", params(("id" = String, Path)), responses(
    (status = 200, body = Vec<Member>), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn members(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
) -> Result<Json<Vec<Member>>, Problem> {
    admit_as(&state, &caller, &board, Role::Viewer).await?;
    Ok(Json(state.store.members(&board).await?))
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct MemberPath {
    id: BoardId,
    user: UserId,
}

/// A role to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleGrant {
    role: Role,
}

/// Gives a person a role (role: teacher). It holds for open sessions within a second.
#[utoipa::path(put, path = "/v1/boards/{id}/members/{user}", tag = "members",
    params(("id" = String, Path), ("user" = String, Path)), request_body = RoleGrant, responses(
    (status = 200, body = Member), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The board would be left without a teacher"),
    (status = 503, body = Problem, description = "Stored; open connections elsewhere are told later"),
))]
pub(super) async fn put_member(
    State(state): State<AppState>,
    caller: Caller,
    Segments(path): Segments<MemberPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Member>, Problem> {
    let RoleGrant { role } = json_body(&state, &caller, &headers, body).await?;
    admit_as(&state, &caller, &path.id, Role::Teacher).await?;
    set_role(state, path.clone(), Some(role)).await?;
    Ok(Json(Member { user: path.user, role }))
}

/// Removes a person (role: teacher; one's own entry: anybody). Their open sessions end within a second.
#[utoipa::path(delete, path = "/v1/boards/{id}/members/{user}", tag = "members",
    params(("id" = String, Path), ("user" = String, Path)), responses(
    (status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The board would be left without a teacher"),
    (status = 503, body = Problem, description = "Stored; open connections elsewhere are told later"),
))]
pub(super) async fn delete_member(
    State(state): State<AppState>,
    caller: Caller,
    Segments(path): Segments<MemberPath>,
) -> Result<StatusCode, Problem> {
    let needed = if caller.identity.user == path.user {
        Role::Viewer
    } else {
        Role::Teacher
    };
    admit_as(&state, &caller, &path.id, needed).await?;
    if state.store.role(&path.id, &path.user).await?.is_none() {
        return Err(Problem::not_found("This person is not a member of the board."));
    }
    set_role(state, path, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stores the role and tells the sockets that are open.
async fn set_role(state: AppState, MemberPath { id, user }: MemberPath, role: Option<Role>) -> Result<(), Problem> {
    to_the_end(async move {
        state.store.set_role(&id, &user, role).await?;
        Ok(state.hub.set_role(&id, &user, role).await?)
    })
    .await
}
