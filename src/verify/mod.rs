//! Checking a presented key: look-up, decision, limit.
//!
//! Each call looks its digest up by the unique index, so an answer is never staler than the
//! database.

pub mod decision;
pub mod limit;

use crate::crypto::Keyring;
use crate::db::Db;
use crate::error::Result;
use crate::keys::presented::{self, Presented};
use crate::keys::secret::PlainSecret;

/// Finds the key of a presented secret. A secret known only under the previous root secret
/// of the installation is digested anew.
pub async fn look_up(db: &Db, keyring: &Keyring, secret: &PlainSecret) -> Result<Option<Presented>> {
    let digest = secret.digest(&keyring.api_keys);
    let found = db.read(move |conn| presented::by_digest(conn, &digest)).await?;
    let (None, Some(previous)) = (&found, &keyring.api_keys_previous) else {
        return Ok(found);
    };
    let old = secret.digest(previous);
    let found = db.read(move |conn| presented::by_digest(conn, &old)).await?;
    if let Some(key) = &found {
        let secret = key.secret;
        db.write(move |tx| presented::set_digest(tx, secret, &digest)).await?;
    }
    Ok(found)
}
