//! Links to sign-in providers on pages.

use crate::path::{self, Href};
use crate::people::oauth::{Kind, Provider, ProviderId};
use crate::web::Site;

/// A link to a provider.
pub struct ProviderLink {
    pub href: Href,
    /// The provider's display name.
    pub name: String,
    pub icon: &'static str,
}

impl ProviderLink {
    /// A link to this provider.
    pub fn new(provider: Provider<'_>, href: Href) -> ProviderLink {
        ProviderLink { href, name: provider.name().to_owned(), icon: icon(provider.kind()) }
    }
}

/// The icon of providers of this kind.
pub fn icon(kind: Kind) -> &'static str {
    match kind {
        Kind::Oidc => "lock",
        Kind::GitHub => "github",
    }
}

/// Links to all providers, for signing in and continuing at `next`.
pub fn to_sign_in(site: &Site, next: &Href) -> Vec<ProviderLink> {
    let link = |provider: Provider<'_>| {
        let start = match provider.id() {
            ProviderId::Oidc(1) => path::sign_in_oidc(),
            ProviderId::Oidc(number) => path::sign_in_oidc_numbered(&number),
            ProviderId::GitHub => path::sign_in_github(),
        };
        ProviderLink::new(provider, start.then(next))
    };
    site.providers.all().map(link).collect()
}
