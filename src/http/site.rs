//! The web pages, from `web/dist` inside the binary (a debug build reads the folder itself).
//!
//! Nothing on them comes from another host, and the policy says so. A binary that was built before the pages were has
//! one page that says how to build them.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::http::AppState;
use crate::http::error::Problem;
use crate::http::request::is_known;
use crate::protocol::ids::BoardId;

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

const NOT_BUILT: &str = include_str!("not_built.html");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Fonts and icons keep their names from one version to the next.
const A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// Answers what no other route does: a page, one of its files, or a problem document.
pub(super) async fn serve(State(state): State<AppState>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let (name, is_page) = match page(path) {
        Some(page) => (page, true),
        None => (path, false),
    };
    let extension = name.rsplit('.').next();
    let is_source = extension == Some("html") && !is_page || extension == Some("br");
    let Some(file) = Files::get(name).filter(|_| !is_source) else {
        if is_page {
            return Html(NOT_BUILT).into_response();
        }
        return Problem::not_found("There is nothing at this address. The API is described at /docs.").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let detail = "This address does not take that method. The API is described at /docs.";
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
    }
    let mut response = content(name, file, &headers);
    let set = response.headers_mut();
    if is_page {
        set.insert(header::CONTENT_SECURITY_POLICY, policy(&state, path));
        set.insert(header::CACHE_CONTROL, NO_CACHE);
    } else if name.starts_with("assets/") {
        set.insert(header::CACHE_CONTROL, IMMUTABLE);
    } else {
        set.insert(header::CACHE_CONTROL, A_DAY);
    }
    response
}

/// The HTML file behind the address of a page.
fn page(path: &str) -> Option<&'static str> {
    match path.split_once('/') {
        None if path.is_empty() => Some("index.html"),
        Some(("b", id)) if !id.is_empty() && !id.contains('/') => Some("b.html"),
        Some(_) | None => None,
    }
}

/// The file as the browser takes it: not again if it has it, compressed by the build where it can.
fn content(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let packed = takes_brotli(headers)
        .then(|| Files::get(&format!("{name}.br")))
        .flatten();
    let tag = entity_tag(&file, packed.is_some());
    let fixed = [(header::ETAG, tag.clone()), (header::VARY, "accept-encoding".into())];
    if is_known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let kind = file.metadata.mimetype().to_owned();
    let kind = match kind.as_str() {
        "text/html" | "text/javascript" | "text/css" | "text/plain" => format!("{kind}; charset=utf-8"),
        _ => kind,
    };
    let kind = [(header::CONTENT_TYPE, kind)];
    match packed {
        Some(packed) => (fixed, kind, [(header::CONTENT_ENCODING, "br")], packed.data).into_response(),
        None => (fixed, kind, file.data).into_response(),
    }
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let mut codings = accepted.unwrap_or_default().split(',');
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim() == "br" && !is_refused
    })
}

/// Names these very bytes: a file and the same file compressed are two.
fn entity_tag(file: &EmbeddedFile, is_packed: bool) -> String {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..12] {
        _ = write!(tag, "{byte:02x}");
    }
    tag.push_str(if is_packed { "-br\"" } else { "\"" });
    tag
}

/// Pages run what came with them and talk to their own server only, a board's page to all nodes that serve it; listed
/// origins may frame them.
fn policy(state: &AppState, path: &str) -> HeaderValue {
    let board = path.strip_prefix("b/").and_then(|id| BoardId::new(id).ok());
    let route = board.and_then(|board| state.hub.route(&board)).unwrap_or_default();
    let hosts: String = route.hosts.iter().map(|host| host.replacen("http", " ws", 1)).collect();
    let frames = state.origins.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let policy = format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'{hosts}; worker-src 'self' blob:; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self' {frames}"
    );
    HeaderValue::from_str(policy.trim_end()).expect("origins are authorities, which are fit for a header")
}
