//! Refuses databases that Keydesk can't work with, before it creates anything in them.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use crate::db::fault;
use crate::error::{Error, Result};

/// The oldest version of PostgreSQL that is accepted, as in `server_version_num`.
const OLDEST_POSTGRES: i32 = 130_000;
/// Tables of Keydesk's first version, which no other program has together.
const OURS: [&str; 3] = ["api_keys", "feed_head", "audit_entries"];

/// Why Keydesk can't work with a database, and what to do. Completes a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    #[error(
        "is behind a connection pooler such as PgBouncer in transaction or statement mode, where prepared \
         statements, locks and settings of a session do not last. Use session pooling (pool_mode = session), or \
         connect to PostgreSQL directly."
    )]
    Pooled,
    #[error("runs PostgreSQL {0}. Use version 13 or later.")]
    Old(String),
    #[error(
        "has the encoding {0}, which can't store every name. Create it with UTF-8: CREATE DATABASE keydesk ENCODING \
         'UTF8' TEMPLATE template0."
    )]
    Encoding(String),
    #[error("is a standby, which accepts no changes. Use the URL of the primary server.")]
    Standby,
    #[error(
        "accepts no changes: default_transaction_read_only is on. Turn it off for this role and database, or in the \
         `options` of the URL."
    )]
    ReadOnly,
    #[error("has no schema in the search_path of the role {0}. Create one, and set search_path to it.")]
    NoSchema(String),
    #[error(
        "does not allow the role {role} to create tables. As its owner, run: GRANT CREATE ON SCHEMA {schema} TO {role}."
    )]
    MayNotCreate { role: String, schema: String },
    #[error(
        "contains tables of another program. Give Keydesk a database of its own, on PostgreSQL at least a schema of \
         its own (search_path)."
    )]
    Foreign,
    #[error(
        "is not an SQLite database. Name a file that does not exist yet, or one that Keydesk has created."
    )]
    NotSqlite,
    #[error(
        "can't be written ({0}). Keydesk needs to write the file and its directory, and some free space on the disk."
    )]
    NotWritable(String),
}

/// What Keydesk has to know of a PostgreSQL database.
#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Text)]
    version_name: String,
    #[diesel(sql_type = Text)]
    encoding: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Bool)]
    may_create: bool,
    /// How many of `OURS` there are.
    #[diesel(sql_type = BigInt)]
    ours: i64,
    /// The tables in the schema, except those of extensions.
    #[diesel(sql_type = BigInt)]
    tables: i64,
}

const FACTS: &str = "SELECT current_setting('server_version_num')::integer AS version,
    current_setting('server_version') AS version_name,
    (SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()) AS encoding,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only') = 'on' AS is_read_only,
    current_user::text AS role,
    current_schema()::text AS schema,
    COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
    COUNT(*) FILTER (WHERE relname IN ('api_keys', 'feed_head', 'audit_entries')) AS ours,
    COUNT(*) FILTER (WHERE relname <> '__diesel_schema_migrations') AS tables
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')";

/// Checks a PostgreSQL database through two connections to it.
pub(super) fn check_postgres(conn: &mut PgConnection, other: &mut PgConnection) -> Result<()> {
    check_sessions(conn, other)?;
    let facts: Facts = diesel::sql_query(FACTS).get_result(conn)?;
    judge(facts).map_err(Error::internal)
}

/// Checks that each connection has a session of its own: no two connections have the same server process at once, and
/// none ever changes it.
fn check_sessions(conn: &mut PgConnection, other: &mut PgConnection) -> Result<()> {
    let first = process(conn).map_err(|error| {
        // In statement mode, PgBouncer closes a connection that begins a transaction, and serves the others.
        let is_closed = error.is_unavailable() && other.batch_execute("SELECT 1").is_ok();
        if is_closed { Error::internal(Unsuitable::Pooled) } else { error }
    })?;
    conn.batch_execute("ROLLBACK").map_err(pooled)?;
    let second = process(other)?;
    // The other connection's transaction is still open.
    let again = process(conn)?;
    conn.batch_execute("ROLLBACK").map_err(pooled)?;
    if first == second || first != again { Err(Error::internal(Unsuitable::Pooled)) } else { Ok(()) }
}

/// Whether the server is a standby, which may be promoted soon.
pub(super) fn is_standby(conn: &mut PgConnection) -> QueryResult<bool> {
    diesel::select(sql::<Bool>("pg_is_in_recovery()")).get_result(conn)
}

/// The server process of a connection, in a transaction that stays open.
fn process(conn: &mut PgConnection) -> Result<i32> {
    conn.batch_execute("BEGIN").map_err(pooled)?;
    diesel::select(sql::<Integer>("pg_backend_pid()")).get_result(conn).map_err(pooled)
}

