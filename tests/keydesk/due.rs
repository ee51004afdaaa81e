//! Notices as time passes: tests pass the time to the domain, on a database that servers use too.

use keydesk::db::Db;
use keydesk::error::Error;
use keydesk::mail::delivery::{self, Progress};
use keydesk::mail::mailer::Mailer;
use keydesk::notices::schedule::Steps;
use keydesk::notices::{bundle, sweep};
use keydesk::time::{DAY, HOUR, MINUTE, Time};
use serde_json::Value;

use crate::support::Desk;
use crate::support::mail::MailServer;

/// A desk whose server has stopped, with an organisation and one key to copy.
struct Still {
    desk: Desk,
    db: Db,
    steps: Steps,
}

const DAYS: [i64; 5] = [30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, DAY];

fn still(desk: Desk, steps: &[i64]) -> Still {
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    desk.key(&org.slug, "template", "inference:read");
    assert_eq!(server.stop(), Some(0));
    desk.database.execute("DELETE FROM outbox");
    let db = desk.database.open();
    Still { desk, db, steps: Steps::new(steps.to_vec()) }
}

impl Still {
    /// The bytes of a number's digits, which is an identifier as good as any.
    fn blob(&self, number: &str, width: usize) -> String {
        if self.desk.database.is_postgres() {
            format!("convert_to(lpad(CAST({number} AS TEXT), {width}, '0'), 'UTF8')")
        } else {
            format!("CAST(printf('%0{width}d', {number}) AS BLOB)")
        }
    }

    /// Copies the template into keys `from` to `to`, whose names end with their number.
    fn keys(&self, from: i64, to: i64, made: Time, ends: Time) {
        let (id, digest) = (self.blob("i", 16), self.blob("i", 32));
        let (made, ends) = (micros(made), micros(ends));
        let numbers =
            format!("WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
        let name = |column: &str| format!("{column} || '-' || CAST(i AS TEXT)");
        self.desk.database.execute(&format!(
            "{numbers} INSERT INTO api_keys (id, org_id, name, name_folded, live_name, description, scopes, owner_id,
                    created_by, created_at, expires_at, requests_per_minute, allowed_ips, self_rotate, secret_id, notice_at)
                SELECT {id}, org_id, {}, {}, {}, '', scopes, owner_id, created_by, {made}, {ends},
                    requests_per_minute, allowed_ips, self_rotate, {id}, {made}
                FROM n, api_keys WHERE name = 'template';
             {numbers} INSERT INTO key_secrets (id, org_id, key_id, digest, prefix, last4, sha256_prefix, created_at)
                SELECT {id}, s.org_id, {id}, {digest}, s.prefix, s.last4, s.sha256_prefix, {made}
                FROM n, key_secrets s JOIN api_keys k ON k.secret_id = s.id WHERE k.name = 'template';",
            name("name"),
            name("name_folded"),
            name("live_name"),
        ));
    }

    /// Gives the copied keys to this many members in turn.
    fn owners(&self, number: i64) {
        let numbers =
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})");
        let id = self.blob("i", 16);
        let address = "'owner' || CAST(i AS TEXT) || '@example.com'";
        self.desk.database.execute(&format!(
            "{numbers} INSERT INTO people (id, email, email_folded, name, created_at)
                SELECT {id}, {address}, {address}, 'Ada', 0 FROM n;
             {numbers} INSERT INTO members (org_id, person_id, role, joined_at)
                SELECT o.id, {id}, 'member', 0 FROM n, organizations o;
             {numbers} UPDATE api_keys SET owner_id = (SELECT {id} FROM n
                WHERE i = 1 + CAST(substr(name, 10) AS INTEGER) % {number}) WHERE name LIKE 'template-%'"
        ));
    }

    /// Writes every notice that is due then.
    fn look(&self, now: Time) -> bool {
        look(&self.db, &self.steps, now)
    }

    /// The e-mails of an event, in order.
    fn letters(&self, event: &str) -> Vec<Value> {
        let query =
            format!("SELECT message AS line FROM outbox WHERE event = '{event}' ORDER BY created_at, id");
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap()["letter"].clone();
        self.desk.database.lines(&query).iter().map(read).collect()
    }

    fn count(&self, query: &str) -> i64 {
        self.desk.database.count(&format!("SELECT COUNT(*) AS count FROM {query}"))
    }
}

