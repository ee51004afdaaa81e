//! What is counted is what was called.

use serde_json::json;

use crate::support::{desk, eventually};

#[test]
fn counts_equal_what_was_called_after_a_graceful_stop() {
    let (desk, server, org) = desk();
    let body = json!({"name": "counted", "scopes": ["inference:read"], "requests_per_minute": 40});
    let key = org.admin.create(&body);
    let api = server.api(key["key"].as_str().unwrap());
    let mut sent = std::collections::BTreeMap::new();
    for number in 0..60 {
        let path = if number % 3 == 0 { "/v1/api-keys" } else { "/v1/models" };
        let outcome = match api.get(path).status {
            200 => "ok",
            403 => "client_errors",
            429 => "limited",
            status => panic!("{status}"),
        };
        let scope = if number % 3 == 0 { "admin" } else { "inference:read" };
        *sent.entry(format!("{scope} {outcome}")).or_insert(0) += 1;
    }
    let id = key["id"].as_str().unwrap();
    assert_eq!(server.stop(), Some(0));
    let counted = desk.database.lines(
        "SELECT h.scope || ' ' || h.outcome || '=' || CAST(SUM(h.requests) AS BIGINT) AS line FROM usage_hours h \
         JOIN api_keys k ON k.id = h.key_id WHERE k.name = 'counted' GROUP BY h.scope, h.outcome ORDER BY 1",
    );
    let expected: Vec<String> = sent.iter().map(|(what, number)| format!("{what}={number}")).collect();
    assert_eq!(counted, expected, "{id}");
    assert_eq!(
        desk.database.count(
            "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM usage_callers WHERE program LIKE 'ureq%'"
        ),
        61
    );
}

#[test]
fn the_last_use_is_known_within_seconds() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "used", "scopes": ["inference:read"]}));
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    server.api(key["key"].as_str().unwrap()).get("/v1/models");
    eventually("the last use", || org.admin.get(&path).json()["last_used_at"].is_string());
}

#[test]
fn calls_with_an_ended_key_are_counted_too() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "ended", "scopes": ["inference:read"]}));
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    server.api(key["key"].as_str().unwrap()).get("/v1/models");
    server.stop();
    let counted = "SELECT CAST(COALESCE(SUM(h.requests), 0) AS BIGINT) AS count FROM usage_hours h JOIN api_keys k ON k.id = h.key_id \
                   WHERE k.name = 'ended' AND h.outcome = 'client_errors'";
    assert_eq!(desk.database.count(counted), 1);
}
