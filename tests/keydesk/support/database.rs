//! A database for one test, deleted when dropped.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use keydesk::db::{Conn, Db, Location};
use keydesk::review::scan::{self, Scans};
use keydesk::time::Time;

pub struct Database {
    pub url: String,
    server: Option<String>,
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
pub struct Line {
    #[diesel(sql_type = Text)]
    pub line: String,
}

impl Database {
    pub fn new(directory: &Path) -> Database {
        let name = format!("keydesk_{}", super::unique());
        match std::env::var("KEYDESK_TEST_DATABASE").ok() {
            None => {
                let url = format!("sqlite:{}", directory.join("keydesk.sqlite3").display());
                Database { url, server: None, name }
            }
            Some(server) => {
                let mut admin = PgConnection::establish(&format!("{server}/postgres")).unwrap();
                admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
                Database { url: format!("{server}/{name}"), server: Some(server), name }
            }
        }
    }

    pub fn is_postgres(&self) -> bool {
        self.server.is_some()
    }

    /// Runs a statement behind the server's back.
    pub fn execute(&self, statement: &str) {
        match &self.server {
            None => self.sqlite().batch_execute(statement).unwrap(),
            Some(_) => {
                let mut conn = PgConnection::establish(&self.url).unwrap();
                // It takes rows in another order than the server.
                while let Err(error) = conn.batch_execute(statement) {
                    assert!(error.to_string().contains("deadlock detected"), "{statement}: {error}");
                }
            }
        }
    }

    /// Opens it as a process of Keydesk does.
    pub fn open(&self) -> Db {
        let location = match self.url.strip_prefix("sqlite:") {
            Some(path) => Location::Sqlite(path.into()),
            None => Location::Postgres(self.url.clone()),
        };
        Db::open(&location).unwrap()
    }

    /// [`Database::execute`] without foreign keys.
    pub fn tamper(&self, statement: &str) {
        let off = if self.is_postgres() {
            "SET session_replication_role = replica"
        } else {
            "PRAGMA foreign_keys = OFF"
        };
        self.execute(&format!("{off}; {statement}"));
    }

    /// Changes keys, people or members as the server would: with a line in the feed. Returns
    /// when every running server has taken notice.
    pub fn change(&self, statement: &str) {
        self.execute(statement);
        self.execute(
            "INSERT INTO key_changes (position, org_id, key_id, at)
                SELECT (SELECT position FROM feed_head) + ROW_NUMBER() OVER (ORDER BY id), org_id, id, 4000000000000000
                FROM api_keys;
             UPDATE feed_head SET position = position + (SELECT COUNT(*) FROM api_keys)",
        );
        self.wait_until_noticed();
    }

    /// Waits until every running server has taken in all changes of keys. Until then a server may
    /// forget a key that it has just looked up.
    pub fn wait_until_noticed(&self) {
        super::eventually("the servers have taken notice", || {
            self.count(
                "SELECT COUNT(*) AS count FROM feed_readers
                    WHERE position < (SELECT position FROM feed_head)",
            ) == 0
        });
    }

    /// The result of a query with one number in the column `count`.
    pub fn count(&self, query: &str) -> i64 {
        let query = diesel::sql_query(query);
        let counted: Count = match &self.server {
            None => query.get_result(&mut self.sqlite()).unwrap(),
            Some(_) => query.get_result(&mut PgConnection::establish(&self.url).unwrap()).unwrap(),
        };
        counted.count
    }

