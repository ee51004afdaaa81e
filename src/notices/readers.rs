//! Who is told about a key: its owner, its backup, and the admins when it gets close.

use std::collections::{BTreeSet, HashMap};

use crate::db::Conn;
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::mail::Why;
use crate::orgs::store;
use crate::people::store::Person;

/// Someone who is told, and why.
#[derive(Clone)]
pub struct Reader {
    /// Who.
    pub person: Person,
    /// Why.
    pub why: Why,
}

/// The readers of an organisation's notices, each looked up once.
pub struct Readers {
    org: OrgId,
    known: HashMap<UserId, Vec<Reader>>,
    admins: Option<Vec<Reader>>,
}

impl Readers {
    /// Of this organisation.
    pub fn of(org: OrgId) -> Readers {
        Readers { org, known: HashMap::new(), admins: None }
    }

    /// Looks up these members at once; the others are looked up one by one.
    pub fn learn(&mut self, conn: &mut Conn, members: impl IntoIterator<Item = UserId>) -> Result<()> {
        let members: BTreeSet<UserId> = members.into_iter().collect();
        for member in store::some_members(conn, self.org, members)? {
            if member.is_active() && !member.is_service() {
                let reader = Reader { person: member.person, why: Why::Owner };
                self.known.insert(reader.person.id, vec![reader]);
            }
        }
        Ok(())
    }

    /// Who is told about a key, each once.
    pub fn of_key(
        &mut self,
        conn: &mut Conn,
        owner: UserId,
        backup: Option<UserId>,
        with_admins: bool,
    ) -> Result<Vec<Reader>> {
        let mut readers: Vec<Reader> = Vec::new();
        let mut add = |told: &[Reader], as_backup: bool| {
            for reader in told {
                if readers.iter().all(|known| known.person.id != reader.person.id) {
                    let why = if as_backup { reader.why.of_backup() } else { reader.why };
                    readers.push(Reader { person: reader.person.clone(), why });
                }
            }
        };
        add(self.told_for(conn, owner)?, false);
        if let Some(backup) = backup {
            add(self.told_for(conn, backup)?, true);
        }
        if with_admins {
            add(self.admins(conn)?, false);
        }
        Ok(readers)
    }

    fn told_for(&mut self, conn: &mut Conn, member: UserId) -> Result<&[Reader]> {
        if !self.known.contains_key(&member) {
            let told = store::recipients(conn, self.org, member)?.into_iter();
            self.known.insert(member, told.map(|(person, why)| Reader { person, why }).collect());
        }
        Ok(self.known.get(&member).map_or(&[], Vec::as_slice))
    }

    fn admins(&mut self, conn: &mut Conn) -> Result<&[Reader]> {
        if self.admins.is_none() {
            let managers = store::key_managers(conn, self.org)?.into_iter();
            self.admins = Some(managers.map(|person| Reader { person, why: Why::Admin }).collect());
        }
        Ok(self.admins.as_deref().unwrap_or(&[]))
    }
}
