//! Answering a request for a higher limit.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::id::LimitRequestId;
use crate::keys::limit_request::{self, Answer, LimitRequest, rows};
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::find;
use crate::portal::kit::words::{self, When};
use crate::time::{DAY, Time};
use crate::usage;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

/// Over how many days use is counted.
const USE_DAYS: i64 = 7;

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/keys/limits/decision.html")]
struct DecisionPage {
    layout: Layout,
    org: Place,
    asked: LimitRequest,
    when: When,
    requests: i64,
    largest: u32,
    /// What stands in the fields.
    limit: String,
    answer: String,
    complaints: Complaints,
    zone: String,
}

/// `GET /o/{org}/keys/{id}/limit/decision`.
pub async fn form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let key = find(&site, &member, &path.1).await?;
    let (org, id) = (member.org.id, key.id);
    match site.db.read(move |conn| rows::open(conn, org, id)).await? {
        Some(open) => {
            let limit = open.asked_limit.to_string();
            page(&request, &member, &site, open, [&limit, ""], Complaints::default(), StatusCode::OK).await
        }
        None => {
            session::flash(&request.get_session(), "Nothing waits for an answer here.");
            Ok(redirect(&request, &path::key(&member.org.slug, &id)))
        }
    }
}

/// `POST /o/{org}/keys/{id}/limit/decision`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let key = find(&site, &member, &path.1).await?;
    let asked = LimitRequestId::parse(fields.get("request"));
    let asked = asked.ok_or_else(|| Problem::bad_request("The form names no request."))?;
    let (limit, said) = (fields.get("limit"), fields.get("words"));
    let answer = match fields.get("answer") {
        "approve" => Answer::approval(limit, said),
        "refuse" => Answer::refusal(said),
        _ => return Err(Problem::bad_request("Choose Approve or Refuse.")),
    };
    let (org, id, change) = (member.org.id, key.id, member.change(&request, Time::now()));
    let decided = match answer {
        Ok(answer) => {
            let decided = change
                .commit(&site.db, move |tx, acting| limit_request::decide(tx, acting, id, asked, &answer));
            decided.await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match decided {
        Ok(now) => {
            let limit = words::number(now.requests_per_minute.into());
            let done = if now.requests_per_minute == key.requests_per_minute {
                format!("The request was refused. {} keeps {limit} requests a minute.", key.name)
            } else {
                format!("{} may make {limit} requests a minute.", key.name)
            };
            session::flash(&request.get_session(), &done);
            Ok(redirect(&request, &path::key(&member.org.slug, &id)))
        }
        Err(Error::Invalid(errors)) => {
            let open = site.db.read(move |conn| rows::open(conn, org, id)).await?;
            let open = open.ok_or(Error::Conflict("This request has been answered already."))?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            page(&request, &member, &site, open, [limit, said], Complaints(errors), status).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    asked: LimitRequest,
    [limit, answer]: [&str; 2],
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (Time::now(), member.person.time_zone());
    let (org, id) = (member.org.id, asked.key);
    let found = site.db.read(move |conn| {
        let requests = usage::recent::requests_since(conn, org, id, now.plus(-USE_DAYS * DAY))?;
        Ok((policy::store::find(conn, org)?, requests))
    });
    let (policy, requests) = found.await?;
    let view = DecisionPage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        when: When::past(asked.asked_at, now, &zone),
        asked,
        requests,
        largest: policy.rules.largest_rpm,
        limit: limit.to_owned(),
        answer: answer.to_owned(),
        complaints,
        zone: member.person.zone_name(),
    };
    html(status, &view)
}
