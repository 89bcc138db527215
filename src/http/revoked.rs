//! Tokens that count no more: `POST /v1/tokens/revoke`, and what sockets and requests ask before they go on.
//!
//! All of it is in memory, read from the store at the start: each request looks here. A revocation is kept until the
//! last token it speaks of has ended by itself, so the number of entries follows that of the tokens in use.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::http::AppState;
use crate::http::error::Problem;
use crate::http::request::{from_json, to_the_end, whole_body};
use crate::http::token::{CLOCK_SKEW_SECONDS, LIFE_SECONDS_MAX};
use crate::protocol::ids::{Timestamp, UserId};
use crate::store::{Revocation, Revoked};
use crate::telemetry::REVOCATIONS;

/// Entries that are held at most: some tens of MiB. Beyond, only an operator with another key can help.
const ENTRIES_MAX: usize = 100_000;

/// The revocations of a node.
pub struct Revocations {
    entries: RwLock<HashMap<Revoked, Revocation>>,
    changes: watch::Sender<()>,
}

/// What to revoke; neither: the token that asks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ToRevoke {
    /// `jti` of a token.
    id: Option<String>,
    /// All tokens of this person that were issued up to now.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl Revocations {
    /// Takes what the store has, or what it has just been given.
    pub fn note(&self, revocations: impl IntoIterator<Item = Revocation>) {
        let mut entries = self.entries.write();
        for entry in revocations {
            // Other nodes tell theirs in any order: the later one says more.
            match entries.get(&entry.what) {
                Some(known) if known.at >= entry.at => {}
                _ => _ = entries.insert(entry.what.clone(), entry),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(REVOCATIONS).set(entries.len() as f64);
        drop(entries);
        self.changes.send_replace(());
    }

    /// Whether there is room for one more, once those are gone that have ended.
    fn has_room(&self, now: Timestamp) -> bool {
        let mut entries = self.entries.write();
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| entry.until > now);
        }
        entries.len() < ENTRIES_MAX
    }

    /// Whether the caller's token counts no more.
    pub fn holds(&self, caller: &Caller) -> bool {
        let Some(token) = &caller.token else { return false };
        let entries = self.entries.read();
        if entries.is_empty() {
            return false;
        }
        let is_revoked = token.id.as_ref().map(|id| Revoked::Token(Arc::clone(id)));
        let all_of_user = Revoked::User(caller.identity.user.clone());
        is_revoked.is_some_and(|what| entries.contains_key(&what))
            || entries.get(&all_of_user).is_some_and(|entry| token.issued <= entry.at)
    }

    /// Resolves once the caller's token counts no more.
    pub async fn until(&self, caller: &Caller) {
        let mut changes = self.changes.subscribe();
        while !self.holds(caller) {
            // The sender lives as long as `self`.
            _ = changes.changed().await;
        }
    }
}

/// Revokes a token: one's own, to log out; all of one's own by `user`; or, with the claim `admin`, those of others. Open
/// sockets end within a second.
#[utoipa::path(post, path = "/v1/tokens/revoke", tag = "tokens", request_body = Option<ToRevoke>, responses(
    (status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 503, body = Problem, description = "Stored; open connections elsewhere are told later"),
))]
pub(super) async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let Some(own) = &caller.token else {
        return Err(Problem::bad_request(
            "Nobody needs a token here, so there is none to revoke.",
        ));
    };
    let bytes = whole_body(&state, &caller, &headers, body, state.limits.body_bytes_max).await?;
    let wanted = if bytes.is_empty() {
        ToRevoke::default()
    } else {
        from_json(&bytes)?
    };
    let what = match (wanted.id, wanted.user) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("Name `id` or `user`, not both.")),
        (Some(id), None) => Revoked::Token(id.into()),
        (None, Some(user)) => Revoked::User(user),
        (None, None) => Revoked::Token(own.id.clone().ok_or_else(|| {
            Problem::bad_request("Your token has no `jti`. Send your `user` to revoke all of your tokens.")
        })?),
    };
    let is_own = match &what {
        Revoked::Token(id) => own.id.as_ref() == Some(id),
        Revoked::User(user) => *user == caller.identity.user,
    };
    if !is_own && !caller.is_admin {
        return Err(Problem::forbidden(
            "You may revoke your own tokens. For those of others your token needs the claim `admin`.",
        ));
    }
    let at = (state.clock)();
    if !state.revoked.has_room(at) {
        tracing::error!("There are too many revoked tokens; change the key that tokens are signed with.");
        return Err(Problem::unavailable(30));
    }
    // No token that was issued up to now lives longer, whatever the clock of its issuer.
    let until = Timestamp(at.0 + (LIFE_SECONDS_MAX + 2 * CLOCK_SKEW_SECONDS) * 1_000);
    let revocation = Revocation { what, at, until };
    to_the_end(async move {
        state.store.revoke(&revocation).await?;
        state.revoked.note([revocation.clone()]);
        state.hub.revoke(revocation).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
