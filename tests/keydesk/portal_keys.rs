//! The pages about keys, without scripts.

use serde_json::json;

use crate::support::{Browser, Org, Page, desk, eventually, is_key};

fn create(browser: &mut Browser, org: &Org, changes: &[(&str, &str)]) -> Page {
    let mut fields = vec![
        ("form", "nonce-1"),
        ("name", "invoice-parser"),
        ("description", "Reads invoices"),
        ("scopes", "inference:read"),
        ("scopes", "inference:write"),
        ("expires", "90"),
        ("expires_on", ""),
        ("requests_per_minute", "600"),
        ("allowed_ips", ""),
    ];
    for (name, value) in changes {
        if *name == "scopes" {
            fields.retain(|(field, _)| field != name);
        }
        match fields.iter_mut().find(|(field, _)| field == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    browser.post(&format!("/o/{}/keys", org.slug), &fields)
}

#[test]
fn a_key_is_shown_once_and_works() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let page = create(&mut browser, &org, &[]);
    assert_eq!(page.status, 200);
    let secret = page.text("[data-secret]");
    assert!(is_key(&secret));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.body.matches(&secret).count(), 1, "the examples use the variable");
    assert!(page.body.contains("ACME_AI_API_KEY"));
    assert_eq!(server.api(&secret).get("/v1/models").status, 200);
    let id = page.attribute("form.gate", "action").unwrap();
    let shown = browser.get(&id);
    assert_eq!(shown.status, 200);
    assert!(!shown.body.contains(&secret));
    assert!(shown.body.contains(&secret[45..]));
    assert!(!browser.get(&format!("/o/{}/keys", org.slug)).body.contains(&secret));
}

#[test]
fn form_submitted_twice_creates_one_key_and_says_so() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    create(&mut browser, &org, &[]);
    let again = create(&mut browser, &org, &[]);
    assert_eq!(again.status, 200);
    assert_eq!(again.text("h1"), "This key was already created");
    assert!(again.texts("[data-secret]").is_empty());
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys"), 2);
    let changed = create(&mut browser, &org, &[("name", "another")]);
    assert_eq!(changed.texts("[data-secret]").len(), 1);
}

#[test]
fn refused_form_names_each_field_and_keeps_the_input() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    create(&mut browser, &org, &[]);
    let page = create(
        &mut browser,
        &org,
        &[
            ("form", "nonce-2"),
            ("scopes", ""),
            ("name", "x\u{202e}y"),
            ("expires", "custom"),
            ("expires_on", "2001-01-01"),
            ("requests_per_minute", "many"),
            ("allowed_ips", "not an address"),
        ],
    );
    assert_eq!(page.status, 422);
    assert!(page.text("title").starts_with("Error: Create API key"));
    assert_eq!(page.text(".summary h2"), "The key was not created: 5 problems");
    for field in ["name", "scopes", "expires", "requests_per_minute", "allowed_ips"] {
        assert!(page.attribute(&format!(".summary a[href='#{field}']"), "href").is_some(), "{field}");
        assert!(page.attribute(&format!("#{field}"), "name").is_some(), "{field} can be jumped to");
        assert_eq!(page.texts(&format!("#{field}-error")).len(), 1, "{field}");
    }
    assert_eq!(page.text("#description"), "Reads invoices");
    assert_eq!(page.text("#allowed_ips"), "not an address");
    assert_eq!(page.attribute("#expires_on", "value").as_deref(), Some("2001-01-01"));
    assert!(page.attribute("details.more", "open").is_some());
    let taken = create(&mut browser, &org, &[("form", "nonce-3"), ("name", "INVOICE-parser")]);
    assert_eq!(taken.status, 422);
    let both = create(&mut browser, &org, &[("form", "nonce-4"), ("scopes", "")]);
    assert_eq!(both.text(".summary h2"), "The key was not created: 2 problems");
    assert_eq!(
        taken.text("#name-error"),
        "The name INVOICE-parser is taken by another key. Choose another name."
    );
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys"), 2);
}

