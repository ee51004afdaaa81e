//! Fills the database and the memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use keydesk::crypto::sha256;
use keydesk::db::{Db, Location};
use keydesk::verify::table::Table;

use crate::common::key;
use crate::peers::resident;

/// Adds this many keys, as copies of existing ones under new names.
pub(crate) fn add_keys(data: &Path, count: usize) -> Result<()> {
    let file = data.join("keydesk.sqlite3");
    let mut conn = SqliteConnection::establish(&file.display().to_string())?;
    conn.batch_execute(&format!(
        "PRAGMA cache_size = -200000;
         BEGIN IMMEDIATE;
         CREATE TEMP TABLE numbers (i INTEGER PRIMARY KEY, key BLOB, secret BLOB);
         INSERT INTO numbers WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT i, randomblob(16), randomblob(16) FROM n;
         CREATE TEMP TABLE keys AS SELECT k.*, n.i AS i FROM numbers n, (SELECT * FROM api_keys LIMIT 1) k;
         UPDATE keys SET id = n.key, secret_id = n.secret, name = 'copy-' || n.i,
             name_folded = 'copy-' || n.i, live_name = 'copy-' || n.i FROM numbers n WHERE n.i = keys.i;
         ALTER TABLE keys DROP COLUMN i;
         INSERT INTO api_keys SELECT * FROM keys;
         CREATE TEMP TABLE secrets AS SELECT s.*, n.i AS i FROM numbers n, (SELECT * FROM key_secrets LIMIT 1) s;
         UPDATE secrets SET id = n.secret, key_id = n.key, digest = randomblob(32)
             FROM numbers n WHERE n.i = secrets.i;
         ALTER TABLE secrets DROP COLUMN i;
         INSERT INTO key_secrets SELECT * FROM secrets;
         COMMIT;"
    ))?;
    Ok(())
}

/// Bytes of memory per key when a process holds this many. Measure it in a new process, because memory that was
/// freed before would be reused.
pub(crate) fn bytes_per_key(count: usize) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let db =
        Db::open(&Location::Sqlite(dir.path().join("keydesk.db"))).map_err(|error| anyhow!("{error}"))?;
    let table = Table::new(Duration::from_secs(60), &db, Instant::now());
    let before = resident("self")?;
    let round = table.round();
    for number in 0..count {
        table.fill(sha256(&number.to_le_bytes()), Some(Arc::new(key(number))), round, Instant::now());
    }
    Ok((resident("self")? - before) / count as u64)
}
