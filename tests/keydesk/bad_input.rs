//! Invalid input is refused with the name of its field, changes nothing and prints no secret.

use serde_json::{Value, json};

use crate::support::desk;

#[test]
fn errors_name_the_invalid_fields_of_a_new_key() {
    let (desk, _server, org) = desk();
    let long = "x".repeat(10_000);
    let cases: Vec<(&str, Value, u16)> = vec![
        ("name", json!(""), 422),
        ("name", json!("   "), 422),
        ("name", json!("x".repeat(65)), 422),
        ("name", json!("a\u{0}b"), 422),
        ("name", json!("a\nb"), 422),
        ("name", json!("a\u{202e}b"), 422),
        ("name", json!("a\u{2028}b"), 422),
        ("name", json!("\u{3164}\u{ad}"), 422),
        ("name", json!("\u{200d}"), 422),
        ("name", json!(org.admin.key), 422),
        ("description", json!(format!("uses {}", org.admin.key)), 422),
        ("name", json!(5), 400),
        ("name", json!(null), 400),
        ("name", json!(["a"]), 400),
        ("description", json!(long), 422),
        ("description", json!("a\u{7}b"), 422),
        ("description", json!(1), 400),
        ("scopes", json!([]), 422),
        ("scopes", json!(["everything"]), 422),
        ("scopes", json!([""]), 422),
        ("scopes", json!("admin"), 400),
        ("scopes", json!([1]), 400),
        ("expires_in_days", json!(0), 422),
        ("expires_in_days", json!(-1), 422),
        ("expires_in_days", json!(100_000), 422),
        ("expires_in_days", json!(i64::MAX), 422),
        ("expires_in_days", json!(1.5), 400),
        ("expires_in_days", json!("90"), 400),
        ("expires_at", json!("2001-01-01T00:00:00Z"), 422),
        ("expires_at", json!("9999-01-01T00:00:00Z"), 422),
        ("expires_at", json!("tomorrow"), 422),
        ("expires_at", json!("2030-02-30T00:00:00Z"), 422),
        ("expires_at", json!(1_900_000_000), 400),
        ("owner", json!("nobody@example.com"), 422),
        ("owner", json!("user_00000000000000000000000000"), 422),
        ("backup", json!("nobody"), 422),
        ("requests_per_minute", json!(0), 422),
        ("requests_per_minute", json!(1_000_001), 422),
        ("requests_per_minute", json!(-5), 422),
        ("requests_per_minute", json!("600"), 400),
        ("allowed_ips", json!(["10.0.0.0/33"]), 422),
        ("allowed_ips", json!(["example.com"]), 422),
        ("allowed_ips", json!(vec!["10.0.0.1"; 51]), 422),
        ("allowed_ips", json!("10.0.0.1"), 400),
        ("models", json!([]), 422),
        ("models", json!([""]), 422),
        ("models", json!(["g*t"]), 422),
        ("models", json!(["**"]), 422),
        ("models", json!(["two words"]), 422),
        ("models", json!(["one,two"]), 422),
        ("models", json!(["zero\u{0}byte"]), 422),
        ("models", json!(["m".repeat(10_000)]), 422),
        ("models", json!(vec!["gpt-4"; 101]), 422),
        ("models", json!("gpt-4"), 400),
        ("models", json!([4]), 400),
        ("self_rotate", json!("yes"), 400),
    ];
    for (field, value, status) in cases {
        let mut body = json!({"name": "refused", "scopes": ["inference:read"]});
        body[field] = value.clone();
        let answer = org.admin.post("/v1/api-keys", &body);
        let shown: String = value.to_string().chars().take(60).collect();
        assert_eq!(answer.status, status, "{field}: {shown}: {}", answer.body);
        answer.code();
        assert_eq!(answer.fields(), [field], "{shown}: {}", answer.body);
        assert!(!answer.body.contains(&org.admin.key));
        assert!(!answer.body.contains("i64") && !answer.body.contains("struct"), "{}", answer.body);
    }
    let both =
        json!({"name": "x", "scopes": ["admin"], "expires_in_days": 1, "expires_at": "2030-01-01T00:00:00Z"});
    assert_eq!(org.admin.post("/v1/api-keys", &both).fields(), ["expires_at"]);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys"), 1);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM audit_entries"), 2);
}

