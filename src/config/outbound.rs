//! How Keydesk reaches other servers: proxies and certificate authorities, from variables that many programs share.
//!
//! Names and precedence are curl's. All HTTP clients of the process come from [`Outbound::client`].

use std::fs;

use reqwest::{ClientBuilder, NoProxy, Proxy, Url};

use crate::config::source::ConfigError;

/// Requests to this machine over http never use a proxy: they are not encrypted, and must not leave it.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// Makes HTTP clients. It can't be printed, because the address of a proxy may contain a password.
#[derive(Clone, Default)]
pub struct Outbound {
    proxies: Vec<Proxy>,
}

impl Outbound {
    /// Reads the variables. Errors: a proxy's address is invalid, or `SSL_CERT_FILE` has no certificate.
    pub fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Outbound, ConfigError> {
        check_certificates(env)?;
        let no_proxy = value(env, "NO_PROXY").map(|(_, list)| list).unwrap_or_default();
        let all = value(env, "ALL_PROXY");
        let mut proxies = Vec::new();
        if let Some((variable, address)) = value(env, "HTTPS_PROXY").or_else(|| all.clone()) {
            let proxy = Proxy::https(parse(&variable, &address)?).map_err(|_| refused(&variable))?;
            proxies.push(proxy.no_proxy(NoProxy::from_string(&no_proxy)));
        }
        if let Some((variable, address)) = value(env, "HTTP_PROXY").or(all) {
            let proxy = Proxy::http(parse(&variable, &address)?).map_err(|_| refused(&variable))?;
            proxies.push(proxy.no_proxy(NoProxy::from_string(&format!("{no_proxy},{LOOPBACK}"))));
        }
        Ok(Outbound { proxies })
    }

    /// A builder of clients that use the proxies, trust the configured certificate authorities and follow no
    /// redirect.
    pub fn client(&self) -> ClientBuilder {
        // If another part has installed a provider first, it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        self.proxies.iter().cloned().fold(builder, ClientBuilder::proxy)
    }
}

/// The name and value of a variable in lower or upper case. An empty one counts as unset.
fn value(env: &dyn Fn(&str) -> Option<String>, variable: &str) -> Option<(String, String)> {
    let names = [variable.to_lowercase(), variable.to_owned()];
    let set = names.into_iter().find_map(|name| env(&name).map(|value| (name, value.trim().to_owned())));
    set.filter(|(_, value)| !value.is_empty())
}

/// The address of a proxy. Without a scheme it means http.
fn parse(variable: &str, address: &str) -> Result<Url, ConfigError> {
    let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = Url::parse(&address).ok().filter(|url| SCHEMES.contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| refused(variable))
}

/// The value is not quoted, since it may contain a password.
fn refused(variable: &str) -> ConfigError {
    ConfigError::new(
        variable,
        "is not valid. Use the proxy's address, such as http://user:password@host:3128, with special characters in \
         user and password percent-encoded; the schemes are http, https, socks5 and socks5h.",
    )
}

fn check_certificates(env: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    const VARIABLE: &str = "SSL_CERT_FILE";
    let Some(path) = env(VARIABLE).filter(|path| !path.is_empty()) else { return Ok(()) };
    let bytes = fs::read(&path)
        .map_err(|error| ConfigError::new(VARIABLE, format!("names a file that can't be read: {error}.")))?;
    if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") {
        return Err(ConfigError::new(VARIABLE, "names a file without a certificate in PEM format."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Outbound, String> {
        let env =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Outbound::load(&env).map_err(|error| error.to_string())
    }

    #[test]
    fn each_scheme_has_its_own_proxy_or_the_common_one() {
        for (pairs, count) in [
            (vec![], 0),
            (vec![("HTTPS_PROXY", "http://proxy:3128")], 1),
            (vec![("http_proxy", "proxy:3128")], 1),
            (vec![("ALL_PROXY", "socks5://proxy:1080")], 2),
            (vec![("https_proxy", ""), ("HTTPS_PROXY", "http://proxy:3128")], 0),
        ] {
            assert_eq!(load(&pairs).map(|outbound| outbound.proxies.len()), Ok(count), "{pairs:?}");
        }
    }

    #[test]
    fn invalid_proxy_is_refused_and_not_quoted() {
        for address in [
            "ftp://ada:hunter2@proxy",
            "http://ada:hunter2@",
            "http://ada:hunter2@proxy:port",
            "ada:hunter2@[x",
        ] {
            for variable in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
                let message = load(&[(variable, address)]).err().unwrap_or_default();
                assert!(
                    message.starts_with(variable) && !message.contains("hunter2"),
                    "{address}: {message}"
                );
            }
        }
    }
}
