//! Boards as pictures: SVG and PNG of a whole board or a page, and small ones for lists of boards.
//!
//! A picture is drawn off the workers, in one of few places, within a time; who waits too long for a place is told to come
//! again. Thumbnails are kept with the position they show: as long as no record came after it, they are handed out as they
//! are, without opening the board.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use crate::access::Caller;
use crate::http::AppState;
use crate::http::auth::admit_as;
use crate::http::error::Problem;
use crate::http::import::check_page;
use crate::http::places::Places;
use crate::http::request::{BoardPath, Params, Segments, is_known};
use crate::interchange::{Scope, shown};
use crate::picture::{Canvas, Image, PictureError, Scene, png, svg};
use crate::protocol::element::EntryKind;
use crate::protocol::ids::{BoardId, Position, Role, Timestamp};
use crate::telemetry::{PICTURE_SECONDS, PICTURES_REFUSED_TOTAL};

/// Width that may be asked for, in px.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=8_192;
/// Width and height of a thumbnail at most, in px: a card in a list, on a sharp screen.
const THUMBNAIL: [u32; 2] = [480, 360];
/// Bytes of thumbnails kept: a thousand or so.
const THUMBNAILS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time for drawing; the largest board that people make takes a part of it.
const DRAWING: Duration = Duration::from_secs(10);

/// Where pictures are drawn, and those that are kept. A clone is the same.
#[derive(Clone)]
pub(super) struct Pictures {
    places: Places,
    thumbnails: Arc<Mutex<Thumbnails>>,
}

impl Default for Pictures {
    fn default() -> Self {
        // Half of the cores at most: boards that are live come first.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            places: Places::new((cores / 2).max(1)),
            thumbnails: Arc::default(),
        }
    }
}

impl Pictures {
    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.places.take().await.inspect_err(|_none_in_time| refused("busy"))
    }
}

/// A board, and when it was made: another one of the same name is another board.
type Made = (BoardId, Timestamp);

#[derive(Default)]
struct Thumbnails {
    by_board: HashMap<Made, Thumbnail>,
    size_bytes: usize,
    /// Counts uses, so that the one not used for longest goes first.
    uses: u64,
}

struct Thumbnail {
    position: Position,
    png: Bytes,
    last_use: u64,
}

impl Thumbnails {
    fn find(&mut self, board: &Made) -> Option<(Position, Bytes)> {
        let found = self.by_board.get_mut(board)?;
        self.uses += 1;
        found.last_use = self.uses;
        Some((found.position, found.png.clone()))
    }

    fn keep(&mut self, board: Made, position: Position, png: Bytes) {
        self.remove(&board);
        self.uses += 1;
        self.size_bytes += png.len();
        let last_use = self.uses;
        self.by_board.insert(
            board,
            Thumbnail {
                position,
                png,
                last_use,
            },
        );
        while self.size_bytes > THUMBNAILS_BYTES_MAX
            && let Some(oldest) = self.by_board.iter().min_by_key(|(_, kept)| kept.last_use)
        {
            let oldest = oldest.0.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, board: &Made) {
        if let Some(old) = self.by_board.remove(board) {
            self.size_bytes -= old.png.len();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Svg,
    Png,
    Thumbnail,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Thumbnail => "thumbnail",
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PictureParams {
    /// Only this page; the first one has the empty name. Absent: all pages, below each other.
    page: Option<String>,
    /// Width in px, 16 to 8192; absent: one for each px of the board. A PNG above 16 million px is made smaller.
    width: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PicturePath {
    id: BoardId,
    format: String,
}

/// Draws a board: as SVG, in which nothing runs or loads and images are part of it, or as PNG.
#[utoipa::path(get, path = "/v1/boards/{id}/export.{format}", tag = "content",
    params(("id" = String, Path), ("format" = String, Path, description = "`svg` or `png`"), PictureParams),
    responses((status = 200, content((String = "image/svg+xml"), (Vec<u8> = "image/png"))), (status = 400, body = Problem),
    (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem),
    (status = 503, body = Problem),
))]
pub(super) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Segments(PicturePath { id: board, format }): Segments<PicturePath>,
    Params(params): Params<PictureParams>,
) -> Result<Response, Problem> {
    let (kind, mime_type) = match format.as_str() {
        "svg" => (Kind::Svg, "image/svg+xml"),
        "png" => (Kind::Png, "image/png"),
        _ => return Err(Problem::not_found("Pictures are `export.svg` and `export.png`.")),
    };
    admit_as(&state, &caller, &board, Role::Viewer).await?;
    if params.width.is_some_and(|width| !WIDTHS.contains(&width)) {
        let detail = format!("`width` must be {} to {}.", WIDTHS.start(), WIDTHS.end());
        return Err(Problem::bad_request(detail));
    }
    let (_, picture) = draw(&state, &board, kind, params).await?;
    let headers = [
        (header::CONTENT_TYPE, mime_type.to_owned()),
        (header::CONTENT_SECURITY_POLICY, super::assets::POLICY.to_owned()),
        // A board id is URL-safe text, so it needs no quoting of its own here.
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{board}.{format}\""),
        ),
    ];
    Ok((headers, picture).into_response())
}

