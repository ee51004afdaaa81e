//! A stream through Keydesk, chunk by chunk: the upstream writes a chunk only after the previous one has arrived
//! at the client. A proxy that held a chunk back would wait forever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

const CHUNKS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(5);
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const BODY: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Count to twenty."}]}"#;

/// An upstream whose streams are written chunk by chunk.
pub(crate) struct Upstream {
    /// The address on which it listens.
    pub(crate) address: SocketAddr,
    arrived: Sender<()>,
}

impl Upstream {
    /// Starts it in a thread.
    pub(crate) fn start() -> Result<Upstream> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (arrived, next) = channel();
        let next = Arc::new(Mutex::new(next));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let next = next.clone();
                // The client notices a broken connection.
                thread::spawn(move || drop(serve(&connection, &next)));
            }
        });
        Ok(Upstream { address, arrived })
    }

    /// The time from a request to the end of its stream, in milliseconds.
    pub(crate) fn time(&self, asked: SocketAddr, key: &str) -> Result<f64> {
        let mut connection = TcpStream::connect(asked)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {asked}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        let began = Instant::now();
        connection.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        for number in 0..CHUNKS {
            let wanted = format!("\"n\":{number}}}");
            while !line.contains(&wanted) {
                line.clear();
                let read = reader.read_line(&mut line);
                let length = read.with_context(|| format!("chunk {number} is held back"))?;
                ensure!(length > 0, "the stream ends before chunk {number}");
            }
            self.arrived.send(())?;
        }
        while line != "0\r\n" {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "the stream does not end");
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}

/// Answers requests on one connection until it is closed.
fn serve(mut connection: &TcpStream, next: &Mutex<Receiver<()>>) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        connection.write_all(HEAD.as_bytes())?;
        for number in 0..CHUNKS {
            let event =
                format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"w \"}}}}],\"n\":{number}}}\n\n");
            connection.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
            next.lock().map_err(|_| anyhow!("another stream failed"))?.recv()?;
        }
        connection.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")?;
    }
}
