//! Who a request comes from, and whether they may enter a board.
//!
//! The same functions serve REST, sockets before their upgrade, and a token in the first frame of a socket:
//! 1. [`identify`] reads header and query; `None` means that neither held anything, so a socket may wait for its first
//!    frame and pass the token to [`identify_token`] (or, in the open mode, the name to [`open_caller`]).
//! 2. [`admit`] looks up board and member, makes the board in the open mode, and lets `access.rs` decide the role.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use serde::Deserialize;
use thiserror::Error;

use crate::access::{Caller, Grants, Identity, may_create, role_on_board};
use crate::http::AppState;
use crate::http::error::Problem;
use crate::http::token::{CLOCK_SKEW_SECONDS, TokenError, Verifier};
use crate::protocol::ids::{BoardId, EditScope, Role, Timestamp, UserId};
use crate::store::{BoardInfo, StoreError};
use crate::telemetry::LOGINS_FAILED_TOTAL;

/// The user of all who give no name in the open mode.
pub const GUEST: &str = "guest";

/// How people prove who they are.
#[derive(Debug)]
pub enum AuthMode {
    /// Not at all: only on a loopback address.
    Open,
    /// By a token.
    Jwt(Box<Verifier>),
}

/// Why it is not known who a request comes from.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// No token where one is needed.
    #[error("no token")]
    Missing,
    /// `user` or the query around it is malformed.
    #[error("malformed user")]
    BadUser,
    /// The token is not accepted.
    #[error("bad token: {0}")]
    BadToken(TokenError),
    /// Too many bad tokens came from this address.
    #[error("too many failed log-ins")]
    TooManyFailures {
        /// When to try again.
        retry_after_seconds: u64,
    },
}

