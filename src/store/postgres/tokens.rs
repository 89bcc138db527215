//! Revoked tokens.

use super::{PostgresStore, damaged, signed, told, unsigned};
use crate::protocol::ids::{Timestamp, UserId};
use crate::store::{Revocation, Revoked, StoreError};

impl PostgresStore {
    pub(super) async fn insert_revocation(&self, revocation: &Revocation) -> Result<(), sqlx::Error> {
        let (kind, name) = match &revocation.what {
            Revoked::Token(id) => ("token", &**id),
            Revoked::User(user) => ("user", user.as_str()),
        };
        sqlx::query(
            "insert into revocations (kind, name, at, until) values ($1, $2, $3, $4)
             on conflict (kind, name) do update set at = greatest(revocations.at, excluded.at),
                 until = greatest(revocations.until, excluded.until)",
        )
        .bind(kind)
        .bind(name)
        .bind(signed(revocation.at.0))
        .bind(signed(revocation.until.0))
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Those that still count; the others are removed.
    pub(super) async fn list_revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let now = signed(now.0);
        sqlx::query("delete from revocations where until <= $1")
            .bind(now)
            .execute(&self.pool)
            .await
            .map_err(|error| told(&error))?;
        let found: Vec<(String, String, i64, i64)> =
            sqlx::query_as("select kind, name, at, until from revocations where until > $1")
                .bind(now)
                .fetch_all(&self.pool)
                .await
                .map_err(|error| told(&error))?;
        let revocation = |(kind, name, at, until): (String, String, i64, i64)| {
            let what = match kind.as_str() {
                "token" => Revoked::Token(name.into()),
                _ => Revoked::User(UserId::new(name).map_err(|error| damaged(&error))?),
            };
            Ok(Revocation {
                what,
                at: Timestamp(unsigned(at)),
                until: Timestamp(unsigned(until)),
            })
        };
        found.into_iter().map(revocation).collect()
    }
}
