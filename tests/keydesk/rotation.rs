//! Replacing a key's secret while both secrets work.

use serde_json::{Value, json};

use crate::support::{Answer, Api, Org, Server, desk, eventually, is_key, text};

pub(crate) fn rotate(api: &Api, id: &str, overlap: &str) -> Answer {
    api.post(&format!("/v1/api-keys/{id}/rotate"), &json!({ "overlap": overlap }))
}

/// A key object, and a client with it.
pub(crate) fn key(server: &Server, org: &Org, more: Value) -> (Value, Api) {
    let mut body = json!({"name": "batch", "scopes": ["inference:read"], "requests_per_minute": 1_000_000});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let key = org.admin.create(&body);
    let api = server.api(key["key"].as_str().unwrap());
    (key, api)
}

pub(crate) fn id(key: &Value) -> &str {
    key["id"].as_str().unwrap()
}

pub(crate) fn seconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

#[test]
fn a_key_keeps_everything_but_its_secret_and_both_secrets_work() {
    let (desk, server, org) = desk();
    let (before, old) = key(&server, &org, json!({"expires_in_days": 90, "description": "d"}));
    let answer = rotate(&org.admin, id(&before), "24h");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let after = answer.json();
    assert!(is_key(after["key"].as_str().unwrap()));
    assert_ne!(after["key"], before["key"]);
    for same in
        ["id", "name", "description", "scopes", "owner", "created_at", "created_by", "requests_per_minute"]
    {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_ne!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(after["rotation"]["old"], before["fingerprint"]);
    let new = server.api(after["key"].as_str().unwrap());
    let by_old = old.get("/v1/api-keys/self");
    assert_eq!((by_old.status, by_old.header("x-key-superseded")), (200, Some("true")));
    assert_eq!(by_old.header("x-key-expires-at"), after["rotation"]["ends_at"].as_str());
    let by_new = new.get("/v1/api-keys/self");
    assert_eq!((by_new.status, by_new.header("x-key-superseded")), (200, None));
    assert_eq!(by_new.header("x-key-expires-at"), None);
    assert_eq!(by_old.json(), by_new.json());
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM key_secrets WHERE key_id = (SELECT id FROM api_keys WHERE name = 'batch')"), 2);
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM audit_entries WHERE action = 'key.rotated'"),
        1
    );
}

#[test]
fn lifetime_restarts_with_the_same_length_and_never_becomes_unlimited() {
    let (_desk, server, org) = desk();
    let (before, _) = key(&server, &org, json!({"expires_in_days": 90}));
    let after = rotate(&org.admin, id(&before), "1h").json();
    let started = seconds(&after["rotation"]["started_at"]);
    assert_eq!(seconds(&after["expires_at"]) - started, 90 * 86_400);
    assert_eq!(seconds(&after["rotation"]["ends_at"]) - started, 3_600);
    let (endless, _) = key(&server, &org, json!({"name": "endless"}));
    assert_eq!(rotate(&org.admin, id(&endless), "1h").json()["expires_at"], Value::Null);
}

#[test]
fn old_secret_never_outlives_its_own_expiry() {
    let (_desk, server, org) = desk();
    let (before, _) = key(&server, &org, json!({"expires_in_days": 1}));
    let after = rotate(&org.admin, id(&before), "30d").json();
    assert_eq!(after["rotation"]["ends_at"], before["expires_at"]);
    let later = json!({"ends_at": rfc3339(seconds(&before["expires_at"]) + 1)});
    let path = format!("/v1/api-keys/{}/rotation", id(&before));
    assert_eq!(org.admin.post(&path, &later).refusal(), (422, "validation_failed".into()));
}

