//! The tables of sums: what keys were used for by minute, hour and day, by whom, and what each key
//! leaves behind for good. Rows of the journal are added to them some keys at a time, however many rows
//! a key has by then: the less often, the less is written.

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
use crate::usage::{journal, refusals};

/// How long minutes are kept, in days.
const MINUTE_DAYS: i64 = 2;
/// How long hours and callers are kept, in days. Days are kept for good.
pub const HOUR_DAYS: i64 = 100;
/// The rows of how many keys are moved in one transaction, so that others hardly wait for it.
const STEP: usize = 250;
/// More requests than a process can count in the time that a batch is kept.
const MOST: i64 = 1 << 40;
const MOST_TOKENS: i64 = 1 << 56;
/// Held by the process that moves rows.
const ADVISORY_LOCK: i64 = 0x6b64_7375_6d73;

/// Some keys of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The condition for their rows, with two parameters.
    rows: &'static str,
    from: [u8; 16],
    to: [u8; 16],
}

impl Keys {
    /// Those behind one and up to another.
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
struct Taken {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

/// Moves all rows of the journal to the tables of sums, step by step, until `stop` says so.
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
            // Another process moves them.
            Ok(false) => break,
            Ok(true) => {}
            Err(error) if error.is_unavailable() => return Err(error),
            Err(_) => settle_apart(db, &keys).await?,
        }
        after = last;
    }
    Ok(())
}

/// Removes rows that no process has written. Added to sums they would stay for good.
fn remove_foreign(tx: &mut Tx<'_>) -> Result<()> {
    // SQLite may hold texts or bytes in place of numbers, and sorts them above every number.
    let removed = diesel::sql_query(format!(
        "DELETE FROM usage_journal WHERE length(org_id) <> 16 OR length(key_id) <> 16 OR length(secret_id) <> 16
            OR requests < 0 OR requests > {MOST} OR input_tokens < 0 OR input_tokens > {MOST_TOKENS}
            OR output_tokens < 0 OR output_tokens > {MOST_TOKENS} OR start < 0 OR last_at < 0"
    ))
    .execute(tx.conn)?;
    if removed > 0 {
        tracing::error!(rows = removed, "counts that Keydesk did not write were removed from usage_journal");
    }
    Ok(())
}

