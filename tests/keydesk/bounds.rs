//! Everything that comes from outside has a maximum size, a deadline and a share of the resources.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::scripted::encode;
use crate::support::stream::{Open, STREAM_HEAD, send_chunk, upstream, with_upstream};
use crate::support::{Api, Desk, PASSWORD, Server, desk, eventually, raw};

/// A connection whose bytes a test writes itself.
struct Raw {
    stream: TcpStream,
    opened: Instant,
}

/// The response, read until the server closes the connection.
struct Ended {
    text: String,
    after: Duration,
}

impl Raw {
    fn open(server: &Server) -> Raw {
        Raw::from(server, Ipv4Addr::LOCALHOST).unwrap()
    }

    /// Opens a connection from an address of the loopback network.
    fn from(server: &Server, source: Ipv4Addr) -> std::io::Result<Raw> {
        let address: SocketAddr = server.base.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        socket.connect_timeout(&address.into(), Duration::from_secs(5))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(Raw { stream, opened: Instant::now() })
    }

    /// Sends bytes; the server may have hung up.
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads until some data has arrived, without waiting for the end.
    fn some(&mut self) -> String {
        let mut bytes = [0; 16 * 1024];
        let length = self.stream.read(&mut bytes).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Reads to the end of the connection.
    fn end(mut self) -> Ended {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection stays open");
        }
        Ended { text: String::from_utf8_lossy(&bytes).into_owned(), after: self.opened.elapsed() }
    }
}

impl Ended {
    fn within(&self, status: &str, seconds: std::ops::Range<u64>) {
        assert!(self.text.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {}", self.text);
        assert!(seconds.contains(&self.after.as_secs()), "{status} after {:?}", self.after);
    }
}

/// The head of a request with a body.
fn head(path: &str, key: &str, headers: &str, length: usize) -> String {
    let key = if key.is_empty() { String::new() } else { format!("authorization: Bearer {key}\r\n") };
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{key}content-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    )
}

const FROM_OURS: &str = "sec-fetch-site: same-origin\r\n";

