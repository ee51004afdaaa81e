//! The content of responses, without its encoding.

use std::pin::Pin;
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

use crate::gateway::reply::{Interruption, Parts};
use crate::gateway::upstream::failure::{self, BreakOff, Cut, Patience};
use crate::web::encoding::{Decoder, Encoding};
use crate::web::ticket::Ticket;

/// The size of a decoded part, in bytes.
const STEP: usize = 16 * 1024;

/// The content of a response as it arrives.
pub(super) type Content = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>>>>;

/// The decoders that a response needs; `None` if its encoding is unknown.
pub(super) fn encodings(headers: &HeaderMap) -> Option<Vec<Encoding>> {
    Encoding::list(headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes)).ok()
}

/// The content of a response as it was sent. `patience` is how long the upstream may stay silent.
pub(super) fn raw(response: reqwest::Response, patience: Patience) -> Content {
    Box::pin(response.bytes_stream().map(move |part| {
        part.map_err(|error| match error.is_timeout() {
            true => Cut::Silence(patience),
            false => Cut::Broken(failure::chain(&error.without_url())),
        })
    }))
}

/// Decodes content step by step: what has arrived is passed on at once, and no part takes more memory than another.
pub(super) fn decoded(content: Content, encodings: &[Encoding]) -> Content {
    let decoder = Decoder::new(encodings);
    let state = Decoding { content, decoder, part: Bytes::new(), buffer: vec![0; STEP].into() };
    let decoded = stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) });
    // After the beginning of an error response was read, which may be all, the rest is read again.
    Box::pin(decoded.fuse())
}

struct Decoding {
    content: Content,
    decoder: Decoder,
    /// What was not decoded yet of the last part.
    part: Bytes,
    buffer: Box<[u8]>,
}

impl Decoding {
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let broken = |error: std::io::Error| Some(Err(Cut::Undecodable(error.to_string())));
        loop {
            let mut rest = &self.part[..];
            let decoded = self.decoder.decode(&mut rest, &mut self.buffer);
            let read = self.part.len() - rest.len();
            self.part = self.part.slice(read..);
            match decoded {
                Err(error) => return broken(error),
                Ok(0) => {}
                Ok(length) => return Some(Ok(Bytes::copy_from_slice(&self.buffer[..length]))),
            }
            match self.content.next().await {
                Some(Ok(part)) => self.part = part,
                Some(Err(cut)) => return Some(Err(cut)),
                None => return self.decoder.finish().err().and_then(broken),
            }
        }
    }
}

/// Content that is passed on. What cuts it short names the request, so that it can be reported; nothing follows it.
pub(super) fn passed_on(content: Content, ticket: Ticket) -> Parts {
    Box::pin(stream::unfold(Some((content, ticket)), |state| async move {
        let (mut content, ticket) = state?;
        match content.next().await? {
            Ok(part) => Some((Ok(part), Some((content, ticket)))),
            Err(cut) => Some((Err(Interruption::Upstream(BreakOff { ticket, cut })), None)),
        }
    }))
}

/// Reads at most this much of the beginning of content, within a time. Returns whether it is all.
pub(super) async fn beginning(content: &mut Content, most: usize, patience: Duration) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let read = async {
        while let Some(Ok(part)) = content.next().await {
            bytes.extend_from_slice(&part);
            if bytes.len() >= most {
                return false;
            }
        }
        true
    };
    let is_whole = tokio::time::timeout(patience, read).await.unwrap_or(false);
    (bytes, is_whole)
}
