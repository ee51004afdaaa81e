//! Permissions: scopes, organisations, sign-in.

use serde_json::json;

use crate::support::{Api, desk};

const SCOPES: [&str; 5] = ["inference:read", "inference:write", "analytics:read", "keys:verify", "admin"];

/// Method, path, body and the scope that it needs; empty for any key.
fn routes(id: &str) -> Vec<(&'static str, String, Option<String>, &'static str)> {
    let path = format!("/v1/api-keys/{id}");
    let inference = json!({"model": "gpt-4", "prompt": "Hello"}).to_string();
    vec![
        ("GET", "/v1/api-keys".into(), None, "admin"),
        ("POST", "/v1/api-keys".into(), Some("{}".into()), "admin"),
        ("GET", "/v1/api-keys/self".into(), None, ""),
        ("GET", path.clone(), None, "admin"),
        ("PATCH", path.clone(), Some("{}".into()), "admin"),
        ("POST", format!("{path}/revoke"), Some("{\"wrong\":1}".into()), "admin"),
        ("POST", "/v1/api-keys/verify".into(), Some(json!({"key": ""}).to_string()), "keys:verify"),
        ("POST", "/v1/introspect".into(), Some("token=x".into()), "keys:verify"),
        ("GET", "/v1/authorize".into(), None, ""),
        ("GET", "/v1/models".into(), None, "inference:read"),
        ("GET", "/v1/models/echo".into(), None, "inference:read"),
        ("GET", "/v1/inference".into(), None, "inference:read"),
        ("POST", "/v1/inference".into(), Some(inference), "inference:write"),
        ("POST", "/v1/chat/completions".into(), Some("{}".into()), "inference:write"),
        ("POST", "/v1/completions".into(), Some("{}".into()), "inference:write"),
        ("POST", "/v1/embeddings".into(), Some("{}".into()), "inference:write"),
        ("POST", "/v1/responses".into(), Some("{}".into()), "inference:write"),
        ("GET", "/v1/usage".into(), None, "analytics:read"),
        ("GET", "/v1/audit-events".into(), None, "admin"),
        ("GET", "/v1/audit/checkpoint".into(), None, "admin"),
        ("GET", "/v1/audit/proof?index=0".into(), None, "admin"),
        ("DELETE", path, None, "admin"),
    ]
}

#[test]
fn each_scope_allows_its_routes_and_no_others() {
    let (desk, server, org) = desk();
    let mut cases = 0;
    for bits in 1..32_u32 {
        let held: Vec<&str> = (0..5).filter(|bit| bits & (1 << bit) != 0).map(|bit| SCOPES[bit]).collect();
        let api = server.api(&desk.key(&org.slug, &format!("key-{bits}"), &held.join(",")));
        let target =
            org.admin.create(&json!({"name": format!("target-{bits}"), "scopes": ["inference:read"]}));
        for (method, path, body, need) in routes(target["id"].as_str().unwrap()) {
            let answer = api.send(method, &path, &[], body.as_deref());
            let let_in = need.is_empty() || held.contains(&need);
            if let_in {
                assert!(![401, 403].contains(&answer.status), "{held:?} {method} {path}: {}", answer.body);
            } else {
                assert_eq!(answer.refusal(), (403, "insufficient_scope".into()), "{held:?} {method} {path}");
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains(&format!("scope=\"{need}\"")), "{challenge}");
            }
            cases += 1;
        }
    }
    assert_eq!(cases, 682);
}

#[test]
fn keys_of_another_organisation_are_not_found() {
    let (desk, server, ours) = desk();
    let theirs = desk.set_up(&server, "Other Org");
    let key = theirs
        .admin
        .create(&json!({"name": "theirs", "scopes": ["inference:read"], "description": "secret plan"}));
    let id = key["id"].as_str().unwrap();
    let before = desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY id");
    for (method, path, body, need) in routes(id) {
        if path.contains(id) {
            let body = if path.ends_with("revoke") { Some("{}".to_owned()) } else { body };
            let answer = ours.admin.send(method, &path, &[], body.as_deref());
            assert_eq!(answer.refusal(), (404, "not_found".into()), "{method} {path} {need}");
        }
    }
    let list = ours.admin.get("/v1/api-keys");
    assert!(!list.body.contains(id));
    assert_eq!(ours.admin.get(&format!("/v1/api-keys?q={id}")).json()["data"], json!([]));
    assert_eq!(ours.admin.get(&format!("/v1/api-keys?cursor={id}")).status, 422);
    let mut browser = server.signed_in(&ours);
    for page in ["", "/edit", "/disable", "/enable", "/revoke", "/first-use"] {
        assert_eq!(browser.get(&format!("/o/{}/keys/{id}{page}", ours.slug)).status, 404, "{page}");
        assert_eq!(browser.get(&format!("/o/{}/keys/{id}{page}", theirs.slug)).status, 404, "{page}");
    }
    for act in ["/edit", "/disable", "/enable", "/revoke"] {
        let fields =
            [("description", "x"), ("scopes", "admin"), ("expires", "keep"), ("requests_per_minute", "1")];
        assert_eq!(browser.post(&format!("/o/{}/keys/{id}{act}", ours.slug), &fields).status, 404, "{act}");
        assert_eq!(browser.post(&format!("/o/{}/keys/{id}{act}", theirs.slug), &fields).status, 404, "{act}");
    }
    assert_eq!(browser.get(&format!("/o/{}/keys", theirs.slug)).status, 404);
    assert_eq!(browser.get(&format!("/keys/{id}")).status, 404);
    assert_eq!(browser.get(&format!("/o/{}/keys/new?from={id}", ours.slug)).status, 404);
    let after = desk
        .database
        .lines("SELECT entry AS line FROM audit_entries WHERE action NOT LIKE 'person%' ORDER BY id");
    assert_eq!(before, after);
    assert_eq!(theirs.admin.get(&format!("/v1/api-keys/{id}")).json()["status"], "active");
}

