//! Rotating a key in the portal, and watching its clients switch.

use serde_json::{Value, json};

use crate::support::{Api, Browser, Desk, Org, Page, Server, desk, eventually, is_key};
use crate::usage_pages::added_up;

/// A key, a client with it, and the path of its page.
fn key(server: &Server, org: &Org, name: &str, more: Value) -> (Value, Api, String) {
    let mut body = json!({"name": name, "scopes": ["inference:read"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let key = org.admin.create(&body);
    let page = format!("/o/{}/keys/{}", org.slug, key["id"].as_str().unwrap());
    let api = server.api(key["key"].as_str().unwrap());
    (key, api, page)
}

fn rotate(browser: &mut Browser, page: &str, overlap: &str) -> Page {
    let form = browser.get(&format!("{page}/rotate"));
    let nonce = form.attribute("input[name=form]", "value").unwrap();
    browser.post(&format!("{page}/rotate"), &[("form", &nonce), ("overlap", overlap)])
}

fn secret(page: &Page) -> String {
    let secret = page.text("[data-secret]");
    assert!(is_key(&secret), "{}", page.body);
    secret
}

#[test]
fn rotation_form_explains_the_effect_and_shows_the_secret_once() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (made, old, page) = key(&server, &org, "web-gateway", json!({"expires_in_days": 90}));
    let form = browser.get(&format!("{page}/rotate"));
    assert_eq!(form.text("h1"), "Rotate web-gateway");
    assert_eq!(form.attribute("input[name=overlap][checked]", "value").as_deref(), Some("24h"));
    assert_eq!(form.texts(".chips label").len(), 6);
    let nonce = form.attribute("input[name=form]", "value").unwrap();
    let send = |browser: &mut Browser, overlap: &str| {
        browser.post(&format!("{page}/rotate"), &[("form", &nonce), ("overlap", overlap)])
    };
    let shown = send(&mut browser, "1h");
    assert_eq!((shown.status, shown.header("cache-control")), (200, Some("no-store")));
    assert_eq!(shown.header("referrer-policy"), Some("no-referrer"));
    let new = server.api(&secret(&shown));
    assert_eq!((old.get("/v1/models").status, new.get("/v1/models").status), (200, 200));
    assert_eq!(new.get("/v1/api-keys/self").json()["id"], made["id"]);
    let again = send(&mut browser, "1h");
    assert!(
        again.texts("[data-secret]").is_empty() && again.body.contains("already rotated"),
        "{}",
        again.body
    );
    // An open rotation has no form, and another form does not rotate the key.
    assert_eq!(browser.get(&format!("{page}/rotate")).header("location"), Some(page.as_str()));
    assert_eq!(send(&mut browser, "24h").status, 409);
    assert_eq!(new.get("/v1/models").status, 200);
}

#[test]
fn invalid_overlap_is_refused_and_the_choice_kept() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (_, old, page) = key(&server, &org, "batch", json!({}));
    for (overlap, until) in [
        ("custom", ""),
        ("custom", "29.11.2027"),
        ("custom", "2001-01-01"),
        ("custom", "2200-01-01"),
        ("31d", ""),
        ("", ""),
    ] {
        let fields = [("form", "x"), ("overlap", overlap), ("overlap_until", until)];
        let refused = browser.post(&format!("{page}/rotate"), &fields);
        assert_eq!(refused.status, 422, "{overlap} {until}");
        assert!(refused.text("title").starts_with("Error: "));
        assert_eq!(refused.texts("#overlap-error").len(), 1);
        assert_eq!(refused.attribute("#overlap_until", "value").as_deref(), Some(until));
    }
    assert_eq!(old.get("/v1/api-keys/self").json()["rotation"], Value::Null);
    let day =
        jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 3 * 86_400).unwrap().to_string();
    let fields = [("form", "x"), ("overlap", "custom"), ("overlap_until", &day[..10])];
    let shown = browser.post(&format!("{page}/rotate"), &fields);
    let rotation = server.api(&secret(&shown)).get("/v1/api-keys/self").json()["rotation"].clone();
    assert!(rotation["ends_at"].as_str().unwrap().starts_with(&day[..10]), "{rotation}");
}

