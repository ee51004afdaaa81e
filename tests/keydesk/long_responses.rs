//! Responses of any size in bounded memory.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::streams::outcomes;
use crate::support::Api;
use crate::support::stream::{STREAM_HEAD, many_upstreams, upstream, with_upstream};

#[test]
fn endless_lines_and_events_are_passed_on_in_bounded_memory() {
    const SIZE: usize = 48 * 1024 * 1024;
    let url = many_upstreams(|request, mut stream| {
        let start: &[u8] = if request.contains("many lines") { b"data: x\ndata: " } else { b"data: " };
        let part =
            if request.contains("many lines") { "line\ndata: ".repeat(8_000) } else { "x".repeat(88_000) };
        stream
            .write_all(STREAM_HEAD.replace("transfer-encoding: chunked", "connection: close").as_bytes())
            .unwrap();
        stream.write_all(start).unwrap();
        for _ in 0..SIZE / part.len() {
            if stream.write_all(part.as_bytes()).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"\n\ndata: [DONE]\n\n");
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let before = server.memory();
    for text in ["one line", "many lines"] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}], "stream": true});
        assert!(read_all(&api, "/v1/chat/completions", &body) >= SIZE - 100_000, "{text}");
        let grown = server.memory().saturating_sub(before);
        assert!(grown < 24 * 1024, "{text}: {grown} KiB more");
    }
    let answer = api.post("/v1/inference", &json!({"model": "m", "prompt": "one line", "stream": true}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.starts_with("data: {\"error\":{\"code\":\"upstream_error\""), "{}", answer.body);
}

#[test]
fn a_long_whole_response_is_counted_in_bounded_memory() {
    const SIZE: usize = 48 * 1024 * 1024;
    let url = upstream(|_, mut stream| {
        let (start, end) = (
            r#"{"object": "list", "data": [{"object": "embedding", "embedding": [0.5"#,
            r#"]}], "usage": {"prompt_tokens": 77, "total_tokens": 77}}"#,
        );
        let part = ", -0.0123456".repeat(8_000);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
            .unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        for _ in 0..SIZE / part.len() {
            stream.write_all(part.as_bytes()).unwrap();
        }
        stream.write_all(end.as_bytes()).unwrap();
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    let before = server.memory();
    assert!(read_all(&api, "/v1/embeddings", &json!({"model": "m", "input": "Hi"})) >= SIZE - 100_000);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more");
    assert_eq!(outcomes(&api, 1)["input_tokens"], 77);
}

/// Reads a response and throws it away. Returns its length.
fn read_all(api: &Api, path: &str, body: &Value) -> usize {
    let address = api.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        api.key,
        body.len()
    )
    .unwrap();
    let (mut length, mut buffer) = (0, vec![0; 256 * 1024]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return length,
            read => length += read,
        }
    }
}
