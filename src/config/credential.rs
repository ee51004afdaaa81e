//! Whether a value contains a credential. Every user of a machine can read the flags of its
//! processes.

use percent_encoding::percent_decode_str;

/// Names of parameters that hold a credential, in URLs and libpq connection strings.
const NAMES: [&str; 15] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "passphrase",
    "sslpassword",
    "secret",
    "client_secret",
    "oauth_client_secret",
    "token",
    "access_token",
    "api_key",
    "api-key",
    "apikey",
    "key",
];

/// Whether a URL has a password, or a user where that alone opens something, or a parameter
/// that holds a credential.
pub(super) fn is_in(value: &str) -> bool {
    let value = value.trim();
    // The name of a file may contain anything.
    if value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sqlite:")) {
        return false;
    }
    let decoded = decode(&decode(value));
    [value, decoded.as_str()].iter().any(|text| has_userinfo(text) || has_parameter(text))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether there is a credential in front of the host. The text may be malformed: a password with
/// an unencoded `/`, `?` or `@` is still one.
fn has_userinfo(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_web = scheme.trim().to_ascii_lowercase().starts_with("http");
    let to_query = rest.split(['?', '#']).next().filter(|_| !is_web);
    let parts = [rest.split('/').next(), to_query];
    parts.into_iter().flatten().filter_map(|part| part.rsplit_once('@')).any(|(user, _)| {
        let has_password = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
        has_password || (is_web && !user.is_empty())
    })
}

/// Whether a parameter such as `?password=x`, or ` password = x` in a connection string, has a value.
fn has_parameter(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices('=').any(|(sign, _)| {
        let before = lower[..sign].trim_end();
        let start = before.rfind(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
        let name = &before[start.map_or(0, |place| place + 1)..];
        let value = lower[sign + 1..].trim_start();
        NAMES.contains(&name) && !value.is_empty() && !value.starts_with('&') && !value.starts_with("''")
    })
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn every_place_of_a_credential_is_found() {
        for with in [
            "postgres://keydesk:secret@db/keydesk",
            "postgresql://keydesk:secret@db/keydesk",
            " POSTGRES://keydesk:secret@db/keydesk",
            "postgres://:secret@db/keydesk",
            "postgres://keydesk:s%40cret@db/keydesk",
            "postgres://keydesk%3Asecret@db/keydesk",
            "postgres://keydesk:a/b@db/keydesk",
            "postgres://keydesk:a?b@db/keydesk",
            "postgres://keydesk:a@b@db/keydesk",
            "postgres://keydesk:secret@[::1]:5432/keydesk",
            "postgres://keydesk:secret@h1:1,h2:2/keydesk",
            "postgres://db/keydesk?user=keydesk&password=secret",
            "postgres://db/keydesk?PASSWORD=secret",
            "postgres://db/keydesk?pass%77ord=secret",
            "postgres://db/keydesk?%70assword%3Dsecret",
            "postgres://db/keydesk?sslpassword=secret",
            "postgres:///keydesk?host=/run&password=secret",
            "host=db user=keydesk password=secret",
            "host=db password = 'secret'",
            "password=secret",
            "mysql://keydesk:secret@db/keydesk",
            "https://user:secret@models.example/v1",
            "https://sk-secret@models.example/v1",
            "https://models.example/v1?api_key=secret",
            "https://models.example/v1?api-key=secret",
            "smtp://user:secret@mail.example",
        ] {
            assert!(is_in(with), "{with}");
        }
    }

    #[test]
    fn values_without_a_credential_are_not_suspected() {
        for without in [
            "postgres://db/keydesk",
            "postgres://keydesk@db:5432/keydesk?sslmode=verify-full",
            "postgres://keydesk:@db/keydesk",
            "postgres://keydesk@[::1]:5432/keydesk",
            "postgres:///keydesk?host=/run/postgresql&user=keydesk",
            "postgres://db/keydesk?passfile=/etc/keydesk/pgpass&password=",
            "host=db user=keydesk passfile=/etc/pgpass",
            "sqlite:/data/a:b@c?password=x",
            "https://models.example/v1",
            "https://models.example:8443/@team/v1",
            "127.0.0.1:8080",
            "10.0.0.0/8,::1",
            "Keydesk <keydesk@example.com>",
            "info,keydesk=debug",
        ] {
            assert!(!is_in(without), "{without}");
        }
    }
}
