//! Securing an account cancels everything that an intruder has started.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use keydesk::id::LinkId;
use keydesk::people::links::Purpose;
use keydesk::time::Time;

use crate::support::{Browser, Desk, Org, PASSWORD, Server, desk, eventually, unique};

const NEW: &str = "a wholly new passphrase";

/// Tables with a person's rows that every act of recovery empties.
const REVOKED: [(&str, &str); 4] = [
    ("sessions", "person_id IS NOT NULL"),
    ("mailed_links", "used_at IS NULL"),
    ("sign_in_flows", "person_id IS NOT NULL"),
    ("calendar_feeds", "person_id IS NOT NULL"),
];
/// Tables with rows of a person that give no access or outlast a recovery, with the reason.
const KEPT: [(&str, &str); 7] = [
    ("sign_in_methods", "the person checks them; each change of them is told by mail"),
    ("members", "an organisation decides who belongs to it"),
    ("service_answerers", "an organisation decides who answers"),
    ("outbox", "mails that wait: the links in them are revoked"),
    ("notice_readers", "who was told of a key's end"),
    ("notice_seen", "who has seen it"),
    ("notice_preferences", "which notices are wanted"),
];

fn sign_in(server: &Server, email: &str, password: &str) -> Browser {
    let mut browser = server.browser();
    let page = browser.post("/sign-in", &[("email", email), ("password", password)]);
    assert_eq!(page.status, 303, "{}", page.body);
    browser
}

fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/account").status == 200
}

fn token(path: &str) -> String {
    path.split_once("token=").unwrap().1.to_owned()
}

/// The token of the latest e-mail of an event to an address.
fn mailed(desk: &Desk, email: &str, event: &str, start: &str) -> String {
    let mut found = None;
    eventually(&format!("{event} to {email}"), || {
        let mails = desk.wait_for_mails(event, 1);
        found = mails
            .iter()
            .rfind(|mail| mail.header("To").contains(email) && mail.text().contains(start))
            .map(|mail| token(&mail.link(start)));
        found.is_some()
    });
    found.unwrap()
}

fn blob(desk: &Desk, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if desk.database.is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
}

fn member(desk: &Desk, org: &Org) -> String {
    let email = format!("member-{}@example.com", unique());
    desk.add_member(org, &email, "member");
    email
}

/// How many rows of a table are a person's and can be used.
fn pending(desk: &Desk, table: &str, usable: &str, email: &str) -> i64 {
    desk.database.count(&format!(
        "SELECT COUNT(*) AS count FROM {table} \
         WHERE {usable} AND person_id = (SELECT id FROM people WHERE email = '{email}')"
    ))
}

/// Begins everything that can be pending for a person, and returns the browser of the thief.
fn begin_everything(desk: &Desk, server: &Server, org: &Org, email: &str) -> Browser {
    let mut thief = sign_in(server, email, PASSWORD);
    assert_eq!(thief.post(&format!("/o/{}/calendar", org.slug), &[]).status, 200);
    let person = format!("(SELECT id FROM people WHERE email = '{email}')");
    let now = Time::now();
    for purpose in Purpose::ALL {
        let id = blob(desk, LinkId::new(now).bytes());
        desk.database.execute(&format!(
            "INSERT INTO mailed_links (id, person_id, purpose, email, created_at, ends_at) \
             VALUES ({id}, {person}, '{}', 'mallory@evil.example', 1, 4000000000000000)",
            purpose.name()
        ));
    }
    for purpose in ["connect", "again"] {
        let digest = blob(desk, format!("{purpose} of {email}").as_bytes());
        desk.database.execute(&format!(
            "INSERT INTO sign_in_flows \
             (digest, browser, provider, nonce, verifier, purpose, next, person_id, created_at) \
             VALUES ({digest}, {digest}, 'github', 'n', 'v', '{purpose}', '/', {person}, {})",
            now.plus(0).seconds() * 1_000_000
        ));
    }
    for (table, usable) in REVOKED {
        assert!(pending(desk, table, usable, email) > 0, "{table}");
    }
    thief
}