#[test]
fn bodies_heads_and_idle_connections_time_out() {
    let desk = Desk::new().with("KEYDESK_KEEP_ALIVE", "20s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let key = org.admin.key.as_str();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
            raw.send(request);
            assert!(raw.some().contains("alive"));
            // Longer than a new connection may wait for its first request.
            std::thread::sleep(Duration::from_secs(17));
            raw.send(request);
            assert!(raw.some().contains("alive"), "an idle connection is kept for the time that is set");
            assert!(raw.end().after < Duration::from_secs(60));
        });
        scope.spawn(|| {
            // The same after a refused request whose body was not read.
            let mut raw = Raw::open(&server);
            raw.send(head("/v1/api-keys", "", "", 12) + "{\"name\":\"a\"}");
            assert!(raw.some().contains("missing_credential"));
            std::thread::sleep(Duration::from_secs(17));
            raw.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
            assert!(raw.some().contains("alive"), "an unread body does not shorten the time");
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send(head("/v1/api-keys", key, "", 37) + "{\"nam");
            let ended = raw.end();
            ended.within("408", 9..16);
            assert!(ended.text.contains("\"code\":\"request_timeout\""), "{}", ended.text);
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send(head("/v1/api-keys", key, "", 1000));
            while raw.opened.elapsed() < Duration::from_secs(50) && raw.send(" ") {
                std::thread::sleep(Duration::from_secs(1));
                let mut byte = [0];
                raw.stream.set_nonblocking(true).unwrap();
                let answered = raw.stream.peek(&mut byte).is_ok();
                raw.stream.set_nonblocking(false).unwrap();
                if answered {
                    break;
                }
            }
            raw.end().within("408", 29..40);
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            let form = head("/sign-in", "", FROM_OURS, 60_000);
            raw.send(form.replace("application/json", "application/x-www-form-urlencoded") + "a=b");
            let ended = raw.end();
            ended.within("408", 9..16);
            assert!(ended.text.contains("<html"), "{}", ended.text);
        });
        // Bodies without a valid key or a known route are not read, and don't keep the connection open.
        for (path, status) in
            [("/v1/api-keys", "401"), ("/v1/nope", "404"), ("/healthz", "405"), ("/v1/models", "405")]
        {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::open(server);
                raw.send(head(path, "", FROM_OURS, 60_000) + "{");
                raw.end().within(status, 0..6);
                let mut raw = Raw::open(server);
                raw.send(format!(
                    "POST {path} HTTP/1.1\r\nhost: x\r\n{FROM_OURS}transfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n"
                ));
                raw.end().within(status, 0..20);
            });
        }
        scope.spawn(|| assert!(Raw::open(&server).end().after < Duration::from_secs(10)));
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
            assert!(raw.some().contains("alive"));
            raw.send("GET /healthz HTTP/1.1\r\nho");
            let ended = raw.end();
            assert!(
                ended.after < Duration::from_secs(20),
                "a second slow head is kept for {:?}",
                ended.after
            );
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send("GET /healthz HTTP/1.0\r\n\r\n");
            let ended = raw.end();
            assert!(ended.text.starts_with("HTTP/1.0 200") && ended.after < Duration::from_secs(6));
        });
        scope.spawn(|| {
            let mut raw = Raw::open(&server);
            raw.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3));
            assert_eq!(raw.end().text.matches("alive").count(), 3);
        });
        scope.spawn(|| {
            let body = r#"{"name": "continued", "scopes": ["inference:read"]}"#;
            let mut raw = Raw::open(&server);
            raw.send(head("/v1/api-keys", key, "expect: 100-continue\r\nconnection: close\r\n", body.len()));
            assert!(raw.some().starts_with("HTTP/1.1 100"));
            raw.send(body);
            assert!(raw.end().text.contains("HTTP/1.1 201"));
        });
    });
    assert_eq!(org.admin.get("/v1/api-keys/self").status, 200);
}

#[test]
fn bodies_have_a_maximum_size_before_and_after_decompression() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let key = key["key"].as_str().unwrap();
    for (path, key, length) in [
        ("/v1/api-keys", org.admin.key.as_str(), 65 * 1024),
        ("/v1/chat/completions", key, 33 * 1024 * 1024),
        ("/sign-in", "", 65 * 1024),
    ] {
        let mut raw = Raw::open(&server);
        raw.send(head(path, key, FROM_OURS, length));
        raw.end().within("413", 0..6);
    }
    let compressed = |body: &[u8]| encode("gzip", &[body]).concat();
    let send = |path: &str, key: &str, encoding: &str, body: &[u8]| {
        let mut raw = Raw::open(&server);
        let headers = format!("content-encoding: {encoding}\r\nconnection: close\r\n");
        raw.send(head(path, key, &headers, body.len()));
        raw.send(body);
        raw.end()
    };
    let admin = org.admin.key.as_str();
    let valid = br#"{"name": "compressed", "scopes": ["inference:read"]}"#;
    send("/v1/api-keys", admin, "gzip", &compressed(valid)).within("201", 0..6);
    send("/v1/api-keys", admin, "gzip", valid).within("400", 0..6);
    send("/v1/api-keys", admin, "compress", valid).within("415", 0..6);
    let bomb = compressed(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    send("/v1/api-keys", admin, "gzip", &bomb).within("413", 0..6);
    send("/v1/chat/completions", key, "gzip", &bomb).within("413", 0..6);
}

