//! The page of the key policy, with a preview of changes.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::{Error, Result};
use crate::keys::policy_effect;
use crate::orgs::policy::{self, NeverExpire, Policy, Rules};
use crate::path;
use crate::portal::kit::format;
use crate::portal::kit::fragments::Fragments;
use crate::portal::kit::models::{self, ModelChoice};
use crate::portal::kit::visit::Visit;
use crate::portal::settings::Tabs;
use crate::portal::settings::changes::{Changes, USE_DAYS};
use crate::portal::settings::rules::{PolicyFields, marks};
use crate::role::Act;
use crate::scope::Scope;
use crate::time::DAY;
use crate::usage;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/settings/policy.html", blocks = ["preview"])]
struct PolicyPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    policy: Policy,
    fields: PolicyFields,
    marks: Vec<(&'static str, String)>,
    form_errors: FormErrors,
    /// The preview, if it was requested.
    changes: Option<Changes>,
    /// The first and the last date to choose from.
    range: (String, String),
    /// The date on which a pending policy applies to existing keys.
    waiting: Option<String>,
    configured_rpm: u32,
    /// The models that members' keys may call.
    models: ModelChoice,
    zone: String,
}

/// The page for members who may not change the policy.
#[derive(Template)]
#[template(path = "portal/settings/policy_read.html")]
struct ReadPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    policy: Policy,
    waiting: Option<String>,
    configured_rpm: u32,
    zone: String,
}

/// `GET /o/{org}/settings/policy`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (org, role, now) = (visit.org.id, visit.role, visit.now);
    let found = visit.read(move |conn| {
        let policy = policy::store::find(conn, org)?;
        Ok((policy, Tabs::count_requests(conn, org, role, now)?))
    });
    let (policy, requests) = found.await?;
    let fields = PolicyFields::of(&policy, now, &visit.zone);
    let view = PolicyPage::new(&visit, requests, policy, fields);
    if visit.role.may(Act::WriteSettings) {
        return visit.page(&view);
    }
    let PolicyPage { layout, org, tabs, policy, waiting, configured_rpm, zone, .. } = view;
    visit.page(&ReadPage { layout, org, tabs, policy, waiting, configured_rpm, zone })
}

/// `POST /o/{org}/settings/policy`: saves the rules, or previews them.
pub async fn submit(visit: Visit, submitted: Fields) -> Result<HttpResponse, Problem> {
    let fields = PolicyFields::submitted(&submitted);
    let parsed = fields.parse(&visit.zone).map_err(Error::Invalid);
    let parsed = match parsed {
        Ok((rules, date)) if submitted.get("act") == "preview" => {
            let valid = policy::check_date(date, visit.now).map_err(|error| Error::Invalid(vec![error]));
            valid.map(|()| (rules, date))
        }
        Ok((rules, date)) => {
            let (notices, new) = (visit.site.defaults.notices.clone(), rules.clone());
            let save =
                visit.change(move |tx, acting| policy_effect::save(tx, acting, &notices, new.clone(), date));
            match save.await {
                Ok(_) => {
                    return Ok(visit
                        .redirect_with(path::settings_policy(&visit.org.slug), "The key policy was saved."));
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    let (new, errors) = match parsed {
        Ok(new) => (Some(new), FormErrors::default()),
        Err(Error::Invalid(errors)) => (None, FormErrors(errors)),
        Err(error) => return Err(error.into()),
    };
    let (org, role, now) = (visit.org.id, visit.role, visit.now);
    let found = visit.read(move |conn| {
        let changes = match new {
            Some((rules, date)) => {
                let preview = policy_effect::preview(conn, org, rules, date, now)?;
                Some((preview, usage::recent::by_key_and_scope(conn, org, now.plus(-USE_DAYS * DAY))?))
            }
            None => None,
        };
        Ok((changes, policy::store::find(conn, org)?, Tabs::count_requests(conn, org, role, now)?))
    });
    let (changes, policy, requests) = found.await?;
    let mut view = PolicyPage::new(&visit, requests, policy, fields);
    view.changes = changes.map(|(preview, uses)| Changes::new(&preview, &uses, &visit.zone));
    view.form_errors = errors;
    if visit.is_partial() { view.fragments() } else { visit.form(&view.form_errors, &view) }
}

impl PolicyPage {
    fn new(visit: &Visit, requests: Option<i64>, policy: Policy, fields: PolicyFields) -> PolicyPage {
        let (now, zone) = (visit.now, &visit.zone);
        let day = |days: i64| now.plus(days * DAY).in_zone(zone).date().to_string();
        let waiting = policy.earlier.as_ref().map(|earlier| earlier.until).filter(|until| now < *until);
        PolicyPage {
            layout: visit.layout(NavSection::Settings),
            org: visit.org_link(),
            tabs: Tabs::new(visit, "policy", requests),
            marks: marks(&policy.rules, &fields),
            form_errors: FormErrors::default(),
            changes: None,
            range: (day(1), day(365)),
            waiting: waiting.map(|until| format::date(until, zone)),
            configured_rpm: visit.site.defaults.default_rpm,
            models: ModelChoice::new(fields.member_models.clone(), &visit.site.catalogue, None),
            zone: visit.zone_name(),
            policy,
            fields,
        }
    }

    /// The preview, and the marks beside the fields.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let fields = ["longest", "never", "default_expiry", "default_rpm", "largest_rpm", "member_models"];
        let fields = fields.into_iter().chain(Scope::ALL.map(Scope::name));
        let preview = Fragments::new(&self.as_preview())?;
        let marked = fields
            .fold(preview, |fragments, field| fragments.with_text(&self.mark_id(field), self.mark(field)));
        Ok(marked.respond())
    }

    /// The old value of a changed field, or an empty text. It needs no escaping.
    fn mark(&self, field: &str) -> &str {
        self.marks.iter().find(|(changed, _)| *changed == field).map_or("", |(_, was)| was)
    }

    /// The element id of the mark beside a field or a scope.
    fn mark_id(&self, field: &str) -> String {
        format!("was-{}", field.replace(':', "-"))
    }

    fn offered(&self) -> Vec<Scope> {
        Rules::offered_to_members().iter().collect()
    }
}

impl ReadPage {
    fn models(&self) -> String {
        models::text(self.policy.rules.member_models.as_ref())
    }

    fn longest(&self) -> String {
        match self.policy.rules.longest_days {
            Some(days) => format::count(days, "day", "days"),
            None => "up to 10 years".to_owned(),
        }
    }

    fn default_expiry(&self) -> String {
        self.policy
            .rules
            .default_days
            .map_or_else(|| "never".to_owned(), |days| format::count(days, "day", "days"))
    }

    fn never(&self) -> &'static str {
        match self.policy.rules.never {
            NeverExpire::Nobody => "not allowed",
            NeverExpire::Admins => "admins only",
            NeverExpire::Everyone => "everyone",
        }
    }

    fn default_rpm(&self) -> String {
        format::number(self.policy.default_rpm(self.configured_rpm).into())
    }
}