/// The meaning of an error in a statement that only fails behind a pooler.
fn pooled(error: DieselError) -> Error {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _) => Error::internal(Unsuitable::Pooled),
        error => error.into(),
    }
}

fn judge(facts: Facts) -> Result<(), Unsuitable> {
    let is_ours = facts.ours == OURS.len() as i64;
    if facts.version < OLDEST_POSTGRES {
        return Err(Unsuitable::Old(facts.version_name));
    }
    // SQL_ASCII stores any bytes, and earlier versions of Keydesk accepted it.
    if facts.encoding != "UTF8" && !(is_ours && facts.encoding == "SQL_ASCII") {
        return Err(Unsuitable::Encoding(facts.encoding));
    }
    if facts.is_standby {
        return Err(Unsuitable::Standby);
    }
    if facts.is_read_only {
        return Err(Unsuitable::ReadOnly);
    }
    let Some(schema) = facts.schema else { return Err(Unsuitable::NoSchema(facts.role)) };
    if is_ours {
        return Ok(());
    }
    if facts.tables > 0 {
        return Err(Unsuitable::Foreign);
    }
    if facts.may_create { Ok(()) } else { Err(Unsuitable::MayNotCreate { role: facts.role, schema }) }
}

/// Checks an SQLite file before anything in it is changed, such as its journal mode.
pub(super) fn check_sqlite(path: &Path) -> Result<()> {
    if !path.metadata().is_ok_and(|file| file.is_file() && file.len() > 0) {
        return Ok(());
    }
    let file = path.to_str().ok_or_else(|| Error::internal("the path is not UTF-8"))?;
    let mut conn = SqliteConnection::establish(file).map_err(Error::internal)?;
    conn.batch_execute("PRAGMA busy_timeout = 10000")?;
    let names = OURS.map(|name| format!("'{name}'")).join(", ");
    let mut count = |condition: &str| -> QueryResult<i64> {
        let tables = format!("(SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND {condition})");
        diesel::select(sql::<BigInt>(&tables)).get_result(&mut conn)
    };
    let ours = count(&format!("name IN ({names})"))?;
    let tables = count("name <> '__diesel_schema_migrations' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'")?;
    let is_foreign = ours < OURS.len() as i64 && tables > 0;
    if is_foreign { Err(Error::internal(Unsuitable::Foreign)) } else { Ok(()) }
}

/// Gives the errors of opening an SQLite file their meaning. SQLite's messages are always English.
pub(super) fn explain_sqlite(error: Error) -> Error {
    let (Error::Internal(cause) | Error::Unavailable(cause)) = &error else { return error };
    let cause = cause.to_string();
    if cause.contains("file is not a database") {
        return Error::internal(Unsuitable::NotSqlite);
    }
    let is_refused = fault::REFUSED.iter().chain(&fault::CUT_OFF).any(|message| cause.contains(message));
    if is_refused || cause.contains("(os error ") {
        Error::internal(Unsuitable::NotWritable(cause))
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: 150_018,
            version_name: "15.18".into(),
            encoding: "UTF8".into(),
            is_standby: false,
            is_read_only: false,
            role: "keydesk".into(),
            schema: Some("public".into()),
            may_create: true,
            ours: 0,
            tables: 0,
        }
    }

    #[test]
    fn only_suitable_databases_pass() {
        assert!(judge(facts()).is_ok());
        let ours = || Facts { ours: 3, tables: 40, may_create: false, ..facts() };
        assert!(judge(ours()).is_ok());
        assert!(judge(Facts { encoding: "SQL_ASCII".into(), ..ours() }).is_ok());
        for (facts, sign) in [
            (Facts { version: 120_022, version_name: "12.22".into(), ..facts() }, "PostgreSQL 12.22"),
            (Facts { encoding: "LATIN1".into(), ..ours() }, "LATIN1"),
            (Facts { encoding: "SQL_ASCII".into(), ..facts() }, "SQL_ASCII"),
            (Facts { is_standby: true, ..ours() }, "standby"),
            (Facts { is_read_only: true, ..ours() }, "default_transaction_read_only"),
            (Facts { schema: None, ..ours() }, "search_path"),
            (Facts { may_create: false, ..facts() }, "GRANT CREATE ON SCHEMA public TO keydesk"),
            (Facts { ours: 1, tables: 9, ..facts() }, "another program"),
        ] {
            assert!(judge(facts).is_err_and(|problem| problem.to_string().contains(sign)), "{sign}");
        }
    }
}
