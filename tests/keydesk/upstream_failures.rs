//! Failures of the upstream: what the client gets, what is counted, and what the operator finds in the log.

use serde_json::{Value, json};

use crate::support::scripted::{CHAT, response, scripted};
use crate::support::stream::with_upstream;
use crate::support::{Answer, Api, Desk, Org, Server, eventually};

const ROUTES: [&str; 2] = ["/v1/chat/completions", "/v1/inference"];

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:read,inference:write"))
}

fn call(api: &Api, path: &str) -> Answer {
    let body = match path {
        "/v1/inference" => json!({"model": "gpt-9", "prompt": "a secret prompt"}),
        _ => json!({"model": "gpt-9", "messages": [{"role": "user", "content": "a secret prompt"}]}),
    };
    api.post(path, &body)
}

fn error(message: &str, code: Value) -> String {
    json!({"error": {"message": message, "type": "some_error", "param": null, "code": code}}).to_string()
}

#[test]
fn refusals_that_the_client_can_correct_are_passed_on_unchanged() {
    let statuses = [400, 402, 404, 405, 408, 409, 413, 415, 422, 429, 451, 499];
    let body = error("max_tokens is too large", json!("too_large"));
    let responses = statuses.map(|status| response(status, &[("set-cookie", "a=b")], &body)).to_vec();
    let (url, _sent) = scripted(responses);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    for status in statuses {
        let answer = call(&api, "/v1/chat/completions");
        assert_eq!((answer.status, answer.body.as_str()), (status, body.as_str()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!((answer.header("set-cookie"), answer.header("x-should-retry")), (None, None), "{status}");
    }
}

#[test]
fn refusals_keep_their_meaning_in_keydesks_own_format() {
    let statuses = [
        (400, 422, "validation_failed"),
        (403, 403, "model_not_allowed"),
        (404, 404, "model_not_found"),
        (409, 409, "conflict"),
        (413, 413, "payload_too_large"),
        (422, 422, "validation_failed"),
        (429, 429, "rate_limited"),
    ];
    let body = error("no access to this model", Value::Null);
    let (url, _sent) = scripted(statuses.map(|(status, ..)| response(status, &[], &body)).to_vec());
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    for (_, status, code) in statuses {
        let answer = call(&api, "/v1/inference");
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        assert!(status == 404 || answer.body.contains("no access to this model"), "{}", answer.body);
    }
}

#[test]
fn failures_say_that_the_upstream_failed_and_may_be_retried_unless_that_cannot_help() {
    // Status, further headers, expected status and code, and whether a retry is prevented.
    type Case = (u16, &'static [(&'static str, &'static str)], u16, &'static str, Option<&'static str>);
    let cases: Vec<Case> = vec![
        (500, &[], 502, "upstream_error", None),
        (500, &[("x-should-retry", "false")], 502, "upstream_error", Some("false")),
        (500, &[("x-should-retry", "true")], 502, "upstream_error", Some("true")),
        (501, &[], 502, "upstream_error", None),
        (502, &[], 502, "upstream_error", None),
        (503, &[], 503, "unavailable", None),
        (504, &[], 502, "upstream_error", None),
        (524, &[], 502, "upstream_error", None),
        (529, &[], 503, "unavailable", None),
        (401, &[], 502, "upstream_error", Some("false")),
        (403, &[], 502, "upstream_error", Some("false")),
        (407, &[], 502, "upstream_error", Some("false")),
        (301, &[("location", "http://127.0.0.1:9/")], 502, "upstream_error", Some("false")),
        (308, &[("location", "/elsewhere")], 502, "upstream_error", Some("false")),
        (206, &[], 502, "upstream_error", Some("false")),
    ];
    for path in ROUTES {
        let body = error("the words of the upstream", Value::Null);
        let (url, _sent) = scripted(cases.iter().map(|case| response(case.0, case.1, &body)).collect());
        let (desk, server, org) = with_upstream(&url);
        let api = caller(&desk, &server, &org);
        for (status, _, expected, code, retry) in &cases {
            let answer = call(&api, path);
            assert_eq!(answer.refusal(), (*expected, (*code).to_owned()), "{path} {status}");
            assert_eq!(answer.header("x-should-retry"), *retry, "{path} {status}");
            assert!(answer.body.contains("upstream"), "{}", answer.body);
            assert!(!answer.body.contains("the words") && !answer.body.contains("Keydesk is unavailable"));
            assert_eq!(answer.header("retry-after").is_some(), *expected == 503, "{path} {status}");
        }
        // Nobody listens any more: no work was done.
        let answer = call(&api, path);
        assert_eq!(answer.refusal(), (502, "upstream_error".into()));
        assert_eq!(answer.header("x-should-retry"), None);
    }
}

#[test]
fn a_403_about_the_model_is_passed_on_and_one_about_the_credential_is_not() {
    let model = error("Project p does not have access to model gpt-9", json!("model_not_found"));
    let credential = error("Missing scopes: model.request", json!("missing_scope"));
    let (url, _sent) = scripted(vec![response(403, &[], &model), response(403, &[], &credential)]);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let answer = call(&api, "/v1/chat/completions");
    assert_eq!((answer.status, answer.body.as_str()), (403, model.as_str()));
    assert_eq!(call(&api, "/v1/chat/completions").refusal(), (502, "upstream_error".into()));
    assert!(server.whole_log().contains("Missing scopes: model.request"));
}

#[test]
fn the_time_to_retry_is_passed_on_in_every_form() {
    let forms = [
        ("retry-after", "7"),
        ("retry-after", "0.8"),
        ("retry-after", "Fri, 31 Dec 2037 23:59:59 GMT"),
        ("retry-after-ms", "350"),
    ];
    for path in ROUTES {
        for status in [429, 503, 529, 500] {
            let (url, _sent) = scripted(forms.map(|form| response(status, &[form], "{}")).to_vec());
            let (desk, server, org) = with_upstream(&url);
            let api = caller(&desk, &server, &org);
            for (name, value) in forms {
                let answer = call(&api, path);
                assert_eq!(answer.header(name), Some(value), "{path} {status}: {}", answer.body);
            }
        }
    }
}

#[test]
fn each_failure_is_one_log_line_that_names_its_cause_and_no_secret() {
    let long = "wrong key upstream-secret, ".to_owned() + &"x".repeat(400);
    let responses = vec![
        response(401, &[("x-request-id", "req_upstream_1")], error(&long, json!("invalid_api_key"))),
        response(429, &[("request-id", "req_upstream_2")], error("quota exceeded", Value::Null)),
        response(500, &[], "<html>\r\nboom</html>"),
    ];
    let (url, _sent) = scripted(responses);
    let (desk, server, org) = with_upstream(&url);
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let answers: Vec<Answer> = (0..4).map(|_| call(&api, "/v1/chat/completions")).collect();
    let org_id = key["organization"].as_str().unwrap().to_owned();
    let log = server.whole_log();
    let expected = [
        (Some(401), Some("req_upstream_1"), "wrong key [redacted], xxx"),
        (Some(429), Some("req_upstream_2"), "quota exceeded"),
        (Some(500), None, "<html> boom</html>"),
        (None, None, "onnect"),
    ];
    for (answer, (status, upstream_request, cause)) in answers.iter().zip(expected) {
        let id = answer.header("x-request-id").unwrap();
        let lines: Vec<Value> = log
            .lines()
            .filter(|line| line.contains(id) && line.contains("WARN"))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [line] = &lines[..] else { panic!("{} lines about {id}: {log}", lines.len()) };
        assert_eq!(line["key"], key["id"]);
        assert_eq!(line["organisation"], org_id);
        assert_eq!(line["model"], "gpt-9");
        assert_eq!(url, format!("http://{}/v1", line["upstream"].as_str().unwrap()));
        assert_eq!(line.get("status").and_then(Value::as_u64), status);
        assert_eq!(line.get("upstream_request").and_then(Value::as_str), upstream_request);
        let said = line["cause"].as_str().unwrap();
        assert!(said.contains(cause) && said.chars().count() <= 300, "{said}");
        assert!(line["milliseconds"].is_u64(), "{line}");
    }
    for secret in ["upstream-secret", "a secret prompt", api.key.as_str()] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    drop(desk);
}

#[test]
fn a_limit_of_the_upstream_does_not_count_as_one_of_the_key() {
    let (url, _sent) = scripted(vec![
        response(429, &[], "{}"),
        response(402, &[], "{}"),
        response(500, &[], "{}"),
        response(400, &[], "{}"),
        response(200, &[], CHAT),
    ]);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let statuses: Vec<u16> = (0..5).map(|_| call(&api, "/v1/chat/completions").status).collect();
    assert_eq!(statuses, [429, 402, 502, 400, 200]);
    let count = |outcome: &str| {
        desk.database.count(&format!(
            "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM all_usage_counts \
             WHERE width = 60 AND model = 'gpt-9' AND outcome = '{outcome}'"
        ))
    };
    eventually("all are counted", || {
        ["server_errors", "client_errors", "limited", "ok"].map(count) == [3, 1, 0, 1]
    });
}
