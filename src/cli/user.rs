//! `keydesk user`: regains access for people and ends it.

use clap::Subcommand;
use serde_json::json;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::cli::open;
use crate::cli::output::{Failure, note, print};
use crate::cli::setup::read_password;
use crate::db::{Db, Tx};
use crate::error::Error;
use crate::id::UserId;
use crate::keys::feed;
use crate::mail::Change;
use crate::orgs;
use crate::orgs::account_log;
use crate::orgs::membership::Affected;
use crate::people::notice;
use crate::people::password::NewPassword;
use crate::people::recovery::{self, SessionsToEnd};
use crate::people::store::{Person, Profile};
use crate::people::{self, password};
use crate::time::Time;

/// The actions of `keydesk user`.
#[derive(Subcommand)]
pub enum Action {
    /// List all people with their organisations and roles
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a new password, read from standard input, and end the person's sessions and pending links
    ResetPassword {
        /// The person's e-mail address
        #[arg(long)]
        email: String,
        /// Also set this e-mail address, for example if an attacker has changed it
        #[arg(long)]
        new_email: Option<String>,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Disable a person: their sessions end, and they and their keys are refused until they are enabled
    Disable {
        /// The person's e-mail address
        #[arg(long)]
        email: String,
    },
    /// Enable a disabled person
    Enable {
        /// The person's e-mail address
        #[arg(long)]
        email: String,
    },
}

impl Action {
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Action::List { json } => list(*json),
            Action::ResetPassword { email, new_email, .. } => reset_password(email, new_email.as_deref()),
            Action::Disable { email } => set_disabled(email, true),
            Action::Enable { email } => set_disabled(email, false),
        }
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let (db, _) = open::database(&open::config()?)?;
    let people = db.read_now(|conn| {
        let people = people::store::all(conn)?;
        people
            .into_iter()
            .map(|person| Ok((orgs::store::of_person(conn, person.id)?, person)))
            .collect::<Result<Vec<_>, Error>>()
    })?;
    for (memberships, person) in people {
        let roles = memberships.iter().map(|(org, role)| (org.slug.as_str(), role.name()));
        if as_json {
            let roles: serde_json::Map<_, _> =
                roles.map(|(slug, role)| (slug.to_owned(), json!(role))).collect();
            print(
                &json!({"id": person.id, "email": person.email, "name": person.name, "roles": roles,
                    "disabled": person.disabled_at.is_some()})
                .to_string(),
            )?;
        } else {
            let roles: Vec<String> = roles.map(|(slug, role)| format!("{slug}:{role}")).collect();
            print(&format!("{}\t{}\t{}\t{}", person.id, person.email, person.name, roles.join(",")))?;
        }
    }
    Ok(())
}

fn reset_password(email: &str, new_email: Option<&str>) -> Result<(), Failure> {
    let password = read_password()?;
    let (db, keyring) = open::database(&open::config()?)?;
    let person = find(&db, email)?;
    let address = match new_email {
        Some(new) => Profile::parse(&person.name, new).map_err(Error::Invalid)?.email,
        None => person.email.clone(),
    };
    let password = NewPassword::check_now("password", password, &[&address, &person.name])
        .map_err(|error| Error::Invalid(vec![error]))?;
    let hashed = password::hash_now(&password)?;
    let now = Time::now();
    let owner = db.write_now(|tx| {
        let person = lock(tx, person.id)?;
        people::reset::replace(tx, &keyring, &person, &hashed, now)?;
        let holder = AccountHolder::command_line(person.id, now);
        let mut owner = person.clone();
        if new_email.is_some() {
            people::address::replace(tx, &person, &address, None)?;
            owner.email.clone_from(&address);
            notice::send(tx, &person, Change::EmailChanged, &holder.source, now)?;
            account_log::append(tx, &holder, &Event::EmailChanged)?;
        }
        notice::send(tx, &owner, Change::PasswordReplaced, &holder.source, now)?;
        account_log::append(tx, &holder, &Event::PasswordReset)?;
        Ok(owner)
    })?;
    note(format_args!(
        "{} has a new password. All their sessions have ended; pending links and calendar addresses no longer work.",
        owner.email
    ));
    Ok(())
}

fn set_disabled(email: &str, disabled: bool) -> Result<(), Failure> {
    let config = open::config()?;
    let (db, _) = open::database(&config)?;
    let (person, now) = (find(&db, email)?, Time::now());
    let state = if disabled { "disabled" } else { "enabled" };
    if person.disabled_at.is_some() == disabled {
        note(format_args!("{} is already {state}.", person.email));
        return Ok(());
    }
    let without_owner = db.write_now(|tx| {
        let person = lock(tx, person.id)?;
        recovery::secure(tx, &person, SessionsToEnd::All, now)?;
        people::store::set_disabled(tx, person.id, disabled.then_some(now))?;
        let event = if disabled { Event::PersonDisabled } else { Event::PersonEnabled };
        let holder = AccountHolder::command_line(person.id, now);
        account_log::append(tx, &holder, &event)?;
        let mut without_owner = Vec::new();
        for org in orgs::store::ids_of_person(tx.conn, person.id)? {
            if disabled {
                orgs::invitation::withdraw_unbacked(tx, &holder.in_org(org), person.id, None)?;
            }
            if orgs::store::first_owner(tx.conn, org)?.is_none() {
                without_owner.extend(orgs::store::find(tx.conn, org)?);
            }
            feed::publish_keys_of(tx, &Affected { org, owner: person.id }, now)?;
        }
        Ok(without_owner)
    })?;
    open::wait_for_servers(&db, &config)?;
    for org in without_owner {
        note(format_args!("{} no longer has an owner who can sign in.", org.name));
    }
    note(format_args!("{} is {state}.", person.email));
    Ok(())
}

/// Locks and reads the person again, so that concurrent activity in their account can't make the command fail.
fn lock(tx: &mut Tx<'_>, person: UserId) -> Result<Person, Error> {
    people::store::lock(tx, person)?.ok_or(Error::NotFound)
}

fn find(db: &Db, email: &str) -> Result<Person, Failure> {
    let person = db.read_now(|conn| people::store::by_email(conn, email))?;
    person.ok_or_else(|| Failure::Refused(format!("no account has the e-mail address {email}.")))
}
