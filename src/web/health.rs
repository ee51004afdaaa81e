//! Health checks for load balancers and supervisors.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use actix_web::HttpResponse;

use crate::verify::limit::State;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};

/// The response of `/readyz` after SIGTERM, by which a replacing process recognises this one.
pub const STOPPING: &str = "Not ready: this process is stopping.";

/// `GET /healthz`: the process is alive.
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("alive\n")
}

/// `GET /readyz`: keys can be verified. Contacts nothing, so it answers at once even if something is down.
pub async fn ready(site: Shared) -> Result<HttpResponse, Problem> {
    if site.is_stopping.load(Relaxed) {
        return Err(Problem::new(Code::Unavailable, STOPPING));
    }
    if let Some(silence) = site.table.lapsed(Instant::now()) {
        let seconds = silence.as_secs();
        let detail = format!("Not ready: the database has not answered for {seconds} seconds.");
        return Err(Problem::new(Code::Unavailable, detail));
    }
    let limits = match site.limiter.state() {
        State::Divided(_) => "Valkey is unavailable: each process has its share of each limit\n",
        State::Exact | State::PerProcess(_) => "",
    };
    Ok(HttpResponse::Ok().content_type("text/plain").body(format!("ready\n{limits}")))
}
