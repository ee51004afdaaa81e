//! Notices about a key's expiry: recipients, times, and each only once.

use serde_json::json;

use crate::support::mail::{Mail, MailServer, mails_in};
use crate::support::{Desk, Org, Server, desk, eventually};

/// Creates a key that expires in some seconds.
fn ending(org: &Org, name: &str, seconds: i64) -> (String, String) {
    let at = keydesk::time::Time::now().whole_second().plus(seconds + 1);
    let key =
        org.admin.create(&json!({"name": name, "scopes": ["inference:read"], "expires_at": at.rfc3339()}));
    (key["id"].as_str().unwrap().to_owned(), key["key"].as_str().unwrap().to_owned())
}

fn about<'a>(mails: &'a [Mail], key: &str, event: &str) -> Vec<&'a Mail> {
    mails.iter().filter(|mail| mail.header("X-Keydesk-Key") == key && mail.event() == event).collect()
}

#[test]
fn each_notice_arrives_once_and_none_for_revoked_or_extended_keys() {
    let mail = MailServer::start();
    let desk = mail.at(Desk::new()).with("KEYDESK_NOTICES", "8s,4s").with("KEYDESK_TICK", "30s");
    // Two processes look for the same notices.
    let servers = [desk.start(), desk.start()];
    let org = desk.set_up(&servers[0], "Acme AI");
    let (kept, secret) = ending(&org, "prod-batch", 18);
    let (revoked, _) = ending(&org, "revoked", 18);
    let (extended, _) = ending(&org, "extended", 18);
    let changed =
        org.admin.patch(&format!("/v1/api-keys/{extended}"), &json!({"expires_at": "2031-01-01T00:00:00Z"}));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(org.admin.delete(&format!("/v1/api-keys/{revoked}")).status, 204);
    let key = org.admin.get(&format!("/v1/api-keys/{kept}")).json();
    let end = keydesk::time::Time::parse(key["expires_at"].as_str().unwrap()).unwrap();
    assert_eq!(servers[1].api(&secret).get("/v1/models").status, 200);
    eventually("the notice of its end", || about(&mail.mails(), &kept, "key_expired").len() == 1);
    assert!(keydesk::time::Time::now() >= end);
    assert_eq!(servers[1].api(&secret).get("/v1/models").refusal(), (401, "key_expired".to_owned()));
    let mails = mail.mails();
    let steps: Vec<&str> =
        about(&mails, &kept, "key_expiring").iter().map(|mail| mail.header("Subject")).collect();
    let told =
        |left: &str, subject: &str| subject.contains(&format!("API key \"prod-batch\" expires in {left} ("));
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(told("8 seconds", steps[0]) && told("4 seconds", steps[1]), "{steps:?}");
    for other in [&revoked, &extended] {
        assert!(about(&mails, other, "key_expiring").is_empty());
        assert!(about(&mails, other, "key_expired").is_empty());
    }
    let first = about(&mails, &kept, "key_expiring")[0];
    let button = first.link(&format!("/keys/{kept}/rotate"));
    assert!(button.starts_with("http://localhost:"), "{button}");
    assert!(!first.raw.contains(&secret[4..]), "a mail holds the secret");
}

/// Everything that was written into files.
fn files(desk: &Desk) -> Vec<Mail> {
    mails_in(&desk.data.path().join("mail"))
}

#[test]
fn owner_and_backup_are_notified_of_new_rotated_and_revoked_keys() {
    let (desk, server, org) = desk();
    let invited = "mara@example.com";
    let backup = member(&desk, &server, &org, invited);
    let key = org.admin.create(&json!({"name": "prod", "scopes": ["inference:read"], "backup": backup}));
    let id = key["id"].as_str().unwrap();
    let rotated = org.admin.post(&format!("/v1/api-keys/{id}/rotate"), &json!({"overlap": "1h"}));
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    org.admin
        .post(&format!("/v1/api-keys/{id}/revoke"), &json!({"reason": "leaked\r\nBcc: eve@example.com"}));
    for event in ["key_created", "key_rotated", "key_revoked"] {
        eventually(event, || about(&files(&desk), id, event).len() == 2);
        let mails = files(&desk);
        let mut to: Vec<&str> = about(&mails, id, event).iter().map(|mail| mail.header("To")).collect();
        to.sort_unstable();
        assert!(
            to.iter().any(|to| to.contains(invited)) && to.iter().any(|to| to.contains(&org.email)),
            "{to:?}"
        );
        let text = about(&mails, id, event)[0].text();
        assert!(
            text.contains("The key admin-key") && text.contains("If you don’t know who did this"),
            "{text}"
        );
        assert!(about(&mails, id, event)[0].headers.iter().all(|(name, _)| name != "Bcc"));
    }
}

/// A member by the database, where no page is needed.
fn member(desk: &Desk, server: &Server, org: &Org, email: &str) -> String {
    let hex = "0198aaaaaaaa7000800000000000000b";
    let id = if desk.database.is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") };
    desk.database.change(&format!(
        "INSERT INTO people (id, email, email_folded, name, created_at) VALUES ({id}, '{email}', '{email}', 'Mara', 0);
         INSERT INTO members (org_id, person_id, role, joined_at) SELECT id, {id}, 'member', 0 FROM organizations WHERE slug = '{}'",
        org.slug
    ));
    let _ = server;
    email.to_owned()
}

