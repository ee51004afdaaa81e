//! What every `keydesk key` command works with.

use std::sync::Arc;

use crate::authority::{Acting, Change, RequestSource};
use crate::cli::open;
use crate::cli::output::Failure;
use crate::config::Config;
use crate::crypto::Keyring;
use crate::db::{Conn, Db, Tx};
use crate::error::Result;
use crate::id::KeyId;
use crate::keys::lifecycle::KeyDefaults;
use crate::keys::{Key, store};
use crate::notices::schedule::Steps;
use crate::orgs;
use crate::orgs::principal::CommandLine;
use crate::orgs::store::Org;
use crate::time::Time;

/// An open database with the organisation that the command applies to.
pub(super) struct KeyCommand {
    pub(super) config: Config,
    pub(super) db: Db,
    pub(super) keyring: Keyring,
    pub(super) org: Org,
    /// The time at which the command started.
    pub(super) now: Time,
}

impl KeyCommand {
    /// Opens the database and finds the organisation by its slug.
    pub(super) fn open(org: &str) -> Result<KeyCommand, Failure> {
        let config = open::config()?;
        let (db, keyring) = open::database(&config)?;
        let found = db.read_now(|conn| orgs::store::by_slug(conn, org))?;
        let org = found.ok_or_else(|| {
            Failure::Refused(format!(
                "there is no organisation {org:?}. `keydesk user list` lists organisations."
            ))
        })?;
        Ok(KeyCommand { config, db, keyring, org, now: Time::now() })
    }

    /// The defaults of new keys.
    pub(super) fn defaults(&self) -> KeyDefaults {
        KeyDefaults {
            keyring: self.keyring.clone(),
            prefix: self.config.options.key_prefix.clone(),
            notices: Steps::new(self.config.options.notices.clone()),
            default_rpm: self.config.options.default_rpm,
            // The credentials that a catalogue names are those of the server, not of a command.
            catalogue: Arc::default(),
        }
    }

    /// Commits a change on behalf of the operator.
    pub(super) fn change<T>(&self, work: impl FnMut(&mut Tx<'_>, &Acting) -> Result<T>) -> Result<T> {
        let org = self.org.id;
        Change::new(CommandLine { org }, org, RequestSource::default(), self.now).commit_now(&self.db, work)
    }

    /// Finds a key by id, or by name if it is neither expired nor revoked.
    pub(super) fn find(&self, id_or_name: &str) -> Result<Key, Failure> {
        let key = self.db.read_now(|conn| find(conn, &self.org, id_or_name, self.now))?;
        key.ok_or_else(|| {
            Failure::Refused(format!(
                "{} has no key {id_or_name:?}. `keydesk key list --org {}` lists its keys.",
                self.org.name, self.org.slug
            ))
        })
    }
}

fn find(conn: &mut Conn, org: &Org, id_or_name: &str, now: Time) -> Result<Option<Key>> {
    if let Some(id) = KeyId::parse(id_or_name) {
        return store::find(conn, org.id, id);
    }
    store::by_living_name(conn, org.id, id_or_name, now)
}
