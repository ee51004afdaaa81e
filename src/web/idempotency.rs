//! `Idempotency-Key`: the same request sent twice acts once
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! The row is written in the transaction of the effect. It is claimed first, so that of two processes the
//! second waits for the first instead of doing the work again. The secret in a response is sealed for ten minutes
//! under a key that only the same client with the same idempotency key can derive.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use actix_web::HttpRequest;
use diesel::prelude::*;

use crate::crypto::{self, Digest, Keyring};
use crate::db::{Tx, violates};
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::schema::idempotency_keys as rows;
use crate::time::{DAY, MINUTE, Time};
use crate::web::form::Fields;
use crate::web::problem::{Code, Problem};

/// How long the secret in a response can be repeated, in seconds.
pub const SECRET_KEPT: i64 = 10 * MINUTE;
/// How long a response is kept, in seconds.
const KEPT: i64 = DAY;

/// Parses the header: bare or quoted, 1 to 255 of `[A-Za-z0-9._:-]`.
pub fn header(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let wrong = || {
        Problem::bad_request(
            "Idempotency-Key must be 1 to 255 characters of A-Z, a-z, 0-9, `.`, `_`, `:`, `-`.",
        )
    };
    let mut values = request.headers().get_all("idempotency-key");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(wrong());
    }
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
        return Err(wrong());
    }
    Ok(Some(text.to_owned()))
}

/// One idempotent request.
#[derive(Clone)]
pub struct Claim {
    org: OrgId,
    digest: Digest,
    request: Digest,
    seal: Vec<u8>,
}

/// The response to an earlier request with the same key.
pub struct EarlierResponse {
    /// The response, without the secret.
    pub answer: String,
    /// The secret, while it can be repeated.
    pub secret: Option<zeroize::Zeroizing<String>>,
}

impl Claim {
    /// A request by a client with `proof` (the presented key or the person's id), to `route`, with the
    /// idempotency key `name` and this body.
    pub fn new(keyring: &Keyring, org: OrgId, proof: &str, route: &str, name: &str, body: &[u8]) -> Claim {
        let mac = &keyring.idempotency;
        // With lengths, so that no two lists of parts have the same text.
        let parts = [proof, route, name].map(|part| format!("{}:{part}", part.len())).concat();
        Claim {
            org,
            digest: mac.digest(format!("key {parts}").as_bytes()),
            request: mac.digest(&[b"request ", crypto::sha256(body).as_slice()].concat()),
            seal: parts.into_bytes(),
        }
    }

    /// Of a form whose field `form` holds a random value: the same form with the same values, sent
    /// twice by one person, is one request. `None` for a form without that value.
    pub fn of_form(
        keyring: &Keyring,
        org: OrgId,
        person: UserId,
        route: &str,
        form: &Fields,
    ) -> Option<Claim> {
        let nonce = form.get("form");
        if nonce.is_empty() || nonce.len() > 64 {
            return None;
        }
        let values: Vec<_> = form.pairs().filter(|(name, _)| name != "form").collect();
        let text = format!("{values:?}");
        let name = format!("{nonce}:{}", hex::encode(crypto::sha256(text.as_bytes())));
        Some(Claim::new(keyring, org, &person.to_string(), route, &name, text.as_bytes()))
    }

    /// Claims the key in a transaction that then does the work, or returns the earlier response. Errors:
    /// [`ClaimError::Other`] if the earlier request was a different one.
    pub fn take(
        &self,
        tx: &mut Tx<'_>,
        keyring: &Keyring,
        now: Time,
    ) -> Result<Option<EarlierResponse>, ClaimError> {
        if let Some(earlier) = self.find(tx, keyring, now)? {
            return Ok(Some(earlier));
        }
        let inserted = diesel::insert_into(rows::table)
            .values((
                rows::digest.eq(self.digest.as_slice()),
                rows::org_id.eq(self.org),
                rows::request.eq(self.request.as_slice()),
                rows::created_at.eq(now),
            ))
            .execute(tx.conn);
        match inserted {
            Ok(_) => Ok(None),
            // Another process has just answered it; the next attempt will find its response.
            Err(error) if violates(&error, "idempotency_keys_pkey", "idempotency_keys.digest") => {
                Err(ClaimError::Running)
            }
            Err(error) => Err(ClaimError::Failed(error.into())),
        }
    }

