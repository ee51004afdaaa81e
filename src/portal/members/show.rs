//! The page of one member, and giving them another role.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::{KeyId, UserId};
use crate::keys::{Key, feed, succession};
use crate::orgs::membership;
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::people;
use crate::portal::kit::words::{self, When};
use crate::portal::members::{find, find_managed, method};
use crate::role::Role;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/members/show.html")]
struct MemberPage {
    layout: Layout,
    org: Place,
    id: UserId,
    name: String,
    email: String,
    role: Role,
    is_service: bool,
    /// Whether this is the reader.
    is_self: bool,
    disabled: bool,
    /// Whether their person is locked out of the whole server.
    locked_out: bool,
    joined: String,
    seen: Option<When>,
    methods: String,
    answerers: String,
    /// Living keys as name, id and the scopes that each role would take from it.
    keys: Vec<(String, KeyId)>,
    in_detail: bool,
    manageable: bool,
    /// Roles that the reader may give, each with how many keys would do less.
    roles: Vec<(Role, i64)>,
    complaints: Complaints,
    zone: String,
}

/// `GET /o/{org}/members/{id}`.
pub async fn show(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let found = find(&site, &member, &path.1).await?;
    page(&request, &member, &site, found, Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/members/{id}/role`.
pub async fn set_role(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let found = find_managed(&site, &member, &path.1).await?;
    let role = Role::parse(fields.get("role")).filter(|role| member.role.manages(*role));
    let changed = match role {
        None => Err(Error::invalid("role", "Choose a role from the list.")),
        Some(role) => {
            let (change, who) = (member.change(&request, Time::now()), found.person.id);
            let changed = change.commit(&site.db, move |tx, acting| {
                let affected = membership::set_role(tx, acting, who, role)?;
                feed::publish_keys_of(tx, &affected, acting.now)?;
                Ok(role)
            });
            changed.await
        }
    };
    let errors = match changed {
        Ok(role) => {
            let done = format!("{} is {} now.", found.person.name, role.with_article());
            session::flash(&request.get_session(), &done);
            // Whoever gave up their own rights may not see the page of others.
            return Ok(redirect(&request, &path::members(&member.org.slug)));
        }
        Err(Error::Invalid(errors)) => errors,
        Err(Error::Conflict(message)) => vec![FieldError::new("role", message)],
        Err(other) => return Err(other.into()),
    };
    page(&request, &member, &site, found, Complaints(errors), StatusCode::UNPROCESSABLE_ENTITY).await
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    found: Membership,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (org, id, now, zone) = (member.org.id, found.person.id, Time::now(), member.person.time_zone());
    let read = site.db.read(move |conn| {
        let keys = succession::estate(conn, org, id, now)?.keys;
        Ok((keys, people::store::methods(conn, &[id])?, store::answerers(conn, org, id)?))
    });
    let (keys, methods, answerers) = read.await?;
    let in_detail = member.role.sees_all_keys() || id == member.person.id;
    let manageable = member.role.manages(found.role);
    let possible = |role: &Role| !found.is_service() || Role::OF_SERVICE_ACCOUNTS.contains(role);
    let mut methods: Vec<&str> = methods.iter().map(|(_, kind)| method(kind)).collect();
    methods.dedup();
    let answerers: Vec<String> = answerers.into_iter().map(|member| member.person.name).collect();
    let view = MemberPage {
        layout: Layout::of(request, Room::Members).with_flash(request),
        org: Place::of(&member.org),
        id,
        is_service: found.is_service(),
        is_self: id == member.person.id,
        disabled: found.disabled_at.is_some(),
        locked_out: found.person.disabled_at.is_some(),
        joined: words::date(found.joined_at, &zone),
        seen: found.person.seen_at.map(|at| When::past(at, now, &zone)),
        methods: methods.join(", "),
        answerers: answerers.join(", "),
        roles: member
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
        complaints,
        zone: member.person.zone_name(),
    };
    html(status, &view)
}

/// How many of these keys could do less if their owner's role were the other.
fn narrowed(keys: &[Key], before: Role, after: Role) -> i64 {
    let loses = |key: &&Key| {
        let now = key.scopes.intersection(before.grantable());
        !now.without(after.grantable()).is_empty()
    };
    i64::try_from(keys.iter().filter(loses).count()).unwrap_or(i64::MAX)
}

impl MemberPage {
    /// An option of the role, with what it would take away.
    fn option(&self, role: &Role, narrowed: &i64) -> String {
        match narrowed {
            0 => role.name().to_owned(),
            some => format!("{}: {} can do less", role.name(), words::count(*some, "key", "keys")),
        }
    }
}
