//! `keydesk setup`.

use std::io::Read;

use clap::Args;
use secrecy::SecretString;

use crate::audit::event::Actor;
use crate::cli::{Failure, print, store};
use crate::error::Error;
use crate::orgs::setup::SetUp;
use crate::people::password;
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
    #[arg(long, required = true)]
    password_stdin: bool,
    /// Add an organisation although one exists
    #[arg(long)]
    another: bool,
}

impl Setup {
    /// Carries it out.
    pub fn run(&self) -> Result<(), Failure> {
        let password = read_password()?;
        let set_up = SetUp::parse(&self.org, &self.name, &self.email, &password).map_err(Error::Invalid)?;
        let (db, _) = store::open(&store::config()?)?;
        let hashed = password::hash_now(&password)?;
        let now = Time::now();
        let (org, _) =
            db.write_now(|tx| set_up.run(tx, &hashed, Some(Actor::CommandLine), self.another, now))?;
        print(&org.slug);
        Ok(())
    }
}

/// The password on standard input, without the line break at its end.
pub fn read_password() -> Result<SecretString, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4096).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::Misused(format!("the password can't be read from standard input: {error}"))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}
