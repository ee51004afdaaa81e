//! Sending e-mails: through a real server or into a directory, each at least once.

use std::time::{Duration, Instant};

use crate::support::mail::{Mail, MailServer, mails_in};
use crate::support::{Desk, Org, Server, desk, eventually};

/// Sends the owner a test e-mail.
fn test_mail(server: &Server, org: &Org) {
    let sent = server.signed_in(org).post(&format!("/o/{}/mail/test", org.slug), &[]);
    assert_eq!(sent.status, 303, "{}", sent.body);
}

/// The number of the organisation's e-mails in a state.
fn in_state(desk: &Desk, state: &str) -> i64 {
    desk.database
        .count(&format!("SELECT COUNT(*) AS count FROM outbox WHERE state = '{state}' AND event = 'test'"))
}

/// A desk that sends its e-mails to the server, with an organisation.
fn with_mail_server(mail: &MailServer) -> (Desk, Server, Org) {
    let desk = mail.at(Desk::new());
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    // That of the organisation's first key.
    mail.wait_for("key_created", 1);
    eventually("it is marked as sent", || {
        desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state = 'sent'") == 1
    });
    (desk, server, org)
}

/// The test e-mails that the server received.
fn given(mail: &MailServer) -> Vec<Mail> {
    mail.mails().into_iter().filter(|mail| mail.event() == "test").collect()
}

#[test]
fn without_a_mail_server_mails_are_files_and_admins_see_a_notice() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/mail", org.slug);
    let page = browser.get(&path);
    assert!(page.text(".notice.warn").contains("No mail server is configured"), "{}", page.body);
    test_mail(&server, &org);
    let directory = desk.data.path().join("mail");
    eventually("the file", || mails_in(&directory).iter().any(|mail| mail.event() == "test"));
    let mails = mails_in(&directory);
    let mail = mails.iter().find(|mail| mail.event() == "test").unwrap();
    assert_eq!(mail.header("Subject"), "[Acme AI] Test e-mail");
    assert!(mail.header("To").contains(&org.email));
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.id().ends_with("@localhost>"), "{}", mail.id());
    assert!(mail.link("http").starts_with("http://localhost:"), "{}", mail.text());
    eventually("the page lists it", || {
        browser.get(&path).texts("tbody tr").iter().any(|row| row.contains("Test"))
    });
}

#[test]
fn only_permitted_roles_see_and_send_mails() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other");
    let mut stranger = server.signed_in(&other);
    assert_eq!(stranger.get(&format!("/o/{}/mail", org.slug)).status, 404);
    test_mail(&server, &org);
    let id = desk.database.lines("SELECT target AS line FROM audit_entries WHERE action = 'mail.tested'");
    let id = &id[0];
    // The same e-mail, requested in an organisation that it does not belong to.
    assert_eq!(stranger.post(&format!("/o/{}/mail/{id}/send", other.slug), &[]).status, 404);
    let mut owner = server.signed_in(&org);
    let again = format!("/o/{}/mail/{id}/send", org.slug);
    eventually("it is marked as sent", || in_state(&desk, "sent") == 1);
    assert_eq!(owner.post(&again, &[]).status, 409, "a minute apart");
    desk.database.execute("UPDATE outbox SET sent_at = 0");
    assert_eq!(owner.post(&again, &[]).status, 303);
    desk.database.execute("UPDATE outbox SET sent_at = 0, attempts = 10");
    assert_eq!(owner.post(&again, &[]).status, 409, "ten times in all");
    desk.database.execute("UPDATE outbox SET sent_at = 0, attempts = 1, event = 'invitation'");
    assert_eq!(owner.post(&again, &[]).status, 409, "invitations have rules of their own");
    desk.database.change("UPDATE members SET role = 'auditor'");
    assert_eq!(owner.get(&format!("/o/{}/mail", org.slug)).status, 200);
    assert_eq!(owner.post(&format!("/o/{}/mail/test", org.slug), &[]).status, 403);
    desk.database.change("UPDATE members SET role = 'member'");
    assert_eq!(owner.get(&format!("/o/{}/mail", org.slug)).status, 403);
}

#[test]
fn a_mail_reaches_its_server() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    test_mail(&server, &org);
    let arrived = mail.wait_for("test", 1);
    assert_eq!(arrived[0].header("From"), "Keydesk <keydesk@example.com>");
    assert_eq!(arrived[0].header("Subject"), "[Acme AI] Test e-mail");
    eventually("it is marked as sent", || in_state(&desk, "sent") == 1);
    assert!(!server.signed_in(&org).get(&format!("/o/{}/mail", org.slug)).body.contains("No mail server"));
}

