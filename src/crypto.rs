//! The installation's root secret and everything derived from it.
//!
//! The root secret (`KEYDESK_SECRET`) is the input of HKDF-SHA-256 (RFC 5869). Each use has its own
//! label, so no derived key serves two purposes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The minimum length of the root secret, in bytes.
pub const ROOT_LENGTH: usize = 32;

/// A 32-byte digest or authentication code.
pub type Digest = [u8; 32];

/// Identifies a root secret without revealing anything about it.
pub type RootTag = [u8; 8];

/// The root secret. It can't be printed.
#[derive(Clone)]
pub struct Root(Zeroizing<Vec<u8>>);

impl Root {
    /// Generates a root secret with the operating system's generator.
    pub fn generate() -> Result<Root> {
        let mut bytes = Zeroizing::new(vec![0; ROOT_LENGTH]);
        fill_random(&mut bytes)?;
        Ok(Root(bytes))
    }

    /// Parses base64; `None` if it is invalid or shorter than [`ROOT_LENGTH`] bytes.
    pub fn parse(text: &str) -> Option<Root> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        (bytes.len() >= ROOT_LENGTH).then_some(Root(bytes))
    }

    /// The base64 form, for the file that the first start writes.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// Fills `output`, at most 8,160 bytes, with key material derived for `label`.
    pub fn derive(&self, label: &str, output: &mut [u8]) {
        let derived = Hkdf::<Sha256>::new(None, &self.0).expand(label.as_bytes(), output);
        debug_assert!(derived.is_ok(), "HKDF-SHA-256 gives at most 8,160 bytes");
    }

    /// Derives the tag of this secret.
    pub fn tag(&self) -> RootTag {
        let mut tag = RootTag::default();
        self.derive("keydesk root tag", &mut tag);
        tag
    }

    fn mac_key(&self, label: &str) -> MacKey {
        let mut key = Zeroizing::new([0; 32]);
        self.derive(label, key.as_mut());
        MacKey::new(key.as_ref())
    }
}

/// A prepared HMAC-SHA-256 key (RFC 2104). It can't be printed.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    fn new(key: &[u8]) -> MacKey {
        // HMAC accepts keys of any length, so this can't fail. Falling back to an all-zero key would be
        // dangerous.
        match Hmac::<Sha256>::new_from_slice(key) {
            Ok(mac) => MacKey(mac),
            Err(_) => unreachable!("HMAC accepts keys of any length"),
        }
    }

    /// The authentication code of `message`.
    pub fn digest(&self, message: &[u8]) -> Digest {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

/// Authenticates audit logs: only the owner of the root secret can compute its codes. It can't be
/// printed.
#[derive(Clone)]
pub struct LogSeal {
    logs: MacKey,
    check: MacKey,
}

impl LogSeal {
    fn new(root: &Root) -> LogSeal {
        LogSeal { logs: root.mac_key("keydesk audit logs"), check: root.mac_key(SEALED_CHECK) }
    }

    /// Computes the authentication code of a message.
    pub fn code(&self, message: &[u8]) -> Digest {
        self.logs.digest(message)
    }

    /// Whether `code` authenticates the message.
    pub fn accepts(&self, message: &[u8], code: &[u8]) -> bool {
        constant_time_eq(&self.code(message), code)
    }

    /// Whether a database with this nonce and check value belongs to the same root secret.
    pub fn owns(&self, nonce: &[u8], check: &[u8]) -> bool {
        constant_time_eq(&self.check.digest(nonce), check)
    }
}

/// The label of the check value of a database with authenticated audit logs. Older databases have
/// [`UNSEALED_CHECK`]. Without the root secret or an old copy, no one can make a database look old.
const SEALED_CHECK: &str = "keydesk check, audit logs authenticated";
const UNSEALED_CHECK: &str = "keydesk check";

/// The keys of the running server.
#[derive(Clone)]
pub struct Keyring {
    /// Digests of API keys.
    pub api_keys: MacKey,
    /// Digests of API keys under the previous root secret, while it is being replaced.
    pub api_keys_previous: Option<MacKey>,
    /// Digests of session identifiers.
    pub sessions: MacKey,
    /// Digests of idempotency keys and their requests.
    pub idempotency: MacKey,
    /// Digests of addresses and accounts in sign-in throttling.
    pub throttle: MacKey,
    root: Root,
    previous: Option<Root>,
}

impl Keyring {
    /// Derives all keys.
    pub fn new(root: Root, previous: Option<Root>) -> Keyring {
        Keyring {
            api_keys: root.mac_key("keydesk api keys"),
            api_keys_previous: previous.as_ref().map(|root| root.mac_key("keydesk api keys")),
            sessions: root.mac_key("keydesk sessions"),
            idempotency: root.mac_key("keydesk idempotency"),
            throttle: root.mac_key("keydesk throttle"),
            root,
            previous,
        }
    }

    /// Only the owner of the root secret can compute this value for a nonce; it shows whether a root
    /// secret belongs to a database.
    pub fn check_value(&self, nonce: &[u8]) -> Digest {
        self.root.mac_key(SEALED_CHECK).digest(nonce)
    }

    /// The check value of a database without authenticated audit logs.
    pub fn unsealed_check_value(&self, nonce: &[u8]) -> Digest {
        self.root.mac_key(UNSEALED_CHECK).digest(nonce)
    }

    /// The tag of the current root secret.
    pub fn root_tag(&self) -> RootTag {
        self.root.tag()
    }

    /// The tag of the previous root secret, while it is being replaced.
    pub fn previous_root_tag(&self) -> Option<RootTag> {
        self.previous.as_ref().map(Root::tag)
    }

    /// The seal of audit logs under the current root secret.
    pub fn log_seal(&self) -> LogSeal {
        LogSeal::new(&self.root)
    }

    /// The seal under the previous root secret, while it is being replaced.
    pub fn previous_log_seal(&self) -> Option<LogSeal> {
        self.previous.as_ref().map(LogSeal::new)
    }

    /// Seeds for signing keys: one from the root secret, and one from the previous root secret while it
    /// is being replaced.
    pub fn seeds(&self, label: &str) -> Vec<Zeroizing<[u8; 32]>> {
        let seed = |root: &Root| {
            let mut seed = Zeroizing::new([0; 32]);
            root.derive(label, seed.as_mut());
            seed
        };
        [Some(&self.root), self.previous.as_ref()].into_iter().flatten().map(seed).collect()
    }

    /// The one-time token of the set-up link, bound to the database by `nonce`.
    pub fn setup_token(&self, nonce: &[u8]) -> String {
        hex::encode(&self.root.mac_key("keydesk setup").digest(nonce)[..20])
    }

    /// The token of an e-mailed link: the id of its row and a code that only the owner of the root
    /// secret can compute. So neither the row nor the queued e-mail holds the token; the row decides how
    /// often and until when the link is valid.
    pub fn link_token(&self, purpose: &str, id: &str) -> String {
        format!("{id}.{}", hex::encode(&self.link_code(purpose, id)[..20]))
    }

    /// The row id in a token made by [`Keyring::link_token`] for the same purpose; otherwise `None`.
    pub fn open_link_token<'a>(&self, purpose: &str, token: &'a str) -> Option<&'a str> {
        let (id, code) = token.split_once('.')?;
        let code = Zeroizing::new(hex::decode(code).ok()?);
        constant_time_eq(&code, &self.link_code(purpose, id)[..20]).then_some(id)
    }

    fn link_code(&self, purpose: &str, id: &str) -> Digest {
        self.root.mac_key("keydesk links").digest(format!("{purpose}:{id}").as_bytes())
    }

    /// 64 bytes for the authenticated encryption of the session cookie.
    pub fn cookie_key(&self) -> Zeroizing<[u8; 64]> {
        let mut key = Zeroizing::new([0; 64]);
        self.root.derive("keydesk cookie", key.as_mut());
        key
    }

    /// Encrypts `plain` under a key derived from the root secret and `context`, which isn't stored.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; 12];
        fill_random(&mut nonce)?;
        let mut sealed = nonce.to_vec();
        let text = self.sealer(context).encrypt(&Nonce::from(nonce), plain);
        sealed.extend(text.map_err(|_| Error::internal("sealing failed"))?);
        Ok(sealed)
    }

    /// Decrypts the output of [`Keyring::seal`] with the same context; otherwise `None`.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<12>()?;
        self.sealer(context).decrypt(&Nonce::from(*nonce), text).ok().map(Zeroizing::new)
    }

    fn sealer(&self, context: &[u8]) -> ChaCha20Poly1305 {
        let key = Zeroizing::new(self.root.mac_key("keydesk seal").digest(context));
        ChaCha20Poly1305::new((&*key).into())
    }
}

