//! The tables of sums: requests by minute, hour and day, clients, and the last uses of scopes and addresses. Rows of
//! the journal are added to them a few keys at a time. The less often that happens, the less is written.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Bool};

use crate::db::{Conn, Db, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, readable};
use crate::schema::{
    key_addresses, scope_uses, usage_callers, usage_counts, usage_latencies, usage_total_latencies,
    usage_totals,
};
use crate::scope::Scopes;
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::usage::additions::additions;
use crate::usage::{journal, refusals};

/// Days for which minutes are kept.
const MINUTE_DAYS: i64 = 2;
/// Days for which hours and clients are kept. Days are kept forever.
pub const HOUR_DAYS: i64 = 100;
/// Keys whose rows are moved in one transaction, which must be short for others.
const STEP: usize = 250;
/// More requests than a process can count while it keeps a batch.
const MOST: i64 = 1 << 40;
const MOST_TOKENS: i64 = 1 << 56;
/// The lock of the process that moves rows.
const ADVISORY_LOCK: i64 = 0x6b64_7375_6d73;

/// Some keys of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The condition for their rows, with the two parameters below.
    rows: &'static str,
    from: [u8; 16],
    to: [u8; 16],
}

impl Keys {
    /// The keys behind `after`, up to `last`.
    fn between(after: KeyId, last: KeyId) -> Keys {
        Keys { rows: "key_id > $1 AND key_id <= $2", from: *after.bytes(), to: *last.bytes() }
    }

    /// One key.
    pub fn only(key: KeyId) -> Keys {
        Keys { rows: "key_id >= $1 AND key_id <= $2", from: *key.bytes(), to: *key.bytes() }
    }

    /// All keys of an organisation.
    pub fn of(org: OrgId) -> Keys {
        Keys { rows: "org_id = $1 AND key_id <= $2", from: *org.bytes(), to: [u8::MAX; 16] }
    }
}

#[derive(QueryableByName)]
struct Next {
    #[diesel(sql_type = Binary)]
    key_id: Vec<u8>,
}

