//! The members page: who belongs to the organisation, who is invited, and inviting.

use std::collections::HashMap;

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::{InvitationId, UserId};
use crate::keys::succession;
use crate::orgs::invitation::{self, Invitation};
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::people;
use crate::portal::kit::words::When;
use crate::portal::members::method;
use crate::role::Role;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/members/list.html")]
struct ListPage {
    layout: Layout,
    org: Place,
    people: Vec<Row>,
    accounts: Vec<Row>,
    invitations: Vec<Invited>,
    /// Whether the reader sees how members sign in and what they own.
    in_detail: bool,
    /// The roles that the reader may give; none for whoever may not invite.
    roles: Vec<Role>,
    email: String,
    role: String,
    complaints: Complaints,
    zone: String,
}

struct Row {
    id: UserId,
    name: String,
    email: String,
    role: &'static str,
    disabled: bool,
    seen: Option<When>,
    methods: String,
    keys: i64,
    answerers: String,
}

struct Invited {
    id: InvitationId,
    email: String,
    role: &'static str,
    by: String,
    sent: When,
    /// `None` when it has ended.
    ends: Option<When>,
    manageable: bool,
}

/// `GET /o/{org}/members`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    page(&request, &member, &site, &Fields::default(), Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/members`: invites.
pub async fn invite(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let Some(role) = Role::parse(fields.get("role")).filter(|role| member.role.manages(*role)) else {
        let wrong = FieldError::new("role", "Choose a role from the list.");
        return refused(&request, &member, &site, &fields, vec![wrong]).await;
    };
    let (change, email) = (member.change(&request, now), fields.get("email").to_owned());
    match change.commit(&site.db, move |tx, acting| invitation::invite(tx, acting, &email, role)).await {
        Ok(invited) => {
            session::flash(&request.get_session(), &format!("{} was invited.", invited.email));
            Ok(redirect(&request, &path::members(&member.org.slug)))
        }
        Err(Error::Invalid(errors)) => refused(&request, &member, &site, &fields, errors).await,
        Err(other) => Err(other.into()),
    }
}

/// `POST /o/{org}/invitations/{id}/send`: sends an invitation again.
pub async fn send_again(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let id = InvitationId::parse(&path.1).ok_or_else(Problem::not_found)?;
    let change = member.change(&request, Time::now());
    match change.commit(&site.db, move |tx, acting| invitation::send_again(tx, acting, id)).await {
        Ok(sent) => {
            session::flash(
                &request.get_session(),
                &format!("The invitation of {} was sent again.", sent.email),
            );
            Ok(redirect(&request, &path::members(&member.org.slug)))
        }
        Err(Error::Conflict(message)) => {
            let errors = vec![FieldError::new("invitations", message)];
            refused(&request, &member, &site, &Fields::default(), errors).await
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /o/{org}/invitations/{id}/withdraw`.
pub async fn withdraw(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let id = InvitationId::parse(&path.1).ok_or_else(Problem::not_found)?;
    let change = member.change(&request, Time::now());
    let withdrawn = change.commit(&site.db, move |tx, acting| invitation::withdraw(tx, acting, id)).await?;
    let done = format!("The invitation of {} was withdrawn.", withdrawn.email);
    session::flash(&request.get_session(), &done);
    Ok(redirect(&request, &path::members(&member.org.slug)))
}

async fn refused(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    fields: &Fields,
    errors: Vec<FieldError>,
) -> Result<HttpResponse, Problem> {
    page(request, member, site, fields, Complaints(errors), StatusCode::UNPROCESSABLE_ENTITY).await
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    fields: &Fields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (member.org.id, Time::now(), member.person.time_zone());
    let in_detail = member.role.sees_all_keys();
    let found = site.db.read(move |conn| {
        let members = store::members_of(conn, org)?;
        let keys = succession::living_by_owner(conn, org, now)?;
        let invited = if in_detail { invitation::pending(conn, org)? } else { Vec::new() };
        let ids: Vec<UserId> = members.iter().map(|member| member.person.id).collect();
        let methods = people::store::methods(conn, &ids)?;
        let mut answerers = HashMap::new();
        for account in members.iter().filter(|member| member.is_service()) {
            let names = store::answerers(conn, org, account.person.id)?;
            let names: Vec<String> = names.into_iter().map(|member| member.person.name).collect();
            answerers.insert(account.person.id, names.join(", "));
        }
        Ok((members, keys, invited, methods, answerers))
    });
    let (members, keys, invited, methods, mut answerers) = found.await?;
    let mut row = |member: Membership| {
        let (person, id) = (&member.person, member.person.id);
        let mut kinds: Vec<&str> =
            methods.iter().filter(|(of, _)| *of == id).map(|(_, kind)| method(kind)).collect();
        kinds.dedup();
        Row {
            id,
            name: person.name.clone(),
            email: person.email.clone(),
            role: member.role.name(),
            disabled: !member.is_active(),
            seen: person.seen_at.map(|at| When::past(at, now, &zone)),
            methods: kinds.join(", "),
            keys: keys.get(&id).copied().unwrap_or(0),
            answerers: answerers.remove(&id).unwrap_or_default(),
        }
    };
    let (accounts, people): (Vec<_>, Vec<_>) = members.into_iter().partition(Membership::is_service);
    let view = ListPage {
        layout: Layout::of(request, Room::Members).with_flash(request),
        org: Place::of(&member.org),
        people: people.into_iter().map(&mut row).collect(),
        accounts: accounts.into_iter().map(&mut row).collect(),
        invitations: invited
            .into_iter()
            .map(|invitation| Invited::new(&invitation, member.role, now, &zone))
            .collect(),
        in_detail,
        roles: member.role.appoints().collect(),
        email: fields.get("email").to_owned(),
        role: if fields.has("role") { fields.get("role") } else { Role::Member.name() }.to_owned(),
        complaints,
        zone: member.person.zone_name(),
    };
    html(status, &view)
}

impl Invited {
    fn new(invitation: &Invitation, reader: Role, now: Time, zone: &jiff::tz::TimeZone) -> Invited {
        Invited {
            id: invitation.id,
            email: invitation.email.clone(),
            role: invitation.role.name(),
            by: invitation.invited_by.clone(),
            sent: When::past(invitation.sent_at, now, zone),
            ends: (invitation.ends_at > now).then(|| When::ahead(invitation.ends_at, now, zone)),
            manageable: reader.manages(invitation.role),
        }
    }
}
