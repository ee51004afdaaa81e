//! Collects facts about a request with a proven key, and counts it once, when the last holder is dropped.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};

use crate::keys::lookup::PresentedKey;
use crate::scope::Scope;
use crate::time::Time;
use crate::usage::call::{Call, Outcome, Tokens};
use crate::web::Shared;
use crate::web::principal::{KeyCaller, from_gate};
use crate::web::problem::Problem;
use crate::web::request::request_id;

/// Counts a request when its last clone is dropped: the gate holds one until the response begins, a stream
/// another until it ends, for whatever reason.
#[derive(Clone)]
pub struct Ticket(Rc<RequestFacts>);

struct RequestFacts {
    site: Shared,
    caller: KeyCaller,
    scope: Option<Scope>,
    request: Rc<str>,
    agent: Option<HeaderValue>,
    began: Instant,
    /// When the response began, and the outcome of its status. `None` if the client gave up before.
    answer: Cell<Option<(Outcome, Duration)>>,
    /// The upstream that the request was sent to, and its response.
    upstream: RefCell<UpstreamFacts>,
    /// Whether the upstream failed, or the response broke off.
    has_failed: Cell<bool>,
    model: RefCell<String>,
    tokens: Cell<Tokens>,
}

/// What the log says about the upstream of a request.
#[derive(Default)]
pub struct UpstreamFacts {
    /// Its host and port.
    pub name: String,
    /// The status of its response.
    pub status: Option<u16>,
    /// Its own id of the request.
    pub request: Option<String>,
}

from_gate!(Ticket);

impl Ticket {
    /// The ticket of a request that is counted under a scope.
    pub fn new(
        site: &Shared,
        caller: &KeyCaller,
        scope: Option<Scope>,
        request: &HttpRequest,
        began: Instant,
    ) -> Ticket {
        Ticket(Rc::new(RequestFacts {
            site: site.clone(),
            caller: caller.clone(),
            scope,
            request: request_id(request),
            agent: request.headers().get(header::USER_AGENT).cloned(),
            began,
            answer: Cell::default(),
            upstream: RefCell::default(),
            has_failed: Cell::default(),
            model: RefCell::default(),
            tokens: Cell::default(),
        }))
    }

    /// Records the requested model.
    pub fn set_model(&self, model: &str) {
        model.clone_into(&mut self.0.model.borrow_mut());
    }

    /// Checks that the request's key still works. Errors: the gate's current response.
    pub async fn check_key(&self, now: Time) -> Result<(), Problem> {
        self.0.caller.clone().check_again(&self.0.site, now).await
    }

    /// Whether the response has to end because the process is about to stop.
    pub fn has_to_end(&self) -> bool {
        self.0.site.is_closing.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Records that the response begins now.
    pub fn answered(&self, status: StatusCode) {
        self.0.answer.set(Some((Outcome::of_status(status.as_u16()), self.0.began.elapsed())));
    }

    /// Records the tokens used.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.0.tokens.set(tokens);
    }

    /// Records that the response broke off.
    pub fn record_break(&self) {
        self.0.has_failed.set(true);
    }

    /// Records that the upstream failed, whatever status the client gets: an upstream's 429 is no limit of the key.
    /// `event` says what happened.
    pub fn record_upstream_failure(&self, event: &str) {
        self.0.has_failed.set(true);
        let upstream = self.upstream();
        // Failures before a response are recorded where the upstream was called.
        if upstream.status.is_some_and(|status| status < 400) {
            let cause = event.strip_prefix("the upstream ").unwrap_or(event);
            self.0.site.health.record_break(&upstream.name, &self.0.model.borrow(), cause, Time::now());
        }
    }

    /// Records the upstream that the request is sent to and, later, its response. Failures of earlier attempts no
    /// longer count.
    pub fn set_upstream(&self, facts: UpstreamFacts) {
        self.0.has_failed.set(false);
        *self.0.upstream.borrow_mut() = facts;
    }

    /// The upstream that the request was sent to, and its response.
    pub fn upstream(&self) -> Ref<'_, UpstreamFacts> {
        self.0.upstream.borrow()
    }

    /// The id of the request.
    pub fn request(&self) -> &str {
        &self.0.request
    }

    /// The key that makes the request.
    pub fn key(&self) -> &PresentedKey {
        &self.0.caller.key
    }

    /// The requested model; empty for routes without one.
    pub fn model(&self) -> String {
        self.0.model.borrow().clone()
    }

    /// The time since the request arrived.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.0.request).finish()
    }
}

impl Drop for RequestFacts {
    fn drop(&mut self) {
        let (answered, took) = self.answer.get().unwrap_or((Outcome::ClientError, self.began.elapsed()));
        let outcome = if self.has_failed.get() { Outcome::ServerError } else { answered };
        let key = &self.caller.key;
        self.site.meter.record(&Call {
            org: key.org,
            key: key.key,
            secret: key.secret,
            scope: self.scope,
            model: &self.model.borrow(),
            outcome,
            took,
            tokens: self.tokens.get(),
            address: self.caller.address.ip(),
            agent: self.agent.as_ref().and_then(|agent| agent.to_str().ok()).unwrap_or_default(),
            at: Time::now(),
        });
    }
}
