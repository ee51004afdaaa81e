//! Inviting people, and joining.

use crate::support::{Browser, Desk, Org, PASSWORD, desk};

const NEW_PASSWORD: &str = "seven purple lanterns sail";

fn invite(browser: &mut Browser, org: &Org, email: &str, role: &str) -> u16 {
    browser.post(&format!("/o/{}/members", org.slug), &[("email", email), ("role", role)]).status
}

/// The path of the link in the latest invitation to an address.
fn link(desk: &Desk, email: &str) -> String {
    desk.mailed_path(email, "invitation", "/invitations/")
}

fn members(desk: &Desk) -> i64 {
    desk.database.count("SELECT COUNT(*) AS count FROM members")
}

/// Brings an invitation forward in time, as if it had been sent earlier.
fn age(desk: &Desk, seconds: i64) {
    let micros = seconds * 1_000_000;
    desk.database.execute(&format!(
        "UPDATE invitations SET sent_at = sent_at - {micros}, ends_at = ends_at - {micros}"
    ));
}

#[test]
fn invitation_creates_one_member_with_its_address() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    assert_eq!(invite(&mut owner, &org, "Bo@Example.com", "member"), 303);
    let path = link(&desk, "Bo@Example.com");
    let mut bo = server.browser();
    let page = bo.get(&path);
    assert_eq!(page.status, 200);
    assert!(
        page.text("main").contains("Ada Lovelace invited Bo@Example.com to join as a member."),
        "{}",
        page.body
    );
    // A refused attempt leaves it open.
    let weak = bo.post(&path, &[("name", "Bo"), ("password", "short")]);
    assert_eq!(weak.status, 422);
    assert!(weak.text("title").starts_with("Error: "));
    assert_eq!(bo.post(&format!("{path}/accept"), &[]).header("location"), Some(path.as_str()));
    assert_eq!(members(&desk), 1);
    let made = bo.post(&path, &[("name", "Bo"), ("password", NEW_PASSWORD), ("zone", "Europe/Berlin")]);
    assert_eq!(made.header("location"), Some(path.as_str()));
    // An account is no membership: that is another step.
    assert_eq!(bo.get(&format!("/o/{}/keys", org.slug)).status, 404);
    assert_eq!(bo.get(&path).text("main form button"), "Accept");
    let accepted = bo.post(&format!("{path}/accept"), &[]);
    assert_eq!(accepted.header("location").unwrap(), format!("/o/{}/keys", org.slug));
    let home = bo.get(&format!("/o/{}/keys", org.slug));
    assert_eq!((home.status, home.text("main h2")), (200, "No API keys yet".into()));
    assert_eq!(members(&desk), 2);
    assert_eq!(bo.get(&path).status, 404);
    assert_eq!(bo.post(&format!("{path}/accept"), &[]).status, 404);
    assert_eq!(members(&desk), 2);
    let log = desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY position");
    let has = |action: &str| log.iter().filter(|entry| entry.contains(action)).count();
    assert_eq!((has("invitation.created"), has("member.joined")), (1, 1));
    assert!(!log.iter().any(|entry| entry.to_lowercase().contains("bo@example.com")), "people are ids there");
    let page = owner.get(&format!("/o/{}/members", org.slug));
    assert!(
        page.texts("tbody tr").iter().any(|row| row.starts_with("BoBo@Example.com Member")),
        "{}",
        page.body
    );
}

