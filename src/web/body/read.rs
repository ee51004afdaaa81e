//! Reads request bodies. Only the gate does this, before the handler.
//!
//! A body has a maximum size (counted after decompression), must keep arriving, must be complete in time, and
//! needs room in the process's [`Budget`](super::budget::Budget).

use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::web::Shared;
use crate::web::body::budget::{NoRoom, Reservation, Sender};
use crate::web::connections::Receiving;
use crate::web::problem::{Code, Problem};

/// How long a client may pause while its body is incomplete.
const IDLE: Duration = Duration::from_secs(10);
/// How long a body of 64 KiB or less may take.
const TOTAL: Duration = Duration::from_secs(30);
/// A larger body gets one more second for each of these blocks that has arrived.
const BYTES_PER_SECOND: usize = 64 * 1024;
/// A body that arrives in one piece and is no larger stays in the connection's own buffer and needs no
/// reservation.
const AT_ONCE: usize = 16 * 1024;
/// The minimum growth of a body's buffer, in bytes.
const SHORTEST_STEP: usize = 4 * 1024;
/// The maximum growth of a body's buffer, in bytes.
const LONGEST_STEP: usize = 1024 * 1024;

/// Reads the body of a request and puts it back, in memory, where extractors find it. `most` is its maximum
/// size in bytes; without it, and for safe methods, the body is not read and handlers see none.
///
/// Errors: 408 if it is too slow, 413 if it is too large, 415 for an unknown encoding, 429 if the sender's share
/// of the budget is used up, 503 if the budget is, 400 if it breaks off.
pub async fn buffer(
    request: &mut ServiceRequest,
    most: Option<usize>,
    sender: impl FnOnce(&ServiceRequest) -> Sender,
) -> Result<(), Problem> {
    let payload = request.take_payload();
    let Some(most) = most.filter(|_| !request.method().is_safe()) else { return Ok(()) };
    if matches!(payload, Payload::None) {
        return Ok(());
    }
    let Some(site) = request.app_data::<Shared>() else { return Err(Problem::not_found()) };
    let reservation = Reservation::new(site.bodies.clone(), sender(request));
    let _receiving = Receiving::new(request.request());
    // Boxed, so that requests without a body don't carry its state.
    let (bytes, reservation) = Box::pin(read(request.headers(), payload, most, reservation)).await?;
    if !bytes.is_empty() {
        request.set_payload(bytes.into());
    }
    if let Some(reservation) = reservation {
        // A handler's copy of the body may be as large, so the reservation lasts until the response begins.
        request.extensions_mut().insert(Reserved(reservation));
    }
    Ok(())
}

