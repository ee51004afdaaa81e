//! Which models the keys of an organisation may call.

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::catalogue::list::{self, ModelList};
use crate::db::Conn;
use crate::error::Result;
use crate::id::OrgId;
use crate::orgs::policy;
use crate::role::Role;
use crate::schema::{api_keys, members};
use crate::time::Time;

diesel::allow_columns_to_appear_in_same_group_by_clause!(api_keys::models, members::role);

/// Keys that may call the same models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `None` is all.
    pub models: Option<ModelList>,
    /// The number of keys that are neither revoked nor expired nor disabled.
    pub keys: i64,
}

/// The models that keys may call at `now`, under the policy, with the number of keys that may call them.
pub fn read(conn: &mut Conn, org: OrgId, now: Time) -> Result<Vec<Allowance>> {
    let policy = policy::store::find(conn, org)?;
    let rows: Vec<(Option<ModelList>, Role, i64)> = api_keys::table
        .inner_join(
            members::table
                .on(members::org_id.eq(api_keys::org_id).and(members::person_id.eq(api_keys::owner_id))),
        )
        .filter(
            api_keys::org_id.eq(org).and(api_keys::revoked_at.is_null()).and(api_keys::disabled_at.is_null()),
        )
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .group_by((api_keys::models, members::role))
        .select((api_keys::models, members::role, count_star()))
        .load(conn)?;
    let allowance = |(models, role, keys): (Option<ModelList>, Role, i64)| Allowance {
        models: list::in_both(models.as_ref(), policy.rights(Some(role)).models(now)),
        keys,
    };
    Ok(rows.into_iter().map(allowance).collect())
}
