//! Revoked tokens. The table is made with the first one: older data directories do not have it.

use redb::{ReadableTable as _, TableDefinition, TableError};

use super::{Files, Refused, from_stored, to_stored};
use crate::protocol::ids::Timestamp;
use crate::store::{Revocation, Revoked, StoreError, widened};

/// `token:<jti>` or `user:<id>` -> the revocation.
pub(super) const REVOKED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("revoked");

impl Files {
    pub(super) fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let key = match &revocation.what {
            Revoked::Token(id) => format!("token:{id}"),
            Revoked::User(user) => format!("user:{user}"),
        };
        self.database.write(|transaction| {
            let mut table = transaction.open_table(REVOKED)?;
            let known = table.get(key.as_str())?.map(|stored| from_stored(stored.value()));
            let known = known.transpose().map_err(Refused::Refused)?;
            let stored = to_stored(&widened(revocation, known.as_ref()));
            table.insert(key.as_str(), stored.as_slice())?;
            Ok(())
        })
    }

    /// Those that still count; the others are removed, now or at a later time.
    pub(super) fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let (found, ended) = self.database.read(|transaction| {
            let (mut found, mut ended) = (Vec::new(), Vec::new());
            let table = match transaction.open_table(REVOKED) {
                Err(TableError::TableDoesNotExist(_)) => return Ok((found, ended)),
                table => table?,
            };
            for entry in table.iter()? {
                let (key, stored) = entry?;
                // Without it a token that was revoked would be good again, so the node does not go on.
                let revocation: Revocation = from_stored(stored.value()).map_err(|error| {
                    let cure = "`panseo verify` lists all damage; restore the data directory from a backup";
                    Refused::Refused(StoreError::Damaged(format!(
                        "revocation {}: {error}; {cure}",
                        key.value()
                    )))
                })?;
                if revocation.until > now {
                    found.push(revocation);
                } else {
                    ended.push(key.value().to_owned());
                }
            }
            Ok::<_, Refused>((found, ended))
        })?;
        if !ended.is_empty() {
            let removed = self.database.write::<_, StoreError>(|transaction| {
                let mut table = transaction.open_table(REVOKED)?;
                for key in &ended {
                    table.remove(key.as_str())?;
                }
                Ok(())
            });
            // They do no harm: a node must start on a full disk, too.
            if let Err(error) = removed {
                tracing::warn!(%error, "Revocations that have ended were not removed.");
            }
        }
        Ok(found)
    }
}
