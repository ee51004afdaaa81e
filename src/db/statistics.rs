//! Fixed statistics of large tables for SQLite's planner.
//!
//! Without statistics, SQLite uses any index that begins with the organisation, and reads all of its keys to find ten. No one
//! would run ANALYZE on a server without an administrator, and its early results would be wrong later. So the statistics are
//! fixed, as SQLite's documentation advises where plans must not change ("Fixed Results Of ANALYZE",
//! <https://sqlite.org/lang_analyze.html>): they are those of an organisation with 100,000 keys and a million audit entries.
//! PostgreSQL collects its own.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

/// One index a line, as `ANALYZE` prints it after `cargo bench --bench pages -- fill`: table, index, the number of rows, and
/// the number of rows that agree in the first column, the first two, and so on.
const FIXED: &str = include_str!("statistics.txt");

diesel::table! {
    sqlite_stat1 (tbl, idx) {
        tbl -> Text,
        // None for a table without indexes.
        idx -> Nullable<Text>,
        stat -> Text,
    }
}

/// Replaces other statistics. Connections opened later use the new ones.
pub(super) fn fix(conn: &mut SqliteConnection) -> QueryResult<()> {
    // Creates the table and collects nothing.
    conn.batch_execute("ANALYZE sqlite_schema")?;
    let there: Vec<(String, Option<String>, String)> =
        sqlite_stat1::table.order((sqlite_stat1::tbl, sqlite_stat1::idx)).load(conn)?;
    let mut fixed: Vec<_> = lines().collect();
    fixed.sort_unstable();
    let there = there.iter().map(|(table, index, numbers)| (&**table, index.as_deref(), &**numbers));
    if there.eq(fixed.iter().map(|(table, index, numbers)| (*table, Some(*index), *numbers))) {
        return Ok(());
    }
    diesel::delete(sqlite_stat1::table).execute(conn)?;
    for (table, index, numbers) in fixed {
        diesel::insert_into(sqlite_stat1::table)
            .values((
                sqlite_stat1::tbl.eq(table),
                sqlite_stat1::idx.eq(index),
                sqlite_stat1::stat.eq(numbers),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// Table, index, numbers.
fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FIXED.lines().filter_map(|line| {
        let (table, rest) = line.split_once('|')?;
        let (index, numbers) = rest.split_once('|')?;
        Some((table, index, numbers))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use diesel::sql_types::Text;

    use super::*;
    use crate::db::{Conn, Location, connect};

    #[derive(QueryableByName)]
    struct Index {
        #[diesel(sql_type = Text)]
        name: String,
    }

    #[test]
    fn each_index_of_a_large_table_has_statistics() {
        let place = tempfile::tempdir().expect("a directory");
        let location = Location::Sqlite(place.path().join("keydesk.sqlite3"));
        connect::open(&location).expect("tables");
        let mut conn = connect::connect(&location).expect("a database");
        let Conn::Sqlite(conn) = &mut conn else { panic!("SQLite was asked for") };
        let tables: BTreeSet<&str> = lines().map(|(table, _, _)| table).collect();
        for table in tables {
            let query = format!("SELECT name FROM pragma_index_list('{table}') ORDER BY name");
            let there: Vec<Index> = diesel::sql_query(query).load(conn).expect("indexes");
            let mut expected: Vec<&str> =
                lines().filter(|(of, _, _)| *of == table).map(|(_, index, _)| index).collect();
            expected.sort_unstable();
            assert_eq!(there.iter().map(|index| &*index.name).collect::<Vec<_>>(), expected, "{table}");
        }
    }

    #[test]
    fn other_statistics_are_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        let location = Location::Sqlite(place.path().join("keydesk.sqlite3"));
        for _ in 0..2 {
            connect::open(&location).expect("tables");
            let mut conn = connect::connect(&location).expect("a database");
            let Conn::Sqlite(conn) = &mut conn else { panic!("SQLite was asked for") };
            let lines_stored: i64 = sqlite_stat1::table.count().get_result(conn).expect("a number");
            assert_eq!(usize::try_from(lines_stored), Ok(lines().count()));
            conn.batch_execute("ANALYZE; UPDATE sqlite_stat1 SET stat = '1 1'").expect("other statistics");
        }
    }
}
