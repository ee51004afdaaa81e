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
use crate::scope::{Scope, Scopes};
use crate::time::Time;

diesel::allow_columns_to_appear_in_same_group_by_clause!(api_keys::models, api_keys::scopes, members::role);

/// Keys that may call the same models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// `None` is all.
    pub models: Option<ModelList>,
    /// The number of keys that can call models: active, with the scope for it.
    pub keys: i64,
}

/// The models that keys may call at `now`, under the policy, with the number of keys that may call them.
pub fn read(conn: &mut Conn, org: OrgId, now: Time) -> Result<Vec<Allowance>> {
    let policy = policy::store::find(conn, org)?;
    let rows: Vec<(Option<ModelList>, String, Role, i64)> = api_keys::table
        .inner_join(
            members::table
                .on(members::org_id.eq(api_keys::org_id).and(members::person_id.eq(api_keys::owner_id))),
        )
        .filter(
            api_keys::org_id.eq(org).and(api_keys::revoked_at.is_null()).and(api_keys::disabled_at.is_null()),
        )
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .group_by((api_keys::models, api_keys::scopes, members::role))
        .select((api_keys::models, api_keys::scopes, members::role, count_star()))
        .load(conn)?;
    let allowance = |(models, scopes, role, keys): (Option<ModelList>, String, Role, i64)| {
        let rights = policy.rights(Some(role));
        let can_call = rights.scopes(now).intersection(Scopes::from_text(&scopes)).has(Scope::InferenceWrite);
        can_call.then(|| Allowance { models: list::in_both(models.as_ref(), rights.models(now)), keys })
    };
    Ok(rows.into_iter().filter_map(allowance).collect())
}