#[test]
fn overlaps_range_from_zero_to_thirty_days() {
    let (_desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({}));
    for wrong in ["31d", "-1h", "soon", "", "1w"] {
        let answer = rotate(&org.admin, id(&made), wrong);
        assert_eq!((answer.status, answer.fields()), (422, vec!["overlap".to_owned()]), "{wrong}");
    }
    let path = format!("/v1/api-keys/{}/rotate", id(&made));
    assert_eq!(org.admin.post(&path, &json!({"overlap": 5})).refusal(), (400, "invalid_request".into()));
    assert_eq!(org.admin.post(&path, &json!({"for": "1h"})).refusal(), (400, "invalid_request".into()));
    assert_eq!(old.get("/v1/models").status, 200);
    let after = rotate(&org.admin, id(&made), "0s").json();
    assert_eq!(after["rotation"], Value::Null);
    let refused = old.get("/v1/models");
    assert_eq!(refused.refusal(), (401, "key_superseded".into()));
    assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let new = server.api(after["key"].as_str().unwrap());
    assert_eq!(new.get("/v1/models").status, 200);
    let by_default = org.admin.send("POST", &path, &[], None).json();
    let rotation = &by_default["rotation"];
    assert_eq!(seconds(&rotation["ends_at"]) - seconds(&rotation["started_at"]), 86_400);
    assert_eq!(old.get("/v1/models").code(), "key_superseded");
    assert_eq!(new.get("/v1/models").status, 200);
}

#[test]
fn one_rotation_is_open_at_a_time_and_can_be_moved_and_ended() {
    let (desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({"expires_in_days": 90}));
    let path = format!("/v1/api-keys/{}/rotation", id(&made));
    let in_days = |days: i64| json!({"ends_at": rfc3339(now() + days * 86_400)});
    assert_eq!(org.admin.post(&path, &in_days(1)).refusal(), (409, "conflict".into()));
    assert_eq!(org.admin.delete(&path).status, 200);
    let new = rotate(&org.admin, id(&made), "1h").json();
    assert_eq!(rotate(&org.admin, id(&made), "1h").refusal(), (409, "rotation_open".into()));
    let moved = in_days(29);
    assert_eq!(org.admin.post(&path, &moved).json()["rotation"]["ends_at"], moved["ends_at"]);
    assert_eq!(org.admin.post(&path, &in_days(31)).refusal(), (422, "validation_failed".into()));
    assert_eq!(org.admin.post(&path, &in_days(-1)).refusal(), (422, "validation_failed".into()));
    assert_eq!(
        org.admin.post(&path, &json!({"ends_at": "soon"})).refusal(),
        (422, "validation_failed".into())
    );
    assert_eq!(old.get("/v1/models").status, 200);
    let ended = org.admin.delete(&path);
    assert_eq!((ended.status, &ended.json()["rotation"]), (200, &Value::Null));
    assert_eq!(old.get("/v1/models").code(), "key_superseded");
    assert_eq!(org.admin.delete(&path).status, 200);
    let api = server.api(new["key"].as_str().unwrap());
    assert_eq!(api.get("/v1/models").status, 200);
    assert_eq!(api.delete(&path).refusal(), (403, "insufficient_scope".into()));
    assert_eq!(api.post(&path, &in_days(1)).refusal(), (403, "insufficient_scope".into()));
    assert_eq!(rotate(&org.admin, id(&made), "0s").status, 200);
    let entries = desk
        .database
        .lines("SELECT action AS line FROM audit_entries WHERE action LIKE 'key.rot%' ORDER BY position");
    assert_eq!(entries, ["key.rotated", "key.rotation_moved", "key.rotation_ended", "key.rotated"]);
}

#[test]
fn ended_key_cannot_be_rotated_and_a_disabled_one_stays_disabled() {
    let (_desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({}));
    let path = format!("/v1/api-keys/{}", id(&made));
    org.admin.patch(&path, &json!({"disabled": true}));
    let after = rotate(&org.admin, id(&made), "1h").json();
    let new = server.api(after["key"].as_str().unwrap());
    assert_eq!(after["status"], "disabled");
    assert_eq!(
        (old.get("/v1/models").code(), new.get("/v1/models").code()),
        ("key_disabled".into(), "key_disabled".into())
    );
    org.admin.patch(&path, &json!({"disabled": false}));
    assert_eq!((old.get("/v1/models").status, new.get("/v1/models").status), (200, 200));
    org.admin.delete(&path);
    assert_eq!(
        (old.get("/v1/models").code(), new.get("/v1/models").code()),
        ("key_revoked".into(), "key_revoked".into())
    );
    assert_eq!(rotate(&org.admin, id(&made), "1h").refusal(), (409, "key_ended".into()));
    assert_eq!(org.admin.delete(&format!("{path}/rotation")).refusal(), (409, "key_ended".into()));
    assert_eq!(org.admin.get(&path).json()["rotation"], Value::Null);
}

