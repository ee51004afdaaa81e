//! `keydesk key`: manages keys from scripts.

mod command;
mod rotate;

use clap::{Args, Subcommand};

use crate::api::object;
use crate::cli::key::command::KeyCommand;
use crate::cli::open;
use crate::cli::output::{Failure, note, print, print_secret, require_output};
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::input::{Expiry, NewKeyInput, check_reason};
use crate::keys::lifecycle;
use crate::keys::list::{self as listing, Filter};
use crate::keys::settings::{SettingsInput, for_each_key_setting};
use crate::keys::{Key, Status};
use crate::time::{Time, parse_span};

/// The actions of `keydesk key`.
#[derive(Subcommand)]
pub enum Action {
    /// Create a key and print only its secret to standard output
    Create(Box<Create>),
    /// List the keys of an organisation
    List {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// Only keys of this status
        #[arg(long)]
        status: Option<String>,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show one key
    Show(Target),
    /// Rotate a key and print only the new secret to standard output
    Rotate {
        #[command(flatten)]
        target: Target,
        /// How long the old secret keeps working, 0s to 30d
        #[arg(long, default_value = "24h")]
        overlap: String,
    },
    /// Revoke a key for good
    Revoke {
        #[command(flatten)]
        target: Target,
        /// The reason, recorded in the audit log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Disable a key until it is enabled again
    Disable(Target),
    /// Enable a disabled key
    Enable(Target),
}

/// The arguments of `keydesk key create`.
#[derive(Args)]
pub struct Create {
    /// The organisation, by slug
    #[arg(long)]
    org: String,
    /// The key's name
    #[arg(long)]
    name: String,
    /// A scope; repeat the flag or separate scopes by commas
    #[arg(long = "scope", required = true, value_delimiter = ',', num_args = 1..)]
    scopes: Vec<String>,
    /// The key's purpose
    #[arg(long, default_value = "")]
    description: String,
    /// Lifetime, such as 90d; without it the key never expires, if the organisation's policy allows that
    #[arg(long)]
    expires: Option<String>,
    /// The key's owner, by id or e-mail address [default: the organisation's first owner]
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

macro_rules! define_args {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: [$($value:tt)+] from [$($input:tt)+], $check:expr, schema($($limits:tt)*);
    )+) => {
        /// Settings of a new key.
        #[derive(Args)]
        struct SettingsArgs {
            $( $(#[doc = $doc])+ #[arg(long)] $name: Option<$($input)+>, )+
        }

        impl SettingsArgs {
            fn input(&self) -> SettingsInput {
                SettingsInput { $( $name: self.$name.clone(), )+ }
            }
        }
    };
}
for_each_key_setting!(define_args);

/// The key that an action applies to.
#[derive(Args)]
pub struct Target {
    /// The organisation, by slug
    #[arg(long)]
    org: String,
    /// The key, by id or name; names of expired and revoked keys are not found
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Action {
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Action::Create(create) => create.run(),
            Action::List { org, status, json } => list(org, status.as_deref(), *json),
            Action::Show(target) => {
                let command = KeyCommand::open(&target.org)?;
                show(&command.find(&target.key)?, target.json, command.now)
            }
            Action::Rotate { target, overlap } => rotate::run(target, overlap),
            Action::Revoke { target, reason } => {
                let reason = check_reason(reason).map_err(|error| Error::Invalid(vec![error]))?;
                change(target, |command, id| {
                    Ok(command.change(|tx, acting| lifecycle::revoke(tx, acting, id, reason.clone()))?)
                })
            }
            Action::Disable(target) => set_disabled(target, true),
            Action::Enable(target) => set_disabled(target, false),
        }
    }
}

impl Create {
    fn run(&self) -> Result<(), Failure> {
        let command = KeyCommand::open(&self.org)?;
        let expiry = match self.expires.as_deref() {
            None => Expiry::Never,
            Some(text) => match parse_span(text) {
                Some(seconds) => Expiry::At(command.now.whole_second().plus(seconds)),
                None => {
                    return Err(Failure::Usage(format!(
                        "--expires is {text:?}. Use a duration such as 90d, 12h or 30m."
                    )));
                }
            },
        };
        let input = NewKeyInput {
            name: self.name.clone(),
            description: self.description.clone(),
            scopes: self.scopes.clone(),
            expiry: ("expires", expiry),
            owner: self.owner.clone(),
            backup: None,
            settings: self.settings.input(),
        };
        let new = input.check(command.now.whole_second()).map_err(Error::Invalid)?;
        let defaults = command.defaults();
        require_output()?;
        let (key, secret) = command.change(|tx, acting| lifecycle::create(tx, acting, &defaults, &new))?;
        note(format_args!("Created {} ({}). Its secret is shown only this once:", key.name, key.id));
        print_secret(secret.expose()).map_err(|error| revoke_unprinted(&command, &key, &error))
    }
}

/// Revokes a key whose secret nobody has received.
fn revoke_unprinted(command: &KeyCommand, key: &Key, error: &std::io::Error) -> Failure {
    let reason = Some("Its secret could not be printed.".to_owned());
    let revoked = command.change(|tx, acting| lifecycle::revoke(tx, acting, key.id, reason.clone()));
    let done = match revoked {
        Ok(_) => format!("Revoked {}. Create another key.", key.id),
        Err(failure) => format!("Revoke {}: revoking it failed, too. {failure}", key.id),
    };
    Failure::Refused(format!("the secret can't be printed ({error}) and is lost. {done}"))
}

fn list(org: &str, status: Option<&str>, json: bool) -> Result<(), Failure> {
    let unknown =
        || Failure::Usage("--status is unknown. Use active, expiring, disabled, expired or revoked.".into());
    let status = status.map(|name| Status::parse(name).ok_or_else(unknown)).transpose()?;
    let command = KeyCommand::open(org)?;
    let filter = Filter { status, ..Filter::default() };
    let mut after = None;
    loop {
        let keys = command
            .db
            .read_now(|conn| listing::list_after(conn, command.org.id, &filter, after, 500, command.now))?;
        for key in &keys {
            print_line(key, json, command.now)?;
        }
        match keys.last() {
            Some(last) if keys.len() == 500 => after = Some(last.id),
            _ => return Ok(()),
        }
    }
}

fn set_disabled(target: &Target, disabled: bool) -> Result<(), Failure> {
    change(target, |command, id| {
        let defaults = command.defaults();
        Ok(command.change(|tx, acting| lifecycle::set_disabled(tx, acting, &defaults, id, disabled))?)
    })
}

fn change(
    target: &Target,
    action: impl FnOnce(&KeyCommand, KeyId) -> Result<Key, Failure>,
) -> Result<(), Failure> {
    let command = KeyCommand::open(&target.org)?;
    let key = action(&command, command.find(&target.key)?.id)?;
    open::wait_for_servers(&command.db, &command.config)?;
    show(&key, target.json, command.now)
}

fn show(key: &Key, json: bool, now: Time) -> Result<(), Failure> {
    let value = object::key(key, now);
    if json {
        return print(&value.to_string());
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print(&format!("{name:20} {value}"))?;
    }
    Ok(())
}

fn print_line(key: &Key, json: bool, now: Time) -> Result<(), Failure> {
    if json {
        return print(&object::key(key, now).to_string());
    }
    let expiry = key.expires_at.map_or_else(|| "never".to_owned(), Time::rfc3339);
    print(&format!(
        "{}\t{}\t{}\t{}\t{}\t{expiry}",
        key.id,
        key.name,
        key.status(now).name(),
        key.fingerprint.hint,
        key.scopes.text()
    ))
}
