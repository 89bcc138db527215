//! Boards and their members.

use sqlx::PgConnection;

use super::{PostgresStore, damaged, from_word, rows, signed, told, unsigned, word};
use crate::protocol::ids::{BoardId, Role, Timestamp, UserId};
use crate::store::{BoardChange, BoardInfo, Member, StoreError};

/// A row of `boards`.
pub(super) type Row = (String, String, String, i64, String);

/// Code of a row that refers to what is not there.
const FOREIGN_KEY: &str = "23503";

pub(super) fn info((id, title, edit, created, owner): Row) -> Result<BoardInfo, StoreError> {
    Ok(BoardInfo {
        id: BoardId::new(id).map_err(|error| damaged(&error))?,
        title,
        edit: from_word(edit)?,
        created: Timestamp(unsigned(created)),
        owner: UserId::new(owner).map_err(|error| damaged(&error))?,
    })
}

/// A row for a board that is not there says that there is no such board.
pub(super) fn told_of_board(error: &sqlx::Error) -> StoreError {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        Some(code) if code == FOREIGN_KEY => StoreError::NoBoard,
        _ => told(error),
    }
}

/// Until the transaction ends, no other one that asks for this changes what belongs to the board. Whoever stores its records
/// does not wait, nor is waited for.
pub(super) async fn one_by_one(connection: &mut PgConnection, board: &BoardId) -> Result<(), StoreError> {
    let found = sqlx::query("select from boards where id = $1 for no key update")
        .bind(board.as_str())
        .fetch_optional(connection)
        .await
        .map_err(|error| told(&error))?;
    found.map(drop).ok_or(StoreError::NoBoard)
}

impl PostgresStore {
    pub(super) async fn insert_board(&self, board: &BoardInfo) -> Result<(), StoreError> {
        // One statement, so that there is no board without its owner.
        let made = sqlx::query(
            "with made as (
                 insert into boards (id, title, edit, created, owner) values ($1, $2, $3, $4, $5)
                 on conflict do nothing returning id, owner
             )
             insert into members (board, user_id, role) select id, owner, 'teacher' from made",
        )
        .bind(board.id.as_str())
        .bind(&board.title)
        .bind(word(&board.edit))
        .bind(signed(board.created.0))
        .bind(board.owner.as_str())
        .execute(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        match made.rows_affected() {
            0 => Err(StoreError::BoardExists),
            _ => Ok(()),
        }
    }

    pub(super) async fn find_board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError> {
        sqlx::query_as("select id, title, edit, created, owner from boards where id = $1")
            .bind(board.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| told(&error))?
            .map(info)
            .transpose()
    }

    pub(super) async fn list_boards(
        &self,
        member: Option<&UserId>,
        after: Option<&BoardId>,
        limit: usize,
    ) -> Result<Vec<BoardInfo>, StoreError> {
        let after = after.map_or("", BoardId::as_str);
        let found: Vec<Row> = match member {
            None => {
                let listed = "select id, title, edit, created, owner from boards where id > $1 order by id limit $2";
                sqlx::query_as(listed)
                    .bind(after)
                    .bind(rows(limit))
                    .fetch_all(&self.pool)
                    .await
            }
            Some(member) => {
                sqlx::query_as(
                    "select id, title, edit, created, owner from members join boards on boards.id = members.board
                     where user_id = $3 and board > $1 order by board limit $2",
                )
                .bind(after)
                .bind(rows(limit))
                .bind(member.as_str())
                .fetch_all(&self.pool)
                .await
            }
        }
        .map_err(|error| told(&error))?;
        found.into_iter().map(info).collect()
    }

    pub(super) async fn change_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError> {
        let changed: Option<Row> = sqlx::query_as(
            "update boards set title = coalesce($2, title), edit = coalesce($3, edit) where id = $1
             returning id, title, edit, created, owner",
        )
        .bind(board.as_str())
        .bind(&change.title)
        .bind(change.edit.as_ref().map(word))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        info(changed.ok_or(StoreError::NoBoard)?)
    }

