//! The gate in front of each handler: reads the route's one kind of credential, checks it against the route's
//! permission, and passes the principal on.

mod person;
mod requirement;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};

use crate::id::KeyId;
use crate::path::Pattern;
use crate::scope::Scopes;
use crate::time::{DAY, Time};
use crate::usage::refusals::RefusedCall;
use crate::verify::decision;
use crate::verify::limit::Verdict;
use crate::web::body::BodyLimit;
use crate::web::body::budget::Sender;
use crate::web::connections::ConnectionOwner;
use crate::web::gate::requirement::Requirement;
use crate::web::permission::Permission;
use crate::web::principal::{KeyCaller, credential};
use crate::web::problem::{Code, Problem};
use crate::web::request::{KeyHeaders, request_id};
use crate::web::ticket::Ticket;
use crate::web::{Shared, Site, address, body, connections, redact};

/// The number of days before a key's expiry from which responses contain `X-Key-Expires-At`.
const EXPIRY_HEADER_DAYS: i64 = 14;
/// Routes for OpenAI clients, which expect the limit headers under their own names.
const OPENAI_ROUTES: [&str; 5] = [
    Pattern::v1_models.as_str(),
    Pattern::v1_chat_completions.as_str(),
    Pattern::v1_completions.as_str(),
    Pattern::v1_embeddings.as_str(),
    Pattern::v1_responses.as_str(),
];

/// Passes a request on to its handler, or refuses it.
pub async fn pass(
    permission: Permission,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match permission {
        Permission::Public => match body::buffer(&mut request, permission.max_body(), by_address).await {
            Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
            Err(problem) => Ok(request.error_response(problem)),
        },
        Permission::Key(_) | Permission::AnyKey | Permission::AdminOrSelf | Permission::ScopesInQuery => {
            match Requirement::of(permission, request.request()) {
                Ok(need) => with_key(need, permission.max_body(), request, next).await,
                Err(problem) => Ok(request.error_response(problem)),
            }
        }
        Permission::Page
        | Permission::SignedIn
        | Permission::Member(_)
        | Permission::SignedInFresh
        // Boxed, so that requests with keys don't carry its state.
        | Permission::MemberFresh(_) => Box::pin(person::with_person(permission, request, next)).await,
    }
}

async fn with_key(
    need: Requirement,
    max_body: Option<BodyLimit>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (began, now) = (Instant::now(), Time::now());
    let Some(site) = request.app_data::<Shared>().cloned() else {
        return Ok(request.error_response(Problem::not_found()));
    };
    let (mut caller, verdict) = match admit_key(&site, need, request.request(), now).await {
        Admission::Stranger(problem) => return Ok(request.error_response(need.refusal(problem))),
        Admission::Known(caller, verdict) => (caller, verdict),
    };
    let ticket = Ticket::new(&site, &caller, need.counted_as(), request.request(), began);
    request.extensions_mut().insert(caller.clone());
    request.extensions_mut().insert(ticket.clone());
    let (refused, verdict) = match verdict {
        Ok(verdict) => {
            // Only now, so that bodies of unauthenticated clients are never read.
            let (org, owner, key) = (Some(caller.key.org), caller.key.owner, Some(caller.key.key));
            connections::prove(request.request(), ConnectionOwner { org, owner, key });
            (complete(&site, max_body, &mut request, &mut caller).await.err(), verdict)
        }
        Err((problem, verdict)) => (Some(problem), verdict),
    };
    let response = match refused {
        Some(problem) => {
            ticket.answered(problem.code.status());
            note_refusal(&site, &caller, need.scopes, &problem, request.request(), now);
            request.error_response(need.refusal(problem))
        }
        None => {
            let response = next.call(request).await?.map_into_boxed_body();
            ticket.answered(response.status());
            response
        }
    };
    // The envelope adds these headers, since it renders problems as new responses.
    let openai = OPENAI_ROUTES.contains(&response.request().path());
    let headers = key_headers(&caller, &verdict, openai, now);
    response.request().extensions_mut().insert(headers);
    Ok(response)
}

/// Reads the body, then checks the key once more: it may have stopped working while the body was in
/// transit.
async fn complete(
    site: &Site,
    max_body: Option<BodyLimit>,
    request: &mut ServiceRequest,
    caller: &mut KeyCaller,
) -> Result<(), Problem> {
    let key = caller.key.key;
    body::buffer(request, max_body, |_| Sender::Key(key)).await?;
    if !request.method().is_safe() {
        caller.check_again(site, Time::now()).await?;
        request.extensions_mut().insert(caller.clone());
    }
    Ok(())
}

