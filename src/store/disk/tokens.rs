//! Revoked tokens. The table is made when it is first asked for: older data directories do not have it.

use redb::{ReadableTable as _, TableDefinition};

use super::{Files, Refused, from_stored, to_stored};
use crate::protocol::ids::Timestamp;
use crate::store::{Revocation, Revoked, StoreError};

/// `token:<jti>` or `user:<id>` -> the revocation.
const REVOKED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("revoked");

impl Files {
    pub(super) fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let key = match &revocation.what {
            Revoked::Token(id) => format!("token:{id}"),
            Revoked::User(user) => format!("user:{user}"),
        };
        self.database.write(|transaction| {
            let stored = to_stored(revocation);
            transaction
                .open_table(REVOKED)?
                .insert(key.as_str(), stored.as_slice())?;
            Ok(())
        })
    }

    /// Those that still count; the others are removed.
    pub(super) fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.database.write(|transaction| {
            let mut table = transaction.open_table(REVOKED)?;
            let (mut found, mut ended) = (Vec::new(), Vec::new());
            for entry in table.iter()? {
                let (key, stored) = entry?;
                let revocation: Revocation = from_stored(stored.value()).map_err(Refused::Refused)?;
                if revocation.until > now {
                    found.push(revocation);
                } else {
                    ended.push(key.value().to_owned());
                }
            }
            for key in ended {
                table.remove(key.as_str())?;
            }
            Ok(found)
        })
    }
}
