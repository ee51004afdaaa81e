//! A log that is changed by someone with access to the database, but without the root secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keydesk::audit::tree::{self, Edge};
use serde_json::json;

use crate::support::{Answer, Desk, Org, Server, eventually};

pub const OLD: [u8; 32] = [1; 32];
pub const NEW: [u8; 32] = [2; 32];

/// The commands of the finding: no hash is computed.
pub const FORGET_HASHES: &str = "DELETE FROM audit_nodes; DELETE FROM audit_checkpoints;
    UPDATE audit_heads SET hashed = 0, edge = NULL, checked = 0, whole_at = NULL";

pub const EDIT: &str = "UPDATE audit_entries SET entry = REPLACE(entry, 'key-3', 'kez-3') WHERE position = 5";

/// Stands for hashing all entries again, among statements.
pub const HASH: &str = "hash";

const TABLES: [&str; 4] = ["audit_entries", "audit_nodes", "audit_checkpoints", "audit_heads"];

pub struct Place {
    pub desk: Desk,
    pub org: Org,
    /// The verifier key, as noted outside.
    pub key: String,
}

/// A log of eight entries that was checked, signed and registered.
pub fn place() -> (Place, Server) {
    let desk = Desk::new().with("KEYDESK_TICK", "1s").with("KEYDESK_SECRET", &STANDARD.encode(OLD));
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    fill(&org, 6);
    server.stop();
    // All of it is checked, and a checkpoint is kept, after each start.
    let server = desk.start();
    let place = Place { key: String::new(), desk, org };
    eventually("the log is checked", || place.count("audit_heads WHERE checked = 8") == 1);
    place.registered();
    let exported = place.desk.run(&["audit", "export", "--org", &place.org.slug]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let key = String::from_utf8(exported.stderr).unwrap().lines().nth(1).unwrap().to_owned();
    (Place { key, ..place }, server)
}

fn fill(org: &Org, keys: usize) {
    for number in 0..keys {
        let body = json!({"name": format!("key-{number}"), "scopes": ["inference:read"]});
        assert_eq!(org.admin.post("/v1/api-keys", &body).status, 201);
    }
}

impl Place {
    pub fn execute(&self, statements: &str) {
        self.desk.database.execute(statements);
    }

    pub fn count(&self, what: &str) -> i64 {
        self.desk.database.count(&format!("SELECT COUNT(*) AS count FROM {what}"))
    }

    /// Waits until the register holds all logs as they are.
    pub fn registered(&self) {
        let hex = |column: &str| match self.desk.database.is_postgres() {
            true => format!("encode({column}, 'hex')"),
            false => format!("lower(hex({column}))"),
        };
        eventually("the register is up to date", || {
            let register = format!("SELECT {} AS line FROM audit_register", hex("logs"));
            let register = hex::decode(&self.desk.database.lines(&register)[0]).unwrap();
            let known: Vec<String> = register
                .chunks(56)
                .map(|log| {
                    let size = u64::from_be_bytes(log[16..24].try_into().unwrap());
                    format!("{} {size}", hex::encode(&log[..16]))
                })
                .collect();
            let heads =
                format!("SELECT {} || ' ' || size AS line FROM audit_heads ORDER BY org_id", hex("org_id"));
            known == self.desk.database.lines(&heads)
        });
    }

    pub fn blob(&self, bytes: &[u8]) -> String {
        match self.desk.database.is_postgres() {
            true => format!("'\\x{}'::bytea", hex::encode(bytes)),
            false => format!("x'{}'", hex::encode(bytes)),
        }
    }

    pub fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self.desk.run(&[&["audit", "verify"], more].concat());
        let all = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(all).unwrap())
    }

    /// The tree of all entries, as anyone can compute it.
    pub fn hash_again(&self) {
        let texts = self.desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY position");
        let mut edge = Edge::default();
        let org = "(SELECT id FROM organizations LIMIT 1)";
        let mut sql = "DELETE FROM audit_nodes;".to_owned();
        for (position, text) in texts.iter().enumerate() {
            let leaf = tree::leaf(text.as_bytes());
            let hash = self.blob(&leaf);
            sql += &format!("UPDATE audit_entries SET leaf = {hash} WHERE position = {position};");
            edge.push(leaf, |level, place, hash| {
                let hash = self.blob(&hash);
                sql += &format!("INSERT INTO audit_nodes (org_id, level, place, hash) VALUES ({org}, {level}, {place}, {hash});");
            });
        }
        let (size, bytes) = (texts.len(), self.blob(&edge.bytes()));
        sql += &format!(
            "UPDATE audit_heads SET size = {size}, hashed = {size}, checked = {size}, edge = {bytes}"
        );
        self.execute(&sql);
    }
}

