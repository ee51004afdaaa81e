//! `Idempotency-Key`: a request that is sent twice has one effect.

use serde_json::json;

use crate::support::{Answer, Api, desk, directory_contains};

fn create(api: &Api, idempotency_key: &str, name: &str) -> Answer {
    let body = json!({"name": name, "scopes": ["inference:read"]}).to_string();
    api.send("POST", "/v1/api-keys", &[("idempotency-key", idempotency_key)], Some(&body))
}

#[test]
fn repeated_request_gets_the_first_response() {
    let (desk, _server, org) = desk();
    let first = create(&org.admin, "job-1", "once");
    let again = create(&org.admin, "\"job-1\"", "once");
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.json(), again.json());
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'once'"), 1);
}

#[test]
fn after_ten_minutes_the_secret_is_no_longer_repeated() {
    let (desk, _server, org) = desk();
    let first = create(&org.admin, "job-1", "once").json();
    desk.database.execute("UPDATE idempotency_keys SET created_at = created_at - 600000000");
    let again = create(&org.admin, "job-1", "once").json();
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["key"], serde_json::Value::Null);
    assert_eq!(again["code"], "secret_already_shown");
}

#[test]
fn different_body_with_the_same_key_is_refused() {
    let (_desk, _server, org) = desk();
    create(&org.admin, "job-1", "once");
    assert_eq!(create(&org.admin, "job-1", "twice").refusal(), (422, "validation_failed".into()));
}

#[test]
fn same_key_of_another_client_is_another_request() {
    let (desk, server, org) = desk();
    let other = server.api(&desk.key(&org.slug, "second-admin", "admin"));
    let first = create(&org.admin, "job-1", "once");
    assert_eq!(create(&other, "job-1", "once").refusal(), (409, "name_taken".into()));
    assert_eq!(first.status, 201);
}

#[test]
fn refused_request_is_not_stored() {
    let (_desk, _server, org) = desk();
    assert_eq!(create(&org.admin, "job-1", "").status, 422);
    assert_eq!(create(&org.admin, "job-1", "once").status, 201);
}

#[test]
fn invalid_idempotency_key_is_refused() {
    let (_desk, _server, org) = desk();
    for wrong in ["a b", "ü", &"x".repeat(256), "\"\"", "a,b"] {
        assert_eq!(create(&org.admin, wrong, "once").refusal(), (400, "invalid_request".into()), "{wrong}");
    }
}

#[test]
fn sixty_four_concurrent_requests_create_one_key() {
    let (desk, _server, org) = desk();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..64).map(|_| scope.spawn(|| create(&org.admin.clone(), "burst", "once"))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let fresh = answers
        .iter()
        .filter(|answer| answer.status == 201 && answer.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    for waiting in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(waiting.refusal(), (409, "idempotency_conflict".into()));
        assert_eq!(waiting.header("retry-after"), Some("1"));
    }
    let keys: std::collections::HashSet<String> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.json()["key"].to_string())
        .collect();
    assert_eq!(keys.len(), 1, "{made} answers");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'once'"), 1);
}

#[test]
fn stored_secret_is_encrypted() {
    let (desk, server, org) = desk();
    let secret = create(&org.admin, "job-1", "once").json()["key"].as_str().unwrap().to_owned();
    server.api(&secret).get("/v1/models");
    server.stop();
    assert!(!directory_contains(desk.data.path(), &secret));
    assert!(!directory_contains(desk.data.path(), &org.admin.key));
    for table in ["idempotency_keys", "key_secrets", "audit_entries", "sessions"] {
        assert!(desk.database.count(&format!("SELECT COUNT(*) AS count FROM {table}")) >= 0);
    }
}
