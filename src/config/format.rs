//! The formats of option values: how a text is parsed, and how errors and documentation describe it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use lettre::message::Mailbox;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

use crate::config::mail_server::MailServer;
use crate::config::public_url::{PublicUrl, is_loopback};
use crate::config::size::ByteSize;
use crate::crypto::Root;
use crate::email;
use crate::text::parse_name;
use crate::time::parse_span;

/// Returns `None` if the text is invalid.
type Parse<T> = Box<dyn Fn(&str) -> Option<T>>;

/// How a text becomes a `T`.
pub(super) struct Format<T> {
    /// The accepted values, as the object of "Use": "a number from 1 to 10". Empty for any text.
    pub(super) expected: String,
    /// Whether values are URLs. Errors do not quote them, since a URL may contain a credential.
    pub(super) is_url: bool,
    pub(super) parse: Parse<T>,
}

fn format<T>(expected: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Format<T> {
    Format { expected: expected.into(), is_url: false, parse: Box::new(parse) }
}

fn url_format<T>(expected: &str, parse: impl Fn(&str) -> Option<T> + 'static) -> Format<T> {
    Format { is_url: true, ..format(expected, parse) }
}

/// Any text.
pub(super) fn text() -> Format<String> {
    format("", |text| Some(text.to_owned()))
}

/// Any text that must not be shown.
pub(super) fn secret_text() -> Format<SecretString> {
    format("", |text| Some(text.into()))
}

/// Text that is shown on pages.
pub(super) fn name(max_chars: usize) -> Format<String> {
    format(format!("at most {max_chars} characters without control or invisible characters"), move |text| {
        parse_name(text, max_chars).ok()
    })
}

pub(super) fn path() -> Format<PathBuf> {
    format("", |text| Some(text.into()))
}

/// `0` or `1`.
pub(super) fn switch() -> Format<bool> {
    format("`0` or `1`", |text| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    })
}

pub(super) fn number(range: RangeInclusive<u32>) -> Format<u32> {
    format(format!("a number from {} to {}", range.start(), range.end()), move |text| {
        text.parse().ok().filter(|number| range.contains(number))
    })
}

/// A duration within bounds that are written like values, such as `1s` and `24h`.
pub(super) fn duration(min: &'static str, max: &'static str) -> Format<Duration> {
    let range = parse_duration(min)..=parse_duration(max);
    format(format!("a duration from `{min}` to `{max}`, such as `30s`"), move |text| {
        parse_duration(text).filter(|duration| range.contains(&Some(*duration)))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    u64::try_from(parse_span(text)?).ok().map(Duration::from_secs)
}

/// A number of bytes within bounds that are written like values, such as `64KiB` and `1GiB`.
pub(super) fn size(min: &'static str, max: &'static str) -> Format<ByteSize> {
    let range = ByteSize::parse(min)..=ByteSize::parse(max);
    format(format!("a size from `{min}` to `{max}`, such as `32MiB` or `100MB`"), move |text| {
        ByteSize::parse(text).filter(|size| range.contains(&Some(*size)))
    })
}

/// Durations above zero in seconds, separated by commas.
pub(super) fn durations() -> Format<Vec<i64>> {
    format("durations such as `30d,7d,12h`", |text| {
        text.split(',').map(|part| parse_span(part.trim()).filter(|&seconds| seconds > 0)).collect()
    })
}

pub(super) fn address() -> Format<SocketAddr> {
    format("an address and port such as `127.0.0.1:8080`", |text| text.parse().ok())
}

/// Networks and single addresses, separated by commas.
pub(super) fn networks() -> Format<Vec<IpNet>> {
    format("addresses and networks such as `10.0.0.0/8,::1`", |text| {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_network).collect()
    })
}

/// Parses `10.0.0.0/8` or a single address.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // IPv4-mapped addresses compare as IPv4, so an IPv4-mapped network becomes an IPv4 network.
    match (network.addr().to_canonical(), network.prefix_len()) {
        (address @ IpAddr::V4(_), length) if network.max_prefix_len() == 128 => {
            IpNet::new(address, length.checked_sub(96)?).ok()
        }
        _ => Some(network),
    }
}

