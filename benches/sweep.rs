//! Finds due notices among many keys, and prints the time and memory this takes:
//!
//! ```text
//! cargo bench --bench sweep                      # SQLite, in a temporary directory
//! cargo bench --bench sweep -- postgres://…      # an empty database on PostgreSQL
//! ```
//!
//! There are a million keys of 200 people. 5,000 of them reach the step of seven days, each at its own second
//! and used by three clients. Then the same 5,000 expire, which means one e-mail per key and recipient.

#![allow(clippy::print_stdout, reason = "it reports to a person")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};
use keydesk::crypto::{Keyring, Root};
use keydesk::db::{Db, Location};
use keydesk::notices::schedule::Steps;
use keydesk::notices::{bundle, sweep};
use keydesk::time::{DAY, HOUR, MINUTE, Time};

type Run = Box<dyn FnMut(&str) -> Result<()>>;

const KEYS: i64 = 1_000_000;
const DUE: i64 = 5_000;
const PEOPLE: i64 = 200;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs without it, and must not take minutes.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let location = match arguments.into_iter().find(|argument| argument != "--bench") {
        Some(url) => Location::Postgres(url),
        None => Location::Sqlite(folder.path().join("keydesk.sqlite3")),
    };
    set_up(&location, folder.path())?;
    let db = Db::open(&location)?;
    let secret = Root::parse(&std::fs::read_to_string(folder.path().join("secret"))?).context("a secret")?;
    db.logs().unlock(Keyring::new(secret, None).log_seal(), None, true);
    let ends = Time::parse("2028-01-01T09:00:00Z").context("a time")?;
    fill(&location, ends)?;
    let steps = Steps::new([30, 14, 7, 3, 1].map(|days| days * DAY).to_vec());
    let report = |what: &str, now: Time| -> Result<()> {
        forget_peak()?;
        let (before, began) = (memory("VmRSS")?, Instant::now());
        let (mut keys, mut letters) = (0, 0);
        while let found @ 1.. = db.write_now(|tx| sweep::sweep(tx, &steps, now))? {
            keys += found;
        }
        let swept = began.elapsed().as_secs_f64();
        while let found @ 1.. = db.write_now(|tx| bundle::bundle(tx, now))? {
            letters += found;
        }
        let all = began.elapsed().as_secs_f64();
        let (peak, after) = (memory("VmHWM")?, memory("VmRSS")?);
        println!(
            "{what}: {keys} keys in {swept:.2} s, {letters} letters bundled, {all:.2} s in all; \
             memory {before} before, {peak} at most, {after} after"
        );
        Ok(())
    };
    report("Seven days before the end", ends.plus(-7 * DAY + HOUR + MINUTE))?;
    report("Nothing due", ends.plus(-7 * DAY + HOUR + 2 * MINUTE))?;
    report("At the end", ends.plus(HOUR + MINUTE))?;
    Ok(())
}

/// A value from /proc/self/status, with its unit.
fn memory(name: &str) -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("it is told")?;
    let kilobytes: u64 =
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().context("a number")?;
    Ok(format!("{:.1} MiB", kilobytes as f64 / 1_024.0))
}