/// A small PNG of the board, at most 480 x 360 px. `ETag` is the board and its place in the log: ask again with `If-None-Match`.
#[utoipa::path(get, path = "/v1/boards/{id}/thumbnail.png", tag = "content", params(("id" = String, Path)),
    responses((status = 200, content_type = "image/png"), (status = 304), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem),
))]
pub(super) async fn thumbnail(
    State(state): State<AppState>,
    caller: Caller,
    BoardPath(board): BoardPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (info, _) = admit_as(&state, &caller, &board, Role::Viewer).await?;
    let made = (board, info.created);
    let (position, png) = if let Some(kept) = kept(&state, &made).await {
        kept
    } else {
        let (position, png) = draw(&state, &made.0, Kind::Thumbnail, PictureParams::default()).await?;
        state.pictures.thumbnails.lock().keep(made, position, png.clone());
        (position, png)
    };
    let etag = format!("\"{}-{}-{}\"", info.created.0, position.epoch(), position.offset());
    let fixed = [
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, etag.clone()),
    ];
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    Ok((fixed, [(header::CONTENT_TYPE, "image/png")], png).into_response())
}

/// The thumbnail that is kept, unless the board changed since.
async fn kept(state: &AppState, made: &Made) -> Option<(Position, Bytes)> {
    let found = state.pictures.thumbnails.lock().find(made)?;
    // A log that was restored does not know the position; then the picture is drawn anew.
    let newer = state.store.history(&made.0, Some(found.0), 1).await.ok()?;
    newer.is_empty().then_some(found)
}

/// Draws a board as it is now, off the workers.
async fn draw(
    state: &AppState,
    board: &BoardId,
    kind: Kind,
    params: PictureParams,
) -> Result<(Position, Bytes), Problem> {
    let place = state.pictures.place().await?;
    let content = state.hub.state(board).await?;
    check_page(&content.items, params.page.as_deref())?;
    let (started, gone) = (Instant::now(), CancellationToken::new());
    let (store, board, is_gone) = (Arc::clone(&state.store), board.clone(), gone.clone());
    let _gone_with_the_request = gone.drop_guard();
    let (runtime, items) = (Handle::current(), content.items);
    let drawing = tokio::task::spawn_blocking(move || {
        // Kept until the drawing ends, not only as long as somebody waits for it.
        let _place = place;
        let has_time = || !is_gone.is_cancelled() && started.elapsed() < DRAWING;
        let image = |sha256: &str| -> Option<Image> {
            let asset = runtime.block_on(store.asset(&board, sha256));
            let asset = asset.inspect_err(|error| tracing::warn!(%error, "An image was left out of a picture."));
            asset.ok()?.map(|asset| (asset.mime_type, asset.bytes))
        };
        let scope = Scope {
            page: params.page.as_deref(),
            with_deleted: false,
        };
        let pages: Vec<_> = items.iter().filter(|item| item.kind == EntryKind::Page).collect();
        let scene = Scene::new(&shown(&items, &scope), &pages, &has_time)?;
        match kind {
            Kind::Svg => svg(&scene, params.width, &image, &has_time).map(Bytes::from),
            Kind::Png => png(&scene, Canvas::of(&scene, params.width), &image, &has_time).map(Bytes::from),
            Kind::Thumbnail => png(&scene, Canvas::within(&scene, THUMBNAIL), &image, &has_time).map(Bytes::from),
        }
    });
    let drawn = drawing.await.map_err(|error| Problem::internal(&error))?;
    metrics::histogram!(PICTURE_SECONDS, "kind" => kind.name()).record(started.elapsed().as_secs_f64());
    drawn.map(|picture| (content.position, picture)).map_err(problem)
}

fn problem(error: PictureError) -> Problem {
    refused(match error {
        PictureError::TooLong => "too_long",
        PictureError::TooLarge => "too_large",
        PictureError::Failed(_) => "failed",
    });
    match error {
        PictureError::TooLong | PictureError::TooLarge => {
            let detail =
                format!("There is no picture of this board: {error}. Ask for one page, or for a smaller width.");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "picture_too_large", detail)
        }
        PictureError::Failed(_) => Problem::internal(&error),
    }
}

fn refused(reason: &'static str) {
    metrics::counter!(PICTURES_REFUSED_TOTAL, "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_not_used_for_longest_go_first() {
        let board = |index: usize| (BoardId::new(format!("board-{index}")).unwrap(), Timestamp(0));
        let mut thumbnails = Thumbnails::default();
        let png = Bytes::from(vec![0; THUMBNAILS_BYTES_MAX / 4]);
        for index in 0..4 {
            thumbnails.keep(board(index), Position(1, 1), png.clone());
        }
        assert!(thumbnails.find(&board(0)).is_some());
        thumbnails.keep(board(4), Position(1, 1), png.clone());
        assert!(thumbnails.find(&board(1)).is_none() && thumbnails.find(&board(0)).is_some());
        thumbnails.keep(board(4), Position(1, 2), png);
        assert_eq!(
            (thumbnails.by_board.len(), thumbnails.size_bytes),
            (4, THUMBNAILS_BYTES_MAX)
        );
    }
}