    pub(super) async fn remove_board(&self, board: &BoardId) -> Result<(), StoreError> {
        let hashes = self.remove_rows(board).await.map_err(|error| told(&error))?;
        let hashes = hashes.ok_or(StoreError::NoBoard)?;
        self.remove_orphans(hashes).await;
        Ok(())
    }

    /// Removes all rows of the board, and gives the hashes of its assets.
    async fn remove_rows(&self, board: &BoardId) -> Result<Option<Vec<String>>, sqlx::Error> {
        let id = board.as_str();
        let mut transaction = self.pool.begin().await?;
        // First of all: from here on no record of it is stored. Members, invites and visits go with it.
        let removed = sqlx::query("delete from boards where id = $1")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(None);
        }
        for statement in [
            "delete from records where board = $1",
            "delete from blocks where board = $1",
            "delete from keyframes where board = $1",
            "delete from quarantine where board = $1",
        ] {
            sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
        }
        let hashes = sqlx::query_scalar("delete from assets where board = $1 returning sha256")
            .bind(id)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(hashes))
    }

    pub(super) async fn list_members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError> {
        // A board always has a row here, so that one without members is told from none.
        let found: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
            "select user_id, role from boards left join members on members.board = boards.id
             where boards.id = $1 order by user_id",
        )
        .bind(board.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        if found.is_empty() {
            return Err(StoreError::NoBoard);
        }
        let members = found.into_iter().filter_map(|(user, role)| user.zip(role));
        members
            .map(|(user, role)| {
                Ok(Member {
                    user: UserId::new(user).map_err(|error| damaged(&error))?,
                    role: from_word(role)?,
                })
            })
            .collect()
    }

    pub(super) async fn find_role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError> {
        let role: Option<String> = sqlx::query_scalar("select role from members where board = $1 and user_id = $2")
            .bind(board.as_str())
            .bind(user.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| told(&error))?;
        role.map(from_word).transpose()
    }

    pub(super) async fn write_role(
        &self,
        board: &BoardId,
        user: &UserId,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await.map_err(|error| told(&error))?;
        // So that two who leave at once do not both see the other stay.
        one_by_one(&mut transaction, board).await?;
        if role != Some(Role::Teacher) {
            let teachers: Vec<String> =
                sqlx::query_scalar("select user_id from members where board = $1 and role = 'teacher'")
                    .bind(board.as_str())
                    .fetch_all(&mut *transaction)
                    .await
                    .map_err(|error| told(&error))?;
            if teachers == [user.as_str()] {
                return Err(StoreError::LastTeacher);
            }
        }
        let writing = match role {
            Some(role) => sqlx::query(
                "insert into members (board, user_id, role) values ($1, $2, $3)
                 on conflict (board, user_id) do update set role = excluded.role",
            )
            .bind(board.as_str())
            .bind(user.as_str())
            .bind(word(&role)),
            None => sqlx::query("delete from members where board = $1 and user_id = $2")
                .bind(board.as_str())
                .bind(user.as_str()),
        };
        writing.execute(&mut *transaction).await.map_err(|error| told(&error))?;
        transaction.commit().await.map_err(|error| told(&error))
    }

    pub(super) async fn insert_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError> {
        // Where there is a member, the update changes nothing, and makes the statement give the row.
        let role: String = sqlx::query_scalar(
            "insert into members (board, user_id, role) values ($1, $2, $3)
             on conflict (board, user_id) do update set role = members.role returning role",
        )
        .bind(board.as_str())
        .bind(user.as_str())
        .bind(word(&role))
        .fetch_one(&self.pool)
        .await
        .map_err(|error| told_of_board(&error))?;
        from_word(role)
    }

    /// Refuses what needs a board where there is none.
    pub(super) async fn require_board(&self, board: &BoardId) -> Result<(), StoreError> {
        self.find_board(board).await?.map(drop).ok_or(StoreError::NoBoard)
    }
}
