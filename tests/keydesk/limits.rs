//! The limit of a key, as reported in headers.

use serde_json::json;

use crate::support::desk;

#[test]
fn burst_of_exactly_the_bucket_size_is_admitted() {
    let (_desk, server, org) = desk();
    let key = org
        .admin
        .create(&json!({"name": "limited", "scopes": ["inference:read"], "requests_per_minute": 60}));
    let api = server.api(key["key"].as_str().unwrap());
    let started = std::time::Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let api = api.clone();
                scope.spawn(move || (0..16).map(|_| api.get("/v1/models").status).collect::<Vec<_>>())
            })
            .collect();
        calls.into_iter().flat_map(|call| call.join().unwrap()).collect()
    });
    let refill = started.elapsed().as_secs() as usize + 1;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!((60..=60 + refill).contains(&passed), "{passed} of 256 passed");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 256 - passed);
}

#[test]
fn every_response_to_a_key_reports_its_limit() {
    let (_desk, server, org) = desk();
    let key =
        org.admin.create(&json!({"name": "told", "scopes": ["inference:read"], "requests_per_minute": 3}));
    let api = server.api(key["key"].as_str().unwrap());
    let first = api.get("/v1/models");
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=3;w=60"));
    assert_eq!(first.header("ratelimit"), Some("\"key\";r=2;t=20"));
    assert_eq!(first.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("2"));
    assert_eq!(first.header("x-ratelimit-reset"), Some("20"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-reset-requests"), Some("20s"));
    // A refusal for want of a scope takes a token too.
    let refused = api.get("/v1/api-keys");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(api.get("/v1/models").status, 200);
    let limited = api.get("/v1/models");
    assert_eq!(limited.refusal(), (429, "rate_limited".into()));
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(limited.header("x-ratelimit-remaining"), Some("0"));
    // One too many is no reason to wait longer.
    assert_eq!(api.get("/v1/models").header("x-ratelimit-remaining"), Some("0"));
}

#[test]
fn response_without_a_valid_key_reports_no_limit() {
    let (_desk, server, _org) = desk();
    let stranger = server.api("").get("/v1/models");
    assert_eq!(stranger.refusal(), (401, "missing_credential".into()));
    assert_eq!(stranger.header("x-ratelimit-limit"), None);
}