#[test]
fn every_recovery_action_revokes_everything_pending() {
    let (desk, server, org) = desk();
    let other = member(&desk, &org);
    begin_everything(&desk, &server, &org, &other);
    let before: Vec<i64> =
        REVOKED.iter().map(|(table, usable)| pending(&desk, table, usable, &other)).collect();
    for act in ["reset", "password", "end-others", "command line", "disable"] {
        let email = member(&desk, &org);
        let mut owner = sign_in(&server, &email, PASSWORD);
        // Asked before, since the thief's link takes its place.
        let reset = (act == "reset").then(|| {
            assert_eq!(server.browser().post("/reset-password", &[("email", &email)]).status, 200);
            mailed(&desk, &email, "password_reset", "/reset-password?")
        });
        let mut thief = begin_everything(&desk, &server, &org, &email);
        let kept = match act {
            "reset" => {
                let fields = [("token", reset.as_deref().unwrap()), ("new_password", NEW)];
                assert_eq!(server.browser().post("/reset-password", &fields).status, 303);
                0
            }
            "password" => {
                let fields = [("password", PASSWORD), ("new_password", NEW)];
                assert_eq!(owner.post("/account/password", &fields).status, 303);
                1
            }
            "end-others" => {
                assert_eq!(owner.post("/account/sessions/end-others", &[]).status, 303);
                1
            }
            "command line" => {
                let arguments = ["user", "reset-password", "--email", &email, "--password-stdin"];
                assert!(desk.run_with_input(&arguments, NEW).status.success());
                0
            }
            _ => {
                assert!(desk.run(&["user", "disable", "--email", &email]).status.success());
                0
            }
        };
        for (table, usable) in REVOKED {
            let left = if table == "sessions" { kept } else { 0 };
            assert_eq!(pending(&desk, table, usable, &email), left, "{act}: {table}");
        }
        assert!(!is_signed_in(&mut thief), "{act}");
        assert_eq!(is_signed_in(&mut owner), kept == 1, "{act}");
    }
    let after: Vec<i64> =
        REVOKED.iter().map(|(table, usable)| pending(&desk, table, usable, &other)).collect();
    assert_eq!(after, before, "another person's are untouched");
}

#[test]
fn every_table_of_a_persons_rows_is_revoked_or_kept_for_a_reason() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut tables = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let statements = std::fs::read_to_string(entry.unwrap().path().join("up.sql")).unwrap();
        for table in statements.split("CREATE TABLE ").skip(1) {
            let (name, columns) = table.split_once(" (").unwrap();
            if columns.split(");").next().unwrap().contains("person_id ") {
                tables.insert(name.to_owned());
            }
        }
    }
    let mut known: Vec<&str> = REVOKED.iter().chain(&KEPT).map(|(table, _)| *table).collect();
    known.sort_unstable();
    assert_eq!(tables.iter().map(String::as_str).collect::<Vec<_>>(), known);
}

#[test]
fn a_pending_change_of_address_does_not_outlast_a_reset() {
    let (desk, server, org) = desk();
    let mut thief = server.signed_in(&org);
    assert_eq!(thief.post("/account/email", &[("email", "mallory@evil.example")]).status, 303);
    let verify = mailed(&desk, "mallory@evil.example", "email_verification", "/verify-email?");
    assert_eq!(server.browser().post("/reset-password", &[("email", &org.email)]).status, 200);
    let reset = mailed(&desk, &org.email, "password_reset", "/reset-password?");
    let fields = [("token", reset.as_str()), ("new_password", NEW)];
    assert_eq!(server.browser().post("/reset-password", &fields).status, 303);
    assert_eq!(server.browser().get(&format!("/verify-email?token={verify}")).status, 403);
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 403);
    sign_in(&server, &org.email, NEW);
}

#[test]
fn pending_confirmation_of_an_external_address_does_not_outlast_a_recovery() {
    let (desk, server, org) = desk();
    let (mut owner, mut thief) = (server.signed_in(&org), server.signed_in(&org));
    let settings = format!("/o/{}/settings/checkpoints", org.slug);
    assert_eq!(thief.post(&settings, &[("email", "mallory@evil.example")]).status, 303);
    assert!(owner.get(&settings).body.contains("mallory@evil.example"));
    let asked = mailed(&desk, "mallory@evil.example", "audit_confirmation", "/checkpoints?");
    assert_eq!(owner.post("/account/sessions/end-others", &[]).status, 303);
    assert_eq!(server.browser().post("/checkpoints", &[("token", &asked)]).status, 403);
    assert!(!owner.get(&settings).body.contains("mallory@evil.example"), "no confirmation is pending");
}

