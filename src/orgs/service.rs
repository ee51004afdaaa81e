//! Service accounts: members that own keys and can't sign in. One or more people are responsible for each
//! of them and receive its e-mails.
//!
//! They start with the role member, so that a program's keys can call models and read usage but no more. An
//! owner may make an account an admin if its program manages keys.

use diesel::prelude::*;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::Acting;
use crate::db::{Conn, Tx};
use crate::error::{Error, FieldError, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::slug::slug;
use crate::orgs::store::{self, Membership};
use crate::people::store::{Person, fold_email};
use crate::role::{Act, Role};
use crate::schema::{people, service_answerers};
use crate::text::check_name;

/// The most people who can be responsible for one account.
const MOST_ANSWERERS: usize = 20;

/// The requested settings of a service account.
#[derive(Clone, Debug)]
pub struct ServiceAccountDraft {
    pub name: String,
    /// The responsible people.
    pub answerers: Vec<UserId>,
}

impl ServiceAccountDraft {
    /// Validates both; errors name the fields `name` and `answerers`.
    pub fn parse(name: &str, answerers: &[String]) -> Result<ServiceAccountDraft, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = check_name(name, 64, "Enter a name, such as nightly-batch.");
        errors.extend(name.as_ref().err().map(|wrong| FieldError::new("name", wrong)));
        let mut people: Vec<UserId> = answerers.iter().filter_map(|id| UserId::parse(id)).collect();
        people.sort();
        people.dedup();
        if people.is_empty() {
            errors.push(FieldError::new("answerers", "Choose at least one responsible person."));
        } else if people.len() > MOST_ANSWERERS {
            errors.push(FieldError::new("answerers", format!("Choose at most {MOST_ANSWERERS} people.")));
        }
        match name {
            Ok(name) if errors.is_empty() => Ok(ServiceAccountDraft { name, answerers: people }),
            _ => Err(errors),
        }
    }
}