    /// The result of a query with text in the column `line`.
    pub fn lines(&self, query: &str) -> Vec<String> {
        let query = diesel::sql_query(query);
        let lines: Vec<Line> = match &self.server {
            None => query.load(&mut self.sqlite()).unwrap(),
            Some(_) => query.load(&mut PgConnection::establish(&self.url).unwrap()).unwrap(),
        };
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Makes every audit entry fail from now on, as a full disk or a broken index might.
    pub fn refuse_entries(&self) {
        self.execute(if self.is_postgres() {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'no entry is taken'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse()"
        } else {
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_entries
                 BEGIN SELECT RAISE(ABORT, 'no entry is taken'); END"
        });
    }

    /// Ends that.
    pub fn take_entries(&self) {
        self.execute(if self.is_postgres() {
            "DROP TRIGGER refuse ON audit_entries; DROP FUNCTION refuse"
        } else {
            "DROP TRIGGER refuse"
        });
    }

    /// Every row of every table but some, without some of its columns, named `table.column`.
    pub fn state(&self, but_tables: &[&str], but_columns: &[&str]) -> Vec<String> {
        let postgres = self.is_postgres();
        // A connection for each of a hundred queries would take longer than all of them.
        let mut conn = match &self.server {
            None => Conn::Sqlite(self.sqlite()),
            Some(_) => Conn::Postgres(PgConnection::establish(&self.url).unwrap()),
        };
        let mut lines = |query: &str| -> Vec<String> {
            let lines: Vec<Line> = diesel::sql_query(query).load(&mut conn).unwrap();
            lines.into_iter().map(|line| line.line).collect()
        };
        let columns = lines(if postgres {
            "SELECT table_name || '.' || column_name AS line FROM information_schema.columns
                WHERE table_schema = 'public' AND is_updatable = 'YES' ORDER BY table_name, ordinal_position"
        } else {
            "SELECT tables.name || '.' || columns.name AS line
                FROM sqlite_master tables, pragma_table_info(tables.name) columns
                WHERE tables.type = 'table' ORDER BY tables.name, columns.cid"
        });
        let mut kept: Vec<(&str, Vec<String>)> = Vec::new();
        for name in &columns {
            let (table, column) = name.split_once('.').unwrap();
            if but_tables.contains(&table) || but_columns.contains(&name.as_str()) {
                continue;
            }
            let text = match postgres {
                true => format!("COALESCE({column}::text, 'NULL')"),
                false => format!("quote({column})"),
            };
            match kept.last_mut() {
                Some((last, texts)) if *last == table => texts.push(text),
                _ => kept.push((table, vec![text])),
            }
        }
        kept.into_iter()
            .flat_map(|(table, texts)| {
                let row = texts.join(" || ' | ' || ");
                lines(&format!("SELECT '{table}: ' || {row} AS line FROM {table} ORDER BY 1"))
            })
            .collect()
    }

    /// Scans all keys for the review, as the server does at each tick.
    pub fn scan(&self) {
        let db = self.open();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(scan::scan_all(&db, &Scans::default(), Time::now, || true)).unwrap();
    }

    /// What changes with every write, even with one that changes no value: the bytes of the file and its log,
    /// or the versions of all rows.
    pub fn versions(&self) -> Vec<String> {
        let Some(_) = &self.server else {
            let file = self.url.strip_prefix("sqlite:").unwrap();
            let bytes = |end: &str| std::fs::read(format!("{file}{end}")).unwrap_or_default();
            let digest =
                |bytes: Vec<u8>| format!("{} bytes, {:?}", bytes.len(), keydesk::crypto::sha256(&bytes));
            return ["", "-wal"].map(|end| digest(bytes(end))).into();
        };
        let mut conn = PgConnection::establish(&self.url).unwrap();
        let mut lines = |query: &str| -> Vec<String> {
            let lines: Vec<Line> = diesel::sql_query(query).load(&mut conn).unwrap();
            lines.into_iter().map(|line| line.line).collect()
        };
        let tables =
            lines("SELECT tablename::text AS line FROM pg_tables WHERE schemaname = 'public' ORDER BY 1");
        let versions = |table: &String| {
            lines(&format!(
                "SELECT '{table} ' || xmin::text || ' ' || ctid::text AS line FROM {table} ORDER BY 1"
            ))
        };
        tables.iter().flat_map(versions).collect()
    }

    fn sqlite(&self) -> SqliteConnection {
        let mut conn = SqliteConnection::establish(self.url.strip_prefix("sqlite:").unwrap()).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
        conn
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            let admin = PgConnection::establish(&format!("{server}/postgres"));
            let _ = admin
                .map(|mut admin| admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)));
        }
    }
}
