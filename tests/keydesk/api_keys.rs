//! `/v1/api-keys`: creating, reading, changing and revoking keys.

use serde_json::{Value, json};

use crate::support::{desk, is_key};

fn simple(name: &str) -> Value {
    json!({"name": name, "scopes": ["inference:read", "inference:write"], "expires_in_days": 90})
}

#[test]
fn response_to_a_creation_is_complete_and_shows_the_secret_once() {
    let (_desk, server, org) = desk();
    let answer = org.admin.post("/v1/api-keys", &simple("production-key"));
    assert_eq!(answer.status, 201);
    let key = answer.json();
    let id = key["id"].as_str().unwrap();
    assert!(is_key(key["key"].as_str().unwrap()));
    assert_eq!(answer.header("location"), Some(format!("/v1/api-keys/{id}").as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let secret = key["key"].as_str().unwrap();
    assert_eq!(key["fingerprint"]["hint"], format!("kd_…{}", &secret[45..]));
    assert_eq!(key["object"], "api_key");
    assert_eq!(key["name"], "production-key");
    assert_eq!(key["status"], "active");
    assert_eq!(key["scopes"], json!(["inference:read", "inference:write"]));
    assert_eq!(key["owner"]["email"], org.email);
    assert_eq!(key["requests_per_minute"], 600);
    for (field, value) in [
        ("description", json!("")),
        ("disabled", json!(false)),
        ("backup", Value::Null),
        ("last_used_at", Value::Null),
        ("models", Value::Null),
        ("allowed_ips", json!([])),
        ("self_rotate", json!(false)),
        ("rotation", Value::Null),
        ("revoked", Value::Null),
    ] {
        assert_eq!(key[field], value, "{field}");
    }
    let again = org.admin.get(&format!("/v1/api-keys/{id}"));
    assert_eq!(again.status, 200);
    assert!(!again.body.contains(secret));
    let own = server.api(secret).get("/v1/api-keys/self").json();
    assert_eq!(own["id"], key["id"]);
    assert!(own.get("key").is_none());
}

#[test]
fn the_fingerprint_is_what_sha256sum_prints() {
    use std::io::Write;
    let (_desk, _server, org) = desk();
    let key = org.admin.create(&simple("found"));
    let mut sum = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    sum.stdin.take().unwrap().write_all(key["key"].as_str().unwrap().as_bytes()).unwrap();
    let printed = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(key["fingerprint"]["sha256_prefix"], printed[..12]);
    let found = org.admin.get(&format!("/v1/api-keys?fingerprint={}", &printed[..64])).json();
    assert_eq!(found["data"][0]["id"], key["id"]);
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
}

#[test]
fn expiry_in_days_is_a_multiple_of_86400_seconds() {
    let (_desk, _server, org) = desk();
    let key = org.admin.create(&simple("ninety"));
    let at = |field: &str| key[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("expires_at").as_second() - at("created_at").as_second(), 90 * 86_400);
}

#[test]
fn key_without_an_expiry_never_expires() {
    let (_desk, _server, org) = desk();
    assert_eq!(
        org.admin.create(&json!({"name": "forever", "scopes": ["inference:read"]}))["expires_at"],
        Value::Null
    );
}

#[test]
fn key_is_refused_from_the_second_of_its_expiry() {
    let (_desk, server, org) = desk();
    let ends = jiff::Timestamp::now().as_second() + 3;
    let ends_at = jiff::Timestamp::from_second(ends).unwrap().to_string();
    let key =
        org.admin.create(&json!({"name": "short", "scopes": ["inference:read"], "expires_at": ends_at, "requests_per_minute": 1_000_000}));
    let api = server.api(key["key"].as_str().unwrap());
    let mut before = 0;
    loop {
        let asked = jiff::Timestamp::now();
        let answer = api.get("/v1/models");
        let answered = jiff::Timestamp::now();
        if answered.as_second() < ends {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-key-expires-at"), Some(ends_at.as_str()));
            before += 1;
        } else if asked.as_second() >= ends {
            assert_eq!(answer.refusal(), (401, "key_expired".into()));
            break;
        }
    }
    assert!(before > 0);
    assert_eq!(
        org.admin.get(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap())).json()["status"],
        "expired"
    );
}

#[test]
fn name_is_unique_among_keys_that_have_not_ended_ignoring_case() {
    let (_desk, _server, org) = desk();
    let first = org.admin.create(&simple("Prod-Straße"));
    let taken = org.admin.post("/v1/api-keys", &simple("pROD-STRASSE"));
    assert_eq!(taken.refusal(), (409, "name_taken".into()));
    let path = format!("/v1/api-keys/{}", first["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"disabled": true})).status, 200);
    assert_eq!(org.admin.post("/v1/api-keys", &simple("prod-strasse")).status, 409);
    assert_eq!(org.admin.delete(&path).status, 204);
    assert_eq!(org.admin.post("/v1/api-keys", &simple("prod-strasse")).status, 201);
}

#[test]
fn name_of_an_expired_key_can_be_reused() {
    let (desk, _server, org) = desk();
    let first = org.admin.create(&simple("batch"));
    desk.database.change("UPDATE api_keys SET expires_at = 1000000 WHERE name = 'batch'");
    let second = org.admin.create(&simple("batch"));
    assert_ne!(first["id"], second["id"]);
}

#[test]
fn settings_can_be_changed_and_the_name_cannot() {
    let (_desk, _server, org) = desk();
    let key = org.admin.create(&simple("edited"));
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    let answer = org.admin.patch(
        &path,
        &json!({
            "description": "Nightly run", "scopes": ["analytics:read"], "expires_at": null,
            "requests_per_minute": 5, "allowed_ips": ["10.0.0.0/8", "::1"], "self_rotate": true, "disabled": true,
        }),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let changed = answer.json();
    assert_eq!(changed["description"], "Nightly run");
    assert_eq!(changed["scopes"], json!(["analytics:read"]));
    assert_eq!(changed["expires_at"], Value::Null);
    assert_eq!(changed["requests_per_minute"], 5);
    assert_eq!(changed["allowed_ips"], json!(["10.0.0.0/8", "::1/128"]));
    assert_eq!(changed["status"], "disabled");
    assert_eq!(org.admin.get(&path).json(), changed);
    let nothing = org.admin.patch(&path, &json!({"description": null}));
    assert_eq!((nothing.status, nothing.fields()), (400, vec!["description".to_owned()]));
    let renamed = org.admin.patch(&path, &json!({"name": "other"}));
    assert_eq!(renamed.refusal(), (422, "name_immutable".into()));
    assert_eq!(org.admin.get(&path).json(), changed);
}

#[test]
fn each_change_has_one_audit_entry_and_one_place_in_the_feed() {
    let (desk, _server, org) = desk();
    let key = org.admin.create(&simple("watched"));
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    org.admin.patch(&path, &json!({"description": "x"}));
    org.admin.patch(&path, &json!({"description": "x"}));
    org.admin.patch(&path, &json!({"disabled": true}));
    org.admin.patch(&path, &json!({"disabled": false}));
    org.admin.patch(&path, &json!({"scopes": []}));
    org.admin.post(&format!("{path}/revoke"), &json!({"reason": "no longer needed"}));
    org.admin.post(&format!("{path}/revoke"), &json!({"reason": "again"}));
    let id = key["id"].as_str().unwrap();
    let entries = desk
        .database
        .lines(&format!("SELECT entry AS line FROM audit_entries WHERE target = '{id}' ORDER BY position"));
    let actions: Vec<Value> =
        entries.iter().map(|entry| serde_json::from_str::<Value>(entry).unwrap()["action"].clone()).collect();
    assert_eq!(actions, ["key.created", "key.updated", "key.disabled", "key.enabled", "key.revoked"]);
    assert!(entries[4].contains("no longer needed"));
    assert!(!entries.concat().contains(key["key"].as_str().unwrap()));
    // Two more: the organisation's set-up and its admin key.
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM audit_entries"), 7);
    assert_eq!(desk.database.count("SELECT MAX(position) AS count FROM audit_entries"), 6);
    assert_eq!(desk.database.count("SELECT size AS count FROM audit_heads"), 7);
    assert_eq!(desk.database.count("SELECT position AS count FROM feed_head"), 6);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM key_changes"), 6);
}

#[test]
fn a_failing_audit_entry_leaves_no_change() {
    let (desk, _server, org) = desk();
    desk.database.execute("ALTER TABLE audit_entries RENAME TO away");
    let refused = org.admin.post("/v1/api-keys", &simple("unseen"));
    assert_eq!(refused.refusal(), (500, "internal".into()));
    desk.database.execute("ALTER TABLE away RENAME TO audit_entries");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'unseen'"), 0);
    org.admin.create(&simple("unseen"));
}

#[test]
fn revocation_takes_effect_before_the_response_and_is_idempotent() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&simple("leaked"));
    let api = server.api(key["key"].as_str().unwrap());
    assert_eq!(api.get("/v1/models").status, 200);
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    let revoked = org.admin.post(&format!("{path}/revoke"), &json!({"reason": "leaked"}));
    assert_eq!(revoked.status, 200);
    assert_eq!(revoked.json()["status"], "revoked");
    assert_eq!(revoked.json()["revoked"]["reason"], "leaked");
    let refused = api.get("/v1/models");
    assert_eq!(refused.refusal(), (401, "key_revoked".into()));
    assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    assert_eq!(
        org.admin.post(&format!("{path}/revoke"), &json!({})).json()["revoked"],
        revoked.json()["revoked"]
    );
    assert_eq!(org.admin.delete(&path).status, 204);
    assert_eq!(org.admin.patch(&path, &json!({"description": "x"})).refusal(), (409, "key_ended".into()));
}

#[test]
fn key_can_revoke_itself_and_no_other() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&simple("self-ending"));
    let other = org.admin.create(&simple("other"));
    let api = server.api(key["key"].as_str().unwrap());
    let path = |key: &Value| format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(api.delete(&path(&other)).refusal(), (403, "insufficient_scope".into()));
    assert_eq!(api.post(&format!("{}/revoke", path(&other)), &json!({})).status, 403);
    assert_eq!(api.delete(&path(&key)).status, 204);
    assert_eq!(api.get("/v1/api-keys/self").refusal(), (401, "key_revoked".into()));
    assert_eq!(org.admin.get(&path(&other)).json()["status"], "active");
}

