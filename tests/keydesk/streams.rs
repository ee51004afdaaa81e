//! Streams that end, fail or stop, in every form that upstreams send.

use std::io::Write;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::stream::{Open, STREAM_HEAD, by_model, send_chunk, upstream, with_upstream};
use crate::support::{Answer, Api, eventually};

const EVENTS: &str = "text/event-stream";
const HEL: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#;
const LO: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "data: [DONE]";

/// Events, each with its empty line.
fn events(events: &[&str]) -> String {
    events.iter().map(|event| format!("{event}\n\n")).collect()
}

fn stream_of(api: &Api, path: &str, model: &str) -> Answer {
    let body = match path {
        "/v1/inference" => json!({"model": model, "prompt": "Hi", "stream": true}),
        "/v1/completions" => json!({"model": model, "prompt": "Hi", "stream": true}),
        "/v1/responses" => json!({"model": model, "input": "Hi", "stream": true}),
        _ => json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": true}),
    };
    api.post(path, &body)
}

/// The requests of each outcome, once this many are counted.
pub fn outcomes(admin: &Api, requests: i64) -> Value {
    let usage = || admin.get("/v1/usage?scope=inference:write").json()["total"].clone();
    eventually("all is counted", || usage()["requests"].as_i64() == Some(requests));
    usage()
}

