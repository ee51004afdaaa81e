//! Setting up an organisation with its first owner.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{AccountHolder, RequestSource};
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::installation;
use crate::orgs::rename;
use crate::orgs::store::{self, Org};
use crate::people::methods;
use crate::people::password::HashedPassword;
use crate::people::store::{Person, Profile};
use crate::role::Role;
use crate::time::Time;

/// Validated input for a new organisation.
#[derive(Clone)]
pub struct OrgSetup {
    org: String,
    owner: Profile,
    /// The owner's time zone, once known.
    pub zone: Option<String>,
}

/// The author of a set-up.
pub enum SetupActor {
    /// An operator with the command line on the server.
    CommandLine,
    /// Someone with the link that the server printed at its first start.
    Link(RequestSource),
}

impl OrgSetup {
    /// Validates all fields; errors name `organization`, `name`, `email`. The password is checked by
    /// [`NewPassword`](crate::people::password::NewPassword).
    pub fn parse(org: &str, name: &str, email: &str) -> Result<OrgSetup, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name_of_org = rename::check_name("organization", org);
        errors.extend(name_of_org.as_ref().err().cloned());
        let owner = Profile::parse(name, email);
        errors.extend(owner.as_ref().err().into_iter().flatten().cloned());
        match (owner, name_of_org) {
            (Ok(owner), Ok(org)) if errors.is_empty() => Ok(OrgSetup { org, owner, zone: None }),
            _ => Err(errors),
        }
    }

    /// Creates the first organisation and its owner. Errors: `Conflict` if an organisation exists.
    pub fn first(
        &self,
        tx: &mut Tx<'_>,
        password: &HashedPassword,
        by: SetupActor,
        now: Time,
    ) -> Result<(Org, Person)> {
        if !installation::set_up(tx, now)? {
            return Err(Error::Conflict(
                "An organisation already exists. Sign in to it, or use `keydesk setup --another` to add one.",
            ));
        }
        let owner = methods::insert_person(tx, &self.owner, self.zone.as_deref(), password, now)?;
        self.found(tx, owner, by, now)
    }

    /// Creates another organisation through the command line. The operator vouches for the address: a known
    /// person becomes the owner and keeps their password.
    pub fn another(
        &self,
        tx: &mut Tx<'_>,
        password: Option<&HashedPassword>,
        now: Time,
    ) -> Result<(Org, Person)> {
        installation::set_up(tx, now)?;
        let known = crate::people::store::by_email(tx.conn, &self.owner.email)?;
        let owner = match (known, password) {
            (Some(person), _) if person.disabled_at.is_some() => {
                return Err(Error::invalid("email", "This person is disabled. Enable them first."));
            }
            (Some(person), _) => person,
            (None, Some(password)) => {
                methods::insert_person(tx, &self.owner, self.zone.as_deref(), password, now)?
            }
            (None, None) => {
                return Err(Error::invalid(
                    "password",
                    "No account has this e-mail address. Set a password for a new one.",
                ));
            }
        };
        self.found(tx, owner, SetupActor::CommandLine, now)
    }

    fn found(&self, tx: &mut Tx<'_>, owner: Person, by: SetupActor, now: Time) -> Result<(Org, Person)> {
        let org = store::insert(tx, &self.org, now)?;
        store::add_member(tx, org.id, owner.id, Role::Owner, now)?;
        let holder = match by {
            SetupActor::CommandLine => AccountHolder::command_line(owner.id, now),
            SetupActor::Link(source) => AccountHolder::just_proved(owner.id, source, now),
        };
        let event = Event::OrganizationCreated { name: org.name.clone(), owner: owner.id };
        log::append(tx, &holder.in_org(org.id), &org.id.to_string(), &event)?;
        Ok((org, owner))
    }
}
