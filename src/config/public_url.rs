//! Where browsers and programs reach Keydesk.

use std::net::{IpAddr, SocketAddr};

use crate::settings::{ConfigError, Source};

/// The origin under which Keydesk is reached. The only source of links and cookie rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The origin of a server on loopback.
    pub fn loopback(port: u16) -> PublicUrl {
        PublicUrl(format!("http://localhost:{port}"))
    }

    /// An absolute link to a path of the portal or API.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The origin, as browsers send it in `Origin`.
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// Whether browsers reach it over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Host without port.
    pub fn host_name(&self) -> &str {
        let host = self.host();
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        self.0.split("://").nth(1).unwrap_or_default()
    }
}

/// Whether a URL names this machine.
pub fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn public_url(source: &Source<'_>, listen: SocketAddr) -> Result<Option<PublicUrl>, ConfigError> {
    const VARIABLE: &str = "KEYDESK_PUBLIC_URL";
    let allow_http = source.parse("KEYDESK_ALLOW_HTTP", "0", "Use 0 or 1.", |text| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    })?;
    let Some(text) = source.get(VARIABLE)? else {
        return if listen.ip().is_loopback() {
            Ok(None)
        } else {
            Err(ConfigError::new(VARIABLE, "is required when KEYDESK_LISTEN is not on loopback."))
        };
    };
    let rule = "must be an origin without a path, such as https://keys.example.com.";
    let url = reqwest::Url::parse(&text).map_err(|_| ConfigError::new(VARIABLE, rule))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    if !bare || !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(ConfigError::new(VARIABLE, rule));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !allow_http {
        return Err(ConfigError::new(
            VARIABLE,
            "uses http off loopback. Use https, or set KEYDESK_ALLOW_HTTP=1 if you accept that passwords and keys can be read on the way.",
        ));
    }
    Ok(Some(PublicUrl(url.origin().ascii_serialization())))
}
