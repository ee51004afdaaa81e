//! The client's address, as far as it can be trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;
use ipnet::IpNet;

use crate::web::Shared;

/// How many hops of `X-Forwarded-For` are read, from the right.
const MOST_HOPS: usize = 64;
/// The longest hop that can be an address: a bracketed IPv6 address with zone, port and quotes.
const LONGEST_HOP: usize = 128;

/// The address from which a request comes. Unknown if a trusted proxy forwarded something unreadable; then it
/// matches no allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// `None` if the address is unknown.
    pub fn ip(self) -> Option<IpAddr> {
        self.0
    }

    /// The bucket in which attempts on an account are counted by address. An IPv6 client owns a whole
    /// /64. Unknown addresses share no bucket: otherwise one attacker behind a misconfigured proxy could
    /// block everybody behind it. For them, only the account's own limit applies.
    pub fn bucket(self, account: &str) -> String {
        match self.0.map(network) {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(network)) => format!("{network}/64"),
            None => format!("unknown, for {}", crate::email::fold(account)),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// The client's address: the connection's or, if a trusted proxy connected, the right-most address in
/// `X-Forwarded-For` that is not a trusted proxy.
pub fn client(request: &HttpRequest) -> ClientAddress {
    let Some(peer) = request.peer_addr().map(|address| address.ip().to_canonical()) else {
        return ClientAddress(None);
    };
    let Some(site) = request.app_data::<Shared>() else {
        return ClientAddress(Some(peer));
    };
    let forwarded = request.headers().get_all("x-forwarded-for").map(HeaderValue::as_bytes);
    let client = behind_proxies(peer, forwarded, &site.trusted_proxies);
    if client.is_none() {
        warn_of_unreadable_hop(peer);
    }
    ClientAddress(client)
}

/// The network by which clients are counted: for IPv6, the /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Logs the warning once per process, so that a stranger can't fill the log.
fn warn_of_unreadable_hop(peer: IpAddr) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            proxy = %peer,
            "a proxy in KEYDESK_TRUSTED_PROXIES sent an X-Forwarded-For without a readable address; \
             clients behind it have an unknown address, and keys restricted to addresses refuse them"
        );
    }
}

fn behind_proxies<'a>(
    peer: IpAddr,
    forwarded: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(peer) {
        return Some(peer);
    }
    let lines: Vec<&[u8]> = forwarded.collect();
    // Empty list elements are ignored (RFC 9110 section 5.6.1.2).
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let hops = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
    let mut client = peer;
    for (count, hop) in hops.enumerate() {
        if count == MOST_HOPS || hop.len() > LONGEST_HOP {
            return None;
        }
        client = parse_hop(std::str::from_utf8(hop).ok()?)?;
        if !is_trusted(client) {
            break;
        }
    }
    Some(client)
}

/// Parses a hop: an address with or without port, brackets, quotes and IPv6 zone.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = match hop.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?.trim(),
        None => hop,
    };
    if let Some(rest) = hop.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let has_port = port.is_empty() || is_port(port.strip_prefix(':')?);
        return has_port.then(|| parse_v6(address)).flatten();
    }
    let v4 = hop.parse().ok().map(IpAddr::V4);
    let v4 = v4.or_else(|| hop.parse().ok().map(|address: SocketAddrV4| IpAddr::V4(*address.ip())));
    v4.or_else(|| parse_v6(hop)).or_else(|| {
        // Eight groups and a port are unambiguous; with `::` the port could be a group.
        let (address, port) = hop.rsplit_once(':')?;
        let is_whole = !address.contains("::") && is_port(port);
        is_whole.then(|| parse_v6(address)).flatten()
    })
}

