//! The forms that public parameters of paths have.

use crate::people::oauth::ProviderId;

pub(super) fn is_slug(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=48).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Whether a text looks like a TypeID: a type and 26 characters.
pub(super) fn is_id(text: &str) -> bool {
    text.rsplit_once('_').is_some_and(|(kind, id)| {
        kind.bytes().all(|byte| byte.is_ascii_lowercase())
            && (2..=16).contains(&kind.len())
            && id.len() == 26
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

pub(super) fn is_number(text: &str) -> bool {
    (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_file(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_ours = [".css", ".js", ".svg", ".png", ".ico", ".woff2"].iter().any(|end| text.ends_with(end));
    is_ours && text.len() <= 64 && text.bytes().all(is_letter)
}

pub(super) fn is_provider(text: &str) -> bool {
    ProviderId::parse(text).is_some()
}
