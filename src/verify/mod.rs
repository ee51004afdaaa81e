//! Checking a presented key: look-up, decision, limit.
//!
//! Each call looks its digest up by the unique index, so an answer is never staler than the
//! database.

pub mod decision;
pub mod limit;

use crate::crypto::Keyring;
use crate::db::Db;
use crate::error::Result;
use crate::keys::secret::PlainSecret;
use crate::keys::store::{self, Presented};

/// Finds the key of a presented secret. A secret known only under the previous root secret
/// of the installation is digested anew.
pub async fn look_up(db: &Db, keyring: &Keyring, secret: &PlainSecret) -> Result<Option<Presented>> {
    let digest = secret.digest(&keyring.api_keys);
    let found = db.read(move |conn| store::by_digest(conn, &digest)).await?;
    let (None, Some(previous)) = (&found, &keyring.api_keys_previous) else {
        return Ok(found);
    };
    let old = secret.digest(previous);
    db.write(move |tx| {
        let found = store::by_digest(tx.conn, &old)?;
        if let Some(presented) = &found {
            store::set_digest(tx, presented.secret, &digest)?;
        }
        Ok(found)
    })
    .await
}
