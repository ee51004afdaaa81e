//! How large requests and responses of the gateway may be, and how much memory they take.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use crate::support::scripted::{CHAT, encode, post_raw, response, scripted};
use crate::support::stream::{upstream, with_upstream};
use crate::support::{Api, Desk, Org, Server, eventually};

const MIB: usize = 1024 * 1024;

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:write"))
}

/// A chat request with this many bytes.
fn chat_of(length: usize) -> String {
    let empty = json!({"model": "m", "messages": [{"role": "user", "content": ""}]}).to_string();
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(length - empty.len())))
}

#[test]
fn bodies_up_to_the_configured_size_are_forwarded_and_larger_ones_name_the_setting() {
    for (setting, most, shown) in [(None, 32 * MIB, "32 MiB"), (Some("1MB"), 1_000_000, "1 MB")] {
        let (url, sent) = scripted(vec![response(200, &[], CHAT); 3]);
        let mut desk = Desk::new().with("KEYDESK_UPSTREAM_URL", &url);
        if let Some(setting) = setting {
            desk = desk.with("KEYDESK_MAX_BODY", setting);
        }
        let server = desk.start();
        let org = desk.set_up(&server, "Acme");
        let api = caller(&desk, &server, &org);
        let body = chat_of(most);
        for (headers, bytes) in [
            ("", body.clone().into_bytes()),
            ("content-encoding: gzip\r\n", encode("gzip", &[body.as_bytes()]).concat()),
            ("content-encoding: zstd\r\n", encode("zstd", &[body.as_bytes()]).concat()),
        ] {
            let answer = post_raw(&server, &api, "/v1/chat/completions", "HTTP/1.1", headers, &bytes);
            assert_eq!(answer.status(), 200, "{headers}{}", answer.text());
            assert!(sent.recv().unwrap().ends_with(&body[body.len() - 100..]));
        }
        let larger = chat_of(most + 1);
        for (headers, bytes) in [
            ("", larger.clone().into_bytes()),
            ("content-encoding: br\r\n", encode("br", &[larger.as_bytes()]).concat()),
        ] {
            for path in ["/v1/chat/completions", "/v1/inference"] {
                let answer = post_raw(&server, &api, path, "HTTP/1.1", headers, &bytes);
                assert_eq!(answer.status(), 413, "{}", answer.text());
                let text = answer.text();
                assert!(text.contains(shown) && text.contains("KEYDESK_MAX_BODY"), "{text}");
            }
        }
        // Management requests have their own limit.
        let large = json!({"name": "n", "description": "x".repeat(70_000)}).to_string();
        let answer = post_raw(&server, &org.admin, "/v1/api-keys", "HTTP/1.1", "", large.as_bytes());
        assert_eq!(answer.status(), 413);
        assert!(answer.text().contains("64 KiB"), "{}", answer.text());
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused_at_start() {
    for wrong in ["", "0", "1KiB", "32 apples", "-1MiB", "2GiB", "1.5MiB"] {
        let output = Desk::new().with("KEYDESK_MAX_BODY", wrong).run(&["serve"]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("KEYDESK_MAX_BODY"), "{wrong}");
    }
}

#[test]
fn a_response_of_any_size_is_passed_on_in_constant_memory() {
    const LENGTH: usize = 200 * MIB;
    for declared in [true, false] {
        let url = upstream(move |_, mut stream| {
            let framing = match declared {
                true => format!("content-length: {}\r\n", LENGTH + 2),
                false => "connection: close\r\n".to_owned(),
            };
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}\r\n\"").unwrap();
            let part = "x".repeat(MIB);
            for _ in 0..LENGTH / MIB {
                stream.write_all(part.as_bytes()).unwrap();
            }
            stream.write_all(b"\"").unwrap();
        });
        let (desk, server, org) = with_upstream(&url);
        let api = caller(&desk, &server, &org);
        let before = server.memory();
        let mut stream = request(&server, &api, "/v1/embeddings");
        let (mut read, mut most, mut part) = (0, before, vec![0; MIB]);
        loop {
            let length = stream.read(&mut part).unwrap();
            if length == 0 {
                break;
            }
            if read / (16 * MIB) != (read + length) / (16 * MIB) {
                most = most.max(server.memory());
            }
            read += length;
        }
        assert!(read > LENGTH, "{read}");
        println!("200 MiB passed on: {before} KiB before, {most} KiB at most");
        assert!(most < before + 20 * 1024, "{before} KiB before, {most} KiB at most");
    }
}