#[test]
fn permanent_rejection_is_shown_with_the_servers_reply_and_can_be_sent_again() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    mail.does("refuse");
    test_mail(&server, &org);
    eventually("it has failed", || in_state(&desk, "failed") == 1);
    let mut browser = server.signed_in(&org);
    let page = browser.get(&format!("/o/{}/mail", org.slug));
    assert_eq!(page.text(".tabs a[aria-current]"), "Failed 1");
    assert!(page.text("tbody tr").contains("550 5.7.1 Not wanted here"), "{}", page.body);
    mail.does("accept");
    let again = page.attribute("tbody form", "action").unwrap();
    assert_eq!(browser.post(&again, &[]).status, 303);
    assert_eq!(mail.wait_for("test", 1)[0].id(), given(&mail)[0].id());
    eventually("it is marked as sent", || in_state(&desk, "sent") == 1);
}

#[test]
fn only_codes_are_stored_of_a_reply_to_a_mail_with_a_token() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    mail.does("quote");
    let mut browser = server.signed_in(&org);
    browser.post(&format!("/o/{}/members", org.slug), &[("email", "bob@example.com"), ("role", "owner")]);
    let failed = "SELECT COUNT(*) AS count FROM outbox WHERE state = 'failed'";
    eventually("it has failed", || desk.database.count(failed) == 1);
    let mails = mail.mails();
    let invitation = mails.iter().find(|mail| mail.header("X-Keydesk-Event") == "invitation").unwrap();
    let link = invitation.link("/invitations/");
    let token = link.rsplit('/').next().unwrap();
    let secret = token.rsplit('.').next().unwrap();
    let page = browser.get(&format!("/o/{}/mail", org.slug));
    assert!(page.text("tbody tr").contains("550 5.7.1"), "{}", page.body);
    assert!(!page.body.contains(&secret[..8]), "{}", page.body);
    let kept = desk.database.lines("SELECT last_error AS line FROM outbox WHERE last_error IS NOT NULL");
    assert!(kept.iter().all(|words| !words.contains(&secret[..8])), "{kept:?}");
    let log = server.whole_log();
    assert!(!log.contains(&secret[..8]), "{log}");
}

#[test]
fn temporary_rejection_is_retried() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    for mode in ["later", "busy", "drop"] {
        mail.does(mode);
        test_mail(&server, &org);
        eventually("it waits", || {
            desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state = 'queued' AND attempts = 1 AND claimed_by IS NULL") == 1
        });
        mail.does("accept");
        desk.database.execute("UPDATE outbox SET due_at = 0 WHERE state = 'queued'");
        eventually("it is marked as sent", || in_state(&desk, "queued") == 0);
        let given = given(&mail);
        let [.., first, second] = given.as_slice() else { panic!("{given:?}") };
        // No one can know whether a server accepted an e-mail before it fell silent.
        assert_eq!((first.mode.as_str(), second.mode.as_str()), (mode, "accept"));
        assert_eq!(first.id(), second.id());
        assert_eq!(first.header("Date"), second.header("Date"));
    }
    assert_eq!(given(&mail).len(), 6);
}

#[test]
fn a_certificate_of_another_host_is_not_trusted() {
    let right = MailServer::with_certificate_for("localhost");
    let wrong = MailServer::with_certificate_for("mail.example.org");
    let refused = wrong.at_by_tls(Desk::new());
    let server = refused.start();
    let org = refused.set_up(&server, "Acme AI");
    test_mail(&server, &org);
    let mut browser = server.signed_in(&org);
    eventually("the reason is told", || {
        let page = browser.get(&format!("/o/{}/mail?state=queued", org.slug));
        page.texts("tbody tr").concat().contains("certificate")
    });
    assert!(wrong.mails().is_empty());
    let trusted = right.at_by_tls(Desk::new());
    let server = trusted.start();
    let org = trusted.set_up(&server, "Acme AI");
    test_mail(&server, &org);
    right.wait_for("test", 1);
}

#[test]
fn hanging_mail_server_delays_neither_responses_nor_the_stop_and_loses_nothing() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    mail.does("hang");
    test_mail(&server, &org);
    eventually("it was given", || given(&mail).len() == 1);
    // Counts are still written, every second.
    org.admin.get("/v1/api-keys");
    let counted =
        "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM all_usage_counts WHERE width = 3600";
    eventually("counts are written", || desk.database.count(counted) > 0);
    let asked = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(15), "stopped after {:?}", asked.elapsed());
    mail.does("accept");
    let _server = desk.start();
    assert_eq!(mail.wait_for("test", 1)[0].id(), given(&mail)[0].id());
}

