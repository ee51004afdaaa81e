//! Addresses that can't be delivered to: refused where they are typed, and no burden for other e-mails.

use crate::support::mail::MailServer;
use crate::support::{Desk, Org, Page, Server, desk, eventually};

fn invite(server: &Server, org: &Org, email: &str) -> Page {
    let path = format!("/o/{}/members", org.slug);
    server.signed_in(org).post(&path, &[("email", email), ("role", "member")])
}

#[test]
fn an_address_that_no_server_takes_is_refused_where_it_is_typed() {
    let (desk, server, org) = desk();
    let long = format!("{}@example.com", "a".repeat(65));
    let label = format!("a@{}.com", "b".repeat(64));
    for email in [
        "a..b@docomo.ne.jp",
        ".a@x.com",
        "a.@x.com",
        "bob@example..com",
        "bob@192.0.2.1",
        "bob@[192.0.2.1]",
        "\"bob\"@example.com",
        "b\u{200d}ob@example.com",
        "bob@",
        "bob",
        &long,
        &label,
    ] {
        let page = invite(&server, &org, email);
        assert_eq!((page.status, page.texts("#email-error").len()), (422, 1), "{email}");
        let mut owner = server.signed_in(&org);
        let page =
            owner.post("/account/email", &[("email", email), ("confirm_password", crate::support::PASSWORD)]);
        assert_eq!(page.status, 422, "{email}");
        let arguments =
            ["setup", "--another", "--org", "X", "--name", "Bob", "--email", email, "--password-stdin"];
        let refused = desk.run_with_input(&arguments, crate::support::PASSWORD);
        assert_eq!(refused.status.code(), Some(1), "{email}");
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE event = 'invitation'"), 0);
    assert_eq!(invite(&server, &org, "bob@bücher.example").status, 303);
}

#[test]
fn a_sender_that_most_servers_refuse_is_refused_at_the_start() {
    for from in ["müller@example.com", "a..b@example.com", "Keydesk <x@192.0.2.1>"] {
        let output = Desk::new().with("KEYDESK_MAIL_FROM", from).run(&["user", "list"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{from}: {said}");
        assert!(said.contains("KEYDESK_MAIL_FROM"), "{said}");
    }
    let mail = MailServer::start();
    let desk = mail.at(Desk::new()).with("KEYDESK_MAIL_FROM", "Keydesk <keys@bücher.example>");
    let server = desk.start();
    desk.set_up(&server, "Acme AI");
    assert_eq!(mail.wait_for("key_created", 1)[0].header("From"), "Keydesk <keys@xn--bcher-kva.example>");
}

/// Queues all invitations again and sends one more, so that they are in one batch.
fn send_all_again(desk: &Desk, server: &Server, org: &Org) {
    desk.database.execute(
        "UPDATE outbox SET state = 'queued', due_at = 0, attempts = 0, last_error = NULL, sent_at = NULL \
         WHERE event = 'invitation'",
    );
    assert_eq!(invite(server, org, "last@example.com").status, 303);
}

#[test]
fn an_address_that_needs_smtputf8_fails_at_once_and_delays_no_other() {
    let mail = MailServer::without_smtputf8();
    // With the next tick out of reach, an e-mail that is not sent at once is not sent at all.
    let desk = mail.at(Desk::new()).with("KEYDESK_TICK", "1h");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    for number in 0..12 {
        assert_eq!(invite(&server, &org, &format!("müller{number}@example.com")).status, 303);
    }
    for number in 0..5 {
        assert_eq!(invite(&server, &org, &format!("bob{number}@bücher.example")).status, 303);
    }
    let arrived = mail.wait_for("invitation", 5);
    assert!(arrived.iter().all(|mail| mail.header("To").contains("@xn--bcher-kva.example")));
    let failed = || {
        desk.database.count(
            "SELECT COUNT(*) AS count FROM outbox WHERE state = 'failed' AND attempts = 1 \
             AND last_error LIKE '%SMTPUTF8%Use another address.'",
        )
    };
    eventually("the others have failed", || failed() == 12);
    send_all_again(&desk, &server, &org);
    mail.wait_for("invitation", 5 + 6);
    eventually("the others have failed again", || failed() == 12);
    let log = server.signed_in(&org).get(&format!("/o/{}/mail", org.slug));
    assert_eq!(log.text(".tabs a[aria-current]"), "Failed 12");
    let rows = log.texts("tbody tr");
    assert!(rows.iter().all(|row| row.contains("Use another address.")), "{rows:?}");
}

#[test]
fn an_address_outside_ascii_is_delivered_by_a_server_with_smtputf8() {
    let mail = MailServer::start();
    let desk = mail.at(Desk::new());
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    assert_eq!(invite(&server, &org, "müller@bücher.example").status, 303);
    let arrived = mail.wait_for("invitation", 1);
    assert!(arrived[0].header("To").contains("müller@xn--bcher-kva.example"), "{}", arrived[0].raw);
}

#[test]
fn a_recipient_that_the_server_refuses_fails_alone() {
    let mail = MailServer::start();
    let desk = mail.at(Desk::new()).with("KEYDESK_TICK", "1h");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let in_state = |state: &str, code: &str| {
        desk.database.count(&format!(
            "SELECT COUNT(*) AS count FROM outbox WHERE state = '{state}' AND attempts = 1 AND last_error LIKE '%{code}%'"
        ))
    };
    for number in 0..6 {
        for name in ["unknown", "relayed"] {
            assert_eq!(invite(&server, &org, &format!("{name}{number}@example.com")).status, 303);
        }
    }
    assert_eq!(invite(&server, &org, "bob@example.com").status, 303);
    mail.wait_for("invitation", 1);
    eventually("the first attempts", || {
        in_state("failed", "550 5.1.1") + in_state("queued", "454 4.7.1") == 12
    });
    send_all_again(&desk, &server, &org);
    let arrived = mail.wait_for("invitation", 3);
    assert!(
        arrived.iter().all(|mail| mail.header("To").contains("bob@") || mail.header("To").contains("last@"))
    );
    eventually("the others", || (in_state("failed", "550 5.1.1"), in_state("queued", "454 4.7.1")) == (6, 6));
}

#[test]
fn one_click_is_offered_only_over_https() {
    for (url, offered) in [("https://keys.example.com", true), ("http://localhost:8080", false)] {
        let desk = Desk::new()
            .with("KEYDESK_PUBLIC_URL", url)
            .with("KEYDESK_NOTICES", "14d")
            .with("KEYDESK_TICK", "1s");
        let server = desk.start();
        let org = desk.set_up(&server, "Acme AI");
        let body = serde_json::json!({"name": "batch", "scopes": ["inference:read"], "expires_in_days": 40});
        org.admin.create(&body);
        // 27 days pass.
        let days = "- 27 * 86400000000";
        desk.database.change(&format!(
            "UPDATE key_secrets SET created_at = created_at {days};
             UPDATE api_keys SET created_at = created_at {days}, expires_at = expires_at {days},
                expiring_at = expiring_at {days}, notice_at = notice_at {days} WHERE expires_at IS NOT NULL"
        ));
        let mut mails = Vec::new();
        eventually("the notice", || {
            mails = crate::support::mail::mails_in(&desk.data.path().join("mail"));
            mails.retain(|mail| mail.event() == "key_expiring");
            mails.len() == 1
        });
        let has = |name: &str| mails[0].headers.iter().any(|(header, _)| header == name);
        assert_eq!((has("List-Unsubscribe"), has("List-Unsubscribe-Post")), (true, offered), "{url}");
    }
}