#[derive(QueryableByName)]
struct LockRow {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

/// Moves all rows of the journal to the tables of sums, step by step, until `stop` is true.
pub async fn settle(db: &Db, stop: impl Fn() -> bool) -> Result<()> {
    let mut after = KeyId::from_bytes([0; 16]);
    if db.read(move |conn| next(conn, after)).await?.is_empty() {
        return Ok(());
    }
    db.write(remove_foreign).await?;
    while !stop() {
        let keys: Vec<KeyId> = readable(db.read(move |conn| next(conn, after)).await?);
        let Some(last) = keys.last().copied() else { break };
        match settle_keys(db, Keys::between(after, last)).await {
            // Another process is moving rows.
            Ok(false) => break,
            Ok(true) => {}
            Err(error) if error.is_unavailable() => return Err(error),
            Err(_) => settle_apart(db, &keys).await?,
        }
        after = last;
    }
    Ok(())
}

/// Deletes rows that Keydesk did not write. Once added to sums, they would stay.
fn remove_foreign(tx: &mut Tx<'_>) -> Result<()> {
    // SQLite may hold texts or bytes in place of numbers, and sorts them above every number.
    let wrong_tokens =
        ["input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"]
            .map(|tokens| format!("OR {tokens} < 0 OR {tokens} > {MOST_TOKENS}"))
            .join(" ");
    let removed = diesel::sql_query(format!(
        "DELETE FROM usage_journal WHERE length(org_id) <> 16 OR length(key_id) <> 16 OR length(secret_id) <> 16
            OR requests < 0 OR requests > {MOST} {wrong_tokens} OR start < 0 OR last_at < 0"
    ))
    .execute(tx.conn)?;
    if removed > 0 {
        tracing::error!(rows = removed, "counts that Keydesk did not write were removed from usage_journal");
    }
    Ok(())
}

/// Moves the rows of each key separately, so that a key whose counts can't be added up blocks no other. Its rows stay
/// in the journal, and count there.
async fn settle_apart(db: &Db, keys: &[KeyId]) -> Result<()> {
    for key in keys {
        match settle_keys(db, Keys::only(*key)).await {
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => {
                tracing::error!(%key, cause = ?error, "adding up the counts of a key failed");
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The next keys behind one, in their order, as bytes.
fn next(conn: &mut Conn, after: KeyId) -> Result<Vec<Vec<u8>>> {
    let query = format!(
        "SELECT key_id FROM usage_journal WHERE key_id > $1 GROUP BY key_id ORDER BY key_id LIMIT {STEP}"
    );
    let keys: Vec<Next> = diesel::sql_query(query).bind::<Binary, _>(after).load(conn)?;
    Ok(keys.into_iter().map(|next| next.key_id).collect())
}

async fn settle_keys(db: &Db, keys: Keys) -> Result<bool> {
    // First, because rows of keys may be locked, and in its own transaction, because it can be repeated.
    db.write(move |tx| note_last_uses(tx, keys)).await?;
    db.write(move |tx| move_rows(tx, keys)).await
}

/// Moves rows, unless another process is doing that. Returns whether it did.
fn move_rows(tx: &mut Tx<'_>, keys: Keys) -> Result<bool> {
    // All statements must see the same rows. SQLite has no other writer meanwhile.
    if let Conn::Postgres(conn) = tx.conn {
        diesel::sql_query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(conn)?;
        let lock = format!("SELECT pg_try_advisory_xact_lock({ADVISORY_LOCK}) AS taken");
        if !diesel::sql_query(lock).get_result::<LockRow>(conn)?.taken {
            return Ok(false);
        }
    }
    for statement in additions(keys.rows) {
        run(tx, &statement, keys)?;
    }
    run(tx, &format!("DELETE FROM usage_journal WHERE {}", keys.rows), keys)?;
    Ok(true)
}

fn run(tx: &mut Tx<'_>, statement: &str, keys: Keys) -> Result<()> {
    diesel::sql_query(statement)
        .bind::<Binary, _>(keys.from.as_slice())
        .bind::<Binary, _>(keys.to.as_slice())
        .execute(tx.conn)?;
    Ok(())
}

/// Stores when and by which client each key and secret was last used, to the minute.
pub fn note_last_uses(tx: &mut Tx<'_>, keys: Keys) -> Result<()> {
    let rows = keys.rows;
    // Keys and secrets are wide rows, so those of a busy key are written once a minute.
    let is_news = |table: &str| {
        format!(
            "({table}.last_used_at IS NULL OR {table}.last_used_at <= uses.used_at - {})",
            MINUTE * 1_000_000
        )
    };
    let of_keys = format!(
        "UPDATE api_keys SET last_used_at = uses.used_at
            FROM (SELECT org_id, key_id, MAX(last_at - last_at % 1000000) AS used_at
                FROM usage_journal WHERE {rows} GROUP BY org_id, key_id) uses
            WHERE api_keys.org_id = uses.org_id AND api_keys.id = uses.key_id AND {}",
        is_news("api_keys")
    );
    let of_secrets = format!(
        "UPDATE key_secrets SET last_used_at = uses.used_at, last_address = uses.address,
                last_program = uses.program, first_used_at = COALESCE(key_secrets.first_used_at, uses.used_at)
            FROM (SELECT org_id, secret_id, address, program, last_at - last_at % 1000000 AS used_at,
                    ROW_NUMBER() OVER (PARTITION BY org_id, secret_id ORDER BY last_at DESC) AS place
                FROM usage_journal WHERE {rows}) uses
            WHERE uses.place = 1 AND key_secrets.org_id = uses.org_id AND key_secrets.id = uses.secret_id AND {}",
        is_news("key_secrets")
    );
    run(tx, &of_keys, keys)?;
    run(tx, &of_secrets, keys)
}

/// Stores that a key was granted these scopes.
pub fn note_granted(tx: &mut Tx<'_>, org: OrgId, key: KeyId, scopes: Scopes, now: Time) -> Result<()> {
    for scope in scopes.names() {
        each!(tx.conn, |c| {
            diesel::insert_into(scope_uses::table)
                .values((
                    scope_uses::org_id.eq(org),
                    scope_uses::key_id.eq(key),
                    scope_uses::scope.eq(scope),
                    scope_uses::granted_at.eq(now),
                ))
                .on_conflict((scope_uses::org_id, scope_uses::key_id, scope_uses::scope))
                .do_update()
                .set(scope_uses::granted_at.eq(now))
                .execute(c)
        })?;
    }
    Ok(())
}

/// Deletes old minutes, hours, clients and addresses.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    refusals::store::forget_old(tx, now)?;
    journal::forget_old(tx, now)?;
    macro_rules! forget {
        ($table:ident, $width:expr, $days:expr) => {
            diesel::delete($table::table)
                .filter($table::width.eq($width).and($table::start.lt(now.plus(-$days * DAY))))
                .execute(tx.conn)?
        };
    }
    forget!(usage_counts, MINUTE, MINUTE_DAYS);
    // Earlier versions wrote them.
    forget!(usage_latencies, MINUTE, MINUTE_DAYS);
    forget!(usage_counts, HOUR, HOUR_DAYS);
    forget!(usage_latencies, HOUR, HOUR_DAYS);
    forget!(usage_totals, HOUR, HOUR_DAYS);
    forget!(usage_total_latencies, HOUR, HOUR_DAYS);
    let end = now.plus(-HOUR_DAYS * DAY);
    diesel::delete(usage_callers::table.filter(usage_callers::hour.lt(end))).execute(tx.conn)?;
    diesel::delete(key_addresses::table.filter(key_addresses::last_seen_at.lt(end))).execute(tx.conn)?;
    Ok(())
}
