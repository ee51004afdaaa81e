//! The embedded files: styles, scripts, icons. Their names contain a digest of their content, so browsers may
//! cache them forever.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use crate::web::problem::Problem;

struct Asset {
    name: &'static str,
    path: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

/// Written by `build.rs`.
static ASSETS: &[Asset] = &include!(concat!(env!("OUT_DIR"), "/assets/list.rs"));

/// The path of an asset: `app.css` is at `/assets/app-….css`.
pub fn path(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.path)
}

/// `GET /assets/{file}`: an embedded file, compressed if the browser accepts that.
pub async fn serve(request: HttpRequest) -> Result<HttpResponse, Problem> {
    send(&request, request.path())
}

/// `GET /favicon.ico`, for browsers that request it by default: the logo.
pub async fn favicon(request: HttpRequest) -> Result<HttpResponse, Problem> {
    send(&request, path("logo.svg"))
}

/// `GET /robots.txt`: nothing here is for search engines.
pub async fn robots() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("User-agent: *\nDisallow: /\n")
}

fn send(request: &HttpRequest, path: &str) -> Result<HttpResponse, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.path == path).ok_or_else(Problem::not_found)?;
    let accepted = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let gzip = accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"));
    let mut response = HttpResponse::Ok();
    response
        .content_type(media_type(asset.name))
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::VARY, "Accept-Encoding"));
    if gzip {
        Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(asset.gzip))
    } else {
        Ok(response.body(asset.plain))
    }
}

fn media_type(file: &str) -> &'static str {
    match file.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
