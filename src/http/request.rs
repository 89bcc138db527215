//! What handlers take from a request, each with a problem document where it is malformed: ids in the path, the query,
//! bodies up to a size.

use std::error::Error as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::Caller;
use crate::http::AppState;
use crate::http::auth::{AuthError, still_counts};
use crate::http::error::Problem;
use crate::protocol::ids::BoardId;

/// Time in which a body must have arrived: 64 MiB at the pace of a slow line.
const BODY_TIMEOUT: Duration = Duration::from_mins(2);
/// A body that is too large by so much is taken off the wire, and thrown away.
const UNWANTED_BYTES_MAX: usize = 1024 * 1024;
/// Time in which a body that is a little too large may still arrive, so that its sender hears why it is refused.
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(2);
/// Nesting of a JSON body: that of a value, and the frame around it.
const BODY_DEPTH_MAX: usize = crate::protocol::limits::VALUE_DEPTH_MAX + 6;

/// The board named in the path as `{id}`.
pub struct BoardPath(pub BoardId);

#[derive(Deserialize)]
struct IdSegment {
    id: String,
}

impl FromRequestParts<AppState> for BoardPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path(segment) = Path::<IdSegment>::from_request_parts(parts, state).await?;
        match BoardId::new(segment.id) {
            Ok(board) => Ok(Self(board)),
            Err(error) => Err(Problem::bad_request(format!("The board id is malformed: {error}."))),
        }
    }
}

/// Parameters of the path.
pub struct Segments<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path(segments) = Path::<T>::from_request_parts(parts, state).await?;
        Ok(Self(segments))
    }
}

/// Parameters of the query.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Query(params) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

/// The whole body, if it is not above the limit, does not dawdle, and the caller's token counts still when it has come.
/// [R-5]
pub async fn whole_body(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<Bytes, Problem> {
    let bytes = read(headers, body, max_bytes).await?;
    still_counts(state, caller).map_err(AuthError::BadToken)?;
    Ok(bytes)
}

async fn read(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    // Refused by its declared length, before it is sent.
    if let Some(length) = length.and_then(|length| length.parse::<usize>().ok())
        && length > max_bytes
    {
        // Who sends before they listen would find the connection reset, and not the answer.
        if length - max_bytes <= UNWANTED_BYTES_MAX {
            let discard = body.into_data_stream().for_each(async |_chunk| ());
            _ = tokio::time::timeout(UNWANTED_TIMEOUT, discard).await;
        }
        return Err(Problem::too_large(max_bytes));
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, max_bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error))
            if error
                .source()
                .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) =>
        {
            Err(Problem::too_large(max_bytes))
        }
        Ok(Err(_)) => Err(Problem::bad_request("The body ended before its time. Send it again.")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The body took too long. Send it again.",
        )),
    }
}

/// Whether the client has what this entity tag names already, by `If-None-Match` (RFC 9110 §13.1.2).
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    known.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag
    })
}

/// Does all of it, even if whoever asked hangs up in between.
pub async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.map_err(|error| Problem::internal(&error))?
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// `application/json`.
    Json,
    /// `application/msgpack`.
    MessagePack,
}

/// How the body is encoded by its header; JSON where there is none.
pub fn body_format(headers: &HeaderMap) -> Result<BodyFormat, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(BodyFormat::Json);
    };
    let essence = value
        .to_str()
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(BodyFormat::Json),
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Ok(BodyFormat::MessagePack),
        _ => Err(Problem::unsupported(
            "Send `application/json` or `application/msgpack`.",
        )),
    }
}

/// Reads a JSON body.
pub async fn json_body<T: DeserializeOwned>(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    if body_format(headers)? != BodyFormat::Json {
        return Err(Problem::unsupported("Send `application/json`."));
    }
    from_json(&whole_body(state, caller, headers, body, state.limits.body_bytes_max).await?)
}

/// Whether a body begins as an object: a structure would be read from a list of its values, too.
pub fn is_object(format: BodyFormat, bytes: &[u8]) -> bool {
    match format {
        BodyFormat::Json => bytes.trim_ascii_start().starts_with(b"{"),
        BodyFormat::MessagePack => matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
    }
}

/// Reads a JSON object that is not nested too deep.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if !is_object(BodyFormat::Json, bytes) {
        return Err(Problem::bad_request("The body must be a JSON object."));
    }
    if depth(bytes) > BODY_DEPTH_MAX {
        return Err(Problem::bad_request("The body is nested too deep."));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("The body is not what is expected here: {error}.")))
}

/// Nesting of JSON text, found without recursion; for text that is no JSON any number will do.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        assert_eq!(depth(br#"{"a":"[[[\"[[","b":[1,[2]]}"#), 3);
        let deep = format!("{{\"a\":{}", "[".repeat(200_000));
        let refused = from_json::<serde_json::Value>(deep.as_bytes()).unwrap_err();
        assert!(refused.detail.contains("too deep"), "{}", refused.detail);
    }

    #[test]
    fn a_tag_is_known_by_itself_in_a_list_as_a_weak_one_and_by_a_star() {
        let asked = |value: &'static str| {
            let value = axum::http::HeaderValue::from_static(value);
            is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]), "\"a\"")
        };
        for known in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*", "W/\"b\",W/\"a\""] {
            assert!(asked(known), "{known}");
        }
        assert!(!asked("\"b\"") && !asked("a") && !asked(""));
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn a_body_is_an_object_and_no_list_of_its_values() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Named {
            _name: Option<String>,
        }
        assert!(from_json::<Named>(b" {}").is_ok());
        for list in ["[]", "[\"a\"]", "", "null"] {
            assert!(from_json::<Named>(list.as_bytes()).is_err(), "{list}");
        }
        for (first, is_map) in [(0x81, true), (0xde, true), (0x94, false), (0xdc, false), (0xc0, false)] {
            assert_eq!(is_object(BodyFormat::MessagePack, &[first]), is_map, "{first:#x}");
        }
    }
}
