//! A person's own account: password, address, sessions, and recovery by e-mail.

use crate::fresh_sign_in::grow_stale;
use crate::support::mail::{Mail, mails_in};
use crate::support::{Browser, Desk, PASSWORD, Page, Server, desk, eventually};

const NEW: &str = "a wholly new passphrase";

/// Waits for this many e-mails of an event and returns them, in no particular order.
fn mails(desk: &Desk, event: &str, number: usize) -> Vec<Mail> {
    let directory = desk.data.path().join("mail");
    let found = || mails_in(&directory).into_iter().filter(|mail| mail.event() == event).collect::<Vec<_>>();
    eventually(&format!("{number} mails of {event}"), || found().len() >= number);
    let mails = found();
    assert_eq!(mails.len(), number, "{event}");
    mails
}

/// The path of the link in an e-mail.
fn path(mail: &Mail, to: &str) -> String {
    let link = mail.link(to);
    link[link.find(to).unwrap()..].to_owned()
}

fn ask(server: &Server, email: &str) -> Page {
    server.browser().post("/reset-password", &[("email", email)])
}

fn sign_in(server: &Server, email: &str, password: &str) -> u16 {
    server.browser().post("/sign-in", &[("email", email), ("password", password)]).status
}

fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/account").status == 200
}

/// The token in a link.
fn token(path: &str) -> &str {
    path.split_once("token=").unwrap().1
}

#[test]
fn reset_link_replaces_a_forgotten_password_once() {
    let (desk, server, org) = desk();
    let mut open = server.signed_in(&org);
    assert_eq!(ask(&server, &org.email.to_uppercase()).status, 200);
    let mail = mails(&desk, "password_reset", 1).remove(0);
    assert!(mail.header("To").contains(&org.email));
    let path = path(&mail, "/reset-password");
    // Neither the queue nor a row holds the token.
    assert!(
        desk.database
            .lines("SELECT message AS line FROM outbox")
            .iter()
            .all(|row| !row.contains(token(&path)))
    );
    let page = server.browser().get(&path);
    assert_eq!((page.status, page.text("h1").as_str()), (200, "Choose a new password"));
    let choose = |password: &str| {
        server.browser().post("/reset-password", &[("token", token(&path)), ("new_password", password)])
    };
    let weak = choose("short");
    assert_eq!(weak.status, 422);
    assert!(weak.text("title").starts_with("Error: "));
    assert!(is_signed_in(&mut open));
    let done = choose(NEW);
    assert_eq!((done.status, done.header("location")), (303, Some("/sign-in")));
    assert!(!is_signed_in(&mut open), "every session has ended");
    assert_eq!((sign_in(&server, &org.email, PASSWORD), sign_in(&server, &org.email, NEW)), (422, 303));
    assert_eq!((choose("yet another passphrase").status, server.browser().get(&path).status), (403, 403));
    let notice = mails(&desk, "security_notice", 1).remove(0);
    assert!(
        notice.header("Subject").contains("Your password was reset through an e-mailed link"),
        "{}",
        notice.raw
    );
    assert!(notice.text().contains("127.0.0.1"), "{}", notice.text());
    assert!(server.signed_in_with(&org, NEW).get("/account").body.contains("confirmed on"));
}

#[test]
fn reset_link_works_for_half_an_hour_until_the_next_and_not_for_disabled_people() {
    let (desk, server, org) = desk();
    let opens = |path: &str| server.browser().get(path).status;
    let seen = std::cell::RefCell::new(Vec::new());
    // The path in the e-mail that has arrived since.
    let next = || {
        ask(&server, &org.email);
        let mut seen = seen.borrow_mut();
        let paths = mails(&desk, "password_reset", seen.len() + 1);
        let mut paths = paths.iter().map(|mail| path(mail, "/reset-password"));
        let new = paths.find(|path| !seen.contains(path)).unwrap();
        seen.push(new.clone());
        new
    };
    let first = next();
    assert_eq!(opens(&first), 200);
    let second = next();
    assert_eq!((opens(&first), opens(&second)), (403, 200));
    for wrong in [format!("{second}0"), second.replace("lnk_", "lnk_0"), "/reset-password?token=".to_owned()]
    {
        assert_eq!(opens(&wrong), 403, "{wrong}");
    }
    // A token for one purpose opens no other.
    assert_eq!(opens(&second.replace("/reset-password", "/verify-email")), 403);
    desk.database.execute("UPDATE people SET disabled_at = 1");
    assert_eq!(opens(&second), 403);
    desk.database.execute("UPDATE people SET disabled_at = NULL");
    desk.database.execute("UPDATE mailed_links SET ends_at = ends_at - 1800000000");
    assert_eq!(opens(&second), 403);
    let third = next();
    let mut owner = server.signed_in(&org);
    owner.post("/account/password", &[("password", PASSWORD), ("new_password", NEW)]);
    assert_eq!(opens(&third), 403, "a link that is on its way does not undo a change");
}

