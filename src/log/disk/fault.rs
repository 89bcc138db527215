//! What can go wrong in the database, told in words of log and store.

use std::io;

use thiserror::Error;

use super::database::Health;
use crate::log::LogError;
use crate::store::StoreError;

/// Why a transaction came to nothing.
#[derive(Debug, Clone, Error)]
pub(crate) enum Fault {
    /// No room.
    #[error("the disk is full")]
    Full,
    /// A write failed earlier, and the database is being opened again.
    #[error("the database is being recovered")]
    Recovering,
    /// Reading found what cannot be.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
}

impl Fault {
    /// What the fault makes of the database's health; `None` if writes go on.
    pub(super) fn health(&self) -> Option<Health> {
        match self {
            Self::Full => Some(Health::Full),
            Self::Io(_) => Some(Health::Failed),
            Self::Recovering | Self::Damaged(_) => None,
        }
    }
}

/// Whether there was no room for a write.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        if let redb::Error::Io(source) = &error
            && is_full(source)
        {
            return Self::Full;
        }
        if matches!(error, redb::Error::Corrupted(_)) {
            return Self::Damaged(error.to_string());
        }
        Self::Io(error.to_string())
    }
}

impl From<Fault> for LogError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::Full,
            Fault::Recovering | Fault::Damaged(_) | Fault::Io(_) => Self::Failed(fault.to_string()),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::Full,
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::Recovering | Fault::Io(_) => Self::Failed(fault.to_string()),
        }
    }
}

/// Why the body of a transaction stopped.
#[derive(Debug)]
pub(crate) enum Aborted<E> {
    /// The database failed.
    Broken(redb::Error),
    /// The body itself found a reason; nothing was changed.
    Refused(E),
}

macro_rules! broken_by {
    ($($error:ty),*) => {
        $(impl<E> From<$error> for Aborted<E> {
            fn from(error: $error) -> Self {
                Self::Broken(error.into())
            }
        })*
    };
}

broken_by!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);