fn micros(at: Time) -> i64 {
    at.seconds() * 1_000_000
}

/// Whether anything was due.
fn look(db: &Db, steps: &Steps, now: Time) -> bool {
    if db.read_now(sweep::next_at).unwrap().is_none_or(|at| at > now) {
        return false;
    }
    // If the database is too busy, the next tick tries again, as in a server.
    let more = |written: Result<usize, Error>| match written {
        Ok(number) => number > 0,
        Err(Error::Unavailable(_)) => false,
        Err(error) => panic!("{error:?}"),
    };
    while more(db.write_now(|tx| sweep::sweep(tx, steps, now))) {}
    while more(db.write_now(|tx| bundle::bundle(tx, now))) {}
    true
}

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

#[test]
fn unreadable_key_does_not_block_notices_of_others() {
    let still = still(Desk::new(), &DAYS);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 3, made, ends);
    let mut damage = vec![format!("backup_id = {}", still.blob("1", 3))];
    if !still.desk.database.is_postgres() {
        // Only SQLite takes bytes for text.
        damage.push("scopes = CAST(x'ff' AS TEXT)".to_owned());
    }
    for damage in damage {
        still.desk.database.execute("DELETE FROM outbox; DELETE FROM notices; DELETE FROM notice_readers");
        still.desk.database.execute(&format!("UPDATE api_keys SET notice_at = {}", micros(made)));
        still.desk.database.tamper(&format!("UPDATE api_keys SET {damage} WHERE name LIKE '%-2'"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let now = ends.plus(-DAY);
        let looked = runtime.block_on(sweep::sweep_readable(&still.db, &still.steps, now)).unwrap();
        assert!(looked >= 3, "{damage}: {looked}");
        assert_eq!(
            runtime.block_on(sweep::sweep_readable(&still.db, &still.steps, now)).unwrap(),
            0,
            "{damage}"
        );
        assert_eq!(still.count("notices"), 2, "{damage}");
    }
}

#[test]
fn each_step_is_sent_once_in_the_owners_morning_and_the_expiry_when_it_is_due() {
    let still = still(Desk::new(), &DAYS);
    still.desk.database.execute("UPDATE people SET zone = 'America/New_York'");
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 1, made, ends);
    // Every hour, by two processes.
    let other = still.desk.database.open();
    let mut told: Vec<(String, Time)> = Vec::new();
    let mut now = made;
    while now < ends.plus(2 * DAY) {
        if still.look(now) | look(&other, &still.steps, now) {
            let events = still.desk.database.lines("SELECT event AS line FROM outbox ORDER BY created_at");
            told.extend(events.into_iter().skip(told.len()).map(|event| (event, now)));
        }
        now = now.plus(HOUR);
    }
    let mut steps =
        still.letters("key_expiring").into_iter().map(|letter| letter["step"].as_i64().unwrap() / DAY);
    let told: Vec<(String, i64, String)> = told
        .into_iter()
        .map(|(event, at)| {
            let step = if event == "key_expiring" { steps.next().unwrap() } else { 0 };
            (event, step, at.rfc3339())
        })
        .collect();
    let expected = [
        // The key expires at 08:00 in New York, so the last 09:00 is on the day before.
        ("key_expiring", 30, "2027-03-01T14:00:00Z"),
        // Clocks go forward on 14 March: 9 o'clock is an hour earlier in UTC.
        ("key_expiring", 14, "2027-03-17T13:00:00Z"),
        ("key_expiring", 7, "2027-03-24T13:00:00Z"),
        ("key_expiring", 3, "2027-03-28T13:00:00Z"),
        ("key_expiring", 1, "2027-03-30T13:00:00Z"),
        ("key_expired", 0, "2027-04-01T12:00:00Z"),
    ];
    assert_eq!(told, expected.map(|(event, step, at)| (event.to_owned(), step, at.to_owned())));
}