#[test]
fn early_notices_are_turned_off_with_one_click_and_only_by_post() {
    let (desk, server, org) = desk();
    let keyring = keyring(&desk);
    let owner =
        desk.database.lines("SELECT target AS line FROM audit_entries WHERE action = 'organization.created'");
    assert!(!owner.is_empty());
    let person = owner_id(&org);
    let token = keyring.link_token("unsubscribe", &person);
    let path = format!("/unsubscribe/{token}");
    let chosen =
        || desk.database.count("SELECT COUNT(*) AS count FROM notice_preferences WHERE muted = 'all'");
    // Link scanners open links, which must change nothing.
    for _ in 0..10 {
        let page = server.browser().get(&path);
        assert_eq!((page.status, page.text("form button").as_str()), (200, "Turn off early notices"));
    }
    assert_eq!(chosen(), 0);
    // A mail program: no origin, no cookies.
    let clicked = server.browser().post_with(
        &path,
        &[("List-Unsubscribe", "One-Click")],
        &[("sec-fetch-site", "cross-site")],
    );
    assert_eq!(clicked.status, 200, "{}", clicked.body);
    assert_eq!(chosen(), 1);
    assert_eq!(server.browser().post(&path, &[("List-Unsubscribe", "One-Click")]).status, 200);
    let forged = format!("/unsubscribe/{}", token.replace(&token[..12], "user_01kaaaa"));
    assert_eq!(server.browser().post(&forged, &[]).status, 404);
    assert_eq!(server.browser().post(&format!("/unsubscribe/{person}"), &[]).status, 404);
    let page = server.signed_in(&org).get("/account/notices");
    assert!(
        page.texts("input[name=early]").len() == 3
            && page.attribute("input[name=early][checked]", "value").is_none()
    );
}

fn owner_id(org: &Org) -> String {
    let key = org.admin.get("/v1/api-keys/self").json();
    key["owner"]["id"].as_str().unwrap().to_owned()
}

fn keyring(desk: &Desk) -> keydesk::crypto::Keyring {
    let text = std::fs::read_to_string(desk.data.path().join("secret")).unwrap();
    keydesk::crypto::Keyring::new(keydesk::crypto::Root::parse(&text).unwrap(), None)
}

#[test]
fn people_choose_which_early_notices_they_get() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let page = browser.get("/account/notices");
    assert_eq!(page.texts(".options label").len(), 5);
    let saved = browser.post("/account/notices", &[("early", "604800"), ("mails", "single")]);
    assert_eq!((saved.status, saved.header("location")), (303, Some("/account/notices")));
    let page = browser.get("/account/notices");
    assert_eq!(page.attribute("input[name=early][checked]", "value").as_deref(), Some("604800"));
    assert_eq!(page.attribute("input[name=mails][checked]", "value").as_deref(), Some("single"));
    assert_eq!(server.browser().get("/account/notices").status, 303);
}

#[test]
fn key_page_shows_recipients_and_the_acknowledgement() {
    let desk = Desk::new().with("KEYDESK_NOTICES", "1h");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let (id, _) = ending(&org, "prod-batch", 7_300);
    let mut browser = server.signed_in(&org);
    let page = browser.get(&format!("/o/{}/keys/{id}", org.slug));
    assert!(page.body.contains("No notice has been sent yet"), "{}", page.body);
    // As if an hour and a little had passed.
    desk.database.change(
        "UPDATE api_keys SET created_at = created_at - 4000000000, expires_at = expires_at - 4000000000,
             expiring_at = expiring_at - 4000000000, notice_at = 0 WHERE name = 'prod-batch';
         UPDATE key_secrets SET created_at = created_at - 4000000000",
    );
    server.signed_in(&org).post(&format!("/o/{}/mail/test", org.slug), &[]);
    let path = format!("/o/{}/keys/{id}", org.slug);
    org.admin.create(&json!({"name": "wakes-the-server", "scopes": ["inference:read"]}));
    eventually("the notice was sent", || {
        let rows = browser.get(&path).texts("section tbody tr");
        rows.iter().any(|row| row.starts_with("1 hour before") && row.contains("sent"))
    });
    assert!(browser.get(&path).body.contains(">Acknowledge<"));
    assert_eq!(browser.post(&format!("{path}/seen"), &[]).status, 303);
    assert_eq!(browser.post(&format!("{path}/seen"), &[]).status, 303);
    let page = browser.get(&path);
    assert!(
        page.body.contains("Acknowledged by Ada Lovelace") && !page.body.contains(">Acknowledge<"),
        "{}",
        page.body
    );
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM audit_entries WHERE action = 'notice.seen'"),
        1
    );
    let other = desk.set_up(&server, "Other");
    assert_eq!(server.signed_in(&other).post(&format!("/o/{}/keys/{id}/seen", other.slug), &[]).status, 404);
}