#[test]
fn body_that_is_not_valid_json_is_refused() {
    let (desk, _server, org) = desk();
    let valid = r#"{"name": "n", "scopes": ["admin"]}"#;
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases = [
        ("", 400),
        ("{", 400),
        ("null", 400),
        ("[]", 400),
        (r#"["n", "d", ["admin"]]"#, 400),
        ("\"text\"", 400),
        (r#"{"name": "n", "name": "m", "scopes": ["admin"]}"#, 400),
        (r#"{"name": "n", "scopes": ["admin"], "role": "owner"}"#, 400),
        (r#"{"name": "n", "scopes": ["admin"], "key": "kd_x"}"#, 400),
        (r#"{"scopes": ["admin"]}"#, 400),
        (r#"{"name": "n"}"#, 400),
        (r#"{"name": "n", "scopes": ["admin"]} trailing"#, 400),
        (r#"{"name": "n", "scopes": ["admin"], "expires_in_days": 1e999}"#, 400),
        (deep.as_str(), 400),
    ];
    for (body, status) in cases {
        let answer = org.admin.send("POST", "/v1/api-keys", &[], Some(body));
        let shown: String = body.chars().take(60).collect();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, "invalid_request"),
            "{shown}: {}",
            answer.body
        );
    }
    let unknown = org.admin.send(
        "POST",
        "/v1/api-keys",
        &[],
        Some(r#"{"name": "n", "scopes": ["admin"], "role": "owner"}"#),
    );
    assert!(unknown.body.contains("role"), "{}", unknown.body);
    let large = format!(r#"{{"name": "n", "scopes": ["admin"], "description": "{}"}}"#, "x".repeat(70_000));
    assert_eq!(
        org.admin.send("POST", "/v1/api-keys", &[], Some(&large)).refusal(),
        (413, "payload_too_large".into())
    );
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let answer = org.admin.send("POST", "/v1/api-keys", &[("content-type", kind)], Some(valid));
        assert_eq!(answer.refusal(), (415, "unsupported_media_type".into()), "{kind}");
    }
    let invalid = org.admin.send(
        "POST",
        "/v1/api-keys",
        &[("content-type", "application/json; charset=utf-8")],
        Some(valid),
    );
    assert_eq!(invalid.status, 201);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys"), 2);
}

#[test]
fn errors_name_the_invalid_query_parameter() {
    let (_desk, _server, org) = desk();
    for (query, status) in [
        ("limit=0", 422),
        ("limit=101", 422),
        ("limit=ten", 422),
        ("status=gone", 422),
        ("scope=everything", 422),
        ("owner=ada", 422),
        ("fingerprint=xyz", 422),
        ("fingerprint=abc", 422),
        ("cursor=zzz", 422),
        ("q=%00", 422),
        ("unknown=1", 400),
        ("limit=1&limit=2", 400),
    ] {
        let answer = org.admin.get(&format!("/v1/api-keys?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        let name = query.split('=').next().unwrap();
        assert!(answer.body.contains(name), "{query}: {}", answer.body);
    }
}

#[test]
fn second_credential_or_one_in_the_url_is_refused() {
    let (_desk, server, org) = desk();
    let key = org.admin.key.clone();
    let nobody = server.api("");
    let with = |headers: &[(&str, &str)]| nobody.send("GET", "/v1/api-keys/self", headers, None);
    let bearer = format!("Bearer {key}");
    assert_eq!(with(&[("authorization", &bearer)]).status, 200);
    assert_eq!(with(&[("authorization", &format!("bEaReR {key}"))]).status, 200);
    assert_eq!(
        with(&[("authorization", &bearer), ("authorization", &bearer)]).refusal(),
        (400, "invalid_request".into())
    );
    assert_eq!(with(&[("authorization", &bearer), ("authorization", "Basic eA==")]).status, 400);
    assert_eq!(with(&[("x-api-key", &key)]).refusal(), (401, "missing_credential".into()));
    assert_eq!(with(&[("authorization", &format!("Basic {key}"))]).status, 401);
    assert_eq!(with(&[("authorization", &key)]).status, 401);
    assert_eq!(with(&[("authorization", "Bearer ")]).refusal(), (401, "missing_credential".into()));
    assert_eq!(
        with(&[("authorization", &format!("Bearer {key}x"))]).refusal(),
        (401, "invalid_token".into())
    );
    assert_eq!(
        with(&[("authorization", &format!("Bearer {}", &key[..48]))]).refusal(),
        (401, "invalid_token".into())
    );
    for path in
        [format!("/v1/models?api_key={key}"), format!("/v1/api-keys?q={key}"), format!("/v1/api-keys/{key}")]
    {
        let answer = org.admin.get(&path);
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{path}");
        assert!(!answer.body.contains(&key));
    }
    let mut browser = server.signed_in(&org);
    assert_eq!(browser.get("/v1/api-keys").status, 401);
    assert_eq!(browser.get(&format!("/o/{}/keys?q={key}", org.slug)).status, 400);
    let log = server.whole_log();
    assert!(log.contains("[a path with a key]") && !log.contains(&key));
}

#[test]
fn every_mutant_of_a_key_is_unknown() {
    let (_desk, server, org) = desk();
    let key = org.admin.key.clone();
    for place in 0..key.len() {
        let mut letters = key.as_bytes().to_vec();
        letters[place] = if letters[place] == b'x' { b'y' } else { b'x' };
        let mutant = String::from_utf8(letters).unwrap();
        assert_eq!(
            server.api(&mutant).get("/v1/api-keys/self").refusal(),
            (401, "invalid_token".into()),
            "{place}"
        );
    }
}

#[test]
fn unknown_paths_and_methods_get_404_and_405() {
    let (_desk, server, org) = desk();
    assert_eq!(org.admin.get("/v1/nothing").refusal(), (404, "not_found".into()));
    assert_eq!(org.admin.get("/v1/api-keys/not-an-id").refusal(), (404, "not_found".into()));
    assert_eq!(
        org.admin.get("/v1/api-keys/key_00000000000000000000000000").refusal(),
        (404, "not_found".into())
    );
    let put = org.admin.send("PUT", "/v1/api-keys", &[], Some("{}"));
    assert_eq!(put.refusal(), (405, "method_not_allowed".into()));
    assert_eq!(put.header("allow"), Some("GET, HEAD, POST"));
    // Nothing under /v1 is the portal's, whose guard of forms would answer 403.
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/api-keys/"] {
        let posted = org.admin.send("POST", path, &[("sec-fetch-site", "cross-site")], Some("{}"));
        assert_eq!(posted.refusal(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(org.admin.get(&format!("/v1/nothing?k={}", org.admin.key)).status, 400);
    assert_eq!(org.admin.get("/v1/api-keys?q=%ff").refusal(), (400, "invalid_request".into()));
    let page = server.browser().get("/nothing");
    assert_eq!(page.status, 404);
    assert_eq!(page.text("h1"), "Page not found");
    for answer in [put, page] {
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn null_character_is_a_client_error() {
    let (_desk, server, org) = desk();
    for path in ["/sign-in", "/reset-password"] {
        let fields = [("email", "ada@example.com\0"), ("password", "long enough to be one")];
        let status = server.browser().post(path, &fields).status;
        assert!(status < 500, "{path}: {status}");
    }
    let mut browser = server.signed_in(&org);
    for path in [
        "/o/a%00b/keys".to_owned(),
        format!("/o/{}/keys/%00", org.slug),
        format!("/o/{}/keys?q=%00", org.slug),
        format!("/o/{}/members/%00", org.slug),
        "/calendar/%00.ics".to_owned(),
        "/reset-password?token=%00".to_owned(),
        "/verify-email?token=%00".to_owned(),
        "/sign-in?next=%00".to_owned(),
    ] {
        let status = browser.get(&path).status;
        assert!(status < 500, "{path}: {status}");
    }
    for owner in ["a\0@b.example", "\0", "ada@example.com\0"] {
        let body = json!({"name": "x", "scopes": ["inference:read"], "owner": owner});
        assert_eq!(org.admin.post("/v1/api-keys", &body).status, 422, "{owner:?}");
    }
    let log = server.whole_log();
    assert!(!log.contains("ERROR"), "{log}");
}
