//! What is forwarded of a request's headers, and passed on of a response's.

use serde_json::json;

use crate::support::scripted::{CHAT, response, scripted};
use crate::support::stream::with_upstream;
use crate::support::{Api, Desk, Org, Server};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:read,inference:write"))
}

/// The values of a header in a request.
fn values<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn traces_the_client_and_our_request_id_reach_the_upstream_and_nothing_else_does() {
    let list = r#"{"object":"list","data":[]}"#;
    let (url, sent) =
        scripted(vec![response(200, &[], CHAT), response(200, &[], CHAT), response(200, &[], list)]);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let headers = [
        ("traceparent", TRACE),
        ("tracestate", "vendor=1"),
        ("openai-beta", "assistants=v2"),
        ("user-agent", "OpenAI/Python 2.54.0"),
        ("x-request-id", "client-7"),
        ("openai-organization", "org-other"),
        ("openai-project", "proj-other"),
        ("idempotency-key", "stainless-1"),
        ("cookie", "a=b"),
        ("x-api-version", "1"),
    ];
    let version = env!("CARGO_PKG_VERSION");
    for (method, path, body) in [
        ("POST", "/v1/chat/completions", Some(json!({"model": "m", "messages": []}).to_string())),
        ("POST", "/v1/inference", Some(json!({"model": "m", "prompt": "p"}).to_string())),
        ("GET", "/v1/models", None),
    ] {
        let answer = api.send(method, path, &headers, body.as_deref());
        assert_eq!(answer.status, 200, "{}", answer.body);
        let request = sent.recv().unwrap();
        assert_eq!(values(&request, "traceparent"), [TRACE]);
        assert_eq!(values(&request, "tracestate"), ["vendor=1"]);
        assert_eq!(values(&request, "openai-beta"), ["assistants=v2"]);
        assert_eq!(values(&request, "user-agent"), [format!("OpenAI/Python 2.54.0 keydesk/{version}")]);
        // The upstream gets our id, and the client's stays in our log.
        assert_eq!(values(&request, "x-request-id"), [answer.header("x-request-id").unwrap()]);
        for name in ["openai-organization", "openai-project", "idempotency-key", "cookie", "x-api-version"] {
            assert!(values(&request, name).is_empty(), "{name} in {request}");
        }
    }
}

#[test]
fn a_clients_own_request_id_stands_next_to_ours_in_the_log_if_it_is_safe() {
    let (desk, server, org) = crate::support::desk();
    let api = caller(&desk, &server, &org);
    let long = "x".repeat(129);
    let unsafe_ids = ["two words", "a\"b", "<script>", long.as_str(), api.key.as_str()];
    for id in unsafe_ids.iter().chain(&["safe-7:a/b"]) {
        let answer = api.send("GET", "/v1/models", &[("x-request-id", id)], None);
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    }
    let log = server.whole_log();
    assert_eq!(log.matches("client_request_id").count(), 1, "{log}");
    assert!(log.contains("\"client_request_id\":\"safe-7:a/b\""), "{log}");
}

#[test]
fn headers_that_are_too_long_or_contain_a_key_are_not_forwarded() {
    let (url, sent) = scripted(vec![response(200, &[], CHAT); 2]);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let leaking = format!("agent/{}", api.key);
    let long = "v=".to_owned() + &"x".repeat(600);
    let body = json!({"model": "m", "messages": []}).to_string();
    for agent in [leaking.as_str(), ""] {
        let headers =
            [("user-agent", agent), ("tracestate", long.as_str()), ("openai-beta", leaking.as_str())];
        assert_eq!(api.send("POST", "/v1/chat/completions", &headers, Some(&body)).status, 200);
        let request = sent.recv().unwrap();
        assert!(!request.contains(&api.key) && !request.contains(&long), "{request}");
        assert!(values(&request, "user-agent")[0].ends_with(concat!("keydesk/", env!("CARGO_PKG_VERSION"))));
        assert!(values(&request, "openai-beta").is_empty());
    }
}

#[test]
fn of_a_response_only_headers_that_concern_the_client_are_passed_on() {
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("openai-processing-ms", "42"),
        ("openai-version", "2020-10-01"),
        ("x-should-retry", "false"),
        ("set-cookie", "a=b"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("openai-organization", "the-operators"),
        ("x-request-id", "req_upstream"),
        ("access-control-allow-origin", "*"),
        ("strict-transport-security", "max-age=1"),
    ];
    let (url, _sent) = scripted(vec![response(200, &headers, CHAT)]);
    let (desk, server, org) = with_upstream(&url);
    let answer =
        caller(&desk, &server, &org).post("/v1/chat/completions", &json!({"model": "m", "messages": []}));
    for (name, value) in &headers[..4] {
        assert_eq!(answer.header(name), Some(*value));
    }
    for name in
        ["set-cookie", "openai-organization", "access-control-allow-origin", "strict-transport-security"]
    {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("599"));
}
