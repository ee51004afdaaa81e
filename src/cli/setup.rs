//! `keydesk setup`.

use std::io::Read;

use clap::Args;
use secrecy::SecretString;

use crate::cli::open;
use crate::cli::output::{Failure, note, print};
use crate::email;
use crate::error::Error;
use crate::orgs::setup::{OrgSetup, SetupActor};
use crate::people::password::NewPassword;
use crate::people::{self, password};
use crate::time::Time;

/// Sets up an organisation with its first owner and prints its slug.
#[derive(Args)]
pub struct Setup {
    /// Name of the organisation
    #[arg(long)]
    org: String,
    /// Name of its first owner
    #[arg(long)]
    name: String,
    /// The owner's e-mail address
    #[arg(long)]
    email: String,
    /// Read the owner's password from standard input
    #[arg(long, required_unless_present = "another")]
    password_stdin: bool,
    /// Add another organisation; if a person has this address already, they keep their name and password
    #[arg(long)]
    another: bool,
}

impl Setup {
    pub fn run(&self) -> Result<(), Failure> {
        let password = if self.password_stdin { Some(read_password()?) } else { None };
        let (db, _) = open::database(&open::config()?)?;
        let known = self.another && db.read_now(|conn| people::store::by_email(conn, &self.email))?.is_some();
        let password = password.filter(|_| !known);
        let set_up = OrgSetup::parse(&self.org, &self.name, &self.email);
        let context = [self.org.as_str(), &self.name, &self.email];
        let checked =
            password.map(|password| NewPassword::check_now("password", password, &context)).transpose();
        let (set_up, password) = match (set_up, checked) {
            (Ok(set_up), Ok(password)) => (set_up, password),
            (set_up, password) => {
                let errors = set_up.err().into_iter().flatten().chain(password.err());
                return Err(Error::Invalid(errors.collect()).into());
            }
        };
        let hashed = password.as_ref().map(password::hash_now).transpose()?;
        let now = Time::now();
        let (org, _) = db.write_now(|tx| match &hashed {
            Some(hashed) if !self.another => set_up.first(tx, hashed, SetupActor::CommandLine, now),
            hashed => set_up.another(tx, hashed.as_ref(), now),
        })?;
        if known {
            note(format_args!(
                "{} already has an account and keeps their name and password.",
                email::shown(self.email.trim())
            ));
        }
        print(&org.slug)
    }
}

/// Reads a password from standard input, without the line break at its end.
pub fn read_password() -> Result<SecretString, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4096).read_to_string(&mut text);
    read.map_err(|error| Failure::Usage(format!("the password can't be read from standard input: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}
