//! Passwords: the rules of NIST SP 800-63B-4 section 3.1.1 and argon2id (RFC 9106).
//!
//! A password is the only factor, so it has at least 15 characters; there are no rules of
//! composition. It is compared with common passwords, sequences, repeats and the words of
//! its context by zxcvbn, and refused when it would fall within a million guesses.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::{Error, FieldError, Result};

/// The least length, in characters.
pub const MIN_CHARACTERS: usize = 15;
const MAX_BYTES: usize = 1024;
/// How many passwords are hashed at once; each takes 19 MiB while it is.
const PARALLEL: usize = 2;
/// How many more may wait before sign-in answers that it is busy.
const QUEUE: usize = 64;

static SLOTS: Semaphore = Semaphore::const_new(PARALLEL);
static WAITING: Semaphore = Semaphore::const_new(PARALLEL + QUEUE);

/// A password hash in PHC string format. It can't be printed.
#[derive(Clone)]
pub struct Hashed(SecretString);

impl Hashed {
    /// A hash as the database holds it.
    pub fn from_stored(text: String) -> Hashed {
        Hashed(text.into())
    }

    /// The text to store.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Checks a new password against the rules. `context` holds what must not make it up: the
/// person's name and address, the organisation's name.
pub fn check(field: &'static str, password: &SecretString, context: &[&str]) -> Result<(), FieldError> {
    let text = password.expose_secret();
    let length = text.chars().count();
    if length < MIN_CHARACTERS {
        return Err(FieldError::new(
            field,
            format!("Use at least {MIN_CHARACTERS} characters. A sentence works well."),
        ));
    }
    if text.len() > MAX_BYTES {
        return Err(FieldError::new(field, format!("Use at most {MAX_BYTES} bytes.")));
    }
    let words: Vec<&str> = context.iter().copied().chain(["keydesk"]).collect();
    if zxcvbn::zxcvbn(text, &words).score() < zxcvbn::Score::Two {
        return Err(FieldError::new(
            field,
            "This password is too easy to guess: it is common, repeats itself or is made of known words. Choose another.",
        ));
    }
    Ok(())
}

/// Hashes a password; blocks for some milliseconds.
pub fn hash_now(password: &SecretString) -> Result<Hashed> {
    let hash = hasher()
        .hash_password(password.expose_secret().as_bytes())
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(Hashed(hash.to_string().into()))
}

/// Hashes a password off the async threads.
pub async fn hash(password: SecretString) -> Result<Hashed> {
    bounded(move || hash_now(&password)).await
}

/// Compares a password with a hash off the async threads. Without a hash the same work is
/// done and the answer is `false`, so that time does not tell who is known.
pub async fn verify(password: SecretString, hashed: Option<Hashed>) -> Result<bool> {
    bounded(move || {
        let text = password.expose_secret().as_bytes();
        if text.len() > MAX_BYTES {
            return Ok(false);
        }
        match hashed.as_ref().and_then(|hashed| PasswordHash::new(hashed.expose()).ok()) {
            Some(hash) => Ok(hasher().verify_password(text, &hash).is_ok()),
            None => hasher()
                .hash_password(text)
                .map(|_| false)
                .map_err(|error| Error::internal(error.to_string())),
        }
    })
    .await
}

async fn bounded<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let Ok(_place) = WAITING.try_acquire() else {
        return Err(Error::Unavailable("too many passwords are being checked".into()));
    };
    let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(Error::internal(panic)))
}

/// Argon2id with 19 MiB, two passes, one lane: OWASP's Password Storage Cheat Sheet.
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(password: &str) -> bool {
        check("password", &password.to_owned().into(), &["ada@example.com", "Ada Lovelace", "Acme"]).is_ok()
    }

    #[test]
    fn short_common_and_repeated_passwords_are_refused() {
        for weak in [
            "short",
            "fourteen chars",
            "password1234567",
            "aaaaaaaaaaaaaaaaaaaa",
            "123456789012345",
            "qwertyuiopasdfg",
            "passwordpassword",
            "keydeskkeydesk1",
            "ada@example.com",
        ] {
            assert!(!accepted(weak), "{weak}");
        }
        assert!(!accepted(&"long ".repeat(300)));
    }

    #[test]
    fn a_sentence_is_accepted_in_any_script() {
        for strong in
            ["correct horse battery staple", "ein Satz, den nur ich kenne", "日本語の長いパスワードでも良い"]
        {
            assert!(accepted(strong), "{strong}");
        }
    }
}
