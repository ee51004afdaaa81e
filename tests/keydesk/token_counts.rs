//! The tokens of single requests: as the upstream reports them, or estimated at four characters each.

use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::stream::{Open, STREAM_HEAD, by_model, many_upstreams, send_chunk, with_upstream};
use crate::support::{Api, eventually};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
/// The counts of tokens, in the order of the tables below.
const COUNTS: [&str; 5] =
    ["input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"];

fn chunk(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A stream of one choice with this delta, and these chunks behind it.
fn stream(delta: &Value, more: &[Value]) -> Vec<u8> {
    let choice = |delta: &Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let mut text = chunk(&choice(delta, Value::Null)) + &chunk(&choice(&json!({}), json!("stop")));
    text.extend(more.iter().map(chunk));
    (text + "data: [DONE]\n\n").into_bytes()
}

fn usage_chunk(usage: &Value) -> Value {
    json!({"choices": [], "usage": usage})
}

/// The tokens of each model, once so many requests are counted.
fn counted(api: &Api, requests: i64) -> impl Fn(&str) -> [i64; 5] + use<> {
    let usage = || api.get("/v1/usage?scope=inference:write&group_by=model").json();
    eventually("all is counted", || usage()["total"]["requests"].as_i64() == Some(requests));
    let usage = usage();
    move |model| {
        let line = usage["data"].as_array().unwrap().iter().filter(|line| line["group"] == model);
        let line: Vec<&Value> = line.collect();
        // An hour may begin between two requests.
        COUNTS.map(|count| line.iter().map(|line| line[count].as_i64().unwrap()).sum())
    }
}

/// The path, the upstream's content type and content, and the expected counts of a request with 8 characters.
type Case = (&'static str, &'static str, Vec<u8>, [i64; 5]);

fn cases() -> Vec<Case> {
    let (chat, completions, responses) = ("/v1/chat/completions", "/v1/completions", "/v1/responses");
    let real = json!({"prompt_tokens": 111, "completion_tokens": 22});
    let zero = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    let detailed = json!({"prompt_tokens": 111, "completion_tokens": 22, "prompt_tokens_details": {"cached_tokens": 90},
        "completion_tokens_details": {"reasoning_tokens": 20}, "cache_creation_input_tokens": 5});
    let forms = json!({"prompt_tokens": "111", "completion_tokens": 22.0});
    let nonsense = json!({"prompt_tokens": -5, "completion_tokens": 1e300});
    let arguments = "x".repeat(4_000);
    let call = json!({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": arguments}}]});
    let text = json!({"content": "12345678"});
    let whole = |message: Value, usage: Value| {
        json!({"choices": [{"message": message}], "usage": usage}).to_string().into_bytes()
    };
    let responses_usage = json!({"input_tokens": 111, "output_tokens": 22, "input_tokens_details": {"cached_tokens": 90},
        "output_tokens_details": {"reasoning_tokens": 20}});
    let named = |value: Value| format!("event: {}\n{}", value["type"].as_str().unwrap(), chunk(&value));
    let completed =
        |usage: &Value| named(json!({"type": "response.completed", "response": {"usage": usage}}));
    vec![
        (chat, EVENTS, stream(&text, &[usage_chunk(&real)]), [111, 22, 0, 0, 0]),
        (chat, EVENTS, stream(&text, &[usage_chunk(&real), usage_chunk(&zero)]), [111, 22, 0, 0, 0]),
        (chat, EVENTS, stream(&text, &[usage_chunk(&zero)]), [2, 2, 0, 0, 0]),
        (chat, EVENTS, stream(&text, &[usage_chunk(&forms)]), [111, 22, 0, 0, 0]),
        (chat, EVENTS, stream(&text, &[usage_chunk(&nonsense)]), [2, 2, 0, 0, 0]),
        (chat, EVENTS, stream(&text, &[usage_chunk(&detailed)]), [111, 22, 90, 5, 20]),
        (chat, EVENTS, stream(&call, &[]), [2, 1_002, 0, 0, 0]),
        (chat, EVENTS, stream(&json!({"reasoning_content": "12345678"}), &[]), [2, 2, 0, 0, 0]),
        (chat, EVENTS, stream(&json!({"refusal": "12345678"}), &[]), [2, 2, 0, 0, 0]),
        (
            chat,
            EVENTS,
            stream(&text, &[json!({"choices": [{"index": 1, "delta": {"content": "1234"}, "finish_reason": "stop"}]})]),
            [2, 3, 0, 0, 0],
        ),
        (completions, EVENTS, b"data: {\"choices\":[{\"text\":\"12345678\"}]}\n\ndata: [DONE]\n\n".to_vec(), [2, 2, 0, 0, 0]),
        (chat, JSON, whole(text.clone(), detailed), [111, 22, 90, 5, 20]),
        (chat, JSON, whole(call, Value::Null), [2, 1_002, 0, 0, 0]),
        (chat, JSON, whole(json!({"reasoning_content": "1234", "content": "1234"}), zero.clone()), [2, 2, 0, 0, 0]),
        ("/v1/embeddings", JSON, br#"{"data": [], "usage": {"prompt_tokens": 111}}"#.to_vec(), [111, 0, 0, 0, 0]),
        (responses, EVENTS, completed(&responses_usage).into_bytes(), [111, 22, 90, 0, 20]),
        (
            responses,
            EVENTS,
            [
                named(json!({"type": "response.output_item.added", "item": {"type": "function_call", "name": "weather1"}})),
                named(json!({"type": "response.function_call_arguments.delta", "delta": "12345678"})),
                named(json!({"type": "response.reasoning_summary_text.delta", "delta": "1234"})),
                named(json!({"type": "response.output_text.delta", "delta": "1234"})),
                named(json!({"type": "response.output_item.done", "item": {"name": "weather1", "arguments": "12345678"}})),
                completed(&Value::Null),
            ]
            .concat()
            .into_bytes(),
            [2, 6, 0, 0, 0],
        ),
        (responses, JSON, json!({"output": [{"content": [{"text": "1234"}]}], "usage": responses_usage}).to_string().into(), [111, 22, 90, 0, 20]),
    ]
}

#[test]
fn tokens_are_those_that_the_upstream_reports_or_cover_all_output() {
    let cases = cases();
    let contents = cases
        .iter()
        .enumerate()
        .map(|(number, (_, kind, content, _))| (format!("m{number}"), *kind, content.clone()));
    let (desk, server, org) = with_upstream(&by_model(contents.collect()));
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for (number, (path, kind, _, _)) in cases.iter().enumerate() {
        let body = json!({"model": format!("m{number}"), "stream": *kind == EVENTS, "input": "12345678"});
        let body = match *path {
            "/v1/chat/completions" => json!({"model": body["model"], "stream": body["stream"],
                "messages": [{"role": "user", "content": "12345678"}]}),
            "/v1/completions" => json!({"model": body["model"], "stream": true, "prompt": "12345678"}),
            _ => body,
        };
        let answer = api.post(path, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let tokens = counted(&api, cases.len() as i64);
    for (number, (path, _, content, expected)) in cases.iter().enumerate() {
        assert_eq!(tokens(&format!("m{number}")), *expected, "{path} {}", String::from_utf8_lossy(content));
    }
    // The tables of sums have the same.
    let sums = desk.database.count("SELECT CAST(SUM(cached_tokens + reasoning_tokens) AS BIGINT) AS count FROM all_usage_totals WHERE width = 86400");
    let expected: i64 = cases.iter().map(|(_, _, _, counts)| counts[2] + counts[4]).sum();
    assert_eq!(sums, expected);
}

#[test]
fn the_usage_is_requested_and_its_chunk_removed_unless_the_client_requested_it() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let url = many_upstreams(move |request, mut connection| {
        let body = request.split("\r\n\r\n").nth(1).unwrap().to_owned();
        let with_usage = body.contains("\"include_usage\":true");
        tell.lock().unwrap().send(body).unwrap();
        let usage = usage_chunk(&json!({"prompt_tokens": 111, "completion_tokens": 22}));
        let more = if with_usage { vec![usage] } else { Vec::new() };
        std::io::Write::write_all(&mut connection, STREAM_HEAD.as_bytes()).unwrap();
        let text = String::from_utf8(stream(&json!({"content": "Hi"}), &more)).unwrap();
        send_chunk(&mut connection, &text).unwrap();
        send_chunk(&mut connection, "").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    let requested = "\"stream_options\":{\"include_usage\":true}";
    let (chat, completions) = ("/v1/chat/completions", "/v1/completions");
    for (path, body, forwarded, shows) in [
        (chat, r#"{ "model":"m", "stream":true,"x":1.50 }"#, format!(r#"{{{requested}, "model":"m", "stream":true,"x":1.50 }}"#), false),
        (completions, r#"{"model":"m","stream":true}"#, format!(r#"{{{requested},"model":"m","stream":true}}"#), false),
        (
            chat,
            r#"{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#.to_owned(),
            false,
        ),
        (
            chat,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#.to_owned(),
            true,
        ),
    ] {
        let answer = api.send("POST", path, &[], Some(body));
        assert_eq!(told.recv().unwrap(), forwarded);
        assert_eq!(answer.body.contains("\"usage\""), shows, "{}", answer.body);
        assert!(answer.body.ends_with("data: [DONE]\n\n"), "{}", answer.body);
    }
    for (path, body) in
        [(chat, r#"{"model":"m","stream":false}"#), ("/v1/responses", r#"{"model":"m","stream":true}"#)]
    {
        api.send("POST", path, &[], Some(body));
        assert_eq!(told.recv().unwrap(), body, "{path}");
    }
    assert_eq!(counted(&api, 6)("m")[0], 4 * 111);
}

#[test]
fn the_usage_on_the_last_chunk_stays_and_an_upstream_that_knows_no_usage_still_works() {
    let url = many_upstreams(move |request, mut connection| {
        use std::io::Write;
        let refuses = request.contains("\"refuses\"") && request.contains("stream_options");
        if refuses {
            let body = r#"{"error":{"message":"Unknown field: stream_options"}}"#;
            write!(
                connection,
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            return;
        }
        let usage = json!({"prompt_tokens": 111, "completion_tokens": 22});
        let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage});
        let text = String::from_utf8(stream(&json!({"content": "Hi"}), &[last])).unwrap();
        write!(connection, "{}", STREAM_HEAD.replace("transfer-encoding: chunked", "connection: close"))
            .unwrap();
        write!(connection, "{text}").unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for model in ["plain", "refuses"] {
        let answer =
            api.post("/v1/chat/completions", &json!({"model": model, "messages": [], "stream": true}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("\"completion_tokens\":22"), "{}", answer.body);
    }
    let tokens = counted(&api, 2);
    assert_eq!([tokens("plain"), tokens("refuses")], [[111, 22, 0, 0, 0]; 2]);
}

#[test]
fn an_abandoned_or_broken_stream_counts_the_output_so_far() {
    let url = many_upstreams(|request, mut connection| {
        std::io::Write::write_all(&mut connection, STREAM_HEAD.as_bytes()).unwrap();
        let usage = if request.contains("cumulative") {
            json!({"prompt_tokens": 111, "completion_tokens": 22})
        } else {
            Value::Null
        };
        let event = json!({"choices": [{"index": 0, "delta": {"reasoning": "12345678"}}], "usage": usage});
        send_chunk(&mut connection, &chunk(&event)).unwrap();
        if request.contains("broken") {
            return;
        }
        for _ in 0..2_000 {
            if send_chunk(&mut connection, ": waiting\n\n").is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    for model in ["abandoned", "abandoned-cumulative", "broken", "broken-cumulative"] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "1234"}], "stream": true});
        let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
        open.until("12345678");
        if model.starts_with("broken") {
            open.until("\"upstream_error\"");
        }
    }
    let tokens = counted(&api, 4);
    for model in ["abandoned", "broken"] {
        assert_eq!(tokens(model), [1, 2, 0, 0, 0], "{model}");
        assert_eq!(tokens(&format!("{model}-cumulative")), [111, 22, 0, 0, 0], "{model}");
    }
}
