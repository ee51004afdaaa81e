//! The usage page of one key.

use actix_web::HttpResponse;

use crate::portal::keys::RequestedKey;
use crate::portal::kit::visit::Visit;
use crate::web::problem::Problem;

/// `GET /o/{org}/keys/{id}/usage`.
pub async fn show(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    super::overview::page(&visit, Some(requested)).await
}
