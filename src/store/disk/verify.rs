//! Checks a closed data directory from end to end, without changing a byte of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use redb::{ReadTransaction, ReadableTable as _, TableError};

use super::assets::{DIRECTORY, Entry, file_path, hash_of};
use super::tokens::REVOKED;
use super::{Refused, from_stored};
use crate::log::disk::database::{
    ASSET_BOARDS, ASSETS, BLOCKS, BOARDS, INVITES, KEYFRAMES, LOG, MEMBER_BOARDS, MEMBERS, QUARANTINE,
};
use crate::log::disk::records::{content, decode, unseal};
use crate::log::disk::{Database, OpenError};
use crate::protocol::ids::{BoardId, Role};
use crate::store::{BoardInfo, Invite, Revocation, StoreError};

/// What a check came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Boards.
    pub boards: usize,
    /// Records in the log, those of the journal among them.
    pub records: usize,
    /// Records in the journal that were not moved into the database yet.
    pub journal_records: u64,
    /// Sealed blocks of history.
    pub blocks: usize,
    /// Records in them.
    pub sealed_records: usize,
    /// Keyframes.
    pub keyframes: usize,
    /// Assets, counted once for each board.
    pub assets: usize,
    /// Files that no board refers to: they cost space, nothing else.
    pub unused_files: usize,
    /// Places that were put in quarantine while the server ran.
    pub quarantined: usize,
    /// What is damaged, a line each.
    pub damage: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} boards, {} records in the log ({} of them in the journal), {} in {} sealed blocks, {} keyframes, {} assets, {} unused files, {} in quarantine: {}",
            self.boards,
            self.records,
            self.journal_records,
            self.sealed_records,
            self.blocks,
            self.keyframes,
            self.assets,
            self.unused_files,
            self.quarantined,
            if self.is_sound() { "sound" } else { "damaged" }
        )
    }
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    fn note(&mut self, place: impl std::fmt::Display, reason: impl std::fmt::Display) {
        self.damage.push(format!("{place}: {reason}"));
    }
}

/// Checks log, history, keyframes, tables and files of a data directory that no process has open.
pub fn verify(data_dir: &Path) -> Result<Report, OpenError> {
    let database = Database::open_untouched(data_dir)?;
    Ok(verify_database(&database))
}

/// One walk over some tables.
type Check = fn(&ReadTransaction, &mut Report) -> Result<(), Refused>;

fn verify_database(database: &Database) -> Report {
    let mut report = Report::default();
    let left = database.left_in_journal();
    report.journal_records = left.records;
    if left.is_cut {
        report.note(
            "journal",
            "missing or cut short: what was acknowledged last may be gone",
        );
    }
    for (first, last) in &left.missing {
        report.note("journal", format_args!("records {first} to {last} are missing"));
    }
    if let Err(error) = database.check_pages() {
        report.note("database", error);
    }
    let checks: [Check; 5] = [
        check_boards,
        check_revocations,
        check_log,
        check_history,
        check_keyframes,
    ];
    for check in checks {
        if let Err(error) = database.read::<_, StoreError>(|transaction| check(transaction, &mut report)) {
            report.note("database", error);
        }
    }
    let dir = database.dir();
    if let Err(error) = database.read::<_, StoreError>(|transaction| check_assets(dir, transaction, &mut report)) {
        report.note("database", error);
    }
    report
}

fn check_boards(transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    let boards = transaction.open_table(BOARDS)?;
    for entry in boards.iter()? {
        let (key, stored) = entry?;
        report.boards += 1;
        match from_stored::<BoardInfo>(stored.value()) {
            Ok(info) if info.id.as_str() == key.value() => {}
            Ok(_other) => report.note(format_args!("board {}", key.value()), "holds another id"),
            Err(error) => report.note(format_args!("board {}", key.value()), error),
        }
    }
    let members = transaction.open_table(MEMBERS)?;
    let member_boards = transaction.open_table(MEMBER_BOARDS)?;
    for entry in members.iter()? {
        let (key, stored) = entry?;
        let (board, user) = key.value();
        if let Err(error) = from_stored::<Role>(stored.value()) {
            report.note(format_args!("member of board {board}"), error);
        }
        if boards.get(board)?.is_none() || member_boards.get((user, board))?.is_none() {
            report.note(format_args!("member of board {board}"), "has no board, or no way back");
        }
    }
    for entry in member_boards.iter()? {
        let (key, _unit) = entry?;
        let (user, board) = key.value();
        if members.get((board, user))?.is_none() {
            report.note(
                format_args!("index of board {board}"),
                "names somebody who is no member",
            );
        }
    }
    for entry in transaction.open_table(INVITES)?.iter()? {
        let stored = entry?.1;
        if let Err(error) = from_stored::<Invite>(stored.value()) {
            report.note("an invite", error);
        }
    }
    Ok(())
}