#[test]
fn rotated_revoked_and_extended_keys_get_no_notices() {
    let still = still(Desk::new(), &DAYS);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 4, made, ends);
    let change = |statement: &str| still.desk.database.execute(statement);
    change("UPDATE api_keys SET revoked_at = 1, notice_at = NULL WHERE name = 'template-1'");
    // A new secret that expires with the key has its own steps.
    let (old, new) = (still.blob("2", 16), still.blob("902", 16));
    change(&format!(
        "INSERT INTO key_secrets (id, org_id, key_id, digest, prefix, last4, sha256_prefix, created_at)
            SELECT {new}, org_id, key_id, {}, prefix, last4, sha256_prefix, {} FROM key_secrets WHERE id = {old};
         UPDATE api_keys SET secret_id = {new} WHERE id = {old}",
        still.blob("902", 32),
        micros(ends.plus(-20 * DAY)),
    ));
    let moved = ends.plus(-8 * DAY);
    let mut now = made;
    while now < ends.plus(DAY) {
        if now == moved {
            change(&format!(
                "UPDATE api_keys SET expires_at = {}, end_set_at = {}, notice_at = 0 WHERE name = 'template-3'",
                micros(ends.plus(300 * DAY)),
                micros(now),
            ));
        }
        still.look(now);
        now = now.plus(6 * HOUR);
    }
    let mut steps = std::collections::BTreeMap::<String, Vec<i64>>::new();
    let single = still.letters("key_expiring").into_iter();
    let bundled =
        still.letters("digest").into_iter().flat_map(|digest| digest["keys"].as_array().unwrap().clone());
    for letter in single.chain(bundled) {
        let name = letter["key"]["name"].as_str().unwrap().to_owned();
        steps.entry(name).or_default().push(letter["step"].as_i64().unwrap() / DAY);
    }
    for steps in steps.values_mut() {
        steps.sort_unstable_by(|left, right| right.cmp(left));
    }
    assert_eq!(steps.get("template-1"), None);
    assert_eq!(steps["template-2"], [7, 3, 1]);
    assert_eq!(steps["template-3"], [30, 14]);
    assert_eq!(steps["template-4"], [30, 14, 7, 3, 1]);
    let expired: Vec<Value> = still.letters("key_expired");
    assert_eq!(expired.len(), 2);
}

#[test]
fn keys_of_one_day_share_one_mail_unless_the_recipient_wants_separate_ones() {
    let still = still(Desk::new(), &DAYS);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 70, made, ends);
    still.look(ends.plus(-14 * DAY));
    let digests = still.letters("digest");
    assert_eq!((digests.len(), still.letters("key_expiring").len()), (1, 0));
    assert_eq!((digests[0]["keys"].as_array().unwrap().len(), digests[0]["more"].as_i64()), (50, Some(20)));
    let owner =
        "INSERT INTO notice_preferences (person_id, muted, single) SELECT id, '604800', true FROM people";
    still.desk.database.execute(owner);
    // The step of 7 days is muted, the one of 3 days can't be.
    still.look(ends.plus(-7 * DAY));
    assert_eq!(still.count("outbox"), 1);
    still.look(ends.plus(-3 * DAY));
    assert_eq!((still.letters("digest").len(), still.letters("key_expiring").len()), (1, 70));
    assert!(still.letters("key_expiring").iter().all(|letter| letter["unseen"] == true));
    assert_eq!(still.count("notice_readers WHERE mail_id IS NULL"), 0);
}

#[test]
fn acknowledged_expiry_is_not_repeated_and_admins_get_the_last_notices() {
    let still = still(Desk::new(), &DAYS);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 2, made, ends);
    let admin = if still.desk.database.is_postgres() {
        "'\\x00000000000000000000000000000ada'::bytea"
    } else {
        "x'00000000000000000000000000000ada'"
    };
    still.desk.database.execute(&format!(
        "INSERT INTO people (id, email, email_folded, name, created_at) VALUES ({admin}, 'admin@example.com', 'admin@example.com', 'Grace', 0);
         INSERT INTO members (org_id, person_id, role, joined_at) SELECT id, {admin}, 'admin', 0 FROM organizations;
         INSERT INTO notice_seen (org_id, key_id, secret_id, ends_at, person_id, at)
            SELECT org_id, id, secret_id, expires_at, owner_id, 0 FROM api_keys WHERE name = 'template-1'"
    ));
    let readers = |step: i64| still.count(&format!("notice_readers WHERE step = {}", step * DAY));
    for days in [14, 7, 3] {
        still.look(ends.plus(-days * DAY));
    }
    assert_eq!((readers(14), readers(7), readers(3)), (2, 4, 4));
    let digests = still.letters("digest");
    let to_admin = |digest: &&serde_json::Value| digest["keys"][0]["why"] == "admin";
    let last = digests.iter().rfind(to_admin).unwrap()["keys"].as_array().unwrap();
    let unseen: Vec<bool> = last.iter().map(|line| line["unseen"].as_bool().unwrap()).collect();
    assert_eq!(unseen, [false, true]);
}

