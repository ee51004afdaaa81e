//! `/v1/api-keys`: making, reading, changing and ending a key.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{minted, object};
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::draft::{Expiry, RawDraft, RawEdit, check_reason};
use crate::keys::manager::Manager;
use crate::keys::{Key, lifecycle, store};
use crate::time::Time;
use crate::web::Shared;
use crate::web::body::{Json, OptionalJson};
use crate::web::idempotency::{self, Claim};
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBody {
    /// 1 to 64 characters, unique among the organisation's living keys without regard to case.
    #[schema(min_length = 1)]
    name: String,
    /// At most 500 characters.
    #[serde(default)]
    description: Option<String>,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// Ends so many days of 86,400 seconds from now. Not together with `expires_at`.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3653)]
    expires_in_days: Option<i64>,
    /// Ends then, at most ten years from now and as far as the organisation's policy lets keys
    /// live. Left out, it never ends where the policy allows that, and is refused elsewhere.
    #[serde(default)]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// A member by id or e-mail address; the caller's owner if left out.
    #[serde(default)]
    owner: Option<String>,
    /// A member who gets its mails too.
    #[serde(default)]
    backup: Option<String>,
    /// Its limit, at most what the organisation's policy lets the caller choose. Left out, the
    /// policy's default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<i64>,
    /// Addresses or networks it may be used from; none is any.
    #[serde(default)]
    #[schema(max_items = 50)]
    allowed_ips: Option<Vec<String>>,
    /// Whether it may replace its own secret.
    #[serde(default)]
    self_rotate: Option<bool>,
}

/// `POST /v1/api-keys`: makes a key and shows it, this once.
pub async fn create(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    body: Json<CreateBody>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let name = idempotency::header(&request)?;
    let draft = draft(body.value)?.check(now).map_err(Error::Invalid)?;
    let change = caller.change(&request, now);
    let claim = name.map(|name| {
        let route = "POST /v1/api-keys";
        Claim::new(&site.mint.keyring, caller.key.org, caller.secret.expose(), route, &name, &body.bytes)
    });
    let _place = claim.as_ref().map(|claim| site.running.enter(claim)).transpose()?;
    let mint = site.mint.clone();
    let made = change.commit(&site.db, move |tx, acting| {
        minted::once(tx, claim.as_ref(), &mint.keyring, now, |tx| {
            lifecycle::create(tx, acting, &mint, &draft)
        })
    });
    Ok(minted::answer(StatusCode::CREATED, made.await??)?)
}

fn draft(body: CreateBody) -> Result<RawDraft> {
    let expiry = match (body.expires_in_days, body.expires_at) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("expires_at", "Send expires_in_days or expires_at, not both."));
        }
        (Some(days), None) => ("expires_in_days", Expiry::InDays(days)),
        (None, Some(text)) => ("expires_at", Expiry::parse(&text)),
        (None, None) => ("expires_at", Expiry::Never),
    };
    Ok(RawDraft {
        name: body.name,
        description: body.description.unwrap_or_default(),
        scopes: body.scopes,
        expiry,
        owner: body.owner,
        backup: body.backup,
        requests_per_minute: body.requests_per_minute,
        allowed_ips: body.allowed_ips.unwrap_or_default(),
        self_rotate: body.self_rotate.unwrap_or(false),
    })
}

/// `GET /v1/api-keys/self`: the caller's own key.
pub async fn show_self(site: Shared, caller: KeyCaller) -> Result<HttpResponse, Problem> {
    let (org, id) = (caller.key.org, caller.key.key);
    show_key(&site, org, id, None).await
}

/// `GET /v1/api-keys/{id}`.
pub async fn show(site: Shared, caller: KeyCaller, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let manager = caller.manager()?;
    show_key(&site, caller.key.org, parse_id(&path)?, Some(manager)).await
}

async fn show_key(
    site: &Shared,
    org: crate::id::OrgId,
    id: KeyId,
    manager: Option<Manager>,
) -> Result<HttpResponse, Problem> {
    let key = site.db.read(move |conn| store::find(conn, org, id)?.ok_or(Error::NotFound)).await?;
    if manager.is_some_and(|manager| !manager.sees(&key)) {
        return Err(Problem::not_found());
    }
    Ok(answer(&key))
}

/// Changes of a key: what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBody {
    // Refused by a code of its own.
    #[serde(default, deserialize_with = "present")]
    #[schema(ignore)]
    name: Option<Value>,
    /// At most 500 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    description: Option<String>,
    /// What it may do.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// When it ends; null is never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
    /// Its limit.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<i64>,
    /// Addresses or networks it may be used from; none is any.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<String>, required = false, max_items = 50)]
    allowed_ips: Option<Vec<String>>,
    /// A member by id or e-mail address.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false)]
    owner: Option<String>,
    /// A member who gets its mails too; null is nobody.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    backup: Option<Option<String>>,
    /// Whether it is set aside.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    disabled: Option<bool>,
    /// Whether it may replace its own secret.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = bool, required = false)]
    self_rotate: Option<bool>,
}

/// Tells a member that is `null` from one that is left out; `null` is a wrong type where it
/// has no meaning.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `PATCH /v1/api-keys/{id}`.
pub async fn patch(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
    body: Json<PatchBody>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let id = parse_id(&path)?;
    let body = body.value;
    if body.name.is_some() {
        return Err(Error::NameImmutable.into());
    }
    let edit = RawEdit {
        description: body.description,
        scopes: body.scopes,
        expires_at: body.expires_at.map(|text| text.map_or(Expiry::Never, |text| Expiry::parse(&text))),
        requests_per_minute: body.requests_per_minute,
        allowed_ips: body.allowed_ips,
        owner: body.owner,
        backup: body.backup,
        disabled: body.disabled,
        self_rotate: body.self_rotate,
    };
    let edit = edit.check(now).map_err(Error::Invalid)?;
    let (change, mint) = (caller.change(&request, now), site.mint.clone());
    let key =
        change.commit(&site.db, move |tx, acting| lifecycle::edit(tx, acting, &mint, id, &edit)).await?;
    Ok(answer(&key))
}

/// How a key is revoked.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// Why, in at most 500 characters.
    reason: Option<String>,
}

/// `POST /v1/api-keys/{id}/revoke`: ends a key before it answers.
pub async fn revoke(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
    body: OptionalJson<RevokeBody>,
) -> Result<HttpResponse, Problem> {
    let reason = check_reason(body.0.reason.as_deref().unwrap_or_default())
        .map_err(|error| Error::Invalid(vec![error]))?;
    let key = end(&site, &caller, &request, parse_id(&path)?, reason).await?;
    Ok(answer(&key))
}

/// `DELETE /v1/api-keys/{id}`: the same without an answer.
pub async fn delete(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    end(&site, &caller, &request, parse_id(&path)?, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn end(
    site: &Shared,
    caller: &KeyCaller,
    request: &HttpRequest,
    id: KeyId,
    reason: Option<String>,
) -> Result<Key, Problem> {
    let change = caller.change(request, Time::now());
    let revoked =
        change.commit(&site.db, move |tx, acting| lifecycle::revoke(tx, acting, id, reason.clone()));
    Ok(revoked.await?)
}

pub(super) fn parse_id(text: &str) -> Result<KeyId, Problem> {
    KeyId::parse(text).ok_or_else(Problem::not_found)
}

pub(super) fn answer(key: &Key) -> HttpResponse {
    HttpResponse::Ok().json(object::key(key, Time::now()))
}