#[test]
fn disabled_key_is_refused_as_disabled_until_it_is_enabled() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&simple("paused"));
    let api = server.api(key["key"].as_str().unwrap());
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    org.admin.patch(&path, &json!({"disabled": true}));
    assert_eq!(api.get("/v1/models").refusal(), (401, "key_disabled".into()));
    org.admin.patch(&path, &json!({"disabled": false}));
    assert_eq!(api.get("/v1/models").status, 200);
}

#[test]
fn a_key_bound_to_addresses_works_only_there() {
    let (_desk, server, org) = desk();
    let bound = |name: &str, networks: Value| {
        let body = json!({"name": name, "scopes": ["inference:read"], "allowed_ips": networks});
        server.api(org.admin.create(&body)["key"].as_str().unwrap())
    };
    assert_eq!(bound("here", json!(["127.0.0.0/8"])).get("/v1/models").status, 200);
    assert_eq!(bound("here in IPv6", json!(["::ffff:127.0.0.1"])).get("/v1/models").status, 200);
    let elsewhere = bound("elsewhere", json!(["203.0.113.0/24"]));
    assert_eq!(elsewhere.get("/v1/models").refusal(), (403, "ip_not_allowed".into()));
    // The limit is reported, and someone who found the secret does not use it up.
    for _ in 0..3 {
        assert_eq!(elsewhere.get("/v1/models").header("x-ratelimit-remaining"), Some("600"));
    }
    // This client is not configured as a proxy.
    let forged = elsewhere.send("GET", "/v1/models", &[("x-forwarded-for", "203.0.113.7")], None);
    assert_eq!(forged.status, 403);
}

