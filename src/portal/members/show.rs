//! The page of a member, and changing their role.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::{KeyId, UserId};
use crate::keys::{Key, feed, offboarding};
use crate::orgs::membership;
use crate::orgs::store;
use crate::path;
use crate::people;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::portal::members::{RequestedMember, method};
use crate::role::Role;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/members/show.html")]
struct MemberPage {
    layout: Layout,
    org: OrgLink,
    id: UserId,
    name: String,
    email: String,
    role: Role,
    is_service: bool,
    /// Whether this is the visitor.
    is_self: bool,
    disabled: bool,
    /// Whether the account is disabled on the whole server.
    locked_out: bool,
    joined: String,
    seen: Option<When>,
    methods: String,
    answerers: String,
    /// Names and ids of their keys.
    keys: Vec<(String, KeyId)>,
    in_detail: bool,
    manageable: bool,
    /// The roles that the visitor may grant, each with the number of keys that would lose scopes.
    roles: Vec<(Role, i64)>,
    form_errors: FormErrors,
    zone: String,
}

/// `GET /o/{org}/members/{id}`.
pub async fn show(visit: Visit, requested: RequestedMember) -> Result<HttpResponse, Problem> {
    page(&visit, requested, FormErrors::default()).await
}

/// `POST /o/{org}/members/{id}/role`.
pub async fn set_role(
    visit: Visit,
    requested: RequestedMember,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let found = visit.read(move |conn| requested.find_managed(conn)).await?;
    let role = Role::parse(fields.get("role")).filter(|role| visit.role.manages(*role));
    let changed = match role {
        None => Err(Error::invalid("role", "Choose a role from the list.")),
        Some(role) => {
            let who = found.person.id;
            let changed = visit.change(move |tx, acting| {
                let affected = membership::set_role(tx, acting, who, role)?;
                feed::publish_keys_of(tx, &affected, acting.now)?;
                Ok(role)
            });
            changed.await
        }
    };
    let errors = match changed {
        Ok(role) => {
            let done = format!("The role of {} is now {}.", found.person.name, role.with_article());
            visit.flash(done);
            // A visitor who gave up their own role may not see the page of a member.
            return Ok(visit.redirect(path::members(&visit.org.slug)));
        }
        Err(Error::Invalid(errors)) => errors,
        Err(Error::Conflict(message)) => vec![FieldError::new("role", message)],
        Err(other) => return Err(other.into()),
    };
    page(&visit, requested, FormErrors(errors)).await
}

async fn page(
    visit: &Visit,
    requested: RequestedMember,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, visit.zone.clone());
    let read = visit.read(move |conn| {
        let found = requested.find(conn)?;
        let (org, id) = (requested.org, requested.id);
        let keys = offboarding::owned_by(conn, org, id, now)?.keys;
        Ok((found, keys, people::methods::kinds_of(conn, &[id])?, store::answerers(conn, org, id)?))
    });
    let (found, keys, methods, answerers) = read.await?;
    let id = found.person.id;
    let in_detail = visit.role.sees_all_keys() || id == visit.person.id;
    let manageable = visit.role.manages(found.role);
    let possible = |role: &Role| !found.is_service() || Role::OF_SERVICE_ACCOUNTS.contains(role);
    let mut methods: Vec<&str> = methods.iter().map(|(_, kind)| method(kind)).collect();
    methods.dedup();
    let answerers: Vec<String> = answerers.into_iter().map(|member| member.person.name).collect();
    let view = MemberPage {
        layout: visit.layout(NavSection::Members),
        org: visit.org_link(),
        id,
        is_service: found.is_service(),
        is_self: id == visit.person.id,
        disabled: found.disabled_at.is_some(),
        locked_out: found.person.disabled_at.is_some(),
        joined: format::date(found.joined_at, &zone),
        seen: found.person.seen_at.map(|at| When::past(at, now, &zone)),
        methods: methods.join(", "),
        answerers: answerers.join(", "),
        roles: visit
            .role
            .appoints()
            .filter(possible)
            .map(|role| (role, narrowed(&keys, found.role, role)))
            .collect(),
        keys: if in_detail { keys.into_iter().map(|key| (key.name, key.id)).collect() } else { Vec::new() },
        in_detail,
        manageable,
        name: found.person.name,
        email: found.person.email,
        role: found.role,
        form_errors,
        zone: visit.zone_name(),
    };
    visit.form(&view.form_errors, &view)
}

/// The number of keys that would lose scopes by a change of their owner's role.
fn narrowed(keys: &[Key], before: Role, after: Role) -> i64 {
    let loses = |key: &&Key| {
        let now = key.scopes.intersection(before.grantable());
        !now.without(after.grantable()).is_empty()
    };
    i64::try_from(keys.iter().filter(loses).count()).unwrap_or(i64::MAX)
}

impl MemberPage {
    /// The label of a role.
    fn option(&self, role: &Role, narrowed: &i64) -> String {
        match narrowed {
            0 => role.title().to_owned(),
            some => format!("{}: {} a scope", role.title(), format::count(*some, "key loses", "keys lose")),
        }
    }
}