#[test]
fn unfinished_bodies_of_one_key_use_bounded_memory_and_leave_room_for_others() {
    let desk = Desk::new().with("KEYDESK_DEFAULT_RPM", "100000");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let callers: Vec<Api> = (0..2)
        .map(|number| {
            let body = json!({"name": format!("caller-{number}"), "scopes": ["inference:write"]});
            server.api(org.admin.create(&body)["key"].as_str().unwrap())
        })
        .collect();
    let before = server.memory();
    let part = "x".repeat(1024 * 1024);
    let length = 10 * 1024 * 1024;
    let hold = |key: &str| {
        let mut raw = Raw::open(&server);
        raw.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        raw.send(head("/v1/chat/completions", key, "", length));
        for _ in 0..9 {
            if !raw.send(&part) {
                break;
            }
        }
        raw
    };
    let mut held: Vec<Raw> = Vec::new();
    let mut most = 0;
    for _ in 0..100 {
        held.push(hold(&callers[0].key));
        most = most.max(server.memory());
    }
    // Another key is served meanwhile, and so are small bodies and people.
    let small = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(callers[1].post("/v1/chat/completions", &small).status, 200);
    assert_eq!(callers[0].post("/v1/chat/completions", &small).status, 200);
    let large = json!({"model": "m", "messages": [{"role": "user", "content": "x".repeat(9_000_000)}]});
    assert_eq!(callers[1].post("/v1/chat/completions", &large).status, 200);
    server.signed_in(&org);
    most = most.max(server.memory());
    println!("100 unfinished bodies of 10 MiB: {before} KiB before, {most} KiB at most");
    assert!(most < 150 * 1024, "{most} KiB");
    let refused = held.pop().unwrap().end();
    assert!(
        refused.text.starts_with("HTTP/1.1 429") && refused.text.contains("retry-after"),
        "{}",
        refused.text
    );
    drop(held);
    // Reservations are released.
    eventually("room again", || callers[0].post("/v1/chat/completions", &large).status == 200);
}