#[test]
fn key_rotates_itself_only_if_allowed_and_keeps_its_expiry() {
    let (_desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({"expires_in_days": 90}));
    let (other, _) = key(&server, &org, json!({"name": "other"}));
    assert_eq!(rotate(&old, id(&made), "24h").refusal(), (403, "insufficient_scope".into()));
    org.admin.patch(&format!("/v1/api-keys/{}", id(&made)), &json!({"self_rotate": true}));
    assert_eq!(rotate(&old, id(&other), "24h").refusal(), (403, "insufficient_scope".into()));
    let short = rotate(&old, id(&made), "59m");
    assert_eq!((short.status, short.fields()), (422, vec!["overlap".to_owned()]));
    let after = rotate(&old, id(&made), "1h").json();
    assert_eq!(after["expires_at"], made["expires_at"]);
    let new = server.api(after["key"].as_str().unwrap());
    assert_eq!((old.get("/v1/models").status, new.get("/v1/models").status), (200, 200));
    assert_eq!(rotate(&new, id(&made), "1h").refusal(), (409, "rotation_open".into()));
}

#[test]
fn keys_of_others_are_not_found() {
    let (desk, server, org) = desk();
    let (made, _) = key(&server, &org, json!({}));
    let stranger = desk.set_up(&server, "Other").admin;
    let path = format!("/v1/api-keys/{}/rotation", id(&made));
    assert_eq!(rotate(&stranger, id(&made), "1h").refusal(), (404, "not_found".into()));
    assert_eq!(stranger.delete(&path).refusal(), (404, "not_found".into()));
    assert_eq!(
        stranger.post(&path, &json!({"ends_at": "2030-01-01T00:00:00Z"})).refusal(),
        (404, "not_found".into())
    );
    assert_eq!(rotate(&org.admin, "key_nothing", "1h").refusal(), (404, "not_found".into()));
}

#[test]
fn repeated_request_rotates_once() {
    let (desk, server, org) = desk();
    let (made, _) = key(&server, &org, json!({}));
    let path = format!("/v1/api-keys/{}/rotate", id(&made));
    let send = |overlap: &str| {
        let body = json!({ "overlap": overlap }).to_string();
        org.admin.send("POST", &path, &[("idempotency-key", "job-1")], Some(&body))
    };
    let (first, again) = (send("1h"), send("1h"));
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        (None, Some("true"))
    );
    assert_eq!(first.json(), again.json());
    assert_eq!(send("2h").refusal(), (422, "validation_failed".into()));
    desk.database.execute("UPDATE idempotency_keys SET created_at = created_at - 600000000");
    let late = send("1h").json();
    assert_eq!((&late["key"], &late["code"]), (&Value::Null, &json!("secret_already_shown")));
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM key_secrets WHERE superseded_at IS NOT NULL"),
        1
    );
}

#[test]
fn both_secrets_share_one_limit() {
    let (_desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({"requests_per_minute": 10}));
    let new = server.api(rotate(&org.admin, id(&made), "1h").json()["key"].as_str().unwrap());
    let passed = (0..20).filter(|number| [&old, &new][number % 2].get("/v1/models").status == 200).count();
    assert_eq!(passed, 10);
}

