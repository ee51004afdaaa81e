//! The page for removing a member, or for leaving: it asks what becomes of each of their keys.

use std::collections::HashMap;

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::{KeyId, UserId};
use crate::keys::Key;
use crate::keys::succession::{self, Estate, Fate, Settled, Will};
use crate::orgs::store::{self, Membership};
use crate::path::{self, Href};
use crate::portal::kit::words::{self, When};
use crate::portal::members::{find, find_managed};
use crate::role::Role;
use crate::time::{DAY, Time};
use crate::usage;
use crate::usage::sums::Keys;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

/// How many keys are asked about one by one, busiest first; one answer does for all others.
const SHOWN: usize = 100;
/// How many complaints are told at once.
const TOLD: usize = 10;

#[derive(Template)]
#[template(path = "portal/members/remove.html")]
struct RemovePage {
    layout: Layout,
    org: Place,
    /// Where the form goes.
    action: Href,
    id: UserId,
    name: String,
    is_self: bool,
    is_service: bool,
    keys: Vec<Row>,
    /// Keys beyond those that are shown.
    more: i64,
    /// What is chosen for all keys without a choice of their own.
    rest: String,
    heirs: Vec<Choice>,
    backed_up: Vec<String>,
    accounts: Vec<Account>,
    answerers: Vec<Choice>,
    in_use: i64,
    complaints: Complaints,
    zone: String,
    counted_to: String,
}

struct Row {
    id: KeyId,
    name: String,
    scopes: String,
    day: i64,
    week: i64,
    last_used: Option<When>,
    /// The backup's name, where there is one who may get it.
    backup: Option<String>,
    chosen: String,
}

/// Someone who can be chosen.
struct Choice {
    value: String,
    label: String,
}

/// A service account for which nobody else answers.
struct Account {
    id: UserId,
    name: String,
    chosen: String,
}