#[test]
fn input_is_never_rendered_as_markup() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let nasty = "<img src=x onerror=alert(1)>\"'";
    create(&mut browser, &org, &[("name", nasty), ("description", nasty)]);
    for path in ["keys", "keys?q=%3Cimg%20src", "keys?q=%22%3E%3Cscript%3E"] {
        let page = browser.get(&format!("/o/{}/{path}", org.slug));
        assert!(page.texts("img, main script").is_empty(), "{path}");
    }
}

#[test]
fn form_can_be_prefilled_from_the_url_and_from_another_key() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/keys/new", org.slug);
    let empty = browser.get(&path);
    assert_eq!(empty.attribute("[name=scopes][checked]", "value").as_deref(), Some("inference:read"));
    assert_eq!(empty.attribute("[name=expires][checked]", "value").as_deref(), Some("90"));
    let filled = browser
        .get(&format!("{path}?name=ci&description=Runs&scopes=analytics:read,inference:write&expires=30"));
    assert_eq!(filled.attribute("#name", "value").as_deref(), Some("ci"));
    assert_eq!(filled.text("#description"), "Runs");
    assert_eq!(filled.attribute("[name=expires][checked]", "value").as_deref(), Some("30"));
    let key = org.admin.create(&json!({
        "name": "source", "description": "copied", "scopes": ["analytics:read"], "expires_in_days": 180,
        "requests_per_minute": 7, "allowed_ips": ["10.0.0.0/8"],
    }));
    let id = key["id"].as_str().unwrap();
    let copied = browser.get(&format!("{path}?from={id}"));
    assert_eq!(copied.text("#description"), "copied");
    assert_eq!(copied.attribute("#name", "value").as_deref(), Some(""));
    assert_eq!(copied.attribute("[name=scopes][checked]", "value").as_deref(), Some("analytics:read"));
    assert_eq!(copied.attribute("[name=expires][checked]", "value").as_deref(), Some("180"));
    assert_eq!(copied.attribute("#requests_per_minute", "value").as_deref(), Some("7"));
    assert_eq!(copied.text("#allowed_ips"), "10.0.0.0/8");
    org.admin.delete(&format!("/v1/api-keys/{id}"));
    assert_eq!(
        browser.get(&format!("{path}?from={id}")).attribute("#name", "value").as_deref(),
        Some("source")
    );
}

#[test]
fn custom_date_lasts_until_the_end_of_the_day_in_the_persons_zone() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    browser.post("/account", &[("zone", "Asia/Tokyo")]);
    let page = create(&mut browser, &org, &[("expires", "custom"), ("expires_on", "2030-03-31")]);
    let key = server.api(&page.text("[data-secret]")).get("/v1/api-keys/self").json();
    assert_eq!(key["expires_at"], "2030-03-31T14:59:59Z");
}

