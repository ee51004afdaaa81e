//! Secrets in URLs never reach a log or the database, at any log level and in any spelling.

use keydesk::web::redact::{PARAMETERS, SECRET_FIELDS, Value};
use serde_json::json;

use crate::support::{Desk, TABLE, directory_contains, raw};

/// A part of every planted secret, in lower case.
const MARK: &str = "c0ffee5ec2e7";

fn token() -> String {
    format!("inv_01kb0000000000000000000000.{MARK}{}", "0123456789abcdef0123456789ab")
}

/// A pattern with these values in place of its parameters.
fn filled(pattern: &str, org: &str, key: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        let name = name.split(':').next().unwrap();
        let value = match (name, PARAMETERS.iter().find(|(known, _)| *known == name).unwrap().1) {
            (_, Value::Secret) => token(),
            ("org", _) => org.to_owned(),
            ("id", _) => key.to_owned(),
            ("index", _) => "0".to_owned(),
            ("number", _) => "2".to_owned(),
            ("file", _) => "page.css".to_owned(),
            ("provider", _) => "oidc".to_owned(),
            (name, _) => panic!("give the parameter {name} a value"),
        };
        path.push_str(before);
        path.push_str(&value);
        rest = after;
    }
    path + rest
}

/// The same path as others would write it.
fn variants(path: &str) -> Vec<String> {
    let (first, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let encoded: String = first.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let twice = encoded.replace('%', "%25");
    vec![
        path.to_owned(),
        path.to_ascii_uppercase(),
        format!("/{encoded}/{rest}"),
        format!("/{twice}/{rest}"),
        format!("/{first}%2f{rest}"),
        format!("/{first}%252F{rest}"),
        format!("/{first}%5c{rest}"),
        path.replace('/', "//"),
        path.replace('/', "/;jsessionid=1/"),
        format!("/{first};a=b/{rest}"),
        path.replace('/', "/./"),
        format!("/docs/..{path}"),
        format!("/docs/%2e%2e{path}"),
        format!("{path}/"),
        format!("{path}/more"),
        format!("{path}.json"),
        format!("{path}%00"),
        format!("/prefix{path}"),
        format!("/v1{path}"),
        format!("http://localhost{path}"),
    ]
}

#[test]
fn secrets_reach_neither_log_nor_database() {
    let desk = Desk::new().with("KEYDESK_LOG", "trace");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let revoked = org.admin.create(&json!({"name": "revoked", "scopes": ["admin"]}));
    let (id, secret) = (revoked["id"].as_str().unwrap(), revoked["key"].as_str().unwrap());
    assert_eq!(org.admin.delete(&format!("/v1/api-keys/{id}")).status, 204);
    let query: String =
        SECRET_FIELDS.iter().map(|name| format!("{name}={MARK}")).collect::<Vec<_>>().join("&");
    let (bearer, basic) = (format!("Bearer {MARK}"), format!("Basic {MARK}"));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for (method, pattern, _) in TABLE.iter() {
        let method = if *method == "ANY" { "GET" } else { method };
        let path = filled(pattern, &org.slug, id);
        let holds_secret = path.contains(MARK);
        for (place, path) in variants(&path).into_iter().enumerate() {
            if place > 0 && !holds_secret {
                break;
            }
            let target = format!("{path}?{query}&%74oken={MARK}");
            let cookie = format!("keydesk={MARK}; other={MARK}");
            let headers =
                [("Cookie", cookie.as_str()), ("x-api-key", MARK), ("Authorization", &bearer), form];
            let body = if method == "GET" { "" } else { &query };
            raw::request(&server.base, method, &target, &headers, body);
            let with_key = [("Authorization", format!("Bearer {secret}"))];
            let with_key = with_key.each_ref().map(|(name, value)| (*name, value.as_str()));
            raw::request(&server.base, method, &path, &with_key, "");
        }
    }
    raw::request(&server.base, "GET", "/v1/models", &[("Authorization", &basic)], "");
    raw::request(&server.base, MARK, "/docs", &[], "");
    let log = server.whole_log();
    assert!(log.contains(r#""level":"TRACE""#));
    for known in [
        "/invitations/{token}",
        "/unsubscribe/{token}",
        "/calendar/{token}.ics",
        "/v1/authorize/{rest}",
        "/v1/models/{model}",
    ] {
        assert!(log.contains(&format!(r#""path":"{known}""#)), "an operator sees {known}");
    }
    let leak = log.lines().find(|line| line.to_ascii_lowercase().contains(MARK));
    assert_eq!(leak, None);
    assert!(!directory_contains(desk.data.path(), MARK));
    let kept = |value: &str| {
        let query = "SELECT COUNT(*) AS count FROM refused_requests WHERE route LIKE ";
        desk.database.count(&format!("{query}'%{value}%'"))
    };
    assert_eq!(kept(MARK), 0);
    assert!(kept("/v1/authorize/{rest}") > 0, "the refusal is kept, without the path");
}

#[test]
fn public_ids_stay_in_the_log() {
    let desk = Desk::new();
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let id =
        org.admin.create(&json!({"name": "shown", "scopes": ["admin"]}))["id"].as_str().unwrap().to_owned();
    org.admin.get(&format!("/v1/api-keys/{id}"));
    let mut browser = server.signed_in(&org);
    browser.get(&format!("/o/{}/keys/{id}/edit", org.slug));
    browser.get("/chat/completions");
    browser.get("/wp-admin/setup.php");
    let log = server.whole_log();
    for path in [
        format!("/v1/api-keys/{id}"),
        format!("/o/{}/keys/{id}/edit", org.slug),
        "/chat/completions".to_owned(),
        "/{unknown}".to_owned(),
    ] {
        assert!(log.contains(&format!(r#""path":"{path}""#)), "{path}: {log}");
    }
}
