//! Malformed requests are not logged as errors, and do not fill the log.

use std::io::Write;
use std::net::TcpStream;

use crate::support::{Desk, desk, raw};

/// Requests that no client would send.
fn malformed() -> Vec<Vec<u8>> {
    let post = "POST /v1/inference HTTP/1.1\r\nHost: x\r\n";
    let mut all: Vec<Vec<u8>> = [
        "\r\n\r\n".to_owned(),
        "GET\r\n\r\n".into(),
        "GET /\r\n\r\n".into(),
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".into(),
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: x\n\n".into(),
        "GET / HTTP/1.1\r\nHost x\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n".into(),
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GET http://%zz/ HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAA\r\n\r\n".into(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(2_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(200_000)),
        format!("{post}Content-Length: x\r\n\r\n"),
        format!("{post}Content-Length: -1\r\n\r\n"),
        format!("{post}Content-Length: 99999999999999999999\r\n\r\n"),
        format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        format!("{post}Content-Length: 100\r\n\r\nabc"),
        format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked, gzip\r\n\r\n"),
        format!("{post}Transfer-Encoding: nonsense\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n-5\r\nabc"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n5;{}\r\n", "a".repeat(100_000)),
        format!("{post}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("{post}Expect: 200-maybe\r\nContent-Length: 4\r\n\r\nabcd"),
        "POST /sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: none\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 90\r\n\r\nemail=a".into(),
        "GET /account HTTP/1.1\r\nHost: x\r\nCookie: keydesk=nonsense\r\n\r\n".into(),
        "GET /account HTTP/1.1\r\nHost: x\r\nCookie: keydesk=\r\n\r\n".into(),
    ]
    .map(String::into_bytes)
    .into();
    all.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03".to_vec());
    all.push(b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\xfe\r\n\r\n".to_vec());
    all.push(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    all.push(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: none\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\n\xff=\xfe&a=%ff".to_vec());
    all.push((0..4_000_u32).map(|place| (place * 7919 % 251) as u8).collect());
    all
}

#[test]
fn malformed_requests_are_not_logged_as_errors() {
    let (_desk, server, _org) = desk();
    let mut sent = 0;
    for _ in 0..3 {
        for bytes in malformed() {
            raw::exchange(&server.base, &bytes);
            // The same, while the rest of it never comes.
            let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).unwrap();
            let _ = stream.write_all(&bytes[..bytes.len() / 2]);
            drop(stream);
            sent += 2;
        }
    }
    assert_eq!(server.api("").get("/healthz").status, 200);
    let log = server.whole_log();
    let louder = log.lines().find(|line| !line.contains(r#""level":"INFO""#));
    assert_eq!(louder, None);
    assert!(log.lines().count() <= sent + 50, "at most a line for each request: {}", log.lines().count());
}

#[test]
fn malformed_requests_are_logged_at_debug_level() {
    let desk = Desk::new().with("KEYDESK_LOG", "debug");
    let server = desk.start();
    raw::exchange(&server.base, b"nonsense\r\n\r\n");
    let log = server.whole_log();
    let of_parser = |line: &&str| line.contains("request parse error");
    assert_eq!(log.lines().filter(of_parser).count(), 1, "{log}");
    assert!(log.lines().filter(of_parser).all(|line| line.contains(r#""level":"DEBUG""#)), "{log}");
}

#[test]
fn fault_of_keydesk_is_logged_as_an_error() {
    let (desk, server, org) = desk();
    desk.database.execute("ALTER TABLE audit_entries RENAME TO gone");
    assert_eq!(org.admin.get("/v1/audit-events").status, 500);
    assert!(server.whole_log().contains(r#""level":"ERROR""#));
}
