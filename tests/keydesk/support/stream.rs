//! Upstreams played by a test, and responses that are read as they arrive.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use super::{Api, Desk, Org, Server};

/// An upstream that reads one request and then follows instructions.
pub fn upstream(behave: impl FnOnce(String, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let request = read_request(&stream);
        behave(request, stream);
    });
    url
}

/// An upstream that reads one request on each connection and then behaves in this way.
pub fn many_upstreams(behave: impl Fn(String, TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let behave = std::sync::Arc::new(behave);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, behave) = (stream.unwrap(), behave.clone());
            std::thread::spawn(move || {
                let request = read_request(&stream);
                behave(request, stream);
            });
        }
    });
    url
}

/// An upstream that responds by the model of the request: with a content type and content, which end with the
/// connection.
pub fn by_model(contents: Vec<(String, &'static str, Vec<u8>)>) -> String {
    many_upstreams(move |request, mut stream| {
        let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let found = contents.iter().find(|(model, _, _)| body["model"] == **model);
        let (_, kind, content) = found.expect("a content for the model");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content));
    })
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.push_str(&String::from_utf8(body).unwrap());
    request
}

/// A server with this upstream.
pub fn with_upstream(url: &str) -> (Desk, Server, Org) {
    let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", url).with("KEYDESK_UPSTREAM_KEY", "upstream-secret");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    (desk, server, org)
}

/// The head of a stream, as an upstream sends it.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\n\r\n";

/// Sends a chunk of a stream; an empty one ends it.
pub fn send_chunk(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n{text}\r\n", text.len())
}

/// A request whose response is read as it arrives.
pub struct Open(BufReader<TcpStream>);

impl Open {
    /// Sends a request.
    pub fn post(api: &Api, server: &Server, path: &str, body: &Value) -> Open {
        let address = server.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\naccept-encoding: gzip\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            api.key,
            body.len()
        )
        .unwrap();
        Open(BufReader::new(stream))
    }

    /// Reads on until a line holds this.
    pub fn until(&mut self, needle: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the answer ended before {needle:?}: {seen}");
            seen.push_str(&line);
            if line.contains(needle) {
                return seen;
            }
        }
    }
}