/// The reservation of a request's body.
struct Reserved(#[allow(dead_code, reason = "held until the request is over")] Arc<Reservation>);

/// The body that [`buffer`] has put back.
pub async fn buffered(mut payload: Payload) -> Result<Bytes, Problem> {
    match payload.next().await {
        None => Ok(Bytes::new()),
        // The gate puts the body back in one piece.
        Some(bytes) => bytes.map_err(|_| broken_off()),
    }
}

async fn read(
    headers: &HeaderMap,
    mut payload: Payload,
    most: usize,
    reservation: Reservation,
) -> Result<(Bytes, Option<Arc<Reservation>>), Problem> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let mut sink = Sink::new(headers, Buffer::new(most, declared, reservation))?;
    let started = Instant::now();
    let mut arrived = (started, 0);
    let mut clock = pin!(sleep_until(started + IDLE));
    loop {
        let part = tokio::select! {
            biased;
            part = payload.next() => part,
            () = &mut clock => {
                let allowed = TOTAL + Duration::from_secs((arrived.1 / BYTES_PER_SECOND) as u64);
                let end = (arrived.0 + IDLE).min(started + allowed);
                if end <= Instant::now() {
                    return Err(too_slow());
                }
                clock.as_mut().reset(end);
                continue;
            }
        };
        let Some(part) = part else { break };
        let part = part.map_err(|_| broken_off())?;
        if arrived.1 == 0 && declared == Some(part.len()) && part.len() <= AT_ONCE && sink.is_plain() {
            return Ok((part, None));
        }
        arrived = (Instant::now(), arrived.1 + part.len());
        // Compressed bytes may decompress to nothing, and could otherwise arrive forever.
        if arrived.1 > most {
            return Err(too_large(most));
        }
        // The clock above fires only when the client pauses, so a steady sender is checked here.
        if arrived.0 > started + TOTAL + Duration::from_secs((arrived.1 / BYTES_PER_SECOND) as u64) {
            return Err(too_slow());
        }
        sink.take(&part)?;
    }
    sink.end()
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The destination of a body's bytes: a buffer, behind a decompressor if necessary.
enum Sink {
    Plain(Buffer),
    Gzip(GzDecoder<Buffer>),
    Deflate(ZlibDecoder<Buffer>),
}

impl Sink {
    fn new(headers: &HeaderMap, buffer: Buffer) -> Result<Sink, Problem> {
        let mut encodings = headers.get_all(header::CONTENT_ENCODING);
        let encoding =
            encodings.next().map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match (encoding.as_deref(), encodings.next()) {
            (None | Some("identity" | ""), None) => Ok(Sink::Plain(buffer)),
            (Some("gzip" | "x-gzip"), None) => Ok(Sink::Gzip(GzDecoder::new(buffer.compressed()))),
            (Some("deflate"), None) => Ok(Sink::Deflate(ZlibDecoder::new(buffer.compressed()))),
            _ => Err(Problem::new(
                Code::UnsupportedMediaType,
                "Send the body without Content-Encoding, or with gzip or deflate.",
            )),
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Sink::Plain(_))
    }

    fn take(&mut self, part: &[u8]) -> Result<(), Problem> {
        let done = match self {
            Sink::Plain(buffer) => buffer.write_all(part),
            Sink::Gzip(decoder) => decoder.write_all(part),
            Sink::Deflate(decoder) => decoder.write_all(part),
        };
        done.map_err(|error| self.problem(&error))
    }

    fn end(mut self) -> Result<(Bytes, Option<Arc<Reservation>>), Problem> {
        let done = match &mut self {
            Sink::Plain(_) => Ok(()),
            Sink::Gzip(decoder) => decoder.try_finish(),
            Sink::Deflate(decoder) => decoder.try_finish(),
        };
        done.map_err(|error| self.problem(&error))?;
        let buffer = match self {
            Sink::Plain(buffer) => Ok(buffer),
            Sink::Gzip(decoder) => decoder.finish(),
            Sink::Deflate(decoder) => decoder.finish(),
        };
        buffer.map(Buffer::into_bytes).map_err(|_| broken_off())
    }

    fn problem(&mut self, error: &std::io::Error) -> Problem {
        let buffer = match self {
            Sink::Plain(buffer) => buffer,
            Sink::Gzip(decoder) => decoder.get_mut(),
            Sink::Deflate(decoder) => decoder.get_mut(),
        };
        buffer.refused.take().unwrap_or_else(|| {
            tracing::debug!(%error, "a compressed body can't be read");
            Problem::bad_request("The compressed body can't be read.")
        })
    }
}

/// The bytes of a body, never more than reserved.
struct Buffer {
    bytes: Vec<u8>,
    most: usize,
    expected: Option<usize>,
    reservation: Reservation,
    /// Why it accepts no more bytes.
    refused: Option<Problem>,
}

impl Buffer {
    fn new(most: usize, expected: Option<usize>, reservation: Reservation) -> Buffer {
        Buffer { bytes: Vec::new(), most, expected, reservation, refused: None }
    }

    /// For compressed bodies: the declared length is that of the compressed bytes.
    fn compressed(self) -> Buffer {
        Buffer { expected: None, ..self }
    }

    /// Makes room for this many more bytes.
    fn make_room(&mut self, more: usize) -> Result<(), Problem> {
        let needed = self.bytes.len() + more;
        if needed > self.most {
            return Err(too_large(self.most));
        }
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let step = self.bytes.len().clamp(SHORTEST_STEP, LONGEST_STEP);
        let wanted = (self.bytes.len() + step).min(self.expected.unwrap_or(self.most)).max(needed);
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

impl Write for Buffer {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if let Err(problem) = self.make_room(part.len()) {
            self.refused = Some(problem);
            return Err(std::io::Error::other("the buffer is full"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(
        Code::PayloadTooLarge,
        format!("The body is larger than the {} KiB that this route accepts.", most / 1024),
    )
}

fn too_slow() -> Problem {
    Problem::new(
        Code::RequestTimeout,
        "The body did not arrive in time, so nothing was changed. Send it again, all at once.",
    )
}

fn broken_off() -> Problem {
    Problem::bad_request("The request body was incomplete, so nothing was changed. Send it again.")
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
