//! The one place where an error of this node becomes the answer to an HTTP request: a problem document (RFC 9457).
//!
//! Each says what was wrong and what to do. Internal text (paths, messages of libraries) is logged here and never leaves.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::auth::{AdmitError, AuthError};
use crate::protocol::ErrorCode;
use crate::room::hub::HubError;
use crate::store::{INVITES_MAX, StoreError};

/// An error as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// URI of the kind of problem; ends in `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// The kind of problem, for programs.
    pub code: &'static str,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:panseo:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            retry_after_seconds: None,
        }
    }

    /// 400: what was sent does not make sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 403: no right to do it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 413: larger than allowed.
    pub fn too_large(max_bytes: usize) -> Self {
        let detail = format!("The body is above the limit of {max_bytes} bytes. Send less at once.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 415: a kind of content that is not taken.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", detail)
    }

    /// 429: too many requests.
    pub fn too_many(retry_after_seconds: u64) -> Self {
        let detail = format!("Too many requests. Try again in {retry_after_seconds} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).retry_after(retry_after_seconds)
    }

    /// 503: not now.
    pub fn unavailable(retry_after_seconds: u64) -> Self {
        let detail = "The server cannot do this now. Try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(retry_after_seconds)
    }

    /// 503: done and stored, but connections to other nodes go on as before for a while.
    pub fn untold() -> Self {
        let detail = "The change is stored, and holds for everybody who connects from now on. Connections that are open on \
                      other servers are told as soon as these can be reached: there is nothing to be sent again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_told_everywhere", detail).retry_after(5)
    }

    /// 500: our fault. `cause` is logged, not sent.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "A request failed.");
        let detail = "Something on the server went wrong. Try again later.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_seconds;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::new(
                StatusCode::BAD_REQUEST,
                "token_missing",
                "This needs a token: send it as `Authorization: Bearer <token>`, or as `?token=`.",
            ),
            AuthError::BadUser => {
                Self::bad_request("`user` must be 1 to 64 bytes of printable characters, and given at most once.")
            }
            AuthError::BadToken(cause) => Self::new(
                StatusCode::UNAUTHORIZED,
                "bad_token",
                format!("The token is not accepted: {cause}. Get a new one."),
            ),
            AuthError::TooManyFailures { retry_after_seconds } => Self::too_many(retry_after_seconds),
        }
    }
}

impl From<AdmitError> for Problem {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::NoBoard => Self::no_board(),
            AdmitError::Forbidden => Self::forbidden("You are not a member of this board. Ask its teacher to add you."),
            AdmitError::Token(error) => AuthError::BadToken(error).into(),
            AdmitError::Store(error) => error.into(),
        }
    }
}

impl Problem {
    /// 404: no such board.
    pub fn no_board() -> Self {
        Self::not_found("There is no board of this id. Check the address.")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoBoard => Self::no_board(),
            StoreError::BoardExists => Self::new(
                StatusCode::CONFLICT,
                "board_exists",
                "A board of this id exists already. Choose another id, or leave it out.",
            ),
            StoreError::LastTeacher => Self::new(
                StatusCode::CONFLICT,
                "last_teacher",
                "The board would be left without a teacher. Make somebody else a teacher first.",
            ),
            StoreError::TooManyInvites => Self::new(
                StatusCode::CONFLICT,
                "too_many_invites",
                format!("The board has {INVITES_MAX} invites. End one first."),
            ),
            StoreError::Full => {
                tracing::error!("The store has no room left.");
                Self::unavailable(30)
            }
            StoreError::Away(why) => {
                tracing::warn!(why, "The store could not be reached.");
                Self::unavailable(5)
            }
            StoreError::Damaged(_) | StoreError::Failed(_) => Self::internal(&error),
        }
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Refused { code, message } => refused(code, message),
            HubError::NoBoard => Self::no_board(),
            HubError::Unavailable => Self::unavailable(2),
            HubError::Untold => Self::untold(),
        }
    }
}

fn refused(code: ErrorCode, message: String) -> Problem {
    let (status, name) = match code {
        ErrorCode::BadOp => (StatusCode::BAD_REQUEST, "bad_op"),
        ErrorCode::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorCode::Conflict => (StatusCode::CONFLICT, "conflict"),
        ErrorCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        ErrorCode::BoardFull => (StatusCode::CONFLICT, "board_full"),
        ErrorCode::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        ErrorCode::ReadOnly => (StatusCode::SERVICE_UNAVAILABLE, "read_only"),
        ErrorCode::NeedsResync => (StatusCode::CONFLICT, "needs_resync"),
        ErrorCode::NothingToUndo => (StatusCode::CONFLICT, "nothing_to_undo"),
        ErrorCode::UnknownPosition => (StatusCode::NOT_FOUND, "unknown_position"),
    };
    let problem = Problem::new(status, name, message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        problem.retry_after(2)
    } else {
        problem
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::bad_request("The address is malformed: check the ids in it.")
    }
}

impl From<QueryRejection> for Problem {
    // The rejection's own text may hold values of the query, and a token is one of them.
    fn from(_: QueryRejection) -> Self {
        Self::bad_request("The query is malformed: a parameter is of the wrong form, or given twice.")
    }
}
