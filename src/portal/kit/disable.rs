//! The page that confirms disabling or enabling a key or a member.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use askama::Template;

use crate::path::{self, Href};
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

/// Whether the path ends in `/disable` rather than `/enable`.
#[derive(Clone, Copy, Debug)]
pub struct Disabling(pub bool);

impl FromRequest for Disabling {
    type Error = Problem;
    type Future = Ready<Result<Disabling, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Disabling(request.path().ends_with("/disable"))))
    }
}

#[derive(Template)]
#[template(path = "portal/kit/disable.html")]
pub struct DisablePage {
    pub layout: Layout,
    /// The page of the key or member.
    pub page: Href,
    /// The address of the form.
    pub action: Href,
    pub name: String,
    /// "key" or "member".
    pub noun: &'static str,
    pub disabling: bool,
    /// The meaning, in one line.
    pub lead: String,
    /// The effect of disabling on clients.
    pub effect: Effect,
}

/// The effect of disabling on clients.
pub struct Effect {
    /// Whether there were requests in the last 24 hours.
    pub busy: bool,
    /// The emphasised part.
    pub heart: String,
    pub rest: String,
}

impl DisablePage {
    fn act(&self) -> &'static str {
        if self.disabling { "Disable" } else { "Enable" }
    }
}
