//! Removing a member, or leaving: the page asks what happens to each of their keys.

use std::collections::HashMap;

use actix_web::HttpResponse;
use askama::Template;

use crate::db::Conn;
use crate::error::{Error, FieldError};
use crate::id::{KeyId, UserId};
use crate::keys::Key;
use crate::keys::offboarding::{self, KeyDisposition, OffboardingPlan, OffboardingSummary, OwnedKeys};
use crate::orgs::store::{self, Membership};
use crate::path::{self, Href};
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::portal::members::RequestedMember;
use crate::role::Role;
use crate::time::DAY;
use crate::usage;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The number of keys with a choice of their own, busiest first. One choice applies to all others.
const SHOWN: usize = 100;
/// The most errors shown.
const TOLD: usize = 10;

#[derive(Template)]
#[template(path = "portal/members/remove.html")]
struct RemovePage {
    layout: Layout,
    org: OrgLink,
    action: Href,
    id: UserId,
    name: String,
    is_self: bool,
    is_service: bool,
    keys: Vec<Row>,
    /// The number of keys that are not shown.
    more: i64,
    /// The choice for all keys without one of their own.
    rest: String,
    heirs: Vec<Choice>,
    backed_up: Vec<String>,
    accounts: Vec<Account>,
    answerers: Vec<Choice>,
    in_use: i64,
    form_errors: FormErrors,
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
    /// The name of a backup who may get the key.
    backup: Option<String>,
    chosen: String,
}

struct Choice {
    value: String,
    label: String,
}

/// A service account without another responsible person.
struct Account {
    id: UserId,
    name: String,
    chosen: String,
}

/// Finds the leaving member.
type Find = fn(RequestedMember, &mut Conn) -> Result<Membership, Error>;

/// `GET /o/{org}/members/{id}/remove`.
pub async fn confirm(visit: Visit, requested: RequestedMember) -> Result<HttpResponse, Problem> {
    let find = RequestedMember::find_managed;
    page(&visit, requested, find, &Fields::default(), FormErrors::default()).await
}

/// `POST /o/{org}/members/{id}/remove`.
pub async fn submit(
    visit: Visit,
    requested: RequestedMember,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    end(&visit, requested, RequestedMember::find_managed, &fields).await
}

/// `GET /o/{org}/leave`.
pub async fn confirm_leaving(visit: Visit) -> Result<HttpResponse, Problem> {
    let (oneself, find) = (RequestedMember::oneself(&visit), RequestedMember::find);
    page(&visit, oneself, find, &Fields::default(), FormErrors::default()).await
}

/// `POST /o/{org}/leave`.
pub async fn leave(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    end(&visit, RequestedMember::oneself(&visit), RequestedMember::find, &fields).await
}

async fn end(
    visit: &Visit,
    requested: RequestedMember,
    find: Find,
    fields: &Fields,
) -> Result<HttpResponse, Problem> {
    let leaving = visit.read(move |conn| find(requested, conn)).await?;
    let (who, plan) = (leaving.person.id, plan(fields));
    let result = visit.change(move |tx, acting| offboarding::offboard(tx, acting, who, &plan)).await;
    let mut errors = match result {
        Ok(summary) => {
            let is_self = who == visit.person.id;
            visit.flash(done(&leaving, &visit.org.name, is_self, &summary));
            let next = if is_self { path::account() } else { path::members(&visit.org.slug) };
            return Ok(visit.redirect(next));
        }
        Err(Error::Invalid(errors)) => errors,
        Err(Error::Conflict(message)) => vec![FieldError::new("main", message)],
        Err(other) => return Err(other.into()),
    };
    errors.truncate(TOLD);
    page(visit, requested, find, fields, FormErrors(errors)).await
}

/// The choices of the form: fields `key_…`, `user_…` for service accounts, and `rest`.
fn plan(fields: &Fields) -> OffboardingPlan {
    let mut plan =
        OffboardingPlan { other_keys: disposition(fields.get("rest")), ..OffboardingPlan::default() };
    for (name, value) in fields.pairs() {
        if let (Some(key), Some(disposition)) = (KeyId::parse(name), disposition(value)) {
            plan.keys.insert(key, disposition);
        }
        if let (Some(account), Some(person)) = (UserId::parse(name), UserId::parse(value)) {
            plan.answerers.push((account, person));
        }
    }
    plan
}

fn disposition(value: &str) -> Option<KeyDisposition> {
    match value {
        "revoke" => Some(KeyDisposition::Revoke),
        "backup" => Some(KeyDisposition::ToBackup),
        id => UserId::parse(id).map(KeyDisposition::HandOver),
    }
}

fn done(leaving: &Membership, org: &str, is_self: bool, summary: &OffboardingSummary) -> String {
    let name = &leaving.person.name;
    let mut text = if is_self { format!("You left {org}.") } else { format!("{name} was removed.") };
    if summary.handed_over > 0 {
        text += &format!(" {} handed over.", format::count(summary.handed_over, "key was", "keys were"));
    }
    if summary.revoked > 0 {
        text += &format!(" {} revoked.", format::count(summary.revoked, "key was", "keys were"));
    }
    if summary.without_backup > 0 {
        text +=
            &format!(" {} no backup.", format::count(summary.without_backup, "key now has", "keys now have"));
    }
    text
}

async fn page(
    visit: &Visit,
    requested: RequestedMember,
    find: Find,
    fields: &Fields,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (org, id, now, zone) = (requested.org, requested.id, visit.now, visit.zone.clone());
    visit.site.meter.wait_until_written().await;
    let read = visit.read(move |conn| {
        let leaving = find(requested, conn)?;
        let mut owned = offboarding::owned_by(conn, org, id, now)?;
        let ids: Vec<KeyId> = owned.keys.iter().map(|key| key.id).collect();
        let day = usage::recent::requests_by_key(conn, org, &ids, now.plus(-DAY))?;
        let week = usage::recent::requests_by_key(conn, org, &ids, now.plus(-7 * DAY))?;
        let last_uses = usage::journal::last_uses(conn, org, &ids)?;
        for key in &mut owned.keys {
            key.last_used_at = key.last_used_at.max(last_uses.get(&key.id).copied());
        }
        Ok((leaving, owned, day, week, store::members_of(conn, org)?))
    });
    let (leaving, owned, day, week, members) = read.await?;
    let OwnedKeys { mut keys, backed_up, accounts } = owned;
    let count = |counts: &HashMap<KeyId, i64>, key: &Key| counts.get(&key.id).copied().unwrap_or(0);
    keys.sort_by_key(|key| std::cmp::Reverse(count(&week, key)));
    let others: Vec<&Membership> =
        members.iter().filter(|other| other.is_active() && other.person.id != id).collect();
    let is_self = id == visit.person.id;
    let may_get = |heir: &&&Membership| visit.role.manages_all_keys() || heir.role.manages_all_keys();
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
    let slug = &visit.org.slug;
    let view = RemovePage {
        layout: visit.layout(NavSection::Members),
        org: visit.org_link(),
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
        form_errors,
        zone: visit.zone_name(),
        counted_to: format::clock(now, &zone),
    };
    visit.form(&view.form_errors, &view)
}

/// A label that distinguishes members with the same name.
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
        format::count(lost, "key of someone else loses its backup", "keys of others lose their backup")
    }
}
