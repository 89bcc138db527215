//! Board files in and out: the one place that knows both `interchange` and the hub.
//!
//! An import is one gesture: pages and assets first, then the elements, so that one undo takes all of it back.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::Caller;
use crate::board::shape::{fit, freed};
use crate::http::AppState;
use crate::http::assets::{inspect, keep, sha256_hex};
use crate::http::auth::{admit, admit_as, check_may_create, create};
use crate::http::boards::{UNTITLED, checked_title, fresh_id as fresh_board_id, location};
use crate::http::error::Problem;
use crate::http::request::{BoardPath, Params, to_the_end, whole_body};
use crate::interchange::{
    Import, ImportOptions, ImportedAsset, Scope, export_excalidraw, export_json, import as read_file, is_deleted_page,
    with_fresh_ids,
};
use crate::protocol::element::{Entry, EntryKind, Item, Properties, Property, Value};
use crate::protocol::ids::{BoardId, EditScope, EntryId, GestureId, Position, Role};
use crate::protocol::limits::IMPORT_ELEMENTS_MAX;
use crate::protocol::op::{Op, StepName};
use crate::room;
use crate::room::hub::OpsFrame;
use crate::store::{BoardInfo, StoreError};
use crate::telemetry;

/// Media type of what came in a file as an image and is none that this server knows.
const UNKNOWN_CONTENT: &str = "application/octet-stream";

/// What an import came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImportReply {
    /// The board it is on.
    #[schema(value_type = String)]
    board: BoardId,
    /// Title of the board.
    title: String,
    /// Number of elements.
    elements: usize,
    /// Number of pages besides the first.
    pages: usize,
    /// Number of images.
    assets: usize,
    /// What could not be taken as it was, for people.
    notes: Vec<String>,
    /// Place in the log, `[epoch, offset]`.
    #[schema(value_type = Vec<u64>)]
    position: Position,
    /// The gesture of all of it: undo it to take the import back.
    #[schema(value_type = String)]
    gesture: GestureId,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NewBoardParams {
    /// Title of the new board; absent = the file's.
    title: Option<String>,
}

