//! The secret of a key, and its fingerprint.

use zeroize::Zeroizing;

use crate::crypto::{Digest, MacKey, random_base62, sha256};
use crate::error::Result;
pub use crate::key_text::contains_key;
use crate::key_text::{RANDOM, checksum, is_key};

/// The number of hexadecimal digits of the SHA-256 that are stored and shown.
pub const SHA256_DIGITS: usize = 12;

/// A secret in plaintext. It cannot be printed, compared or serialised; [`PlainSecret::expose`] is the only
/// way to its text.
#[derive(Clone)]
pub struct PlainSecret(Zeroizing<String>);

/// Identifies a secret without revealing it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Fingerprint {
    /// Prefix and last four characters: `kd_…x9Ka`.
    pub hint: String,
    /// The first digits of the SHA-256 of the secret, as `sha256sum` prints it.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub sha256_prefix: String,
}

impl PlainSecret {
    /// A new secret from the generator of the operating system.
    pub fn generate(prefix: &str) -> Result<PlainSecret> {
        let random = random_base62(RANDOM)?;
        Ok(PlainSecret(Zeroizing::new(format!("{prefix}_{}{}", *random, checksum(&random)))))
    }

    /// Parses a presented secret and checks its shape and checksum. Any prefix is accepted, since the
    /// configured one may have changed since the secret was created.
    pub fn parse(text: &str) -> Option<PlainSecret> {
        is_key(text).then(|| PlainSecret(Zeroizing::new(text.to_owned())))
    }

    /// The text, for the one response that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digest that the database stores.
    pub fn digest(&self, key: &MacKey) -> Digest {
        key.digest(self.0.as_bytes())
    }

    /// The prefix, without the underscore.
    pub fn prefix(&self) -> &str {
        self.0.split('_').next().unwrap_or_default()
    }

    /// The last four characters.
    pub fn last4(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let sha256 = hex::encode(sha256(self.0.as_bytes()));
        Fingerprint::new(self.prefix(), self.last4(), &sha256[..SHA256_DIGITS])
    }
}

impl Fingerprint {
    /// Builds a fingerprint from the parts that the database stores.
    pub fn new(prefix: &str, last4: &str, sha256_prefix: &str) -> Fingerprint {
        Fingerprint { hint: format!("{prefix}_…{last4}"), sha256_prefix: sha256_prefix.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_character_is_detected() {
        let secret = PlainSecret::generate("kd").expect("generates");
        assert_eq!(secret.expose().len(), 49);
        assert!(PlainSecret::parse(secret.expose()).is_some());
        for place in 3..secret.expose().len() {
            let mut text = secret.expose().as_bytes().to_vec();
            text[place] = if text[place] == b'a' { b'b' } else { b'a' };
            let text = String::from_utf8(text).expect("ASCII");
            assert!(PlainSecret::parse(&text).is_none(), "{place}");
        }
        for wrong in [
            "",
            "kd_",
            &secret.expose()[..48],
            &format!("{}0", secret.expose()),
            &format!("K{}", secret.expose()),
        ] {
            assert!(PlainSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn secret_is_found_inside_other_text() {
        let secret = PlainSecret::generate("kd").expect("generates");
        assert!(contains_key(&format!("see {}, it leaked", secret.expose())));
        assert!(!contains_key("kd_x9Ka"));
    }
}
