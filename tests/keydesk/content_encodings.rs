//! Content encodings of requests and of the upstream's responses, and the framing of streams.

use std::io::Write;
use std::sync::mpsc;

use serde_json::json;

use crate::support::scripted::{CHAT, ENCODINGS, coding, encode, post_raw, read_request, response, scripted};
use crate::support::stream::{Open, with_upstream};
use crate::support::{Api, Desk, Org, Server, desk};

const HTTP: &str = "HTTP/1.1";

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:write"))
}

#[test]
fn requests_may_be_encoded_on_every_route() {
    let (desk, server, org) = desk();
    let caller = caller(&desk, &server, &org);
    let chat =
        json!({"model": "m", "messages": [{"role": "user", "content": "Grüße ".repeat(5000)}]}).to_string();
    for encoding in ENCODINGS {
        let header = format!("content-encoding: {}\r\n", coding(encoding));
        let name = json!({"name": format!("made-{encoding}"), "scopes": ["inference:read"]}).to_string();
        let prompt = json!({"model": "m", "prompt": "Hello"}).to_string();
        for (api, path, body, status) in [
            (&org.admin, "/v1/api-keys", &name, 201),
            (&caller, "/v1/inference", &prompt, 200),
            (&caller, "/v1/chat/completions", &chat, 200),
        ] {
            let encoded = encode(encoding, &[body.as_bytes()]).concat();
            let answer = post_raw(&server, api, path, HTTP, &header, &encoded);
            assert_eq!(answer.status(), status, "{encoding} {path}: {}", answer.text());
            // Cut off, damaged, and not encoded at all.
            let damaged = post_raw(&server, api, path, HTTP, &header, &encoded[..encoded.len() - 3]);
            assert_eq!(damaged.status(), 400, "{encoding} {path}: {}", damaged.text());
            let plain = post_raw(&server, api, path, HTTP, &header, body.as_bytes());
            assert_eq!(plain.status(), 400, "{encoding} {path}: {}", plain.text());
        }
    }
    // In upper case, and several, in the order in which they were applied.
    let body = json!({"model": "m", "prompt": "Hello"}).to_string();
    let twice = encode("br", &[&encode("gzip", &[body.as_bytes()]).concat()]).concat();
    for header in
        ["content-encoding: GZIP, identity, br\r\n", "content-encoding: x-gzip\r\ncontent-encoding: br\r\n"]
    {
        assert_eq!(post_raw(&server, &caller, "/v1/inference", HTTP, header, &twice).status(), 200);
    }
    let identity = "content-encoding: identity\r\n";
    assert_eq!(post_raw(&server, &caller, "/v1/inference", HTTP, identity, body.as_bytes()).status(), 200);
}

#[test]
fn an_unknown_encoding_is_refused_with_those_that_are_accepted() {
    let (desk, server, org) = desk();
    let caller = caller(&desk, &server, &org);
    for header in ["compress", "lzma", "gzip, gzip, gzip, gzip", "gz ip", "aes128gcm"] {
        for (api, path) in
            [(&caller, "/v1/chat/completions"), (&caller, "/v1/inference"), (&org.admin, "/v1/api-keys")]
        {
            let header = format!("content-encoding: {header}\r\n");
            let answer = post_raw(&server, api, path, HTTP, &header, b"{}");
            assert_eq!(answer.status(), 415, "{header} {path}: {}", answer.text());
            assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
            assert!(answer.text().contains("gzip, deflate, br or zstd"), "{}", answer.text());
        }
    }
}

#[test]
fn a_bomb_is_refused_and_fills_no_memory() {
    let (desk, server, org) = desk();
    let caller = caller(&desk, &server, &org);
    let zeros = vec![b' '; 64 * 1024 * 1024];
    let before = server.memory();
    for encoding in ENCODINGS {
        let bomb = encode(encoding, &[&zeros]).concat();
        let header = format!("content-encoding: {}\r\n", coding(encoding));
        for (api, path) in [(&caller, "/v1/chat/completions"), (&org.admin, "/v1/api-keys")] {
            let answer = post_raw(&server, api, path, HTTP, &header, &bomb);
            assert_eq!(answer.status(), 413, "{encoding} {path}: {}", answer.text());
        }
        let after = server.memory();
        assert!(after < before + 80 * 1024, "{encoding}: {before} KiB before, {after} KiB after");
    }
}

#[test]
fn whole_responses_are_decoded_whatever_the_upstream_sends() {
    let stacked = encode("zstd", &[&encode("gzip", &[CHAT.as_bytes()]).concat()]).concat();
    for path in ["/v1/chat/completions", "/v1/inference"] {
        let mut responses: Vec<Vec<u8>> = ENCODINGS
            .iter()
            .map(|encoding| {
                let encoded = encode(encoding, &[CHAT.as_bytes()]).concat();
                response(200, &[("content-encoding", coding(encoding))], encoded)
            })
            .collect();
        responses.push(response(200, &[("content-encoding", "gzip, zstd")], &stacked));
        responses.push(response(200, &[("Content-Encoding", "identity")], CHAT));
        let count = responses.len();
        let (url, sent) = scripted(responses);
        let (desk, server, org) = with_upstream(&url);
        let api = caller(&desk, &server, &org);
        let body = json!({"model": "m", "prompt": "p", "messages": []});
        let body = if path == "/v1/inference" { json!({"model": "m", "prompt": "p"}) } else { body };
        for number in 0..count {
            let answer =
                post_raw(&server, &api, path, HTTP, "accept-encoding: gzip\r\n", body.to_string().as_bytes());
            assert_eq!(answer.status(), 200, "{number}: {}", answer.text());
            assert_eq!(answer.header("content-encoding"), None, "{number}");
            assert!(
                answer.text().contains("\"Hi\"") && answer.text().contains('3'),
                "{number}: {}",
                answer.text()
            );
            // Without this header, any encoding would be welcome (RFC 9110 section 12.5.3).
            assert!(sent.recv().unwrap().to_lowercase().contains("accept-encoding: identity"), "{number}");
        }
        let counted = "SELECT CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) AS count FROM all_usage_counts WHERE width = 60";
        let expected = 3 * i64::try_from(count).unwrap();
        crate::support::eventually("tokens are counted", || desk.database.count(counted) == expected);
    }
}

