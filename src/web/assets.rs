//! The embedded files: style, scripts, icons. Their names hold a digest of their content, so
//! browsers may keep them for ever.

use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use crate::web::problem::Problem;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/assets"]
struct Files;

/// Paths by the names without digest.
static PATHS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let files = Files::iter().filter(|file| !file.ends_with(".gz"));
    files.filter_map(|file| Some((plain_name(&file)?, format!("/assets/{file}")))).collect()
});

/// The path of an asset: `app.css` is at `/assets/app-….css`.
pub fn path(name: &str) -> &'static str {
    PATHS.get(name).map_or("", String::as_str)
}

/// `GET /assets/{file}`: an embedded file, compressed where the browser takes it so.
pub async fn serve(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let file = request.match_info().get("file").unwrap_or_default();
    if file.ends_with(".gz") {
        return Err(Problem::not_found());
    }
    send(&request, file)
}

/// `GET /favicon.ico`, for browsers that ask without being told: the logo.
pub async fn favicon(request: HttpRequest) -> Result<HttpResponse, Problem> {
    send(&request, path("logo.svg").trim_start_matches("/assets/"))
}

/// `GET /robots.txt`: there is nothing here for search engines.
pub async fn robots() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("User-agent: *\nDisallow: /\n")
}

fn send(request: &HttpRequest, file: &str) -> Result<HttpResponse, Problem> {
    let plain = Files::get(file).ok_or_else(Problem::not_found)?;
    let accepted = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let gzip = accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"));
    let mut response = HttpResponse::Ok();
    response
        .content_type(media_type(file))
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::VARY, "Accept-Encoding"));
    match Files::get(&format!("{file}.gz")).filter(|_| gzip) {
        Some(packed) => {
            Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(packed.data.into_owned()))
        }
        None => Ok(response.body(plain.data.into_owned())),
    }
}

fn plain_name(file: &str) -> Option<String> {
    let (stem, rest) = file.rsplit_once('-')?;
    Some(format!("{stem}.{}", rest.split_once('.')?.1))
}

fn media_type(file: &str) -> &'static str {
    match file.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
