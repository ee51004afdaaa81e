//! What one key was used for.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::web::Shared;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// `GET /o/{org}/keys/{id}/usage`.
pub async fn show(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = crate::portal::keys::find(&site, &member, &path.1).await?;
    super::overview::page(&request, &member, &site, Some(key)).await
}