#[test]
fn previous_address_is_notified_of_a_change_and_can_cancel_it_without_signing_in() {
    let (desk, server, org) = desk();
    let mut thief = server.signed_in(&org);
    assert_eq!(thief.post("/account/email", &[("email", "mallory@evil.example")]).status, 303);
    let verify = mailed(&desk, "mallory@evil.example", "email_verification", "/verify-email?");
    let notice = desk.wait_for_mails("security_notice", 1).remove(0);
    assert!(notice.header("To").contains(&org.email));
    assert!(notice.text().contains("mallory@evil.example") && notice.text().contains("127.0.0.1"));
    let cancel = token(&notice.link("/cancel-email-change?"));
    let path = format!("/cancel-email-change?token={cancel}");
    // A token for one purpose opens no other.
    assert_eq!(server.browser().get(&format!("/verify-email?token={cancel}")).status, 403);
    assert_eq!(server.browser().get(&format!("/cancel-email-change?token={verify}")).status, 403);
    let page = server.browser().get(&path);
    assert!(page.status == 200 && page.body.contains("mallory@evil.example"), "{}", page.body);
    assert_eq!(server.browser().get(&format!("/verify-email?token={verify}")).status, 200, "only looked at");
    let done = server.browser().post("/cancel-email-change", &[("token", &cancel)]);
    assert!(done.status == 200 && done.body.contains("choose a new password"), "{}", done.body);
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 403);
    assert_eq!(server.browser().post("/cancel-email-change", &[("token", &cancel)]).status, 403);
    assert_eq!(server.browser().get(&path).status, 403);
    let told = desk.wait_for_mails("security_notice", 2);
    assert!(told.iter().any(|mail| mail.header("Subject").contains("was cancelled")));
    let entries = desk.database.lines("SELECT action AS line FROM audit_entries ORDER BY position");
    let last: Vec<&str> = entries.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last, ["person.email_change_cancelled", "person.email_change_requested"]);
    sign_in(&server, &org.email, PASSWORD);
}

#[test]
fn every_notice_of_a_change_cancels_the_pending_one() {
    let (desk, server, org) = desk();
    let mut thief = server.signed_in(&org);
    assert_eq!(thief.post("/account/email", &[("email", "one@evil.example")]).status, 303);
    let first = mailed(&desk, &org.email, "security_notice", "/cancel-email-change?");
    assert_eq!(thief.post("/account/email", &[("email", "two@evil.example")]).status, 303);
    let verify = mailed(&desk, "two@evil.example", "email_verification", "/verify-email?");
    let done = server.browser().post("/cancel-email-change", &[("token", &first)]);
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 403);
}

#[test]
fn account_whose_address_was_changed_is_restored_by_the_command_line() {
    let (desk, server, org) = desk();
    let mut thief = server.signed_in(&org);
    let mallory = "mallory@evil.example";
    assert_eq!(thief.post("/account/email", &[("email", mallory)]).status, 303);
    let verify = mailed(&desk, mallory, "email_verification", "/verify-email?");
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 303);
    let notice = desk.wait_for_mails("security_notice", 2);
    let told = notice.iter().find(|mail| mail.header("Subject").contains("address was changed")).unwrap();
    assert!(
        told.header("To").contains(&org.email) && told.text().contains("restore your account"),
        "{}",
        told.text()
    );
    assert_eq!(server.browser().post("/reset-password", &[("email", mallory)]).status, 200);
    let reset = mailed(&desk, mallory, "password_reset", "/reset-password?");
    let other = member(&desk, &org);
    let give_back = |new: &str| {
        let arguments =
            ["user", "reset-password", "--email", mallory, "--new-email", new, "--password-stdin"];
        desk.run_with_input(&arguments, NEW).status.code()
    };
    assert_eq!((give_back("no address"), give_back(&other)), (Some(1), Some(1)), "and nothing is changed");
    assert!(is_signed_in(&mut thief));
    assert_eq!(give_back(&org.email), Some(0));
    assert!(!is_signed_in(&mut thief));
    let fields = [("token", reset.as_str()), ("new_password", "a passphrase of the thief")];
    assert_eq!(server.browser().post("/reset-password", &fields).status, 403);
    sign_in(&server, &org.email, NEW);
}

