//! `GET /v1/usage`: what the keys of an organisation were used for.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::FieldError;
use crate::time::{DAY, HOUR, Time};
use crate::usage::report::{self, Group, Range, Totals};
use crate::usage::store::HOUR_DAYS;
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
}

/// One bucket of one group.
#[derive(Serialize, ToSchema)]
struct UsageLine {
    /// When the bucket begins.
    #[schema(value_type = String, format = DateTime)]
    start: Time,
    /// The key's id, the model or the scope; null if there is none, or nothing is told apart.
    group: Option<String>,
    #[serde(flatten)]
    totals: Totals,
}

/// What the keys of an organisation were used for.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    /// Buckets and groups in which there was a request, oldest first.
    data: Vec<UsageLine>,
    /// All of them together.
    total: Totals,
    /// Up to when everything that was answered is counted.
    #[schema(value_type = String, format = DateTime)]
    counted_until: Time,
}

/// `GET /v1/usage`: one line for each bucket and group in which there was a request, oldest
/// first. Buckets are whole hours or days of UTC.
pub async fn usage(
    site: Shared,
    caller: KeyCaller,
    query: Query<UsageQuery>,
) -> Result<HttpResponse, Problem> {
    // Before the query, so that what is told to be counted is.
    let counted_until = site.meter.counted_until();
    let (range, group) = query.0.check(Time::now()).map_err(crate::error::Error::Invalid)?;
    let org = caller.key.org;
    let lines = site.db.read(move |conn| report::report(conn, org, range, group)).await?;
    let mut total = Totals::default();
    for totals in lines.values() {
        total.add(totals);
    }
    let data = lines.into_iter().map(|((start, group), totals)| UsageLine { start, group, totals }).collect();
    Ok(HttpResponse::Ok().json(Usage { data, total, counted_until }))
}

impl UsageQuery {
    fn check(self, now: Time) -> Result<(Range, Group), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut time = |field, text: Option<String>, default| match text.as_deref().map(Time::parse) {
            Some(None) => {
                errors.push(FieldError::new(field, "Write a time as 2026-11-23T15:00:00Z."));
                default
            }
            Some(Some(time)) => time,
            None => default,
        };
        let to = time("to", self.to, now);
        let from = time("from", self.from, to.plus(-DAY));
        let width = match self.bucket.as_deref() {
            None | Some("hour") => HOUR,
            Some("day") => DAY,
            Some(_) => {
                errors.push(FieldError::new("bucket", "Use hour or day."));
                HOUR
            }
        };
        let group = match self.group_by.as_deref() {
            None => Group::All,
            Some("key") => Group::Key,
            Some("model") => Group::Model,
            Some("scope") => Group::Scope,
            Some(_) => {
                errors.push(FieldError::new("group_by", "Use key, model or scope, or leave it out."));
                Group::All
            }
        };
        if from >= to {
            errors.push(FieldError::new("from", "Begin before the end."));
        } else if width == HOUR && now.since(from) > HOUR_DAYS * DAY {
            let message = format!("Hours are kept for {HOUR_DAYS} days. Ask for bucket=day.");
            errors.push(FieldError::new("from", message));
        }
        if errors.is_empty() { Ok((Range { from, to, width }, group)) } else { Err(errors) }
    }
}
