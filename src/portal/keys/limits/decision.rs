//! Answering a request for a higher limit.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::Error;
use crate::id::LimitRequestId;
use crate::keys::limit_request::{self, Answer, LimitRequest, rows};
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::time::DAY;
use crate::usage;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The period for counting requests, in days.
const USE_DAYS: i64 = 7;

#[derive(Template)]
#[template(path = "portal/keys/limits/decision.html")]
struct DecisionPage {
    layout: Layout,
    org: OrgLink,
    asked: LimitRequest,
    when: When,
    requests: i64,
    largest: u32,
    /// The values of the fields.
    limit: String,
    answer: String,
    form_errors: FormErrors,
    zone: String,
}

/// `GET /o/{org}/keys/{id}/limit/decision`.
pub async fn form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    page(&visit, requested, None, FormErrors::default()).await
}

/// `POST /o/{org}/keys/{id}/limit/decision`.
pub async fn submit(visit: Visit, requested: RequestedKey, fields: Fields) -> Result<HttpResponse, Problem> {
    let key = visit.read(move |conn| requested.find(conn)).await?;
    let asked = LimitRequestId::parse(fields.get("request"));
    let asked = asked.ok_or_else(|| Problem::bad_request("The form does not name a request."))?;
    let (limit, said) = (fields.get("limit"), fields.get("words"));
    let answer = match fields.get("answer") {
        "approve" => Answer::approval(limit, said),
        "refuse" => Answer::decline(said),
        _ => return Err(Problem::bad_request("Choose Approve or Decline.")),
    };
    let id = key.id;
    let decided = match answer {
        Ok(answer) => {
            let decided =
                visit.change(move |tx, acting| limit_request::decide(tx, acting, id, asked, &answer));
            decided.await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match decided {
        Ok(now) => {
            let limit = format::number(now.settings.requests_per_minute.get().into());
            let done = if now.settings == key.settings {
                format!(
                    "The request was declined. The limit of {} stays at {limit} requests a minute.",
                    key.name
                )
            } else {
                format!("{} is now limited to {limit} requests a minute.", key.name)
            };
            Ok(visit.redirect_with(path::key(&visit.org.slug, &id), done))
        }
        Err(Error::Invalid(errors)) => page(&visit, requested, Some([limit, said]), FormErrors(errors)).await,
        Err(error) => Err(error.into()),
    }
}

/// `typed`: the limit and the message of a form with errors.
async fn page(
    visit: &Visit,
    requested: RequestedKey,
    typed: Option<[&str; 2]>,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, &visit.zone);
    let found = visit.read(move |conn| {
        let key = requested.find(conn)?;
        let open = rows::open(conn, key.org, key.id)?;
        let requests = usage::recent::requests_since(conn, key.org, key.id, now.plus(-USE_DAYS * DAY))?;
        Ok((key.id, open, policy::store::find(conn, key.org)?, requests))
    });
    let (id, open, policy, requests) = found.await?;
    let Some(asked) = open else {
        if !form_errors.is_empty() {
            return Err(Error::Conflict("This request has already been decided.").into());
        }
        return Ok(visit.redirect_with(path::key(&visit.org.slug, &id), "No request for this key is open."));
    };
    let current = asked.asked_limit.to_string();
    let [limit, answer] = typed.unwrap_or([&current, ""]);
    let view = DecisionPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        when: When::past(asked.asked_at, now, zone),
        asked,
        requests,
        largest: policy.rules.largest_rpm,
        limit: limit.to_owned(),
        answer: answer.to_owned(),
        form_errors,
        zone: visit.zone_name(),
    };
    visit.form(&view.form_errors, &view)
}
