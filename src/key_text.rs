//! The text of a key: `<prefix>_<40 base62 characters><6 characters of checksum>`.
//!
//! The checksum is GitHub's: the CRC-32 (IEEE 802.3) of the random characters as ASCII, in base62 over `0-9A-Za-z`,
//! padded with `0`. It adds no security; it lets a scanner or a server refuse noise without a database.

use crate::crypto::BASE62;

/// The number of random characters.
pub const RANDOM: usize = 40;
const CHECKSUM: usize = 6;

/// Whether a text has the shape of a key and a correct checksum. Any prefix will do, because the configured one
/// may have been another when the key was created.
pub fn is_key(text: &str) -> bool {
    let Some((prefix, body)) = text.split_once('_') else { return false };
    let is_prefix = prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_prefix || !(2..=8).contains(&prefix.len()) || !is_body(body) {
        return false;
    }
    let (random, check) = body.split_at(RANDOM);
    checksum(random) == check
}

/// Whether a text contains a key. Such a text must not be part of a URL, a name or a log line.
pub fn contains_key(text: &str) -> bool {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').any(is_key)
}

fn is_body(body: &str) -> bool {
    body.len() == RANDOM + CHECKSUM && body.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The checksum of random characters.
pub fn checksum(random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes()) as usize;
    let mut text = [b'0'; CHECKSUM];
    for place in text.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    text.iter().map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_githubs_published_vector() {
        assert_eq!(checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
    }
}
