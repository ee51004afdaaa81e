//! Responses that contain a new secret once, and their replay by `Idempotency-Key`.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde_json::Value;

use crate::api::object;
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::Key;
use crate::keys::secret::PlainSecret;
use crate::path;
use crate::time::Time;
use crate::web::idempotency::{Claim, ClaimError, EarlierResponse};

/// A secret created for this request, or for an earlier identical one.
pub(super) enum CreatedSecret {
    /// Created now, with the key object.
    Now(Value, PlainSecret),
    Before(EarlierResponse),
}

/// Creates a secret, unless an earlier request with the same idempotency key has created it.
pub(super) fn once(
    tx: &mut Tx<'_>,
    claim: Option<&Claim>,
    keyring: &Keyring,
    now: Time,
    create: impl FnOnce(&mut Tx<'_>) -> Result<(Key, PlainSecret)>,
) -> Result<Result<CreatedSecret, ClaimError>> {
    if let Some(claim) = claim {
        match claim.take(tx, keyring, now) {
            Ok(None) => {}
            Ok(Some(earlier)) => return Ok(Ok(CreatedSecret::Before(earlier))),
            Err(ClaimError::Failed(error)) => return Err(error),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    let (key, secret) = create(tx)?;
    let answer = object::key(&key, now);
    if let Some(claim) = claim {
        claim.keep(tx, keyring, &answer.to_string(), secret.expose())?;
    }
    Ok(Ok(CreatedSecret::Now(answer, secret)))
}

/// The response with the key object and its secret.
pub(super) fn answer(status: StatusCode, created: CreatedSecret) -> Result<HttpResponse> {
    let (mut object, secret, replayed) = match created {
        CreatedSecret::Now(object, secret) => (object, Some(secret.expose().to_owned().into()), false),
        CreatedSecret::Before(earlier) => {
            (serde_json::from_str(&earlier.answer).map_err(Error::internal)?, earlier.secret, true)
        }
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if status == StatusCode::CREATED
        && let Some(id) = object["id"].as_str().and_then(KeyId::parse)
    {
        response.insert_header((header::LOCATION, path::v1_api_key(&id).as_str()));
    }
    if replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    let secret: Option<zeroize::Zeroizing<String>> = secret;
    object["key"] = secret.as_ref().map(|secret| secret.as_str()).into();
    if secret.is_none() {
        object["code"] = "secret_already_shown".into();
    }
    Ok(response.json(object))
}
