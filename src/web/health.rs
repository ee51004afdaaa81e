//! For load balancers and supervisors.

use actix_web::HttpResponse;

use crate::web::Shared;
use crate::web::problem::Problem;

/// `GET /healthz`: the process is alive.
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("alive\n")
}

/// `GET /readyz`: the database answers, so requests can be served.
pub async fn ready(site: Shared) -> Result<HttpResponse, Problem> {
    site.db.read(crate::installation::is_set_up).await?;
    Ok(HttpResponse::Ok().content_type("text/plain").body("ready\n"))
}
