//! The audit trail in the portal: sentences, filters, single entries, exports.

use serde_json::{Value, json};

use crate::support::{Browser, Desk, Org, Server, desk, eventually};

/// An organisation with some history, and a key of it.
fn history() -> (Desk, Server, Org, String) {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let key =
        org.admin.create(&json!({"name": "web-gateway", "scopes": ["inference:read", "inference:write"]}));
    let id = key["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(org.admin.patch(&path, &json!({"requests_per_minute": 1200})).status, 200);
    assert_eq!(
        org.admin.patch(&path, &json!({"scopes": ["inference:read"], "description": "=1+1"})).status,
        200
    );
    (desk, server, org, id)
}

fn sentences(browser: &mut Browser, path: &str) -> Vec<String> {
    let page = browser.get(path);
    assert_eq!(page.status, 200, "{path}");
    page.texts("table.audit td:nth-child(2)")
}

#[test]
fn trail_shows_who_did_what() {
    let (_desk, server, org, id) = history();
    let mut browser = server.signed_in(&org);
    let trail = format!("/o/{}/audit", org.slug);
    let told = sentences(&mut browser, &trail);
    let expected = [
        "Ada Lovelace signed in",
        "The key admin-key changed the description and the scopes of web-gateway",
        "The key admin-key changed the limit of web-gateway: 600 → 1,200 requests a minute",
        "The key admin-key created web-gateway with inference:read, inference:write; it never expires",
        "The command line created admin-key with admin; it never expires",
        "The command line set up the organisation Acme AI with Ada Lovelace as its owner",
    ];
    assert_eq!(told, expected);
    let page = browser.get(&trail);
    assert!(page.text("tr.day th").starts_with("Today, "));
    assert_eq!(
        page.attribute("table.audit td:nth-child(2) a", "href"),
        Some(format!("/o/{}/keys/{id}", org.slug))
    );
    assert!(
        browser.get(&format!("/o/{}/keys/{id}", org.slug)).body.contains(&format!("{trail}?target={id}"))
    );
    eventually("the log is checked and signed", || {
        browser
            .get(&trail)
            .texts(".notice.ok")
            .iter()
            .any(|text| text.starts_with("Unbroken from entry 1 to"))
    });
}

#[test]
fn search_and_filters_are_part_of_the_url() {
    let (_desk, server, org, id) = history();
    let mut browser = server.signed_in(&org);
    let trail = format!("/o/{}/audit", org.slug);
    let mut count = |query: &str| sentences(&mut browser, &format!("{trail}?{query}")).len();
    assert_eq!(count("q=web-gate"), 3);
    assert_eq!(count("q=ada"), 1);
    assert_eq!(count(&format!("q={id}")), 3);
    assert_eq!(count("q=127.0.0.1"), 4);
    assert_eq!(count("q=nothing-like-it"), 0);
    assert_eq!(count("kind=key"), 4);
    assert_eq!(count("kind=key.updated"), 2);
    assert_eq!(count("kind=nothing"), 0);
    assert_eq!(count("kind=key.updated&q=web-gateway"), 2);
    assert_eq!(count(&format!("target={id}&kind=key.created")), 1);
    assert_eq!(count("actor=system:cli"), 2);
    assert_eq!(count("range=24h"), 6);
    assert_eq!(count("range=custom&from=2001-01-01&to=2001-01-02"), 0);
    assert_eq!(count("range=custom&from=2001-01-01"), 6);
    let entry = org.admin.get("/v1/audit-events?limit=1&action=key.updated").json()["data"][0].clone();
    assert_eq!(count(&format!("q={}", entry["id"].as_str().unwrap())), 1);
    assert_eq!(count(&format!("q={}", entry["request_id"].as_str().unwrap())), 1);
    for wrong in ["range=ever", "before=x", "kind=%00"] {
        assert_eq!(browser.get(&format!("{trail}?{wrong}")).status, 400, "{wrong}");
    }
    // Errors about dates are shown beside them, and the input is kept.
    for (wrong, field) in
        [("from=x", "from"), ("from=2026-11-02&to=2026-11-01", "to"), ("to=2026-02-30", "to")]
    {
        let query = format!("range=custom&{wrong}&q=web-gate");
        let page = browser.get(&format!("{trail}?{query}"));
        assert_eq!((page.status, page.attribute(".summary a", "href")), (422, Some(format!("#{field}"))));
        assert_eq!(page.attribute("input[name=q]", "value").as_deref(), Some("web-gate"));
        assert_eq!(browser.get(&format!("{trail}/export.csv?{query}")).status, 422);
    }
    let fragment = browser.get_fragment(&format!("{trail}?range=custom&q="));
    assert!(fragment.body.contains("id=\"from\"") && fragment.body.contains("export.csv?range=custom"));
    let fragment = browser.get_fragment(&format!("{trail}?kind=key&q="));
    assert!(fragment.body.trim_start().starts_with("<div id=\"rows\">"), "{}", fragment.body);
    assert_eq!(fragment.header("hx-replace-url"), Some(format!("{trail}?kind=key").as_str()));
}

#[test]
fn search_reports_further_matches_and_an_export_contains_all() {
    let (_desk, server, org) = desk();
    for number in 1..=12 {
        org.admin.create(&json!({"name": format!("bulk-{number}"), "scopes": ["inference:read"]}));
    }
    let mut browser = server.signed_in(&org);
    let trail = format!("/o/{}/audit", org.slug);
    let page = browser.get(&format!("{trail}?q=bulk"));
    assert!(page.text("#rows").contains("More than 8 keys or people match"));
    assert_eq!(sentences(&mut browser, &format!("{trail}?q=bulk")).len(), 8);
    assert_eq!(browser.get(&format!("{trail}/export.csv?q=bulk")).body.lines().count(), 1 + 12);
    assert!(!browser.get(&format!("{trail}?q=bulk-12")).text("#rows").contains("More than"));
    // Few letters mean no one but who is called so.
    assert_eq!(sentences(&mut browser, &format!("{trail}?q=an")), [""; 0]);
}

#[test]
fn people_who_have_left_are_found_and_not_confused_with_others() {
    let (desk, server, org) = desk();
    let grace_id = desk.add_member(&org, "grace@example.com", "member");
    let mut grace = server.signed_in_as("grace@example.com");
    assert_eq!(grace.post("/account", &[("name", "The command line"), ("zone", "UTC")]).status, 303);
    let mut browser = server.signed_in(&org);
    let search = format!("/o/{}/audit?q=grace@example.com", org.slug);
    let told = sentences(&mut browser, &search);
    assert!(told.iter().any(|line| line.starts_with("The command line (grace@example.com) ")), "{told:?}");
    let path = format!("/o/{}/members/{}/remove", org.slug, grace_id);
    assert_eq!(browser.post(&path, &[]).status, 303);
    assert!(sentences(&mut browser, &search).len() > told.len());
    // Of whom the log tells nothing, it tells no name either.
    let other = desk.set_up(&server, "Other");
    let stranger = desk.id_of(&other.email);
    let page = browser.get(&format!("/o/{}/audit?actor={stranger}", org.slug));
    assert_eq!(page.text(".narrowed a span:first-child"), format!("By {stranger}"));
}

#[test]
fn trail_is_paginated_in_both_directions() {
    let (_desk, server, org, _) = history();
    for number in 0..60 {
        org.admin.create(&json!({"name": format!("key-{number}"), "scopes": ["inference:read"]}));
    }
    let mut browser = server.signed_in(&org);
    let newest = browser.get(&format!("/o/{}/audit", org.slug));
    assert_eq!(newest.texts("table.audit td:nth-child(2)").len(), 50);
    assert_eq!(newest.text(".table-foot > span"), "50 of 66 entries");
    let older = browser.get(&newest.attribute("a[rel=next]", "href").unwrap());
    assert_eq!(older.texts("table.audit td:nth-child(2)").len(), 16);
    assert_eq!(older.attribute("a[rel=next]", "href"), None);
    let back = browser.get(&older.attribute("a[rel=prev]", "href").unwrap());
    assert_eq!(back.texts("table.audit td:nth-child(4)"), newest.texts("table.audit td:nth-child(4)"));
    assert_eq!(back.attribute("a[rel=prev]", "href"), None);
}

#[test]
fn an_entry_shows_before_and_after_and_the_hashed_text() {
    let (desk, server, org, id) = history();
    let mut browser = server.signed_in(&org);
    let page = browser.get(&format!("/o/{}/audit/4", org.slug));
    assert_eq!(page.text("h1"), "Entry 5");
    let cells = page.texts("section[aria-labelledby=changes] td");
    assert_eq!(cells, ["none", "=1+1", "inference:read, inference:write", "inference:read"]);
    let text = desk.database.lines("SELECT entry AS line FROM audit_entries WHERE position = 4").remove(0);
    assert_eq!(page.text("#text"), text);
    let proof = org.admin.get("/v1/audit/proof?index=4").json();
    assert_eq!(page.text("#hash"), proof["leaf"].as_str().unwrap());
    assert!(page.body.contains(&format!("/audit?target={id}")));
    for wrong in ["999", "x", "-1"] {
        assert_eq!(browser.get(&format!("/o/{}/audit/{wrong}", org.slug)).status, 404, "{wrong}");
    }
}

#[test]
fn exports_follow_the_filters_and_contain_no_formulas() {
    let (desk, server, org, _) = history();
    let mut browser = server.signed_in(&org);
    let export = format!("/o/{}/audit", org.slug);
    let csv = browser.get(&format!("{export}/export.csv?kind=key.updated"));
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.body.lines().count(), 3);
    assert!(csv.body.starts_with("\u{feff}index,time_utc,actor_id,actor,action,"));
    assert!(csv.body.contains("The key admin-key changed the limit of web-gateway"));
    let lines = browser.get(&format!("{export}/export.jsonl"));
    let events: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 6);
    assert_eq!(events[5]["action"], "organization.created");
    let whole = browser.get(&format!("{export}/log.jsonl"));
    let file = desk.data.path().join("log.jsonl");
    std::fs::write(&file, &whole.body).unwrap();
    let key = browser.get(&format!("{export}/proof")).text("#key-1");
    let checked = desk.run(&["audit", "verify", "--export", file.to_str().unwrap(), "--key", &key]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn auditors_see_the_trail_and_members_do_not() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    for (role, status) in [("member", 403), ("auditor", 200), ("admin", 200)] {
        desk.database.change(&format!("UPDATE members SET role = '{role}'"));
        for page in
            ["audit", "audit/0", "audit/proof", "audit/export.csv", "audit/export.jsonl", "audit/log.jsonl"]
        {
            assert_eq!(browser.get(&format!("/o/{}/{page}", org.slug)).status, status, "{role} {page}");
        }
        let keys = browser.get(&format!("/o/{}/keys", org.slug));
        assert_eq!(keys.body.contains(&format!("/o/{}/audit", org.slug)), status == 200, "{role}");
    }
    let other = desk.set_up(&server, "Other Org");
    assert_eq!(browser.get(&format!("/o/{}/audit", other.slug)).status, 404);
}
