//! Collects facts about a request with a proven key, and counts it once, when the last holder is dropped.

use std::cell::{Cell, RefCell};
use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::error::Error;
use crate::scope::Scope;
use crate::time::Time;
use crate::usage::call::{Call, Outcome, Tokens};
use crate::web::Shared;
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

/// Counts a request when its last clone is dropped. The gate holds one until the answer begins, and a stream holds
/// another until it ends, for whatever reason.
#[derive(Clone)]
pub struct Ticket(Rc<Known>);

struct Known {
    site: Shared,
    caller: KeyCaller,
    scope: Option<Scope>,
    agent: Option<HeaderValue>,
    began: Instant,
    /// The outcome of the answer and the time until it began; `None` before.
    answer: Cell<Option<(Outcome, Duration)>>,
    model: RefCell<String>,
    tokens: Cell<Tokens>,
}

impl Ticket {
    /// The ticket of a request that counts under a scope.
    pub fn new(
        site: &Shared,
        caller: &KeyCaller,
        scope: Option<Scope>,
        request: &HttpRequest,
        began: Instant,
    ) -> Ticket {
        Ticket(Rc::new(Known {
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

    /// Notes the requested model.
    pub fn asks_for(&self, model: &str) {
        model.clone_into(&mut self.0.model.borrow_mut());
    }

    /// Checks that the key of the request still works. Errors: what the gate would answer now.
    pub async fn check_key(&self, now: Time) -> Result<(), Problem> {
        self.0.caller.clone().check_again(&self.0.site, now).await
    }

    /// Whether the process is about to stop, so that the answer has to end.
    pub fn has_to_end(&self) -> bool {
        self.0.site.is_closing.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Notes that the answer begins now.
    pub fn answered(&self, status: StatusCode) {
        self.0.answer.set(Some((Outcome::of_status(status.as_u16()), self.0.began.elapsed())));
    }

    /// Notes the tokens of the request.
    pub fn cost(&self, tokens: Tokens) {
        self.0.tokens.set(tokens);
    }

    /// Notes that the answer broke off.
    pub fn broke_off(&self) {
        if let Some((_, took)) = self.0.answer.get() {
            self.0.answer.set(Some((Outcome::ServerError, took)));
        }
    }
}

impl FromRequest for Ticket {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Ticket>().cloned();
        // A route that counts requests without a key is a fault of ours.
        ready(found.ok_or_else(|| Error::internal("the route's permission admits no such client").into()))
    }
}

impl Drop for Known {
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