/// Resets the peak.
fn forget_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// An organisation with an audit log, which only Keydesk can start.
fn set_up(location: &Location, folder: &Path) -> Result<()> {
    let url = match location {
        Location::Sqlite(path) => format!("sqlite:{}", path.display()),
        Location::Postgres(url) => url.clone(),
    };
    let mut setup = Command::new(env!("CARGO_BIN_EXE_keydesk"))
        .args(["setup", "--another", "--org", "Large", "--name", "Ada", "--email", "ada@example.com"])
        .arg("--password-stdin")
        .env("KEYDESK_DATA_DIR", folder)
        .env("KEYDESK_DATABASE_URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    setup.stdin.take().context("standard input")?.write_all(b"a passphrase for benchmarks")?;
    ensure!(setup.wait()?.success(), "keydesk setup failed");
    Ok(())
}

fn fill(location: &Location, ends: Time) -> Result<()> {
    let mut run: Run = match location {
        Location::Sqlite(path) => {
            let mut conn = SqliteConnection::establish(path.to_str().context("UTF-8")?)?;
            conn.batch_execute("PRAGMA synchronous = OFF")?;
            Box::new(move |sql| Ok(conn.batch_execute(sql)?))
        }
        Location::Postgres(url) => {
            let mut conn = PgConnection::establish(url)?;
            Box::new(move |sql| Ok(conn.batch_execute(sql)?))
        }
    };
    let began = Instant::now();
    for sql in statements(matches!(location, Location::Sqlite(_)), ends) {
        run(&sql)?;
    }
    ensure!(began.elapsed().as_secs() < 600, "this machine is too slow for it");
    println!("{KEYS} keys in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Identifiers of 16 bytes that end with a number.
fn id(number: &str, sqlite: bool) -> String {
    match sqlite {
        true => format!("CAST(printf('%016d', {number}) AS BLOB)"),
        false => format!("decode(lpad(to_hex(({number})::BIGINT), 32, '0'), 'hex')"),
    }
}

fn statements(sqlite: bool, ends: Time) -> Vec<String> {
    let micros = |at: Time| at.seconds() * 1_000_000;
    let numbers = |last: i64| {
        format!(
            "(WITH RECURSIVE s (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) numbers"
        )
    };
    let forty = "(WITH RECURSIVE s (m) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT m + 1 FROM s WHERE m < 40) SELECT m FROM s) parts";
    let org = "(SELECT id FROM organizations)";
    let (key, secret) = (id("n", sqlite), id("n + 100000000", sqlite));
    let (owner, person) = (id("n % 200 + 200000001", sqlite), id("n + 200000000", sqlite));
    let (made, long_before) = (micros(ends.plus(-90 * DAY)), micros(ends.plus(-80 * DAY)));
    let last_week = micros(ends.plus(-8 * DAY));
    let (no, ends, quarter) = (if sqlite { "0" } else { "FALSE" }, micros(ends), 90 * DAY * 1_000_000);
    vec![
        format!(
            "INSERT INTO people (id, email, email_folded, name, created_at)
                SELECT {person}, 'p' || n || '@example.com', 'p' || n || '@example.com', 'Person ' || n, 0 FROM {};
             INSERT INTO members (org_id, person_id, role, joined_at)
                SELECT {org}, {person}, CASE WHEN n = 1 THEN 'owner' ELSE 'member' END, 0 FROM {}",
            numbers(PEOPLE),
            numbers(PEOPLE)
        ),
        // Due keys expire within one hour, the others three months later.
        format!(
            "INSERT INTO api_keys (id, org_id, name, name_folded, live_name, description, scopes, owner_id, created_by,
                created_at, expires_at, requests_per_minute, allowed_ips, self_rotate, secret_id, notice_at)
             SELECT {key}, {org}, 'key-' || n, 'key-' || n, 'key-' || n, '', 'inference:write', {owner}, 'system:cli', {made},
                CASE WHEN n <= {DUE} THEN {ends} + n % 3600 * 1000000 ELSE {ends} + {quarter} + n * 1000000 END, 600, '', {no}, {secret},
                CASE WHEN n <= {DUE} THEN {long_before} ELSE {ends} + n * 1000000 END
             FROM {}",
            numbers(KEYS)
        ),
        format!(
            "INSERT INTO key_secrets (id, org_id, key_id, digest, prefix, last4, sha256_prefix, created_at)
             SELECT {secret}, {org}, {key}, {secret}, 'kd', 'abcd', '0123456789ab', {made} FROM {}",
            numbers(KEYS)
        ),
        format!(
            "INSERT INTO usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens)
             SELECT {org}, {key}, 3600, {last_week} + m * 14400000000, {secret}, 'inference:write', 'm', 'ok', 100, 1, 1 FROM {}, {forty};
             INSERT INTO usage_callers (org_id, key_id, secret_id, hour, address, program, requests, last_at)
             SELECT {org}, {key}, {secret}, {last_week} + m * 14400000000, '10.0.0.' || m % 3, 'curl', 100, 0 FROM {}, {forty}",
            numbers(DUE),
            numbers(DUE)
        ),
        "ANALYZE".to_owned(),
    ]
}
