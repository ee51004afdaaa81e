//! The list of members and invitations, and inviting.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::{InvitationId, UserId};
use crate::keys::offboarding;
use crate::orgs::invitation::{self, Invitation};
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::people;
use crate::portal::kit::format::When;
use crate::portal::kit::visit::Visit;
use crate::portal::members::method;
use crate::role::Role;
use crate::time::Time;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/members/list.html")]
struct ListPage {
    layout: Layout,
    org: OrgLink,
    people: Vec<Row>,
    accounts: Vec<Row>,
    invitations: Vec<Invited>,
    /// Whether the visitor sees sign-in methods and keys.
    in_detail: bool,
    /// The roles that the visitor may grant; empty for members who may not invite.
    roles: Vec<Role>,
    email: String,
    role: String,
    form_errors: FormErrors,
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
    /// `None` if it has expired.
    ends: Option<When>,
    manageable: bool,
}

/// `GET /o/{org}/members`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    page(&visit, &Fields::default(), FormErrors::default()).await
}

/// `POST /o/{org}/members`: invites someone.
pub async fn invite(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let Some(role) = Role::parse(fields.get("role")).filter(|role| visit.role.manages(*role)) else {
        let wrong = FieldError::new("role", "Choose a role from the list.");
        return refused(&visit, &fields, vec![wrong]).await;
    };
    let email = fields.get("email").to_owned();
    match visit.change(move |tx, acting| invitation::invite(tx, acting, &email, role)).await {
        Ok(invited) => {
            Ok(visit.redirect_with(path::members(&visit.org.slug), format!("{} was invited.", invited.email)))
        }
        Err(Error::Invalid(errors)) => refused(&visit, &fields, errors).await,
        Err(other) => Err(other.into()),
    }
}

/// `POST /o/{org}/invitations/{id}/send`: sends an invitation again.
pub async fn send_again(visit: Visit, path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let id = InvitationId::parse(&path.1).ok_or_else(Problem::not_found)?;
    match visit.change(move |tx, acting| invitation::send_again(tx, acting, id)).await {
        Err(Error::Conflict(message)) => {
            let errors = vec![FieldError::new("invitations", message)];
            refused(&visit, &Fields::default(), errors).await
        }
        sent => {
            let done = format!("The invitation of {} was sent again.", sent?.email);
            Ok(visit.redirect_with(path::members(&visit.org.slug), done))
        }
    }
}

/// `POST /o/{org}/invitations/{id}/withdraw`.
pub async fn withdraw(visit: Visit, path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let id = InvitationId::parse(&path.1).ok_or_else(Problem::not_found)?;
    let withdrawn = visit.change(move |tx, acting| invitation::withdraw(tx, acting, id)).await?;
    let done = format!("The invitation of {} was withdrawn.", withdrawn.email);
    Ok(visit.redirect_with(path::members(&visit.org.slug), done))
}

async fn refused(visit: &Visit, fields: &Fields, errors: Vec<FieldError>) -> Result<HttpResponse, Problem> {
    page(visit, fields, FormErrors(errors)).await
}

async fn page(visit: &Visit, fields: &Fields, form_errors: FormErrors) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (visit.org.id, visit.now, visit.zone.clone());
    let in_detail = visit.role.sees_all_keys();
    let found = visit.read(move |conn| {
        let members = store::members_of(conn, org)?;
        let keys = offboarding::count_by_owner(conn, org, now)?;
        let invited = if in_detail { invitation::pending(conn, org)? } else { Vec::new() };
        let ids: Vec<UserId> = members.iter().map(|member| member.person.id).collect();
        let methods = people::methods::kinds_of(conn, &ids)?;
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
            role: member.role.title(),
            disabled: !member.is_active(),
            seen: person.seen_at.map(|at| When::past(at, now, &zone)),
            methods: kinds.join(", "),
            keys: keys.get(&id).copied().unwrap_or(0),
            answerers: answerers.remove(&id).unwrap_or_default(),
        }
    };
    let (accounts, people): (Vec<_>, Vec<_>) = members.into_iter().partition(Membership::is_service);
    let view = ListPage {
        layout: visit.layout(NavSection::Members),
        org: visit.org_link(),
        people: people.into_iter().map(&mut row).collect(),
        accounts: accounts.into_iter().map(&mut row).collect(),
        invitations: invited
            .into_iter()
            .map(|invitation| Invited::new(&invitation, visit.role, now, &zone))
            .collect(),
        in_detail,
        roles: visit.role.appoints().collect(),
        email: fields.get("email").to_owned(),
        role: if fields.has("role") { fields.get("role") } else { Role::Member.name() }.to_owned(),
        form_errors,
        zone: visit.zone_name(),
    };
    visit.form(&view.form_errors, &view)
}

impl Invited {
    fn new(invitation: &Invitation, reader: Role, now: Time, zone: &jiff::tz::TimeZone) -> Invited {
        Invited {
            id: invitation.id,
            email: invitation.email.clone(),
            role: invitation.role.title(),
            by: invitation.invited_by.clone(),
            sent: When::past(invitation.sent_at, now, zone),
            ends: (invitation.ends_at > now).then(|| When::ahead(invitation.ends_at, now, zone)),
            manageable: reader.manages(invitation.role),
        }
    }
}
