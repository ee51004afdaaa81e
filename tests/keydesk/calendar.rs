//! Key expiries in calendars.

use serde_json::json;

use crate::support::{Browser, Org, Page, desk};

fn make(browser: &mut Browser, org: &Org) -> String {
    let page = browser.post(&format!("/o/{}/calendar", org.slug), &[]);
    assert_eq!(page.status, 200);
    let address = page.text("#address");
    address[address.find("/calendar/").unwrap()..].to_owned()
}

/// The lines of a calendar, unfolded.
fn lines(calendar: &Page) -> Vec<String> {
    assert_eq!(calendar.status, 200, "{}", calendar.body);
    assert_eq!(calendar.header("content-type"), Some("text/calendar; charset=utf-8"));
    assert!(calendar.body.split_terminator("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')));
    calendar.body.replace("\r\n ", "").split_terminator("\r\n").map(str::to_owned).collect()
}

/// The values of a property, event by event.
fn values(calendar: &Page, property: &str) -> Vec<String> {
    let start = format!("{property}:");
    lines(calendar).iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

#[test]
fn calendar_shows_all_expiries_at_an_address_that_can_be_revoked() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let create = |name: &str, days: i64| {
        org.admin.create(&json!({"name": name, "scopes": ["inference:read"], "expires_in_days": days}))
    };
    let (late, soon) = (create("docs, search; \\ö", 120), create("ci-smoke", 5));
    let address = make(&mut browser, &org);
    // Calendars can't sign in.
    let read = || server.browser().get(&address);
    let summaries = values(&read(), "SUMMARY");
    assert_eq!(summaries, ["API key \"ci-smoke\" expires", "API key \"docs\\, search\\; \\\\ö\" expires"]);
    let stamp = |key: &serde_json::Value| key["expires_at"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!(values(&read(), "DTSTART"), [stamp(&soon), stamp(&late)]);
    let uids = values(&read(), "UID");
    assert_eq!(uids[0], format!("{}@keydesk", soon["id"].as_str().unwrap()));
    // The event stays the same and moves with the expiry.
    let path = format!("/v1/api-keys/{}", soon["id"].as_str().unwrap());
    assert_eq!(values(&read(), "SEQUENCE"), ["0", "0"]);
    org.admin.patch(&path, &json!({"expires_at": late["expires_at"], "description": "x"}));
    org.admin.patch(&path, &json!({"description": "y"}));
    let mut moved = values(&read(), "SEQUENCE");
    moved.sort();
    assert_eq!(moved, ["0", "1"]);
    org.admin.post(&format!("{path}/rotate"), &json!({"overlap": "1h"}));
    assert_eq!(values(&read(), "SUMMARY").len(), 3, "the old secret's end too");
    assert!(values(&read(), "UID").contains(&uids[0]));
    org.admin.delete(&path);
    assert_eq!(values(&read(), "SUMMARY").len(), 1);
    // A new address takes the place of the old one, and can be revoked.
    let second = make(&mut browser, &org);
    assert_ne!(address, second);
    assert_eq!((read().status, server.browser().get(&second).status), (404, 200));
    assert!(browser.get(&format!("/o/{}/calendar", org.slug)).texts("#address").is_empty());
    assert_eq!(browser.post(&format!("/o/{}/calendar/end", org.slug), &[]).status, 303);
    assert_eq!(server.browser().get(&second).status, 404);
    assert_eq!(server.browser().get("/calendar/x.ics").status, 404);
    let token = address.trim_start_matches("/calendar/").to_owned();
    assert!(!server.whole_log().contains(&token), "the address stands in no log");
}

#[test]
fn calendar_address_follows_the_rights_of_its_member() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let other = desk.set_up(&server, "Other");
    org.admin.create(&json!({"name": "mine", "scopes": ["inference:read"], "expires_in_days": 5}));
    other.admin.create(&json!({"name": "theirs", "scopes": ["inference:read"], "expires_in_days": 5}));
    let address = make(&mut browser, &org);
    let read = || server.browser().get(&address);
    assert_eq!(values(&read(), "SUMMARY").len(), 1);
    let owner = format!("(SELECT id FROM people WHERE email = '{}')", other.email);
    desk.database.change("UPDATE members SET role = 'member'");
    assert_eq!(values(&read(), "SUMMARY").len(), 1);
    // A member's calendar tells of their own keys alone.
    desk.database.change(&format!("UPDATE api_keys SET owner_id = {owner} WHERE name = 'mine'"));
    assert_eq!(values(&read(), "SUMMARY").len(), 0);
    desk.database.change("UPDATE members SET role = 'auditor'");
    assert_eq!(values(&read(), "SUMMARY").len(), 1);
    desk.database.change(&format!("UPDATE people SET disabled_at = 1 WHERE email = '{}'", org.email));
    assert_eq!(read().status, 404);
    desk.database.change("UPDATE people SET disabled_at = NULL");
    assert_eq!(read().status, 200);
    desk.database.change(&format!(
        "DELETE FROM members WHERE person_id = (SELECT id FROM people WHERE email = '{}')",
        org.email
    ));
    assert_eq!(read().status, 404);
}

#[test]
fn calendar_file_of_a_key_is_available_to_those_who_can_see_it() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let made = org.admin.create(&json!({"name": "mine", "scopes": ["inference:read"], "expires_in_days": 5}));
    let id = made["id"].as_str().unwrap();
    let path = format!("/keys/{id}.ics");
    let file = browser.get(&path);
    assert_eq!(values(&file, "SUMMARY"), ["API key \"mine\" expires"]);
    assert_eq!(
        file.header("content-disposition"),
        Some(format!("attachment; filename=\"{id}.ics\"").as_str())
    );
    assert_eq!(server.browser().get(&path).status, 303, "sign-in comes first");
    let other = desk.set_up(&server, "Other");
    assert_eq!(server.signed_in(&other).get(&path).status, 404);
    assert_eq!(browser.get("/keys/key_nothing.ics").status, 404);
    let endless = org.admin.create(&json!({"name": "endless", "scopes": ["inference:read"]}));
    assert_eq!(browser.get(&format!("/keys/{}.ics", endless["id"].as_str().unwrap())).status, 404);
    org.admin.delete(&format!("/v1/api-keys/{id}"));
    let cancelled = browser.get(&path);
    assert_eq!(
        (values(&cancelled, "STATUS"), values(&cancelled, "SEQUENCE")),
        (vec!["CANCELLED".to_owned()], vec!["1".to_owned()])
    );
    // The address without the ending is the key's page.
    assert_eq!(
        browser.get(&format!("/keys/{id}")).header("location"),
        Some(format!("/o/{}/keys/{id}", org.slug).as_str())
    );
}

#[test]
fn a_calendar_that_has_not_changed_is_not_sent_again() {
    let (_desk, server, org) = desk();
    let key =
        org.admin.create(&json!({"name": "batch", "scopes": ["inference:read"], "expires_in_days": 30}));
    let address = make(&mut server.signed_in(&org), &org);
    let read = |tag: &str| server.browser().request("GET", &address, &[], &[("if-none-match", tag)]);
    let first = server.browser().get(&address);
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    assert_eq!(server.browser().get(&address).body, first.body);
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let unchanged = read(&known);
        assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
        assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(read("\"x\"").status, 200);
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"expires_at": "2030-01-01T00:00:00Z"})).status, 200);
    let changed = read(&tag);
    assert_ne!((changed.status, changed.header("etag")), (304, Some(tag.as_str())));
    assert_eq!(changed.status, 200);
}

#[test]
fn a_calendar_reminds_before_each_end() {
    let (_desk, server, org) = desk();
    org.admin.create(&json!({"name": "batch", "scopes": ["inference:read"], "expires_in_days": 30}));
    let address = make(&mut server.signed_in(&org), &org);
    let calendar = server.browser().get(&address);
    assert_eq!(values(&calendar, "TRIGGER"), ["-P7D", "-P1D"]);
    let count = |line: &str| lines(&calendar).iter().filter(|found| *found == line).count();
    for (part, number) in [("VEVENT", 1), ("VALARM", 2)] {
        assert_eq!((count(&format!("BEGIN:{part}")), count(&format!("END:{part}"))), (number, number));
    }
    assert_eq!(count("REFRESH-INTERVAL;VALUE=DURATION:PT1H"), 1);
}
