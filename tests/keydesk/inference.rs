//! `/v1/inference` and `/v1/models`: the echo and a real upstream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{Desk, desk};

/// An OpenAI-compatible server that answers each connection with the next of these, and
/// tells what it was sent.
fn upstream(answers: Vec<(u16, &'static str)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/v1/", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                request.push_str(&line);
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).unwrap();
            request.push_str(&String::from_utf8(sent).unwrap());
            sender.send(request).unwrap();
            let head = "content-type: application/json\r\nset-cookie: a=b\r\nconnection: close\r\nlocation: http://127.0.0.1:9/";
            write!(stream, "HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap();
        }
    });
    (url, receiver)
}

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4-0613","choices":[{"index":0,"message":
    {"role":"assistant","content":"Hi there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;

#[test]
fn without_an_upstream_the_prompt_is_echoed_and_marked_as_such() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:read", "inference:write"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let answer = api.post("/v1/inference", &json!({"model": "gpt-4", "prompt": "Hello"}));
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["model"], "gpt-4");
    let output = body["output"].as_str().unwrap();
    assert!(output.contains("trying out") && output.ends_with("Hello"), "{output}");
    assert!(body["usage"]["input_tokens"].as_u64().unwrap() > 0);
    assert!(body["usage"]["output_tokens"].as_u64().unwrap() > 0);
    assert_eq!(api.get("/v1/models").json()["data"][0]["id"], "echo");
    assert_eq!(api.get("/v1/inference").json()["data"][0]["id"], "echo");
    let log = server.whole_log();
    assert!(log.contains(key["id"].as_str().unwrap()) && log.contains("caller"));
    assert!(!log.contains(key["key"].as_str().unwrap()));
}

#[test]
fn an_upstream_gets_one_chat_message_and_its_own_credential() {
    let (url, sent) =
        upstream(vec![(200, CHAT), (200, r#"{"object":"list","data":[{"id":"gpt-4","object":"model"}]}"#)]);
    let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", &url).with("KEYDESK_UPSTREAM_KEY", "upstream-secret");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let api = server.api(&desk.key(&org.slug, "caller", "inference:read,inference:write"));
    let answer = api.post(
        "/v1/inference",
        &json!({"model": "gpt-4", "prompt": "Hello", "max_tokens": 5, "temperature": 0.5}),
    );
    assert_eq!(
        answer.json(),
        json!({"id": "chatcmpl-1", "model": "gpt-4-0613", "output": "Hi there", "usage": {"input_tokens": 9, "output_tokens": 3}})
    );
    assert_eq!(answer.header("set-cookie"), None);
    let request = sent.recv().unwrap();
    assert!(request.starts_with("POST /base/v1/chat/completions HTTP/1.1"), "{request}");
    assert!(request.contains("Bearer upstream-secret"));
    assert!(!request.contains(&api.key));
    let body: Value = serde_json::from_str(&request[request.find("\r\n{").unwrap()..]).unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Hello"}]));
    assert_eq!(body["max_tokens"], 5);
    assert_eq!(api.get("/v1/models").json()["data"][0]["id"], "gpt-4");
}

#[test]
fn upstream_failures_get_distinct_errors() {
    let answers = vec![
        (401, r#"{"error":{"message":"bad key upstream-secret"}}"#),
        (302, ""),
        (500, "boom"),
        (200, "no json"),
        (404, "{}"),
        (400, r#"{"error":{"message":"max_tokens is too large"}}"#),
        (503, ""),
    ];
    let (url, _sent) = upstream(answers);
    let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", &url).with("KEYDESK_UPSTREAM_KEY", "upstream-secret");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let call = || api.post("/v1/inference", &json!({"model": "m", "prompt": "p"}));
    // Only a 500 may be different the next time.
    for retry in [Some("false"), Some("false"), None, Some("false")] {
        let answer = call();
        assert_eq!(answer.refusal(), (502, "upstream_error".into()));
        assert_eq!(answer.header("x-should-retry"), retry);
        assert!(!answer.body.contains("upstream-secret"));
    }
    assert_eq!(call().refusal(), (404, "model_not_found".into()));
    let invalid = call();
    assert_eq!(invalid.refusal(), (422, "validation_failed".into()));
    assert!(invalid.body.contains("max_tokens is too large"));
    let busy = call();
    assert_eq!(busy.refusal(), (503, "unavailable".into()));
    assert!(busy.header("retry-after").is_some());
    // Nothing listens there any more.
    assert_eq!(call().refusal(), (502, "upstream_error".into()));
}

#[test]
fn errors_name_each_invalid_field_of_an_inference_request() {
    let (desk, server, org) = desk();
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    for (field, value, status) in [
        ("model", json!(""), 422),
        ("model", json!("x".repeat(300)), 422),
        ("model", json!(1), 400),
        ("prompt", json!(""), 422),
        ("prompt", json!(["a"]), 400),
        ("max_tokens", json!(0), 422),
        ("max_tokens", json!("5"), 400),
        ("temperature", json!(3), 422),
        ("temperature", json!(-0.1), 422),
        ("stream", json!("no"), 400),
    ] {
        let mut body = json!({"model": "m", "prompt": "p"});
        body[field] = value.clone();
        let answer = api.post("/v1/inference", &body);
        assert_eq!(
            (answer.status, answer.fields()),
            (status, vec![field.to_owned()]),
            "{field} {value}: {}",
            answer.body
        );
    }
    let more = api.post("/v1/inference", &json!({"model": "m", "prompt": "p", "base_url": "http://evil"}));
    assert_eq!(more.refusal(), (400, "invalid_request".into()));
}

#[test]
fn echo_truncates_a_very_long_prompt() {
    let (desk, server, org) = desk();
    let api = server.api(&desk.key(&org.slug, "batch", "inference:write"));
    let prompt = "a ".repeat(500_000);
    let message = json!([{"role": "user", "content": prompt}]);
    let whole = api.post("/v1/chat/completions", &json!({"model": "echo", "messages": message})).json();
    assert_eq!(whole["choices"][0]["message"]["content"].as_str().unwrap().len(), 16_384);
    let body = json!({"model": "echo", "messages": message, "stream": true});
    let events = api.post("/v1/chat/completions", &body).body;
    assert!(events.matches("data: ").count() < 520 && events.ends_with("data: [DONE]\n\n"));
    let many = json!({"model": "echo", "input": vec!["a"; 2_049]});
    assert_eq!(api.post("/v1/embeddings", &many).status, 400);
}