/// Moves the rows of each key on its own, so that one whose counts can't be added up, which stay in the
/// journal and count there, holds up no other.
async fn settle_apart(db: &Db, keys: &[KeyId]) -> Result<()> {
    for key in keys {
        match settle_keys(db, Keys::only(*key)).await {
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => {
                tracing::error!(%key, cause = ?error, "counts of a key could not be added up");
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
    // First, since rows of keys may be busy, and on its own, since it can be repeated.
    db.write(move |tx| note_last_uses(tx, keys)).await?;
    db.write(move |tx| move_rows(tx, keys)).await
}

/// Whether no other process moves rows just now.
fn move_rows(tx: &mut Tx<'_>, keys: Keys) -> Result<bool> {
    // All statements have to see the same rows. SQLite has no other writer meanwhile.
    if let Conn::Postgres(conn) = tx.conn {
        diesel::sql_query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(conn)?;
        let lock = format!("SELECT pg_try_advisory_xact_lock({ADVISORY_LOCK}) AS taken");
        if !diesel::sql_query(lock).get_result::<Taken>(conn)?.taken {
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

/// How a value of a row that is there already changes.
#[derive(Clone, Copy)]
enum Merge {
    Add,
    Latest,
    Keep,
}

/// A column with the expression for its value.
type Column<'a> = (&'a str, &'a str);

/// The statements that add these rows of the journal to each table.
fn additions(rows: &str) -> Vec<String> {
    const ORG: Column<'_> = ("org_id", "org_id");
    const KEY: Column<'_> = ("key_id", "key_id");
    const SECRET: Column<'_> = ("secret_id", "secret_id");
    const SCOPE: Column<'_> = ("scope", "scope");
    const MODEL: Column<'_> = ("model", "model");
    const OUTCOME: Column<'_> = ("outcome", "outcome");
    const BUCKET: Column<'_> = ("bucket", "bucket");
    const ADDRESS: Column<'_> = ("address", "address");
    const PROGRAM: Column<'_> = ("program", "program");
    const REQUESTS: (Column<'_>, Merge) = (("requests", "SUM(requests)"), Merge::Add);
    const TOKENS: [(Column<'_>, Merge); 3] = [
        REQUESTS,
        (("input_tokens", "SUM(input_tokens)"), Merge::Add),
        (("output_tokens", "SUM(output_tokens)"), Merge::Add),
    ];
    let floor = |width: i64| format!("start - start % {}", width * 1_000_000);
    let answered = &*format!("{rows} AND bucket >= 0");
    let with_scope = &*format!("{rows} AND scope <> ''");
    let mut all = Vec::new();
    for width in [MINUTE, HOUR, DAY] {
        let (width_text, start) = (width.to_string(), floor(width));
        let (width_is, start_is) = (("width", &*width_text), ("start", &*start));
        let by = [ORG, KEY, SECRET, SCOPE, MODEL, OUTCOME, width_is, start_is];
        all.push(addition("usage_counts", &by, &TOKENS, rows));
        if width == MINUTE {
            continue;
        }
        let by = [ORG, KEY, SCOPE, MODEL, BUCKET, width_is, start_is];
        all.push(addition("usage_latencies", &by, &[REQUESTS], answered));
        let by = [ORG, SCOPE, MODEL, OUTCOME, width_is, start_is];
        all.push(addition("usage_totals", &by, &TOKENS, rows));
        let by = [ORG, SCOPE, MODEL, BUCKET, width_is, start_is];
        all.push(addition("usage_total_latencies", &by, &[REQUESTS], answered));
    }
    let hour = floor(HOUR);
    let by = [ORG, KEY, SECRET, ADDRESS, PROGRAM, ("hour", &*hour)];
    let latest = (("last_at", "MAX(last_at)"), Merge::Latest);
    all.push(addition("usage_callers", &by, &[REQUESTS, latest], rows));
    let latest = (("last_used_at", "MAX(start)"), Merge::Latest);
    all.push(addition("scope_uses", &[ORG, KEY, SCOPE], &[latest], with_scope));
    let (first, last) = (format!("MIN({hour})"), format!("MAX({hour})"));
    let seen = [(("first_seen_at", &*first), Merge::Keep), (("last_seen_at", &*last), Merge::Latest)];
    all.push(addition("key_addresses", &[ORG, KEY, ADDRESS], &seen, rows));
    all
}

/// The statement that adds rows of the journal that pass the filter to a table, in which the columns
/// `by` tell rows apart.
fn addition(table: &str, by: &[Column<'_>], values: &[(Column<'_>, Merge)], filter: &str) -> String {
    let all = || by.iter().chain(values.iter().map(|(column, _)| column));
    let join = |parts: Vec<String>| parts.join(", ");
    let columns = join(all().map(|(name, _)| (*name).to_owned()).collect());
    let expressions = join(all().map(|(_, expression)| (*expression).to_owned()).collect());
    let groups = join((1..=by.len()).map(|place| place.to_string()).collect());
    let places = join(by.iter().map(|(name, _)| (*name).to_owned()).collect());
    let changes = values.iter().filter_map(|((name, _), merge)| match merge {
        Merge::Add => Some(format!("{name} = {table}.{name} + excluded.{name}")),
        Merge::Latest => Some(format!(
            "{name} = CASE WHEN {table}.{name} > excluded.{name} THEN {table}.{name} ELSE excluded.{name} END"
        )),
        Merge::Keep => None,
    });
    let changes = join(changes.collect());
    // A row that would stay as it is isn't written again.
    let is_news = values.iter().filter_map(|((name, _), merge)| match merge {
        Merge::Add => Some("TRUE".to_owned()),
        Merge::Latest => Some(format!("{table}.{name} IS NULL OR {table}.{name} < excluded.{name}")),
        Merge::Keep => None,
    });
    let is_news = is_news.collect::<Vec<_>>().join(" OR ");
    format!(
        "INSERT INTO {table} ({columns}) SELECT {expressions} FROM usage_journal WHERE {filter}
            GROUP BY {groups} ON CONFLICT ({places}) DO UPDATE SET {changes} WHERE {is_news}"
    )
}

/// Notes when and by whom each key and secret was last used, to the minute.
pub fn note_last_uses(tx: &mut Tx<'_>, keys: Keys) -> Result<()> {
    let rows = keys.rows;
    // Keys and secrets are wide rows; those of a busy key are written once a minute.
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

/// Notes that a key holds scopes that it did not hold before.
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

/// Forgets minutes, hours, callers and addresses of long ago.
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
    // Versions before wrote them.
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
