//! Setting something aside and taking it up again: what the pages about keys and members share.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use askama::Template;

use crate::path::{self, Href};
use crate::web::page::{Layout, Room};
use crate::web::problem::Problem;

/// Whether it is set aside or taken up again; the end of the path says it.
#[derive(Clone, Copy, Debug)]
pub struct Disabling(pub bool);

impl FromRequest for Disabling {
    type Error = Problem;
    type Future = Ready<Result<Disabling, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Disabling(request.path().ends_with("/disable"))))
    }
}

/// The page that asks before it happens.
#[derive(Template)]
#[template(path = "portal/kit/disable.html")]
pub struct DisablePage {
    /// What surrounds it.
    pub layout: Layout,
    /// The page of what it is about.
    pub page: Href,
    /// The address of the form.
    pub action: Href,
    /// Its name.
    pub name: String,
    /// "key" or "member".
    pub noun: &'static str,
    /// Whether it is set aside.
    pub disabling: bool,
    /// What it means, in a line.
    pub lead: String,
    /// What it does to whoever calls, where it is set aside.
    pub effect: Effect,
}

/// What setting something aside does to whoever calls.
pub struct Effect {
    /// Whether there were calls lately.
    pub busy: bool,
    /// The heart of it.
    pub heart: String,
    /// What else there is to say.
    pub rest: String,
}

impl DisablePage {
    fn act(&self) -> &'static str {
        if self.disabling { "Disable" } else { "Enable" }
    }
}
