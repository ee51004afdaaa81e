//! Collects facts about a request with a proven key, and counts it once, when the last holder is dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};

use crate::scope::Scope;
use crate::time::Time;
use crate::usage::call::{Call, Outcome, Tokens};
use crate::web::Shared;
use crate::web::principal::{KeyCaller, from_gate};
use crate::web::problem::Problem;

/// Counts a request when its last clone is dropped: the gate holds one until the response begins, a stream
/// another until it ends, for whatever reason.
#[derive(Clone)]
pub struct Ticket(Rc<RequestFacts>);

struct RequestFacts {
    site: Shared,
    caller: KeyCaller,
    scope: Option<Scope>,
    agent: Option<HeaderValue>,
    began: Instant,
    /// When the response began, and its outcome. `None` if the client gave up before.
    answer: Cell<Option<(Outcome, Duration)>>,
    model: RefCell<String>,
    tokens: Cell<Tokens>,
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
            agent: request.headers().get(header::USER_AGENT).cloned(),
            began,
            answer: Cell::default(),
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
        if let Some((_, took)) = self.0.answer.get() {
            self.0.answer.set(Some((Outcome::ServerError, took)));
        }
    }
}

impl Drop for RequestFacts {
    fn drop(&mut self) {
        let (outcome, took) = self.answer.get().unwrap_or((Outcome::ClientError, self.began.elapsed()));
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
