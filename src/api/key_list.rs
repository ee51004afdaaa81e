//! `GET /v1/api-keys`: lists the keys of an organisation, page by page.

use actix_web::HttpResponse;
use serde::Deserialize;

use crate::api::object::{self, Page};
use crate::error::{Error, FieldError};
use crate::id::{KeyId, UserId};
use crate::keys::Status;
use crate::keys::list::{self as listing, Filter};
use crate::scope::Scope;
use crate::time::Time;
use crate::web::Shared;
use crate::web::body::Query;
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 100;

/// The query of `GET /v1/api-keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<String>,
    scope: Option<String>,
    owner: Option<String>,
    q: Option<String>,
    fingerprint: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /v1/api-keys`: the organisation's keys, newest first.
pub async fn list(site: Shared, caller: KeyCaller, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let (filter, limit, after) = query.0.check().map_err(Error::Invalid)?;
    let org = caller.key.org;
    let manager = caller.manager()?;
    let mut keys = site
        .db
        .read(move |conn| {
            let filter = if manager.role.sees_all_keys() {
                filter
            } else {
                Filter { mine: Some(manager.person), ..filter }
            };
            match listing::list_after(conn, org, &filter, after, limit + 1, now) {
                Err(Error::NotFound) => {
                    Err(Error::invalid("cursor", "Use the next_cursor of an earlier response."))
                }
                keys => keys,
            }
        })
        .await?;
    let most = usize::try_from(limit).unwrap_or_default();
    let more = keys.len() > most;
    keys.truncate(most);
    let next_cursor = keys.last().filter(|_| more).map(|key| key.id.to_string());
    let data = keys.iter().map(|key| object::key(key, now)).collect();
    Ok(HttpResponse::Ok().json(Page { data, next_cursor }))
}

impl ListQuery {
    fn check(self) -> Result<(Filter, i64, Option<KeyId>), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut filter = Filter::default();
        if let Some(name) = &self.status {
            filter.status = Status::parse(name);
            if filter.status.is_none() {
                errors.push(FieldError::new("status", "Use active, expiring, disabled, expired or revoked."));
            }
        }
        if let Some(name) = &self.scope {
            filter.scope = Scope::parse(name);
            if filter.scope.is_none() {
                errors.push(FieldError::new("scope", "Use one of the scopes."));
            }
        }
        if let Some(id) = &self.owner {
            filter.owner = UserId::parse(id);
            if filter.owner.is_none() {
                errors.push(FieldError::new("owner", "Use the id of a member: user_…"));
            }
        }
        if let Some(digits) = &self.fingerprint {
            let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hexadecimal || !(8..=64).contains(&digits.len()) {
                errors.push(FieldError::new(
                    "fingerprint",
                    "Use 8 to 64 hexadecimal digits of the key's SHA-256.",
                ));
            }
        }
        if self.q.as_ref().is_some_and(|q| q.chars().count() > 200 || q.chars().any(char::is_control)) {
            errors.push(FieldError::new("q", "Use at most 200 characters, none of them control characters."));
        }
        let limit = self.limit.as_deref().map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if limit.is_none() {
            errors.push(FieldError::new("limit", format!("Use a number from 1 to {MAX_LIMIT}.")));
        }
        let after = self.cursor.as_deref().map(KeyId::parse);
        if after == Some(None) {
            errors.push(FieldError::new("cursor", "Use the next_cursor of an earlier response."));
        }
        filter.fingerprint = self.fingerprint;
        filter.search = self.q.filter(|q| !q.trim().is_empty());
        match limit {
            Some(limit) if errors.is_empty() => Ok((filter, limit, after.flatten())),
            _ => Err(errors),
        }
    }
}
