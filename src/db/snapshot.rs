//! Queries that see one state of the database.

use diesel::connection::{AnsiTransactionManager, TransactionManager};

use crate::db::{Conn, each};
use crate::error::Result;

/// Runs queries in a transaction that reads only and sees one state of the database throughout.
pub fn snapshot<T>(conn: &mut Conn, query: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN")?,
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction_sql(
            c,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )?,
    }
    let result = query(conn);
    // There is nothing to commit, and a rollback also ends a transaction in which a query failed.
    each!(conn, |c| AnsiTransactionManager::rollback_transaction(c))?;
    result
}

#[cfg(test)]
mod tests {
    use diesel::RunQueryDsl;
    use diesel::sql_types::BigInt;

    use super::snapshot;
    use crate::db::{Conn, Db, Location, each};
    use crate::error::Result;

    fn count(conn: &mut Conn) -> Result<i64> {
        let rows = diesel::dsl::sql::<BigInt>("(SELECT count(*) FROM numbers)");
        Ok(each!(conn, |c| diesel::select(rows).get_result(c))?)
    }

    fn execute(db: &Db, sql: &str) -> Result<()> {
        db.write_now(|tx| Ok(each!(tx.conn, |c| diesel::sql_query(sql).execute(c)).map(|_| ())?))
    }

    #[test]
    fn queries_of_a_snapshot_see_the_same_state() -> Result<()> {
        let place = tempfile::tempdir().expect("a directory");
        let db = Db::open(&Location::Sqlite(place.path().join("keydesk.sqlite3")))?;
        execute(&db, "CREATE TABLE numbers (number INTEGER)")?;
        let counts = db.read_now(|conn| {
            snapshot(conn, |conn| {
                let before = count(conn)?;
                execute(&db, "INSERT INTO numbers VALUES (1)")?;
                Ok((before, count(conn)?))
            })
        })?;
        assert_eq!(counts, (0, 0));
        assert_eq!(db.read_now(count)?, 1);
        Ok(())
    }
}
