//! How people find a board: invites by their codes, and the boards each person was on.

use super::boards::{Row, info, one_by_one};
use super::{PostgresStore, damaged, from_word, rows, signed, told, unsigned, word};
use crate::protocol::ids::{BoardId, Timestamp, UserId};
use crate::store::{BoardInfo, INVITES_MAX, Invite, StoreError, VISITS_MAX};

fn invite((code, board, role, expires): (String, String, String, i64)) -> Result<Invite, StoreError> {
    Ok(Invite {
        code,
        board: BoardId::new(board).map_err(|error| damaged(&error))?,
        role: from_word(role)?,
        expires: Timestamp(unsigned(expires)),
    })
}

impl PostgresStore {
    pub(super) async fn insert_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await.map_err(|error| told(&error))?;
        one_by_one(&mut transaction, &invite.board).await?;
        sqlx::query("delete from invites where board = $1 and expires <= $2")
            .bind(invite.board.as_str())
            .bind(signed(now.0))
            .execute(&mut *transaction)
            .await
            .map_err(|error| told(&error))?;
        let count: i64 = sqlx::query_scalar("select count(*) from invites where board = $1")
            .bind(invite.board.as_str())
            .fetch_one(&mut *transaction)
            .await
            .map_err(|error| told(&error))?;
        if count >= rows(INVITES_MAX) {
            return Err(StoreError::TooManyInvites);
        }
        sqlx::query(
            "insert into invites (code, board, role, expires) values ($1, $2, $3, $4)
             on conflict (code) do update
             set board = excluded.board, role = excluded.role, expires = excluded.expires",
        )
        .bind(&invite.code)
        .bind(invite.board.as_str())
        .bind(word(&invite.role))
        .bind(signed(invite.expires.0))
        .execute(&mut *transaction)
        .await
        .map_err(|error| told(&error))?;
        transaction.commit().await.map_err(|error| told(&error))
    }

    pub(super) async fn find_invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        // People type codes; PostgreSQL takes no text with this in it.
        if code.contains('\0') {
            return Ok(None);
        }
        sqlx::query_as("select code, board, role, expires from invites where code = $1")
            .bind(code)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| told(&error))?
            .map(invite)
            .transpose()
    }

    pub(super) async fn list_invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError> {
        let found = sqlx::query_as("select code, board, role, expires from invites where board = $1 order by code")
            .bind(board.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| told(&error))?;
        if found.is_empty() {
            self.require_board(board).await?;
        }
        found.into_iter().map(invite).collect()
    }

    pub(super) async fn delete_invite(&self, board: &BoardId, code: &str) -> Result<bool, sqlx::Error> {
        let removed = sqlx::query("delete from invites where board = $1 and code = $2")
            .bind(board.as_str())
            .bind(code)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected() > 0)
    }

    pub(super) async fn insert_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into visits (user_id, board, at) select $1, id, $3 from boards where id = $2
             on conflict (user_id, board) do update set at = excluded.at",
        )
        .bind(user.as_str())
        .bind(board.as_str())
        .bind(signed(now.0))
        .execute(&self.pool)
        .await?;
        // On its own: a visit too many is none that is lost.
        sqlx::query(
            "delete from visits where user_id = $1 and board in
                 (select board from visits where user_id = $1 order by at desc, board offset $2)",
        )
        .bind(user.as_str())
        .bind(rows(VISITS_MAX))
        .execute(&self.pool)
        .await
        .map(drop)
    }

    pub(super) async fn list_visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError> {
        type Visit = (String, String, String, i64, String, i64);
        let seen: Vec<Visit> = sqlx::query_as(
            "select id, title, edit, created, owner, at from visits join boards on boards.id = visits.board
             where user_id = $1 order by at desc, board limit $2",
        )
        .bind(user.as_str())
        .bind(rows(VISITS_MAX))
        .fetch_all(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        let visit = |(id, title, edit, created, owner, at): Visit| {
            let row: Row = (id, title, edit, created, owner);
            Ok((info(row)?, Timestamp(unsigned(at))))
        };
        seen.into_iter().map(visit).collect()
    }
}
