//! Pages for people. A page is its view struct, its form and its handler in one file; words
//! that are derived from data are methods of the view struct.

pub mod account;
pub mod again;
pub mod audit;
pub mod calendar;
pub mod cancel_email;
pub mod chart;
pub mod checkpoints;
pub mod disable;
pub mod docs;
pub mod ical;
pub mod invitation;
pub mod keys;
pub mod mail;
pub mod members;
pub mod notices;
pub mod provider;
pub mod reference;
pub mod reset_password;
pub mod review;
pub mod settings;
pub mod setup;
pub mod sign_in;
pub mod usage;
pub mod verify_email;
pub mod words;

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use crate::web::Shared;
use crate::web::page::redirect;
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;

/// `GET /`: leads on to where the visitor wants to be.
pub async fn home(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let signed_in = request.extensions().get::<SignedIn>().cloned();
    let path = match signed_in.map(|signed_in| signed_in.orgs) {
        Some(orgs) => orgs.first().map_or("/account".to_owned(), |(org, _)| format!("/o/{}/keys", org.slug)),
        None if site.db.read(crate::installation::is_set_up).await? => "/sign-in".to_owned(),
        None => "/setup".to_owned(),
    };
    Ok(redirect(&request, &path))
}

/// `GET /o/{org}`: leads to its keys.
pub async fn organization(request: HttpRequest, slug: web::Path<String>) -> HttpResponse {
    redirect(&request, &format!("/o/{slug}/keys"))
}
