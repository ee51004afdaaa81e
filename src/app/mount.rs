//! Registers each route with actix-web, behind its gate.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, Resource, web as actix};

use crate::app::routes::{ROUTES, Route};
use crate::path::{self, Pattern};
use crate::scope::Scope;
use crate::web::endpoint::Method;
use crate::web::permission::Permission;
use crate::web::problem::{Code, Problem};
use crate::web::{Site, cors, csrf, gate, session, stray};

/// A path with the routes of its methods.
struct Mounted {
    path: Pattern,
    routes: Vec<&'static Route>,
}

/// Mounts each path once, with all its methods.
pub(super) fn mount(service: &mut ServiceConfig, site: &Arc<Site>) {
    let (portal, mut open): (Vec<_>, Vec<_>) = paths().into_iter().partition(|mounted| mounted.is_portal());
    // The router tries one path after the other. A pattern takes as long as many literals.
    open.sort_by_key(|mounted| mounted.path.as_str().contains('{') || !mounted.is_busy());
    for mounted in open {
        if mounted.is_busy() {
            service.service(mounted.resource());
        } else {
            service.service(mounted.resource().wrap(Compress::default()));
        }
    }
    // Unknown paths of the API need neither a session nor protection of forms.
    service.service(actix::scope(path::API).default_service(actix::to(no_route)));
    let https = site.public_url.is_https();
    let pages = actix::scope("")
        .wrap(Compress::default())
        .wrap(session::middleware(&site.db, &site.defaults.keyring, https))
        .wrap(from_fn(csrf::guard));
    let pages = portal.into_iter().fold(pages, |pages, mounted| pages.service(mounted.resource()));
    service.service(pages.default_service(actix::to(no_route)));
}

/// All paths, each at the place of its first route.
fn paths() -> Vec<Mounted> {
    let mut paths: Vec<Mounted> = Vec::new();
    let mut places = BTreeMap::new();
    for route in ROUTES {
        let path = route.endpoint.path;
        let place = *places.entry(path).or_insert_with(|| {
            paths.push(Mounted { path, routes: Vec::new() });
            paths.len() - 1
        });
        paths[place].routes.push(route);
    }
    paths
}

impl Mounted {
    fn resource(&self) -> Resource {
        let names = self.routes.iter().map(|route| match route.endpoint.method {
            Method::GET => "GET, HEAD",
            method => method.name(),
        });
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        let allowed = names.join(", ");
        let mut resource = actix::resource(self.path.as_str());
        for route in &self.routes {
            let permission = route.endpoint.permission;
            let gate = move |request, next| gate::pass(permission, request, next);
            resource = resource.route((route.handler)().wrap(from_fn(gate)));
        }
        let is_api = self.path.is_api();
        resource.default_service(actix::to(move |request: HttpRequest| {
            let allowed = allowed.clone();
            async move {
                if is_api && let Some(response) = cors::preflight(&request, &allowed) {
                    return Ok(response);
                }
                let problem = Problem::new(
                    Code::MethodNotAllowed,
                    format!("Use one of these methods here: {allowed}."),
                );
                Err(problem.with_header(header::ALLOW, allowed))
            }
        }))
    }

    /// Whether compressing the responses costs more than it saves: they are frequent and small, or
    /// streamed.
    fn is_busy(&self) -> bool {
        self.routes.iter().any(|route| {
            matches!(
                route.endpoint.permission,
                Permission::ScopesInQuery | Permission::Key(Scope::KeysVerify | Scope::InferenceWrite)
            )
        })
    }

    fn is_portal(&self) -> bool {
        let is_file = [Pattern::healthz, Pattern::readyz, Pattern::asset, Pattern::favicon, Pattern::robots]
            .contains(&self.path);
        !is_file && !self.path.is_api()
    }
}

async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(stray::no_route(&request))
}