/// Parses an IPv6 address. The zone has a meaning only on the proxy and is ignored.
fn parse_v6(text: &str) -> Option<IpAddr> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let is_zone = |zone: &str| {
        !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
    };
    if !zone.is_none_or(is_zone) {
        return None;
    }
    address.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    fn seen(peer: &str, forwarded: &[&str]) -> Option<IpAddr> {
        let trusted = ["10.0.0.0/8".parse().expect("valid"), "fd00::/8".parse().expect("valid")];
        behind_proxies(ip(peer), forwarded.iter().map(|line| line.as_bytes()), &trusted)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(seen("192.0.2.1", &["203.0.113.7"]), Some(ip("192.0.2.1")));
        assert_eq!(seen("192.0.2.1", &["nonsense"]), Some(ip("192.0.2.1")));
        assert_eq!(seen("10.0.0.1", &["203.0.113.7"]), Some(ip("203.0.113.7")));
        assert_eq!(seen("10.0.0.1", &["1.2.3.4, 203.0.113.7, 10.0.0.2"]), Some(ip("203.0.113.7")));
        assert_eq!(seen("10.0.0.1", &["1.2.3.4", "203.0.113.7", "10.0.0.2"]), Some(ip("203.0.113.7")));
        assert_eq!(seen("10.0.0.1", &["nonsense, 203.0.113.7"]), Some(ip("203.0.113.7")));
        assert_eq!(seen("10.0.0.1", &[]), Some(ip("10.0.0.1")));
        assert_eq!(seen("10.0.0.1", &[" , "]), Some(ip("10.0.0.1")));
        assert_eq!(seen("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), Some(ip("10.0.0.3")));
    }

    #[test]
    fn every_common_form_of_a_hop_is_read() {
        for form in [
            "203.0.113.7",
            " 203.0.113.7\t",
            "203.0.113.7:54321",
            "\"203.0.113.7\"",
            "\"203.0.113.7:54321\"",
            "203.0.113.7,",
            ",, 203.0.113.7 ,,",
            "::ffff:203.0.113.7",
            "::ffff:cb00:7107",
            "[::ffff:203.0.113.7]:443",
            "203.0.113.7:443, 10.0.0.9:80",
            "203.0.113.7, [fd00::1]:80",
            "203.0.113.7, fd00::1%eth0",
        ] {
            assert_eq!(seen("10.0.0.1", &[form]), Some(ip("203.0.113.7")), "{form:?}");
        }
        for form in [
            "2001:db8::5",
            "2001:DB8:0:0:0:0:0:5",
            "[2001:db8::5]",
            "[2001:db8::5]:443",
            "\"[2001:db8::5]:443\"",
            "\"2001:db8::5\"",
            "2001:db8::5%eth0",
            "[2001:db8::5%25eth0]:443",
            "2001:db8:0:0:0:0:0:5:443",
        ] {
            assert_eq!(seen("10.0.0.1", &[form]), Some(ip("2001:db8::5")), "{form:?}");
        }
    }

    #[test]
    fn an_unreadable_hop_is_an_unknown_address_and_never_the_proxy() {
        let long = format!("{}203.0.113.7", " 1".repeat(200));
        let many = "10.0.0.2,".repeat(MOST_HOPS + 1);
        for form in [
            "unknown",
            "_hidden",
            "-",
            "unix:",
            "localhost",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:99999",
            "203.0.113.7:+80",
            "203.0.113.07",
            "203.0.113.7/32",
            "203.0.113.7;x",
            "203.0.113.7 8.8.8.8",
            "\"203.0.113.7",
            "203.0.113.7\"",
            "[203.0.113.7]",
            "[2001:db8::5",
            "2001:db8::5]",
            "[2001:db8::5]443",
            "[2001:db8::5]:",
            "2001:db8::5%",
            "2001:db8::5%a b",
            "for=203.0.113.7",
            "0xcb007107",
            "3405803783",
            "203.0.113.7\u{a0}",
            "é",
            long.as_str(),
            many.as_str(),
        ] {
            assert_eq!(seen("10.0.0.1", &[form]), None, "{form:?}");
            assert_eq!(seen("10.0.0.1", &["10.0.0.5", form]), None, "{form:?}");
        }
        let trusted = ["10.0.0.0/8".parse().expect("valid")];
        assert_eq!(behind_proxies(ip("10.0.0.1"), [b"\xff".as_slice()].into_iter(), &trusted), None);
    }

    #[test]
    fn attempts_are_counted_by_address_and_unknown_ones_by_account_alone() {
        let bucket = |text: &str, account| ClientAddress(Some(ip(text))).bucket(account);
        assert_eq!(bucket("2001:db8::1", "a"), bucket("2001:db8::ffff", "b"));
        assert_ne!(bucket("2001:db8::1", "a"), bucket("2001:db8:0:1::1", "a"));
        assert_eq!(bucket("203.0.113.7", "a"), bucket("203.0.113.7", "b"));
        assert_ne!(ClientAddress(None).bucket("a"), ClientAddress(None).bucket("b"));
    }
}
