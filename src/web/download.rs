//! File downloads that are streamed at the client's pace: a long file needs no more memory than a short
//! one.

use std::future::Future;

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use futures_util::{Stream, stream};

use crate::error::Result;
use crate::time::Time;

/// The head of a download: a file about an organisation, created today.
pub fn head(kind: &str, (what, org, ending): (&str, &str, &str), now: Time) -> HttpResponseBuilder {
    let name = format!("keydesk-{what}-{org}-{}.{ending}", &now.rfc3339()[..10]);
    let mut response = HttpResponse::Ok();
    response
        .content_type(kind)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
    response
}

/// The parts of a file, from `begin` on. `read` returns a part and where the next one begins, if there is one.
/// An error aborts the response, so that no client takes a part for the whole.
pub fn parts<P, F, R>(begin: P, read: F) -> impl Stream<Item = Result<web::Bytes>>
where
    F: Fn(P) -> R,
    R: Future<Output = Result<(String, Option<P>)>>,
{
    stream::unfold(Some(begin), move |place| {
        let part = place.map(&read);
        async move {
            match part?.await {
                Ok((text, next)) => Some((Ok(text.into()), next)),
                Err(error) => {
                    tracing::warn!(cause = ?error, "an export failed");
                    Some((Err(error), None))
                }
            }
        }
    })
}
