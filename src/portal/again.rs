//! Proving again who one is, before what needs a fresh sign-in.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::redirect;
use crate::web::problem::Problem;
use crate::web::session::safe_next;
use crate::web::{Shared, fresh};

/// `GET /sign-in/again`.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let fields = Fields::of_query(&request);
    if fresh::is_fresh(&request, Time::now()) {
        return Ok(redirect(&request, safe_next(fields.get("next"))));
    }
    fresh::page(&request, &site, &Fields::default(), StatusCode::OK, None).await
}

/// `POST /sign-in/again`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    match fresh::confirm(&request, &site, &fields, Time::now()).await? {
        Some(page) => Ok(page),
        None => Ok(redirect(&request, safe_next(Fields::of_query(&request).get("next")))),
    }
}