pub fn checkpoint(org: &Org, server: &Server) -> Answer {
    server.api(&org.admin.key).get("/v1/audit/checkpoint")
}

/// The log is found to be broken by the command, which changes nothing, and by the server, which
/// notifies, signs nothing, and goes on working.
pub fn is_found(what: &str, place: &Place, server: Option<Server>, first_bad: Option<u64>) -> Server {
    let state = || place.desk.database.state(&["sessions", "feed_readers"], &[]);
    if server.is_none() {
        let before = state();
        let (status, said) = place.verify(&["--key", &place.key]);
        assert_eq!(status, Some(1), "{what}: {said}");
        assert!(said.contains("first bad entry"), "{what}: {said}");
        if let Some(index) = first_bad {
            assert!(said.contains(&format!("first bad entry: {index} (")), "{what}: {said}");
        }
        assert_eq!(before, state(), "{what}: verifying changes nothing");
    }
    let server = server.unwrap_or_else(|| place.desk.start());
    eventually(&format!("{what}: the server finds it"), || {
        place.count("audit_heads WHERE alarmed_at IS NOT NULL") > 0
    });
    if let Some(index) = first_bad {
        let found = place
            .desk
            .database
            .count("SELECT broken_at AS count FROM audit_heads WHERE alarmed_at IS NOT NULL");
        assert_eq!(found, index.cast_signed(), "{what}");
    }
    server
}

/// Nothing is signed, and changes are still possible.
pub fn stays_unsigned(what: &str, place: &Place, server: &Server) {
    let refused = checkpoint(&place.org, server);
    assert_eq!(refused.status, 409, "{what}: {}", refused.body);
    assert!(refused.body.contains("broken at entry"), "{what}: {}", refused.body);
    let exported = place.desk.run(&["audit", "export", "--org", &place.org.slug]);
    assert_eq!(exported.status.code(), Some(1), "{what}");
    assert!(!String::from_utf8_lossy(&exported.stdout).contains("checkpoint"), "{what}");
    let api = server.api(&place.org.admin.key);
    let made = api.create(&json!({"name": "made-later", "scopes": ["inference:read"]}));
    let id = made["id"].as_str().unwrap();
    assert_eq!(api.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).status, 200, "{what}");
}

pub fn fill_one(org: &Org, server: &Server, name: &str) {
    server.api(&org.admin.key).create(&json!({"name": name, "scopes": ["inference:read"]}));
}

impl Place {
    pub fn tamper(&self, statements: &[&str]) {
        for statement in statements {
            match *statement {
                HASH => self.hash_again(),
                sql => self.execute(sql),
            }
        }
    }

    /// Copies the log of the organisation and the register aside.
    pub fn copy(&self) {
        for table in TABLES {
            let org = self.own();
            self.execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table} WHERE org_id = {org}"));
        }
        self.execute("CREATE TABLE old_register AS SELECT * FROM audit_register");
    }

    /// Puts the copy back.
    pub fn put_back(&self, with_register: bool) {
        let (mut sql, org) = (String::new(), self.own());
        for table in TABLES {
            sql += &format!("DELETE FROM {table} WHERE org_id = {org};");
            sql += &format!("INSERT INTO {table} SELECT * FROM old_{table};");
        }
        if with_register {
            sql += "DELETE FROM audit_register; INSERT INTO audit_register SELECT * FROM old_register;";
        }
        // A server that writes meanwhile finds one state or the other.
        self.execute(&if self.desk.database.is_postgres() {
            sql
        } else {
            format!("BEGIN IMMEDIATE; {sql} COMMIT")
        });
    }

    pub fn own(&self) -> String {
        format!("(SELECT id FROM organizations WHERE slug = '{}')", self.org.slug)
    }
}