#[test]
fn a_pending_change_is_shown_on_the_account_page_and_cancelled_there() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let form = "form[action='/account/email/cancel']";
    assert!(owner.get("/account").texts(form).is_empty());
    assert_eq!(owner.post("/account/email", &[("email", "ceo@fırma.example")]).status, 303);
    let shown = owner.get("/account").text(form);
    assert!(shown.contains("ceo@fırma.example (xn--"), "{shown}");
    let verify = mailed(&desk, "xn--", "email_verification", "/verify-email?");
    assert_eq!(owner.post("/account/email/cancel", &[]).status, 303);
    let after = owner.get("/account");
    assert!(after.texts(form).is_empty() && after.body.contains("end your other sessions"), "{}", after.body);
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 403);
    // The second time, there is nothing to cancel and no e-mail.
    assert_eq!(owner.post("/account/email/cancel", &[]).status, 303);
    assert_eq!(desk.wait_for_mails("security_notice", 2).len(), 2);
    // A change that was confirmed is not cancelled any more.
    assert_eq!(owner.post("/account/email", &[("email", "new@example.com")]).status, 303);
    let cancel = mailed(&desk, &org.email, "security_notice", "/cancel-email-change?");
    let verify = mailed(&desk, "new@example.com", "email_verification", "/verify-email?");
    assert_eq!(server.browser().post("/verify-email", &[("token", &verify)]).status, 303);
    assert_eq!(server.browser().post("/cancel-email-change", &[("token", &cancel)]).status, 403);
    sign_in(&server, "new@example.com", PASSWORD);
}

#[test]
fn ending_one_session_cancels_its_changes_and_keeps_calendars() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let mut thief = begin_everything(&desk, &server, &org, &org.email);
    let stranger = member(&desk, &org);
    begin_everything(&desk, &server, &org, &stranger);
    let end =
        |browser: &mut Browser| browser.get("/account").attribute("form[action$='/end']", "action").unwrap();
    // Someone else's session is not ended, and nothing of one's own is revoked by trying.
    let theirs = end(&mut sign_in(&server, &stranger, PASSWORD));
    owner.post(&theirs, &[]);
    assert!(pending(&desk, "mailed_links", "used_at IS NULL", &org.email) > 0);
    let action = end(&mut owner);
    assert_eq!(owner.post(&action, &[]).status, 303);
    assert!(!is_signed_in(&mut thief) && is_signed_in(&mut owner));
    for (table, usable) in REVOKED {
        let left = i64::from(["sessions", "calendar_feeds"].contains(&table));
        assert_eq!(pending(&desk, table, usable, &org.email), left, "{table}");
    }
}

#[test]
fn calendar_address_stays_revoked_for_a_returning_member() {
    let (desk, server, org) = desk();
    let email = member(&desk, &org);
    let mut browser = sign_in(&server, &email, PASSWORD);
    let page = browser.post(&format!("/o/{}/calendar", org.slug), &[]);
    let address = page.text("#address");
    let path = address[address.find("/calendar/").unwrap()..].to_owned();
    assert_eq!(server.browser().get(&path).status, 200);
    let id = desk.id_of(&email);
    let removed = server.signed_in(&org).post(&format!("/o/{}/members/{id}/remove", org.slug), &[]);
    assert_eq!(removed.status, 303, "{}", removed.body);
    desk.join(&org, &email, "member");
    assert_eq!(server.browser().get(&path).status, 404);
}

