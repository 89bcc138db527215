//! Images of a board, kept under the hash of their content.
//!
//! The kind is found from the content, never taken from a header. SVG can hold scripts, and whatever this server hands
//! out comes from the origin that people are logged in at: images come with a policy under which nothing of them runs.

use std::io::Cursor;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use image::{ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::http::AppState;
use crate::http::auth::admit_as;
use crate::http::error::Problem;
use crate::http::request::{Segments, is_known, whole_body};
use crate::protocol::ids::{BoardId, Role};
use crate::protocol::op::Op;
use crate::store::{Asset, StoreError};
use crate::telemetry;

/// Pixels of an image: what a browser can still hold several of (200 MB each when unpacked).
const PIXELS_MAX: u64 = 50_000_000;

/// Why a file is not taken as an image.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ImageError {
    /// Another kind of file.
    #[error("it is not a PNG, JPEG, WebP, GIF or SVG image")]
    Kind,
    /// Its head cannot be read.
    #[error("the image is damaged")]
    Damaged,
    /// Too many pixels.
    #[error("the image has more than {PIXELS_MAX} pixels")]
    TooManyPixels,
}

/// Media type of a drawing. Scripts in it run neither as an image nor under the policy it is served with.
const SVG: &str = "image/svg+xml";

/// Policy of pictures that browsers show: nothing in them runs or loads.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";

/// Media type of an image, and its size in px where it has one.
pub type Found = (&'static str, Option<(u32, u32)>);

/// Looks at the content and gives its media type, and its size in px where it has one.
pub fn inspect(bytes: &[u8]) -> Result<Found, ImageError> {
    if is_svg(bytes) {
        return Ok((SVG, None));
    }
    let format = image::guess_format(bytes).map_err(|_unknown| ImageError::Kind)?;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the list of formats grows with the library; all others are refused"
    )]
    let mime_type = match format {
        ImageFormat::Png => "image/png",
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::WebP => "image/webp",
        ImageFormat::Gif => "image/gif",
        _other => return Err(ImageError::Kind),
    };
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let (width, height) = reader.into_dimensions().map_err(|_damaged| ImageError::Damaged)?;
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged);
    }
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(ImageError::TooManyPixels);
    }
    Ok((mime_type, Some((width, height))))
}

/// Whether the first element is `svg`, with nothing but declarations and comments before it.
fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while let Some(end) = match rest {
        _ if rest.starts_with("<!--") => rest.find("-->").map(|at| at + 3),
        _ if rest.starts_with("<?") || rest.starts_with("<!") => rest.find('>').map(|at| at + 1),
        _ => None,
    } {
        rest = rest[end..].trim_start();
    }
    rest.strip_prefix("<svg")
        .is_some_and(|rest| rest.starts_with([' ', '>', '\t', '\r', '\n', '/']))
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

#[derive(Debug, Deserialize)]
pub(super) struct AssetPath {
    id: BoardId,
    sha256: String,
}

impl AssetPath {
    fn check(&self) -> Result<(), Problem> {
        let is_hash = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hash {
            return Ok(());
        }
        Err(Problem::bad_request(
            "The name of an asset is its SHA-256 in lower-case hex.",
        ))
    }
}

/// A kept asset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AssetView {
    /// SHA-256 of the content.
    sha256: String,
    /// Media type, found from the content.
    #[serde(rename = "mimeType")]
    mime_type: String,
    /// Size in bytes.
    bytes: usize,
    /// Width in px; a drawing has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    /// Height in px; a drawing has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