#[test]
fn lists_are_filtered_and_read_page_by_page() {
    let (_desk, _server, org) = desk();
    for number in 0..7 {
        let scope = if number % 2 == 0 { "inference:read" } else { "analytics:read" };
        org.admin.create(&json!({"name": format!("key-{number}"), "scopes": [scope]}));
    }
    let names = |path: &str| -> Vec<String> {
        let answer = org.admin.get(path);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = org.admin.get(&format!("/v1/api-keys?limit=3{cursor}")).json();
        let page = answer["data"].as_array().unwrap().clone();
        assert!(page.len() <= 3);
        seen.extend(page.iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, ["admin-key", "key-0", "key-1", "key-2", "key-3", "key-4", "key-5", "key-6"]);
    assert_eq!(names("/v1/api-keys?scope=analytics:read").len(), 3);
    assert_eq!(names("/v1/api-keys?status=active").len(), 8);
    assert_eq!(names("/v1/api-keys?status=revoked"), Vec::<String>::new());
    assert_eq!(names("/v1/api-keys?q=KEY-3"), ["key-3"]);
    assert_eq!(names("/v1/api-keys?q=%25"), Vec::<String>::new());
    assert_eq!(names("/v1/api-keys?q=_"), Vec::<String>::new());
}

#[test]
fn scope_that_cannot_be_granted_is_refused_and_not_dropped() {
    let (desk, server, org) = desk();
    desk.database.change("UPDATE members SET role = 'member'");
    // The owner's role now allows no key management at all.
    let refused = org.admin.post("/v1/api-keys", &simple("escalation"));
    assert_eq!(refused.refusal(), (403, "insufficient_scope".into()));
    let mut browser = server.signed_in(&org);
    let page = browser.post(
        &format!("/o/{}/keys", org.slug),
        &[("name", "escalation"), ("scopes", "admin"), ("expires", "30"), ("requests_per_minute", "600")],
    );
    assert_eq!(page.status, 422);
    assert_eq!(page.text("#scopes-error"), "You may not grant admin.");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'escalation'"), 0);
}

#[test]
fn parallel_creations_with_one_name_create_one_key() {
    let (_desk, _server, org) = desk();
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let answer = org.admin.clone().post("/v1/api-keys", &simple("wanted"));
                    (answer.status, if answer.status == 201 { String::new() } else { answer.code() })
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == (409, "name_taken".to_owned())).count(), 63);
}
