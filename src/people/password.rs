//! Passwords: the rules of NIST SP 800-63B-4 section 3.1.1 and argon2id (RFC 9106).
//!
//! A password is the only factor, so it has at least 15 characters; there are no rules of
//! composition. It is compared with common passwords, sequences, repeats and the words of
//! its context by zxcvbn, and refused when it would fall within a million guesses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{OnceLock, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, FieldError, Result};

/// The least length, in characters.
pub const MIN_CHARACTERS: usize = 15;
const MAX_BYTES: usize = 1024;
/// How much of a password its strength is judged by, in characters: the work grows faster than the
/// length.
const JUDGED: usize = 100;

/// Passwords are hashed and compared one at a time, each in 19 MiB, so that people who sign in
/// leave processors and memory to requests with keys.
static HASHING: Line = Line::new("hashing", 64, 16);
/// The strength of new passwords is judged beside that, since it may take longer.
static JUDGING: Line = Line::new("judging", 16, 0);

/// Who waits in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Anyone.
    Stranger,
    /// Somebody who is signed in, or was signed in from there lately. Places are kept for them.
    Known,
}

/// A thread that does one piece of work after the other, and the line before it. It is always the same
/// thread, since each thread would keep memory of its own.
struct Line {
    name: &'static str,
    places: Semaphore,
    known_places: Semaphore,
    thread: OnceLock<mpsc::Sender<Work>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Line {
    /// So many may wait before others are told that it is busy, and so many more who are known.
    const fn new(name: &'static str, places: usize, known_places: usize) -> Line {
        Line {
            name,
            places: Semaphore::const_new(places),
            known_places: Semaphore::const_new(known_places),
            thread: OnceLock::new(),
        }
    }

    /// Does the work when it is its turn, unless nobody waits for it any more by then.
    async fn take<T: Send + 'static>(
        &'static self,
        waits: Waits,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = match (self.places.try_acquire(), waits) {
            (Err(_), Waits::Known) => self.known_places.try_acquire(),
            (place, _) => place,
        };
        let Ok(place) = place else {
            return Err(Error::Unavailable("too many passwords are being checked".into()));
        };
        let (answer, told) = oneshot::channel();
        let work: Work = Box::new(move || {
            let _place = place;
            if !answer.is_closed() {
                let done = catch_unwind(AssertUnwindSafe(work));
                let _ =
                    answer.send(done.unwrap_or_else(|_| Err(Error::internal("a password can't be checked"))));
            }
        });
        let thread = self.thread.get_or_init(|| self.start());
        thread.send(work).map_err(|_| Error::internal("no thread checks passwords"))?;
        told.await.map_err(Error::internal)?
    }

    fn start(&self) -> mpsc::Sender<Work> {
        let (sender, works) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        if let Err(error) = thread.spawn(move || works.into_iter().for_each(|work| work())) {
            tracing::error!(%error, "no thread to check passwords can be started");
        }
        sender
    }
}

/// A password hash in PHC string format. It can't be printed.
#[derive(Clone)]
pub struct Hashed(SecretString);

impl Hashed {
    /// A hash as the database holds it.
    pub fn from_stored(text: String) -> Hashed {
        Hashed(text.into())
    }

    /// Whether it is the very same hash, and not only of the same password.
    pub fn is(&self, other: &Hashed) -> bool {
        self.expose() == other.expose()
    }

    /// The text to store.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A password that keeps to the rules; only such a one can be hashed.
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks a new password against the rules, off the async threads. `context` holds what must
    /// not make it up: the person's name and address, the organisation's name.
    ///
    /// Errors: `Invalid` names `field`; `Unavailable` when too many are being checked.
    pub async fn check(field: &'static str, password: SecretString, context: &[&str]) -> Result<NewPassword> {
        check_length(field, &password).map_err(|error| Error::Invalid(vec![error]))?;
        let context: Vec<String> = context.iter().map(|word| (*word).to_owned()).collect();
        JUDGING
            .take(Waits::Stranger, move || {
                let context: Vec<&str> = context.iter().map(String::as_str).collect();
                NewPassword::check_now(field, password, &context).map_err(|error| Error::Invalid(vec![error]))
            })
            .await
    }

    /// The same for callers that may block, such as the command line.
    pub fn check_now(
        field: &'static str,
        password: SecretString,
        context: &[&str],
    ) -> Result<NewPassword, FieldError> {
        check_length(field, &password)?;
        let judged: String = password.expose_secret().chars().take(JUDGED).collect();
        let words: Vec<&str> = context.iter().copied().chain(["keydesk"]).collect();
        if zxcvbn::zxcvbn(&judged, &words).score() < zxcvbn::Score::Two {
            return Err(FieldError::new(
                field,
                "This password is too easy to guess: it is common, repeats itself or is made of known words. Choose another.",
            ));
        }
        Ok(NewPassword(password))
    }
}

/// Checks what costs nothing to check; [`NewPassword::check`] does too.
pub fn check_length(field: &'static str, password: &SecretString) -> Result<(), FieldError> {
    let text = password.expose_secret();
    if text.chars().count() < MIN_CHARACTERS {
        return Err(FieldError::new(
            field,
            format!("Use at least {MIN_CHARACTERS} characters. A sentence works well."),
        ));
    }
    if text.len() > MAX_BYTES {
        return Err(FieldError::new(field, format!("Use at most {MAX_BYTES} bytes.")));
    }
    Ok(())
}

/// Hashes a password; blocks for some milliseconds.
pub fn hash_now(password: &NewPassword) -> Result<Hashed> {
    let hash = hasher()
        .hash_password(password.0.expose_secret().as_bytes())
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(Hashed(hash.to_string().into()))
}

/// Hashes a password off the async threads.
pub async fn hash(password: NewPassword) -> Result<Hashed> {
    HASHING.take(Waits::Known, move || hash_now(&password)).await
}

/// Compares a password with a hash off the async threads. Without a hash the same work is
/// done and the answer is `false`, so that time does not tell who is known.
///
/// Errors: `Unavailable` when too many wait; the password was not compared then.
pub async fn verify(password: SecretString, hashed: Option<Hashed>, waits: Waits) -> Result<bool> {
    HASHING
        .take(waits, move || {
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

/// Argon2id with 19 MiB, two passes, one lane: OWASP's Password Storage Cheat Sheet.
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(password: &str) -> bool {
        NewPassword::check_now("password", password.into(), &["ada@example.com", "Ada Lovelace", "Acme"])
            .is_ok()
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
    fn only_the_beginning_of_a_long_password_is_judged() {
        let long = "p4$$w0rd1ng5".repeat(MAX_BYTES / 12);
        let short: String = long.chars().take(JUDGED).collect();
        let took = |password: &str| {
            let began = std::time::Instant::now();
            accepted(password);
            began.elapsed()
        };
        let (short, long) = (took(&short).max(took(&short)), took(&long).min(took(&long)));
        assert!(long < short * 5 + std::time::Duration::from_millis(20), "{long:?} after {short:?}");
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