/// The sender of a body without credentials.
fn by_address(request: &ServiceRequest) -> Sender {
    let client = address::client(request.request()).ip();
    let peer = || request.peer_addr().map(|peer| peer.ip());
    let address = client.or_else(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Sender::Address(address::network(address))
}

/// Records a refusal, so that its reason can be looked up.
fn note_refusal(
    site: &Site,
    caller: &KeyCaller,
    needed: Scopes,
    problem: &Problem,
    request: &HttpRequest,
    now: Time,
) {
    let missing = decision::missing_scope(&caller.key, needed, now);
    site.meter.refuse(RefusedCall {
        org: caller.key.org,
        key: caller.key.key,
        at: now,
        request: request_id(request).to_string(),
        code: problem.code.name(),
        route: redact::route(request),
        address: caller.address.to_string(),
        scope: missing.or(needed.iter().next()),
        by_role: missing.is_some_and(|scope| caller.key.scopes.has(scope)),
    });
}

enum Admission {
    /// No valid key.
    Stranger(Problem),
    /// A known key, accepted or refused, with the state of its limit.
    Known(KeyCaller, Result<Verdict, (Problem, Verdict)>),
}

async fn admit_key(site: &Site, need: Requirement, request: &HttpRequest, now: Time) -> Admission {
    let secret = match credential(request, need.schemes) {
        Ok(secret) => secret,
        Err(problem) => return Admission::Stranger(problem),
    };
    let key = match site.table.look_up(&site.db, &site.defaults.keyring, &secret, Instant::now()).await {
        Ok(Some(key)) => key,
        Ok(None) => return Admission::Stranger(Problem::invalid_token(Code::InvalidToken)),
        Err(error) => return Admission::Stranger(error.into()),
    };
    let itself = request.match_info().get("id").and_then(KeyId::parse) == Some(key.key);
    let needed = (!(need.of_itself || need.or_itself && itself)).then_some(need.scopes);
    let caller = KeyCaller { key, secret: Arc::new(secret), address: address::client(request), needed };
    let refuse = |problem, verdict| Admission::Known(caller.clone(), Err((problem, verdict)));
    let (limiter, limit) = (&site.limiter, decision::effective_limit(&caller.key, now));
    if let Err(refusal) = decision::is_usable(&caller.key, caller.address.ip(), now) {
        // Takes no token: someone who found a key restricted to addresses must not use up its limit.
        let verdict = limiter.look(caller.key.key, limit, Instant::now()).await;
        return refuse(refusal.into(), verdict);
    }
    // A request that lacks a scope takes a token like any other; a rate-limited one does not.
    let verdict = limiter.take(caller.key.key, limit, Instant::now()).await;
    if !verdict.allowed {
        return refuse(limited(&verdict), verdict);
    }
    match needed.map_or(Ok(()), |needed| decision::has_scopes(&caller.key, needed, now)) {
        Ok(()) => Admission::Known(caller, Ok(verdict)),
        Err(refusal) => refuse(refusal.into(), verdict),
    }
}

fn limited(verdict: &Verdict) -> Problem {
    let detail = format!(
        "This key may make {} requests per minute. Try again in {} s, or ask an admin for a higher limit.",
        verdict.limit, verdict.retry_after
    );
    Problem::new(Code::RateLimited, detail).with_header(header::RETRY_AFTER, verdict.retry_after.to_string())
}

/// The headers about the key: its limit (draft-ietf-httpapi-ratelimit-headers and the older names), its expiry if
/// it is near, and whether a rotation has replaced the presented secret.
fn key_headers(caller: &KeyCaller, verdict: &Verdict, openai: bool, now: Time) -> KeyHeaders {
    let name = HeaderName::from_static;
    let Verdict { limit, remaining, full_in, .. } = *verdict;
    let mut headers = KeyHeaders(Vec::with_capacity(10));
    headers.add(name("ratelimit-policy"), format!("\"key\";q={limit};w=60"));
    headers.add(name("ratelimit"), format!("\"key\";r={remaining};t={full_in}"));
    headers.0.push((name("x-ratelimit-limit"), limit.into()));
    headers.0.push((name("x-ratelimit-remaining"), remaining.into()));
    headers.0.push((name("x-ratelimit-reset"), full_in.into()));
    if openai {
        headers.0.push((name("x-ratelimit-limit-requests"), limit.into()));
        headers.0.push((name("x-ratelimit-remaining-requests"), remaining.into()));
        headers.add(name("x-ratelimit-reset-requests"), format!("{full_in}s"));
    }
    let is_near = |end: &Time| (0..EXPIRY_HEADER_DAYS * DAY).contains(&end.since(now));
    if let Some(end) = caller.key.ends_at().filter(is_near) {
        headers.add(name("x-key-expires-at"), end.rfc3339());
    }
    if caller.key.superseded_until.is_some() {
        headers.0.push((name("x-key-superseded"), HeaderValue::from_static("true")));
    }
    headers
}