#[test]
fn a_stream_in_any_legal_form_is_read_and_passed_on_unchanged() {
    let plain = events(&[HEL, LO, STOP, DONE]);
    let contents: Vec<(String, &str, Vec<u8>)> = [
        (EVENTS, plain.clone()),
        (EVENTS, plain.replace('\n', "\r\n")),
        (EVENTS, plain.replace('\n', "\r")),
        (EVENTS, format!("\u{feff}{plain}")),
        (EVENTS, format!(": hello\n\n{plain}: bye\n\n")),
        (EVENTS, plain.replace("data: ", "data:")),
        (EVENTS, plain.replace("data: ", "id: 7\nevent: message\ndata: ")),
        (EVENTS, plain.replace("{\"choices\":", "{\ndata: \"choices\":")),
        ("Text/Event-Stream; charset=UTF-8", plain.clone()),
        (EVENTS, events(&[HEL, LO, STOP])),
        (EVENTS, events(&[HEL, LO, DONE])),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (kind, text))| (format!("m{number}"), kind, text.into_bytes()))
    .collect();
    let (desk, server, org) = with_upstream(&by_model(contents.clone()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for (model, _, text) in &contents {
        let passed = stream_of(&api, "/v1/chat/completions", model);
        assert_eq!(passed.status, 200, "{}", passed.body);
        assert_eq!(passed.body, String::from_utf8_lossy(text), "{model}");
        let translated = stream_of(&api, "/v1/inference", model).body;
        let expected = "data: {\"delta\":\"Hel\"}\n\ndata: {\"delta\":\"lo\"}\n\n\
             data: {\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}\n\ndata: [DONE]\n\n";
        assert_eq!(translated, expected, "{model}: {}", String::from_utf8_lossy(text));
    }
    let requests = 2 * contents.len() as i64;
    assert_eq!(outcomes(&api, requests)["ok"], requests);
}

#[test]
fn a_last_event_without_its_empty_line_counts_as_received() {
    let contents = ["", "\n", "\r\n", "\r"].map(|end| {
        (
            format!("end{}", end.escape_default()),
            EVENTS,
            format!("{}{DONE}{end}", events(&[HEL, STOP])).into_bytes(),
        )
    });
    let (desk, server, org) = with_upstream(&by_model(contents.to_vec()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for (model, _, _) in &contents {
        let passed = stream_of(&api, "/v1/chat/completions", model).body;
        assert!(passed.starts_with(&events(&[HEL, STOP])) && passed.trim_end().ends_with(DONE), "{passed}");
        assert!(stream_of(&api, "/v1/inference", model).body.ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(outcomes(&api, 8)["ok"], 8);
}

#[test]
fn a_stream_that_fails_or_stops_ends_with_an_error_and_counts_as_a_failure() {
    let error = r#"data: {"error":{"message":"Overloaded","type":"server_error"}}"#;
    let text = r#"data: {"choices":[{"index":0,"text":"Hel"}]}"#;
    let created = r#"data: {"type":"response.created","response":{"error":null,"status":"in_progress"}}"#;
    let delta = r#"data: {"type":"response.output_text.delta","delta":"Hel"}"#;
    let failed = r#"data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"Overloaded"}}}"#;
    let typed =
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"Overloaded\"}";
    let chat: Vec<Vec<&str>> = vec![
        vec![HEL, error, DONE],
        vec![HEL, "event: error\ndata: {\"message\":\"Overloaded\"}", DONE],
        vec![HEL, "event: error\ndata: Overloaded", DONE],
        vec![HEL, r#"data: {"error":"Overloaded"}"#],
        vec![HEL, r#"data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#, DONE],
        vec![HEL, LO],
        vec![HEL, r#"data: {"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#],
        vec![": hello", HEL, r#"data: {"choices":[],"usage":{"prompt_tokens":1}}"#],
    ];
    let all = chat
        .iter()
        .flat_map(|events| [("/v1/chat/completions", events.clone()), ("/v1/inference", events.clone())])
        .chain([
            ("/v1/completions", vec![text, error, DONE]),
            ("/v1/completions", vec![text]),
            ("/v1/responses", vec![created, delta]),
            ("/v1/responses", vec![created, delta, failed]),
            ("/v1/responses", vec![created, delta, typed]),
            ("/v1/responses", vec![created, delta, error]),
        ]);
    let cases: Vec<(String, &str, String)> =
        all.enumerate().map(|(number, (path, list))| (format!("m{number}"), path, events(&list))).collect();
    let contents = cases.iter().map(|(model, _, text)| (model.clone(), EVENTS, text.clone().into_bytes()));
    let (desk, server, org) = with_upstream(&by_model(contents.collect()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for (model, path, text) in &cases {
        let answer = stream_of(&api, path, model);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(
            answer.body.contains("Hel") && !answer.body.contains("[DONE]"),
            "{path} {text}: {}",
            answer.body
        );
        assert!(!answer.body.contains("\"usage\":{\"input"), "{}", answer.body);
        let last = answer.body.trim_end().rsplit("data: ").next().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        let is_error = last["error"]["message"].is_string()
            || last["error"] == "Overloaded"
            || (*path == "/v1/responses" && (last["type"] == "error" || last["type"] == "response.failed"));
        assert!(is_error, "{path} {text}: {}", answer.body);
        assert!(answer.body.matches("\"Overloaded\"").count() <= 1, "{}", answer.body);
    }
    let counted = outcomes(&api, cases.len() as i64);
    assert_eq!(counted["server_errors"], cases.len() as i64, "{counted}");
}

#[test]
fn an_error_at_the_beginning_is_an_error_event_too_and_keeps_what_the_upstream_says() {
    let broken = json!({"message": "Broken", "type": "server_error", "code": "broken"});
    let busy = json!({"message": "Busy", "type": "overloaded_error"});
    let limited = json!({"message": "Slow down", "code": 429});
    let text = |error: &Value| format!("data: {}\n\n", json!({ "error": error }));
    let cut_off = ("upstream_error", "The upstream broke off its response.");
    // The upstream's events, the error of the API that has its form, and the code and words of `/v1/inference`.
    let cases: Vec<(String, Option<&Value>, (&str, &str))> = vec![
        (String::new(), None, cut_off),
        (": hello\n\n".to_owned(), None, cut_off),
        ("event: x\n".to_owned(), None, cut_off),
        (format!("{}data: [DONE]\n\n", text(&broken)), Some(&broken), ("upstream_error", "Broken")),
        (format!("event: error\ndata: {broken}\n\n"), Some(&broken), ("upstream_error", "Broken")),
        (text(&busy), Some(&busy), ("unavailable", "Busy")),
        (text(&busy).trim_end().to_owned(), Some(&busy), ("unavailable", "Busy")),
        (text(&limited), Some(&limited), ("rate_limited", "Slow down")),
        (
            "data: {\"error\":{\"message\":\"key sk-1 is wrong\",\"code\":\"invalid_api_key\"}}\n\n"
                .to_owned(),
            None,
            ("upstream_error", "The upstream returned an error."),
        ),
    ];
    let contents = cases
        .iter()
        .enumerate()
        .map(|(number, (text, _, _))| (format!("m{number}"), EVENTS, text.as_bytes().to_vec()));
    let (desk, server, org) = with_upstream(&by_model(contents.collect()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    let paths = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/inference"];
    for path in paths {
        for (number, (text, kept, (code, words))) in cases.iter().enumerate() {
            let answer = stream_of(&api, path, &format!("m{number}"));
            assert_eq!(answer.status, 200, "{path} {text}: {}", answer.body);
            assert_eq!(answer.header("content-type"), Some(EVENTS));
            assert!(!answer.body.contains("sk-1") && !answer.body.contains("[DONE]"), "{}", answer.body);
            let events: Vec<&str> = answer.body.split("data: ").skip(1).collect();
            let [event] = events[..] else { panic!("{path} {text:?}: {}", answer.body) };
            let error = &serde_json::from_str::<Value>(event).unwrap()["error"];
            match kept {
                Some(kept) if path != "/v1/inference" => assert_eq!(error, *kept, "{path} {text}"),
                _ => {
                    assert_eq!(error["code"], *code, "{path} {text}");
                    assert!(error["message"].as_str().unwrap().contains(words), "{path} {text}: {error}");
                }
            }
        }
    }
    // A limit of the upstream is none of the key.
    let requests = (paths.len() * cases.len()) as i64;
    assert_eq!(outcomes(&api, requests)["server_errors"], requests);
}

#[test]
fn the_response_begins_before_the_first_event() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        may_go_on.recv().unwrap();
        send_chunk(&mut stream, "data: [DONE]\n\n").unwrap();
        send_chunk(&mut stream, "").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let body = json!({"model": "m", "messages": [], "stream": true});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    assert!(open.until("\r\n").starts_with("HTTP/1.1 200 OK"));
    go_on.send(()).unwrap();
    open.until("[DONE]");
}

#[test]
fn a_whole_response_with_an_error_or_a_part_missing_counts_as_a_failure() {
    let contents = [
        ("error", r#"{"error": {"message": "Overloaded", "type": "overloaded_error"}}"#),
        ("cut", r#"{"id": "x", "choices": [{"message": {"content": "Hel"#),
        ("empty", r#"{"id": "x", "choices": []}"#),
        ("good", r#"{"id": "x", "error": null, "choices": [{"message": {"content": "Hello"}}]}"#),
    ];
    let all = contents.map(|(model, text)| (model.to_owned(), "application/json", text.as_bytes().to_vec()));
    let (desk, server, org) = with_upstream(&by_model(all.to_vec()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for (model, text) in contents {
        let passed = api.post("/v1/chat/completions", &json!({"model": model, "messages": []}));
        assert_eq!((passed.status, &*passed.body), (200, text));
    }
    let infer = |model| api.post("/v1/inference", &json!({"model": model, "prompt": "Hi"}));
    assert_eq!(infer("error").refusal(), (503, "unavailable".to_owned()));
    assert_eq!(infer("cut").refusal(), (502, "upstream_error".to_owned()));
    assert_eq!(infer("empty").refusal(), (502, "upstream_error".to_owned()));
    assert_eq!(infer("good").json()["output"], "Hello");
    let counted = outcomes(&api, 8);
    assert_eq!((&counted["server_errors"], &counted["ok"]), (&json!(5), &json!(3)), "{counted}");
}

#[test]
fn events_with_cr_lf_and_comments_are_passed_on_at_once() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for text in
            [": waiting\n", "data: {\"a\"\r\ndata: :1}\r\n\r\n", "data: 2\r\r", "\u{feff}: x\n\ndata: 3\n\n"]
        {
            send_chunk(&mut stream, text).unwrap();
            may_go_on.recv().unwrap();
        }
        send_chunk(&mut stream, "data: [DONE]\n\n").unwrap();
        send_chunk(&mut stream, "").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let body = json!({"model": "m", "messages": [], "stream": true});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    for expected in [": waiting", "data: :1}", "data: 2", "data: 3"] {
        open.until(expected);
        go_on.send(()).unwrap();
    }
    open.until("[DONE]");
}