#[test]
fn concurrent_uses_of_a_reset_link_succeed_once() {
    let (desk, server, org) = desk();
    ask(&server, &org.email);
    let path = path(&mails(&desk, "password_reset", 1)[0], "/reset-password");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|number| {
                let (mut browser, token) = (server.browser(), token(&path));
                scope.spawn(move || {
                    let password = format!("a new passphrase, number {number}");
                    browser.post("/reset-password", &[("token", token), ("new_password", &password)]).status
                })
            })
            .collect();
        tries.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(mails(&desk, "security_notice", 1).len(), 1);
}

#[test]
fn reset_request_gets_the_same_response_for_any_address() {
    let (desk, server, org) = desk();
    let answer = |email: &str| {
        let page = ask(&server, email);
        let mut headers = page.headers.clone();
        headers.retain(|(name, _)| name != "x-request-id" && name != "date");
        headers.sort();
        (page.status, headers, page.body.replace(email, "EMAIL"))
    };
    let unknown = org.email.replace("owner", "nobdy");
    assert_eq!(answer(&org.email), answer(&unknown));
    // Also when there are too many tries: they are counted as typed.
    let tries: Vec<_> = (0..8).map(|_| (answer(&org.email), answer(&unknown))).collect();
    for (known, unknown) in &tries {
        // How long to wait goes by the clock, so it is left out.
        let plain = |answer: &(u16, Vec<(String, String)>, String)| {
            let names: Vec<String> = answer.1.iter().map(|(name, _)| name.clone()).collect();
            (answer.0, names, answer.2.replace(|letter: char| letter.is_ascii_digit(), "0"))
        };
        assert_eq!(plain(known), plain(unknown));
    }
    assert!(tries.iter().any(|(known, _)| known.0 == 429), "{:?}", tries.last());
    // Everything was sent to the known address.
    eventually("the queue is empty", || {
        desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state = 'queued'") == 0
    });
    let mut sent = mails_in(&desk.data.path().join("mail"));
    sent.retain(|mail| mail.event() == "password_reset");
    assert!((1..=5).contains(&sent.len()) && sent.iter().all(|mail| mail.header("To").contains(&org.email)));
}

#[test]
fn thousand_forwarded_addresses_of_an_untrusted_client_count_as_one() {
    let (_desk, server, org) = desk();
    let mut statuses = [0_u32; 600];
    for number in 0..1000 {
        let forwarded = format!("198.51.{}.{}", number / 250, number % 250);
        let email = format!("person-{number}@example.com");
        let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", forwarded.as_str())];
        let page = server.browser().post_with("/reset-password", &[("email", &email)], &headers);
        statuses[usize::from(page.status)] += 1;
    }
    assert!(
        statuses[429] >= 950 && statuses[200] + statuses[429] == 1000,
        "{} {}",
        statuses[200],
        statuses[429]
    );
    let page = server.browser().post_with(
        "/reset-password",
        &[("email", &org.email)],
        &[("sec-fetch-site", "same-origin"), ("x-forwarded-for", "203.0.113.9")],
    );
    assert_eq!(page.status, 429);
}

#[test]
fn password_change_ends_all_other_sessions_and_is_notified() {
    let (desk, server, org) = desk();
    let (mut here, mut there) = (server.signed_in(&org), server.signed_in(&org));
    let change = |browser: &mut Browser, old: &str, new: &str| {
        browser.post("/account/password", &[("password", old), ("new_password", new)])
    };
    let wrong = change(&mut here, "not the right password", NEW);
    assert_eq!(wrong.status, 422);
    assert!(wrong.text("#password-error").starts_with("The password is wrong"));
    assert_eq!(change(&mut here, PASSWORD, "short").status, 422);
    assert!(is_signed_in(&mut there) && sign_in(&server, &org.email, PASSWORD) == 303);
    let before = here.cookie.clone();
    assert_eq!(change(&mut here, PASSWORD, NEW).status, 303);
    assert!(is_signed_in(&mut here) && !is_signed_in(&mut there));
    let mut stolen = server.browser();
    stolen.cookie = before;
    assert!(!is_signed_in(&mut stolen), "the session has another name");
    assert_eq!((sign_in(&server, &org.email, PASSWORD), sign_in(&server, &org.email, NEW)), (422, 303));
    let notice = mails(&desk, "security_notice", 1).remove(0);
    assert!(notice.header("Subject").contains("Your password was changed"));
}

