//! The client's address, as far as it can be believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::HttpRequest;
use ipnet::IpNet;

use crate::web::Shared;

/// The address of the client: the connection's, or, when a trusted proxy connected, the
/// right-most address in `X-Forwarded-For` that is not a trusted proxy itself.
pub fn client(request: &HttpRequest) -> IpAddr {
    let peer =
        request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical());
    let Some(site) = request.app_data::<Shared>() else {
        return peer;
    };
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    behind_proxies(peer, forwarded, &site.trusted_proxies)
}

/// The network by which clients are counted: an IPv6 client owns a whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The key by which tries to sign in are counted.
pub fn group(address: IpAddr) -> String {
    match network(address) {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn behind_proxies<'a>(peer: IpAddr, forwarded: impl Iterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    for hop in hops.iter().rev() {
        if !is_trusted(&client) {
            break;
        }
        // What a proxy did not write as an address says nothing about who is behind it.
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().expect("valid")];
        let seen =
            |peer: &str, forwarded: &str| behind_proxies(ip(peer), std::iter::once(forwarded), &trusted);
        assert_eq!(seen("192.0.2.1", "203.0.113.7"), ip("192.0.2.1"));
        assert_eq!(seen("10.0.0.1", "203.0.113.7"), ip("203.0.113.7"));
        assert_eq!(seen("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2"), ip("203.0.113.7"));
        assert_eq!(seen("10.0.0.1", "unknown"), ip("10.0.0.1"));
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        assert_eq!(group(ip("2001:db8::1")), group(ip("2001:db8::ffff")));
        assert_ne!(group(ip("2001:db8::1")), group(ip("2001:db8:0:1::1")));
    }
}
