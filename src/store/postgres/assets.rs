//! Uploaded files: contents in an object store under their hashes, shared by boards; who uses them in the database.
//!
//! The content comes before its row and goes after it, so a crash leaves at most a content that nobody refers to. Nodes
//! agree by a lock in the database on the hash, so that none removes what another one has just begun to use.

use std::fmt;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Postgres, Transaction};

use super::{OpenError, PostgresStore, signed, told};
use crate::protocol::ids::{BoardId, Timestamp};
use crate::store::{Asset, AssetHead, StoreError};

/// Where contents lie.
#[derive(Clone)]
pub(super) struct Contents {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.objects, self.prefix)
    }
}

impl Contents {
    /// A directory, made if it is not there, or a URL like `s3://bucket/folder`.
    pub(super) fn open(place: &str) -> Result<Self, OpenError> {
        let unusable = |why: String| OpenError::Assets {
            place: place.to_owned(),
            why,
        };
        if place.starts_with("s3://") {
            return Self::open_s3(place).map_err(unusable);
        }
        if place.contains("://") {
            return Err(unusable("it must be a directory or begin with s3://".into()));
        }
        std::fs::create_dir_all(place).map_err(|error| unusable(error.to_string()))?;
        let objects = LocalFileSystem::new_with_prefix(place).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            objects: Arc::new(objects.with_fsync(true)),
            prefix: Path::default(),
        })
    }

    #[cfg(feature = "s3")]
    fn open_s3(place: &str) -> Result<Self, String> {
        let prefix = place.splitn(4, '/').nth(3).unwrap_or_default();
        let builder = object_store::aws::AmazonS3Builder::from_env().with_url(place);
        Ok(Self {
            objects: Arc::new(builder.build().map_err(|error| error.to_string())?),
            prefix: Path::parse(prefix.trim_end_matches('/')).map_err(|error| error.to_string())?,
        })
    }

    #[cfg(not(feature = "s3"))]
    fn open_s3(_place: &str) -> Result<Self, String> {
        Err("this program was built without the feature `s3`".into())
    }

    fn path(&self, sha256: &str) -> Path {
        self.prefix.clone().join(&sha256[..2]).join(sha256)
    }
}

/// Media type, and width and height where it has them.
type Entry = (String, Option<(u32, u32)>);

impl PostgresStore {
    pub(super) async fn insert_asset(
        &self,
        board: &BoardId,
        sha256: &str,
        asset: Asset,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.lock_content(sha256).await.map_err(|error| told(&error))?;
        self.require_board(board).await?;
        // A damaged content is replaced by the upload.
        let path = self.contents.path(sha256);
        let written = self.contents.objects.put(&path, asset.bytes.into());
        written.await.map_err(|error| told_of_content(&error))?;
        let (width, height) = asset.size.unzip();
        let kept = sqlx::query(
            "insert into assets (board, sha256, mime_type, width, height, uploaded)
             select id, $2, $3, $4, $5, $6 from boards where id = $1 for key share
             on conflict (board, sha256) do update set mime_type = excluded.mime_type, width = excluded.width,
                 height = excluded.height, uploaded = excluded.uploaded",
        )
        .bind(board.as_str())
        .bind(sha256)
        .bind(asset.mime_type)
        .bind(width.map(i64::from))
        .bind(height.map(i64::from))
        .bind(signed(now.0))
        .execute(&mut *transaction)
        .await
        .map_err(|error| told(&error))?;
        if kept.rows_affected() == 0 {
            // The board was deleted while the content was on its way.
            self.remove_if_unused(&mut transaction, sha256).await?;
            return Err(StoreError::NoBoard);
        }
        transaction.commit().await.map_err(|error| told(&error))
    }

    async fn find_entry(&self, board: &BoardId, sha256: &str) -> Result<Option<Entry>, StoreError> {
        let row: Option<(String, Option<i64>, Option<i64>)> =
            sqlx::query_as("select mime_type, width, height from assets where board = $1 and sha256 = $2")
                .bind(board.as_str())
                .bind(sha256)
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| told(&error))?;
        let length = |length: Option<i64>| length.and_then(|length| u32::try_from(length).ok());
        Ok(row.map(|(mime_type, width, height)| (mime_type, length(width).zip(length(height)))))
    }

    pub(super) async fn find_asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError> {
        let Some((mime_type, size)) = self.find_entry(board, sha256).await? else {
            return Ok(None);
        };
        let head = self.contents.objects.head(&self.contents.path(sha256)).await;
        Ok(Some(AssetHead {
            mime_type,
            size,
            length: head.map_err(|error| told_of_content(&error))?.size,
        }))
    }

    pub(super) async fn find_asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError> {
        let Some((mime_type, size)) = self.find_entry(board, sha256).await? else {
            return Ok(None);
        };
        let content = self.contents.objects.get(&self.contents.path(sha256)).await;
        let content = content.map_err(|error| told_of_content(&error))?.bytes().await;
        let bytes = content.map_err(|error| told_of_content(&error))?;
        if format!("{:x}", Sha256::digest(&bytes)) != sha256 {
            return Err(StoreError::Damaged(format!("asset {sha256}")));
        }
        Ok(Some(Asset { mime_type, size, bytes }))
    }

    pub(super) async fn remove_unused(
        &self,
        board: &BoardId,
        used: &[String],
        before: Timestamp,
    ) -> Result<usize, StoreError> {
        self.require_board(board).await?;
        let removed: Vec<String> = sqlx::query_scalar(
            "delete from assets where board = $1 and uploaded < $2 and sha256 <> all($3) returning sha256",
        )
        .bind(board.as_str())
        .bind(signed(before.0))
        .bind(used)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        let count = removed.len();
        self.remove_orphans(removed).await;
        Ok(count)
    }

    /// Removes contents that no board uses any more. One that stays costs space, nothing else.
    pub(super) async fn remove_orphans(&self, hashes: Vec<String>) {
        for sha256 in hashes {
            if let Err(error) = self.remove_orphan(&sha256).await {
                tracing::warn!(%error, "The content of an asset could not be removed.");
            }
        }
    }

    async fn remove_orphan(&self, sha256: &str) -> Result<(), StoreError> {
        let mut transaction = self.lock_content(sha256).await.map_err(|error| told(&error))?;
        self.remove_if_unused(&mut transaction, sha256).await?;
        transaction.commit().await.map_err(|error| told(&error))
    }

    /// For whoever holds the lock on the content.
    async fn remove_if_unused(&self, connection: &mut PgConnection, sha256: &str) -> Result<(), StoreError> {
        if !is_used(connection, sha256).await.map_err(|error| told(&error))? {
            let removed = self.contents.objects.delete(&self.contents.path(sha256)).await;
            removed.map_err(|error| told_of_content(&error))?;
        }
        Ok(())
    }

    /// Until the transaction ends, nobody else writes or removes this content.
    async fn lock_content(&self, sha256: &str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // The transaction is idle while the content is on its way, which takes longer than others may be idle.
        sqlx::query(
            "select set_config('idle_in_transaction_session_timeout', '60s', true),
                 pg_advisory_xact_lock(hashtextextended($1, 0))",
        )
        .bind(sha256)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction)
    }
}

async fn is_used(connection: &mut PgConnection, sha256: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from assets where sha256 = $1)")
        .bind(sha256)
        .fetch_one(connection)
        .await
}

fn told_of_content(error: &object_store::Error) -> StoreError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        StoreError::Damaged("the content of an asset is missing".into())
    } else {
        StoreError::Failed(error.to_string())
    }
}
