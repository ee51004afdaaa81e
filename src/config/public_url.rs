//! The origin at which browsers and clients reach Keydesk.

use std::net::IpAddr;

use crate::path::Href;

/// The public origin. Links and cookie rules depend on it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The origin of a server on loopback.
    pub fn loopback(port: u16) -> PublicUrl {
        PublicUrl(format!("http://localhost:{port}"))
    }

    /// Parses an origin; `None` if there is a path, a query, a fragment or a credential.
    pub(super) fn parse(text: &str) -> Option<PublicUrl> {
        let url = reqwest::Url::parse(text).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let has_user = !url.username().is_empty() || url.password().is_some();
        let fits = is_bare && !has_user && url.has_host() && matches!(url.scheme(), "http" | "https");
        fits.then(|| PublicUrl(url.origin().ascii_serialization()))
    }

    /// The absolute form of a link.
    pub fn link(&self, href: &Href) -> String {
        format!("{}{href}", self.0)
    }

    /// The origin, as browsers send it in `Origin`.
    pub fn origin(&self) -> &str {
        &self.0
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether the host is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback_host(self.host_name())
    }

    /// The host without the port.
    pub fn host_name(&self) -> &str {
        let host = self.host();
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// The host and, unless it is the scheme's default, the port.
    pub fn host(&self) -> &str {
        self.0.split("://").nth(1).unwrap_or_default()
    }
}

/// Whether the host of a URL is this machine.
pub fn is_loopback(url: &reqwest::Url) -> bool {
    is_loopback_host(url.host_str().unwrap_or_default())
}

fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
