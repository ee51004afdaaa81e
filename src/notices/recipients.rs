//! The recipients of notices about a key: its owner, its backup, and admins when the expiry is close.

use std::collections::{BTreeSet, HashMap};

use crate::db::Conn;
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::mail::Why;
use crate::orgs::store;
use crate::people::store::Person;

/// A recipient, with the reason.
#[derive(Clone)]
pub struct NoticeRecipient {
    pub person: Person,
    pub why: Why,
}

/// The recipients of an organisation's notices, each looked up once.
pub struct RecipientCache {
    org: OrgId,
    known: HashMap<UserId, Vec<NoticeRecipient>>,
    admins: Option<Vec<NoticeRecipient>>,
}

impl RecipientCache {
    /// An empty cache for an organisation.
    pub fn of(org: OrgId) -> RecipientCache {
        RecipientCache { org, known: HashMap::new(), admins: None }
    }

    /// Looks up these members in one query; others are looked up one by one.
    pub fn preload(&mut self, conn: &mut Conn, members: impl IntoIterator<Item = UserId>) -> Result<()> {
        let members: BTreeSet<UserId> = members.into_iter().collect();
        for member in store::some_members(conn, self.org, members)? {
            if member.is_active() && !member.is_service() {
                let reader = NoticeRecipient { person: member.person, why: Why::Owner };
                self.known.insert(reader.person.id, vec![reader]);
            }
        }
        Ok(())
    }

    /// The recipients of a key's notices, without duplicates.
    pub fn of_key(
        &mut self,
        conn: &mut Conn,
        owner: UserId,
        backup: Option<UserId>,
        with_admins: bool,
    ) -> Result<Vec<NoticeRecipient>> {
        let mut readers: Vec<NoticeRecipient> = Vec::new();
        let mut add = |found: &[NoticeRecipient], as_backup: bool| {
            for reader in found {
                if readers.iter().all(|known| known.person.id != reader.person.id) {
                    let why = if as_backup { reader.why.of_backup() } else { reader.why };
                    readers.push(NoticeRecipient { person: reader.person.clone(), why });
                }
            }
        };
        add(self.recipients_of(conn, owner)?, false);
        if let Some(backup) = backup {
            add(self.recipients_of(conn, backup)?, true);
        }
        if with_admins {
            add(self.admins(conn)?, false);
        }
        Ok(readers)
    }

    fn recipients_of(&mut self, conn: &mut Conn, member: UserId) -> Result<&[NoticeRecipient]> {
        if !self.known.contains_key(&member) {
            let found = store::recipients(conn, self.org, member)?.into_iter();
            self.known.insert(member, found.map(|(person, why)| NoticeRecipient { person, why }).collect());
        }
        Ok(self.known.get(&member).map_or(&[], Vec::as_slice))
    }

    fn admins(&mut self, conn: &mut Conn) -> Result<&[NoticeRecipient]> {
        if self.admins.is_none() {
            let managers = store::key_managers(conn, self.org)?.into_iter();
            self.admins = Some(managers.map(|person| NoticeRecipient { person, why: Why::Admin }).collect());
        }
        Ok(self.admins.as_deref().unwrap_or(&[]))
    }
}
