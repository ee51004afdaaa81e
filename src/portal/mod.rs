//! Pages for people. A page is its view struct, its form and its handler in one file; words
//! that are derived from data are methods of the view struct.

pub mod account;
pub mod audit;
pub mod docs;
pub mod entrance;
pub mod keys;
pub mod kit;
pub mod mail_log;
pub mod members;
pub mod review;
pub mod settings;
pub mod usage;

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use crate::id::OrgSlug;
use crate::path;
use crate::web::Shared;
use crate::web::page::redirect;
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;

/// `GET /`: leads on to where the visitor wants to be.
pub async fn home(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let signed_in = request.extensions().get::<SignedIn>().cloned();
    let link = match signed_in.map(|signed_in| signed_in.orgs) {
        Some(orgs) => orgs.first().map_or_else(path::account, |(org, _)| path::keys(&org.slug)),
        None if site.db.read(crate::installation::is_set_up).await? => path::sign_in(),
        None => path::setup(),
    };
    Ok(redirect(&request, &link))
}

/// `GET /o/{org}`: leads to its keys.
pub async fn organization(request: HttpRequest, slug: web::Path<String>) -> HttpResponse {
    redirect(&request, &path::keys(&OrgSlug::from(slug.into_inner())))
}