#[test]
fn owner_of_another_organisation_cannot_own_a_key() {
    let (desk, server, ours) = desk();
    let theirs = desk.set_up(&server, "Other Org");
    for field in ["owner", "backup"] {
        let body = json!({"name": "given-away", "scopes": ["inference:read"], field: theirs.email});
        let refused = ours.admin.post("/v1/api-keys", &body);
        assert_eq!(refused.refusal(), (422, "validation_failed".into()));
        assert_eq!(refused.fields(), [field]);
    }
}

#[test]
fn rights_follow_the_owners_role_at_the_next_request() {
    let (desk, _server, org) = desk();
    let refused = |api: &Api| api.get("/v1/api-keys").status;
    assert_eq!(refused(&org.admin), 200);
    for (role, status) in [("member", 403), ("auditor", 403), ("admin", 200), ("owner", 200)] {
        desk.database.change(&format!("UPDATE members SET role = '{role}'"));
        assert_eq!(refused(&org.admin), status, "{role}");
    }
    desk.database.change("UPDATE people SET disabled_at = 1");
    assert_eq!(refused(&org.admin), 403);
    desk.database.change("UPDATE people SET disabled_at = NULL");
    desk.database.change("DELETE FROM members");
    assert_eq!(refused(&org.admin), 403);
}

#[test]
fn key_without_effective_rights_is_refused_even_where_no_scope_is_required() {
    let (desk, server, org) = desk();
    desk.add_member(&org, "bo@example.com", "member");
    let body = json!({"name": "bos-key", "scopes": ["inference:read"], "owner": "bo@example.com"});
    let key = org.admin.create(&body)["key"].as_str().unwrap().to_owned();
    let bos = server.api(&key);
    let checker = server.api(&desk.key(&org.slug, "checker", "keys:verify"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let said = || {
        let verified = checker.post("/v1/api-keys/verify", &json!({"key": key})).json();
        let token = format!("token={key}");
        let active = checker.send("POST", "/v1/introspect", &form, Some(&token)).json()["active"].clone();
        (bos.get("/v1/authorize").status, verified["code"].as_str().unwrap().to_owned(), active)
    };
    assert_eq!(said(), (200, "valid".to_owned(), json!(true)));
    for change in [
        "UPDATE people SET disabled_at = 1 WHERE email = 'bo@example.com'",
        "UPDATE members SET role = 'auditor' WHERE role = 'member'",
        "DELETE FROM members WHERE role = 'auditor'",
    ] {
        desk.database.change(change);
        assert_eq!(said(), (403, "insufficient_scope".to_owned(), json!(false)), "{change}");
        desk.database.change("UPDATE people SET disabled_at = NULL");
    }
    // It can still read its own object.
    assert_eq!(bos.get("/v1/api-keys/self").status, 200);
}

#[test]
fn pages_redirect_visitors_to_sign_in_and_change_nothing() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "target", "scopes": ["inference:read"]}));
    let id = key["id"].as_str().unwrap();
    let mut stranger = server.browser();
    for page in
        ["keys", "keys/new", &format!("keys/{id}"), &format!("keys/{id}/edit"), &format!("keys/{id}/revoke")]
    {
        let answer = stranger.get(&format!("/o/{}/{page}", org.slug));
        assert_eq!(answer.status, 303, "{page}");
        assert!(answer.header("location").unwrap().starts_with("/sign-in?next=%2Fo%2F"), "{page}");
    }
    for act in
        ["keys", &format!("keys/{id}/revoke"), &format!("keys/{id}/edit"), &format!("keys/{id}/disable")]
    {
        let answer = stranger.post(&format!("/o/{}/{act}", org.slug), &[("name", "x")]);
        assert_eq!(answer.header("location"), Some("/sign-in"), "{act}");
    }
    assert_eq!(stranger.get("/account").header("location"), Some("/sign-in?next=%2Faccount"));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys"), 2);
    assert_eq!(org.admin.get(&format!("/v1/api-keys/{id}")).json()["status"], "active");
}

#[test]
fn a_member_sees_and_manages_only_their_own_keys() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other Org");
    let key = org.admin.create(&json!({"name": "not-mine", "scopes": ["inference:read"]}));
    let id = key["id"].as_str().unwrap();
    // The other organisation's owner joins this one as a member.
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, 'member', 1 FROM organizations o, people p \
         WHERE o.slug = '{}' AND p.email = '{}'",
        org.slug, other.email
    ));
    let mut member = server.signed_in(&other);
    assert_eq!(member.get(&format!("/o/{}/keys", org.slug)).text("main h2"), "No API keys yet");
    assert_eq!(member.get(&format!("/o/{}/keys/{id}", org.slug)).status, 404);
    assert_eq!(member.post(&format!("/o/{}/keys/{id}/revoke", org.slug), &[]).status, 404);
    let made = member.post(
        &format!("/o/{}/keys", org.slug),
        &[("name", "mine"), ("scopes", "inference:read"), ("expires", "30"), ("requests_per_minute", "10")],
    );
    assert_eq!(made.status, 200);
    desk.database.change("UPDATE members SET role = 'auditor' WHERE role = 'member'");
    assert_eq!(member.get(&format!("/o/{}/keys/{id}", org.slug)).status, 200);
    assert_eq!(member.post(&format!("/o/{}/keys/{id}/revoke", org.slug), &[]).status, 403);
    assert_eq!(member.get(&format!("/o/{}/keys/new", org.slug)).status, 403);
}