/// Sends the head of a form and the first byte of its body; the rest follows later.
fn begin_form(server: &Server, browser: &Browser, path: &str, body: &str) -> TcpStream {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let cookie = browser.cookie.as_deref().unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.len(),
        &body[..1]
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Sends the rest and returns the answer.
fn finish_form(mut stream: TcpStream, body: &str) -> String {
    stream.write_all(&body.as_bytes()[1..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn cookie_of(answer: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"))?;
    Some(line.split_once(": ")?.1.split(';').next()?.to_owned())
}

#[test]
fn ended_session_is_not_recreated_by_a_running_request() {
    let (desk, server, org) = desk();
    let (mut owner, thief) = (server.signed_in(&org), server.signed_in(&org));
    let password = serde_html_form::to_string([("confirm_password", PASSWORD)]).unwrap();
    crate::fresh_sign_in::grow_stale(&desk);
    let again = begin_form(&server, &thief, "/sign-in/again", &password);
    let profile = begin_form(&server, &thief, "/account", "name=Mallory&zone=UTC");
    assert_eq!(owner.post("/account/sessions/end-others", &[("confirm_password", PASSWORD)]).status, 303);
    for (stream, body) in [(again, password.as_str()), (profile, "name=Mallory&zone=UTC")] {
        let answer = finish_form(stream, body);
        let mut stolen = server.browser();
        stolen.cookie = cookie_of(&answer).or(thief.cookie.clone());
        assert!(!is_signed_in(&mut stolen), "{answer}");
    }
    assert!(is_signed_in(&mut owner));
    assert_eq!(pending(&desk, "sessions", "person_id IS NOT NULL", &org.email), 1);
}

#[test]
fn address_change_that_runs_during_a_reset_has_no_effect() {
    let (desk, server, org) = desk();
    let thief = server.signed_in(&org);
    let body = "email=mallory%40evil.example";
    let under_way = begin_form(&server, &thief, "/account/email", body);
    let arguments = ["user", "reset-password", "--email", &org.email, "--password-stdin"];
    assert!(desk.run_with_input(&arguments, NEW).status.success());
    let answer = finish_form(under_way, body);
    assert!(!answer.contains("\r\nlocation: /account\r\n"), "{answer}");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM mailed_links"), 0);
}

#[test]
fn a_sign_in_with_the_old_password_during_a_reset_leaves_no_session() {
    let (desk, server, org) = desk();
    for _ in 0..6 {
        let email = member(&desk, &org);
        let arguments = ["user", "reset-password", "--email", &email, "--password-stdin"];
        let mut thieves: Vec<Browser> = (0..4).map(|_| server.browser()).collect();
        std::thread::scope(|scope| {
            for thief in &mut thieves {
                scope.spawn(|| {
                    thief.post("/sign-in", &[("email", &email), ("password", PASSWORD)]);
                });
            }
            scope.spawn(|| assert!(desk.run_with_input(&arguments, NEW).status.success()));
        });
        assert!(!thieves.iter_mut().any(is_signed_in));
        assert!(is_signed_in(&mut sign_in(&server, &email, NEW)));
    }
}

#[test]
fn confirming_the_identity_renews_the_session_id_and_keeps_the_session() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    crate::fresh_sign_in::grow_stale(&desk);
    let before = owner.cookie.clone();
    assert_eq!(owner.get("/account/email").status, 303, "it needs a fresh sign-in");
    assert_eq!(owner.post("/sign-in/again", &[("confirm_password", PASSWORD)]).status, 303);
    assert_ne!(owner.cookie, before);
    assert_eq!(owner.get("/account/email").status, 200);
    let mut stolen = server.browser();
    stolen.cookie = before;
    assert!(!is_signed_in(&mut stolen));
    assert_eq!(pending(&desk, "sessions", "person_id IS NOT NULL", &org.email), 1);
}

#[test]
fn session_that_is_not_fresh_ends_no_others_and_revokes_no_reset_link() {
    let (desk, server, org) = desk();
    let (mut owner, mut thief) = (server.signed_in(&org), server.signed_in(&org));
    crate::fresh_sign_in::grow_stale(&desk);
    assert_eq!(server.browser().post("/reset-password", &[("email", &org.email)]).status, 200);
    let reset = mailed(&desk, &org.email, "password_reset", "/reset-password?");
    let page = thief.get("/account");
    let one = page.attribute("form[action^='/account/sessions/'][action$='/end']", "action").unwrap();
    for path in ["/account/sessions/end-others", &one] {
        assert_eq!(thief.post(path, &[]).status, 403, "{path}");
    }
    assert!(is_signed_in(&mut owner));
    let fields = [("token", reset.as_str()), ("new_password", NEW)];
    assert_eq!(server.browser().post("/reset-password", &fields).status, 303);
    assert!(!is_signed_in(&mut thief));
}

#[test]
fn copied_cookie_is_useless_once_other_sessions_are_ended() {
    let (_desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let mut thief = server.browser();
    thief.cookie = owner.cookie.clone();
    assert!(is_signed_in(&mut thief));
    assert_eq!(owner.post("/account/sessions/end-others", &[]).status, 303);
    assert!(is_signed_in(&mut owner) && !is_signed_in(&mut thief));
}

#[test]
fn many_sessions_that_change_one_account_block_no_one_else() {
    let (desk, server, org) = desk();
    let email = member(&desk, &org);
    let browsers: Vec<_> = (0..5).map(|_| sign_in(&server, &email, PASSWORD)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut browser in browsers {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = browser.post("/account", &[("name", "Mara"), ("zone", "UTC")]);
                    // A person who was disabled is led to the page that signs in.
                    assert!([303, 403].contains(&answer.status), "{}: {}", answer.status, answer.body);
                }
            });
        }
        let disabled = desk.run(&["user", "disable", "--email", &email]);
        stop.store(true, Ordering::Relaxed);
        assert!(disabled.status.success(), "{disabled:?}");
    });
    assert!(!server.whole_log().contains("deadlock"));
}
