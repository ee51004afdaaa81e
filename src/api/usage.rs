//! `GET /v1/usage`: the usage of an organisation's keys.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;
use crate::role::{Act, Reach};
use crate::time::Time;
use crate::usage::question::RawQuestion;
use crate::usage::totals::Totals;
use crate::usage::{self, report};
use crate::web::Shared;
use crate::web::body::Query;
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

/// The query of `GET /v1/usage`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    from: Option<String>,
    to: Option<String>,
    bucket: Option<String>,
    group_by: Option<String>,
    key: Option<String>,
    owner: Option<String>,
    scope: Option<String>,
    model: Option<String>,
}

/// One bucket of one group.
#[derive(Serialize, ToSchema)]
struct UsageLine {
    /// When the bucket begins.
    #[schema(value_type = String, format = DateTime)]
    start: Time,
    /// The key's id, the model or the scope; null if there is none, or without grouping.
    group: Option<String>,
    #[serde(flatten)]
    totals: Totals,
}

/// The usage of an organisation's keys.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    /// Buckets and groups with requests, oldest first.
    data: Vec<UsageLine>,
    /// The sum of all.
    total: Totals,
    /// All requests answered before this time are counted.
    #[schema(value_type = String, format = DateTime)]
    counted_until: Time,
}

/// `GET /v1/usage`: one item for each bucket and group with requests, oldest first. Buckets are whole hours
/// or days in UTC.
pub async fn usage(
    site: Shared,
    caller: KeyCaller,
    query: Query<UsageQuery>,
) -> Result<HttpResponse, Problem> {
    // Before the query, so that everything up to this time is in the result.
    let counted_until = site.meter.counted_until();
    let mut question = RawQuestion::from(query.0).check(Time::now()).map_err(Error::Invalid)?;
    let reach = caller.key.owner_role.map_or(Reach::No, |role| role.reach(Act::ReadUsage));
    question.filter.narrow(reach, caller.key.owner)?;
    let org = caller.key.org;
    let here = site.get_ref().clone();
    let lines = site.db.read_long(org, move |conn| {
        let counted_until = usage::counted_until(conn, &here.meter, counted_until, Time::now())?;
        question.filter = report::looked_up(conn, org, question.filter)?;
        report::refuse_long(conn, org, &question)?;
        Ok((report::report(conn, org, &question)?, counted_until))
    });
    let (lines, counted_until) = lines.await?;
    let mut total = Totals::default();
    for totals in lines.values() {
        total.add(totals);
    }
    let data = lines.into_iter().map(|((start, group), totals)| UsageLine { start, group, totals }).collect();
    Ok(HttpResponse::Ok().json(Usage { data, total, counted_until }))
}

impl From<UsageQuery> for RawQuestion {
    fn from(query: UsageQuery) -> RawQuestion {
        let UsageQuery { from, to, bucket, group_by, key, owner, scope, model } = query;
        RawQuestion { from, to, bucket, group_by, key, owner, scope, model }
    }
}