#[test]
fn list_is_searched_filtered_sorted_and_paginated_by_url() {
    let (desk, server, org) = desk();
    for number in 0..60 {
        let body = json!({"name": format!("key-{number:02}"), "scopes": ["inference:read"], "expires_in_days": 10 + number});
        org.admin.create(&body);
    }
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/keys", org.slug);
    let names = |page: &Page| page.texts("tbody th a");
    let first = browser.get(&path);
    assert_eq!(names(&first).len(), 50);
    assert_eq!(names(&first)[..2], ["key-00", "key-01"]);
    assert_eq!(first.text(".table-foot > span"), "1–50 of 61 keys");
    let second = browser.get(&format!("{path}?page=2"));
    assert_eq!(names(&second).len(), 11);
    assert_eq!(names(&second).last().unwrap(), "admin-key", "what never ends comes last");
    assert_eq!(names(&browser.get(&format!("{path}?sort=name&dir=reversed")))[0], "key-59");
    assert_eq!(names(&browser.get(&format!("{path}?q=KEY-4"))).len(), 10);
    assert_eq!(names(&browser.get(&format!("{path}?scope=admin"))), ["admin-key"]);
    let key = org.admin.get("/v1/api-keys?q=key-33").json()["data"][0].clone();
    let hint = key["fingerprint"]["hint"].as_str().unwrap().to_owned();
    let last4: String = hint.chars().skip(4).collect();
    let digits = key["fingerprint"]["sha256_prefix"].as_str().unwrap();
    for search in [key["id"].as_str().unwrap(), &last4, &digits[..8], digits] {
        assert!(
            names(&browser.get(&format!("{path}?q={search}"))).contains(&"key-33".to_owned()),
            "{search}"
        );
    }
    desk.database.change("UPDATE api_keys SET expires_at = 1000000 WHERE name = 'key-07'");
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    assert_eq!(names(&browser.get(&format!("{path}?status=expired"))), ["key-07"]);
    assert_eq!(names(&browser.get(&format!("{path}?status=revoked"))), ["key-33"]);
    let ended = names(&browser.get(&format!("{path}?page=2")));
    assert!(
        ended.ends_with(&["key-07".to_owned(), "key-33".to_owned()]) || ended.contains(&"key-33".to_owned())
    );
    let nothing = browser.get(&format!("{path}?q=zzz"));
    assert_eq!(nothing.text("#rows h2"), "No matching keys");
    assert_eq!(nothing.text("#rows a"), "Clear filters");
    for wrong in ["status=gone", "page=0", "page=x", "sort=colour", "owner=ada", "scope=x"] {
        assert_eq!(browser.get(&format!("{path}?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn htmx_gets_the_rows_and_the_url_and_others_the_page() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/keys?q=admin", org.slug);
    let fragment = browser.get_fragment(&path);
    assert!(!fragment.body.contains("<html"));
    assert!(fragment.body.starts_with("<div id=\"rows\">"));
    assert_eq!(fragment.header("hx-replace-url"), Some(path.as_str()));
    assert!(fragment.header("vary").unwrap().contains("HX-Request-Type"));
    assert!(browser.get(&path).body.contains("<html"));
}

#[test]
fn a_key_is_edited_disabled_enabled_and_its_name_stays() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let secret = create(&mut browser, &org, &[]).text("[data-secret]");
    let api = server.api(&secret);
    let id = api.get("/v1/api-keys/self").json()["id"].as_str().unwrap().to_owned();
    let path = format!("/o/{}/keys/{id}", org.slug);
    let form = browser.get(&format!("{path}/edit"));
    assert!(form.attribute("[name=name]", "value").is_none());
    let fields = |description: &'static str| {
        vec![
            ("description", description),
            ("scopes", "analytics:read"),
            ("expires", "keep"),
            ("requests_per_minute", "5"),
            ("allowed_ips", ""),
        ]
    };
    let mut renaming = fields("x");
    renaming.push(("name", "renamed"));
    assert_eq!(browser.post(&format!("{path}/edit"), &renaming).status, 422);
    assert_eq!(browser.post(&format!("{path}/edit"), &fields("Changed")).status, 303);
    let shown = browser.get(&path);
    assert_eq!(shown.text("h1"), "invoice-parser");
    assert!(shown.body.contains("Changed") && shown.body.contains("invoice-parser was changed."));
    assert_eq!(api.get("/v1/models").status, 403);
    let mut none = fields("x");
    none.retain(|(name, _)| *name != "scopes");
    let refused = browser.post(&format!("{path}/edit"), &none);
    assert_eq!((refused.status, refused.text("#scopes-error").as_str()), (422, "Choose at least one scope."));
    assert_eq!(browser.post(&format!("{path}/disable"), &[]).status, 303);
    assert_eq!(api.get("/v1/api-keys/self").code(), "key_disabled");
    assert!(browser.get(&path).body.contains("This key is disabled."));
    assert_eq!(browser.post(&format!("{path}/enable"), &[]).status, 303);
    assert_eq!(api.get("/v1/api-keys/self").status, 200);
}

#[test]
fn revoking_shows_the_impact_and_asks_for_the_name_of_a_used_key() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let secret = create(&mut browser, &org, &[]).text("[data-secret]");
    let api = server.api(&secret);
    let id = api.get("/v1/api-keys/self").json()["id"].as_str().unwrap().to_owned();
    api.get("/v1/models");
    api.get("/v1/models");
    let path = format!("/o/{}/keys/{id}/revoke", org.slug);
    eventually("the requests are counted", || {
        browser.get(&path).texts(".notice strong").concat().contains("3 requests in the last 24 hours")
    });
    let page = browser.get(&path);
    assert_eq!(page.text("label[for=confirm]"), "Type the key's name");
    assert!(page.body.contains("2 inference:read"));
    let refused = browser.post(&path, &[("reason", "leaked"), ("confirm", "something else")]);
    assert_eq!(refused.status, 422);
    assert_eq!(refused.attribute("#reason", "value").as_deref(), Some("leaked"));
    assert_eq!(refused.attribute("#confirm", "value").as_deref(), Some("something else"));
    assert_eq!(api.get("/v1/models").status, 200);
    let done = browser.post(&path, &[("reason", "leaked"), ("confirm", "Invoice-Parser")]);
    assert_eq!(done.status, 303);
    assert_eq!(api.get("/v1/models").code(), "key_revoked");
    let shown = browser.get(&format!("/o/{}/keys/{id}", org.slug));
    assert!(shown.body.contains("leaked") && shown.text(".badge") == "Revoked");
    assert!(browser.get(&format!("/o/{}/keys?status=revoked", org.slug)).body.contains("invoice-parser"));
    assert_eq!(browser.get(&path).status, 303);
}

