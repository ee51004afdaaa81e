//! The guides. Every sample in them that is marked `data-run` is run by a test.

pub mod api;

use actix_web::HttpResponse;
use askama::Template;

use crate::config::ByteSize;
use crate::path;
use crate::portal::kit::visit::GuestVisit;
use crate::scope::Scope;
use crate::web::Shared;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::{Code, Problem};

macro_rules! guides {
    ($($(#[$doc:meta])* $handler:ident, $page:ident, $template:literal;)*) => {$(
        #[derive(Template)]
        #[template(path = $template)]
        struct $page {
            layout: Layout,
            here: Here,
        }

        $(#[$doc])*
        pub async fn $handler(visit: GuestVisit) -> Result<HttpResponse, Problem> {
            visit.page(&$page { layout: visit.layout(NavSection::Docs), here: Here::of(&visit.site) })
        }
    )*};
}

guides! {
    /// `GET /docs`: what there is to read.
    index, IndexPage, "portal/docs/index.html";
    /// `GET /docs/keys`: managing keys.
    keys, KeysPage, "portal/docs/keys.html";
    /// `GET /docs/security`: keeping keys safe.
    security, SecurityPage, "portal/docs/security.html";
    /// `GET /docs/developers`: calling the API.
    developers, DevelopersPage, "portal/docs/developers.html";
    /// `GET /docs/proxies`: checking keys in front of other services.
    proxies, ProxiesPage, "portal/docs/proxies.html";
    /// `GET /docs/audit`: the format of the audit log.
    audit, AuditPage, "portal/docs/audit.html";
}

/// Facts about this server, for the guides.
struct Here {
    /// Without a trailing slash.
    origin: String,
    host: String,
    is_https: bool,
    prefix: String,
    default_rpm: u32,
    /// The largest body of a request to the gateway.
    max_body: ByteSize,
}

impl Here {
    fn of(site: &Shared) -> Here {
        Here {
            origin: site.public_url.origin().to_owned(),
            host: site.public_url.host().to_owned(),
            is_https: site.public_url.is_https(),
            prefix: site.defaults.prefix.clone(),
            default_rpm: site.defaults.default_rpm,
            max_body: site.bodies.max_body(),
        }
    }

    fn scopes(&self) -> [Scope; 5] {
        Scope::ALL
    }

    fn codes(&self) -> &'static [Code] {
        Code::ALL
    }

    /// The host for proxies, which may resolve `localhost` to an address without a listener.
    fn proxy_host(&self) -> &str {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        if name == "localhost" { "127.0.0.1" } else { name }
    }

    fn port(&self) -> &str {
        let default = if self.is_https { "443" } else { "80" };
        self.host.rsplit_once(':').map_or(default, |(_, port)| port)
    }

    fn proxy_origin(&self) -> String {
        self.origin.replacen("://localhost", "://127.0.0.1", 1)
    }

    /// Splits a sentence into pieces; `true` marks code.
    fn pieces<'a>(&self, sentence: &'a str) -> impl Iterator<Item = (bool, &'a str)> {
        sentence.split('`').enumerate().map(|(place, piece)| (place % 2 == 1, piece))
    }
}
