//! E-mails that would flood a mailbox: combined, limited per hour, sent over few connections.

use std::collections::BTreeMap;

use keydesk::db::Db;
use keydesk::id::{KeyId, OrgId};
use keydesk::mail::claim;
use keydesk::mail::delivery::{self, Progress};
use keydesk::mail::outbox::{self, NewMail};
use keydesk::mail::{KeyFacts, KeyRevoked, Recipient, Test, Why};
use keydesk::time::{HOUR, MINUTE, Time};
use serde_json::json;

use crate::support::mail::{Mail, MailServer};
use crate::support::{Desk, Org, Server, eventually};

/// A desk with an organisation whose first e-mail has been sent.
fn with_mail_server(mail: &MailServer) -> (Desk, Server, Org) {
    let desk = mail.at(Desk::new());
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    mail.wait_for("key_created", 1);
    (desk, server, org)
}

/// How often e-mails mention each key, by the number at the end of its name.
fn told(mails: &[Mail], numbers: std::ops::Range<usize>) -> BTreeMap<usize, usize> {
    let texts: Vec<String> = mails.iter().map(Mail::text).collect();
    let times = |number: usize| {
        let name = format!("\"batch-{number}\"");
        texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains(&name)).count()
    };
    numbers.map(|number| (number, times(number))).collect()
}

#[test]
fn many_new_keys_are_combined_into_few_mails() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    mail.does("busy");
    let api = server.api(&org.admin.key);
    for number in 10..50 {
        api.create(&json!({"name": format!("batch-{number}"), "scopes": ["inference:read"]}));
    }
    mail.does("accept");
    // Not after the pause that follows a try in vain.
    desk.database.change("UPDATE outbox SET due_at = 0 WHERE state = 'queued'");
    eventually("all were told", || {
        desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state <> 'sent'") == 0
    });
    let mails: Vec<Mail> = mail
        .mails()
        .into_iter()
        .filter(|mail| mail.mode == "accept" && mail.text().contains("batch-"))
        .collect();
    assert!(mails.len() < 20, "{} mails", mails.len());
    let times = told(&mails, 10..50);
    // An e-mail about one key names it in its heading and possibly again; a digest has a line for it.
    assert!(times.values().all(|times| *times > 0), "{times:?}");
    let digest = mails.iter().find(|mail| mail.event() == "digest").expect("a digest");
    assert!(digest.header("Subject").ends_with("API keys were created"), "{}", digest.header("Subject"));
    assert!(digest.text().contains("/keys/key_"), "{}", digest.text());
    let mut browser = server.signed_in(&org);
    let page = browser.get(&format!("/o/{}/mail", org.slug));
    assert!(page.body.contains("Combined with others in one e-mail"), "{}", page.body);
}

/// A database with an organisation and no e-mails, and the organisation.
fn still(desk: &Desk) -> (Db, OrgId) {
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    assert_eq!(server.stop(), Some(0));
    desk.database.execute("DELETE FROM outbox");
    let db = desk.database.open();
    let id = db.read_now(move |conn| keydesk::orgs::store::by_slug(conn, &org.slug)).unwrap().unwrap().id;
    (db, id)
}

fn to(org: OrgId, address: &str) -> Recipient {
    Recipient { org: Some(org), person: None, name: "Ada".to_owned(), address: address.to_owned() }
}

fn revoked(to: Recipient, number: i64, now: Time) -> NewMail {
    let key = KeyFacts {
        id: KeyId::new(now),
        name: format!("batch-{number}"),
        hint: "kd_…x9Ka".to_owned(),
        owner: "Ada".to_owned(),
        scopes: vec!["inference:read".to_owned()],
    };
    let letter = KeyRevoked { key, why: Why::Owner, by: "Grace".to_owned(), at: now, reason: None };
    NewMail::new(to, letter, now)
}