fn check_revocations(transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    let revoked = match transaction.open_table(REVOKED) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    for entry in revoked.iter()? {
        let (key, stored) = entry?;
        if let Err(error) = from_stored::<Revocation>(stored.value()) {
            report.note(format_args!("revocation {}", key.value()), error);
        }
    }
    Ok(())
}

fn check_log(transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    let mut given = BTreeSet::new();
    for entry in transaction.open_table(LOG)?.iter()? {
        let (key, stored) = entry?;
        let (board, offset) = key.value();
        report.records += 1;
        if BoardId::new(board).is_err() {
            report.note(format_args!("record {offset}"), "its board has no valid name");
        }
        if !given.insert(offset) {
            report.note(
                format_args!("record {offset} of board {board}"),
                "its offset was given twice",
            );
        }
        if let Err(reason) = decode(stored.value()) {
            report.note(format_args!("record {offset} of board {board}"), reason);
        }
    }
    for entry in transaction.open_table(QUARANTINE)?.iter()? {
        entry?;
        report.quarantined += 1;
    }
    Ok(())
}

fn check_history(transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    let log = transaction.open_table(LOG)?;
    let mut before: (String, u64) = (String::new(), 0);
    for entry in transaction.open_table(BLOCKS)?.iter()? {
        let (key, stored) = entry?;
        let (board, last) = key.value();
        report.blocks += 1;
        if before.0 != board {
            before = (board.to_owned(), 0);
        }
        let records = match unseal(stored.value()) {
            Ok(records) => records,
            Err(reason) => {
                report.note(format_args!("block {last} of board {board}"), reason);
                continue;
            }
        };
        for (offset, record) in &records {
            report.sealed_records += 1;
            if *offset <= before.1 {
                report.note(
                    format_args!("block {last} of board {board}"),
                    "its records are out of order",
                );
            }
            before.1 = *offset;
            if log.get((board, *offset))?.is_some() {
                report.note(
                    format_args!("record {offset} of board {board}"),
                    "is sealed and in the log",
                );
            }
            if let Err(reason) = decode(record) {
                report.note(format_args!("sealed record {offset} of board {board}"), reason);
            }
        }
        if before.1 != last {
            report.note(format_args!("block {last} of board {board}"), "ends at another record");
        }
    }
    Ok(())
}

fn check_keyframes(transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    for entry in transaction.open_table(KEYFRAMES)?.iter()? {
        let (key, stored) = entry?;
        let (board, offset) = key.value();
        report.keyframes += 1;
        if let Err(reason) = content(stored.value()) {
            report.note(format_args!("keyframe {offset} of board {board}"), reason);
        }
    }
    Ok(())
}

fn check_assets(dir: &Path, transaction: &ReadTransaction, report: &mut Report) -> Result<(), Refused> {
    let assets = transaction.open_table(ASSETS)?;
    let asset_boards = transaction.open_table(ASSET_BOARDS)?;
    let mut used = BTreeSet::new();
    for entry in assets.iter()? {
        let (key, stored) = entry?;
        let (board, sha256) = key.value();
        report.assets += 1;
        if let Err(error) = from_stored::<Entry>(stored.value()) {
            report.note(format_args!("asset {sha256} of board {board}"), error);
        }
        if asset_boards.get((sha256, board))?.is_none() {
            report.note(format_args!("asset {sha256} of board {board}"), "has no way back");
        }
        if used.insert(sha256.to_owned()) {
            match fs::read(file_path(dir, sha256)) {
                Ok(bytes) if hash_of(&bytes) == sha256 => {}
                Ok(_other) => report.note(format_args!("asset {sha256}"), "its file holds something else"),
                Err(error) => report.note(format_args!("asset {sha256}"), error),
            }
        }
    }
    for entry in asset_boards.iter()? {
        let (key, _unit) = entry?;
        let (sha256, board) = key.value();
        if assets.get((board, sha256))?.is_none() {
            report.note(
                format_args!("index of asset {sha256}"),
                "names a board that does not have it",
            );
        }
    }
    report.unused_files = count_unused(dir, &used);
    Ok(())
}

fn count_unused(dir: &Path, used: &BTreeSet<String>) -> usize {
    let folders = fs::read_dir(dir.join(DIRECTORY)).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files
        .filter(|file| !file.file_name().to_str().is_some_and(|name| used.contains(name)))
        .count()
}
