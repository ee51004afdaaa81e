//! Looking after logs: what is new is checked and signed every ten minutes, all of it is checked
//! once a day.

use std::sync::Arc;

use diesel::prelude::*;

use crate::audit::checkpoint::{Note, Signer};
use crate::audit::store;
use crate::audit::verify::{Fault, Progress, Stepwise};
use crate::db::{Conn, Db};
use crate::error::Result;
use crate::id::OrgId;
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

/// The logs that are to be checked now.
pub fn due(conn: &mut Conn, now: Time) -> Result<Vec<Due>> {
    let before = |at: Option<Time>, seconds: i64| at.is_none_or(|at| at <= now.plus(-seconds));
    type Row = (OrgId, i64, i64, Option<Time>, Option<Time>);
    let rows: Vec<Row> = audit_heads::table
        .filter(
            audit_heads::checked
                .ne(audit_heads::hashed)
                .or(audit_heads::whole_at.is_null())
                .or(audit_heads::whole_at.assume_not_null().le(now.plus(-WHOLE))),
        )
        .select((
            audit_heads::org_id,
            audit_heads::hashed,
            audit_heads::checked,
            audit_heads::checked_at,
            audit_heads::whole_at,
        ))
        .load(conn)?;
    let due = |(org, hashed, checked, checked_at, whole_at): Row| {
        if before(whole_at, WHOLE) {
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
    let (org, all) = (due.org, signers.clone());
    let mut check = db.read(move |conn| Stepwise::begin(conn, org, &all, None, due.from)).await?;
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
    if let Err(fault) = &result {
        tracing::error!(organization = %org, entry = fault.index, why = fault.why, "the audit log is broken");
    }
    let (host, signers) = (host.to_owned(), signers.clone());
    db.write(move |tx| {
        let (checked, broken_at) = match &result {
            Ok(size) => (*size, None),
            Err(Fault { index, .. }) => (*index, Some(index.cast_signed())),
        };
        if broken_at.is_none() {
            let note = store::sign(tx, org, &host, &signers, now)?;
            let signed = Note::parse(&note).and_then(|note| note.checkpoint());
            store::keep_checkpoint(tx, org, &note, signed.map_or(0, |told| told.size), now)?;
        }
        let row = audit_heads::table.filter(audit_heads::org_id.eq(org));
        diesel::update(row)
            .set((
                audit_heads::checked.eq(checked.cast_signed()),
                audit_heads::checked_at.eq(now),
                audit_heads::broken_at.eq(broken_at),
            ))
            .execute(tx.conn)?;
        if due.from == 0 {
            diesel::update(row).set(audit_heads::whole_at.eq(now)).execute(tx.conn)?;
        }
        Ok(())
    })
    .await
}
