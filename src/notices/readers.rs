//! Who is told about a key: its owner, its backup, and the admins when it gets close.

use std::collections::HashMap;

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
    known: HashMap<UserId, Vec<Person>>,
    admins: Option<Vec<Person>>,
}

impl Readers {
    /// Of this organisation.
    pub fn of(org: OrgId) -> Readers {
        Readers { org, known: HashMap::new(), admins: None }
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
        let mut add = |people: &[Person], why: &dyn Fn(&Person) -> Why| {
            for person in people {
                if readers.iter().all(|known| known.person.id != person.id) {
                    readers.push(Reader { person: person.clone(), why: why(person) });
                }
            }
        };
        add(self.told_for(conn, owner)?, &|person| {
            if person.id == owner { Why::Owner } else { Why::Answerer }
        });
        if let Some(backup) = backup {
            add(self.told_for(conn, backup)?, &|_| Why::Backup);
        }
        if with_admins {
            add(self.admins(conn)?, &|_| Why::Admin);
        }
        Ok(readers)
    }

    fn told_for(&mut self, conn: &mut Conn, member: UserId) -> Result<&[Person]> {
        if !self.known.contains_key(&member) {
            self.known.insert(member, store::recipients(conn, self.org, member)?);
        }
        Ok(self.known.get(&member).map_or(&[], Vec::as_slice))
    }

    fn admins(&mut self, conn: &mut Conn) -> Result<&[Person]> {
        if self.admins.is_none() {
            let members = store::members_of(conn, self.org)?.into_iter();
            let managing = members.filter(|member| {
                member.is_active() && !member.is_service() && member.role.manages_all_keys()
            });
            self.admins = Some(managing.map(|member| member.person).collect());
        }
        Ok(self.admins.as_deref().unwrap_or(&[]))
    }
}
