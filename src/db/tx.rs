//! Transactions: one for each change, run again after a deadlock.

use std::time::Instant;

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;

use crate::db::fault::{is_cut_off, is_lost, may_repeat};
use crate::db::{Conn, LogGuard, Mark, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::schema::members;

/// How often a transaction is tried.
const ATTEMPTS: u32 = 5;

/// An open transaction. Only [`Db::write`](crate::db::Db::write) makes one.
pub struct Tx<'a> {
    /// The connection of the transaction.
    pub conn: &'a mut Conn,
    /// The key and the marks of audit logs.
    pub logs: &'a LogGuard,
    after: AfterCommit,
}

impl Tx<'_> {
    /// Announces a change of keys once the transaction is committed; see
    /// [`Db::after_change`](crate::db::Db::after_change).
    pub fn changes_keys(&mut self) {
        self.after.changes_keys = true;
    }

    /// Waits until no other process changes this organisation, and keeps that so until the transaction
    /// ends. Unlike row locks, PostgreSQL grants these in the order of the requests, so waiting is bounded by
    /// the length of the queue, and changes that run one after the other can't deadlock. On SQLite, the
    /// transaction itself is exclusive.
    pub fn take_turn(&mut self, org: OrgId) -> Result<()> {
        if let Conn::Postgres(conn) = self.conn {
            let number =
                org.bytes().iter().fold(0, |number: i64, byte| number.rotate_left(8) ^ i64::from(*byte));
            diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                .bind::<diesel::sql_types::BigInt, _>(number)
                .execute(conn)?;
        }
        Ok(())
    }

    /// [`Tx::take_turn`] in each organisation of a person, because changes of their account are recorded in all
    /// of its logs. Call it before locking any row, so that everyone acquires the locks in the same order.
    pub fn take_turns_of(&mut self, person: UserId) -> Result<()> {
        if matches!(self.conn, Conn::Postgres(_)) {
            let orgs = members::table.filter(members::person_id.eq(person)).order(members::org_id);
            for org in orgs.select(members::org_id).load(self.conn)? {
                self.take_turn(org)?;
            }
        }
        Ok(())
    }

    /// Does the work of a change and undoes it, so that it takes as long as the change.
    pub fn undo(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        use diesel::result::Error::RollbackTransaction;
        let mut done = Ok(());
        let logs = self.logs;
        let undone = self.conn.transaction::<(), diesel::result::Error, _>(|conn| {
            done = work(&mut Tx { conn, logs, after: AfterCommit::default() });
            Err(RollbackTransaction)
        });
        match undone {
            Ok(()) | Err(RollbackTransaction) => done,
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers how far a log has grown, once the transaction is committed.
    pub fn note_log(&mut self, org: OrgId, mark: Mark) {
        self.after.logs.push((org, mark));
    }

    /// Remembers which register of logs is in force, once the transaction is committed.
    pub fn note_epoch(&mut self, epoch: i64) {
        self.after.epoch = self.after.epoch.max(epoch);
    }

    /// Wakes the sender of e-mails once the transaction is committed.
    pub fn queues_mail(&mut self) {
        self.after.queues_mail = true;
    }
}

/// Actions after the commit.
#[derive(Default)]
pub(super) struct AfterCommit {
    pub(super) changes_keys: bool,
    pub(super) queues_mail: bool,
    pub(super) logs: Vec<(OrgId, Mark)>,
    pub(super) epoch: i64,
}

/// Runs a change in a transaction, again after a deadlock. Returns its result and what is to be done now.
pub(super) fn transact<T>(
    conn: &mut Conn,
    logs: &LogGuard,
    mut change: impl FnMut(&mut Tx<'_>) -> Result<T>,
) -> Result<(T, AfterCommit)> {
    let mut attempt = 1;
    loop {
        let began = Instant::now();
        begin(conn)?;
        let mut tx = Tx { conn, logs, after: AfterCommit::default() };
        let result = change(&mut tx);
        let after = tx.after;
        let result = result.and_then(|value| {
            each!(conn, |c| AnsiTransactionManager::commit_transaction(c)).map_err(commit_failed)?;
            Ok((value, after))
        });
        let Err(error) = result else { return result };
        if matches!(error, Error::Unconfirmed(_)) {
            return Err(error);
        }
        // After a failed commit there may be nothing to roll back.
        let rolled_back = each!(conn, |c| AnsiTransactionManager::rollback_transaction(c));
        if let Err(cause) = rolled_back
            && is_lost(&cause)
        {
            return Err(Error::Unavailable(cause.into()));
        }
        if attempt == ATTEMPTS || !may_repeat(conn, &error, began.elapsed()) {
            return Err(error);
        }
        attempt += 1;
    }
}

/// A database that is lost during a commit may have committed.
fn commit_failed(error: diesel::result::Error) -> Error {
    if is_cut_off(&error) { Error::Unconfirmed(error.into()) } else { error.into() }
}

fn begin(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        // A deferred transaction that reads first and writes later fails if another one has written in between; an
        // immediate one waits instead.
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction(c),
    }
}
