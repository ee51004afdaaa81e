//! Proving again who one is, before what needs a fresh sign-in.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::path::{Href, Pattern};
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::problem::Problem;
use crate::web::{Shared, fresh};

/// Leads on to where a form may not: no form leads to another site, not even by way of ours.
#[derive(Template)]
#[template(path = "portal/entrance/go_on.html")]
struct GoOnPage {
    layout: Layout,
    next: Option<Href>,
}

impl GoOnPage {
    fn of(request: &HttpRequest, next: Option<Href>) -> GoOnPage {
        GoOnPage { layout: Layout::of(request, Room::None), next }
    }
}

fn go_on(request: &HttpRequest, next: Href) -> Result<HttpResponse, Problem> {
    if next.as_str().starts_with(Pattern::account_connect.prefix()) {
        return html(StatusCode::OK, &GoOnPage::of(request, Some(next)));
    }
    Ok(redirect(request, &next))
}

/// `GET /sign-in/again`.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let fields = Fields::of_query(&request);
    if fresh::is_fresh(&request, Time::now()) {
        return match fields.get("next") {
            // Someone confirmed it beside a page that still holds what they typed.
            "" => html(StatusCode::OK, &GoOnPage::of(&request, None)),
            next => Ok(redirect(&request, &Href::next(next))),
        };
    }
    fresh::page(&request, &site, &Fields::default(), StatusCode::OK, None).await
}

/// `POST /sign-in/again`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    match fresh::confirm(&request, &site, &fields, Time::now()).await? {
        Some(page) => Ok(page),
        None => go_on(&request, Href::next(Fields::of_query(&request).get("next"))),
    }
}
