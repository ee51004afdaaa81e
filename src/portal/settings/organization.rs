//! The settings of an organisation: its name. The slug in links never changes.

use actix_web::HttpResponse;
use askama::Template;

use crate::keys::roots;
use crate::orgs::rename;
use crate::path;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::portal::settings::Tabs;
use crate::role::Act;
use crate::verify::limit::State;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/settings/organization.html")]
struct OrganizationPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    id: String,
    created: String,
    zone: String,
    /// A notice about limits that are not enforced exactly.
    limits: Option<Limits>,
    /// The progress of replacing the root secret, while a previous one is configured.
    replacement: Option<String>,
    /// The value of the field.
    name: String,
    form_errors: FormErrors,
}

/// A notice about limits that are not enforced exactly.
struct Limits {
    words: String,
    /// A remedy: a line for nginx's configuration.
    line: Option<&'static str>,
}

impl Limits {
    fn of(state: State) -> Option<Limits> {
        match state {
            State::Exact => None,
            State::Divided(1) => Some(Limits {
                words: "Valkey is unavailable. Until it is back, this process enforces all limits."
                    .to_owned(),
                line: None,
            }),
            State::Divided(processes) => Some(Limits {
                words: format!(
                    "Valkey is unavailable. Until it is back, each of {processes} processes enforces its share of each limit."
                ),
                line: None,
            }),
            State::PerProcess(processes) => Some(Limits {
                words: format!(
                    "Each of {processes} processes limits requests separately, so a key can make up to {processes} times \
                     as many requests as its limit allows. Set KEYDESK_VALKEY_URL, or have nginx send each key to \
                     one process:"
                ),
                line: Some("hash $http_authorization consistent;"),
            }),
        }
    }
}

/// `GET /o/{org}/settings`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let name = visit.org.name.clone();
    page(&visit, name, FormErrors::default()).await
}

/// `POST /o/{org}/settings`: saves the name.
pub async fn save(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let name = match rename::check_name("name", fields.get("name")) {
        Ok(name) => name,
        Err(error) => {
            return page(&visit, fields.get("name").to_owned(), FormErrors(vec![error])).await;
        }
    };
    visit.change(move |tx, acting| rename::rename(tx, acting, &name)).await?;
    Ok(visit.redirect_with(path::settings(&visit.org.slug), "The organisation was saved."))
}

async fn page(visit: &Visit, name: String, form_errors: FormErrors) -> Result<HttpResponse, Problem> {
    let (org, role, now) = (visit.org.id, visit.role, visit.now);
    let keyring = &visit.site.defaults.keyring;
    let root = keyring.previous_root_tag().map(|_| keyring.root_tag());
    let found = visit.read(move |conn| {
        let replacement = match root {
            Some(root) => Some((
                roots::under_others(conn, root, Some(org), now)?,
                roots::working(conn, Some(org), now)?,
            )),
            None => None,
        };
        Ok((replacement, Tabs::count_requests(conn, org, role, now)?))
    });
    let (replaced, requests) = found.await?;
    let view = OrganizationPage {
        layout: visit.layout(NavSection::Settings),
        org: visit.org_link(),
        tabs: Tabs::new(visit, "organization", requests),
        id: visit.org.id.to_string(),
        created: format::date(visit.org.created_at, &visit.zone),
        zone: visit.zone_name(),
        limits: Limits::of(visit.site.limiter.state()),
        replacement: replaced.map(|(left, all)| replacement(left, all)),
        name,
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}

/// The progress of replacing the root secret: `left` of `all` secrets still need the previous one.
fn replacement(left: i64, all: i64) -> String {
    match left {
        0 => "Replaced: no key uses the previous one".to_owned(),
        _ => format!(
            "Being replaced: {} of {} still {} the previous one. A secret is migrated when its key is used.",
            format::number(left),
            format::count(all, "secret", "secrets"),
            if left == 1 { "uses" } else { "use" }
        ),
    }
}
