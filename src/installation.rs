//! What belongs to the database as a whole: the check value of its secret, whether it has
//! been set up, and for which notice steps its keys were marked.

use diesel::prelude::*;

use crate::crypto::{self, Keyring, LogSeal, Root};
use crate::db::{Db, Tx};
use crate::error::{Error, Result};
use crate::schema::{installation, organizations};
use crate::time::Time;

/// The secrets that the configuration offers.
pub struct Offer<'a> {
    /// `KEYDESK_SECRET`.
    pub current: Option<Root>,
    /// `KEYDESK_SECRET_PREVIOUS`.
    pub previous: Option<Root>,
    /// Reads the secret that an earlier start wrote, if there is one.
    pub stored: &'a dyn Fn() -> Result<Option<Root>>,
    /// Writes a new secret, unless another process has written one meanwhile; returns
    /// the one that is there now.
    pub generate: &'a dyn Fn() -> Result<Root>,
    /// Prepares a new database for authenticated audit logs.
    pub begin_logs: &'a dyn Fn(&mut Tx<'_>, &LogSeal) -> Result<()>,
}

/// What is to be done before a database whose secret was proven can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Settled,
    /// The secret was replaced: audit logs are still authenticated under the one before.
    Replaced,
    /// The secret was replaced by other processes, and is given here as the previous one: this process
    /// is one that is to be restarted with the new one.
    Overtaken,
    /// It comes from a version that did not authenticate audit logs.
    Unsealed,
}

/// Finds the secret of this database and proves that it belongs to it. Unless the database is
/// [`Standing::Settled`], its audit logs have to be authenticated next, and [`settle`] says so.
///
/// A secret is generated only together with an empty database. Errors: `Conflict` when
/// there is no secret for a database that has one, or when it is another one.
pub fn unlock(db: &Db, offer: &Offer<'_>) -> Result<(Keyring, Standing)> {
    db.write_now(|tx| {
        lock(tx)?;
        let known = installation::table
            .select((installation::nonce, installation::secret_check, installation::retired_root))
            .first::<Check>(tx.conn)
            .optional()?;
        let root = match (&offer.current, (offer.stored)()?) {
            (Some(root), _) => root.clone(),
            (None, Some(root)) => root,
            (None, None) if known.is_none() => (offer.generate)()?,
            (None, None) => {
                return Err(Error::Conflict(
                    "KEYDESK_SECRET is not set, and the database was made with a secret. \
                     Set KEYDESK_SECRET to that secret, or KEYDESK_DATA_DIR to the directory that holds it.",
                ));
            }
        };
        let keyring = Keyring::new(root, offer.previous.clone());
        let standing = match known {
            None => {
                first_start(tx, &keyring)?;
                (offer.begin_logs)(tx, &keyring.log_seal())?;
                Standing::Settled
            }
            Some(check) => prove(&keyring, offer.previous.as_ref(), &check)?,
        };
        Ok((keyring, standing))
    })
}

/// The token of the set-up link, while no organisation exists.
pub fn setup_token(db: &Db, keyring: &Keyring) -> Result<Option<String>> {
    let (nonce, set_up_at) = db.read_now(|conn| {
        Ok(installation::table
            .select((installation::nonce, installation::set_up_at))
            .first::<(Vec<u8>, Option<Time>)>(conn)?)
    })?;
    Ok(set_up_at.is_none().then(|| keyring.setup_token(&nonce)))
}

/// Whether an organisation exists.
pub fn is_set_up(conn: &mut crate::db::Conn) -> Result<bool> {
    Ok(installation::table.select(installation::set_up_at).first::<Option<Time>>(conn)?.is_some())
}

/// Marks the database as set up, once: `false` when it already is. The row is locked until
/// the transaction ends, so of several set-ups at once one wins.
pub fn set_up(tx: &mut Tx<'_>, now: Time) -> Result<bool> {
    let changed = diesel::update(installation::table.filter(installation::set_up_at.is_null()))
        .set(installation::set_up_at.eq(now))
        .execute(tx.conn)?;
    Ok(changed == 1)
}