#[test]
fn errors_of_the_upstream_are_decoded_too() {
    let body = json!({"error": {"message": "the model is on fire"}}).to_string();
    let encoded = encode("br", &[body.as_bytes()]).concat();
    let headers = [("content-encoding", "br")];
    let (url, _sent) = scripted([400, 429, 500].map(|status| response(status, &headers, &encoded)).to_vec());
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let request = json!({"model": "m", "messages": []});
    for status in [400, 429, 502] {
        let answer = api.post("/v1/chat/completions", &request);
        assert_eq!((answer.status, answer.header("content-encoding")), (status, None));
        assert!(status == 502 || answer.body == body, "{}", answer.body);
    }
    assert!(server.whole_log().contains("the model is on fire"));
}

#[test]
fn each_event_of_an_encoded_stream_is_passed_on_before_the_next_arrives() {
    let events: Vec<String> = (0..10)
        .map(|number| {
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{number}\"}}}}]}}\n\n")
        })
        .chain(["data: [DONE]\n\n".to_owned()])
        .collect();
    for encoding in ENCODINGS {
        let texts: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
        let parts = encode(encoding, &texts);
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {}\r\ntransfer-encoding: chunked\r\n\r\n",
                coding(encoding)
            );
            stream.write_all(head.as_bytes()).unwrap();
            for part in parts {
                let head = format!("{:x}\r\n", part.len());
                stream.write_all(&[head.as_bytes(), &part, b"\r\n"].concat()).unwrap();
                if may_go_on.recv().is_err() {
                    return;
                }
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        });
        let (desk, server, org) = with_upstream(&url);
        let api = caller(&desk, &server, &org);
        let body = json!({"model": "m", "messages": [], "stream": true});
        let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
        for number in 0..10 {
            let seen = open.until(&format!("\"{number}\""));
            assert!(!seen.to_lowercase().contains("content-encoding"), "{encoding}: {seen}");
            go_on.send(()).unwrap();
        }
        open.until("[DONE]");
        drop(go_on);
    }
}

#[test]
fn an_encoding_that_keydesk_does_not_know_is_passed_on_with_its_name() {
    let (url, _sent) = scripted(vec![response(200, &[("content-encoding", "x-own")], "bytes")]);
    let (desk, server, org) = with_upstream(&url);
    let answer =
        caller(&desk, &server, &org).post("/v1/chat/completions", &json!({"model": "m", "messages": []}));
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("x-own")));
    assert_eq!(answer.body, "bytes");
}

#[test]
fn a_response_that_cannot_be_decoded_is_cut_short_and_counts_as_a_failure() {
    let broken = response(200, &[("content-encoding", "gzip")], "no gzip at all");
    let (url, _sent) = scripted(vec![broken]);
    let (desk, server, org) = with_upstream(&url);
    let api = caller(&desk, &server, &org);
    let body = json!({"model": "m", "messages": []}).to_string();
    let answer = post_raw(&server, &api, "/v1/chat/completions", HTTP, "", body.as_bytes());
    // The end of the chunks is missing, if it was not refused before.
    assert!(answer.status() == 502 || !answer.text().ends_with("0\r\n\r\n"), "{}", answer.text());
    let failed = "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM all_usage_counts \
         WHERE width = 60 AND outcome = 'server_errors'";
    crate::support::eventually("the failure is counted", || desk.database.count(failed) == 1);
    assert!(server.whole_log().contains("the upstream's response can't be decoded"));
}

#[test]
fn streams_to_old_clients_have_no_chunks_and_end_with_the_connection() {
    let (desk, server, org) = desk();
    let api = caller(&desk, &server, &org);
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": true});
    let inference = json!({"model": "m", "prompt": "Hello", "stream": true});
    for (path, body) in [("/v1/chat/completions", chat), ("/v1/inference", inference)] {
        for headers in ["", "connection: keep-alive\r\n", "accept-encoding: gzip\r\n"] {
            let old = post_raw(&server, &api, path, "HTTP/1.0", headers, body.to_string().as_bytes());
            assert_eq!(old.status(), 200);
            assert_eq!(old.header("transfer-encoding"), None, "{}", old.head);
            assert_eq!(old.header("content-encoding"), None, "{}", old.head);
            let text = old.text();
            assert!(text.starts_with("data: {") && text.ends_with("data: [DONE]\n\n"), "{text}");
        }
        let new = post_raw(&server, &api, path, HTTP, "", body.to_string().as_bytes());
        assert_eq!(new.header("transfer-encoding"), Some("chunked"));
        assert_eq!(new.header("content-encoding"), None, "{}", new.head);
        assert!(new.text().ends_with("0\r\n\r\n"));
    }
    // Pages are compressed as they are sent, too.
    let address = server.base.strip_prefix("http://").unwrap();
    let mut page = std::net::TcpStream::connect(address).unwrap();
    write!(page, "GET /sign-in HTTP/1.0\r\nhost: {address}\r\naccept-encoding: gzip\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut page, &mut bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    assert!(head.starts_with("http/1.0 200") && !head.contains("transfer-encoding"), "{head}");
}
