//! Fills a database with keys and their counts.
//!
//! Each key gets 100 rows of counts: one for each of 90 days and ten hours. A thousand members own the keys. Some
//! keys never expire, were never used, are idle, expired or revoked. Use is skewed, as is typical: key n gets about
//! one nth of the requests of the first key.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use keydesk::time::Time;

type Run = Box<dyn FnMut(&str) -> Result<()>>;

/// Fills a database with one organisation.
pub(crate) fn fill(url: &str, keys: i64) -> Result<()> {
    let sqlite = url.strip_prefix("sqlite:");
    let mut run: Run = match sqlite {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path)?;
            conn.batch_execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
            Box::new(move |sql| Ok(conn.batch_execute(sql)?))
        }
        None if url.starts_with("postgres") => {
            let mut conn = PgConnection::establish(url)?;
            Box::new(move |sql| Ok(conn.batch_execute(sql)?))
        }
        None => bail!("sqlite: or postgres:"),
    };
    let began = Instant::now();
    for (what, sql) in statements(keys, sqlite.is_some(), Time::now()) {
        run(&sql).with_context(|| what.clone())?;
        eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Identifiers of 16 bytes that end with a number.
fn id(number: &str, sqlite: bool) -> String {
    match sqlite {
        true => format!("CAST(printf('%016d', {number}) AS BLOB)"),
        false => format!("decode(lpad(to_hex(({number})::BIGINT), 32, '0'), 'hex')"),
    }
}

fn statements(keys: i64, sqlite: bool, now: Time) -> Vec<(String, String)> {
    let micros = |at: Time| at.seconds() * 1_000_000;
    let (today, hour, now) = (micros(now.floor(86_400)), micros(now.hour()), micros(now));
    let day = 86_400_000_000_i64;
    let key = id("n", sqlite);
    let secret = id("n + 100000000", sqlite);
    let owner = id("n % 1000 + 200000000", sqlite);
    let numbers = |last: i64| {
        format!(
            "(WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) numbers"
        )
    };
    let org = "(SELECT id FROM organizations ORDER BY created_at LIMIT 1)";
    let requests = "(1 + 1000000 / (n + 10) + (n + d) % 7)";
    // One key in 20 was never used, one in 20 is idle.
    let active = "n % 20 > 1";
    let mut statements = vec![
        ("people".to_owned(), format!(
            "INSERT INTO people (id, email, email_folded, name, created_at) SELECT {owner}, 'p' || n || '@example.com', 'p' || n || '@example.com', 'Person ' || n, 0 FROM {};
             INSERT INTO members (org_id, person_id, role, joined_at) SELECT {org}, {owner}, 'member', 0 FROM {} WHERE n <> 999", numbers(999), numbers(999))),
        ("keys".to_owned(), format!(
            "INSERT INTO api_keys (id, org_id, name, name_folded, live_name, description, scopes, owner_id, created_by, created_at, expires_at, revoked_at, revoked_by, requests_per_minute, allowed_ips, self_rotate, secret_id, last_used_at)
             SELECT {key}, {org}, 'key-' || n, 'key-' || n, 'key-' || n, '', 'inference:read inference:write', {owner}, 'system:cli', {now} - {day} * 200 - n,
                CASE WHEN n % 50 = 0 THEN NULL WHEN n % 50 = 7 THEN {now} - {day} WHEN n % 500 = 9 THEN {now} + {day} * 3 ELSE {now} + {day} * 100 END,
                CASE WHEN n % 50 = 8 THEN {now} - {day} * 3 ELSE NULL END, CASE WHEN n % 50 = 8 THEN 'system:cli' ELSE NULL END, 600, '', {}, {secret},
                CASE WHEN n % 20 = 0 THEN NULL WHEN n % 20 = 1 THEN {now} - {day} * 40 WHEN n % 50 = 8 AND n % 200 <> 8 THEN {now} - {day} * 4 ELSE {now} - n % 1000000 END
             FROM {}", if sqlite { "0" } else { "FALSE" }, numbers(keys - 1))),
        ("secrets".to_owned(), format!(
            "INSERT INTO key_secrets (id, org_id, key_id, digest, prefix, last4, sha256_prefix, created_at)
             SELECT {secret}, {org}, {key}, {secret}, 'kd', CAST(1000 + n % 9000 AS TEXT), CAST(100000000000 + n * 7919 AS TEXT), {now} - {day} * 200 FROM {}", numbers(keys - 1))),
        ("without indexes".to_owned(), "DROP INDEX usage_counts_org; DROP INDEX usage_counts_age".to_owned()),
    ];
    let chunk = 10_000;
    let mut first = 0;
    while first < keys {
        let last = (first + chunk).min(keys) - 1;
        let some = format!(
            "(WITH RECURSIVE s (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) numbers"
        );
        let days = "(WITH RECURSIVE t (d) AS (SELECT 0 UNION ALL SELECT d + 1 FROM t WHERE d < 89) SELECT d FROM t) days";
        let hours = "(WITH RECURSIVE t (d) AS (SELECT 0 UNION ALL SELECT d + 1 FROM t WHERE d < 9) SELECT d FROM t) days";
        let rows = |width: i64, start: String, of: &str, from: i64| {
            format!(
            "INSERT INTO usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens)
             SELECT {org}, {key}, {width}, {start}, {secret}, 'inference:write', 'model-' || (n % 8),
                CASE WHEN (n + d) % 10 = 0 THEN CASE WHEN (n + d) % 3 = 0 THEN 'limited' ELSE 'client_errors' END ELSE 'ok' END,
                {requests}, {requests} * 300, {requests} * 80
             FROM {some}, {of} WHERE {active} AND d >= {from} OR n % 20 = 1 AND d >= 40")
        };
        statements.push((format!("counts of keys {first} to {last}"), [
            rows(86_400, format!("{today} - d * {day}"), days, 0),
            rows(3_600, format!("{hour} - d * 3600000000"), hours, 0),
            format!("INSERT INTO usage_latencies (org_id, key_id, width, start, scope, model, bucket, requests)
                SELECT {org}, {key}, 86400, {today} - d * {day}, 'inference:write', 'model-' || (n % 8), 6 + (n + d) % 5, {requests} FROM {some}, {hours} WHERE {active}"),
            format!("INSERT INTO scope_uses (org_id, key_id, scope, last_used_at) SELECT {org}, {key}, 'inference:write', {now} FROM {some} WHERE {active}"),
            format!("INSERT INTO scope_uses (org_id, key_id, scope, last_used_at) SELECT {org}, {key}, 'inference:read', {now} - {day} FROM {some} WHERE {active} AND n % 40 > 3"),
            format!("INSERT INTO key_addresses (org_id, key_id, address, first_seen_at, last_seen_at)
                SELECT {org}, {key}, '10.0.0.' || d, {now} - {day} * (50 + d), {now} FROM {some}, {hours} WHERE {active} AND d < 3"),
        ].join("; ")));
        first += chunk;
    }
    statements.push(("indexes".to_owned(), "CREATE INDEX usage_counts_org ON usage_counts (org_id, width, start, key_id); CREATE INDEX usage_counts_age ON usage_counts (width, start)".to_owned()));
    statements.push(("sums".to_owned(),
        "INSERT INTO usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens)
            SELECT org_id, width, start, scope, model, outcome, SUM(requests), SUM(input_tokens), SUM(output_tokens) FROM usage_counts WHERE width > 60 GROUP BY org_id, width, start, scope, model, outcome;
         INSERT INTO usage_total_latencies (org_id, width, start, scope, model, bucket, requests)
            SELECT org_id, width, start, scope, model, bucket, SUM(requests) FROM usage_latencies WHERE width > 60 GROUP BY org_id, width, start, scope, model, bucket".to_owned()));
    // An idle PostgreSQL does it by itself within a minute, and its index-only scans need it.
    let tidy = if sqlite { "ANALYZE" } else { "VACUUM ANALYZE" };
    statements.push(("statistics".to_owned(), tidy.to_owned()));
    statements
}
