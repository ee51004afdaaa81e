//! An upstream that always responds the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

/// An upstream that gives every request the same response.
pub struct Stub {
    pub url: String,
    /// Head and body of each request.
    pub requests: mpsc::Receiver<String>,
}

impl Stub {
    pub fn new(status: u16, body: &'static str) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut request, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    request.push_str(&line);
                }
                let mut sent = vec![0; length];
                reader.read_exact(&mut sent).unwrap();
                request.push_str(&String::from_utf8(sent).unwrap());
                if sender.send(request).is_err() {
                    return;
                }
                let head = "content-type: application/json\r\nconnection: close";
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Stub { url, requests }
    }

    /// The number of requests since the last count.
    pub fn count(&self) -> usize {
        self.requests.try_iter().count()
    }
}

/// An address at which nothing listens.
pub fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}
