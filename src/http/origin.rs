//! Which web pages may talk to this server: the origin check before everything else, and CORS for those that may.
//!
//! A request without `Origin` comes from no page. Its own host is always allowed, listed origins and the other nodes of
//! the cluster are, loopback ones are in the open mode. There the `Host` must be a loopback name too: else a page could point a name of its own at 127.0.0.1
//! and be «the own host».

use std::collections::HashSet;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::AppState;
use crate::http::auth::AuthMode;
use crate::http::error::Problem;

/// Origins of other hosts that may use this server, as `https://school.example`.
#[derive(Debug, Clone, Default)]
pub struct Origins(HashSet<String>);

impl Origins {
    /// These origins; each must have passed [`normalised`].
    pub fn new(origins: impl IntoIterator<Item = String>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// The origins, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    fn lists_host(&self, host: &str) -> bool {
        self.0.iter().any(|origin| authority(origin) == Some(host))
    }
}

/// The origin in its one spelling, if it is one: scheme and authority, nothing behind.
pub fn normalised(origin: &str) -> Option<String> {
    let text = origin.trim().trim_end_matches('/').to_ascii_lowercase();
    let authority = authority(&text)?;
    let is_plain = !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*', ' ']);
    (is_plain && authority.parse::<axum::http::uri::Authority>().is_ok()).then_some(text)
}

fn authority(origin: &str) -> Option<&str> {
    origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a request with these headers may be answered at all.
fn is_allowed(
    origins: &Origins,
    is_node: impl FnOnce(&str) -> bool,
    is_open: bool,
    headers: &HeaderMap,
    uri: &Uri,
) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::to_str).and_then(Result::ok);
    let host = host.or(uri.authority().map(axum::http::uri::Authority::as_str));
    let host = host.map(str::to_ascii_lowercase);
    if is_open
        && host
            .as_deref()
            .is_some_and(|host| !is_loopback(host) && !origins.lists_host(host))
    {
        return false;
    }
    let mut sent = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = sent.next() else { return true };
    let Some(origin) = origin.to_str().ok().and_then(normalised) else {
        return false;
    };
    let theirs = authority(&origin);
    sent.next().is_none()
        && (origins.0.contains(&origin)
            || is_node(&origin)
            || (theirs.is_some() && theirs == host.as_deref())
            || (is_open && theirs.is_some_and(is_loopback)))
}

/// Refuses requests from pages that are not allowed, answers preflights, marks answers as readable for those that are.
pub async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_open = matches!(*state.auth, AuthMode::Open);
    let is_node = |origin: &str| state.hub.is_node(origin);
    if !is_allowed(&state.origins, is_node, is_open, request.headers(), request.uri()) {
        let detail = "This server does not take requests from that origin. Its operator can list it in `--origins`.";
        return Problem::new(StatusCode::FORBIDDEN, "bad_origin", detail).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        preflight()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("location, retry-after, etag");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-none-match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