/// Why somebody may not enter a board.
#[derive(Debug, Error)]
pub enum AdmitError {
    /// There is none of this id.
    #[error("no such board")]
    NoBoard,
    /// They have no role on it.
    #[error("no role on this board")]
    Forbidden,
    /// Their token counts no more.
    #[error(transparent)]
    Token(TokenError),
    /// It could not be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
struct Credentials {
    token: Option<String>,
    user: Option<UserId>,
}

impl AuthMode {
    /// Whether nobody needs a token.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// Who header and query name. `None`: they name nobody; in the open mode the caller may still be a guest.
pub fn identify(state: &AppState, peer: IpAddr, headers: &HeaderMap, uri: &Uri) -> Result<Option<Caller>, AuthError> {
    let Query(query) = Query::<Credentials>::try_from_uri(uri).map_err(|_may_hold_the_token| AuthError::BadUser)?;
    match &*state.auth {
        AuthMode::Open => Ok(query.user.map(|user| open_caller(Some(user)))),
        AuthMode::Jwt(_) => match bearer(headers)?.or(query.token.as_deref().filter(|token| !token.is_empty())) {
            Some(token) => identify_token(state, peer, token).map(Some),
            None => Ok(None),
        },
    }
}

/// Who a token names; counts failures of the address, and refuses to say more after too many. A good token is good all the
/// same: a school is one address. In the open mode every token is a guest's.
pub fn identify_token(state: &AppState, peer: IpAddr, token: &str) -> Result<Caller, AuthError> {
    let AuthMode::Jwt(verifier) = &*state.auth else {
        return Ok(open_caller(None));
    };
    let now = (state.clock)();
    let outcome = verifier.verify(token, now).and_then(|caller| {
        if state.revoked.holds(&caller) {
            Err(TokenError::Revoked)
        } else {
            Ok(caller)
        }
    });
    let error = match outcome {
        Ok(caller) => return Ok(caller),
        Err(error) => error,
    };
    metrics::counter!(LOGINS_FAILED_TOTAL).increment(1);
    state
        .rates
        .may_log_in(peer, now)
        .map_err(|retry_after_seconds| AuthError::TooManyFailures { retry_after_seconds })?;
    // A page that was left open over night asks with what was good once.
    if !matches!(error, TokenError::Expired | TokenError::NotYet | TokenError::Revoked) {
        state.rates.log_in_failed(peer, now);
    }
    Err(AuthError::BadToken(error))
}

/// The caller in the open mode, under the name they give: `Mina~4f2a` is shown as «Mina», so that two may have one name.
pub fn open_caller(user: Option<UserId>) -> Caller {
    let user = user.unwrap_or_else(|| UserId::new(GUEST).expect("the constant is a valid name"));
    let name = user.as_str().rsplit_once('~').map(|(name, _mark)| name);
    let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
    Caller {
        identity: Identity { user, name },
        grants: Grants::Open,
        expires: None,
        token: None,
        is_admin: false,
    }
}

/// The board and the caller's role on it. In the open mode the board is made if there is none.
pub async fn admit(state: &AppState, caller: &Caller, board: &BoardId) -> Result<(BoardInfo, Role), AdmitError> {
    if caller.grants == Grants::Open && state.store.board(board).await?.is_none() {
        match create(state, caller, board.clone(), board.to_string(), EditScope::All).await {
            // Somebody else opened it at the same moment.
            Ok(_) | Err(StoreError::BoardExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
    admit_existing(state, caller, board).await
}

/// The board, if there is one, and the caller's role on it. To be asked after the body has come: much may have changed
/// while it did.
pub async fn admit_existing(
    state: &AppState,
    caller: &Caller,
    board: &BoardId,
) -> Result<(BoardInfo, Role), AdmitError> {
    still_counts(state, caller).map_err(AdmitError::Token)?;
    let info = state.store.board(board).await?.ok_or(AdmitError::NoBoard)?;
    let member = state.store.role(board, &caller.identity.user).await?;
    let role = role_on_board(member, &caller.grants, board).ok_or(AdmitError::Forbidden)?;
    Ok((info, role))
}

/// Whether the caller's token counts still: time goes by while a body comes.
pub fn still_counts(state: &AppState, caller: &Caller) -> Result<(), TokenError> {
    if state.revoked.holds(caller) {
        return Err(TokenError::Revoked);
    }
    let end = |end: Timestamp| Timestamp(end.0 + CLOCK_SKEW_SECONDS * 1_000);
    if caller.expires.map(end).is_some_and(|end| end < (state.clock)()) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// The same as [`admit_existing`], for those with at least this role.
pub async fn admit_as(
    state: &AppState,
    caller: &Caller,
    board: &BoardId,
    needed: Role,
) -> Result<(BoardInfo, Role), Problem> {
    let (info, role) = admit_existing(state, caller, board).await?;
    if role < needed {
        let who = match needed {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Teacher => "teacher",
        };
        return Err(Problem::forbidden(format!(
            "This needs the role {who} on this board. Ask its teacher for it."
        )));
    }
    Ok((info, role))
}

/// Makes a board with the caller as its teacher; whether they may is looked at by [`check_may_create`].
pub async fn create(
    state: &AppState,
    caller: &Caller,
    id: BoardId,
    title: String,
    edit: EditScope,
) -> Result<BoardInfo, StoreError> {
    let info = BoardInfo {
        id,
        title,
        edit,
        created: (state.clock)(),
        owner: caller.identity.user.clone(),
    };
    state.store.create_board(&info).await?;
    Ok(info)
}

/// Refuses those whose token does not let them make boards.
pub fn check_may_create(caller: &Caller) -> Result<(), Problem> {
    if may_create(&caller.grants) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "Your token does not let you make boards. It would need no `boards`, or the role teacher for `*`.",
    ))
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let malformed = AuthError::BadToken(TokenError::Signature);
    let text = value.to_str().map_err(|_not_ascii| malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(malformed)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(Some(token))
    } else {
        Err(malformed)
    }
}

/// Address at the far end of the connection.
pub fn peer(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match identify(state, peer(parts), &parts.headers, &parts.uri)? {
            Some(caller) => Ok(caller),
            None if matches!(*state.auth, AuthMode::Open) => Ok(open_caller(None)),
            None => Err(AuthError::Missing.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_behind_the_name_keeps_two_of_one_name_apart() {
        let name = |user: &str| open_caller(Some(UserId::new(user).unwrap())).identity.name;
        assert_eq!(name("Mina~4f2a").as_deref(), Some("Mina"));
        assert_eq!(name("a~b~c").as_deref(), Some("a~b"));
        assert_eq!((name("Mina"), name("~4f2a")), (None, None));
    }
}