#[test]
fn an_invitation_is_bound_to_its_address() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other Org");
    let mut owner = server.signed_in(&org);
    invite(&mut owner, &org, "bo@example.com", "admin");
    let path = link(&desk, "bo@example.com");
    let mut elsewhere = server.signed_in(&other);
    assert!(elsewhere.get(&path).text("main").contains("is for another address"));
    let refused = elsewhere.post(&format!("{path}/accept"), &[]);
    assert_eq!(refused.status, 422);
    assert!(refused.text("main").contains("The invitation stays open."));
    assert_eq!(members(&desk), 2);
    assert_eq!(server.browser().get(&path).status, 200);
    // A person who already has an account with the address signs in and accepts; no second account is created.
    invite(&mut owner, &org, &other.email.to_uppercase(), "auditor");
    let path = link(&desk, &other.email.to_uppercase());
    let known = server.browser().post(&path, &[("name", "Eve"), ("password", NEW_PASSWORD)]);
    assert_eq!(known.status, 422);
    assert!(known.text(".summary").contains("Sign in to accept"));
    server.signed_in(&other);
    let next = server.browser().get(&path).attribute("a[href^='/sign-in']", "href").unwrap();
    let next = next.split_once("next=").unwrap().1.replace("%2F", "/");
    assert_eq!(next, path);
    let fields = [("email", other.email.as_str()), ("password", PASSWORD), ("next", path.as_str())];
    let mut person = server.browser();
    assert_eq!(person.post("/sign-in", &fields).header("location"), Some(path.as_str()));
    assert_eq!(person.post(&format!("{path}/accept"), &[]).status, 303);
    assert_eq!(person.get(&format!("/o/{}/members", org.slug)).status, 200);
    assert_eq!(person.get(&format!("/o/{}/keys/new", org.slug)).status, 403, "an auditor");
}

#[test]
fn all_invalid_invitation_links_get_the_same_response() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let mut closed = Vec::new();
    for (name, statement) in [
        (
            "accepted",
            "UPDATE invitations SET accepted_at = 1, open_email = NULL WHERE open_email LIKE 'accepted%'",
        ),
        (
            "withdrawn",
            "UPDATE invitations SET withdrawn_at = 1, open_email = NULL WHERE open_email LIKE 'withdrawn%'",
        ),
        ("ended", "UPDATE invitations SET ends_at = 1 WHERE open_email LIKE 'ended%'"),
    ] {
        let email = format!("{name}@example.com");
        assert_eq!(invite(&mut owner, &org, &email, "member"), 303);
        let path = link(&desk, &email);
        assert_eq!(server.browser().get(&path).status, 200);
        desk.database.execute(statement);
        closed.push(path);
    }
    assert_eq!(invite(&mut owner, &org, "open@example.com", "member"), 303);
    let open = link(&desk, "open@example.com");
    let (id, code) = open.rsplit_once('.').unwrap();
    let other = closed[0].rsplit_once('.').unwrap().1;
    closed.extend([
        format!("{id}.{other}"),
        id.to_owned(),
        format!("{open}0"),
        format!("{id}.{}", &code[..38]),
    ]);
    closed.extend(
        ["x", "inv_00000000000000000000000000", "%00", "a.b"].map(|junk| format!("/invitations/{junk}")),
    );
    let answer = |path: &str| {
        let page = server.browser().get(path);
        let tried = server.browser().post(path, &[("name", "Eve"), ("password", NEW_PASSWORD)]);
        assert_eq!((tried.status, &tried.body), (404, &page.body), "{path}");
        (page.status, page.body)
    };
    let first = answer(&closed[0]);
    // The message about the invitation is shown once, on the next page.
    owner.get(&format!("/o/{}/members", org.slug));
    assert_eq!(first.0, 404);
    for path in &closed {
        assert_eq!(answer(path), first, "{path}");
        // Who is signed in learns no more.
        assert_eq!(owner.get(path).body, first.1, "{path}");
    }
    assert_eq!(server.browser().get(&open).status, 200);
}

#[test]
fn inviting_does_not_reveal_accounts_of_other_organisations() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other Org");
    let mut owner = server.signed_in(&org);
    let mut said = |email: &str| {
        let path = format!("/o/{}/members", org.slug);
        let answer = owner.post(&path, &[("email", email), ("role", "member")]);
        (answer.status, owner.get(&path).text(".notice.ok").replace(email, "ADDRESS"))
    };
    let known = said(&other.email);
    assert_eq!(known, (303, "ADDRESS was invited.".into()));
    assert_eq!(said("nobody@example.com"), known);
    let page = |email: &str| {
        let path = link(&desk, email);
        let token = path.strip_prefix("/invitations/").unwrap();
        let page = server.browser().get(&path).body.replace(token, "TOKEN").replace(email, "ADDRESS");
        let ends = page.find("can be used once, until").unwrap();
        page[..ends].to_owned()
    };
    assert_eq!(page(&other.email), page("nobody@example.com"));
}