pub(super) fn key_prefix() -> Format<String> {
    format("2 to 8 of the characters a-z and 0-9", |text| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (text.bytes().all(is_allowed) && (2..=8).contains(&text.len())).then(|| text.to_owned())
    })
}

/// A filter of the `tracing` crate.
pub(super) fn log_filter() -> Format<String> {
    format("a filter such as `info` or `keydesk=debug,warn`", |text| {
        EnvFilter::try_new(text).is_ok().then(|| text.to_owned())
    })
}

pub(super) fn root_secret() -> Format<Root> {
    format("at least 32 random bytes in base64: `openssl rand -base64 32`", Root::parse)
}

pub(super) fn mailbox() -> Format<Mailbox> {
    format("an address, or `Keydesk <keydesk@example.com>`, in ASCII before the @", |text| {
        let Mailbox { name, email } = text.parse().ok()?;
        let address = email.to_string();
        // Most servers accept no other sender, and the sender is that of every e-mail.
        let is_mailable = email.user().is_ascii() && email::check(&address).is_ok();
        is_mailable.then(|| email::deliverable(&address).parse().ok().map(|email| Mailbox { name, email }))?
    })
}

pub(super) fn smtp_url() -> Format<MailServer> {
    url_format(
        "`smtp://user:pass@host:587?tls=required` or `smtps://user:pass@host`, with special characters in \
         user and password percent-encoded",
        MailServer::parse,
    )
}

/// A SQLite or PostgreSQL URL, which `database::parse` checks.
pub(super) fn database_url() -> Format<String> {
    url_format("`sqlite:PATH` or `postgres://user:pass@host/database`", |text| Some(text.to_owned()))
}

pub(super) fn valkey_url() -> Format<redis::Client> {
    url_format("`redis://HOST:PORT` or `rediss://HOST:PORT`", |text| redis::Client::open(text).ok())
}

/// An origin without a path.
pub(super) fn public_url() -> Format<PublicUrl> {
    url_format("an origin without a path, such as `https://keys.example.com`", PublicUrl::parse)
}

/// Origins of pages, separated by commas, as browsers send them.
pub(super) fn origins() -> Format<Vec<String>> {
    let expected = "origins without a path, such as `https://app.example.com,https://tool.example.com`; `*` is not \
                    accepted, since any page could call the API then";
    format(expected, |text| {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_origin).collect()
    })
}

fn parse_origin(text: &str) -> Option<String> {
    let origin = PublicUrl::parse(text).filter(|origin| !origin.host().contains('*'))?;
    Some(origin.origin().to_owned())
}

/// A base URL, returned without a slash at its end.
pub(super) fn base_url() -> Format<String> {
    url_format("a base URL such as `https://host/v1`", |text| {
        let url = reqwest::Url::parse(text).ok()?;
        let fits = matches!(url.scheme(), "http" | "https") && url.query().is_none();
        fits.then(|| url.as_str().trim_end_matches('/').to_owned())
    })
}

/// The origin of a sign-in provider.
pub(super) fn provider_origin() -> Format<String> {
    url_format("an origin such as `https://github.example.com`; http is accepted on loopback only", |text| {
        let url = parse_provider_url(text).filter(|url| url.path() == "/")?;
        Some(url.origin().ascii_serialization())
    })
}

/// The issuer of an OpenID Connect provider, exactly as its documents name it.
pub(super) fn issuer() -> Format<String> {
    url_format(
        "the provider's issuer, such as `https://sso.example.com`; http is accepted on loopback only",
        |text| parse_provider_url(text).map(|_| text.to_owned()),
    )
}

/// Parses a URL without credentials, query or fragment; http only on loopback.
fn parse_provider_url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let is_protected = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (is_bare && is_protected && url.password().is_none() && url.has_host()).then_some(url)
}
