//! `/v1/api-keys/{id}/rotate` and `…/rotation`: rotates keys, and moves or ends the overlap.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::created_secret;
use crate::api::keys::{answer, parse_id};
use crate::error::Error;
use crate::keys::input::NO_INSTANT;
use crate::keys::rotation::{self, parse_overlap};
use crate::path;
use crate::time::Time;
use crate::web::Shared;
use crate::web::body::{Json, OptionalJson};
use crate::web::idempotency::{self, Claim};
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

/// The body of a rotation.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How long the old secret keeps working: `0s` to `30d`, `24h` if left out; at least `1h` for a key that
    /// rotates itself.
    #[schema(pattern = "^[0-9]+[smhd]$")]
    overlap: Option<String>,
}

/// `POST /v1/api-keys/{id}/rotate`: rotates a key. Only this response contains the new secret.
pub async fn rotate(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
    body: OptionalJson<RotateBody>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let id = parse_id(&path)?;
    let name = idempotency::header(&request)?;
    let overlap = parse_overlap(body.0.overlap.as_deref())?;
    let change = caller.change(&request, now);
    let claim = name.map(|name| {
        let route = format!("POST {}", path::v1_api_key_rotate(&id));
        // An empty body and the default overlap are the same request.
        let request_text = format!("overlap {overlap}");
        let (keyring, org, proof) = (&site.defaults.keyring, caller.key.org, caller.secret.expose());
        Claim::new(keyring, org, proof, &route, &name, request_text.as_bytes())
    });
    let _place = claim.as_ref().map(|claim| site.running.enter(claim)).transpose()?;
    let defaults = site.defaults.clone();
    let made = change.commit(&site.db, move |tx, acting| {
        created_secret::once(tx, claim.as_ref(), &defaults.keyring, now, |tx| {
            rotation::rotate(tx, acting, &defaults, id, overlap)
        })
    });
    Ok(created_secret::answer(StatusCode::OK, made.await??)?)
}

/// The body of a change to the overlap.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationBody {
    /// Until when the old secret works: at most its own expiry, and 30 days after the rotation.
    #[schema(format = DateTime)]
    ends_at: String,
}

/// `POST /v1/api-keys/{id}/rotation`: moves the end of the overlap.
pub async fn move_end(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
    body: Json<RotationBody>,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&path)?;
    let to = Time::parse(&body.value.ends_at).ok_or_else(|| Error::invalid("ends_at", NO_INSTANT))?;
    let change = caller.change(&request, Time::now());
    let key = change.commit(&site.db, move |tx, acting| rotation::move_end(tx, acting, id, to)).await?;
    Ok(answer(&key))
}

/// `DELETE /v1/api-keys/{id}/rotation`: ends the overlap now.
pub async fn end(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&path)?;
    let change = caller.change(&request, Time::now());
    let key = change.commit(&site.db, move |tx, acting| rotation::end(tx, acting, id)).await?;
    Ok(answer(&key))
}
