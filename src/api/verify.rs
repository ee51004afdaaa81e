//! `POST /v1/api-keys/verify`: for services that check keys.

use std::net::IpAddr;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::lookup::PresentedKey;
use crate::keys::secret::PlainSecret;
use crate::scope::{Scope, Scopes};
use crate::time::Time;
use crate::usage::call::{Call, Outcome, Tokens};
use crate::usage::refusals::RefusedCall;
use crate::verify::decision::{self, effective_limit, effective_scopes};
use crate::verify::limit::Verdict;
use crate::web::Shared;
use crate::web::body::Json;
use crate::web::principal::KeyCaller;
use crate::web::problem::{Code, Problem};
use crate::web::redact;
use crate::web::request::request_id;

/// A question about a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBody {
    /// The key to check.
    key: String,
    /// Scopes that the key must have.
    scopes: Option<Vec<String>>,
    /// The address from which the key is used. Without it, a key restricted to addresses is refused.
    ip: Option<String>,
    /// Whether to check without counting a request.
    dry_run: Option<bool>,
}

/// The result of checking a key.
#[derive(Serialize, ToSchema)]
pub struct VerifyAnswer<'a> {
    /// Whether the key may be used like this.
    valid: bool,
    /// `valid`, or the code of the refusal.
    code: &'static str,
    /// The key's id; null, like everything below, if the organisation has no such key.
    #[schema(value_type = Option<String>)]
    key_id: Option<KeyId>,
    /// The key's name.
    name: Option<&'a str>,
    /// The key's effective scopes.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Scopes>,
    /// When the key or this secret stops working; null if never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// The state of the limit, for a key that works.
    rate_limit: Option<RateLimit>,
}

/// The state of a limit.
#[derive(Serialize, ToSchema)]
struct RateLimit {
    /// Requests per minute.
    limit: u32,
    /// Requests left.
    remaining: u32,
    /// Seconds until the full limit is available again.
    reset: u64,
    /// Seconds until the next request is allowed; 0 if one is allowed now.
    retry_after: u64,
}

/// The parsed body.
struct Question {
    scopes: Scopes,
    address: Option<IpAddr>,
    dry_run: bool,
}

/// Checks whether a key of the calling key's organisation may be used as described. Unless `dry_run`, this
/// counts as a request with that key.
pub async fn verify(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    body: Json<VerifyBody>,
) -> Result<HttpResponse, Problem> {
    let (began, now) = (Instant::now(), Time::now());
    let (text, question) = body.value.check()?;
    let found = match PlainSecret::parse(&text) {
        Some(secret) => site.table.look_up(&site.db, &site.defaults.keyring, &secret, began).await?,
        None => None,
    };
    // A key of another organisation is treated like one that doesn't exist.
    let Some(key) = found.filter(|key| key.org == caller.key.org) else {
        return Ok(answer(false, Code::InvalidToken.name(), None, None, now));
    };
    let usable =
        decision::is_usable(&key, question.address, now).map_err(|refusal| Problem::from(refusal).code);
    // As at the gate, only a key that works has a limit to count against.
    let (limiter, limit, at) = (&site.limiter, effective_limit(&key, now), Instant::now());
    let verdict = match usable {
        Err(_) => None,
        Ok(()) if question.dry_run => Some(limiter.look(key.key, limit, at).await),
        Ok(()) => Some(limiter.take(key.key, limit, at).await),
    };
    let decided = usable
        .and_then(|()| {
            if verdict.is_some_and(|verdict| verdict.allowed) { Ok(()) } else { Err(Code::RateLimited) }
        })
        .and_then(|()| {
            decision::has_scopes(&key, question.scopes, now).map_err(|refusal| Problem::from(refusal).code)
        });
    if !question.dry_run {
        let agent = request.headers().get("user-agent").and_then(|value| value.to_str().ok());
        site.meter.record(&Call {
            org: key.org,
            key: key.key,
            secret: key.secret,
            scope: question.scopes.iter().next(),
            model: "",
            outcome: decided.map_or_else(|code| Outcome::of_status(code.status().as_u16()), |()| Outcome::Ok),
            took: began.elapsed(),
            tokens: Tokens::default(),
            address: question.address.or_else(|| caller.address.ip()),
            agent: agent.unwrap_or_default(),
            at: now,
        });
    }
    if let (Err(code), false) = (decided, question.dry_run) {
        let missing = decision::missing_scope(&key, question.scopes, now);
        site.meter.refuse(RefusedCall {
            org: key.org,
            key: key.key,
            at: now,
            request: request_id(&request).to_string(),
            code: code.name(),
            route: redact::route(&request),
            address: question.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string()),
            scope: missing.or(question.scopes.iter().next()),
            by_role: missing.is_some_and(|scope| key.scopes.has(scope)),
        });
    }
    let code = decided.map_or_else(Code::name, |()| "valid");
    Ok(answer(decided.is_ok(), code, Some(&*key), verdict.as_ref(), now))
}

impl VerifyBody {
    fn check(self) -> Result<(String, Question), Error> {
        let scopes = self.scopes.unwrap_or_default();
        let scopes: Option<Vec<Scope>> = scopes.iter().map(|name| Scope::parse(name)).collect();
        let scopes = scopes.ok_or_else(|| Error::invalid("scopes", "Use the names of existing scopes."))?;
        let address = self
            .ip
            .map(|text| text.parse().map_err(|_| Error::invalid("ip", "Enter an IP address.")))
            .transpose()?;
        let question = Question {
            scopes: scopes.into_iter().collect(),
            address,
            dry_run: self.dry_run.unwrap_or(false),
        };
        Ok((self.key, question))
    }
}

fn answer(
    valid: bool,
    code: &'static str,
    key: Option<&PresentedKey>,
    verdict: Option<&Verdict>,
    now: Time,
) -> HttpResponse {
    HttpResponse::Ok().json(VerifyAnswer {
        valid,
        code,
        key_id: key.map(|key| key.key),
        name: key.map(|key| key.name.as_ref()),
        scopes: key.map(|key| effective_scopes(key, now)),
        expires_at: key.and_then(PresentedKey::ends_at),
        rate_limit: verdict.map(|verdict| RateLimit {
            limit: verdict.limit,
            remaining: verdict.remaining,
            reset: verdict.full_in,
            retry_after: verdict.retry_after,
        }),
    })
}
