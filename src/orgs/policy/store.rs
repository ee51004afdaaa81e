//! Rows of policies. An organisation without a row has the default rules.

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::orgs::policy::{EarlierRules, Policy, Rules};
use crate::schema::{key_policies, organizations};
use crate::time::Time;

/// The columns of a policy in a left join.
pub type Row = (String, Time, Option<String>, Option<Time>);

/// The policy of an organisation.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<Policy> {
    let row: Option<Row> = key_policies::table
        .find(org)
        .select((key_policies::rules, key_policies::saved_at, key_policies::earlier, key_policies::until))
        .first(conn)
        .optional()?;
    parse(row)
}

/// Parses a row, or the absence of one.
pub fn parse(row: Option<Row>) -> Result<Policy> {
    let Some((rules, saved_at, earlier, until)) = row else { return Ok(Policy::default()) };
    let read = |text: &str| serde_json::from_str::<Rules>(text).map_err(Error::unreadable);
    let earlier = match earlier.zip(until) {
        Some((rules, until)) => Some(EarlierRules { rules: read(&rules)?, until }),
        None => None,
    };
    Ok(Policy { rules: read(&rules)?, saved_at: Some(saved_at), earlier })
}

/// The policy, locked against changes until the transaction ends: for creating or changing keys under it.
pub fn lock_shared(tx: &mut Tx<'_>, org: OrgId) -> Result<Policy> {
    // SQLite's transaction has locked everything already. The organisation's row is locked in place of
    // the policy's, which may not exist yet.
    if let Conn::Postgres(conn) = tx.conn {
        organizations::table.find(org).select(organizations::id).for_share().execute(conn)?;
    }
    find(tx.conn, org)
}

/// The policy, locked until the transaction ends in order to change it.
pub fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<Policy> {
    if let Conn::Postgres(conn) = tx.conn {
        organizations::table.find(org).select(organizations::id).for_no_key_update().execute(conn)?;
    }
    find(tx.conn, org)
}

/// Writes the policy.
pub fn save(tx: &mut Tx<'_>, org: OrgId, policy: &Policy, now: Time) -> Result<()> {
    let text = |rules: &Rules| serde_json::to_string(rules).map_err(Error::internal);
    let earlier = policy.earlier.as_ref().map(|earlier| text(&earlier.rules)).transpose()?;
    let values = (
        key_policies::rules.eq(text(&policy.rules)?),
        key_policies::saved_at.eq(policy.saved_at.unwrap_or(now)),
        key_policies::earlier.eq(earlier),
        key_policies::until.eq(policy.earlier.as_ref().map(|earlier| earlier.until)),
    );
    each!(tx.conn, |c| {
        diesel::insert_into(key_policies::table)
            .values((key_policies::org_id.eq(org), values.clone()))
            .on_conflict(key_policies::org_id)
            .do_update()
            .set(values)
            .execute(c)
    })?;
    Ok(())
}
