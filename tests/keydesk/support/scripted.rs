//! Upstreams that send prepared bytes, and requests whose bytes a test writes itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder};

use super::{Api, Server};

/// A chat completion as an upstream sends it.
pub const CHAT: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;

/// A response, whole.
pub fn response(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        text.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// An upstream that answers each request with the next of these and then closes the connection. The channel gets the
/// requests.
pub fn scripted(responses: Vec<Vec<u8>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for response in responses {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let request = read_request(&mut stream);
            let _ = sender.send(request);
            let _ = stream.write_all(&response);
        }
    });
    (url, receiver)
}

/// Reads one request with a declared length.
pub fn read_request(stream: &mut TcpStream) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 64 * 1024]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(length) => bytes.extend_from_slice(&part[..length]),
        }
    }
}

/// The bytes of a response: its head, and its body as it was sent.
pub struct RawAnswer {
    pub head: String,
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a POST request with these bytes and reads to the end of the connection.
pub fn post_raw(
    server: &Server,
    api: &Api,
    path: &str,
    version: &str,
    headers: &str,
    body: &[u8],
) -> RawAnswer {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST {path} {version}\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        api.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too large is refused before its end, and bytes that nobody reads would reset the connection.
    for part in body.chunks(64 * 1024) {
        let wait = if body.len() > 1024 * 1024 { 2 } else { 20 };
        stream.set_read_timeout(Some(Duration::from_millis(wait))).unwrap();
        let is_answered = body.len() > 16 * 1024 && stream.peek(&mut [0]).is_ok();
        if is_answered || stream.write_all(part).is_err() {
            break;
        }
    }
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response");
    RawAnswer { head: String::from_utf8_lossy(&bytes[..end]).into_owned(), body: bytes[end + 4..].to_vec() }
}

/// Every encoding that Keydesk decodes; `zlib` is what `deflate` stands for, `deflate` what some send instead.
pub const ENCODINGS: [&str; 5] = ["gzip", "zlib", "deflate", "br", "zstd"];

/// The name of an encoding in `Content-Encoding`.
pub fn coding(encoding: &str) -> &str {
    if encoding == "zlib" { "deflate" } else { encoding }
}

/// Encodes texts, each so that it can be decoded before the next arrives. The last part is the end.
pub fn encode(encoding: &str, texts: &[&[u8]]) -> Vec<Vec<u8>> {
    let flate = || FlateEncoderParams::from(Level::Default);
    let mut encoder: Box<dyn EncodeV2> = match encoding {
        "gzip" => Box::new(GzipEncoder::new(flate())),
        "zlib" => Box::new(ZlibEncoder::new(flate())),
        "deflate" => Box::new(DeflateEncoder::new(flate())),
        "br" => Box::new(BrotliEncoder::new(EncoderParams::default().quality(Level::Precise(3)))),
        "zstd" => Box::new(ZstdEncoder::new(3)),
        _ => panic!("{encoding}"),
    };
    let most = texts.iter().map(|text| text.len()).max().unwrap_or_default() + 64 * 1024;
    let mut buffer = vec![0; most];
    let mut parts = Vec::new();
    for text in texts {
        let mut output = WriteBuffer::new_initialized(&mut buffer);
        let mut input = PartialBuffer::new(*text);
        while !input.unwritten().is_empty() {
            encoder.encode(&mut input, &mut output).unwrap();
        }
        assert!(encoder.flush(&mut output).unwrap());
        parts.push(output.written().to_vec());
    }
    let mut output = WriteBuffer::new_initialized(&mut buffer);
    assert!(encoder.finish(&mut output).unwrap());
    parts.push(output.written().to_vec());
    parts
}