/// Fields of the cockpit, once everything that was called is counted.
fn cockpit(browser: &mut Browser, page: &str) -> Page {
    browser.get_fragment(&format!("{page}/rotation"))
}

#[test]
fn rotation_panel_lists_clients_of_the_old_secret_until_there_are_none() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (_, old, page) = key(&server, &org, "web-gateway", json!({}));
    let call = |api: &Api, program: &str| {
        assert_eq!(api.send("GET", "/v1/models", &[("user-agent", program)], None).status, 200);
    };
    call(&old, "openai-python/2.9.1");
    call(&old, "batch-export/1.4");
    let new = server.api(&secret(&rotate(&mut browser, &page, "24h")));
    let started = jiff::Timestamp::now().as_second();
    let seen = cockpit(&mut browser, &page);
    assert!(seen.body.contains("2 clients seen in the last 7 days have not switched yet"), "{}", seen.body);
    eventually("the second of the start is over", || jiff::Timestamp::now().as_second() > started);
    for _ in 0..3 {
        call(&new, "openai-python/2.9.1");
    }
    call(&old, "batch-export/1.4");
    let seen = cockpit(&mut browser, &page);
    assert_eq!(seen.texts("tbody th[scope=row]"), ["127.0.0.1"]);
    assert_eq!(seen.texts("tbody td:nth-child(2)"), ["batch-export/1.4"]);
    assert!(seen.texts(".figure").iter().all(|rate| rate != "0"), "{}", seen.body);
    assert!(seen.text(".share strong").ends_with('%'));
    assert!(seen.body.contains("this client gets"), "{}", seen.body);
    assert!(seen.attribute("#rotation", "hx-trigger").is_some_and(|trigger| trigger == "every 10s"));
    // A client that has switched is no longer listed after ten minutes without requests with the old secret.
    call(&new, "batch-export/1.4");
    cockpit(&mut browser, &page);
    added_up(&desk);
    desk.database.execute("UPDATE usage_callers SET last_at = last_at - 660000000 WHERE secret_id IN (SELECT id FROM key_secrets WHERE superseded_at IS NOT NULL)");
    desk.database.execute(
        "UPDATE key_secrets SET superseded_at = superseded_at - 7200000000 WHERE superseded_at IS NOT NULL",
    );
    let seen = cockpit(&mut browser, &page);
    assert!(seen.body.contains("Safe to end now"), "{}", seen.body);
    assert!(seen.texts("tbody tr").is_empty());
    // The whole page shows the same, and an address of the fragment leads to it.
    let whole = browser.get(&page);
    assert!(whole.body.contains("Safe to end now"));
    assert_eq!(whole.texts(".title-line .badge"), ["Active", "Rotating"]);
    assert_eq!(browser.get(&format!("{page}/rotation")).header("location"), Some(page.as_str()));
}