    /// Stores the response, in the same transaction.
    pub fn keep(&self, tx: &mut Tx<'_>, keyring: &Keyring, answer: &str, secret: &str) -> Result<()> {
        let sealed = keyring.seal(&self.seal, secret.as_bytes())?;
        diesel::update(rows::table.find(self.digest.as_slice()))
            .set((rows::answer.eq(answer), rows::sealed.eq(sealed)))
            .execute(tx.conn)?;
        Ok(())
    }

    fn find(
        &self,
        tx: &mut Tx<'_>,
        keyring: &Keyring,
        now: Time,
    ) -> Result<Option<EarlierResponse>, ClaimError> {
        type Row = (Vec<u8>, Option<String>, Option<Vec<u8>>, Time);
        let row: Option<Row> = rows::table
            .find(self.digest.as_slice())
            .filter(rows::org_id.eq(self.org).and(rows::created_at.gt(now.plus(-KEPT))))
            .select((rows::request, rows::answer, rows::sealed, rows::created_at))
            .first(tx.conn)
            .optional()?;
        let Some((request, answer, sealed, created_at)) = row else {
            diesel::delete(rows::table.find(self.digest.as_slice())).execute(tx.conn)?;
            return Ok(None);
        };
        if !crypto::constant_time_eq(&request, &self.request) {
            return Err(ClaimError::Other);
        }
        let secret = sealed
            .filter(|_| now.since(created_at) < SECRET_KEPT)
            .and_then(|sealed| keyring.open(&self.seal, &sealed))
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .map(zeroize::Zeroizing::new);
        Ok(Some(EarlierResponse { answer: answer.unwrap_or_default(), secret }))
    }
}

/// Why an idempotency key could not be claimed.
#[derive(Debug)]
pub enum ClaimError {
    /// It was used for a different request.
    Other,
    /// Its first request is still being processed.
    Running,
    Failed(Error),
}

impl From<Error> for ClaimError {
    fn from(error: Error) -> ClaimError {
        ClaimError::Failed(error)
    }
}

impl From<diesel::result::Error> for ClaimError {
    fn from(error: diesel::result::Error) -> ClaimError {
        ClaimError::Failed(error.into())
    }
}

impl From<ClaimError> for Problem {
    fn from(refused: ClaimError) -> Problem {
        match refused {
            ClaimError::Other => {
                let detail =
                    "This Idempotency-Key was used with a different body. Use a new one for a new request.";
                Error::invalid("Idempotency-Key", detail).into()
            }
            ClaimError::Running => Problem::new(
                Code::IdempotencyConflict,
                "The first request with this Idempotency-Key is still being processed. Try again.",
            )
            .with_header(actix_web::http::header::RETRY_AFTER, "1"),
            ClaimError::Failed(error) => error.into(),
        }
    }
}

/// The requests with an idempotency key that this process is answering.
#[derive(Default)]
pub struct Running(Mutex<HashSet<Digest>>);

/// Marks a request as running until it is dropped.
pub struct RunningRequest<'a> {
    running: &'a Running,
    digest: Digest,
}

impl Running {
    /// Marks a request as running. Errors: `Running` if it already is.
    pub fn enter(&self, claim: &Claim) -> Result<RunningRequest<'_>, ClaimError> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.digest);
        if new {
            Ok(RunningRequest { running: self, digest: claim.digest })
        } else {
            Err(ClaimError::Running)
        }
    }
}

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// Deletes old responses, and secrets that can't be repeated any more.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(rows::table.filter(rows::created_at.le(now.plus(-KEPT)))).execute(tx.conn)?;
    diesel::update(
        rows::table.filter(rows::created_at.le(now.plus(-SECRET_KEPT)).and(rows::sealed.is_not_null())),
    )
    .set(rows::sealed.eq(None::<Vec<u8>>))
    .execute(tx.conn)?;
    Ok(())
}