/// Creates a service account. Errors: `Forbidden`, `Invalid`.
pub fn create(tx: &mut Tx<'_>, acting: &Acting, draft: &ServiceAccountDraft) -> Result<Person> {
    begin(tx, acting, Role::Member)?;
    check(tx, acting.org, None, draft)?;
    let org = store::find(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let email = free_address(tx, &org.slug, &draft.name)?;
    let account = Person {
        id: UserId::new(acting.now),
        email_folded: fold_email(&email),
        email,
        name: draft.name.clone(),
        zone: None,
        disabled_at: None,
        created_at: acting.now,
        email_verified_at: None,
        service_of: Some(org.id),
        seen_at: None,
        access_generation: 0,
    };
    diesel::insert_into(people::table)
        .values((
            people::id.eq(account.id),
            people::email.eq(&account.email),
            people::email_folded.eq(&account.email_folded),
            people::name.eq(&account.name),
            people::created_at.eq(account.created_at),
            people::service_of.eq(account.service_of),
        ))
        .execute(tx.conn)?;
    store::add_member(tx, org.id, account.id, Role::Member, acting.now)?;
    set_answerers(tx, org.id, account.id, &draft.answerers)?;
    let event = Event::ServiceAccountCreated { name: draft.name.clone(), answerers: draft.answerers.clone() };
    log::append(tx, acting, &account.id.to_string(), &event)?;
    Ok(account)
}

/// Changes a service account's name and responsible people. Errors: `NotFound`, `Forbidden`,
/// `Invalid`.
pub fn edit(tx: &mut Tx<'_>, acting: &Acting, account: UserId, draft: &ServiceAccountDraft) -> Result<()> {
    let member = store::find_member(tx.conn, acting.org, &account.to_string())?;
    let member = member.filter(Membership::is_service).ok_or(Error::NotFound)?;
    begin(tx, acting, member.role)?;
    if member.role.manages_all_keys() {
        // These people get the e-mails of its keys, and may rotate those that they could own themselves.
        acting.require_fresh()?;
    }
    check(tx, acting.org, Some(account), draft)?;
    let before = answerers(tx.conn, acting.org, account)?;
    let all = [
        ("name", json!(member.person.name), json!(draft.name)),
        ("answerers", json!(before), json!(draft.answerers)),
    ];
    let changed = all.into_iter().filter(|(_, before, after)| before != after);
    let changes: Vec<Change> =
        changed.map(|(field, before, after)| Change { field: field.into(), before, after }).collect();
    if changes.is_empty() {
        return Ok(());
    }
    diesel::update(people::table.find(account)).set(people::name.eq(&draft.name)).execute(tx.conn)?;
    set_answerers(tx, acting.org, account, &draft.answerers)?;
    log::append(tx, acting, &account.to_string(), &Event::ServiceAccountUpdated { changes })
}

/// The accounts for which only this person is responsible, by name.
pub fn answered_alone(conn: &mut Conn, org: OrgId, person: UserId) -> Result<Vec<Person>> {
    let of_person: Vec<UserId> = service_answerers::table
        .filter(service_answerers::org_id.eq(org).and(service_answerers::person_id.eq(person)))
        .select(service_answerers::account_id)
        .load(conn)?;
    let mut alone = Vec::new();
    for account in of_person {
        if answerers(conn, org, account)? == [person] {
            alone.push(account);
        }
    }
    Ok(people::table.filter(people::id.eq_any(alone)).order((people::name, people::id)).load(conn)?)
}

/// Replaces a leaving person as responsible for service accounts. Accounts with other responsible people
/// need no replacement.
pub fn replace_answerer(
    tx: &mut Tx<'_>,
    acting: &Acting,
    leaving: UserId,
    places: &[(UserId, UserId)],
) -> Result<()> {
    let org = acting.org;
    for account in answered_alone(tx.conn, org, leaving)? {
        let place = places.iter().find(|(of, _)| *of == account.id).map(|(_, person)| *person);
        let place = place.filter(|place| *place != leaving);
        let place = place.ok_or_else(|| {
            Error::invalid(
                "answerers",
                format!("Choose who is responsible for {} from now on.", account.name),
            )
        })?;
        require_person(tx, org, place)?;
        if acting.person()? == place {
            // Otherwise, removing a member would be a way around the right to edit the account.
            let role = store::find_member(tx.conn, org, &account.id.to_string())?.map(|member| member.role);
            if !role.is_some_and(|role| acting.member_role().is_ok_and(|own| own.manages(role))) {
                return Err(Error::invalid(
                    "answerers",
                    format!("Choose someone else for {}: you may not edit this account.", account.name),
                ));
            }
        }
        set_answerers(tx, org, account.id, &[place])?;
        let changes =
            vec![Change { field: "answerers".into(), before: json!([leaving]), after: json!([place]) }];
        log::append(tx, acting, &account.id.to_string(), &Event::ServiceAccountUpdated { changes })?;
    }
    let leaves = service_answerers::org_id.eq(org).and(service_answerers::person_id.eq(leaving));
    let left: Vec<UserId> =
        service_answerers::table.filter(leaves).select(service_answerers::account_id).load(tx.conn)?;
    for account in left {
        let before = answerers(tx.conn, org, account)?;
        let after: Vec<UserId> = before.iter().copied().filter(|person| *person != leaving).collect();
        set_answerers(tx, org, account, &after)?;
        let changes = vec![Change { field: "answerers".into(), before: json!(before), after: json!(after) }];
        log::append(tx, acting, &account.to_string(), &Event::ServiceAccountUpdated { changes })?;
    }
    Ok(())
}

/// Removes the responsible people of an account that is being removed.
pub fn forget_answerers(tx: &mut Tx<'_>, org: OrgId, account: UserId) -> Result<()> {
    set_answerers(tx, org, account, &[])
}

fn begin(tx: &mut Tx<'_>, acting: &Acting, role: Role) -> Result<()> {
    store::lock(tx, acting.org)?;
    let acting_role = acting.member_role()?;
    if acting_role.may(Act::WriteMembers) && acting_role.manages(role) {
        Ok(())
    } else {
        Err(Error::Forbidden)
    }
}

fn check(tx: &mut Tx<'_>, org: OrgId, account: Option<UserId>, draft: &ServiceAccountDraft) -> Result<()> {
    let folded = crate::text::fold(&draft.name);
    let taken = store::members_of(tx.conn, org)?.into_iter().any(|member| {
        member.is_service()
            && Some(member.person.id) != account
            && crate::text::fold(&member.person.name) == folded
    });
    if taken {
        return Err(Error::invalid("name", "Another service account has this name. Choose another."));
    }
    for person in &draft.answerers {
        require_person(tx, org, *person)?;
    }
    Ok(())
}

fn require_person(tx: &mut Tx<'_>, org: OrgId, person: UserId) -> Result<()> {
    let member = store::find_member(tx.conn, org, &person.to_string())?;
    let answers = member.is_some_and(|member| member.is_active() && !member.is_service());
    if answers { Ok(()) } else { Err(Error::invalid("answerers", "Choose members of this organisation.")) }
}

/// The address by which the API shows and finds the account. It can't receive e-mail (RFC 2606).
fn free_address(tx: &mut Tx<'_>, org: &str, name: &str) -> Result<String> {
    let name = slug(name);
    for number in 1.. {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let address = format!("{name}{number}@{org}.invalid");
        let taken: i64 = people::table
            .filter(people::email_folded.eq(fold_email(&address)))
            .count()
            .get_result(tx.conn)?;
        if taken == 0 {
            return Ok(address);
        }
    }
    unreachable!("there is always a free number")
}

fn answerers(conn: &mut Conn, org: OrgId, account: UserId) -> Result<Vec<UserId>> {
    Ok(service_answerers::table
        .filter(service_answerers::org_id.eq(org).and(service_answerers::account_id.eq(account)))
        .order(service_answerers::person_id)
        .select(service_answerers::person_id)
        .load(conn)?)
}

fn set_answerers(tx: &mut Tx<'_>, org: OrgId, account: UserId, people: &[UserId]) -> Result<()> {
    let of_account = service_answerers::org_id.eq(org).and(service_answerers::account_id.eq(account));
    diesel::delete(service_answerers::table.filter(of_account)).execute(tx.conn)?;
    for person in people {
        diesel::insert_into(service_answerers::table)
            .values((
                service_answerers::org_id.eq(org),
                service_answerers::account_id.eq(account),
                service_answerers::person_id.eq(person),
            ))
            .execute(tx.conn)?;
    }
    Ok(())
}