/// Compares byte strings in time that depends only on their lengths.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(message: &[u8]) -> Digest {
    Sha256::digest(message).into()
}

/// Fills `bytes` with the operating system's generator.
pub fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Error::internal(error.to_string()))
}

/// The digits of base62, in order.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Random text of `length` characters from `0-9A-Za-z`, without bias.
pub fn random_base62(length: usize) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < length {
        fill_random(bytes.as_mut())?;
        // 248 is the largest multiple of 62 in a byte; higher values would favour some letters.
        let letters = bytes.iter().filter(|&&byte| byte < 248);
        for byte in letters.take(length - text.len()) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(byte: u8) -> Keyring {
        Keyring::new(Root(Zeroizing::new(vec![byte; ROOT_LENGTH])), None)
    }

    #[test]
    fn sealed_text_opens_only_with_its_context_and_secret() {
        let sealed = keyring(1).seal(b"context", b"text").expect("seals");
        assert_eq!(
            keyring(1).open(b"context", &sealed).as_deref().map(Vec::as_slice),
            Some(b"text".as_slice())
        );
        assert!(keyring(1).open(b"other", &sealed).is_none());
        assert!(keyring(2).open(b"context", &sealed).is_none());
        assert!(keyring(1).open(b"context", &sealed[..11]).is_none());
    }

    #[test]
    fn link_token_opens_only_for_its_purpose() {
        let token = keyring(1).link_token("invitation", "inv_1");
        assert_eq!(keyring(1).open_link_token("invitation", &token), Some("inv_1"));
        assert_eq!(keyring(1).open_link_token("reset", &token), None);
        assert_eq!(keyring(2).open_link_token("invitation", &token), None);
        assert_eq!(keyring(1).open_link_token("invitation", &token.replace("inv_1", "inv_2")), None);
        assert_eq!(keyring(1).open_link_token("invitation", &token[..token.len() - 2]), None);
    }

    #[test]
    fn short_and_unreadable_secrets_are_refused() {
        assert!(Root::parse("").is_none());
        assert!(Root::parse("not base64!").is_none());
        assert!(Root::parse(&STANDARD.encode([7; 31])).is_none());
        assert!(Root::parse(&STANDARD.encode([7; 32])).is_some());
    }
}