#[test]
fn unreadable_mail_does_not_block_others() {
    let (desk, server, org) = desk();
    let id = if desk.database.is_postgres() {
        "'\\x0198aaaaaaaa7000800000000000000b'::bytea"
    } else {
        "x'0198aaaaaaaa7000800000000000000b'"
    };
    desk.database.execute(&format!(
        "INSERT INTO outbox (id, org_id, name, address, event, message, state, attempts, due_at, created_at)
            SELECT {id}, id, 'Ada', 'ada@example.com', 'from_tomorrow', '{{}}', 'queued', 0, 0, 0 FROM organizations"
    ));
    // Rows that Keydesk can't have written itself.
    let foreign = if desk.database.is_postgres() { "'\\x01'::bytea" } else { "x'01'" };
    desk.database.execute(&format!(
        "INSERT INTO outbox (id, org_id, name, address, event, message, state, attempts, due_at, created_at)
            SELECT {foreign}, id, 'Ada', 'ada@example.com', 'foreign', '{{}}', 'queued', 0, 0, 0 FROM organizations"
    ));
    if !desk.database.is_postgres() {
        // Only SQLite takes bytes for text.
        desk.database.execute(
            "INSERT INTO outbox (id, org_id, name, address, event, message, state, attempts, due_at, created_at)
                SELECT x'0198aaaaaaaa7000800000000000000c', id, CAST(x'ff' AS TEXT), 'ada@example.com', 'foreign',
                    '{}', 'queued', 0, 0, 0 FROM organizations",
        );
    }
    test_mail(&server, &org);
    eventually("the other is sent", || in_state(&desk, "sent") == 1);
    let left = "SELECT COUNT(*) AS count FROM outbox WHERE state <> 'failed' AND event = 'foreign'";
    assert_eq!(desk.database.count(left), 0);
    let failed = "SELECT COUNT(*) AS count FROM outbox WHERE state = 'failed' AND event = 'from_tomorrow'";
    assert_eq!(desk.database.count(failed), 1);
}

#[test]
fn mail_claimed_by_a_killed_process_is_sent_by_another_once_the_claim_expires() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    test_mail(&server, &org);
    eventually("it is sent", || in_state(&desk, "sent") == 1);
    let other = if desk.database.is_postgres() {
        "'\\x00112233445566778899aabbccddeeff'::bytea"
    } else {
        "x'00112233445566778899aabbccddeeff'"
    };
    let second = 1_000_000_i64;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let lease = now + 3 * second;
    desk.database.execute(&format!(
        "UPDATE outbox SET state = 'queued', sent_at = NULL, claimed_by = {other}, lease_until = {lease} WHERE event = 'test'"
    ));
    eventually("it is sent again", || in_state(&desk, "sent") == 1);
    let sent = "SELECT sent_at AS count FROM outbox WHERE event = 'test'";
    assert!(desk.database.count(sent) >= lease, "not while another may be sending it");
}

#[test]
fn expired_claim_is_taken_over_before_the_next_tick() {
    let desk = Desk::new().with("KEYDESK_TICK", "1h");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    test_mail(&server, &org);
    eventually("it is sent", || in_state(&desk, "sent") == 1);
    let lease = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap() + 3_000_000;
    desk.database.execute(&format!(
        "UPDATE outbox SET state = 'queued', sent_at = NULL, claimed_by = id, lease_until = {lease} WHERE event = 'test'"
    ));
    // The server checks again, finds it claimed, and returns when the claim has expired.
    test_mail(&server, &org);
    eventually("both are sent", || in_state(&desk, "sent") == 2);
}

#[test]
fn mail_whose_success_could_not_be_recorded_is_sent_again() {
    let mail = MailServer::start();
    let (desk, server, org) = with_mail_server(&mail);
    let (forbid, allow) = if desk.database.is_postgres() {
        (
            "ALTER TABLE outbox ADD CONSTRAINT full_disk CHECK (state <> 'sent') NOT VALID",
            "ALTER TABLE outbox DROP CONSTRAINT full_disk",
        )
    } else {
        (
            "CREATE TRIGGER full_disk BEFORE UPDATE ON outbox WHEN NEW.state = 'sent'
                BEGIN SELECT RAISE(ABORT, 'full'); END",
            "DROP TRIGGER full_disk",
        )
    };
    desk.database.execute(forbid);
    test_mail(&server, &org);
    eventually("it was given twice", || given(&mail).len() >= 2);
    desk.database.execute(allow);
    eventually("it is marked as sent", || in_state(&desk, "sent") == 1);
    assert!(given(&mail).iter().all(|copy| copy.id() == given(&mail)[0].id()));
}
