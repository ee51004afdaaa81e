//! Confirming one's identity before an action that requires a fresh sign-in.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::path::{Href, Pattern};
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::Fields;
use crate::web::fresh;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

/// A page with a link to the next page: browsers don't let a form be redirected to another site.
#[derive(Template)]
#[template(path = "portal/entrance/go_on.html")]
struct GoOnPage {
    layout: Layout,
    next: Option<Href>,
}

impl GoOnPage {
    fn of(visit: &GuestVisit, next: Option<Href>) -> GoOnPage {
        GoOnPage { layout: visit.layout(NavSection::None), next }
    }
}

fn go_on(visit: &GuestVisit, next: Href) -> Result<HttpResponse, Problem> {
    if next.as_str().starts_with(Pattern::account_connect.prefix()) {
        return visit.page(&GoOnPage::of(visit, Some(next)));
    }
    Ok(visit.redirect(next))
}

/// `GET /sign-in/again`.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let fields = visit.query();
    if fresh::is_fresh(&visit.request, visit.now) {
        return match fields.get("next") {
            // The page with the form is still open in another tab.
            "" => visit.page(&GoOnPage::of(&visit, None)),
            next => Ok(visit.redirect(Href::next(next))),
        };
    }
    fresh::page(&visit.request, &visit.site, &Fields::default(), StatusCode::OK, None).await
}

/// `POST /sign-in/again`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    match fresh::confirm(&visit.request, &visit.site, &fields, visit.now).await? {
        Some(page) => Ok(page),
        None => go_on(&visit, Href::next(visit.query().get("next"))),
    }
}