#[test]
fn old_secret_is_extended_and_ended() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (_, old, page) = key(&server, &org, "web-gateway", json!({}));
    let new = server.api(&secret(&rotate(&mut browser, &page, "1h")));
    let rotation = || new.get("/v1/api-keys/self").json()["rotation"].clone();
    let ends = |rotation: &Value| {
        rotation["ends_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let before = ends(&rotation());
    assert_eq!(browser.get(&format!("{page}/rotation/move")).texts(".chips label").len(), 4);
    assert_eq!(browser.post(&format!("{page}/rotation/move"), &[("longer", "1y")]).status, 422);
    let moved = browser.post(&format!("{page}/rotation/move"), &[("longer", "3d")]);
    assert_eq!((moved.status, moved.header("location")), (303, Some(page.as_str())));
    assert_eq!(ends(&rotation()) - before, 3 * 86_400);
    for _ in 0..4 {
        browser.post(&format!("{page}/rotation/move"), &[("longer", "7d")]);
    }
    assert_eq!(ends(&rotation()), before - 3_600 + 30 * 86_400);
    assert!(browser.get(&format!("{page}/rotation/move")).body.contains("be extended any further"));
    let asked = browser.get(&format!("{page}/rotation/end"));
    assert_eq!(asked.text("h1"), "End the old secret of web-gateway?");
    assert_eq!(old.get("/v1/models").status, 200);
    let ended = browser.post(&format!("{page}/rotation/end"), &[]);
    assert_eq!((ended.status, ended.header("location")), (303, Some(page.as_str())));
    assert_eq!(old.get("/v1/models").code(), "key_superseded");
    assert_eq!(rotation(), Value::Null);
    let seen = browser.get(&page);
    assert!(
        seen.texts("#rotation").is_empty() && seen.body.contains("The old secret of web-gateway has ended.")
    );
    // A page that is still open learns of the end, and stops polling.
    let seen = cockpit(&mut browser, &page);
    assert!(seen.body.contains("the old secret has ended"));
    assert_eq!(seen.attribute("#rotation", "hx-trigger"), None);
    for path in ["rotation/end", "rotation/move"] {
        assert_eq!(browser.get(&format!("{page}/{path}")).header("location"), Some(page.as_str()));
        assert_eq!(browser.post(&format!("{page}/{path}"), &[("longer", "1h")]).status, 303);
    }
}

#[test]
fn list_shows_open_rotations_and_offers_to_rotate_other_keys() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (_, _, page) = key(&server, &org, "web-gateway", json!({"expires_in_days": 90}));
    let (_, _, idle) = key(&server, &org, "docs-search", json!({"expires_in_days": 120}));
    rotate(&mut browser, &page, "24h");
    let list = browser.get(&format!("/o/{}/keys", org.slug));
    let (open, other) = (format!("a[href='{page}'].button"), format!("a[href='{idle}/rotate'].button"));
    assert_eq!(
        (list.text(&open), list.text(&other)),
        ("Open web-gateway".into(), "Rotate docs-search".into())
    );
    assert_eq!(list.texts(".badge.rotating").len(), 1);
    assert!(list.text(".notice").contains("1 key is rotating."), "{}", list.text(".notice"));
    assert!(list.text(".notice").contains("web-gateway"));
    let soon = json!({"name": "ci-smoke", "scopes": ["inference:read"], "expires_in_days": 5});
    org.admin.create(&soon);
    let both = browser.get(&format!("/o/{}/keys", org.slug)).text(".notice");
    assert!(
        both.contains("1 key expires in the next 7 days.") && both.contains("1 key is rotating."),
        "{both}"
    );
}

#[test]
fn auditors_see_a_rotation_and_change_nothing() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let (_, old, page) = key(&server, &org, "web-gateway", json!({}));
    rotate(&mut browser, &page, "24h");
    make(&desk, "auditor");
    let seen = browser.get(&page);
    assert_eq!((seen.status, seen.texts("#rotation a").len()), (200, 0));
    assert_eq!(cockpit(&mut browser, &page).status, 200);
    for path in ["rotate", "rotation/end", "rotation/move"] {
        assert_eq!(browser.get(&format!("{page}/{path}")).status, 403, "{path}");
        assert_eq!(
            browser.post(&format!("{page}/{path}"), &[("overlap", "0s"), ("longer", "1h")]).status,
            403,
            "{path}"
        );
    }
    make(&desk, "owner");
    eventually("the old secret works again", || old.get("/v1/models").status == 200);
}

/// Gives everyone a role.
fn make(desk: &Desk, role: &str) {
    desk.database.change(&format!("UPDATE members SET role = '{role}'"));
}
