//! Cleans texts before they are logged: messages of libraries, errors, and values from clients.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::keys::secret::contains_key;
use crate::web::redact::shape::is_id;
use crate::web::redact::{open_with_secret, recorded, segments};

/// Fields of queries and forms whose value is never logged. Keydesk's own log lines have no queries.
pub const SECRET_FIELDS: &[&str] = &[
    "token",
    "code",
    "state",
    "nonce",
    "key",
    "api_key",
    "api-key",
    "apikey",
    "secret",
    "client_secret",
    "password",
    "passwd",
    "pwd",
    "new_password",
    "confirm_password",
    "access_token",
    "refresh_token",
    "id_token",
    "code_verifier",
    "assertion",
    "client_assertion",
    "login_hint",
    "session",
    "sig",
    "signature",
];

/// Headers whose value is never logged.
pub const SECRET_HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key"];

/// Replaces a secret value.
const REDACTED: &str = "[redacted]";
/// Replaces the token of a link outside its path.
const TOKEN: &str = "[a token]";

/// The text without keys, tokens in paths, queries and credentials.
pub fn text(raw: &str) -> Cow<'_, str> {
    // Most values are a word or a number.
    let may_hold = raw.len() >= 40 || raw.bytes().any(|byte| b"/\\%?=: ".contains(&byte));
    if !may_hold {
        return Cow::Borrowed(raw);
    }
    let mut clean = Cow::Borrowed(raw);
    if let Some(without) = without_credentials(&clean) {
        clean = without.into();
    }
    if let Some(without) = without_fields(&clean) {
        clean = without.into();
    }
    if clean.contains(['/', '\\', '%', '?']) || clean.len() >= 40 {
        let words = clean.split_inclusive(is_end_of_word).map(|word| {
            let end = word.trim_end_matches(is_end_of_word).len();
            (&word[..end], &word[end..])
        });
        let cleaned: Vec<(Cow<'_, str>, &str)> = words.map(|(word, end)| (clean_word(word), end)).collect();
        if cleaned.iter().any(|(word, _)| matches!(word, Cow::Owned(_))) {
            let joined: String = cleaned.iter().flat_map(|(word, end)| [word.as_ref(), end]).collect();
            clean = joined.into();
        }
    }
    match clean {
        Cow::Borrowed(_) => Cow::Borrowed(raw),
        Cow::Owned(clean) => Cow::Owned(clean),
    }
}

fn is_end_of_word(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || "\"'<>|`,".contains(letter)
}

/// Whether a word contains the token of a link that Keydesk sends: an id, a dot and hex digits.
fn contains_link_token(word: &str) -> bool {
    word.match_indices('.').any(|(place, _)| {
        let id = word[..place].rfind(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let id = &word[id.map_or(0, |start| start + 1)..place];
        let code = word[place + 1..].bytes().take_while(u8::is_ascii_hexdigit).count();
        is_id(id) && code >= 40
    })
}

/// The word without a key, a query or a token in its path.
fn clean_word(word: &str) -> Cow<'_, str> {
    if word.len() >= 40 && contains_key(word) {
        return "[a key]".to_owned().into();
    }
    if !word.contains(['/', '\\', '%', '?']) {
        let is_token = word.len() >= 40 && contains_link_token(word);
        return if is_token { TOKEN.to_owned().into() } else { Cow::Borrowed(word) };
    }
    let parts = segments(word);
    if parts.iter().any(|part| contains_key(part)) {
        return "[a key]".to_owned().into();
    }
    if let Some(place) = (0..parts.len()).find(|place| open_with_secret(&parts[*place..])) {
        let known = recorded(&parts[place..]);
        // A cleaned path stays as it is.
        return if known == word { Cow::Borrowed(word) } else { Cow::Owned(known) };
    }
    if contains_link_token(word) || parts.iter().any(|part| contains_link_token(part)) {
        return TOKEN.to_owned().into();
    }
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.split('/').next().and_then(|authority| authority.rsplit_once('@'))
        && user != REDACTED
    {
        let path = &rest[user.len() + 1 + host.len()..];
        return clean_word(&format!("{scheme}://{REDACTED}@{host}{path}")).into_owned().into();
    }
    match word.split_once('?') {
        Some((before, query)) if before.contains('/') && query.contains('=') && query != REDACTED => {
            format!("{before}?{REDACTED}").into()
        }
        _ => Cow::Borrowed(word),
    }
}

