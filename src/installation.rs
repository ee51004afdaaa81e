//! The database as a whole: the check value of its root secret, whether it is set up, and the notice
//! steps for which its keys were marked.

use diesel::prelude::*;

use crate::crypto::{self, Keyring, LogSeal, Root};
use crate::db::{Db, Tx};
use crate::error::{Error, Result};
use crate::schema::{installation, organizations};
use crate::time::Time;

/// The root secrets that the configuration provides.
pub struct ConfiguredSecrets<'a> {
    /// `KEYDESK_SECRET`.
    pub current: Option<Root>,
    /// `KEYDESK_SECRET_PREVIOUS`.
    pub previous: Option<Root>,
    /// Reads the secret that an earlier start generated, if any.
    pub stored: &'a dyn Fn() -> Result<Option<Root>>,
    /// Generates and stores a secret, unless another process has just done so; returns the stored one.
    pub generate: &'a dyn Fn() -> Result<Root>,
    /// Prepares a new database for authenticated audit logs.
    pub begin_logs: &'a dyn Fn(&mut Tx<'_>, &LogSeal) -> Result<()>,
}

/// What has to be done before a database whose root secret was verified can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealState {
    /// Nothing.
    Current,
    /// The root secret was replaced: seal the audit logs again, under the new one.
    Replaced,
    /// Other processes have already replaced the root secret, and this process still has it as the
    /// previous one: it has to be restarted with the new one.
    Overtaken,
    /// A version without authenticated audit logs wrote the database: seal them for the first time.
    Unsealed,
}

/// Finds the root secret and verifies that it belongs to this database. Unless the result is
/// [`SealState::Current`], the audit logs have to be sealed next, followed by [`mark_sealed`].
///
/// A secret is generated only together with an empty database. Errors: `Conflict` if the secret is
/// missing or belongs to another database.
pub fn open(db: &Db, secrets: &ConfiguredSecrets<'_>) -> Result<(Keyring, SealState)> {
    db.write_now(|tx| {
        lock(tx)?;
        let known = installation::table
            .select((installation::nonce, installation::secret_check, installation::retired_root))
            .first::<Check>(tx.conn)
            .optional()?;
        let root = match (&secrets.current, (secrets.stored)()?) {
            (Some(root), _) => root.clone(),
            (None, Some(root)) => root,
            (None, None) if known.is_none() => (secrets.generate)()?,
            (None, None) => {
                return Err(Error::Conflict(
                    "KEYDESK_SECRET is not set, but the database was created with a secret. \
                     Set KEYDESK_SECRET to that secret, or KEYDESK_DATA_DIR to the directory that holds it.",
                ));
            }
        };
        let keyring = Keyring::new(root, secrets.previous.clone());
        let seal_state = match known {
            None => {
                first_start(tx, &keyring)?;
                (secrets.begin_logs)(tx, &keyring.log_seal())?;
                SealState::Current
            }
            Some(check) => prove(&keyring, secrets.previous.as_ref(), &check)?,
        };
        Ok((keyring, seal_state))
    })
}

/// The token of the set-up link; `None` once an organisation exists.
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

/// Marks the database as set up; `false` if it already is. The row stays locked until the transaction
/// ends, so one of several concurrent set-ups wins.
pub fn set_up(tx: &mut Tx<'_>, now: Time) -> Result<bool> {
    let changed = diesel::update(installation::table.filter(installation::set_up_at.is_null()))
        .set(installation::set_up_at.eq(now))
        .execute(tx.conn)?;
    Ok(changed == 1)
}

/// Whether this is the token of the set-up link and still valid.
pub fn accepts(tx: &mut crate::db::Conn, keyring: &Keyring, token: &str) -> Result<bool> {
    let (nonce, set_up_at) = installation::table
        .select((installation::nonce, installation::set_up_at))
        .first::<(Vec<u8>, Option<Time>)>(tx)?;
    Ok(set_up_at.is_none()
        && crypto::constant_time_eq(keyring.setup_token(&nonce).as_bytes(), token.as_bytes()))
}

/// The notice steps for which keys were last marked as expiring.
pub fn notices(tx: &mut Tx<'_>) -> Result<String> {
    Ok(installation::table.select(installation::notices).first(tx.conn)?)
}

/// Stores the notice steps for which keys are now marked.
pub fn set_notices(tx: &mut Tx<'_>, notices: &str) -> Result<()> {
    diesel::update(installation::table).set(installation::notices.eq(notices)).execute(tx.conn)?;
    Ok(())
}

/// On PostgreSQL, two concurrent first starts must not both find an empty table. SQLite's transaction has
/// already locked the file.
fn lock(tx: &mut Tx<'_>) -> Result<()> {
    if let crate::db::Conn::Postgres(conn) = tx.conn {
        use diesel::connection::SimpleConnection;
        conn.batch_execute("LOCK TABLE installation IN EXCLUSIVE MODE")?;
    }
    Ok(())
}

/// Locks the installation and reads its state: another process may have changed it meanwhile.
pub fn seal_state(tx: &mut Tx<'_>, keyring: &Keyring, previous: Option<&Root>) -> Result<SealState> {
    lock(tx)?;
    let check = installation::table
        .select((installation::nonce, installation::secret_check, installation::retired_root))
        .first::<Check>(tx.conn)?;
    prove(keyring, previous, &check)
}

/// Records that all audit logs are authenticated under the root secret.
pub fn mark_sealed(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let nonce: Vec<u8> = installation::table.select(installation::nonce).first(tx.conn)?;
    diesel::update(installation::table)
        .set((
            installation::secret_check.eq(keyring.check_value(&nonce).as_slice()),
            installation::retired_root.eq(keyring.previous_root_tag().map(Vec::from)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Whether the database still belongs to the root secret with which this process was started.
pub fn belongs_to(conn: &mut crate::db::Conn, seal: &LogSeal) -> Result<bool> {
    let row = installation::table.select((installation::nonce, installation::secret_check));
    let row = row.first::<(Vec<u8>, Vec<u8>)>(conn).optional()?;
    Ok(row.is_some_and(|(nonce, check)| seal.owns(&nonce, &check)))
}

fn first_start(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let orgs: i64 = organizations::table.count().get_result(tx.conn)?;
    if orgs > 0 {
        return Err(Error::Conflict(
            "The database has organisations, but their row in the table `installation` is missing. \
             Restore the database from a backup.",
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

/// Nonce, check value and the tag of the previous root secret.
type Check = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn prove(keyring: &Keyring, previous: Option<&Root>, (nonce, check, retired): &Check) -> Result<SealState> {
    if crypto::constant_time_eq(&keyring.check_value(nonce), check) {
        return Ok(SealState::Current);
    }
    let previous = previous.map(|root| Keyring::new(root.clone(), None));
    let before = |keyring: &Keyring| crypto::constant_time_eq(&keyring.unsealed_check_value(nonce), check);
    if before(keyring) || previous.as_ref().is_some_and(before) {
        return Ok(SealState::Unsealed);
    }
    if previous.is_some_and(|keyring| crypto::constant_time_eq(&keyring.check_value(nonce), check)) {
        let is_retired = retired.as_deref() == Some(keyring.root_tag().as_slice());
        return Ok(if is_retired { SealState::Overtaken } else { SealState::Replaced });
    }
    Err(Error::Conflict(
        "KEYDESK_SECRET does not belong to this database. Set the secret with which the database was created. \
         To replace it, set the new secret as KEYDESK_SECRET and the old one as KEYDESK_SECRET_PREVIOUS.",
    ))
}
