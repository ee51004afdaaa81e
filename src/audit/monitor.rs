//! Monitoring the logs: every tick, all heads are compared with the register; new entries are checked and
//! signed every ten minutes, and all entries once a day and after a start.

use std::sync::Arc;

use diesel::prelude::*;

use crate::audit::checkpoint::{Note, Signer};
use crate::audit::verify::{Fault, LogCheck, Progress};
use crate::audit::{head, register, signing};
use crate::db::{Conn, Db, Tx};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::audit_heads;
use crate::time::{DAY, MINUTE, Time};

const NEW: i64 = 10 * MINUTE;
const WHOLE: i64 = DAY;

/// A log to check.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    org: OrgId,
    /// The first entry to check.
    from: u64,
}

/// Compares the heads of all logs with the register and with what this process remembers. Marks broken
/// logs and updates the register.
pub async fn compare(db: &Db) -> Result<()> {
    let logs = db.logs().clone();
    let found = db.read(move |conn| register::check(conn, &logs)).await?;
    if found.is_behind || !found.faults.is_empty() {
        db.write(|tx| register::update(tx).map(|_| ())).await?;
    }
    Ok(())
}

/// The logs to check now, in a process that was started at `started`. A broken log is checked until its
/// first bad entry is found and the admins are notified.
pub fn due(conn: &mut Conn, started: Time, now: Time) -> Result<Vec<Due>> {
    // A later time was written by a clock that was ahead, and is ignored.
    let ahead = now.plus(MINUTE);
    let before = |at: Option<Time>, seconds: i64| at.is_none_or(|at| at <= now.plus(-seconds) || at > ahead);
    let whole_before = now.plus(-WHOLE).max(started);
    type Row = (Vec<u8>, i64, i64, Option<Time>, Option<Time>, Option<i64>);
    let rows: Vec<Row> = audit_heads::table
        .filter(audit_heads::alarmed_at.is_null())
        .filter(
            audit_heads::checked
                .ne(audit_heads::hashed)
                .or(audit_heads::whole_at.is_null())
                .or(audit_heads::whole_at.assume_not_null().le(whole_before))
                .or(audit_heads::whole_at.assume_not_null().gt(ahead))
                .or(audit_heads::broken_at.is_not_null()),
        )
        .select((
            audit_heads::org_id,
            audit_heads::hashed,
            audit_heads::checked,
            audit_heads::checked_at,
            audit_heads::whole_at,
            audit_heads::broken_at,
        ))
        .load(conn)?;
    let due = |(org, hashed, checked, checked_at, whole_at, broken_at): Row| {
        let org = readable(vec![org]).pop()?;
        if broken_at.is_some() || whole_at.is_none_or(|at| at <= whole_before || at > ahead) {
            Some(Due { org, from: 0 })
        } else if checked != hashed && before(checked_at, NEW) {
            Some(Due { org, from: checked.cast_unsigned() })
        } else {
            None
        }
    };
    Ok(rows.into_iter().filter_map(due).collect())
}

/// Checks a log in batches, and signs it if it is intact.
pub async fn check(db: &Db, due: Due, signers: &Arc<Vec<Signer>>, host: &str, now: Time) -> Result<()> {
    let (org, all, logs) = (due.org, signers.clone(), db.logs().clone());
    let mut check = db.read(move |conn| LogCheck::begin(conn, &logs, org, &all, None, due.from)).await?;
    let result = loop {
        let (back, progress) =
            db.read(move |conn| check.step(conn).map(|progress| (check, progress))).await?;
        check = back;
        match progress {
            Progress::More => {}
            Progress::Intact(size) => break Ok(size),
            Progress::Broken(fault) => break Err(fault),
        }
    };
    let (host, signers) = (host.to_owned(), signers.clone());
    db.write(move |tx| match &result {
        Ok(size) => record_intact(tx, due, *size, &host, &signers, now),
        Err(Fault { index, why }) => head::mark_broken(tx, org, Some(index.cast_signed()), why),
    })
    .await
}

/// Signs the current state, stores the checkpoint, and records how far the log was checked.
fn record_intact(
    tx: &mut Tx<'_>,
    due: Due,
    checked: u64,
    host: &str,
    signers: &[Signer],
    now: Time,
) -> Result<()> {
    let signed = signing::sign(tx, due.org, host, signers, now).and_then(|note| {
        let checkpoint = Note::parse(&note).and_then(|note| note.checkpoint());
        signing::store_checkpoint(tx, due.org, &note, checkpoint.map_or(0, |checkpoint| checkpoint.size), now)
    });
    match signed {
        Ok(()) => {}
        // The log was changed during the check. The next comparison finds that too.
        Err(Error::LogBroken { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut head = head::lock_intact(tx, due.org)?;
    head.checked = checked.cast_signed();
    head.checked_at = Some(now);
    if due.from == 0 {
        head.whole_at = Some(now);
    }
    head.save(tx)
}
