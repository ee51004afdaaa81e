//! The destination of a body's bytes: its decoder, and the buffer in memory, whose size is limited and reserved.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Bytes;

use crate::config::ByteSize;
use crate::web::body::budget::{Budget, NoRoom, Reservation};
use crate::web::body::{BodyLimit, MAX_BODY};
use crate::web::encoding::{self, Decoder, Encoding};
use crate::web::problem::{Code, Problem};

/// The minimum growth of a body's buffer, in bytes.
const SHORTEST_STEP: usize = 4 * 1024;
/// The maximum growth of a body's buffer, in bytes.
const LONGEST_STEP: usize = 1024 * 1024;
/// How many bytes are decoded at once.
const STEP: usize = 16 * 1024;

impl BodyLimit {
    pub(super) fn size(self, budget: &Budget) -> ByteSize {
        match self {
            BodyLimit::Management => ByteSize(MAX_BODY),
            BodyLimit::Gateway => budget.max_body(),
        }
    }
}

/// The maximum size of a body, and why.
#[derive(Clone, Copy)]
pub(super) struct Most {
    pub(super) limit: BodyLimit,
    pub(super) size: ByteSize,
}

impl Most {
    pub(super) fn is_exceeded_by(self, bytes: usize) -> bool {
        bytes > self.size.0
    }

    pub(super) fn problem(self) -> Problem {
        let size = self.size;
        let detail = match self.limit {
            BodyLimit::Management => format!("The body is larger than the {size} that this route accepts."),
            BodyLimit::Gateway => format!(
                "The body is larger than {size}, the most that this server accepts. Send less, or ask the operator \
                 to raise KEYDESK_MAX_BODY."
            ),
        };
        Problem::new(Code::PayloadTooLarge, detail)
    }
}

/// The destination of a body's bytes: a buffer, behind a decoder if necessary.
pub(super) enum Sink {
    Plain(Buffer),
    Encoded(Encoded),
}

pub(super) struct Encoded {
    encodings: Vec<Encoding>,
    decoder: Decoder,
    step: Box<[u8]>,
    buffer: Buffer,
}

impl Sink {
    pub(super) fn new(headers: &HeaderMap, buffer: Buffer) -> Result<Sink, Problem> {
        let values = headers.get_all(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let encodings = Encoding::list(values).map_err(|_| {
            // RFC 9110 section 15.5.16.
            Problem::new(
                Code::UnsupportedMediaType,
                "Send the body without Content-Encoding, or with gzip, deflate, br or zstd.",
            )
            .with_header(header::ACCEPT_ENCODING, encoding::ACCEPTED)
        })?;
        if encodings.is_empty() {
            return Ok(Sink::Plain(buffer));
        }
        let decoder = Decoder::new(&encodings);
        let step = vec![0; STEP].into_boxed_slice();
        // The declared length is that of the encoded bytes.
        Ok(Sink::Encoded(Encoded { encodings, decoder, step, buffer: Buffer { expected: None, ..buffer } }))
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Sink::Plain(_))
    }

    pub(super) fn take(&mut self, part: &[u8]) -> Result<(), Problem> {
        match self {
            Sink::Plain(buffer) => buffer.add(part),
            Sink::Encoded(encoded) => encoded.take(part),
        }
    }

    pub(super) fn end(self) -> Result<(Bytes, Option<Arc<Reservation>>), Problem> {
        match self {
            Sink::Plain(buffer) => Ok(buffer.into_bytes()),
            Sink::Encoded(mut encoded) => {
                encoded.decoder.finish().map_err(|error| cannot_decode(&error))?;
                encoded.buffer.reservation.release_decoder();
                Ok(encoded.buffer.into_bytes())
            }
        }
    }
}

impl Encoded {
    fn take(&mut self, mut part: &[u8]) -> Result<(), Problem> {
        loop {
            let decoded = self.buffer.bytes.len() + self.step.len();
            let memory = self.encodings.iter().map(|encoding| encoding.memory(decoded)).sum();
            self.buffer.reservation.raise_decoder_to(memory).map_err(no_room)?;
            match self.decoder.decode(&mut part, &mut self.step).map_err(|error| cannot_decode(&error))? {
                0 => return Ok(()),
                length => self.buffer.add(&self.step[..length])?,
            }
        }
    }
}

fn cannot_decode(error: &std::io::Error) -> Problem {
    tracing::debug!(%error, "a compressed body can't be read");
    Problem::bad_request("The compressed body can't be read: it is incomplete or damaged.")
}

/// The bytes of a body, never more than reserved.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    most: Most,
    expected: Option<usize>,
    reservation: Reservation,
}

impl Buffer {
    pub(super) fn new(most: Most, expected: Option<usize>, reservation: Reservation) -> Buffer {
        Buffer { bytes: Vec::new(), most, expected, reservation }
    }

    /// Adds bytes.
    fn add(&mut self, part: &[u8]) -> Result<(), Problem> {
        self.make_room(part.len())?;
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Makes room for this many more bytes.
    fn make_room(&mut self, more: usize) -> Result<(), Problem> {
        let needed = self.bytes.len() + more;
        if self.most.is_exceeded_by(needed) {
            return Err(self.most.problem());
        }
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let step = self.bytes.len().clamp(SHORTEST_STEP, LONGEST_STEP);
        let wanted = (self.bytes.len() + step).min(self.expected.unwrap_or(self.most.size.0)).max(needed);
        self.reservation.raise_to(wanted).map_err(no_room)?;
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }

    /// The bytes, which hold the reservation until the last reference is dropped.
    fn into_bytes(self) -> (Bytes, Option<Arc<Reservation>>) {
        struct Owned(Vec<u8>, #[allow(dead_code, reason = "held until the bytes go")] Arc<Reservation>);
        impl AsRef<[u8]> for Owned {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let reservation = Arc::new(self.reservation);
        (Bytes::from_owner(Owned(self.bytes, reservation.clone())), Some(reservation))
    }
}

fn no_room(full: NoRoom) -> Problem {
    let problem = match full {
        NoRoom::Share => Problem::new(
            Code::RateLimited,
            "Too many request bodies from you are being received at once. Wait until some are answered.",
        ),
        NoRoom::Pool => Problem::new(
            Code::Unavailable,
            "Too many request bodies are being received at once. Nothing was changed. Try again in a moment.",
        ),
    };
    problem.with_header(header::RETRY_AFTER, "1")
}