/// Whether the token is the one of the set-up link and still counts.
pub fn accepts(tx: &mut crate::db::Conn, keyring: &Keyring, token: &str) -> Result<bool> {
    let (nonce, set_up_at) = installation::table
        .select((installation::nonce, installation::set_up_at))
        .first::<(Vec<u8>, Option<Time>)>(tx)?;
    Ok(set_up_at.is_none() && crypto::same(keyring.setup_token(&nonce).as_bytes(), token.as_bytes()))
}

/// The notice steps for which keys were last marked as expiring.
pub fn notices(tx: &mut Tx<'_>) -> Result<String> {
    Ok(installation::table.select(installation::notices).first(tx.conn)?)
}

/// Notes the steps for which keys are marked now.
pub fn set_notices(tx: &mut Tx<'_>, notices: &str) -> Result<()> {
    diesel::update(installation::table).set(installation::notices.eq(notices)).execute(tx.conn)?;
    Ok(())
}

/// On PostgreSQL two first starts at once must not both find an empty table; SQLite's
/// transaction has locked the file already.
fn lock(tx: &mut Tx<'_>) -> Result<()> {
    if let crate::db::Conn::Postgres(conn) = tx.conn {
        use diesel::connection::SimpleConnection;
        conn.batch_execute("LOCK TABLE installation IN EXCLUSIVE MODE")?;
    }
    Ok(())
}

/// Locks the installation and tells how it stands now: another process may have settled it meanwhile.
pub fn standing(tx: &mut Tx<'_>, keyring: &Keyring, previous: Option<&Root>) -> Result<Standing> {
    lock(tx)?;
    let check = installation::table
        .select((installation::nonce, installation::secret_check, installation::retired_root))
        .first::<Check>(tx.conn)?;
    prove(keyring, previous, &check)
}

/// Notes that all audit logs are authenticated under the secret.
pub fn settle(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let nonce: Vec<u8> = installation::table.select(installation::nonce).first(tx.conn)?;
    diesel::update(installation::table)
        .set((
            installation::secret_check.eq(keyring.check_value(&nonce).as_slice()),
            installation::retired_root.eq(keyring.previous_root_tag().map(Vec::from)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Whether the database still belongs to the secret with which this process was started.
pub fn is_own(conn: &mut crate::db::Conn, seal: &LogSeal) -> Result<bool> {
    let row = installation::table.select((installation::nonce, installation::secret_check));
    let row = row.first::<(Vec<u8>, Vec<u8>)>(conn).optional()?;
    Ok(row.is_some_and(|(nonce, check)| seal.owns(&nonce, &check)))
}

fn first_start(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let orgs: i64 = organizations::table.count().get_result(tx.conn)?;
    if orgs > 0 {
        return Err(Error::Conflict(
            "The database has organisations but no longer the row of the table `installation` that belongs to \
             them. Restore it from a backup.",
        ));
    }
    let mut nonce = [0_u8; 32];
    crypto::fill_random(&mut nonce)?;
    diesel::insert_into(installation::table)
        .values((
            installation::id.eq(1_i16),
            installation::nonce.eq(nonce.as_slice()),
            installation::secret_check.eq(keyring.check_value(&nonce).as_slice()),
            installation::notices.eq(""),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Nonce, check value and the tag of the secret before.
type Check = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn prove(keyring: &Keyring, previous: Option<&Root>, (nonce, check, retired): &Check) -> Result<Standing> {
    if crypto::same(&keyring.check_value(nonce), check) {
        return Ok(Standing::Settled);
    }
    let previous = previous.map(|root| Keyring::new(root.clone(), None));
    let before = |keyring: &Keyring| crypto::same(&keyring.unsealed_check_value(nonce), check);
    if before(keyring) || previous.as_ref().is_some_and(before) {
        return Ok(Standing::Unsealed);
    }
    if previous.is_some_and(|keyring| crypto::same(&keyring.check_value(nonce), check)) {
        let is_retired = retired.as_deref() == Some(keyring.root_tag().as_slice());
        return Ok(if is_retired { Standing::Overtaken } else { Standing::Replaced });
    }
    Err(Error::Conflict(
        "KEYDESK_SECRET does not belong to this database. Set the secret with which the database was made; \
         to replace it, set the new one and the old one as KEYDESK_SECRET_PREVIOUS.",
    ))
}
