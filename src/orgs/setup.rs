//! Setting up an organisation with its first owner.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{AccountHolder, RequestSource};
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::installation;
use crate::orgs::rename;
use crate::orgs::store::{self, Org};
use crate::people::password::Hashed;
use crate::people::store::{Person, Profile};
use crate::role::Role;
use crate::time::Time;

/// A checked wish to set up an organisation.
#[derive(Clone)]
pub struct SetUp {
    org: String,
    owner: Profile,
    /// The owner's time zone, once known.
    pub zone: Option<String>,
}

/// Who sets up an organisation.
pub enum By {
    /// An operator with the command line on the server.
    CommandLine,
    /// Somebody with the link that the server printed at its first start.
    Link(RequestSource),
}

impl SetUp {
    /// Checks all fields; complaints name `organization`, `name`, `email`. The owner's password is
    /// checked by [`NewPassword`](crate::people::password::NewPassword).
    pub fn parse(org: &str, name: &str, email: &str) -> Result<SetUp, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name_of_org = rename::check_name("organization", org);
        errors.extend(name_of_org.as_ref().err().cloned());
        let owner = Profile::parse(name, email);
        errors.extend(owner.as_ref().err().into_iter().flatten().cloned());
        match (owner, name_of_org) {
            (Ok(owner), Ok(org)) if errors.is_empty() => Ok(SetUp { org, owner, zone: None }),
            _ => Err(errors),
        }
    }

    /// Makes the organisation and its owner. `Conflict` when an organisation exists.
    pub fn first(&self, tx: &mut Tx<'_>, password: &Hashed, by: By, now: Time) -> Result<(Org, Person)> {
        if !installation::set_up(tx, now)? {
            return Err(Error::Conflict(
                "An organisation exists already. Sign in there, or use `keydesk setup --another` to add one.",
            ));
        }
        let owner = crate::people::store::insert(tx, &self.owner, self.zone.as_deref(), password, now)?;
        self.found(tx, owner, by, now)
    }

    /// Makes an organisation beside others, by the command line. Whoever runs that on the server
    /// vouches for the address: a known person becomes the owner and keeps their password.
    pub fn another(&self, tx: &mut Tx<'_>, password: Option<&Hashed>, now: Time) -> Result<(Org, Person)> {
        installation::set_up(tx, now)?;
        let known = crate::people::store::by_email(tx.conn, &self.owner.email)?;
        let owner = match (known, password) {
            (Some(person), _) if person.disabled_at.is_some() => {
                return Err(Error::invalid("email", "This person is disabled. Enable them first."));
            }
            (Some(person), _) => person,
            (None, Some(password)) => {
                crate::people::store::insert(tx, &self.owner, self.zone.as_deref(), password, now)?
            }
            (None, None) => {
                return Err(Error::invalid(
                    "password",
                    "Nobody here has this e-mail address: give a password.",
                ));
            }
        };
        self.found(tx, owner, By::CommandLine, now)
    }

    fn found(&self, tx: &mut Tx<'_>, owner: Person, by: By, now: Time) -> Result<(Org, Person)> {
        let org = store::insert(tx, &self.org, now)?;
        store::add_member(tx, org.id, owner.id, Role::Owner, now)?;
        let holder = match by {
            By::CommandLine => AccountHolder::command_line(owner.id, now),
            By::Link(source) => AccountHolder::just_proved(owner.id, source, now),
        };
        let event = Event::OrganizationCreated { name: org.name.clone(), owner: owner.id };
        log::append(tx, &holder.in_org(org.id), &org.id.to_string(), &event)?;
        Ok((org, owner))
    }
}
