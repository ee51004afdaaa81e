//! Upstreams that don't accept connections, stay silent, or never come to the point.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::scripted::{response, scripted};
use crate::support::stream::{STREAM_HEAD, many_upstreams, send_chunk, upstream, with_upstream};
use crate::support::{Answer, Api, Desk, Org, Server};

fn impatient(url: &str) -> (Desk, Server, Org) {
    let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", url).with("KEYDESK_UPSTREAM_TIMEOUT", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    (desk, server, org)
}

fn chat(api: &Api, stream: bool) -> Answer {
    api.post("/v1/chat/completions", &json!({"model": "m", "messages": [], "stream": stream}))
}

fn caller(desk: &Desk, server: &Server, org: &Org) -> Api {
    server.api(&desk.key(&org.slug, "caller", "inference:write"))
}

#[test]
fn an_upstream_that_never_responds_is_given_up_after_the_configured_silence() {
    let silent = upstream(|_, stream| {
        std::thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let informing = upstream(|_, mut stream| {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for url in [silent, informing] {
        let (desk, server, org) = impatient(&url);
        let api = caller(&desk, &server, &org);
        let started = Instant::now();
        let answer = chat(&api, false);
        assert_eq!(answer.refusal(), (502, "upstream_error".into()));
        assert!(answer.body.contains("sent nothing for 1 s"), "{}", answer.body);
        assert!(answer.body.contains("KEYDESK_UPSTREAM_TIMEOUT"), "{}", answer.body);
        // The upstream may have done the work, and a repetition would be paid for twice.
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!(started.elapsed() >= Duration::from_secs(1) && started.elapsed() < Duration::from_secs(10));
        assert!(server.whole_log().contains("the upstream did not respond in time"));
    }
}

#[test]
fn a_response_that_keeps_arriving_may_take_longer_than_the_silence_that_is_allowed() {
    let url = upstream(|_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for number in 0..8 {
            send_chunk(&mut stream, &format!("data: {{\"number\": {number}}}\n\n")).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        send_chunk(&mut stream, "data: [DONE]\n\n").unwrap();
        send_chunk(&mut stream, "").unwrap();
    });
    let (desk, server, org) = impatient(&url);
    let answer = chat(&caller(&desk, &server, &org), true);
    assert!(answer.body.contains("\"number\": 7") && answer.body.ends_with("[DONE]\n\n"), "{}", answer.body);
}

#[test]
fn an_upstream_that_falls_silent_within_its_response_is_given_up_and_named_in_the_log() {
    let url = many_upstreams(|request, mut stream| {
        if request.contains("\"stream\":true") {
            stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
            send_chunk(&mut stream, "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n").unwrap();
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").unwrap();
        }
        std::thread::sleep(Duration::from_secs(20));
    });
    let (desk, server, org) = impatient(&url);
    let api = caller(&desk, &server, &org);
    let started = Instant::now();
    let infer =
        |stream| api.post("/v1/inference", &json!({"model": "m", "prompt": "Hello", "stream": stream}));
    let names_the_setting =
        |text: &str| text.contains("The upstream sent nothing for 1 s (KEYDESK_UPSTREAM_TIMEOUT)");
    for (answer, piece) in [(infer(true), "data: {\"delta\":\"Hi\"}\n\n"), (chat(&api, true), "\"Hi\"")] {
        assert!(answer.status == 200 && answer.body.contains(piece), "{}", answer.body);
        assert!(answer.body.contains("upstream_error") && !answer.body.contains("[DONE]"), "{}", answer.body);
        assert!(names_the_setting(answer.body.rsplit("data: ").next().unwrap()), "{}", answer.body);
    }
    let whole = infer(false);
    assert_eq!(whole.refusal(), (502, "upstream_error".into()));
    assert!(names_the_setting(&whole.body), "{}", whole.body);
    assert_eq!(whole.header("x-should-retry"), Some("false"));
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(server.whole_log().matches("the upstream fell silent within its response").count(), 3);
}

#[test]
fn a_head_without_end_takes_no_memory_and_is_an_upstream_failure() {
    let url = upstream(|_, mut stream| {
        let line = format!("x-filler: {}\r\n", "x".repeat(8000));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..20_000 {
            if stream.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    });
    let (desk, server, org) = impatient(&url);
    let api = caller(&desk, &server, &org);
    let before = server.memory();
    let answer = chat(&api, false);
    assert_eq!(answer.refusal(), (502, "upstream_error".into()));
    let after = server.memory();
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn connections_that_fail_and_connections_that_take_too_long_are_told_apart() {
    // Nobody listens.
    let (url, _sent) = scripted(vec![]);
    let (desk, server, org) = impatient(&url);
    let answer = chat(&caller(&desk, &server, &org), false);
    assert_eq!(answer.refusal(), (502, "upstream_error".into()));
    assert!(answer.body.contains("can't connect to the upstream"), "{}", answer.body);
    assert_eq!(answer.header("x-should-retry"), None);
    assert!(server.whole_log().contains("connecting to the upstream failed"));
    // Nobody accepts: the queue of the listener is full.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if socket.connect_timeout(&address, Duration::from_millis(300)).is_err() {
            break;
        }
        held.push(socket);
    }
    let (desk, server, org) = with_upstream(&format!("http://{}/v1", address.as_socket().unwrap()));
    let answer = chat(&caller(&desk, &server, &org), false);
    assert_eq!(answer.refusal(), (502, "upstream_error".into()));
    assert!(answer.body.contains("did not accept a connection within"), "{}", answer.body);
    assert!(server.whole_log().contains("the upstream did not accept a connection in time"));
}

#[test]
fn an_upstream_that_hangs_up_without_a_response_may_be_tried_again() {
    for bytes in [Vec::new(), b"HTTP/1.1 2".to_vec(), b"no HTTP at all\r\n\r\n".to_vec()] {
        let (url, _sent) = scripted(vec![bytes, response(200, &[], "{}")]);
        let (desk, server, org) = impatient(&url);
        let api = caller(&desk, &server, &org);
        let answer = chat(&api, false);
        assert_eq!(answer.refusal(), (502, "upstream_error".into()));
        assert_eq!(answer.header("x-should-retry"), None);
        assert_eq!(chat(&api, false).status, 200);
    }
}
