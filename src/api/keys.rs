//! `/v1/api-keys`: creates, shows, changes and revokes keys.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{created_secret, object};
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::input::{EditInput, Expiry, NewKeyInput, check_reason};
use crate::keys::manager::KeyManager;
use crate::keys::settings::{SettingsInput, for_each_key_setting};
use crate::keys::{Key, lifecycle, store};
use crate::time::Time;
use crate::web::Shared;
use crate::web::body::{Json, OptionalJson};
use crate::web::idempotency::{self, Claim};
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

macro_rules! define_bodies {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: [$($value:tt)+] from [$($input:tt)+], $check:expr, schema($($limits:tt)*);
    )+) => {
        /// A key to create.
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct CreateBody {
            /// 1 to 64 visible characters, with white space of any kind and length as one space. Unique among the
            /// organisation's keys that have not ended, ignoring case.
            #[schema(min_length = 1)]
            name: String,
            /// At most 500 characters.
            description: Option<String>,
            /// What it may do.
            #[schema(min_items = 1)]
            scopes: Vec<String>,
            /// It expires after this many days of 86,400 seconds. Not together with `expires_at`.
            #[schema(minimum = 1, maximum = 3653)]
            expires_in_days: Option<i64>,
            /// It expires at this time: at most ten years from now, and within the lifetime that the
            /// organisation's policy allows. If left out, the key never expires; where the policy does
            /// not allow that, the request is refused.
            #[schema(format = DateTime)]
            expires_at: Option<String>,
            /// A member, by id or e-mail address; if left out, the owner of the calling key.
            owner: Option<String>,
            /// A member who receives the key's e-mail too.
            backup: Option<String>,
            $( $(#[doc = $doc])+ #[schema($($limits)*)] $name: Option<$($input)+>, )+
        }

        /// Changes to a key. What is left out stays as it is.
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct PatchBody {
            // Refused with a code of its own.
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
            /// When it expires; null is never.
            #[serde(default, deserialize_with = "present")]
            #[schema(value_type = Option<String>, format = DateTime)]
            expires_at: Option<Option<String>>,
            /// A member, by id or e-mail address.
            #[serde(default, deserialize_with = "present")]
            #[schema(value_type = String, required = false)]
            owner: Option<String>,
            /// A member who receives the key's e-mail too; null removes the backup.
            #[serde(default, deserialize_with = "present")]
            #[schema(value_type = Option<String>)]
            backup: Option<Option<String>>,
            /// Whether it is disabled.
            #[serde(default, deserialize_with = "present")]
            #[schema(value_type = bool, required = false)]
            disabled: Option<bool>,
            $(
                $(#[doc = $doc])+
                #[serde(default, deserialize_with = "present")]
                #[schema(value_type = $($input)+, required = false, $($limits)*)]
                $name: Option<$($input)+>,
            )+
        }

        impl CreateBody {
            fn input(self) -> Result<NewKeyInput> {
                let expiry = match (self.expires_in_days, self.expires_at) {
                    (Some(_), Some(_)) => {
                        let message = "Send expires_in_days or expires_at, not both.";
                        return Err(Error::invalid("expires_at", message));
                    }
                    (Some(days), None) => ("expires_in_days", Expiry::InDays(days)),
                    (None, Some(text)) => ("expires_at", Expiry::parse(&text)),
                    (None, None) => ("expires_at", Expiry::Never),
                };
                Ok(NewKeyInput {
                    name: self.name,
                    description: self.description.unwrap_or_default(),
                    scopes: self.scopes,
                    expiry,
                    owner: self.owner,
                    backup: self.backup,
                    settings: SettingsInput { $( $name: self.$name, )+ },
                })
            }
        }

        impl PatchBody {
            fn input(self) -> EditInput {
                let expiry = |text: Option<String>| text.map_or(Expiry::Never, |text| Expiry::parse(&text));
                EditInput {
                    description: self.description,
                    scopes: self.scopes,
                    expires_at: self.expires_at.map(expiry),
                    owner: self.owner,
                    backup: self.backup,
                    disabled: self.disabled,
                    settings: SettingsInput { $( $name: self.$name, )+ },
                }
            }
        }
    };
}
for_each_key_setting!(define_bodies);

/// `POST /v1/api-keys`: creates a key. Only this response contains the secret.
pub async fn create(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    body: Json<CreateBody>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let name = idempotency::header(&request)?;
    let new = body.value.input()?.check(now).map_err(Error::Invalid)?;
    let change = caller.change(&request, now);
    let claim = name.map(|name| {
        let route = "POST /v1/api-keys";
        Claim::new(&site.defaults.keyring, caller.key.org, caller.secret.expose(), route, &name, &body.bytes)
    });
    let _place = claim.as_ref().map(|claim| site.running.enter(claim)).transpose()?;
    let defaults = site.defaults.clone();
    let made = change.commit(&site.db, move |tx, acting| {
        created_secret::once(tx, claim.as_ref(), &defaults.keyring, now, |tx| {
            lifecycle::create(tx, acting, &defaults, &new)
        })
    });
    Ok(created_secret::answer(StatusCode::CREATED, made.await??)?)
}

/// `GET /v1/api-keys/self`: the calling key.
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
    manager: Option<KeyManager>,
) -> Result<HttpResponse, Problem> {
    let key = site.db.read(move |conn| store::find(conn, org, id)?.ok_or(Error::NotFound)).await?;
    if manager.is_some_and(|manager| !manager.sees(&key)) {
        return Err(Problem::not_found());
    }
    Ok(answer(&key))
}

/// Distinguishes a member that is `null` from one that is left out. Where `null` has no meaning, it is an error
/// of type.
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
    let edit = body.input().check(now).map_err(Error::Invalid)?;
    let (change, defaults) = (caller.change(&request, now), site.defaults.clone());
    let key =
        change.commit(&site.db, move |tx, acting| lifecycle::edit(tx, acting, &defaults, id, &edit)).await?;
    Ok(answer(&key))
}

/// The body of a revocation.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// Why the key is revoked, in at most 500 characters.
    reason: Option<String>,
}

/// `POST /v1/api-keys/{id}/revoke`: revokes a key. Takes effect before the response.
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

/// `DELETE /v1/api-keys/{id}`: the same with an empty response.
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