/// Makes a board from a file: `.excalidraw`, `.excalidrawlib` or `.tldr`. The content tells which it is.
#[utoipa::path(post, path = "/v1/import", tag = "content", params(NewBoardParams),
    request_body(content = inline(String), content_type = "application/octet-stream"), responses(
    (status = 201, body = ImportReply, description = "Made; `Location` is its address"), (status = 400, body = Problem),
    (status = 403, body = Problem), (status = 409, body = Problem, description = "More than a board holds"),
    (status = 413, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn import_new(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<NewBoardParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    check_may_create(&caller)?;
    state.rates.edit(&caller.identity.user).map_err(Problem::too_many)?;
    let title = params.title.map(checked_title).transpose()?;
    let place = state.uploads.take(&caller.identity.user).await?;
    let bytes = whole_body(&state, &caller, &headers, body, state.limits.import_bytes_max).await?;
    to_the_end(async move {
        let _place = place;
        place_on_new(&state, &caller, title, bytes).await
    })
    .await
}

async fn place_on_new(
    state: &AppState,
    caller: &Caller,
    title: Option<String>,
    bytes: Bytes,
) -> Result<impl IntoResponse + use<>, Problem> {
    let import = read(state, bytes, Vec::new()).await?;
    let from_file = || import.title.clone().and_then(|title| checked_title(title).ok());
    let title = title.or_else(from_file).unwrap_or_else(|| UNTITLED.to_owned());
    let info = create(state, caller, fresh_board_id(), title, EditScope::All).await?;
    let placing = Placing {
        state,
        caller,
        board: &info.id,
        gesture: Uuid::now_v7(),
        is_new: true,
    };
    match Box::pin(placing.place(import, info.title.clone())).await {
        Ok(reply) => Ok((
            StatusCode::CREATED,
            [(header::LOCATION, location(&info.id))],
            Json(reply),
        )),
        Err(problem) => {
            // A board that holds half a file is of no use to anybody.
            state.hub.end_for_good(&info.id).await;
            if let Err(error) = state.store.delete_board(&info.id).await {
                tracing::warn!(%error, board.id = %info.id, "The board of a failed import stayed.");
            }
            Err(problem)
        }
    }
}

/// Puts the content of a file on a board, above what is there (role: editor).
#[utoipa::path(post, path = "/v1/boards/{id}/import", tag = "content", params(("id" = String, Path)),
    request_body(content = inline(String), content_type = "application/octet-stream"), responses(
    (status = 200, body = ImportReply), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "More than a board holds"),
    (status = 413, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn import_into(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImportReply>, Problem> {
    admit_editor(&state, &caller, &board).await?;
    state.rates.edit(&caller.identity.user).map_err(Problem::too_many)?;
    let place = state.uploads.take(&caller.identity.user).await?;
    let bytes = whole_body(&state, &caller, &headers, body, state.limits.import_bytes_max).await?;
    to_the_end(async move {
        let _place = place;
        place_on(&state, &caller, &board, bytes).await
    })
    .await
}

async fn admit_editor(state: &AppState, caller: &Caller, board: &BoardId) -> Result<BoardInfo, Problem> {
    let (info, role) = admit(state, caller, board).await?;
    if role < Role::Editor {
        return Err(Problem::forbidden(
            "Viewers cannot import. Ask the teacher for the pen.",
        ));
    }
    Ok(info)
}

async fn place_on(
    state: &AppState,
    caller: &Caller,
    board: &BoardId,
    bytes: Bytes,
) -> Result<Json<ImportReply>, Problem> {
    let info = admit_editor(state, caller, board).await?;
    let items = state.hub.state(board).await?.items;
    let is_new = items.is_empty();
    let import = read(state, bytes, items).await?;
    let placing = Placing {
        state,
        caller,
        board,
        gesture: Uuid::now_v7(),
        is_new,
    };
    let placed = Box::pin(placing.place(import, info.title)).await;
    if placed.is_err() {
        placing.take_back().await;
    }
    Ok(Json(placed?))
}

fn fresh_id() -> EntryId {
    EntryId::new(Uuid::new_v4().simple().to_string()).expect("32 hex digits are a valid name")
}

/// Reads the file off the runtime: 64 MiB of JSON take a while.
async fn read(state: &AppState, bytes: Bytes, items: Vec<Item>) -> Result<Import, Problem> {
    let now = (state.clock)();
    let (seed, _) = Uuid::new_v4().as_u64_pair();
    let size_bytes = bytes.len() as u64;
    let elements_max = state.limits.elements_max;
    let import = tokio::task::spawn_blocking(move || {
        let elements = || items.iter().filter(|item| item.kind == EntryKind::Element);
        let pos = |item: &Item| item.properties.get(Property::Pos)?.as_str().map(str::to_owned);
        let top = elements().filter_map(pos).max();
        let options = ImportOptions {
            now,
            seed,
            above: top.as_deref(),
        };
        let import = read_file(&bytes, &options, &mut fresh_id).map_err(|error| not_imported(&error))?;
        check_values(&import, items.is_empty())?;
        let taken: HashSet<&str> = elements().map(|item| &*item.id).collect();
        if taken.len() + import.elements.len() > elements_max {
            let detail =
                format!("The board would have more than {elements_max} elements. Import it into several boards.");
            return Err(Problem::new(StatusCode::CONFLICT, "board_full", detail));
        }
        let has_page = |id: &str| items.iter().any(|item| item.kind == EntryKind::Page && &*item.id == id);
        if import.elements.iter().any(|entry| taken.contains(entry.id.as_str()))
            || import.pages.iter().any(|page| has_page(page.id.as_str()))
        {
            return Ok(with_fresh_ids(import, &mut fresh_id));
        }
        Ok(import)
    });
    let import = import.await.map_err(|error| Problem::internal(&error))??;
    metrics::counter!(telemetry::IMPORT_BYTES_TOTAL).increment(size_bytes);
    Ok(import)
}

fn not_imported(why: &dyn Display) -> Problem {
    Problem::bad_request(format!("The file cannot be imported: {why}."))
}

/// Refuses what no board takes, with its place in the file. Only a new board takes what stands beside the elements.
fn check_values(import: &Import, is_new: bool) -> Result<(), Problem> {
    let elements = import.elements.iter().map(|entry| (EntryKind::Element, entry));
    let pages = import.pages.iter().map(|entry| (EntryKind::Page, entry));
    for (kind, entry) in elements.chain(pages) {
        if let Some(misfit) = misfit(kind, &entry.properties) {
            let what = if kind == EntryKind::Page { "page" } else { "element" };
            return Err(not_imported(&format!("{what} {:?}: {misfit}", entry.id.as_str())));
        }
    }
    match misfit(EntryKind::Page, &import.page_entry).filter(|_| is_new) {
        Some(misfit) => Err(not_imported(&format!("what stands beside the elements: {misfit}"))),
        None => Ok(()),
    }
}

/// What is wrong with the first property that no entry of this kind may have.
fn misfit(kind: EntryKind, properties: &Properties) -> Option<String> {
    let mut fits = properties.iter().map(|(property, value)| fit(kind, property, value));
    fits.find_map(Result::err)
}

/// An import on its way to a board.
struct Placing<'a> {
    state: &'a AppState,
    caller: &'a Caller,
    board: &'a BoardId,
    gesture: GestureId,
    is_new: bool,
}

impl Placing<'_> {
    async fn place(&self, mut import: Import, title: String) -> Result<ImportReply, Problem> {
        let mut notes = import.notes;
        let (elements, pages) = (import.elements.len(), import.pages.len());
        let mut ops = Vec::new();
        for asset in import.assets {
            match self.keep_asset(asset).await? {
                Ok((op, note)) => {
                    ops.push(op);
                    notes.extend(note);
                }
                Err(note) => notes.push(note),
            }
        }
        let assets = ops.len();
        let text = |properties: &Properties, property| {
            properties
                .get(property)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        // Places of another board mean nothing here: each page comes behind the one before it.
        let first = text(&import.page_entry, Property::Pos);
        import.page_entry.remove(Property::Pos);
        let is_ahead = |page: &&Entry| text(&page.properties, Property::Pos) < first;
        let ahead = import.pages.iter().rfind(is_ahead);
        let ahead = ahead.filter(|_| self.is_new).map(|page| page.id.to_string());
        ops.extend(import.pages.into_iter().map(|page| Op::PageAdd {
            title: text(&page.properties, Property::Title),
            background: text(&page.properties, Property::Background),
            page: page.id,
            after: None,
        }));
        ops.extend(ahead.map(|after| Op::PageUpdate {
            page: String::new(),
            title: None,
            background: None,
            after: Some(after),
        }));
        while !ops.is_empty() {
            let rest = ops.split_off(ops.len().min(IMPORT_ELEMENTS_MAX));
            let frame = frame(Some(self.gesture), std::mem::replace(&mut ops, rest));
            let role = self.role().await?;
            let hub = &self.state.hub;
            hub.ops(self.board, &self.caller.identity, role, frame).await?;
        }
        let file = room::Import {
            gesture: self.gesture,
            is_under_way: false,
            elements: import.elements,
            // A board in use keeps its own background.
            pages: if self.is_new && !import.page_entry.is_empty() {
                vec![("".into(), import.page_entry)]
            } else {
                Vec::new()
            },
        };
        let position = self.elements(file).await?;
        Ok(ImportReply {
            board: self.board.clone(),
            title,
            elements,
            pages,
            assets,
            notes,
            position,
            gesture: self.gesture,
        })
    }

    /// Puts the elements on the board, record by record.
    async fn elements(&self, mut file: room::Import) -> Result<Position, Problem> {
        let hub = &self.state.hub;
        loop {
            let role = self.role().await?;
            let answer = hub.import(self.board, &self.caller.identity, role, &mut file).await?;
            if file.elements.is_empty() {
                return Ok(answer.position);
            }
        }
    }

    /// The caller's role, looked up for each record: a large file takes a while, and whose pen is taken meanwhile, or
    /// whose token, writes no more.
    async fn role(&self) -> Result<Role, Problem> {
        let (_, role) = admit_as(self.state, self.caller, self.board, Role::Editor).await?;
        Ok(role)
    }

    /// Undoes what is on the board already of a file whose rest was refused: with all rights, the caller may have none
    /// by now.
    async fn take_back(&self) {
        let step = Some(StepName::Gesture(self.gesture));
        let frame = frame(None, vec![Op::Undo { step, user: None }]);
        let hub = &self.state.hub;
        let undone = hub.ops(self.board, &self.caller.identity, Role::Teacher, frame).await;
        if let Err(error) = undone {
            // Nothing of it may be there.
            tracing::debug!(?error, board.id = %self.board, "An import that failed was not taken back.");
        }
    }

    /// Keeps an image of the file, perhaps with a remark, or says why it is left out.
    async fn keep_asset(&self, asset: ImportedAsset) -> Result<Result<(Op, Option<String>), String>, Problem> {
        let max_bytes = self.state.limits.asset_bytes_max;
        let name = asset.sha256.as_str().get(..12).unwrap_or_default().to_owned();
        if asset.bytes.len() > max_bytes {
            return Ok(Err(format!("image {name} was left out: it is above {max_bytes} bytes")));
        }
        let bytes = Bytes::from(asset.bytes);
        let content = bytes.clone();
        let (hash, found) = tokio::task::spawn_blocking(move || (sha256_hex(&content), inspect(&content)))
            .await
            .map_err(|error| Problem::internal(&error))?;
        if hash != asset.sha256.as_str() {
            return Ok(Err(format!("image {name} was left out: its name is not its hash")));
        }
        let note = found
            .err()
            .map(|error| format!("image {name} is kept, but not shown: {error}"));
        // Kept for the export, because an import loses nothing; under this type no browser runs what is in it.
        let (mime_type, size) = found.unwrap_or((UNKNOWN_CONTENT, None));
        let size_bytes = bytes.len() as u64;
        keep(self.state, self.board, asset.sha256.as_str(), mime_type, size, bytes).await?;
        let op = Op::AssetAdd {
            sha256: asset.sha256,
            mime_type: Some(mime_type.to_owned()),
            bytes: Some(size_bytes),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
        };
        Ok(Ok((op, note)))
    }
}

fn frame(gesture: Option<GestureId>, ops: Vec<Op>) -> OpsFrame {
    OpsFrame {
        client: None,
        seq: None,
        gesture,
        ops,
    }
}

/// Forms of an export.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExportFormat {
    /// A file for Excalidraw, images included.
    Excalidraw,
    /// All entries as they are.
    Json,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParams {
    /// `excalidraw` or `json`.
    #[param(inline)]
    format: ExportFormat,
    /// With `excalidraw`: only this page; the first one has the empty name.
    page: Option<String>,
    /// With `excalidraw`: whether what was deleted on the board comes along, as `isDeleted`. What was deleted in the file
    /// it was imported from already always does.
    #[serde(default)]
    deleted: bool,
}

/// Writes a board as a file.
#[utoipa::path(get, path = "/v1/boards/{id}/export", tag = "content", params(("id" = String, Path), ExportParams),
    responses((status = 200, content_type = "application/json"), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    Params(params): Params<ExportParams>,
) -> Result<impl IntoResponse, Problem> {
    admit_as(&state, &caller, &board, Role::Viewer).await?;
    let _place = state.downloads.take().await?;
    let mut items = state.hub.state(&board).await?.items;
    if matches!(params.format, ExportFormat::Excalidraw) {
        leave_out_deleted(&mut items, params.deleted);
    }
    check_page(&items, params.page.as_deref())?;
    let mut assets = HashMap::new();
    if matches!(params.format, ExportFormat::Excalidraw) {
        for item in items.iter().filter(|item| item.kind == EntryKind::Asset) {
            let asset = match state.store.asset(&board, &item.id).await {
                // One image less is better than no board.
                Err(StoreError::Damaged(cause)) => {
                    tracing::error!(%cause, "An image was left out of an export.");
                    None
                }
                other => other?,
            };
            if let Some(asset) = asset {
                assets.insert(item.id.to_string(), (asset.mime_type, asset.bytes));
            }
        }
    }
    let suffix = match params.format {
        ExportFormat::Excalidraw => "excalidraw",
        ExportFormat::Json => "json",
    };
    let json = tokio::task::spawn_blocking(move || {
        let scope = Scope {
            page: params.page.as_deref(),
            with_deleted: true,
        };
        serde_json::to_vec(&match params.format {
            ExportFormat::Excalidraw => export_excalidraw(&items, &scope, &|sha256| assets.get(sha256).cloned()),
            ExportFormat::Json => export_json(&items),
        })
    });
    let json = json
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        // A board id is URL-safe text, so it needs no quoting of its own here.
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{board}.{suffix}\""),
        ),
    ];
    Ok((headers, json))
}