#[test]
fn sessions_are_listed_with_their_device_and_can_be_ended() {
    let (desk, server, org) = desk();
    let mut here = server.signed_in(&org);
    let mut others: Vec<Browser> = ["Firefox/153.0", "Chrome/156.0"]
        .iter()
        .map(|program| {
            let mut browser = server.browser();
            let program = format!("Mozilla/5.0 (X11; Linux x86_64) {program}");
            let headers = [("sec-fetch-site", "same-origin"), ("user-agent", program.as_str())];
            let fields = [("email", org.email.as_str()), ("password", PASSWORD)];
            assert_eq!(browser.post_with("/sign-in", &fields, &headers).status, 303);
            browser
        })
        .collect();
    let page = here.get("/account");
    let rows = page.texts("section[aria-labelledby=sessions] tbody tr").join("\n");
    for told in ["Firefox on Linux", "Chrome on Linux", "127.0.0.1", "this session"] {
        assert!(rows.contains(told), "{told}: {rows}");
    }
    // No one can end a session of someone else.
    let action = page.attribute("form[action$='/end']", "action").unwrap();
    let theirs = desk.set_up(&server, "Other Org");
    let mut stranger = server.signed_in(&theirs);
    stranger.post(&action, &[]);
    assert!(others.iter_mut().all(is_signed_in));
    assert_eq!(here.post(&action, &[]).status, 303);
    assert_eq!(others.iter_mut().filter_map(|browser| is_signed_in(browser).then_some(())).count(), 1);
    assert_eq!(here.post("/account/sessions/end-others", &[]).status, 303);
    assert!(is_signed_in(&mut here) && !others.iter_mut().any(is_signed_in));
    assert!(is_signed_in(&mut stranger));
    let told = here.get("/account").texts("section[aria-labelledby=events] tbody th").join("\n");
    assert!(told.contains("1 session ended") && told.contains("Signed in"), "{told}");
}

#[test]
fn address_changes_when_the_new_one_is_confirmed_and_the_old_one_is_notified() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    grow_stale(&desk);
    let asked = owner.post("/account/email", &[("email", "new@example.com")]);
    assert_eq!(asked.status, 403, "it needs a fresh sign-in");
    let sent = owner.post("/account/email", &[("email", "new@example.com"), ("confirm_password", PASSWORD)]);
    assert_eq!(sent.status, 303, "{}", sent.body);
    for wrong in ["nobody", &org.email] {
        assert_eq!(owner.post("/account/email", &[("email", wrong)]).status, 422, "{wrong}");
    }
    let mail = mails(&desk, "email_verification", 1).remove(0);
    assert!(mail.header("To").contains("new@example.com"));
    let path = path(&mail, "/verify-email");
    // Scanners that open links in e-mails change nothing.
    let page = server.browser().get(&path);
    assert!(page.status == 200 && page.body.contains("new@example.com"));
    assert_eq!(sign_in(&server, "new@example.com", PASSWORD), 422);
    let confirm = || server.browser().post("/verify-email", &[("token", token(&path))]).status;
    assert_eq!((confirm(), confirm()), (303, 403));
    assert_eq!(sign_in(&server, "new@example.com", PASSWORD), 303);
    assert_eq!(sign_in(&server, &org.email, PASSWORD), 422);
    for notice in mails(&desk, "security_notice", 2) {
        assert!(notice.header("To").contains(&org.email), "the old address is told");
    }
    assert!(owner.get("/account").body.contains("confirmed on"));
}

#[test]
fn address_of_another_account_cannot_be_taken_over() {
    let (desk, server, org) = desk();
    let theirs = desk.set_up(&server, "Other Org");
    let mut owner = server.signed_in(&org);
    // The response does not reveal whether the address is known.
    assert_eq!(owner.post("/account/email", &[("email", &theirs.email)]).status, 303);
    let mail = mails(&desk, "email_verification", 1).remove(0);
    assert!(mail.header("To").contains(&theirs.email));
    let token = token(&path(&mail, "/verify-email")).to_owned();
    assert_eq!(server.browser().post("/verify-email", &[("token", &token)]).status, 409);
    assert_eq!(
        (sign_in(&server, &org.email, PASSWORD), sign_in(&server, &theirs.email, PASSWORD)),
        (303, 303)
    );
}

#[test]
fn profile_name_is_saved_and_kept_out_of_the_audit_log() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    assert_eq!(owner.post("/account", &[("name", "Countess"), ("zone", "Asia/Tokyo")]).status, 303);
    assert_eq!(owner.get("/account").attribute("#name", "value").as_deref(), Some("Countess"));
    let wrong = owner.post("/account", &[("name", ""), ("zone", "Asia/Tokyo")]);
    assert_eq!((wrong.status, wrong.texts("#name-error").len()), (422, 1));
    let entries =
        desk.database.lines("SELECT entry AS line FROM audit_entries WHERE action = 'person.updated'");
    assert!(
        entries.len() == 1 && !entries[0].contains("Countess") && entries[0].contains("\"name\""),
        "{entries:?}"
    );
}