/// The text up to the value of a secret header or the credentials of an authentication scheme.
/// `None` if it has neither.
fn without_credentials(raw: &str) -> Option<String> {
    let lower = raw.to_ascii_lowercase();
    let header = SECRET_HEADERS.iter().find_map(|name| {
        let mut places = lower.match_indices(name);
        places.find_map(|(place, _)| {
            let rest = &lower[place + name.len()..];
            let value = rest.trim_start_matches(['"', '\'', ' ', ')']);
            let sign = value.strip_prefix([':', '=']).or_else(|| value.strip_prefix(','))?;
            Some(lower.len() - sign.len())
        })
    });
    let scheme = ["bearer ", "basic "].iter().find_map(|scheme| {
        let place = lower.find(scheme)? + scheme.len();
        (!lower[place..].starts_with("realm=")).then_some(place)
    });
    let start = [header, scheme].into_iter().flatten().min()?;
    let already = raw[start..].trim() == REDACTED;
    (!already).then(|| format!("{} {REDACTED}", raw[..start].trim_end()))
}

/// The text without the values of secret fields in the notation of queries and forms. `None` if it
/// has none.
fn without_fields(raw: &str) -> Option<String> {
    if !raw.contains('=') {
        return None;
    }
    let mut clean = String::with_capacity(raw.len());
    let (mut rest, mut changed) = (raw, false);
    while let Some(sign) = rest.find('=') {
        let (before, after) = rest.split_at(sign + 1);
        clean.push_str(before);
        let start =
            before[..sign].rfind(|letter: char| !letter.is_ascii_alphanumeric() && !"-_%".contains(letter));
        let name = percent_decode_str(&before[start.map_or(0, |place| place + 1)..sign]).decode_utf8_lossy();
        rest = after;
        if SECRET_FIELDS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
            && !after.starts_with(REDACTED)
        {
            let end = after.find(|letter: char| is_end_of_word(letter) || "&;)".contains(letter));
            rest = &after[end.unwrap_or(after.len())..];
            clean.push_str(REDACTED);
            changed = true;
        }
    }
    clean.push_str(rest);
    changed.then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK_TOKEN: &str = "inv_01kb0000000000000000000000.0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn text_of_libraries_is_cleaned() {
        let key = crate::keys::secret::PlainSecret::generate("kd").expect("generates");
        let secrets = [LINK_TOKEN, "0123456789abcdef", key.expose(), "hunter2"];
        for raw in [
            "error sending request for url (https://keys.example.com/invitations/§)",
            "uri=/invitations/§, version=1.1",
            "Uri { path: \"/%69nvitations/T\" }",
            "https://sso.example.com/token?code=hunter2&x=y",
            "GET /reset-password?token=§ HTTP/1.1",
            "GET /reset-password?%74oken=§ HTTP/1.1",
            "body: token=§&password=hunter2&email=a",
            "Authorization: Bearer hunter2",
            "headers: {\"authorization\": \"Bearer hunter2\", \"host\": \"x\"}",
            "\"x-api-key\": \"hunter2\"",
            "cookie: keydesk=hunter2; a=b",
            "(\"cookie\", \"keydesk=hunter2\")",
            "sent § to someone",
            "/somewhere/else/§",
            "/somewhere/else/inv_01kb0000000000000000000000%2e0123456789abcdef0123456789abcdef01234567",
            "the key ¤ is unknown",
            "https://keys.example.com/v1/api-keys/¤",
            "https://user:hunter2@models.example/v1/models?a=b",
            "https://keys.example.com/v1/authorize/files/hunter2",
        ] {
            let raw = raw.replace('§', LINK_TOKEN).replace('¤', key.expose());
            let clean = text(&raw);
            assert!(secrets.iter().all(|secret| !clean.contains(secret)), "{raw} became {clean}");
            assert_eq!(text(&clean), clean, "cleaning twice changes nothing");
        }
    }

    #[test]
    fn harmless_text_stays_as_it_is() {
        for raw in [
            "request",
            "stopping: open requests are answered first",
            "/data/keydesk.sqlite3: no such file or directory",
            "error sending request for url (https://models.example/v1/models)",
            "/o/acme-ai/keys/key_01kb0000000000000000000000/edit",
            "/invitations/{token}",
            "/{unknown}",
            "the database can't be reached: connection to server at \"127.0.0.1\", port 5432 failed",
            "retries=3 delay=5s",
            "Mozilla/5.0 (X11; Linux x86_64)",
        ] {
            assert_eq!(text(raw), raw);
        }
    }
}
