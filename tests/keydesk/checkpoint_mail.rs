//! Checkpoints by e-mail, sent to an external address that has confirmed.

use keydesk::db::{Db, Location};
use keydesk::orgs::checkpoint_mail;
use keydesk::time::{DAY, HOUR, Time};
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::json;

use crate::fresh_sign_in::grow_stale;
use crate::support::mail::Mail;
use crate::support::{Browser, Desk, Org, Page, Server, eventually, text};

const WITNESS: &str = "witness@outside.example";

/// A desk whose ticker looks each second.
fn quick() -> (Desk, Server, Org) {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

fn settings(org: &Org) -> String {
    format!("/o/{}/settings/checkpoints", org.slug)
}

fn ask(browser: &mut Browser, org: &Org, email: &str) -> Page {
    browser.post(&settings(org), &[("email", email)])
}

/// Waits for an e-mail of an event to an address whose subject contains these words.
fn mail(desk: &Desk, event: &str, to: &str, words: &str) -> Mail {
    let mut found = None;
    eventually(&format!("a mail of {event} to {to}: {words}"), || {
        let mails = desk.wait_for_mails(event, 1);
        let is_it = |mail: &Mail| mail.header("To") == to && mail.header("Subject").contains(words);
        found = mails.into_iter().find(is_it);
        found.is_some()
    });
    found.unwrap()
}

const FIRST: &str = "The first checkpoint of the audit log";

fn checkpoint(desk: &Desk, to: &str, words: &str) -> Mail {
    mail(desk, "audit_checkpoint", to, words)
}

/// The tokens of the questions to an address.
fn tokens(desk: &Desk, to: &str) -> Vec<String> {
    mail(desk, "audit_confirmation", to, "");
    let mails = desk.wait_for_mails("audit_confirmation", 1).into_iter();
    let links = mails.filter(|mail| mail.header("To") == to).map(|mail| mail.link("/checkpoints?"));
    links.map(|link| link.split_once("token=").unwrap().1.to_owned()).collect()
}

/// The token of the only question to an address.
fn token(desk: &Desk, to: &str) -> String {
    let tokens = tokens(desk, to);
    assert_eq!(tokens.len(), 1);
    tokens[0].clone()
}

fn confirm(server: &Server, token: &str) -> u16 {
    server.browser().post("/checkpoints", &[("token", token)]).status
}

/// The attached file: its name and its text.
fn file(mail: &Mail) -> (String, String) {
    let parsed = MessageParser::default().parse(mail.raw.as_bytes()).unwrap();
    let file = parsed.attachments().next().unwrap();
    (file.attachment_name().unwrap().to_owned(), String::from_utf8(file.contents().to_vec()).unwrap())
}

fn size(mail: &Mail) -> u64 {
    file(mail).1.lines().nth(1).unwrap().parse().unwrap()
}

fn actions(desk: &Desk) -> Vec<String> {
    desk.database
        .lines("SELECT action AS line FROM audit_entries WHERE action LIKE 'audit.%' ORDER BY position")
}

fn age(desk: &Desk, seconds: i64) {
    desk.database.execute(&format!("UPDATE checkpoint_mail SET sent_at = sent_at - {seconds}000000"));
}

#[test]
fn address_gets_checkpoints_once_its_recipient_has_confirmed() {
    let (desk, server, org) = quick();
    let mut owner = server.signed_in(&org);
    assert_eq!(ask(&mut owner, &org, WITNESS).header("location"), Some(settings(&org).as_str()));
    let page = owner.get(&settings(&org));
    assert!(page.text("main .notice.info").contains(WITNESS), "{}", page.body);
    let token = token(&desk, WITNESS);
    // Link scanners open links, which must change nothing.
    let link = format!("/checkpoints?token={token}");
    for _ in 0..3 {
        let page = server.browser().get(&link);
        assert_eq!((page.status, page.text("form button").as_str()), (200, "Confirm this address"));
        assert!(page.text("main").contains("Acme AI") && page.text("main").contains(WITNESS));
    }
    assert_eq!(actions(&desk), ["audit.address_asked"]);
    assert_eq!((confirm(&server, &token), confirm(&server, &token)), (200, 403));
    assert_eq!(actions(&desk), ["audit.address_asked", "audit.address_confirmed"]);
    let first = checkpoint(&desk, WITNESS, FIRST);
    let (name, note) = file(&first);
    assert_eq!(name, format!("checkpoint-{}-{}.txt", org.slug, size(&first)));
    assert!(first.text().replace("\r\n", "\n").contains(&note), "{}", first.text());
    // Both the attachment and the text of the e-mail verify the log.
    let kept = desk.data.path().join("kept");
    for copy in [note.clone(), note.replace('\n', "\r\n")] {
        std::fs::write(&kept, copy).unwrap();
        let checked = text(&desk.run(&["audit", "verify", "--checkpoint", kept.to_str().unwrap()]));
        assert!(checked.contains("the checkpoint from outside confirms"), "{checked}");
    }
    let export = desk.data.path().join("log.jsonl");
    let exported = desk.run(&["audit", "export", "--org", &org.slug, export.to_str().unwrap()]);
    assert_eq!(exported.status.code(), Some(0));
    let forged = std::fs::read_to_string(&export).unwrap().replace("admin-key", "addin-key");
    std::fs::write(&export, forged).unwrap();
    let arguments =
        ["audit", "verify", "--export", export.to_str().unwrap(), "--checkpoint", kept.to_str().unwrap()];
    assert_eq!(desk.run(&arguments).status.code(), Some(1));
    let page = owner.get(&settings(&org));
    assert!(page.text("dl.facts").contains(WITNESS), "{}", page.body);
    // The log records it without the address, which may be personal.
    let told = owner.get(&format!("/o/{}/audit?kind=audit", org.slug)).texts("table.audit td:nth-child(2)");
    assert_eq!(
        told,
        [
            "Keydesk started sending checkpoints to an external e-mail address, which was confirmed",
            "Ada Lovelace asked an external e-mail address to confirm that it receives checkpoints",
        ]
    );
    let entries = desk.database.lines("SELECT entry AS line FROM audit_entries");
    assert!(!entries.iter().any(|entry| entry.contains(WITNESS)));
}

#[test]
fn checkpoint_of_a_growing_log_is_sent_daily_and_of_an_idle_one_weekly() {
    let (desk, server, org) = quick();
    ask(&mut server.signed_in(&org), &org, WITNESS);
    assert_eq!(confirm(&server, &token(&desk, WITNESS)), 200);
    let first = size(&checkpoint(&desk, WITNESS, FIRST));
    let location = match desk.database.url.strip_prefix("sqlite:") {
        Some(path) => Location::Sqlite(path.into()),
        None => Location::Postgres(desk.database.url.clone()),
    };
    let db = Db::open(&location).unwrap();
    let due =
        |after: i64| db.read_now(|conn| checkpoint_mail::due(conn, Time::now().plus(after))).unwrap().len();
    assert_eq!((due(DAY + HOUR), due(7 * DAY - HOUR), due(7 * DAY + HOUR)), (0, 0, 1), "a silent log");
    org.admin.create(&json!({"name": "grown", "scopes": ["inference:read"]}));
    assert_eq!((due(DAY - HOUR), due(DAY + HOUR)), (0, 1), "a growing log");
    age(&desk, DAY);
    let second = checkpoint(&desk, WITNESS, &format!("The audit log has {} entries", first + 1));
    assert_eq!(size(&second), first + 1);
    assert_eq!((due(DAY + HOUR), due(7 * DAY + HOUR)), (0, 1));
}

#[test]
fn broken_log_is_reported_at_once() {
    let (desk, server, org) = quick();
    ask(&mut server.signed_in(&org), &org, WITNESS);
    assert_eq!(confirm(&server, &token(&desk, WITNESS)), 200);
    checkpoint(&desk, WITNESS, FIRST);
    desk.database.execute(
        "UPDATE audit_entries SET entry = REPLACE(entry, 'admin-key', 'addin-key') WHERE position = 1;
         UPDATE audit_heads SET whole_at = 1",
    );
    let told = checkpoint(&desk, WITNESS, "The audit log is broken at entry 2");
    assert!(told.text().contains("changed the log without Keydesk"), "{}", told.text());
    // Nothing is signed, so there is nothing to attach. Admins are notified too.
    assert_eq!(MessageParser::default().parse(told.raw.as_bytes()).unwrap().attachment_count(), 0);
    let alarm = desk.wait_for_mails("audit_checkpoint", 3);
    let alarm = alarm.iter().find(|mail| mail.header("To").contains(&org.email)).unwrap();
    assert!(alarm.text().contains("because you are an admin"), "{}", alarm.text());
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM checkpoint_mail WHERE sent_broken"), 1);
}

#[test]
fn previous_address_is_notified_of_its_replacement_or_removal() {
    let (desk, server, org) = quick();
    let mut owner = server.signed_in(&org);
    ask(&mut owner, &org, WITNESS);
    assert_eq!(confirm(&server, &token(&desk, WITNESS)), 200);
    let other = "auditor@outside.example";
    assert_eq!(ask(&mut owner, &org, other).status, 303);
    // Until the new one agrees, they go where they went before.
    assert!(owner.get(&settings(&org)).text("dl.facts").contains(WITNESS));
    assert_eq!(confirm(&server, &token(&desk, other)), 200);
    let last = checkpoint(&desk, WITNESS, "Checkpoints now go to another address");
    assert_eq!(size(&last), size(&checkpoint(&desk, other, FIRST)));
    let end = format!("{}/end", settings(&org));
    assert_eq!(owner.post(&end, &[]).status, 303);
    checkpoint(&desk, other, "Checkpoints are no longer sent");
    assert!(!owner.get(&settings(&org)).body.contains(other));
    assert_eq!(owner.post(&end, &[]).status, 303);
    let ended = ["audit.address_confirmed", "audit.address_ended"];
    assert!(actions(&desk).ends_with(&ended.map(str::to_owned)), "{:?}", actions(&desk));
}

#[test]
fn only_admins_with_a_fresh_sign_in_choose_the_address() {
    let (desk, server, org) = quick();
    for (role, read, write) in [("member", 403, 403), ("auditor", 200, 403), ("admin", 200, 303)] {
        let email = format!("{role}@example.com");
        desk.add_member(&org, &email, role);
        let mut browser = server.signed_in_as(&email);
        assert_eq!(browser.get(&settings(&org)).status, read, "{role}");
        assert_eq!(ask(&mut browser, &org, WITNESS).status, write, "{role}");
        assert_eq!(browser.post(&format!("{}/end", settings(&org)), &[]).status, write, "{role}");
    }
    let other = desk.set_up(&server, "Other Org");
    assert_eq!(ask(&mut server.signed_in(&other), &org, WITNESS).status, 404);
    let mut owner = server.signed_in(&org);
    grow_stale(&desk);
    for path in [settings(&org), format!("{}/end", settings(&org))] {
        let asked = owner.post(&path, &[("email", WITNESS)]);
        assert_eq!((asked.status, asked.text("h1").as_str()), (403, "Confirm your identity"), "{path}");
    }
    assert_eq!(actions(&desk), ["audit.address_asked", "audit.address_ended"]);
}

#[test]
fn invalid_addresses_and_used_links_are_refused() {
    let (desk, server, org) = quick();
    let mut owner = server.signed_in(&org);
    for wrong in ["", "nobody", "a@b@c", "two@example.com, three@example.com", "x@exa mple.com"] {
        let page = ask(&mut owner, &org, wrong);
        assert_eq!((page.status, page.texts("#email-error").len()), (422, 1), "{wrong}");
        assert!(page.text("title").starts_with("Error: "));
    }
    assert_eq!(ask(&mut owner, &org, WITNESS).status, 303);
    let first = token(&desk, WITNESS);
    // The link has only this purpose, and a newer request invalidates the older one.
    assert_eq!(server.browser().post("/verify-email", &[("token", &first)]).status, 403);
    assert_eq!(ask(&mut owner, &org, WITNESS).status, 303);
    let mut second = None;
    eventually("the second question arrives", || {
        second = tokens(&desk, WITNESS).into_iter().find(|token| *token != first);
        second.is_some()
    });
    let second = second.unwrap();
    assert_eq!((confirm(&server, &first), confirm(&server, "x"), confirm(&server, "")), (403, 403, 403));
    assert_eq!(server.browser().get(&format!("/checkpoints?token={first}")).status, 403);
    assert_eq!(confirm(&server, &second), 200);
    let same = ask(&mut owner, &org, &WITNESS.to_uppercase());
    assert!(same.text("#email-error").contains("already"), "{}", same.body);
    // Nor is a request valid whose admin has lost the right.
    assert_eq!(ask(&mut owner, &org, "fourth@outside.example").status, 303);
    let fourth = token(&desk, "fourth@outside.example");
    desk.database.execute("UPDATE members SET role = 'member'");
    assert_eq!(confirm(&server, &fourth), 403);
    desk.database.execute("UPDATE members SET role = 'owner'");
    // A cancelled request can't be confirmed any more.
    assert_eq!(ask(&mut owner, &org, "third@outside.example").status, 303);
    let third = token(&desk, "third@outside.example");
    assert_eq!(owner.post(&format!("{}/end", settings(&org)), &[]).status, 303);
    assert_eq!(confirm(&server, &third), 403);
    let statuses: Vec<u16> = (0..3).map(|_| ask(&mut owner, &org, WITNESS).status).collect();
    assert_eq!(statuses, [303, 422, 422], "no mailbox is flooded");
}