/// Refuses a page that the board does not have, or not any more.
pub(super) fn check_page(items: &[Item], page: Option<&str>) -> Result<(), Problem> {
    let is_known = |page: &str| {
        let mut pages = items.iter().filter(|item| item.kind == EntryKind::Page);
        page.is_empty() || pages.any(|item| &*item.id == page && !is_deleted_page(item))
    };
    if page.is_none_or(is_known) {
        Ok(())
    } else {
        Err(Problem::not_found("The board has no page of this name."))
    }
}

/// Leaves out deleted pages, and what was deleted on this board or with them; `keeps_elements`: those stay, as deleted. An
/// element that came deleted is part of the file it came from, and people expect that file back.
fn leave_out_deleted(items: &mut Vec<Item>, keeps_elements: bool) {
    let deleted_pages: HashMap<_, _> = items
        .iter()
        .filter(|item| is_deleted_page(item))
        .filter_map(|page| Some((Arc::clone(&page.id), page.properties.get(Property::Deleted)?.clone())))
        .collect();
    items.retain(|item| !is_deleted_page(item));
    for item in items.iter_mut().filter(|item| item.kind == EntryKind::Element) {
        let page = item.properties.get(Property::Page).and_then(Value::as_str);
        if let Some(deleted) = page.and_then(|page| deleted_pages.get(page)) {
            item.properties.set(Property::Deleted, deleted.clone());
        }
    }
    let is_left_out = |item: &mut Item| {
        let is_deleted_here = item.properties.get(Property::Deleted).is_some() && !item.properties.came_deleted();
        item.kind == EntryKind::Element && is_deleted_here && !keeps_elements
    };
    let gone: HashSet<_> = items.extract_if(.., is_left_out).map(|item| item.id).collect();
    // Two people may have deleted both ends at once, and left each bound to the other.
    for item in items.iter_mut() {
        let bindings = item.properties.get(Property::Bindings);
        if let Some(bindings) = bindings.and_then(|bindings| freed(bindings, &gone)) {
            item.properties.put(Property::Bindings, bindings);
        }
    }
}

#[cfg(test)]
mod tests;
