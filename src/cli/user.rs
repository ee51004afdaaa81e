//! `keydesk user`: the way back in.

use clap::Subcommand;
use serde_json::json;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::cli::setup::read_password;
use crate::cli::{Failure, print, store};
use crate::db::{Db, Tx};
use crate::error::Error;
use crate::id::UserId;
use crate::keys::feed;
use crate::mail::Change;
use crate::orgs;
use crate::orgs::journal;
use crate::orgs::membership::Affected;
use crate::people::notice;
use crate::people::password::NewPassword;
use crate::people::recovery::{self, Ends};
use crate::people::store::{Person, Profile};
use crate::people::{self, password};
use crate::time::Time;

/// What to do about people.
#[derive(Subcommand)]
pub enum Act {
    /// List everyone with their organisations and roles
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give someone a new password, read from standard input, and revoke their sessions and pending links
    ResetPassword {
        /// Their e-mail address
        #[arg(long)]
        email: String,
        /// The address that the account gets, if someone else has changed it
        #[arg(long)]
        new_email: Option<String>,
        /// Read the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Lock someone out everywhere: their sessions end, and their keys do nothing until they are enabled
    Disable {
        /// Their e-mail address
        #[arg(long)]
        email: String,
    },
    /// Let someone in again who was disabled
    Enable {
        /// Their e-mail address
        #[arg(long)]
        email: String,
    },
}

impl Act {
    /// Carries it out.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Act::List { json } => list(*json),
            Act::ResetPassword { email, new_email, .. } => reset_password(email, new_email.as_deref()),
            Act::Disable { email } => set_disabled(email, true),
            Act::Enable { email } => set_disabled(email, false),
        }
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let (db, _) = store::open(&store::config()?)?;
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
    let (db, keyring) = store::open(&store::config()?)?;
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
        let person = current(tx, person.id)?;
        people::reset::replace(tx, &keyring, &person, &hashed, now)?;
        let holder = AccountHolder::command_line(person.id, now);
        let mut owner = person.clone();
        if new_email.is_some() {
            people::address::replace(tx, &person, &address, None)?;
            owner.email.clone_from(&address);
            notice::tell(tx, &person, Change::EmailChanged, &holder.source, now)?;
            journal::note(tx, &holder, &Event::EmailChanged)?;
        }
        notice::tell(tx, &owner, Change::PasswordReplaced, &holder.source, now)?;
        journal::note(tx, &holder, &Event::PasswordReset)?;
        Ok(owner)
    })?;
    eprintln!(
        "{} has a new password. All their sessions have ended; pending links and calendar addresses no longer work.",
        owner.email
    );
    Ok(())
}

fn set_disabled(email: &str, disabled: bool) -> Result<(), Failure> {
    let config = store::config()?;
    let (db, _) = store::open(&config)?;
    let (person, now) = (find(&db, email)?, Time::now());
    if person.disabled_at.is_some() == disabled {
        eprintln!("{} is so already.", person.email);
        return Ok(());
    }
    let without_owner = db.write_now(|tx| {
        let person = current(tx, person.id)?;
        recovery::secure(tx, &person, Ends::All, now)?;
        people::store::set_disabled(tx, person.id, disabled.then_some(now))?;
        let event = if disabled { Event::PersonDisabled } else { Event::PersonEnabled };
        let holder = AccountHolder::command_line(person.id, now);
        journal::note(tx, &holder, &event)?;
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
    store::wait_until_noticed(&db, &config)?;
    for org in without_owner {
        eprintln!("{} has no owner now who can sign in.", org.name);
    }
    eprintln!("{} is {}.", person.email, if disabled { "disabled" } else { "enabled" });
    Ok(())
}

/// Locks and reads the person again, so that activity in their account can't make the command fail.
fn current(tx: &mut Tx<'_>, person: UserId) -> Result<Person, Error> {
    people::store::lock(tx, person)?.ok_or(Error::NotFound)
}

fn find(db: &Db, email: &str) -> Result<Person, Failure> {
    let person = db.read_now(|conn| people::store::by_email(conn, email))?;
    person.ok_or_else(|| Failure::Refused(format!("nobody here has the e-mail address {email}.")))
}
