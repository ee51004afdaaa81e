//! Refused requests: counts, the latest ones, and each check with its result.

use serde_json::json;

use crate::support::{Answer, Browser, desk, eventually};

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

/// The checks of the page: name, then, now.
fn checks(browser: &mut Browser, path: &str) -> Vec<(String, String, String)> {
    let page = browser.get(path);
    let cells = |selector: &str| page.texts(selector);
    let (names, then) =
        (cells("table.checks tbody th .two > span:first-child"), cells("table.checks tbody td:nth-child(2)"));
    let now = cells("table.checks tbody td:nth-child(3)");
    names.into_iter().zip(then).zip(now).map(|((name, then), now)| (name, then, now)).collect()
}

#[test]
fn each_refusal_is_explained_check_by_check() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "reader", "scopes": ["inference:read", "inference:write"]}));
    let (id, path) = (key["id"].as_str().unwrap(), format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    let api = server.api(key["key"].as_str().unwrap());
    let change = |body: serde_json::Value| assert_eq!(org.admin.patch(&path, &body).status, 200);
    let inference = json!({"model": "gpt-4", "prompt": "Hello"});
    let mut refused = Vec::new();
    let mut refuse = |status: u16, answer: Answer, check: &'static str, now: &'static str| {
        assert_eq!(answer.status, status, "{check}: {}", answer.body);
        refused.push((request_id(&answer), check, now));
    };
    change(json!({"disabled": true}));
    refuse(401, api.get("/v1/models"), "The key is not disabled or revoked", "Passes");
    change(json!({"disabled": false, "allowed_ips": ["192.0.2.0/24"]}));
    refuse(403, api.get("/v1/models"), "The address is allowed", "Passes");
    change(json!({"allowed_ips": [], "scopes": ["inference:read"]}));
    refuse(403, api.post("/v1/inference", &inference), "The key has the scope", "Would be refused");
    desk.database.change("UPDATE members SET role = 'auditor'");
    refuse(403, api.get("/v1/models"), "The owner’s role allows the scope", "Passes");
    desk.database.change("UPDATE members SET role = 'owner'");
    change(json!({"requests_per_minute": 1}));
    // Earlier requests leave less than a whole token for a moment.
    eventually("the one token is there", || api.get("/v1/models").status == 200);
    refuse(429, api.get("/v1/models"), "The limit is not exceeded", "Would be refused");
    crate::rotation::rotate(&org.admin, id, "0s");
    refuse(401, api.get("/v1/models"), "The secret is the current one", "Would be refused");
    let ids: Vec<String> = refused.iter().map(|(request, _, _)| format!("'{request}'")).collect();
    let kept =
        format!("SELECT COUNT(*) AS count FROM refused_requests WHERE request_id IN ({})", ids.join(", "));
    eventually("refusals are written", || desk.database.count(&kept) == 6);
    let mut browser = server.signed_in(&org);
    let page = format!("/o/{}/keys/{id}/refusals", org.slug);
    for (request, check, now) in &refused {
        let checks = checks(&mut browser, &format!("{page}?request={request}"));
        assert_eq!(checks.len(), 8, "{check}");
        let place = checks.iter().position(|(_, then, _)| then == "Refused").unwrap();
        assert_eq!((&*checks[place].0, &*checks[place].2), (*check, *now));
        assert!(checks[..place].iter().all(|(_, then, _)| then == "Passed"), "{check}");
        assert!(checks[place + 1..].iter().all(|(_, then, _)| then == "Not reached"), "{check}");
        // It is marked in the list of the latest requests.
        let explained = browser.get(&format!("{page}?request={request}"));
        let marked = explained.attribute(".calls a[aria-current]", "href");
        assert_eq!(marked, Some(format!("{page}?request={request}")));
        assert!(explained.texts(".calls th .mono").contains(request), "{}", explained.body);
        // From the request alone to the key.
        let found = browser.get(&format!("/o/{}/refusals?request={request}", org.slug));
        assert_eq!(found.header("location"), Some(format!("{page}?request={request}").as_str()));
    }
    let all = browser.get(&format!("/o/{}/refusals", org.slug));
    assert!(all.texts("tbody th").contains(&"reader".to_owned()), "{}", all.body);
    // Code in back quotes is for the API, not for pages.
    assert!(!browser.get(&page).body.contains('`'));
    let unknown = browser.get(&format!("{page}?request=req_01kb0000000000000000000000"));
    assert!(unknown.text("main .empty p").contains("keeps the last 20 refused requests"), "{}", unknown.body);
    assert!(browser.get(&format!("{page}?request=nothing")).body.contains("This is not a request ID"));
    assert_eq!(browser.get(&format!("{page}?request=%00")).status, 400);
}

#[test]
fn every_refusal_is_counted_and_the_latest_are_stored() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "old", "scopes": ["inference:read"]}));
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    org.admin.post(&format!("{path}/revoke"), &json!({}));
    let api = server.api(key["key"].as_str().unwrap());
    for _ in 0..30 {
        assert_eq!(api.get("/v1/models").code(), "key_revoked");
    }
    let verifier = server.api(&desk.key(&org.slug, "verifier", "keys:verify"));
    let asked = json!({"key": key["key"], "ip": "192.0.2.7"});
    assert_eq!(verifier.post("/v1/api-keys/verify", &asked).json()["code"], "key_revoked");
    let dry = json!({"key": key["key"], "dry_run": true});
    assert_eq!(verifier.post("/v1/api-keys/verify", &dry).json()["code"], "key_revoked");
    assert_eq!(server.stop(), Some(0));
    let sum = "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM refusals WHERE code = 'key_revoked'";
    assert_eq!(desk.database.count(sum), 31);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM refused_requests"), 20);
    let last = "SELECT last_address AS line FROM refusals ORDER BY hour DESC LIMIT 1";
    assert_eq!(desk.database.lines(last), ["192.0.2.7"]);
}

#[test]
fn a_member_sees_only_the_refusals_of_their_own_keys() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other Org");
    let key = org.admin.create(&json!({"name": "theirs", "scopes": ["inference:read"]}));
    let refused = server.api(key["key"].as_str().unwrap()).get("/v1/api-keys");
    assert_eq!(refused.code(), "insufficient_scope");
    eventually("the refusal is written", || {
        desk.database.count("SELECT COUNT(*) AS count FROM refused_requests") == 1
    });
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, 'member', 1 FROM organizations o, people p \
         WHERE o.slug = '{}' AND p.email = '{}'",
        org.slug, other.email
    ));
    let mut member = server.signed_in(&other);
    let id = key["id"].as_str().unwrap();
    assert_eq!(member.get(&format!("/o/{}/keys/{id}/refusals", org.slug)).status, 404);
    for slug in [&org.slug, &other.slug] {
        let page = member.get(&format!("/o/{slug}/refusals?request={}", request_id(&refused)));
        assert_eq!(page.status, 200);
        assert!(!page.body.contains(id));
    }
}
