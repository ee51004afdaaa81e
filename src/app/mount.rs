//! Each path behind its gate, in the order in which paths are tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::middleware::{Compress, from_fn};
use actix_web::web::ServiceConfig;
use actix_web::{Route, web as actix};

use crate::app::routes::routes;
use crate::scope::Scope;
use crate::web::permission::{self, Permission};
use crate::web::problem::{Code, Problem};
use crate::web::{Site, csrf, gate, principal, session};

/// A path with its methods.
type Methods = (&'static str, Vec<Method>);
/// The name of a method, or `ANY`, with its route.
type Method = (&'static str, fn() -> Route);

/// Mounts each path once, with all its methods, each behind its gate.
pub(super) fn mount(service: &mut ServiceConfig, site: &Arc<Site>) {
    let mut paths: BTreeMap<usize, Methods> = BTreeMap::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (order, (method, path, route)) in routes().into_iter().enumerate() {
        let place = *places.entry(path).or_insert(order);
        paths.entry(place).or_insert((path, Vec::new())).1.push((method, route));
    }
    let (portal, mut open): (Vec<_>, Vec<_>) = paths.into_values().partition(|(path, _)| is_portal(path));
    // Paths are tried one after the other, and one with a pattern takes as long as many without.
    open.sort_by_key(|(path, methods)| path.contains('{') || !is_busy(path, methods));
    for (path, methods) in open {
        let busy = is_busy(path, &methods);
        let resource = resource(path, methods);
        if busy {
            service.service(resource);
        } else {
            service.service(resource.wrap(Compress::default()));
        }
    }
    // What is left under /v1 is not the portal's: no session, no guard of forms.
    service.service(actix::scope("/v1").default_service(actix::to(no_route)));
    let https = site.public_url.is_https();
    let pages = actix::scope("")
        .wrap(Compress::default())
        .wrap(session::middleware(&site.db, &site.mint.keyring, https))
        .wrap(from_fn(csrf::guard));
    let pages =
        portal.into_iter().fold(pages, |pages, (path, methods)| pages.service(resource(path, methods)));
    service.service(pages.default_service(actix::to(no_page)));
}

fn resource(path: &'static str, methods: Vec<Method>) -> actix_web::Resource {
    let names = methods.iter().map(|(method, _)| if *method == "GET" { "GET, HEAD" } else { method });
    let allowed = names.collect::<Vec<_>>().join(", ");
    let mut resource = actix::resource(path);
    for (method, route) in methods {
        let Some(permission) = permission::of(method, path) else {
            continue;
        };
        let gated = move |request, next| gate::pass(permission, request, next);
        resource = resource.route(route().wrap(from_fn(gated)));
    }
    resource.default_service(actix::to(move || {
        let allowed = allowed.clone();
        async move {
            let problem =
                Problem::new(Code::MethodNotAllowed, format!("Use one of these methods here: {allowed}."));
            Err::<actix_web::HttpResponse, _>(problem.with_header(actix_web::http::header::ALLOW, allowed))
        }
    }))
}

async fn no_page() -> Result<actix_web::HttpResponse, Problem> {
    Err(Problem::not_found())
}

async fn no_route(request: actix_web::HttpRequest) -> Result<actix_web::HttpResponse, Problem> {
    principal::refuse_key_in_url(&request)?;
    Err(Problem::not_found())
}

/// Whether a path is called so often, with answers so small or streamed, that compressing them
/// costs more than it saves.
fn is_busy(path: &str, methods: &[Method]) -> bool {
    let mut permissions = methods.iter().filter_map(|(method, _)| permission::of(method, path));
    permissions.any(|permission| {
        matches!(permission, Permission::Asked | Permission::Key(Scope::KeysVerify | Scope::InferenceWrite))
    })
}

fn is_portal(path: &str) -> bool {
    !["/v1/", "/assets/", "/healthz", "/readyz", "/favicon.ico", "/robots.txt"]
        .iter()
        .any(|start| path.starts_with(start))
}
