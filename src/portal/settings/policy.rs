//! The page of the key policy: its rules, and what a change would do before it is saved.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::error::{Error, Result};
use crate::keys::policy_effect;
use crate::orgs::policy::{self, Never, Policy, Rules};
use crate::path;
use crate::portal::kit::words;
use crate::portal::settings::Tabs;
use crate::portal::settings::changes::{Changes, USE_DAYS};
use crate::portal::settings::rules::{PolicyFields, marks};
use crate::role::Act;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::usage;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/settings/policy.html", blocks = ["preview"])]
struct PolicyPage {
    layout: Layout,
    org: Place,
    tabs: Tabs,
    policy: Policy,
    fields: PolicyFields,
    marks: Vec<(&'static str, String)>,
    complaints: Complaints,
    /// What would change, once something was asked.
    changes: Option<Changes>,
    /// The first and the last day that can be chosen.
    range: (String, String),
    /// Until when keys that exist keep the rules of before.
    waiting: Option<String>,
    configured_rpm: u32,
    zone: String,
}

/// The same for whoever may only look.
#[derive(Template)]
#[template(path = "portal/settings/policy_read.html")]
struct ReadPage {
    layout: Layout,
    org: Place,
    tabs: Tabs,
    policy: Policy,
    waiting: Option<String>,
    configured_rpm: u32,
    zone: String,
}

/// `GET /o/{org}/settings/policy`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let (org, now) = (member.org.id, Time::now());
    let policy = site.db.read(move |conn| policy::store::find(conn, org)).await?;
    let fields = PolicyFields::of(&policy, now, &member.person.time_zone());
    let tabs = Tabs::load(&site, &member, "policy").await?;
    let view = PolicyPage::new(&request, &member, &site, tabs, policy, fields, now);
    if member.role.may(Act::WriteSettings) {
        return html(StatusCode::OK, &view);
    }
    let PolicyPage { layout, org, tabs, policy, waiting, configured_rpm, zone, .. } = view;
    html(StatusCode::OK, &ReadPage { layout, org, tabs, policy, waiting, configured_rpm, zone })
}

/// `POST /o/{org}/settings/policy`: saves the rules, or shows what they would change.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (member.org.id, Time::now(), member.person.time_zone());
    let fields = PolicyFields::submitted(&submitted);
    let previewing = submitted.get("act") == "preview";
    let asked = fields.parse(&zone).map_err(Error::Invalid);
    let done = match asked {
        Ok((rules, date)) if previewing => preview(&site, &member, rules, date, now).await.map(Some),
        Ok((rules, date)) => {
            let (change, notices) = (member.change(&request, now), site.mint.notices.clone());
            let saved = change.commit(&site.db, move |tx, acting| {
                policy_effect::save(tx, acting, &notices, rules.clone(), date)
            });
            saved.await.map(|_| None)
        }
        Err(error) => Err(error),
    };
    let policy = site.db.read(move |conn| policy::store::find(conn, org)).await?;
    let tabs = Tabs::load(&site, &member, "policy").await?;
    let mut view = PolicyPage::new(&request, &member, &site, tabs, policy, fields, now);
    let status = match done {
        Ok(None) => {
            session::flash(&request.get_session(), "The key policy was saved.");
            return Ok(redirect(&request, &path::settings_policy(&member.org.slug)));
        }
        Ok(changes) => {
            view.changes = changes;
            StatusCode::OK
        }
        Err(Error::Invalid(errors)) => {
            view.complaints = Complaints(errors);
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Err(error) => return Err(error.into()),
    };
    if is_partial(&request) { view.fragments() } else { html(status, &view) }
}

async fn preview(site: &Shared, member: &Member, rules: Rules, date: Time, now: Time) -> Result<Changes> {
    policy::check_date(date, now).map_err(|error| Error::Invalid(vec![error]))?;
    let org = member.org.id;
    let found = site.db.read(move |conn| {
        let preview = policy_effect::preview(conn, org, rules, date, now)?;
        let uses = usage::recent::by_key_and_scope(conn, org, now.plus(-USE_DAYS * DAY))?;
        Ok((preview, uses))
    });
    let (preview, uses) = found.await?;
    Ok(Changes::new(&preview, &uses, &member.person.time_zone()))
}

impl PolicyPage {
    fn new(
        request: &HttpRequest,
        member: &Member,
        site: &Shared,
        tabs: Tabs,
        policy: Policy,
        fields: PolicyFields,
        now: Time,
    ) -> PolicyPage {
        let zone = member.person.time_zone();
        let day = |days: i64| now.plus(days * DAY).in_zone(&zone).date().to_string();
        let waiting = policy.earlier.as_ref().map(|earlier| earlier.until).filter(|until| now < *until);
        PolicyPage {
            layout: Layout::of(request, Room::Settings).with_flash(request),
            org: Place::of(&member.org),
            tabs,
            marks: marks(&policy.rules, &fields),
            complaints: Complaints::default(),
            changes: None,
            range: (day(1), day(365)),
            waiting: waiting.map(|until| words::date(until, &zone)),
            configured_rpm: site.mint.default_rpm,
            zone: member.person.zone_name(),
            policy,
            fields,
        }
    }

    /// The preview in its place, and the marks beside the fields.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let mut body = self.as_preview().render().map_err(Error::internal)?;
        let scopes = Scope::ALL.map(Scope::name);
        for field in
            ["longest", "never", "default_expiry", "default_rpm", "largest_rpm"].iter().chain(&scopes)
        {
            let id = self.mark_id(field);
            let mark = self.mark(field);
            body.push_str(&format!(
                "<hx-partial hx-target=\"#{id}\" hx-swap=\"innerHTML\">{mark}</hx-partial>"
            ));
        }
        Ok(HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((actix_web::http::header::VARY, "HX-Request-Type"))
            .body(body))
    }

    /// What a field was, where it was changed; numbers and fixed words alone.
    fn mark(&self, field: &str) -> &str {
        self.marks.iter().find(|(changed, _)| *changed == field).map_or("", |(_, was)| was)
    }

    /// The identifier of the mark beside a field or a scope.
    fn mark_id(&self, field: &str) -> String {
        format!("was-{}", field.replace(':', "-"))
    }

    fn offered(&self) -> Vec<Scope> {
        Rules::offered_to_members().iter().collect()
    }
}

impl ReadPage {
    fn longest(&self) -> String {
        match self.policy.rules.longest_days {
            Some(days) => words::count(days, "day", "days"),
            None => "no limit but 10 years".to_owned(),
        }
    }

    fn default_expiry(&self) -> String {
        self.policy
            .rules
            .default_days
            .map_or_else(|| "never".to_owned(), |days| words::count(days, "day", "days"))
    }

    fn never(&self) -> &'static str {
        match self.policy.rules.never {
            Never::Nobody => "not allowed",
            Never::Admins => "admins only",
            Never::Everyone => "everyone",
        }
    }

    fn default_rpm(&self) -> String {
        words::number(self.policy.default_rpm(self.configured_rpm).into())
    }
}
