//! Actions that need a fresh sign-in, and confirming the identity without losing input.

use crate::support::{Browser, Desk, Org, PASSWORD, Page, desk};

/// Makes every open session one whose person proved long ago who they are.
pub fn grow_stale(desk: &Desk) {
    desk.database
        .execute(r#"UPDATE sessions SET state = REPLACE(state, '"proved_at":"\"1', '"proved_at":"\"0')"#);
}

fn admin_key<'a>(name: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let fields = [
        ("name", name),
        ("description", "From a & form \"typed\" long ago"),
        ("scopes", "inference:read"),
        ("scopes", "admin"),
        ("expires", "90"),
        ("requests_per_minute", "600"),
        ("allowed_ips", "10.0.0.0/8\r\n192.0.2.1"),
    ];
    fields.into_iter().chain(more.iter().copied()).collect()
}

/// Sends the page's form as a browser does, with one field more.
fn send_on(browser: &mut Browser, page: &Page, field: (&str, &str)) -> Page {
    let action = page.attribute("form", "action").unwrap();
    let carried = page.inputs("form input[type=hidden]");
    let mut fields: Vec<(&str, &str)> =
        carried.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(field);
    browser.post(&action, &fields)
}

fn keys_of(desk: &Desk, name: &str) -> i64 {
    desk.database.count(&format!("SELECT COUNT(*) AS count FROM api_keys WHERE name = '{name}'"))
}

fn path(org: &Org) -> String {
    format!("/o/{}/keys", org.slug)
}

#[test]
fn creating_an_admin_key_needs_a_fresh_sign_in_and_keeps_the_input() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    assert_eq!(browser.post(&path(&org), &admin_key("fresh", &[])).status, 200);
    grow_stale(&desk);
    let asked = browser.post(&path(&org), &admin_key("stale", &[]));
    assert_eq!((asked.status, keys_of(&desk, "stale")), (403, 0));
    assert_eq!(asked.text("h1"), "Confirm your identity");
    let wrong = send_on(&mut browser, &asked, ("confirm_password", "not the right password"));
    assert_eq!((wrong.status, keys_of(&desk, "stale")), (422, 0));
    assert!(wrong.text("title").starts_with("Error: "));
    assert!(!wrong.body.contains("not the right password"));
    let before = browser.cookie.clone();
    let made = send_on(&mut browser, &wrong, ("confirm_password", PASSWORD));
    assert_eq!((made.status, keys_of(&desk, "stale")), (200, 1), "{}", made.body);
    let stored = desk.database.lines("SELECT description AS line FROM api_keys WHERE name = 'stale'");
    assert_eq!(stored, ["From a & form \"typed\" long ago"]);
    let stored = desk.database.lines("SELECT allowed_ips AS line FROM api_keys WHERE name = 'stale'");
    assert!(stored[0].contains("10.0.0.0/8") && stored[0].contains("192.0.2.1"), "{stored:?}");
    // The session has another name from then on, and is fresh.
    assert_ne!(browser.cookie, before);
    assert_eq!(browser.post(&path(&org), &admin_key("at-once", &[])).status, 200);
    let mut old = server.browser();
    old.cookie = before;
    assert_eq!(old.get("/account").status, 303);
}

#[test]
fn widening_a_key_to_admin_needs_a_fresh_sign_in_and_other_changes_do_not() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&serde_json::json!({"name": "narrow", "scopes": ["inference:read"]}));
    let edit = format!("/o/{}/keys/{}/edit", org.slug, key["id"].as_str().unwrap());
    let mut browser = server.signed_in(&org);
    grow_stale(&desk);
    let fields = |scope| {
        [
            ("description", "x"),
            ("scopes", "inference:read"),
            ("scopes", scope),
            ("expires", "keep"),
            ("requests_per_minute", "5"),
        ]
    };
    assert_eq!(browser.post(&edit, &fields("inference:write")).status, 303);
    let asked = browser.post(&edit, &fields("admin"));
    assert_eq!(asked.status, 403);
    let done = send_on(&mut browser, &asked, ("confirm_password", PASSWORD));
    assert_eq!(done.status, 303, "{}", done.body);
    let scopes = desk.database.lines("SELECT scopes AS line FROM api_keys WHERE name = 'narrow'");
    assert!(scopes[0].contains("admin"), "{scopes:?}");
}

#[test]
fn confirmation_page_returns_only_to_pages_of_this_site() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    assert_eq!(browser.get("/sign-in/again?next=%2Faccount").header("location"), Some("/account"));
    grow_stale(&desk);
    let page = browser.get("/sign-in/again?next=%2F%2Fevil.example");
    assert_eq!(page.status, 200);
    let back = send_on(&mut browser, &page, ("confirm_password", PASSWORD));
    assert_eq!((back.status, back.header("location")), (303, Some("/")));
    let stranger = server.browser().get("/sign-in/again");
    assert_eq!(stranger.header("location"), Some("/sign-in?next=%2Fsign-in%2Fagain"));
}

#[test]
fn guessing_the_password_of_an_open_session_is_slowed_down() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    grow_stale(&desk);
    let guess = |browser: &mut Browser| browser.post("/sign-in/again", &[("confirm_password", "guess")]);
    let answers: Vec<u16> = (0..8).map(|_| guess(&mut browser).status).collect();
    assert!(answers.starts_with(&[422, 422, 422, 422]) && answers.contains(&429), "{answers:?}");
}