#[test]
fn key_still_used_a_day_after_its_expiry_is_reported_with_its_clients() {
    let still = still(Desk::new(), &DAYS);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-04-01T12:00:00Z"));
    still.keys(1, 2, made, ends);
    let (id, hour) = (still.blob("1", 16), micros(ends.plus(5 * HOUR)));
    let org = "(SELECT id FROM organizations)";
    still.desk.database.execute(&format!(
        "INSERT INTO usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens)
            VALUES ({org}, {id}, 3600, {hour}, {id}, 'inference:write', '', 'client_errors', 312, 0, 0);
         INSERT INTO usage_callers (org_id, key_id, secret_id, hour, address, program, requests, last_at)
            VALUES ({org}, {id}, {id}, {hour}, '10.2.0.4', 'curl', 300, {hour}), ({org}, {id}, {id}, {hour}, '10.2.0.9', 'curl', 12, {hour})"
    ));
    still.look(ends);
    still.look(ends.plus(DAY));
    still.look(ends.plus(2 * DAY));
    let letters = still.letters("key_expired_still_used");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0]["calls"].as_i64(), letters[0]["addresses"].as_i64()), (Some(312), Some(2)));
    assert_eq!(letters[0]["callers"], serde_json::json!(["10.2.0.4", "10.2.0.9"]));
    assert_eq!(still.letters("key_expired").len(), 2);
}

/// How many notices the outage holds up: more when it is measured.
fn many() -> i64 {
    std::env::var("KEYDESK_TEST_NOTICES").map_or(100, |number| number.parse().unwrap())
}

#[test]
fn outage_of_a_day_with_three_processes_loses_no_mail() {
    let mail = MailServer::start();
    let still = still(Desk::new(), &[12 * HOUR]);
    let (made, ends) = (at("2027-01-01T00:00:00Z"), at("2027-01-03T12:00:00Z"));
    let number = many();
    still.keys(1, number, made, ends);
    still.owners(number / 2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The pool of connections looks after itself there.
    let _inside = runtime.enter();
    let processes: Vec<(Db, Mailer, [u8; 16])> =
        (1..=3).map(|process| (still.desk.database.open(), mail.post(), [process; 16])).collect();
    let tick = |now: Time| {
        std::thread::scope(|scope| {
            for (db, post, worker) in &processes {
                let (runtime, steps) = (&runtime, &still.steps);
                scope.spawn(move || {
                    look(db, steps, now);
                    loop {
                        match runtime.block_on(delivery::send_batch(db, post, *worker, now)) {
                            Ok(Progress::More) => {}
                            Ok(_) | Err(Error::Unavailable(_)) => break,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
        });
    };
    let due = ends.plus(-12 * HOUR);
    for hour in 0..24 {
        mail.does(if hour == 5 { "drop" } else { "busy" });
        tick(due.plus(hour * HOUR));
    }
    mail.does("accept");
    for round in 0..200 {
        tick(due.plus(DAY + 60 + round * 15 * MINUTE));
        if still.count("outbox WHERE state = 'queued'") == 0 && still.count("outbox") > 0 {
            break;
        }
    }
    let given = mail.mails();
    let by_mode = |mode: &str| given.iter().filter(|mail| mail.mode == mode).count();
    let accepted: std::collections::HashSet<&str> =
        given.iter().filter(|mail| mail.mode == "accept").map(|mail| mail.id()).collect();
    let sent = still.count("outbox WHERE state = 'sent'");
    eprintln!(
        "{number} notices: {} accepted, {} dropped after the dot, {} refused for now",
        by_mode("accept"),
        by_mode("drop"),
        by_mode("busy")
    );
    let combined = still.count("outbox WHERE combined_in IS NOT NULL");
    assert_eq!(i64::try_from(accepted.len()).unwrap(), sent - combined);
    assert_eq!(still.count("outbox"), sent);
    assert_eq!(still.count("notices WHERE step = 43200"), number);
    assert_eq!(still.count("notices WHERE step = 0"), number);
    assert_eq!(by_mode("accept"), accepted.len(), "nothing that was accepted was sent again");
    assert!(by_mode("drop") > 0);
}