#[test]
fn an_old_secret_is_verified_and_found_by_its_fingerprint() {
    let (desk, server, org) = desk();
    let verifier = server.api(&desk.key(&org.slug, "verifier", "keys:verify"));
    let (made, _) = key(&server, &org, json!({"expires_in_days": 90}));
    let verify = || verifier.post("/v1/api-keys/verify", &json!({"key": made["key"]})).json();
    assert_eq!(verify()["expires_at"], made["expires_at"]);
    let after = rotate(&org.admin, id(&made), "1h").json();
    assert_eq!((&verify()["valid"], &verify()["expires_at"]), (&json!(true), &after["rotation"]["ends_at"]));
    org.admin.delete(&format!("/v1/api-keys/{}/rotation", id(&made)));
    assert_eq!((&verify()["valid"], &verify()["code"]), (&json!(false), &json!("key_superseded")));
    let old = made["fingerprint"]["sha256_prefix"].as_str().unwrap();
    let found = org.admin.get(&format!("/v1/api-keys?fingerprint={old}")).json();
    assert_eq!(found["data"][0]["id"], made["id"]);
}

#[test]
fn command_prints_only_the_new_secret_once_the_servers_know_it() {
    let (desk, server, org) = desk();
    let old = server.api(&desk.key(&org.slug, "batch", "inference:read"));
    assert_eq!(old.get("/v1/models").status, 200);
    let output = desk.run(&["key", "rotate", "--org", &org.slug, "batch", "--overlap", "0s"]);
    let secret = text(&output);
    assert!(is_key(&secret));
    assert!(!String::from_utf8(output.stderr).unwrap().contains(&secret));
    assert_eq!(old.get("/v1/models").code(), "key_superseded");
    assert_eq!(server.api(&secret).get("/v1/models").status, 200);
    let shown: Value =
        serde_json::from_str(&text(&desk.run(&["key", "rotate", "--org", &org.slug, "batch", "--json"])))
            .unwrap();
    assert!(is_key(shown["key"].as_str().unwrap()));
    assert!(shown["rotation"].is_object());
    let open = desk.run(&["key", "rotate", "--org", &org.slug, "batch"]);
    assert_eq!((open.status.code(), open.stdout.len()), (Some(1), 0));
    assert_eq!(
        desk.run(&["key", "rotate", "--org", &org.slug, "batch", "--overlap", "31d"]).status.code(),
        Some(2)
    );
}

#[test]
fn key_that_expires_in_a_second_is_expired_in_every_process() {
    let (_desk, server, org) = desk();
    let create = |name: &str, ends: i64| {
        let body = json!({"name": name, "scopes": ["inference:read"], "expires_at": rfc3339(ends)});
        org.admin.post("/v1/api-keys", &body)
    };
    assert_eq!(create("now", now()).refusal(), (422, "validation_failed".into()));
    let ends = now() + 2;
    let made = create("soon", ends).json();
    eventually("its second has come", || now() >= ends);
    assert_eq!(
        server.api(made["key"].as_str().unwrap()).get("/v1/models").refusal(),
        (401, "key_expired".into())
    );
    assert_eq!(rotate(&org.admin, id(&made), "1h").refusal(), (409, "key_ended".into()));
}

#[test]
fn header_shows_the_expiry_in_the_last_fourteen_days() {
    let (desk, server, org) = desk();
    for (name, ahead, told) in [("far", 15 * 86_400, false), ("near", 14 * 86_400 - 5, true)] {
        let (made, api) = key(&server, &org, json!({"name": name, "expires_at": rfc3339(now() + ahead)}));
        let header = api.get("/v1/models").header("x-key-expires-at").map(str::to_owned);
        assert_eq!(header.as_deref(), made["expires_at"].as_str().filter(|_| told), "{name}");
    }
    let endless = server.api(&desk.key(&org.slug, "endless", "inference:read"));
    assert_eq!(endless.get("/v1/models").header("x-key-expires-at"), None);
}

#[test]
fn key_cannot_rotate_itself_if_its_owner_lost_its_rights() {
    let (desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({}));
    org.admin.patch(&format!("/v1/api-keys/{}", id(&made)), &json!({"self_rotate": true}));
    let secrets = || desk.database.count("SELECT COUNT(*) AS count FROM key_secrets");
    let before = secrets();
    desk.database.execute("UPDATE members SET disabled_at = 1");
    assert_eq!((rotate(&old, id(&made), "1h").status, secrets()), (403, before));
    desk.database.execute("UPDATE members SET disabled_at = NULL");
    assert_eq!(rotate(&old, id(&made), "1h").status, 200);
}