#[test]
fn an_invitation_is_sent_again_and_withdrawn() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let list = format!("/o/{}/members", org.slug);
    assert_eq!(invite(&mut owner, &org, "bo@example.com", "member"), 303);
    for (email, role) in [
        ("bo@example.com", "member"),
        ("BO@example.com", "member"),
        ("no address", "member"),
        ("x@y.invalid", "member"),
        ("x@example.com", "chief"),
        (&org.email, "member"),
    ] {
        assert_eq!(invite(&mut owner, &org, email, role), 422, "{email} {role}");
    }
    let act = |page: &str, which: &str| {
        let forms = format!("form[action*='/invitations/'][action$='{which}']");
        let document = scraper::Html::parse_document(page);
        let form = document.select(&scraper::Selector::parse(&forms).unwrap()).next().unwrap();
        form.value().attr("action").unwrap().to_owned()
    };
    let page = owner.get(&list).body;
    let (send, withdraw) = (act(&page, "send"), act(&page, "withdraw"));
    let too_soon = owner.post(&send, &[]);
    assert_eq!(too_soon.status, 422);
    assert!(too_soon.text(".summary").contains("less than a minute ago"));
    // It has ended, and counts again for seven days once it is sent again.
    let path = link(&desk, "bo@example.com");
    age(&desk, 8 * 86_400);
    assert_eq!(server.browser().get(&path).status, 404);
    assert_eq!(owner.post(&send, &[]).status, 303);
    assert_eq!(server.browser().get(&path).status, 200);
    desk.wait_for_mails("invitation", 2);
    for _ in 0..8 {
        age(&desk, 61);
        assert_eq!(owner.post(&send, &[]).status, 303);
    }
    age(&desk, 61);
    assert_eq!(owner.post(&send, &[]).status, 422, "a mailbox can't be flooded");
    assert_eq!(owner.post(&withdraw, &[]).status, 303);
    assert_eq!(server.browser().get(&path).status, 404);
    assert_eq!(owner.post(&send, &[]).status, 404);
    assert_eq!(owner.post(&withdraw, &[]).status, 404);
    assert_eq!(invite(&mut owner, &org, "bo@example.com", "member"), 303);
    // One that has ended gives way to a new one.
    age(&desk, 8 * 86_400);
    assert_eq!(invite(&mut owner, &org, "bo@example.com", "auditor"), 303);
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM invitations WHERE open_email IS NOT NULL"),
        1
    );
}

#[test]
fn invitations_end_with_the_right_to_invite() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let id = desk.add_member(&org, "admin@example.com", "admin");
    let mut admin = server.signed_in_as("admin@example.com");
    for (demote, path) in [("role", "role"), ("disable", "disable"), ("remove", "remove")] {
        let email = format!("{demote}@example.com");
        assert_eq!(invite(&mut admin, &org, &email, "member"), 303, "{demote}");
        let link = link(&desk, &email);
        assert_eq!(server.browser().get(&link).status, 200);
        let changed = owner.post(&format!("/o/{}/members/{id}/{path}", org.slug), &[("role", "member")]);
        assert_eq!(changed.status, 303, "{demote}: {}", changed.body);
        assert_eq!(server.browser().get(&link).status, 404, "{demote}");
        if demote == "role" {
            owner.post(&format!("/o/{}/members/{id}/role", org.slug), &[("role", "admin")]);
        } else if demote == "disable" {
            owner.post(&format!("/o/{}/members/{id}/enable", org.slug), &[]);
        }
    }
}

#[test]
fn concurrent_acceptances_succeed_once() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    invite(&mut owner, &org, "bo@example.com", "member");
    let path = link(&desk, "bo@example.com");
    let mut bo = server.browser();
    assert_eq!(bo.post(&path, &[("name", "Bo"), ("password", NEW_PASSWORD)]).status, 303);
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let (mut bo, path) = (bo.clone(), format!("{path}/accept"));
            std::thread::spawn(move || bo.post(&path, &[]).status)
        })
        .collect();
    let mut statuses: Vec<u16> = tries.into_iter().map(|one| one.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 303);
    assert!(statuses[1..].iter().all(|status| *status == 404), "{statuses:?}");
    assert_eq!(members(&desk), 2);
}
