//! Which people's keys were used.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::remembered::LARGE;
use crate::schema::{api_keys, usage_part_windows, usage_windows};
use crate::time::Time;
use crate::usage::question::Question;
use crate::usage::ranking::{Memory, Shared, all, just, name};
use crate::usage::totals::{Totals, sum};
use crate::usage::window_rows::{MODEL, SCOPE};
use crate::usage::windows::Windows;

/// The people whose keys were used.
pub fn people(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    memory: &Memory,
    now: Time,
) -> Result<Shared<UserId>> {
    let found = memory.people.or(
        name(org, question, now),
        |(keys, _)| *keys > LARGE,
        || {
            let windows = Windows::of(conn, org)?;
            let Some(days) = just(&windows, question) else {
                let keys = all(conn, org, question, memory, now)?;
                return people_of(conn, org, &keys);
            };
            let mut keys = 0;
            let rows: Vec<(UserId, i64, Totals)> = on_window!(org, question, days, |w, query| {
                let query = query
                    .inner_join(api_keys::table.on(api_keys::id.eq(w::key_id)))
                    .group_by(api_keys::owner_id)
                    .select((
                        api_keys::owner_id,
                        diesel::dsl::count_star(),
                        (
                            sum("requests"),
                            sum("ok"),
                            sum("client_errors"),
                            sum("limited"),
                            sum("server_errors"),
                            sum("input_tokens"),
                            sum("output_tokens"),
                        ),
                    ))
                    .into_boxed();
                match question.filter.owner {
                    Some(owner) => query.filter(api_keys::owner_id.eq(owner)).load(conn),
                    None => query.load(conn),
                }
            })?;
            let people = rows.into_iter().map(|(person, used, totals)| {
                keys += usize::try_from(used).unwrap_or(0);
                (person, totals)
            });
            let people = Arc::new(people.collect());
            Ok((keys, people))
        },
    )?;
    Ok(found.1)
}

/// The owners of keys, with how many keys there are.
fn people_of(conn: &mut Conn, org: OrgId, keys: &[(KeyId, Totals)]) -> Result<(usize, Shared<UserId>)> {
    let mut query = api_keys::table
        .filter(api_keys::org_id.eq(org))
        .select((api_keys::id, api_keys::owner_id))
        .into_boxed();
    if keys.len() <= LARGE {
        query = query.filter(api_keys::id.eq_any(keys.iter().map(|(key, _)| *key)));
    }
    let owners: HashMap<KeyId, UserId> = query.load::<(KeyId, UserId)>(conn)?.into_iter().collect();
    let mut people: HashMap<UserId, Totals> = HashMap::new();
    for (key, totals) in keys {
        if let Some(owner) = owners.get(key) {
            people.entry(*owner).or_default().add(totals);
        }
    }
    Ok((keys.len(), Arc::new(people.into_iter().collect())))
}