/// `GET /o/{org}/members/{id}/remove`.
pub async fn confirm(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let leaving = find_managed(&site, &member, &path.1).await?;
    page(&request, &member, &site, leaving, &Fields::default(), Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/members/{id}/remove`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let leaving = find_managed(&site, &member, &path.1).await?;
    end(&request, &member, &site, leaving, &fields).await
}

/// `GET /o/{org}/leave`.
pub async fn confirm_leaving(
    request: HttpRequest,
    member: Member,
    site: Shared,
) -> Result<HttpResponse, Problem> {
    let leaving = find(&site, &member, &member.person.id.to_string()).await?;
    page(&request, &member, &site, leaving, &Fields::default(), Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/leave`.
pub async fn leave(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let leaving = find(&site, &member, &member.person.id.to_string()).await?;
    end(&request, &member, &site, leaving, &fields).await
}

async fn end(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    leaving: Membership,
    fields: &Fields,
) -> Result<HttpResponse, Problem> {
    let (change, who, will) = (member.change(request, Time::now()), leaving.person.id, will(fields));
    let settled = change.commit(&site.db, move |tx, acting| succession::leave(tx, acting, who, &will)).await;
    let mut errors = match settled {
        Ok(settled) => {
            let is_self = who == member.person.id;
            session::flash(&request.get_session(), &done(&leaving, &member.org.name, is_self, &settled));
            let next = if is_self { path::account() } else { path::members(&member.org.slug) };
            return Ok(redirect(request, &next));
        }
        Err(Error::Invalid(errors)) => errors,
        Err(Error::Conflict(message)) => vec![FieldError::new("main", message)],
        Err(other) => return Err(other.into()),
    };
    errors.truncate(TOLD);
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    page(request, member, site, leaving, fields, Complaints(errors), status).await
}

/// What was chosen: `key_…`, `user_…` of a service account, and `rest`.
fn will(fields: &Fields) -> Will {
    let mut will = Will { rest: fate(fields.get("rest")), ..Will::default() };
    for (name, value) in fields.pairs() {
        if let (Some(key), Some(fate)) = (KeyId::parse(name), fate(value)) {
            will.fates.insert(key, fate);
        }
        if let (Some(account), Some(person)) = (UserId::parse(name), UserId::parse(value)) {
            will.answerers.push((account, person));
        }
    }
    will
}

fn fate(value: &str) -> Option<Fate> {
    match value {
        "revoke" => Some(Fate::Revoke),
        "backup" => Some(Fate::ToBackup),
        id => UserId::parse(id).map(Fate::HandOver),
    }
}

fn done(leaving: &Membership, org: &str, is_self: bool, settled: &Settled) -> String {
    let name = &leaving.person.name;
    let mut text = if is_self { format!("You left {org}.") } else { format!("{name} was removed.") };
    if settled.handed_over > 0 {
        text += &format!(" {} handed over.", words::count(settled.handed_over, "key was", "keys were"));
    }
    if settled.revoked > 0 {
        text += &format!(" {} revoked.", words::count(settled.revoked, "key was", "keys were"));
    }
    if settled.without_backup > 0 {
        text +=
            &format!(" {} no backup any more.", words::count(settled.without_backup, "key has", "keys have"));
    }
    text
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    leaving: Membership,
    fields: &Fields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (org, id, now, zone) = (member.org.id, leaving.person.id, Time::now(), member.person.time_zone());
    // A use of just now counts as one.
    usage::flush_last_uses(&site.meter, &site.db, Keys::of(org), now).await?;
    let read = site.db.read(move |conn| {
        let estate = succession::estate(conn, org, id, now)?;
        let ids: Vec<KeyId> = estate.keys.iter().map(|key| key.id).collect();
        let day = usage::recent::requests_by_key(conn, org, &ids, now.plus(-DAY))?;
        let week = usage::recent::requests_by_key(conn, org, &ids, now.plus(-7 * DAY))?;
        Ok((estate, day, week, store::members_of(conn, org)?))
    });
    let (estate, day, week, members) = read.await?;
    let Estate { mut keys, backed_up, accounts } = estate;
    let count = |counts: &HashMap<KeyId, i64>, key: &Key| counts.get(&key.id).copied().unwrap_or(0);
    keys.sort_by_key(|key| std::cmp::Reverse(count(&week, key)));
    let others: Vec<&Membership> =
        members.iter().filter(|other| other.is_active() && other.person.id != id).collect();
    let is_self = id == member.person.id;
    let may_get = |heir: &&&Membership| member.role.manages_all_keys() || heir.role.manages_all_keys();
    let row = |key: &Key| {
        let backup =
            key.backup.as_ref().filter(|backup| others.iter().any(|other| other.person.id == backup.id));
        let chosen = fields.get(&key.id.to_string()).to_owned();
        Row {
            id: key.id,
            name: key.name.clone(),
            scopes: key.scopes.names().join(", "),
            day: count(&day, key),
            week: count(&week, key),
            last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
            chosen: match &backup {
                Some(_) if chosen.is_empty() => "backup".to_owned(),
                _ => chosen,
            },
            backup: backup.map(|backup| backup.name.clone()),
        }
    };
    let choice = |heir: &&Membership| Choice { value: heir.person.id.to_string(), label: label(heir) };
    let slug = &member.org.slug;
    let view = RemovePage {
        layout: Layout::of(request, Room::Members),
        org: Place::of(&member.org),
        action: if is_self { path::leave(slug) } else { path::member_remove(slug, &id) },
        id,
        is_self,
        is_service: leaving.is_service(),
        more: i64::try_from(keys.len().saturating_sub(SHOWN)).unwrap_or(i64::MAX),
        in_use: i64::try_from(keys.iter().filter(|key| count(&day, key) > 0).count()).unwrap_or(i64::MAX),
        keys: keys.iter().take(SHOWN).map(row).collect(),
        rest: fields.get("rest").to_owned(),
        heirs: others.iter().filter(may_get).map(&choice).collect(),
        backed_up: backed_up.into_iter().map(|key| key.name).collect(),
        accounts: accounts
            .into_iter()
            .map(|account| Account {
                id: account.id,
                name: account.name,
                chosen: fields.get(&account.id.to_string()).to_owned(),
            })
            .collect(),
        answerers: others.iter().filter(|other| !other.is_service()).map(choice).collect(),
        name: leaving.person.name,
        complaints,
        zone: member.person.zone_name(),
        counted_to: words::clock(now, &zone),
    };
    html(status, &view)
}

/// Name and role, so that two of one name can be told apart.
fn label(member: &Membership) -> String {
    let kind = match (member.is_service(), member.role) {
        (true, _) => "service account",
        (false, Role::Owner) => "owner",
        (false, Role::Admin) => "admin",
        (false, _) => return format!("{} ({})", member.person.name, member.person.email),
    };
    format!("{} ({kind})", member.person.name)
}

impl RemovePage {
    fn lost_backups(&self) -> String {
        let lost = i64::try_from(self.backed_up.len()).unwrap_or(i64::MAX);
        words::count(lost, "key of someone else loses its backup", "keys of others lose their backup")
    }
}
