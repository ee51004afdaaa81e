//! Reads request bodies. Only the gate does this, before the handler.
//!
//! A body has a maximum size (counted after decompression), must keep arriving, must be complete in time, and
//! needs room in the process's [`Budget`](super::budget::Budget).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::web::Shared;
use crate::web::body::BodyLimit;
use crate::web::body::budget::{Reservation, Sender};
use crate::web::body::sink::{Buffer, Most, Sink};
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

/// Reads the body of a request and puts it back, in memory, where extractors find it. `limit` is its maximum
/// size; without it, and for safe methods, the body is not read and handlers see none.
///
/// Errors: 408 if it is too slow, 413 if it is too large, 415 for an unknown encoding, 429 if the sender's share
/// of the budget is used up, 503 if the budget is, 400 if it breaks off.
pub async fn buffer(
    request: &mut ServiceRequest,
    limit: Option<BodyLimit>,
    sender: impl FnOnce(&ServiceRequest) -> Sender,
) -> Result<(), Problem> {
    let payload = request.take_payload();
    let Some(limit) = limit.filter(|_| !request.method().is_safe()) else { return Ok(()) };
    if matches!(payload, Payload::None) {
        return Ok(());
    }
    let Some(site) = request.app_data::<Shared>() else { return Err(Problem::not_found()) };
    let most = Most { limit, size: limit.size(&site.bodies) };
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
    most: Most,
    reservation: Reservation,
) -> Result<(Bytes, Option<Arc<Reservation>>), Problem> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| most.is_exceeded_by(length)) {
        return Err(most.problem());
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
        if most.is_exceeded_by(arrived.1) {
            return Err(most.problem());
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

fn too_slow() -> Problem {
    Problem::new(
        Code::RequestTimeout,
        "The body did not arrive in time, so nothing was changed. Send it again, all at once.",
    )
}

fn broken_off() -> Problem {
    Problem::bad_request("The request body was incomplete, so nothing was changed. Send it again.")
}
