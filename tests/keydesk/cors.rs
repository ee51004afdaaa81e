//! Pages of other origins: none may call the API, unless `KEYDESK_CORS_ORIGINS` lists them.

use keydesk::web::permission::Permission;
use serde_json::json;

use crate::support::{Answer, Api, Desk, TABLE, desk};

const APP: &str = "https://app.example.com";

fn preflight(api: &Api, path: &str, origin: &str, headers: &str) -> Answer {
    let of_browser = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", headers),
    ];
    api.send("OPTIONS", path, &of_browser, None)
}

fn about_cors(answer: &Answer) -> Vec<&str> {
    let names = answer.headers.iter().map(|(name, _)| name.as_str());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer.headers.iter().any(|(name, value)| name == "vary" && value.to_lowercase().contains("origin"))
}

fn with_origins() -> Desk {
    Desk::new().with("KEYDESK_CORS_ORIGINS", &format!("{APP}, http://localhost:5173"))
}

#[test]
fn no_page_of_another_origin_may_call_the_api_by_default() {
    let (_desk, server, org) = desk();
    let refused = preflight(&server.api(""), "/v1/chat/completions", APP, "authorization");
    assert_eq!(refused.refusal(), (405, "method_not_allowed".into()));
    let answer = org.admin.send("GET", "/v1/api-keys", &[("origin", APP)], None);
    assert_eq!(answer.status, 200);
    for answer in [refused, answer] {
        assert!(about_cors(&answer).is_empty() && !varies_by_origin(&answer), "{:?}", answer.headers);
    }
}

#[test]
fn preflight_of_a_listed_origin_is_answered_on_every_route_of_the_api() {
    let desk = with_origins();
    let server = desk.start();
    let api = server.api("");
    let wanted = "authorization,content-type,idempotency-key,openai-organization,x-stainless-lang,x-api-key,\
                  anthropic-version,x-secret-header";
    let routes = TABLE.iter().filter(|(method, path, permission)| {
        path.starts_with("/v1/") && *permission != Permission::ScopesInQuery && *method != "ANY"
    });
    let mut count = 0;
    for (method, pattern, _) in routes {
        count += 1;
        let path = pattern.replace("{id}", "key_01kb8y4s5hf2ktd5rh3qh5w5d9");
        let answer = preflight(&api, &path, APP, wanted);
        assert_eq!(answer.status, 204, "{path}: {}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{path}");
        assert!(answer.header("access-control-allow-methods").unwrap().contains(method), "{path}");
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some(
                "authorization, content-type, idempotency-key, openai-organization, x-stainless-lang, x-api-key, anthropic-version"
            ),
        );
        assert_eq!(answer.header("access-control-max-age"), Some("7200"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(varies_by_origin(&answer), "{path}");
    }
    assert!(count >= 20, "{count} routes");
    assert_eq!(preflight(&api, "/v1/models", "http://localhost:5173", "").status, 204);
    // No origin that only resembles a listed one.
    for origin in [
        "https://app.example.com.evil.example",
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com",
        "http://localhost:5174",
        "null",
        "*",
    ] {
        let answer = preflight(&api, "/v1/models", origin, "authorization");
        assert_eq!(answer.refusal(), (405, "method_not_allowed".into()), "{origin}");
        assert!(
            about_cors(&answer).is_empty() && varies_by_origin(&answer),
            "{origin}: {:?}",
            answer.headers
        );
    }
    // A request with this method that is no preflight.
    let plain = api.send("OPTIONS", "/v1/models", &[("origin", APP)], None);
    assert_eq!(plain.status, 405);
    assert_eq!(preflight(&api, "/v1/nothing", APP, "").status, 404);
}

#[test]
fn pages_of_a_listed_origin_may_read_responses_and_errors_of_the_api() {
    let desk = with_origins();
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let created =
        org.admin.create(&json!({"name": "page", "scopes": ["inference:read"], "requests_per_minute": 3}));
    let api = server.api(created["key"].as_str().unwrap());
    let from = |api: &Api, method: &str, path: &str, origin: &str| {
        api.send(method, path, &[("origin", origin)], None)
    };
    let mut seen = Vec::new();
    for (api, method, path) in [
        (&api, "GET", "/v1/models"),
        (&api, "GET", "/v1/usage"),
        (&api, "GET", "/v1/models"),
        (&api, "GET", "/v1/models"),
        (&server.api(""), "GET", "/v1/models"),
        (&server.api(""), "GET", "/v1/nothing"),
        (&server.api(""), "PUT", "/v1/models"),
        (&server.api("nonsense"), "GET", "/v1/models"),
        (&server.api(""), "GET", "/v1/openapi.json"),
    ] {
        let answer = from(api, method, path, APP);
        seen.push(answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{method} {path}");
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        let exposed: Vec<&str> = exposed.split(", ").collect();
        for (name, _) in &answer.headers {
            let is_of_limits = name.contains("ratelimit") || name == "x-request-id" || name == "retry-after";
            assert!(!is_of_limits || exposed.contains(&name.as_str()), "{name} on {path}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(varies_by_origin(&answer));
    }
    assert_eq!(seen, [200, 403, 200, 429, 401, 404, 405, 401, 200]);
    let other = from(&server.api(""), "GET", "/v1/openapi.json", "https://evil.example");
    let none = server.api("").get("/v1/openapi.json");
    for answer in [other, none] {
        assert!(about_cors(&answer).is_empty() && varies_by_origin(&answer), "{:?}", answer.headers);
    }
}

#[test]
fn neither_pages_nor_requests_of_proxies_are_shared_with_other_origins() {
    let desk = with_origins();
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let api = server.api("");
    for path in ["/sign-in", "/docs", "/healthz", "/assets/app.css", "/nothing", "/chat/completions"] {
        let page = api.send("GET", path, &[("origin", APP)], None);
        assert!(about_cors(&page).is_empty(), "{path}");
        assert!(about_cors(&preflight(&api, path, APP, "")).is_empty(), "{path}");
    }
    // A proxy asks whether the preflight of a page of its own may pass.
    for path in ["/v1/authorize", "/v1/authorize/anything"] {
        let asked = preflight(&api, path, APP, "");
        assert_eq!(asked.refusal(), (401, "missing_credential".into()), "{path}");
        assert!(about_cors(&asked).is_empty(), "{path}");
    }
    assert_eq!(preflight(&org.admin, "/v1/authorize", APP, "").status, 200);
}

#[test]
fn origins_that_no_browser_sends_are_refused_at_start() {
    for value in
        ["*", "https://*.example.com", "https://app.example.com/x", "app.example.com", "null", "ftp://a"]
    {
        let output = Desk::new()
            .with("KEYDESK_CORS_ORIGINS", value)
            .with("KEYDESK_DATABASE_URL", "sqlite:/nowhere/keydesk.sqlite3")
            .run(&["serve"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{value}: {errors}");
        assert!(
            errors.contains("KEYDESK_CORS_ORIGINS") && errors.contains("* is not accepted"),
            "{value}: {errors}"
        );
    }
}
