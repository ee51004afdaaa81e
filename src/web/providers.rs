//! How pages offer sign-in providers.

use crate::people::oauth::{Kind, Provider};
use crate::web::Site;
use crate::web::session::safe_next;

/// A link to a provider.
pub struct ProviderLink {
    /// Where it leads.
    pub href: String,
    /// How people call the provider.
    pub name: String,
    /// Its icon.
    pub icon: &'static str,
}

impl ProviderLink {
    /// A link to this provider.
    pub fn new(provider: Provider<'_>, href: String) -> ProviderLink {
        let icon = match provider.kind() {
            Kind::Oidc => "lock",
            Kind::GitHub => "github",
        };
        ProviderLink { href, name: provider.name().to_owned(), icon }
    }
}

/// The providers by which someone can sign in, to go on to `next`.
pub fn to_sign_in(site: &Site, next: &str) -> Vec<ProviderLink> {
    let link = |provider: Provider<'_>| {
        ProviderLink::new(provider, way(&format!("/sign-in/{}", provider.kind().name()), next))
    };
    site.providers.all().map(link).collect()
}

/// The path with the page to go on to.
pub fn way(path: &str, next: &str) -> String {
    match safe_next(next) {
        "/" => path.to_owned(),
        next => format!("{path}?{}", serde_html_form::to_string([("next", next)]).unwrap_or_default()),
    }
}
