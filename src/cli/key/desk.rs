//! What commands about keys work with.

use crate::authority::{Acting, Change, RequestSource};
use crate::cli::{Failure, store as open};
use crate::config::Config;
use crate::crypto::Keyring;
use crate::db::{Conn, Db, Tx};
use crate::error::Result;
use crate::id::KeyId;
use crate::keys::lifecycle::Mint;
use crate::keys::{Key, store};
use crate::notices::schedule::Steps;
use crate::orgs;
use crate::orgs::principal::CommandLine;
use crate::orgs::store::Org;
use crate::time::Time;

/// An open database with the organisation that a command is about.
pub(super) struct Desk {
    /// What it was set up with.
    pub(super) config: Config,
    /// The database.
    pub(super) db: Db,
    /// The server's secrets.
    pub(super) keyring: Keyring,
    /// The organisation.
    pub(super) org: Org,
    /// When the command began.
    pub(super) now: Time,
}

impl Desk {
    /// Opens it for the organisation of that slug.
    pub(super) fn open(org: &str) -> Result<Desk, Failure> {
        let config = open::config()?;
        let (db, keyring) = open::open(&config)?;
        let found = db.read_now(|conn| orgs::store::by_slug(conn, org))?;
        let org = found.ok_or_else(|| {
            Failure::Refused(format!("there is no organisation {org:?}. `keydesk user list` shows them."))
        })?;
        Ok(Desk { config, db, keyring, org, now: Time::now() })
    }

    /// What keys are made with.
    pub(super) fn mint(&self) -> Mint {
        Mint {
            keyring: self.keyring.clone(),
            prefix: self.config.key_prefix.clone(),
            notices: Steps::new(self.config.notices.clone()),
            default_rpm: self.config.default_rpm,
        }
    }

    /// Carries out a change that the operator asks for.
    pub(super) fn change<T>(&self, work: impl FnMut(&mut Tx<'_>, &Acting) -> Result<T>) -> Result<T> {
        let org = self.org.id;
        Change::new(CommandLine { org }, org, RequestSource::default(), self.now).commit_now(&self.db, work)
    }

    /// The key of that id, or the living one of that name.
    pub(super) fn find(&self, which: &str) -> Result<Key, Failure> {
        let key = self.db.read_now(|conn| find(conn, &self.org, which, self.now))?;
        key.ok_or_else(|| {
            Failure::Refused(format!(
                "{} has no key {which:?}. `keydesk key list --org {}` shows them.",
                self.org.name, self.org.slug
            ))
        })
    }
}

fn find(conn: &mut Conn, org: &Org, which: &str, now: Time) -> Result<Option<Key>> {
    if let Some(id) = KeyId::parse(which) {
        return store::find(conn, org.id, id);
    }
    store::by_living_name(conn, org.id, which, now)
}
