//! Verifying keys for other services: `/v1/api-keys/verify`, `/v1/introspect`, `/v1/authorize`.

use serde_json::{Value, json};

use keydesk::keys::secret::PlainSecret;

use crate::support::{Answer, Api, Desk, Org, Server, desk};

fn checker(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "checker", "keys:verify"))
}

fn verify(checker: &Api, body: &Value) -> Value {
    let answer = checker.post("/v1/api-keys/verify", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn introspect(checker: &Api, form: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    checker.send("POST", "/v1/introspect", &headers, Some(form))
}

#[test]
fn valid_key_is_reported_with_its_rights_and_its_limit() {
    let (desk, server, org) = desk();
    let checker = checker(&desk, &server, &org);
    let body = json!({"name": "checked", "scopes": ["inference:read"], "expires_in_days": 30, "requests_per_minute": 3});
    let key = org.admin.create(&body);
    let answer = verify(&checker, &json!({"key": key["key"], "scopes": ["inference:read"]}));
    assert_eq!(
        answer,
        json!({
            "valid": true, "code": "valid", "key_id": key["id"], "name": "checked", "scopes": ["inference:read"],
            "expires_at": key["expires_at"],
            "rate_limit": {"limit": 3, "remaining": 2, "reset": 20, "retry_after": 0},
        })
    );
    // A dry run takes no token, a real one does, and the fourth finds none.
    for remaining in [2, 2] {
        let dry = verify(&checker, &json!({"key": key["key"], "dry_run": true}));
        assert_eq!((&dry["valid"], &dry["rate_limit"]["remaining"]), (&json!(true), &json!(remaining)));
    }
    let missing = verify(&checker, &json!({"key": key["key"], "scopes": ["inference:write"]}));
    assert_eq!((&missing["valid"], &missing["code"]), (&json!(false), &json!("insufficient_scope")));
    assert_eq!(verify(&checker, &json!({"key": key["key"]}))["rate_limit"]["remaining"], 0);
    assert_eq!(verify(&checker, &json!({"key": key["key"]}))["code"], "rate_limited");
    assert_eq!(server.api(key["key"].as_str().unwrap()).get("/v1/models").status, 429);
}

#[test]
fn key_that_no_one_could_see_or_revoke_is_refused() {
    let (desk, server, org) = desk();
    let blob = if desk.database.is_postgres() { "'\\x01'::bytea" } else { "x'01'" };
    let mut damage = vec![format!("backup_id = {blob}"), format!("previous_secret_id = {blob}")];
    damage.extend(["requests_per_minute = -1", "requests_per_minute = 0"].map(str::to_owned));
    if !desk.database.is_postgres() {
        // Only SQLite takes bytes for text.
        damage.push("description = CAST(x'ff' AS TEXT)".to_owned());
        damage.push("name = CAST(x'ff' AS TEXT)".to_owned());
    }
    for (number, damage) in damage.iter().enumerate() {
        let body = json!({"name": format!("damaged-{number}"), "scopes": ["inference:read"]});
        let key = org.admin.create(&body);
        desk.database.tamper(&format!("UPDATE api_keys SET {damage} WHERE name = 'damaged-{number}'"));
        let answer = server.api(key["key"].as_str().unwrap()).get("/v1/models");
        assert_eq!(answer.refusal(), (401, "invalid_token".into()), "{damage}");
    }
}

#[test]
fn refused_key_is_reported_with_its_code_and_a_foreign_one_as_unknown() {
    let (desk, server, org) = desk();
    let checker = checker(&desk, &server, &org);
    let code = |key: &Value, more: Value| {
        let mut body = json!({"key": key["key"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        verify(&checker, &body)["code"].clone()
    };
    let create = |name: &str| org.admin.create(&json!({"name": name, "scopes": ["inference:read"]}));
    let path = |key: &Value| format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    let (revoked, disabled, expired, bound) =
        (create("revoked"), create("disabled"), create("expired"), create("bound"));
    org.admin.delete(&path(&revoked));
    org.admin.patch(&path(&disabled), &json!({"disabled": true}));
    desk.database.change("UPDATE api_keys SET expires_at = 1000000 WHERE name = 'expired'");
    org.admin.patch(&path(&bound), &json!({"allowed_ips": ["10.0.0.0/8"]}));
    assert_eq!(code(&revoked, json!({})), "key_revoked");
    assert_eq!(code(&disabled, json!({})), "key_disabled");
    assert_eq!(code(&expired, json!({})), "key_expired");
    assert_eq!(code(&bound, json!({})), "ip_not_allowed");
    assert_eq!(code(&bound, json!({"ip": "192.0.2.1"})), "ip_not_allowed");
    assert_eq!(code(&bound, json!({"ip": "10.1.2.3"})), "valid");
    let unknown = json!({
        "valid": false, "code": "invalid_token", "key_id": null, "name": null, "scopes": null, "expires_at": null,
        "rate_limit": null,
    });
    let theirs = desk.set_up(&server, "Other").admin.key;
    for text in [theirs.as_str(), "", "kd_x", "kd_0000000000000000000000000000000000000000000000"] {
        assert_eq!(verify(&checker, &json!({"key": text})), unknown, "{text}");
    }
    for (wrong, status) in [
        (json!({}), 400),
        (json!({"key": 1}), 400),
        (json!({"key": "x", "scopes": ["all"]}), 422),
        (json!({"key": "x", "ip": "here"}), 422),
        (json!({"key": "x", "more": 1}), 400),
    ] {
        assert_eq!(checker.post("/v1/api-keys/verify", &wrong).status, status, "{wrong}");
    }
    assert_eq!(
        org.admin.post("/v1/api-keys/verify", &json!({"key": "x"})).refusal(),
        (403, "insufficient_scope".into())
    );
    assert!(!server.whole_log().contains(&theirs));
}

#[test]
fn introspection_describes_active_keys_and_no_others() {
    let (desk, server, org) = desk();
    let checker = checker(&desk, &server, &org);
    let key = org.admin.create(
        &json!({"name": "seen", "scopes": ["inference:read", "inference:write"], "expires_in_days": 1}),
    );
    let secret = key["key"].as_str().unwrap();
    let answer = introspect(&checker, &format!("token={secret}&token_type_hint=access_token"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let active = answer.json();
    assert_eq!(active["active"], true);
    assert_eq!(active["scope"], "inference:read inference:write");
    assert_eq!(active["client_id"], key["id"]);
    assert!(active["exp"].is_i64());
    let inactive = json!({"active": false});
    let theirs = desk.set_up(&server, "Other").admin.key;
    assert_eq!(introspect(&checker, &format!("token={theirs}")).json(), inactive);
    assert_eq!(introspect(&checker, "token=nonsense").json(), inactive);
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    assert_eq!(introspect(&checker, &format!("token={secret}")).json(), inactive);
    assert_eq!(introspect(&checker, "").refusal(), (400, "invalid_request".into()));
    assert_eq!(introspect(&server.api(""), "token=x").refusal(), (401, "missing_credential".into()));
    assert_eq!(checker.post("/v1/introspect", &json!({"token": "x"})).status, 415);
    assert_eq!(checker.get("/v1/introspect").status, 405);
}

#[test]
fn forward_authentication_supports_every_method_and_path() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "käufer 1", "scopes": ["inference:read", "analytics:read"], "requests_per_minute": 100}));
    let api = server.api(key["key"].as_str().unwrap());
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        for path in ["/v1/authorize", "/v1/authorize/", "/v1/authorize/any/path?scope=x&deny=1"] {
            let answer = api.send(method, path, &[], None);
            assert_eq!(answer.status, 200, "{method} {path}");
            assert_eq!(answer.header("x-keydesk-key-id"), key["id"].as_str());
            assert_eq!(answer.header("x-keydesk-key-name"), Some("k%C3%A4ufer%201"));
            assert_eq!(answer.header("x-keydesk-org"), Some(org.slug.as_str()));
            assert_eq!(answer.header("x-keydesk-scopes"), Some("inference:read analytics:read"));
        }
    }
    assert_eq!(api.get("/v1/authorize").header("x-ratelimit-remaining"), Some("78"));
    assert_eq!(api.get("/v1/authorize?scope=inference:read%20analytics:read").status, 200);
    assert_eq!(
        api.get("/v1/authorize?scope=inference:read&scope=admin").refusal(),
        (403, "insufficient_scope".into())
    );
    assert_eq!(api.get("/v1/authorize?scope=everything").refusal(), (400, "invalid_request".into()));
    for query in ["deny=404", "deny=", "deny=403&deny=403"] {
        assert_eq!(api.get(&format!("/v1/authorize?{query}")).refusal(), (400, "invalid_request".into()));
    }
    assert_eq!(server.api("").get("/v1/authorize").refusal(), (401, "missing_credential".into()));
}

#[test]
fn deny_403_refuses_with_403_and_the_code_in_a_header() {
    let (_desk, server, org) = desk();
    let key =
        org.admin.create(&json!({"name": "once", "scopes": ["inference:read"], "requests_per_minute": 1}));
    let api = server.api(key["key"].as_str().unwrap());
    let told =
        |answer: &Answer| (answer.status, answer.header("x-keydesk-code").unwrap_or_default().to_owned());
    assert_eq!(told(&server.api("").get("/v1/authorize?deny=403")), (403, "missing_credential".into()));
    assert_eq!(told(&server.api("nonsense").get("/v1/authorize?deny=403")), (403, "invalid_token".into()));
    assert_eq!(
        told(&api.get("/v1/authorize?deny=403&scope=inference:write")),
        (403, "insufficient_scope".into())
    );
    let limited = api.get("/v1/authorize?deny=403");
    assert_eq!(told(&limited), (403, "rate_limited".into()));
    assert!(limited.header("retry-after").is_some());
    assert_eq!(limited.json()["status"], 403);
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    assert_eq!(told(&api.get("/v1/authorize?deny=403")), (403, "key_revoked".into()));
}

#[test]
fn new_keys_are_accepted_amid_a_flood_of_unknown_ones() {
    let (desk, server, org) = desk();
    let create = |number: i32| {
        let body = json!({"name": format!("new {number}"), "scopes": ["inference:read"]});
        org.admin.create(&body)["key"].as_str().unwrap().to_owned()
    };
    let strangers = || (0..64).map(|_| PlainSecret::generate("kd").unwrap().expose().to_owned());
    // Each key was never presented before, so that it is looked up beside the strangers.
    let presented: Vec<(String, u16)> =
        (0..4).map(|number| (create(number), 200)).chain(strangers().map(|key| (key, 401))).collect();
    let ask = &|key: &str| server.api(key).get("/v1/authorize").status;
    let answers = std::thread::scope(|scope| {
        let asked: Vec<_> = presented.iter().map(|(key, _)| scope.spawn(move || ask(key))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<u16>>()
    });
    assert_eq!(answers, presented.iter().map(|(_, status)| *status).collect::<Vec<_>>());
    drop(desk);
}