/// Sends a small request and leaves the response unread.
fn request(server: &Server, api: &Api, path: &str) -> TcpStream {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = json!({"model": "m", "input": "a"}).to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        api.key,
        body.len()
    )
    .unwrap();
    stream
}

#[test]
fn a_large_response_that_nobody_reads_waits_at_the_upstream() {
    for encoded in [false, true] {
        let (tell, told) = mpsc::channel::<usize>();
        // Decodes to 1 GiB.
        let bomb = encode("gzip", &[&vec![b'x'; 64 * MIB]]).concat().repeat(16);
        let url = upstream(move |_, mut stream| {
            stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
            let head = if encoded { "content-encoding: gzip\r\n" } else { "" };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}connection: close\r\n\r\n"
            )
            .unwrap();
            let part = vec![b'x'; MIB];
            let mut sent = 0;
            if encoded {
                let _ = stream.write_all(&bomb);
            } else {
                while sent < 512 && stream.write_all(&part).is_ok() {
                    sent += 1;
                }
            }
            let _ = tell.send(sent);
            std::thread::sleep(Duration::from_secs(10));
        });
        let (desk, server, org) = with_upstream(&url);
        let api = caller(&desk, &server, &org);
        let before = server.memory();
        let unread = request(&server, &api, "/v1/embeddings");
        let sent = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(sent < 64, "{sent} MiB were taken");
        let after = server.memory();
        assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
        drop(unread);
    }
}

#[test]
fn compressed_bodies_of_many_keys_stay_within_their_memory() {
    let desk = Desk::new().with("KEYDESK_DEFAULT_RPM", "100000");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let apis: Vec<Api> = (0..6)
        .map(|number| {
            let body = json!({"name": format!("caller-{number}"), "scopes": ["inference:write"]});
            server.api(org.admin.create(&body)["key"].as_str().unwrap())
        })
        .collect();
    let text = "x".repeat(24 * MIB);
    let encoded: Vec<(&str, Vec<u8>)> = ["br", "zstd", "gzip"]
        .iter()
        .map(|name| (*name, encode(name, &[text.as_bytes()])[0].clone()))
        .collect();
    let before = server.memory();
    let mut held = Vec::new();
    for round in 0..5 {
        for (number, api) in apis.iter().enumerate() {
            let (name, bytes) = &encoded[(number + round) % 3];
            let address = server.base.strip_prefix("http://").unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            // The end never comes.
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
                 content-type: application/json\r\ncontent-encoding: {name}\r\ncontent-length: {}\r\n\r\n",
                api.key,
                bytes.len() + 100
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
    }
    let mut most = 0;
    eventually("some are refused", || {
        most = most.max(server.memory());
        let mut answered = 0;
        for stream in &held {
            stream.set_nonblocking(true).unwrap();
            answered += usize::from(stream.peek(&mut [0]).is_ok_and(|length| length > 0));
        }
        answered > 20
    });
    println!("30 unfinished compressed bodies: {before} KiB before, {most} KiB at most");
    // A debug binary alone takes twice as much as a release.
    assert!(most - before < 120 * 1024, "{before} KiB before, {most} KiB at most");
    drop(held);
    eventually("room again", || {
        apis[0]
            .post(
                "/v1/chat/completions",
                &json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(9_000_000)}]}),
            )
            .status
            == 200
    });
}