/// Keeps an image (role: editor). PNG, JPEG, WebP, GIF and SVG; keeping it twice is once. Then tell the board: `asset.add`.
#[utoipa::path(put, path = "/v1/boards/{id}/assets/{sha256}", tag = "content",
    params(("id" = String, Path), ("sha256" = String, Path)),
    request_body(content = inline(String), content_type = "application/octet-stream"), responses(
    (status = 200, body = AssetView), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
))]
pub(super) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    Segments(path): Segments<AssetPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AssetView>, Problem> {
    path.check()?;
    admit_as(&state, &caller, &path.id, Role::Editor).await?;
    state.rates.edit(&caller.identity.user).map_err(Problem::too_many)?;
    let _place = state.uploads.take(&caller.identity.user).await?;
    let bytes = whole_body(&state, &caller, &headers, body, state.limits.asset_bytes_max).await?;
    admit_as(&state, &caller, &path.id, Role::Editor).await?;
    let content = bytes.clone();
    let (hash, found) = tokio::task::spawn_blocking(move || (sha256_hex(&content), inspect(&content)))
        .await
        .map_err(|error| Problem::internal(&error))?;
    if hash != path.sha256 {
        let detail = "The content does not have this SHA-256. It may have been damaged on its way: send it again.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "hash_mismatch", detail));
    }
    let (mime_type, size) = found.map_err(|error| match error {
        ImageError::TooManyPixels => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", sentence(error)),
        ImageError::Kind | ImageError::Damaged => Problem::unsupported(sentence(error)),
    })?;
    let view = AssetView {
        sha256: hash,
        mime_type: mime_type.to_owned(),
        bytes: bytes.len(),
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
    };
    keep(&state, &path.id, &view.sha256, mime_type, size, bytes).await?;
    Ok(Json(view))
}

fn sentence(error: ImageError) -> String {
    format!("The file is refused: {error}.")
}

/// Puts an inspected file into the store.
pub(super) async fn keep(
    state: &AppState,
    board: &BoardId,
    sha256: &str,
    mime_type: &str,
    size: Option<(u32, u32)>,
    bytes: Bytes,
) -> Result<(), Problem> {
    metrics::counter!(telemetry::ASSET_BYTES_TOTAL).increment(bytes.len() as u64);
    let asset = Asset {
        mime_type: mime_type.to_owned(),
        size,
        bytes,
    };
    Ok(state.store.put_asset(board, sha256, asset, (state.clock)()).await?)
}

/// Reads an image. Its content never changes, so it may be cached for ever.
#[utoipa::path(get, path = "/v1/boards/{id}/assets/{sha256}", tag = "content",
    params(("id" = String, Path), ("sha256" = String, Path)), responses(
    (status = 200, content_type = "image/*"), (status = 304), (status = 403, body = Problem), (status = 404, body = Problem),
))]
pub(super) async fn get(
    State(state): State<AppState>,
    caller: Caller,
    Segments(path): Segments<AssetPath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    path.check()?;
    admit_as(&state, &caller, &path.id, Role::Viewer).await?;
    let etag = format!("\"{}\"", path.sha256);
    let asset = state.store.asset(&path.id, &path.sha256).await?;
    let asset = asset.ok_or_else(|| Problem::not_found("The board has no asset of this name. Upload it first."))?;
    let fixed = [
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, max-age=31536000, immutable"),
        ),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (
            header::ETAG,
            HeaderValue::try_from(&etag).map_err(|error| Problem::internal(&error))?,
        ),
    ];
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let kind = HeaderValue::try_from(&asset.mime_type).map_err(|error| Problem::internal(&error))?;
    Ok((fixed, [(header::CONTENT_TYPE, kind)], asset.bytes).into_response())
}

/// Fills in what `asset.add` ops leave to the server, from the uploaded content; refuses what was not uploaded.
pub async fn complete(state: &AppState, board: &BoardId, ops: &mut [Op]) -> Result<(), Problem> {
    for op in ops {
        let Op::AssetAdd {
            sha256,
            mime_type,
            bytes,
            width,
            height,
        } = op
        else {
            continue;
        };
        let head = match state.store.asset_head(board, sha256.as_str()).await {
            // The upload that the refusal asks for makes it whole.
            Err(StoreError::Damaged(cause)) => {
                tracing::error!(%cause, "An asset is damaged.");
                None
            }
            other => other?,
        };
        let head = head.ok_or_else(|| Problem::not_found("This asset was not uploaded. Upload it first."))?;
        *bytes = Some(head.length);
        *width = head.size.map(|(width, _)| width);
        *height = head.size.map(|(_, height)| height);
        *mime_type = Some(head.mime_type);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides_what_a_file_is() {
        let svg =
            b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- drawn > by hand --><svg xmlns=\"http://www.w3.org/2000/svg\"/>";
        assert_eq!(inspect(svg), Ok((SVG, None)));
        assert_eq!(inspect(b"<html><svg></svg></html>"), Err(ImageError::Kind));
        assert_eq!(inspect(b"\x89PNG\r\n\x1a\nrest"), Err(ImageError::Damaged));
        assert_eq!(inspect(b""), Err(ImageError::Kind));
    }

    #[test]
    fn hashes_are_lower_case_hex() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(b""), empty);
    }
}