#[test]
fn pipelined_requests_use_bounded_memory() {
    let (_desk, server, _org) = desk();
    let before = server.memory();
    let ahead = "GET /nope HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(3000);
    let mut most = before;
    std::thread::scope(|scope| {
        for _ in 0..30 {
            let (server, ahead) = (&server, &ahead);
            scope.spawn(move || {
                let mut raw = Raw::open(server);
                raw.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
                raw.send(ahead);
                // A client that takes its answers, for a while.
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(3) && !raw.some().is_empty() {}
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            most = most.max(server.memory());
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    println!("30 connections with 3,000 requests sent ahead: {before} KiB before, {most} KiB at most");
    assert!(most < before + 100 * 1024, "{before} KiB before, {most} KiB at most");
}

#[test]
fn body_with_millions_of_values_uses_bounded_memory() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let body = format!("{{\"model\":\"m\",\"input\":[{}1]}}", "1,".repeat(4_000_000));
    let answer = api.send("POST", "/v1/embeddings", &[], Some(&body));
    assert_eq!(answer.refusal(), (413, "payload_too_large".into()));
    assert!(server.memory() < 150 * 1024, "{} KiB", server.memory());
}

#[test]
fn requests_with_keys_are_answered_while_idle_bodies_exhaust_descriptors() {
    let desk = Desk::new().with("KEYDESK_DEFAULT_RPM", "100000");
    let server = desk.start_with_descriptors(1024);
    let org = desk.set_up(&server, "Acme");
    for source in [Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::LOCALHOST] {
        let mut held = Vec::new();
        for number in 0..1060 {
            if let Ok(mut raw) = Raw::from(&server, source) {
                raw.send(head("/sign-in", "", FROM_OURS, 60_000) + "a=b");
                held.push(raw);
            }
            if number % 100 == 99 {
                assert_eq!(org.admin.get("/v1/api-keys/self").status, 200);
            }
        }
        let began = Instant::now();
        // New connections, as a load balancer opens them.
        for _ in 0..20 {
            assert_eq!(server.api(&org.admin.key).get("/v1/api-keys/self").status, 200);
            assert_eq!(server.api("").get("/healthz").status, 200);
        }
        println!("{} idle bodies from {source}: 40 requests answered in {:?}", held.len(), began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

/// Keeps this many connections busy with bodies that arrive a byte at a time, and reopens those that the server
/// closes, until `stop` is set. Returns how many it reopened.
fn trickle(server: &Server, key: &str, connections: usize, opened: &AtomicUsize, stop: &AtomicBool) -> usize {
    let open = || {
        let mut raw = Raw::from(server, Ipv4Addr::LOCALHOST).ok()?;
        raw.send(head("/v1/inference", key, "", 300) + "{");
        raw.stream.set_nonblocking(true).ok()?;
        Some(raw)
    };
    let mut held: Vec<Option<Raw>> = Vec::new();
    for _ in 0..connections {
        held.push(open());
        opened.fetch_add(1, Ordering::Relaxed);
    }
    let (mut reopened, mut round) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for place in &mut held {
            let is_open = place.as_mut().is_some_and(|raw| {
                let waits =
                    raw.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                waits && (round % 6 != 0 || raw.send(" "))
            });
            if !is_open {
                *place = open();
                reopened += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    reopened
}

/// Whether a request on a new connection is answered with 200.
fn is_answered(server: &Server, key: &str, path: &str) -> bool {
    let Ok(mut raw) = Raw::from(server, Ipv4Addr::LOCALHOST) else { return false };
    raw.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    ));
    raw.some().starts_with("HTTP/1.1 200")
}

#[test]
fn slow_bodies_of_a_few_keys_do_not_block_others() {
    let desk = Desk::new().with("KEYDESK_DEFAULT_RPM", "100000");
    for keys in [2, 4] {
        let server = desk.start_with_descriptors(1024);
        let org = desk.set_up(&server, &format!("Attacked by {keys}"));
        let other = desk.set_up(&server, &format!("Beside {keys}"));
        let slow: Vec<String> = (0..keys)
            .map(|number| {
                let body = json!({"name": format!("slow-{number}"), "scopes": ["inference:write"]});
                org.admin.create(&body)["key"].as_str().unwrap().to_owned()
            })
            .collect();
        let (opened, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (server, opened, stop) = (&server, &opened, &stop);
            let attackers: Vec<_> =
                slow.iter().map(|key| scope.spawn(move || trickle(server, key, 260, opened, stop))).collect();
            eventually("all connections were opened", || opened.load(Ordering::Relaxed) == keys * 260);
            let (began, mut at_once, mut answered, mut asked) = (Instant::now(), 0, 0, 0);
            while began.elapsed() < Duration::from_secs(10) {
                for (key, path) in [
                    (&other.admin.key, "/v1/api-keys/self"),
                    (&org.admin.key, "/v1/api-keys/self"),
                    (&other.admin.key, "/healthz"),
                ] {
                    asked += 1;
                    let first = is_answered(server, key, path);
                    at_once += usize::from(first);
                    // Attackers and others have one address here, so a burst of theirs can cut off a newcomer.
                    answered += usize::from(first || is_answered(server, key, path));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            stop.store(true, Ordering::Relaxed);
            let reopened: usize = attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum();
            println!(
                "{keys} keys, {reopened} connections reopened: {answered} of {asked} answered, {at_once} without a retry"
            );
            assert!(reopened > 100, "the server was not full: {reopened}");
            assert!(asked >= 60 && answered * 100 >= asked * 95, "{answered} of {asked}");
        });
    }
}

#[test]
fn client_that_does_not_read_its_response_is_disconnected() {
    let (closed, closing) = mpsc::channel();
    let url = upstream(move |_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        let event = format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(8_000));
        while send_chunk(&mut stream, &event).is_ok() {}
        closed.send(()).unwrap();
    });
    let (_desk, server, org) = with_upstream(&url);
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let before = server.memory();
    let body = json!({"model": "m", "stream": true, "messages": []});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    open.until("data:");
    let began = Instant::now();
    closing.recv_timeout(Duration::from_secs(60)).expect("the upstream is let go");
    println!("a reader that stopped was cut off after {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(server.memory() < before + 8 * 1024, "{} KiB after {before} KiB", server.memory());
}

#[test]
fn stream_without_line_ends_is_passed_on_without_buffering() {
    const PARTS: usize = 64;
    let url = upstream(|_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        let part = "x".repeat(1024 * 1024);
        for _ in 0..PARTS {
            send_chunk(&mut stream, &part).unwrap();
        }
        send_chunk(&mut stream, "\n\ndata: [DONE]\n\n").unwrap();
        send_chunk(&mut stream, "").unwrap();
    });
    let (_desk, server, org) = with_upstream(&url);
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let before = server.memory();
    let body = json!({"model": "m", "stream": true, "messages": []}).to_string();
    let mut raw = Raw::open(&server);
    raw.send(head("/v1/chat/completions", key["key"].as_str().unwrap(), "connection: close\r\n", body.len()));
    raw.send(&body);
    let mut passed = 0;
    let mut bytes = vec![0; 64 * 1024];
    let mut most = 0;
    loop {
        let length = raw.stream.read(&mut bytes).unwrap();
        if length == 0 {
            break;
        }
        passed += bytes[..length].iter().filter(|byte| **byte == b'x').count();
        most = most.max(server.memory());
    }
    println!("a line of {PARTS} MiB: {before} KiB before, {most} KiB at most");
    assert!(passed >= PARTS * 1024 * 1024, "{passed}");
    assert!(most < before + 16 * 1024, "{most} KiB after {before} KiB");
}

#[test]
fn queries_and_forms_have_a_maximum_number_of_fields() {
    let (_desk, server, org) = desk();
    let fields = |count: usize| (0..count).map(|number| format!("f{number}=")).collect::<Vec<_>>().join("&");
    let answer = org.admin.get(&format!("/v1/api-keys?{}", fields(257)));
    assert_eq!(answer.refusal(), (400, "invalid_request".into()));
    assert!(answer.body.contains("257") && answer.body.contains("256"), "{}", answer.body);
    let unknown = org.admin.get(&format!("/v1/api-keys?{}", fields(256)));
    assert!(unknown.status == 400 && unknown.body.contains("f0"), "{}", unknown.body);
    assert_eq!(server.browser().get(&format!("/sign-in?{}", fields(257))).status, 400);
    let typed: Vec<(String, String)> = (0..257).map(|number| (format!("f{number}"), String::new())).collect();
    let typed: Vec<(&str, &str)> =
        typed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(server.browser().post("/sign-in", &typed).status, 400);
    assert_eq!(server.browser().post("/sign-in", &typed[..256]).status, 422);
    // A list of many values is refused as one of few is.
    let many = vec!["admin "; 6_000];
    let answer = org.admin.post("/v1/api-keys", &json!({"name": "n", "scopes": many}));
    assert_eq!((answer.status, answer.fields()), (422, vec!["scopes".to_owned()]));
}

#[test]
fn new_password_is_checked_only_after_the_current_one() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let weak = "p4$$w0rd1".repeat(100);
    let mut post =
        |old, new: &str| browser.post("/account/password", &[("password", old), ("new_password", new)]);
    let wrong = post("not the password of Ada", &weak);
    assert_eq!(wrong.status, 422);
    assert!(wrong.texts("#password-error").len() == 1 && wrong.texts("#new_password-error").is_empty());
    let weak = post(PASSWORD, "passwordpassword");
    assert_eq!(weak.status, 422);
    assert!(weak.text("#new_password-error").contains("too easy to guess"));
    assert_eq!(post(PASSWORD, &"a wholly new passphrase ".repeat(40)).status, 303);
}

#[test]
fn endless_compressed_body_without_content_is_stopped() {
    let (_desk, server, _org) = desk();
    let head = "POST /sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: deflate\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let empty = [0_u8, 0, 0, 0xff, 0xff].repeat(14_000);
    let mut request = head.as_bytes().to_vec();
    request.extend(b"2\r\n\x78\x9c\r\n");
    request.extend(format!("{:x}\r\n", empty.len()).as_bytes());
    request.extend(empty);
    request.extend(b"\r\n");
    let answer = String::from_utf8_lossy(&raw::exchange(&server.base, &request)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
