//! Looking after logs: at each tick all ends are compared with the register; what is new is checked
//! and signed every ten minutes; all of it is checked once a day and after a start.

use std::sync::Arc;

use diesel::prelude::*;

use crate::audit::checkpoint::{Note, Signer};
use crate::audit::verify::{Fault, Progress, Stepwise};
use crate::audit::{head, register, signing};
use crate::db::{Conn, Db, Tx};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::audit_heads;
use crate::time::{DAY, MINUTE, Time};

const NEW: i64 = 10 * MINUTE;
const WHOLE: i64 = DAY;

/// A log that is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    org: OrgId,
    /// From which entry on.
    from: u64,
}

/// Compares the ends of all logs with the register and what this process remembers. Broken ones are
/// marked, and the register is brought up to date.
pub async fn compare(db: &Db) -> Result<()> {
    let logs = db.logs().clone();
    let found = db.read(move |conn| register::survey(conn, &logs)).await?;
    if found.is_behind || !found.faults.is_empty() {
        db.write(|tx| register::update(tx).map(|_| ())).await?;
    }
    Ok(())
}

/// The logs that are to be checked now, in a process that was started at `started`. A log that is
/// known to be broken is checked until its first bad entry was looked for and admins were notified.
pub fn due(conn: &mut Conn, started: Time, now: Time) -> Result<Vec<Due>> {
    // A later time was noted by a clock that was ahead, and says nothing.
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

/// Checks a log, some entries at a time, and signs it if it is sound.
pub async fn check(db: &Db, due: Due, signers: &Arc<Vec<Signer>>, host: &str, now: Time) -> Result<()> {
    let (org, all, logs) = (due.org, signers.clone(), db.logs().clone());
    let mut check = db.read(move |conn| Stepwise::begin(conn, &logs, org, &all, None, due.from)).await?;
    let result = loop {
        let (back, progress) =
            db.read(move |conn| check.step(conn).map(|progress| (check, progress))).await?;
        check = back;
        match progress {
            Progress::More => {}
            Progress::Sound(size) => break Ok(size),
            Progress::Broken(fault) => break Err(fault),
        }
    };
    let (host, signers) = (host.to_owned(), signers.clone());
    db.write(move |tx| match &result {
        Ok(size) => note_sound(tx, due, *size, &host, &signers, now),
        Err(Fault { index, why }) => head::mark_broken(tx, org, Some(index.cast_signed()), why),
    })
    .await
}

/// Signs and keeps the log as it is now, and notes until where it was checked.
fn note_sound(
    tx: &mut Tx<'_>,
    due: Due,
    checked: u64,
    host: &str,
    signers: &[Signer],
    now: Time,
) -> Result<()> {
    let signed = signing::sign(tx, due.org, host, signers, now).and_then(|note| {
        let told = Note::parse(&note).and_then(|note| note.checkpoint());
        signing::keep_checkpoint(tx, due.org, &note, told.map_or(0, |told| told.size), now)
    });
    match signed {
        Ok(()) => {}
        // It was changed while it was checked. The next comparison finds that too.
        Err(Error::LogBroken { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut head = head::lock_sound(tx, due.org)?;
    head.checked = checked.cast_signed();
    head.checked_at = Some(now);
    if due.from == 0 {
        head.whole_at = Some(now);
    }
    head.save(tx)
}
