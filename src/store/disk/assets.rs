//! Uploaded files: named by their content under `assets/`, written whole or not at all, shared by boards.
//!
//! The file comes before its entry and goes after it, so a crash leaves at most a file that nobody refers to.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use redb::{ReadableTable as _, Table};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Files, Refused, from_stored, require_board, to_stored};
use crate::log::disk::database::{ASSET_BOARDS, ASSETS, BOARDS};
use crate::protocol::ids::{BoardId, Timestamp};
use crate::store::{Asset, AssetHead, StoreError, refuse_bad_hash};

/// Directory of the files.
pub(super) const DIRECTORY: &str = "assets";

/// What the database knows of a board's asset.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    mime_type: String,
    size: Option<(u32, u32)>,
    uploaded: Timestamp,
}

impl Files {
    pub(super) fn put_asset(
        &self,
        board: &BoardId,
        sha256: &str,
        asset: &Asset,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        refuse_bad_hash(sha256)?;
        let _assets = self.assets.lock();
        self.database.refuse_unwell()?;
        // No board is deleted while files come and go, so no file is left behind by an upload to one that was.
        self.database
            .read(|transaction| require_board(&transaction.open_table(BOARDS)?, board.as_str()))?;
        write_file(self.database.dir(), sha256, &asset.bytes).map_err(|error| file_error(&error))?;
        let entry = to_stored(&Entry {
            mime_type: asset.mime_type.clone(),
            size: asset.size,
            uploaded: now,
        });
        self.database.write(|transaction| {
            let mut assets = transaction.open_table(ASSETS)?;
            assets.insert((board.as_str(), sha256), entry.as_slice())?;
            let mut asset_boards = transaction.open_table(ASSET_BOARDS)?;
            asset_boards.insert((sha256, board.as_str()), ())?;
            Ok(())
        })
    }

    fn asset_entry(&self, board: &BoardId, sha256: &str) -> Result<Option<Entry>, StoreError> {
        self.database.read(|transaction| {
            let assets = transaction.open_table(ASSETS)?;
            let entry = assets.get((board.as_str(), sha256))?;
            let entry = entry.map(|stored| from_stored::<Entry>(stored.value()));
            entry.transpose().map_err(Refused::Refused)
        })
    }

    pub(super) fn asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError> {
        let Some(entry) = self.asset_entry(board, sha256)? else {
            return Ok(None);
        };
        let file = fs::metadata(file_path(self.database.dir(), sha256)).map_err(|error| file_error(&error))?;
        if !file.is_file() {
            return Err(StoreError::Failed(format!("asset {sha256} is no file")));
        }
        Ok(Some(AssetHead {
            mime_type: entry.mime_type,
            size: entry.size,
            length: file.len(),
        }))
    }

    pub(super) fn asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError> {
        let Some(entry) = self.asset_entry(board, sha256)? else {
            return Ok(None);
        };
        let bytes = fs::read(file_path(self.database.dir(), sha256)).map_err(|error| file_error(&error))?;
        if hash_of(&bytes) != sha256 {
            return Err(StoreError::Damaged(format!("asset {sha256}")));
        }
        Ok(Some(Asset {
            mime_type: entry.mime_type,
            size: entry.size,
            bytes: bytes.into(),
        }))
    }

    pub(super) fn collect_assets(
        &self,
        board: &BoardId,
        used: &[String],
        before: Timestamp,
    ) -> Result<usize, StoreError> {
        let _assets = self.assets.lock();
        let id = board.as_str();
        let (count, orphans) = self.database.write(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            let mut assets = transaction.open_table(ASSETS)?;
            let mut unused = Vec::new();
            for entry in assets.range((id, "")..)? {
                let (key, stored) = entry?;
                let (of_board, sha256) = key.value();
                if of_board != id {
                    break;
                }
                let entry: Entry = from_stored(stored.value()).map_err(Refused::Refused)?;
                if entry.uploaded < before && !used.iter().any(|used| used == sha256) {
                    unused.push(sha256.to_owned());
                }
            }
            for sha256 in &unused {
                assets.remove((id, sha256.as_str()))?;
            }
            let count = unused.len();
            let orphans = forget(&mut transaction.open_table(ASSET_BOARDS)?, id, unused)?;
            Ok::<_, Refused>((count, orphans))
        })?;
        remove_files(self.database.dir(), &orphans);
        Ok(count)
    }
}

/// Removes the board from those that refer to the files; gives the files that none refers to any more.
pub(super) fn forget(
    asset_boards: &mut Table<'_, (&'static str, &'static str), ()>,
    board: &str,
    hashes: Vec<String>,
) -> Result<Vec<String>, Refused> {
    let mut orphans = Vec::new();
    for sha256 in hashes {
        asset_boards.remove((sha256.as_str(), board))?;
        let next = asset_boards.range((sha256.as_str(), "")..)?.next().transpose()?;
        let is_used = next.is_some_and(|(key, _unit)| key.value().0 == sha256);
        if !is_used {
            orphans.push(sha256);
        }
    }
    Ok(orphans)
}

/// Removes files without an entry. One that stays costs space, nothing else.
pub(super) fn remove_files(dir: &Path, hashes: &[String]) {
    for sha256 in hashes {
        if let Err(error) = fs::remove_file(file_path(dir, sha256)) {
            tracing::warn!(%error, "the file of an asset could not be removed");
        }
    }
}

/// Where the file lies.
pub(super) fn file_path(dir: &Path, sha256: &str) -> PathBuf {
    dir.join(DIRECTORY).join(&sha256[..2]).join(sha256)
}

/// SHA-256 in lower-case hex.
pub(super) fn hash_of(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn write_file(dir: &Path, sha256: &str, bytes: &[u8]) -> io::Result<()> {
    let path = file_path(dir, sha256);
    let assets = dir.join(DIRECTORY);
    let folder = assets.join(&sha256[..2]);
    // A damaged file is replaced by the upload: the content is at hand.
    if !fs::read(&path).is_ok_and(|known| known == bytes) {
        fs::create_dir_all(&folder)?;
        let draft = path.with_extension("tmp");
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&draft, &path)) {
            if let Err(error) = fs::remove_file(&draft) {
                tracing::warn!(%error, "the draft of an asset could not be removed");
            }
            return Err(error);
        }
    }
    // Each directory on the way holds a name that may be new, also where an upload before ended in between.
    for directory in [folder.as_path(), assets.as_path(), dir] {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn file_error(error: &io::Error) -> StoreError {
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StoreError::Full
    } else if kind == io::ErrorKind::NotFound {
        StoreError::Damaged("the file of an asset is missing".into())
    } else {
        StoreError::Failed(error.to_string())
    }
}