#[test]
fn recipients_of_a_keys_mails_can_take_the_actions_they_offer() {
    let (desk, server, org) = desk();
    for name in ["bo", "eve"] {
        desk.add_member(&org, &format!("{name}@example.com"), "member");
    }
    let backed = |name: &str, scope: &str| {
        let key = json!({"name": name, "scopes": [scope], "backup": "bo@example.com", "expires_in_days": 90});
        org.admin.create(&key)
    };
    let (key, strong) = (backed("prod-batch", "inference:read"), backed("strong", "admin"));
    let id = key["id"].as_str().unwrap();
    let page = format!("/o/{}/keys/{id}", org.slug);
    let (mut backup, mut stranger) =
        (server.signed_in_as("bo@example.com"), server.signed_in_as("eve@example.com"));
    let list = format!("/o/{}/keys", org.slug);
    assert!(backup.get(&list).body.contains(">prod-batch</a>"));
    assert!(!stranger.get(&list).body.contains("prod-batch"));
    // "Rotate this key", "Acknowledge this", "Add the expiry to your calendar".
    let led = backup.get(&format!("/keys/{id}/rotate"));
    assert_eq!(led.header("location"), Some(format!("{page}/rotate").as_str()));
    assert_eq!(backup.get(&format!("{page}/rotate")).status, 200);
    assert_eq!(stranger.get(&format!("{page}/rotate")).status, 404);
    assert_eq!(backup.post(&format!("{page}/seen"), &[]).status, 303);
    assert_eq!(stranger.post(&format!("{page}/seen"), &[]).status, 404);
    assert_eq!(backup.get(&format!("/keys/{id}.ics")).status, 200);
    let shown = backup.post(&format!("{page}/rotate"), &[("form", "x"), ("overlap", "1h")]);
    let secret = shown.text("[data-secret]");
    assert_eq!(server.api(&secret).get("/v1/models").status, 200);
    // They act for the owner, and don't take the key away from them.
    assert_eq!(backup.get(&format!("{page}/owner")).status, 403);
    let bo = desk.id_of("bo@example.com");
    assert_eq!(backup.post(&format!("{page}/owner"), &[("owner", &bo)]).status, 403);
    // A secret that can do what their own keys could not is not theirs to have.
    let page = format!("/o/{}/keys/{}", org.slug, strong["id"].as_str().unwrap());
    assert_eq!((backup.get(&page).status, backup.get(&format!("{page}/rotate")).status), (200, 403));
    assert_eq!(backup.post(&format!("{page}/rotate"), &[("form", "x"), ("overlap", "1h")]).status, 403);
    assert_eq!(backup.post(&format!("{page}/revoke"), &[("name", "strong")]).status, 403);
}

#[test]
fn responsible_people_can_take_the_actions_in_mails_of_a_service_account() {
    let (desk, server, org) = desk();
    for name in ["bo", "eve"] {
        desk.add_member(&org, &format!("{name}@example.com"), "member");
    }
    let robot = desk.add_service_account(&org, "robot@acme-ai.invalid", "member");
    desk.database.execute(
        "INSERT INTO service_answerers (org_id, account_id, person_id) \
         SELECT s.org_id, s.account_id, p.id FROM service_answerers s, people p WHERE p.email = 'bo@example.com'",
    );
    let of = |name: &str, role: &str, who: &str| {
        org.admin
            .create(&json!({"name": name, "scopes": ["inference:read"], role: who, "expires_in_days": 90}))
    };
    let owned = of("nightly", "owner", &robot);
    let backed = of("daily", "backup", &robot);
    let (mut bo, mut eve) = (server.signed_in_as("bo@example.com"), server.signed_in_as("eve@example.com"));
    let list = format!("/o/{}/keys", org.slug);
    assert_eq!(eve.get(&list).texts("tbody th").len(), 0);
    for key in [owned, backed] {
        let name = key["name"].as_str().unwrap();
        let page = format!("{list}/{}", key["id"].as_str().unwrap());
        assert!(bo.get(&list).body.contains(&format!(">{name}</a>")), "{name}");
        assert_eq!((bo.get(&page).status, eve.get(&page).status), (200, 404), "{name}");
        assert_eq!(eve.post(&format!("{page}/rotate"), &[("form", "x"), ("overlap", "1h")]).status, 404);
        let shown = bo.post(&format!("{page}/rotate"), &[("form", name), ("overlap", "1h")]);
        assert_eq!(server.api(&shown.text("[data-secret]")).get("/v1/models").status, 200, "{name}");
        assert_eq!(bo.get(&format!("{page}/owner")).status, 403, "{name}");
    }
}

#[test]
fn button_of_a_mail_leads_to_the_keys_page_after_sign_in() {
    let (_desk, server, org) = desk();
    let (id, _) = ending(&org, "prod-batch", 7_300);
    let mut stranger = server.browser();
    assert_eq!(stranger.get(&format!("/keys/{id}/rotate")).status, 303);
    let led = server.signed_in(&org).get(&format!("/keys/{id}/rotate"));
    assert_eq!(led.header("location"), Some(format!("/o/{}/keys/{id}/rotate", org.slug).as_str()));
}
