//! Looks up keys in the database by the digests of presented secrets.

use crate::crypto::{Digest, Keyring};
use crate::db::Db;
use crate::error::Result;
use crate::keys::lookup::{self, PresentedKey};
use crate::keys::roots;
use crate::keys::secret::PlainSecret;
use crate::time::Time;

/// The digests under which the database may hold a secret. While the root secret is being replaced there are two;
/// the one that secrets move away from comes first, so that a secret that moves between two queries is still found.
pub(super) fn candidates(db: &Db, keyring: &Keyring, secret: &PlainSecret, own: Digest) -> Vec<Digest> {
    let previous = keyring.api_keys_previous.as_ref().map(|previous| secret.digest(previous));
    let mut digests: Vec<Digest> = previous.into_iter().chain([own]).collect();
    if !db.logs().is_by_own() {
        digests.reverse();
    }
    digests
}

/// Reads the key of a secret by these digests.
pub(super) async fn find(
    db: &Db,
    keyring: &Keyring,
    secret: &PlainSecret,
    digests: Vec<Digest>,
) -> Result<Option<PresentedKey>> {
    for digest in digests {
        let found = db.read_for_keys(move |conn| lookup::by_digest(conn, &digest)).await?;
        let Some(key) = found else { continue };
        // Only towards the root secret of the database, or two processes would undo each other's work.
        if digest != secret.digest(&keyring.api_keys) && db.logs().is_by_own() {
            #[expect(clippy::disallowed_methods, reason = "look-ups count from `Instant`s")]
            let now = Time::now();
            let (keyring, secret, found) = (keyring.clone(), secret.clone(), key.clone());
            db.write(move |tx| roots::redigest(tx, &keyring, &found, &secret, now)).await?;
        }
        return Ok(Some(key));
    }
    Ok(None)
}
