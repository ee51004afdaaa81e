//! People of an organisation, and the e-mails that they get.

use keydesk::id::UserId;
use keydesk::time::Time;

use super::mail::{Mail, mails_in};
use super::{Desk, Org, eventually};

impl Desk {
    /// Adds a person with the usual password to an organisation, behind the server's back. "bo@example.com"
    /// is called Bo. Returns their id.
    pub fn add_member(&self, org: &Org, email: &str, role: &str) -> String {
        let id = self.add_person(email, &org.email, "NULL");
        self.join(org, email, role);
        id
    }

    /// Adds a service account for which the organisation's owner answers.
    pub fn add_service_account(&self, org: &Org, name: &str, role: &str) -> String {
        let of = format!("(SELECT id FROM organizations WHERE slug = '{}')", org.slug);
        let id = self.add_person(name, "", &of);
        self.join(org, name, role);
        self.database.execute(&format!(
            "INSERT INTO service_answerers (org_id, account_id, person_id) \
             SELECT {of}, a.id, p.id FROM people a, people p WHERE a.email = '{name}' AND p.email = '{}'",
            org.email
        ));
        id
    }

    /// Makes a member of someone known.
    pub fn join(&self, org: &Org, email: &str, role: &str) {
        self.database.execute(&format!(
            "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, '{role}', 1 \
             FROM organizations o, people p WHERE o.slug = '{}' AND p.email = '{email}'",
            org.slug
        ));
    }

    /// The id of someone known.
    pub fn id_of(&self, email: &str) -> String {
        let hex = if self.database.is_postgres() { "encode(id, 'hex')" } else { "lower(hex(id))" };
        let found = self.database.lines(&format!("SELECT {hex} AS line FROM people WHERE email = '{email}'"));
        typeid(&found[0])
    }

    fn add_person(&self, email: &str, password_of: &str, service_of: &str) -> String {
        let id = UserId::new(Time::now());
        let blob = |bytes: &[u8]| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if self.database.is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
        };
        let (key, name) = (blob(id.bytes()), email.split('@').next().unwrap());
        let name = name[..1].to_uppercase() + &name[1..];
        self.database.execute(&format!(
            "INSERT INTO people (id, email, email_folded, name, created_at, service_of) \
             VALUES ({key}, '{email}', '{}', '{name}', 1, {service_of})",
            email.to_lowercase()
        ));
        self.database.execute(&format!(
            "INSERT INTO sign_in_methods (id, person_id, kind, subject, credential, created_at, updated_at) \
             SELECT {key}, {key}, 'password', '{id}', m.credential, 1, 1 FROM sign_in_methods m \
             JOIN people p ON p.id = m.person_id WHERE p.email = '{password_of}'"
        ));
        id.to_string()
    }

    /// Waits for this many e-mails of an event in the mail directory; returns them all.
    pub fn wait_for_mails(&self, event: &str, number: usize) -> Vec<Mail> {
        let mut found = Vec::new();
        eventually(&format!("{number} mails of {event}"), || {
            found = mails_in(&self.data.path().join("mail"));
            found.retain(|mail| mail.event() == event);
            found.len() >= number
        });
        found
    }

    /// The path in the latest e-mail of an event to an address.
    pub fn mailed_path(&self, email: &str, event: &str, start: &str) -> String {
        let mut path = None;
        eventually(&format!("a mail of {event} to {email}"), || {
            let mails = self.wait_for_mails(event, 1);
            let mail = mails.iter().rfind(|mail| mail.header("To") == email);
            path = mail.and_then(|mail| {
                let text = mail.raw.replace("=\r\n", "");
                let found = &text[text.find(start)?..];
                let end = found.find(|letter: char| letter.is_whitespace() || letter == '"')?;
                Some(found[..end].to_owned())
            });
            path.is_some()
        });
        path.unwrap()
    }
}

/// The public form of a person's id out of the database's hexadecimal digits.
fn typeid(hex: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let value = u128::from_str_radix(hex, 16).unwrap();
    let digits = (0..26).rev().map(|place| ALPHABET[(value >> (5 * place) & 31) as usize] as char);
    format!("user_{}", digits.collect::<String>())
}
