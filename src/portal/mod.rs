//! The portal. A page's view struct, form and handler are in one file; texts derived from data are
//! methods of the view struct.

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

use actix_web::{HttpResponse, web};

use crate::id::OrgSlug;
use crate::path;
use crate::portal::kit::visit::GuestVisit;
use crate::web::problem::Problem;

/// `GET /`: redirects to keys, sign-in or set-up.
pub async fn home(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let link = match visit.signed_in.as_ref().map(|signed_in| &signed_in.orgs) {
        Some(orgs) => orgs.first().map_or_else(path::account, |(org, _)| path::keys(&org.slug)),
        None if visit.read(crate::installation::is_set_up).await? => path::sign_in(),
        None => path::setup(),
    };
    Ok(visit.redirect(link))
}

/// `GET /o/{org}`: redirects to the keys.
pub async fn organization(visit: GuestVisit, slug: web::Path<String>) -> HttpResponse {
    visit.redirect(path::keys(&OrgSlug::from(slug.into_inner())))
}
