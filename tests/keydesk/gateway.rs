//! The OpenAI-compatible routes and streams.

use std::io::Write;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::stream::{Open, STREAM_HEAD, send_chunk, upstream, with_upstream};
use crate::support::{Api, Desk, Org, Server, desk};

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:write"))
}

#[test]
fn each_chunk_of_a_stream_is_passed_on_before_the_next_arrives() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for number in 0..20 {
            send_chunk(&mut stream, &format!("data: {{\"number\": {number}}}\n\n")).unwrap();
            may_go_on.recv().unwrap();
        }
        send_chunk(&mut stream, "data: [DONE]\n\n").unwrap();
        send_chunk(&mut stream, "").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let body = json!({"model": "m", "messages": [], "stream": true});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    let head = open.until("\"number\": 0");
    assert!(head.contains("text/event-stream") && !head.contains("set-cookie"), "{head}");
    go_on.send(()).unwrap();
    for number in 1..20 {
        open.until(&format!("\"number\": {number}"));
        go_on.send(()).unwrap();
    }
    open.until("[DONE]");
}

#[test]
fn client_that_disconnects_ends_the_upstream_request() {
    let (ended, has_ended) = mpsc::channel::<()>();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        // Until no one reads it any more; bounded, so that a failure shows.
        for _ in 0..2_000 {
            if send_chunk(&mut stream, "data: {}\n\n").is_err() {
                ended.send(()).unwrap();
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let body = json!({"model": "m", "messages": [], "stream": true});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    open.until("data: {}");
    drop(open);
    has_ended.recv_timeout(std::time::Duration::from_secs(15)).expect("the upstream is told");
}

/// An upstream that streams a chunk every 50 ms for half a minute; tells when it can send no more.
fn endless() -> (String, mpsc::Receiver<()>) {
    let (ended, has_ended) = mpsc::channel::<()>();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for _ in 0..600 {
            let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
            if send_chunk(&mut stream, chunk).is_err() {
                let _ = ended.send(());
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    (url, has_ended)
}

#[test]
fn a_stream_ends_when_its_key_is_revoked_disabled_or_loses_its_scope() {
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": "m", "messages": [], "stream": true})),
        ("/v1/inference", json!({"model": "m", "prompt": "Hello", "stream": true})),
    ] {
        for (change, code) in [
            (json!({"disabled": true}), "key_disabled"),
            (json!({"scopes": ["inference:read"]}), "insufficient_scope"),
            (json!({"allowed_ips": ["192.0.2.1"]}), "ip_not_allowed"),
            (Value::Null, "key_revoked"),
        ] {
            let (url, has_ended) = endless();
            let (_desk, server, org) = with_upstream(&url);
            let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
            let api = server.api(key["key"].as_str().unwrap());
            let mut open = Open::post(&api, &server, path, &body);
            open.until("Hi");
            let key = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
            let changed = match &change {
                Value::Null => org.admin.post(&format!("{key}/revoke"), &json!({})),
                change => org.admin.patch(&key, change),
            };
            assert_eq!(changed.status, 200, "{}", changed.body);
            let seen = open.until(&format!("\"{code}\""));
            assert!(!seen.contains("[DONE]"), "{path}: {seen}");
            // The upstream request ends at once too, not only after its whole response.
            has_ended.recv_timeout(std::time::Duration::from_secs(10)).expect("the upstream is told");
        }
    }
}

#[test]
fn stop_ends_open_streams_with_an_error_and_counts_them() {
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": "m", "messages": [], "stream": true})),
        ("/v1/inference", json!({"model": "m", "prompt": "Hello", "stream": true})),
    ] {
        let (url, has_ended) = endless();
        let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", &url).with("KEYDESK_STOP_TIMEOUT", "2s");
        let server = desk.start();
        let org = desk.set_up(&server, "Acme AI");
        let api = caller(&desk, &server, &org);
        let mut open = Open::post(&api, &server, path, &body);
        open.until("Hi");
        server.ask_to_stop();
        let seen = open.until("\"unavailable\"");
        assert!(seen.contains("is restarting") && !seen.contains("[DONE]"), "{path}: {seen}");
        has_ended.recv_timeout(std::time::Duration::from_secs(10)).expect("the upstream is told");
        assert_eq!(server.wait(), Some(0));
        let counted = "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM all_usage_counts \
             WHERE width = 60 AND outcome = 'server_errors' AND output_tokens > 0";
        assert_eq!(desk.database.count(counted), 1, "{path}");
    }
}

#[test]
fn pending_response_is_abandoned_when_the_key_is_revoked() {
    let url = upstream(|_, stream| {
        std::thread::sleep(std::time::Duration::from_secs(30));
        drop(stream);
    });
    let (_desk, server, org) = with_upstream(&url);
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let call =
        std::thread::spawn(move || api.post("/v1/inference", &json!({"model": "m", "prompt": "Hello"})));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let revoke = format!("/v1/api-keys/{}/revoke", key["id"].as_str().unwrap());
    assert_eq!(org.admin.post(&revoke, &json!({})).status, 200);
    let started = std::time::Instant::now();
    assert_eq!(call.join().unwrap().refusal(), (401, "key_revoked".into()));
    assert!(started.elapsed() < std::time::Duration::from_secs(15), "{:?}", started.elapsed());
}

#[test]
fn inference_streams_deltas_then_usage_then_the_end() {
    let url = upstream(|request, mut stream| {
        assert!(request.contains("\"include_usage\":true"), "{request}");
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for chunk in [
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hi "}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"there"}}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            "[DONE]",
        ] {
            send_chunk(&mut stream, &format!("data: {chunk}\n\n")).unwrap();
        }
        send_chunk(&mut stream, "").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let answer = api.post("/v1/inference", &json!({"model": "m", "prompt": "Hello", "stream": true}));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        answer.body,
        "data: {\"delta\":\"Hi \"}\n\ndata: {\"delta\":\"there\"}\n\n\
         data: {\"usage\":{\"input_tokens\":9,\"output_tokens\":2}}\n\ndata: [DONE]\n\n"
    );
}

#[test]
fn broken_stream_ends_with_an_error_event() {
    let url = upstream(|_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        send_chunk(&mut stream, "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let answer = api.post("/v1/inference", &json!({"model": "m", "prompt": "Hello", "stream": true}));
    assert!(answer.body.starts_with("data: {\"delta\":\"Hi\"}\n\n"), "{}", answer.body);
    assert!(answer.body.contains("upstream_error") && !answer.body.contains("[DONE]"), "{}", answer.body);
}

#[test]
fn request_is_passed_on_unchanged_with_our_credential_and_few_headers() {
    let (tell, told) = mpsc::channel();
    let url = upstream(move |request, mut stream| {
        tell.send(request).unwrap();
        let body = r#"{"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}}"#;
        let head = "content-type: application/json\r\nset-cookie: a=b\r\nx-secret: y";
        write!(stream, "HTTP/1.1 404 Not Found\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let body = r#"{ "model": "m",  "input": ["a"], "unknown": {"kept": 1.50} }"#;
    let headers = [("cookie", "c=d"), ("x-keydesk-key-id", "forged"), ("x-forwarded-for", "1.2.3.4")];
    let answer = api.send("POST", "/v1/embeddings", &headers, Some(body));
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
    assert_eq!((answer.header("set-cookie"), answer.header("x-secret")), (None, None));
    assert!(answer.header("x-ratelimit-remaining-requests").is_some());
    let request = told.recv().unwrap();
    assert!(request.starts_with("POST /v1/embeddings HTTP/1.1\r\n") && request.ends_with(body), "{request}");
    assert!(request.contains("Bearer upstream-secret"));
    for private in [api.key.as_str(), "cookie", "forged", "1.2.3.4"] {
        assert!(!request.contains(private), "{private} in {request}");
    }
}

#[test]
fn invalid_model_and_stream_values_are_refused_before_forwarding() {
    let (desk, server, org) = desk();
    let api = caller(&desk, &server, &org);
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"] {
        for wrong in [
            "{}",
            "[]",
            "",
            r#"{"model": 1}"#,
            r#"{"model": "a", "model": "b"}"#,
            r#"{"model": "a", "stream": false, "stream": true}"#,
            r#"{"model": "a", "stream": "yes"}"#,
            r#"{"model": "a"}"#,
        ] {
            let answer = api.send("POST", path, &[], Some(wrong));
            assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{path} {wrong}");
        }
        assert_eq!(api.send("POST", path, &[("content-type", "text/plain")], Some("{}")).status, 415);
        assert_eq!(api.get(path).status, 405);
    }
}

#[test]
fn echo_supports_every_route() {
    let (desk, server, org) = desk();
    let api = caller(&desk, &server, &org);
    let post = |path: &str, body: Value| {
        let answer = api.post(path, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    };
    let chat = json!({"model": "gpt-4", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]});
    let said = post("/v1/chat/completions", chat).json()["choices"][0]["message"]["content"].clone();
    assert!(said.as_str().unwrap().ends_with("You said: Hello"));
    let completion = post("/v1/completions", json!({"model": "gpt-4", "prompt": "Hello"})).json();
    assert_eq!(completion["choices"][0]["text"], said);
    let response = post("/v1/responses", json!({"model": "gpt-4", "input": "Hello"})).json();
    assert_eq!(response["output"][0]["content"][0]["text"], said);
    let embeddings = post("/v1/embeddings", json!({"model": "e", "input": ["a", "b", "a"]})).json();
    assert_eq!(embeddings["data"][0]["embedding"], embeddings["data"][2]["embedding"]);
    assert_ne!(embeddings["data"][0]["embedding"], embeddings["data"][1]["embedding"]);
    let streamed = post("/v1/inference", json!({"model": "gpt-4", "prompt": "Hello", "stream": true})).body;
    let deltas: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| event["delta"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, deltas);
    assert!(streamed.ends_with("data: [DONE]\n\n"));
}