#[test]
fn address_gets_a_limited_number_of_mails_an_hour_and_misses_none() {
    let mail = MailServer::start();
    let desk = Desk::new();
    let (db, org) = still(&desk);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The pool of connections looks after itself there.
    let _inside = runtime.enter();
    let post = mail.post();
    let send = |now: Time| {
        while runtime.block_on(delivery::send_batch(&db, &post, [1; 16], now)).unwrap() == Progress::More {}
    };
    let begin = Time::from_seconds(1_800_000_000);
    let mut number = 0;
    for minute in 0..60 {
        let now = begin.plus(minute * MINUTE);
        let drafts =
            [100 + number, 101 + number].map(|number| revoked(to(org, "ada@example.com"), number, now));
        number += 2;
        db.write_now(|tx| outbox::queue_all(tx, &drafts, now)).unwrap();
        send(now);
    }
    let now = begin.plus(HOUR - 30);
    let other = [
        revoked(to(org, "grace@example.com"), 100, now),
        NewMail::new(to(org, "ada@example.com"), Test { asked_by: "Grace".to_owned() }, now),
    ];
    db.write_now(|tx| outbox::queue_all(tx, &other, now)).unwrap();
    let before = mail.mails().len();
    send(now);
    assert_eq!(mail.mails().len() - before, 2, "who has had few mails and what was asked for does not wait");
    let mails = mail.mails();
    assert!((30..=30 + 12 + 2).contains(&mails.len()), "{} mails in an hour", mails.len());
    send(begin.plus(HOUR + 5 * MINUTE));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state <> 'sent'"), 0);
    let to_ada: Vec<Mail> =
        mail.mails().into_iter().filter(|mail| mail.header("To").contains("ada@")).collect();
    let times = told(&to_ada, 100..220);
    assert!(times.values().all(|times| *times > 0), "{times:?}");
}

#[test]
fn mail_that_someone_is_waiting_for_is_sent_before_notices() {
    let desk = Desk::new();
    let (db, org) = still(&desk);
    let now = Time::from_seconds(1_800_000_000);
    let many = (100..150).map(|number| revoked(to(org, &format!("ada{number}@example.com")), number, now));
    let mut drafts: Vec<NewMail> = many.collect();
    let late = now.plus(1);
    drafts.push(NewMail::new(to(org, "grace@example.com"), Test { asked_by: "Grace".to_owned() }, late));
    db.write_now(|tx| outbox::queue_all(tx, &drafts, late)).unwrap();
    let claimed = db.write_now(|tx| claim::claim(tx, &[1; 16], 20, late)).unwrap();
    assert!(claimed.iter().any(|mail| mail.address == "grace@example.com"));
    assert_eq!(claimed.len(), 20);
}

#[test]
fn mail_dated_in_the_future_is_not_delayed() {
    let desk = Desk::new();
    let (db, org) = still(&desk);
    let now = Time::from_seconds(1_800_000_000);
    let draft = revoked(to(org, "ada@example.com"), 100, now);
    db.write_now(|tx| outbox::queue_all(tx, std::slice::from_ref(&draft), now.plus(3 * 86_400))).unwrap();
    assert_eq!(db.write_now(|tx| claim::claim(tx, &[1; 16], 20, now)).unwrap().len(), 1);
}

#[test]
fn connections_to_a_mail_server_are_limited() {
    let mail = MailServer::start();
    let desk = Desk::new();
    let (db, org) = still(&desk);
    mail.does("slow");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The pool of connections looks after itself there.
    let _inside = runtime.enter();
    let post = mail.post();
    let now = Time::from_seconds(1_800_000_000);
    let drafts: Vec<NewMail> =
        (100..160).map(|number| revoked(to(org, &format!("ada{number}@example.com")), number, now)).collect();
    db.write_now(|tx| outbox::queue_all(tx, &drafts, now)).unwrap();
    while runtime.block_on(delivery::send_batch(&db, &post, [1; 16], now)).unwrap() == Progress::More {}
    assert_eq!(mail.mails().len(), 60);
    // Four that send, and some that are still being closed.
    assert!((2..=8).contains(&mail.peak()), "{} connections", mail.peak());
}
