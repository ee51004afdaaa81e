//! `keydesk key`: the portal's acts for scripts.

mod desk;

use clap::{Args, Subcommand};

use crate::api::object;
use crate::cli::key::desk::Desk;
use crate::cli::{Failure, print, print_once, store as open};
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::draft::{Expiry, RawDraft, check_reason};
use crate::keys::lifecycle;
use crate::keys::list::{self as listing, Filter};
use crate::keys::rotation::{self, parse_overlap};
use crate::keys::{Key, Status};
use crate::time::{Time, parse_span};

/// What to do with keys.
#[derive(Subcommand)]
pub enum Act {
    /// Create a key and print it alone on standard output
    Create(Box<Create>),
    /// List the keys of an organisation
    List {
        /// The organisation, by slug
        #[arg(long)]
        org: String,
        /// Only keys of this status
        #[arg(long)]
        status: Option<String>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one key
    Show(Named),
    /// Give a key a new secret and print it alone on standard output
    Rotate {
        /// Which
        #[command(flatten)]
        named: Named,
        /// For how long the old secret works beside the new one, 0s to 30d
        #[arg(long, default_value = "24h")]
        overlap: String,
    },
    /// End a key for good
    Revoke {
        /// Which
        #[command(flatten)]
        named: Named,
        /// Why, kept in the audit log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Set a key aside
    Disable(Named),
    /// Take a disabled key up again
    Enable(Named),
}

/// A new key.
#[derive(Args)]
pub struct Create {
    /// The organisation, by slug
    #[arg(long)]
    org: String,
    /// Its name
    #[arg(long)]
    name: String,
    /// What it may do; may be given several times or separated by commas
    #[arg(long = "scope", required = true, value_delimiter = ',', num_args = 1..)]
    scopes: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// How long it lives, such as 90d; for ever if left out and the organisation's policy allows it
    #[arg(long)]
    expires: Option<String>,
    /// Its owner, by id or e-mail address; the organisation's first owner if left out
    #[arg(long)]
    owner: Option<String>,
    /// Requests a minute
    #[arg(long)]
    requests_per_minute: Option<i64>,
}

/// A key by its id or its name.
#[derive(Args)]
pub struct Named {
    /// The organisation, by slug
    #[arg(long)]
    org: String,
    /// The key, by id or by the name of a living one
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Act {
    /// Carries it out.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Act::Create(create) => create.run(),
            Act::List { org, status, json } => list(org, status.as_deref(), *json),
            Act::Show(named) => {
                let desk = Desk::open(&named.org)?;
                show(&desk.find(&named.key)?, named.json, desk.now)
            }
            Act::Rotate { named, overlap } => rotate(named, overlap),
            Act::Revoke { named, reason } => {
                let reason = check_reason(reason).map_err(|error| Error::Invalid(vec![error]))?;
                change(named, |desk, id| {
                    Ok(desk.change(|tx, acting| lifecycle::revoke(tx, acting, id, reason.clone()))?)
                })
            }
            Act::Disable(named) => set_disabled(named, true),
            Act::Enable(named) => set_disabled(named, false),
        }
    }
}

impl Create {
    fn run(&self) -> Result<(), Failure> {
        let desk = Desk::open(&self.org)?;
        let expiry = match self.expires.as_deref() {
            None => Expiry::Never,
            Some(text) => match parse_span(text) {
                Some(seconds) => Expiry::At(desk.now.whole_second().plus(seconds)),
                None => {
                    return Err(Failure::Misused(format!(
                        "--expires {text:?}: write a span such as 90d, 12h or 30m."
                    )));
                }
            },
        };
        let draft = RawDraft {
            name: self.name.clone(),
            description: self.description.clone(),
            scopes: self.scopes.clone(),
            expiry: ("expires", expiry),
            owner: self.owner.clone(),
            backup: None,
            requests_per_minute: self.requests_per_minute,
            allowed_ips: Vec::new(),
            self_rotate: false,
        };
        let draft = draft.check(desk.now.whole_second()).map_err(Error::Invalid)?;
        let mint = desk.mint();
        let (key, secret) = desk.change(|tx, acting| lifecycle::create(tx, acting, &mint, &draft))?;
        eprintln!("Created {} ({}). This is the only time that the key is shown:", key.name, key.id);
        print_once(secret.expose(), &format!("Revoke {} and create another key.", key.id))
    }
}

fn list(org: &str, status: Option<&str>, json: bool) -> Result<(), Failure> {
    let unknown = || Failure::Misused("--status: use active, expiring, disabled, expired or revoked.".into());
    let status = status.map(|name| Status::parse(name).ok_or_else(unknown)).transpose()?;
    let desk = Desk::open(org)?;
    let filter = Filter { status, ..Filter::default() };
    let mut after = None;
    loop {
        let keys =
            desk.db.read_now(|conn| listing::list_after(conn, desk.org.id, &filter, after, 500, desk.now))?;
        for key in &keys {
            line(key, json, desk.now)?;
        }
        match keys.last() {
            Some(last) if keys.len() == 500 => after = Some(last.id),
            _ => return Ok(()),
        }
    }
}

fn rotate(named: &Named, overlap: &str) -> Result<(), Failure> {
    let overlap = parse_overlap(Some(overlap)).map_err(|_| {
        Failure::Misused(format!("--overlap {overlap:?}: write a span from 0s to 30d, such as 24h."))
    })?;
    let desk = Desk::open(&named.org)?;
    let mint = desk.mint();
    let id = desk.find(&named.key)?.id;
    let (key, secret) = desk.change(|tx, acting| rotation::rotate(tx, acting, &mint, id, overlap))?;
    let old = key.previous.as_ref().map(|old| old.ends_at.rfc3339()).unwrap_or_default();
    eprintln!(
        "Rotated {} ({}). The old secret works until {old}. This is the only time that the new one is shown:",
        key.name, key.id
    );
    let lost = format!(
        "The old secret works until {old}; before that, end its overlap and rotate {} again.",
        key.id
    );
    let printed = if named.json {
        let mut object = object::key(&key, desk.now);
        object["key"] = secret.expose().into();
        print_once(&object.to_string(), &lost)
    } else {
        print_once(secret.expose(), &lost)
    };
    // Printed first: nobody can have it again, whatever becomes of the wait.
    open::wait_until_noticed(&desk.db, &desk.config)?;
    printed
}

fn set_disabled(named: &Named, disabled: bool) -> Result<(), Failure> {
    change(named, |desk, id| {
        let mint = desk.mint();
        Ok(desk.change(|tx, acting| lifecycle::set_disabled(tx, acting, &mint, id, disabled))?)
    })
}

fn change(named: &Named, act: impl FnOnce(&Desk, KeyId) -> Result<Key, Failure>) -> Result<(), Failure> {
    let desk = Desk::open(&named.org)?;
    let key = act(&desk, desk.find(&named.key)?.id)?;
    open::wait_until_noticed(&desk.db, &desk.config)?;
    show(&key, named.json, desk.now)
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

fn line(key: &Key, json: bool, now: Time) -> Result<(), Failure> {
    if json {
        return print(&object::key(key, now).to_string());
    }
    let ends = key.expires_at.map_or_else(|| "never".to_owned(), Time::rfc3339);
    print(&format!(
        "{}\t{}\t{}\t{}\t{}\t{ends}",
        key.id,
        key.name,
        key.status(now).name(),
        key.fingerprint.hint,
        key.scopes.text()
    ))
}