#[test]
fn key_used_a_moment_ago_counts_as_used() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let key = org.admin.create(&json!({"name": "busy", "scopes": ["inference:read"]}));
    assert_eq!(server.api(key["key"].as_str().unwrap()).get("/v1/models").status, 200);
    let path = format!("/o/{}/keys/{}/revoke", org.slug, key["id"].as_str().unwrap());
    assert_eq!(browser.post(&path, &[]).status, 422);
    assert!(browser.get(&path).texts(".notice strong").concat().contains("1 request in the last 24 hours"));
}

#[test]
fn a_key_never_used_is_revoked_without_typing_its_name() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let key = org.admin.create(&json!({"name": "unused", "scopes": ["inference:read"]}));
    let path = format!("/o/{}/keys/{}/revoke", org.slug, key["id"].as_str().unwrap());
    assert!(browser.get(&path).texts("#confirm").is_empty());
    assert_eq!(browser.post(&path, &[]).status, 303);
    assert_eq!(server.api(key["key"].as_str().unwrap()).get("/v1/models").status, 401);
}

#[test]
fn waiting_line_is_replaced_by_the_first_use() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let page = create(&mut browser, &org, &[]);
    let line = page.attribute("#first-use", "hx-get").unwrap();
    assert!(browser.get_fragment(&line).text("#first-use").starts_with("Waiting for the first request."));
    server.api(&page.text("[data-secret]")).get("/v1/models");
    eventually("the first use", || browser.get_fragment(&line).text("#first-use").starts_with("First used "));
    let used = browser.get_fragment(&line);
    assert!(used.text("#first-use").ends_with("from 127.0.0.1."));
    assert_eq!(used.attribute("#first-use", "hx-trigger"), None);
}

#[test]
fn link_in_mails_leads_to_the_key() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "mailed", "scopes": ["inference:read"]}));
    let id = key["id"].as_str().unwrap();
    let path = format!("/o/{}/keys/{id}", org.slug);
    assert_eq!(server.signed_in(&org).get(&format!("/keys/{id}")).header("location"), Some(path.as_str()));
    assert_eq!(server.browser().get(&format!("/keys/{id}")).status, 303);
}
