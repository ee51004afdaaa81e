//! The host under which a client reached Keydesk, where it is not that of `KEYDESK_PUBLIC_URL`.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::web::Shared;

/// The longest host that is shown: a domain name (RFC 1035 section 2.3.4) and a port.
const LONGEST: usize = 253 + 6;

/// A host at which forms are refused, and the origin to use instead.
pub struct WrongHost {
    /// The host and port that the client used.
    pub used: String,
    /// The origin of `KEYDESK_PUBLIC_URL`.
    pub origin: String,
}

/// The host and port in `Host` (RFC 9110 section 7.2). `None` if it is missing or can't be one.
pub fn used(request: &HttpRequest) -> Option<&str> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    (!host.is_empty() && host.len() <= LONGEST && host.bytes().all(is_host)).then_some(host)
}

/// The host of the request, if its forms will be refused there. Browsers that send Fetch Metadata are not concerned:
/// they prove in another way that a form comes from Keydesk. A loopback host is that of a reverse proxy on this
/// machine.
pub fn wrong(request: &HttpRequest) -> Option<WrongHost> {
    let site = request.app_data::<Shared>()?;
    let used = used(request)?;
    let is_proven = request.headers().contains_key("sec-fetch-site");
    let is_right = used.eq_ignore_ascii_case(site.public_url.host());
    let wrong = || WrongHost { used: used.to_owned(), origin: site.public_url.origin().to_owned() };
    (!is_proven && !is_right && !is_loopback(used)).then(wrong)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
