//! Errors are recognised whatever language PostgreSQL reports them in.

use std::sync::Barrier;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use keydesk::db::{Conn, Db, Tx};
use keydesk::error::Error;

use crate::support::Desk;

/// A desk with a database whose sessions speak another language than English, and `Db` on it.
fn foreign() -> (Desk, Db) {
    let desk = Desk::new();
    let name = desk.database.url.rsplit('/').next().unwrap().to_owned();
    let mut admin = PgConnection::establish(&desk.database.url).unwrap();
    let speak = |conn: &mut PgConnection, locale: &str| {
        conn.batch_execute(&format!("ALTER DATABASE {name} SET lc_messages = '{locale}'")).is_ok()
    };
    let locales = ["de_DE.UTF-8", "fr_FR.UTF-8", "es_ES.UTF-8", "ja_JP.UTF-8", "ru_RU.UTF-8"];
    assert!(
        locales.iter().any(|locale| speak(&mut admin, locale)),
        "the PostgreSQL server needs another locale: localedef -i de_DE -f UTF-8 de_DE.UTF-8"
    );
    admin.batch_execute(&format!("ALTER DATABASE {name} SET lock_timeout = '2s'")).unwrap();
    let mut fresh = PgConnection::establish(&desk.database.url).unwrap();
    let error = fresh.batch_execute("SELECT 1 / 0").unwrap_err().to_string();
    assert!(!error.contains("division by zero"), "{error}");
    let db = desk.database.open();
    db.write_now(|tx| run(tx, "CREATE TABLE places (id INT PRIMARY KEY, number INT NOT NULL)")).unwrap();
    db.write_now(|tx| run(tx, "INSERT INTO places VALUES (1, 0), (2, 0)")).unwrap();
    (desk, db)
}

fn run(tx: &mut Tx<'_>, statement: &str) -> Result<(), Error> {
    execute(tx.conn, statement)
}

fn execute(conn: &mut Conn, statement: &str) -> Result<(), Error> {
    Ok(diesel::sql_query(statement).execute(conn).map(|_| ())?)
}

#[test]
#[ignore = "needs PostgreSQL"]
fn errors_of_postgresql_are_recognised_in_any_language() {
    let (desk, db) = foreign();

    // A deadlock: the transaction that loses runs again.
    let barrier = Barrier::new(2);
    let cross = |first: i32, then: i32| {
        let mut tries = 0;
        db.write_now(|tx| {
            tries += 1;
            run(tx, &format!("UPDATE places SET number = number + 1 WHERE id = {first}"))?;
            if tries == 1 {
                barrier.wait();
            }
            run(tx, &format!("UPDATE places SET number = number + 1 WHERE id = {then}"))
        })
        .unwrap();
        tries
    };
    let tries = std::thread::scope(|scope| {
        let other = scope.spawn(|| cross(2, 1));
        cross(1, 2) + other.join().unwrap()
    });
    assert_eq!(tries, 3, "one of them ran twice");
    assert_eq!(desk.database.count("SELECT SUM(number) AS count FROM places"), 4);

    // A timeout: the database is busy.
    let mut holder = PgConnection::establish(&desk.database.url).unwrap();
    holder.batch_execute("BEGIN; UPDATE places SET number = 0").unwrap();
    let late = db.write_now(|tx| run(tx, "UPDATE places SET number = 1"));
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    holder.batch_execute("ROLLBACK").unwrap();

    // A connection that is closed: the next one works.
    let closed = db.write_now(|tx| run(tx, "SELECT pg_terminate_backend(pg_backend_pid())"));
    assert!(matches!(closed, Err(Error::Unavailable(_))), "{closed:?}");
    db.write_now(|tx| run(tx, "UPDATE places SET number = 1")).unwrap();

    // A fault of ours stays one.
    let wrong = db.read_now(|conn| execute(conn, "SELECT 1 / 0"));
    assert!(matches!(wrong, Err(Error::Internal(_))), "{wrong:?}");
    let wrong = db.write_now(|tx| run(tx, "INSERT INTO places VALUES (1, 0)"));
    assert!(matches!(wrong, Err(Error::Internal(_))), "{wrong:?}");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM usage_writers"), 0);
}
