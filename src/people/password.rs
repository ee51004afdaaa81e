//! Passwords: the rules of NIST SP 800-63B-4 section 3.1.1 and argon2id (RFC 9106).
//!
//! A password is the only factor, so it has at least 15 characters; there are no composition rules.
//! zxcvbn compares it with common passwords, sequences, repeats and words from its context, and it is
//! refused if a million guesses would find it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{OnceLock, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, FieldError, Result};

/// The minimum length, in characters.
pub const MIN_CHARACTERS: usize = 15;
const MAX_BYTES: usize = 1024;
/// How many characters are checked for strength: the work grows faster than the length.
const CHECKED: usize = 100;

/// Passwords are hashed and compared one at a time, each in 19 MiB, so that sign-ins leave processors and
/// memory to requests with keys.
static HASHING: WorkQueue = WorkQueue::new("password hashing", 64, 16);
/// The strength of new passwords is checked on another thread, since it may take longer.
static STRENGTH_CHECKS: WorkQueue = WorkQueue::new("password strength", 16, 0);

/// The priority of a job in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Stranger,
    /// Someone who is signed in, or has signed in from there lately. Some places are reserved for them.
    Known,
}

/// A bounded queue of jobs for one thread. It is always the same thread, since each thread would keep
/// memory of its own.
struct WorkQueue {
    name: &'static str,
    places: Semaphore,
    known_places: Semaphore,
    thread: OnceLock<mpsc::Sender<Work>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl WorkQueue {
    /// A queue with `places` for anyone, and `known_places` more for known people.
    const fn new(name: &'static str, places: usize, known_places: usize) -> WorkQueue {
        WorkQueue {
            name,
            places: Semaphore::const_new(places),
            known_places: Semaphore::const_new(known_places),
            thread: OnceLock::new(),
        }
    }

    /// Queues `work` and returns its result. A job whose caller is gone is skipped.
    async fn take<T: Send + 'static>(
        &'static self,
        priority: Priority,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = match (self.places.try_acquire(), priority) {
            (Err(_), Priority::Known) => self.known_places.try_acquire(),
            (place, _) => place,
        };
        let Ok(place) = place else {
            return Err(Error::Unavailable("too many passwords are being checked".into()));
        };
        let (reply, result) = oneshot::channel();
        let work: Work = Box::new(move || {
            let _place = place;
            if !reply.is_closed() {
                let done = catch_unwind(AssertUnwindSafe(work));
                let _ = reply.send(done.unwrap_or_else(|_| Err(Error::internal("password check panicked"))));
            }
        });
        let thread = self.thread.get_or_init(|| self.start());
        thread.send(work).map_err(|_| Error::internal("the password thread is not running"))?;
        result.await.map_err(Error::internal)?
    }

    fn start(&self) -> mpsc::Sender<Work> {
        let (sender, works) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        if let Err(error) = thread.spawn(move || works.into_iter().for_each(|work| work())) {
            tracing::error!(%error, "starting the password thread failed");
        }
        sender
    }
}

/// A password hash in PHC string format. It can't be printed.
#[derive(Clone)]
pub struct HashedPassword(SecretString);

impl HashedPassword {
    /// A hash as stored.
    pub fn from_stored(text: String) -> HashedPassword {
        HashedPassword(text.into())
    }

    /// Whether both are the same hash, not only of the same password.
    pub fn is(&self, other: &HashedPassword) -> bool {
        self.expose() == other.expose()
    }

    /// The hash as text, to store.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A new password that satisfies the rules; only such a password can be hashed.
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks a new password against the rules, off the async threads. `context` holds words that it
    /// must not consist of: the person's name and address, the organisation's name.
    ///
    /// Errors: `Invalid` names `field`; `Unavailable` if the queue is full.
    pub async fn check(field: &'static str, password: SecretString, context: &[&str]) -> Result<NewPassword> {
        check_length(field, &password).map_err(|error| Error::Invalid(vec![error]))?;
        let context: Vec<String> = context.iter().map(|word| (*word).to_owned()).collect();
        STRENGTH_CHECKS
            .take(Priority::Stranger, move || {
                let context: Vec<&str> = context.iter().map(String::as_str).collect();
                NewPassword::check_now(field, password, &context).map_err(|error| Error::Invalid(vec![error]))
            })
            .await
    }

    /// A blocking [`NewPassword::check`], for the command line.
    pub fn check_now(
        field: &'static str,
        password: SecretString,
        context: &[&str],
    ) -> Result<NewPassword, FieldError> {
        check_length(field, &password)?;
        let checked: String = password.expose_secret().chars().take(CHECKED).collect();
        let words: Vec<&str> = context.iter().copied().chain(["keydesk"]).collect();
        if zxcvbn::zxcvbn(&checked, &words).score() < zxcvbn::Score::Two {
            return Err(FieldError::new(
                field,
                "This password is too easy to guess: it is common, repetitive or made of known words. Choose another one.",
            ));
        }
        Ok(NewPassword(password))
    }
}

/// Checks only the length, which costs nothing; [`NewPassword::check`] includes it.
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
pub fn hash_now(password: &NewPassword) -> Result<HashedPassword> {
    let hash = hasher()
        .hash_password(password.0.expose_secret().as_bytes())
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(HashedPassword(hash.to_string().into()))
}

/// Hashes a password off the async threads.
pub async fn hash(password: NewPassword) -> Result<HashedPassword> {
    HASHING.take(Priority::Known, move || hash_now(&password)).await
}

/// Compares a password with a hash, off the async threads. Without a hash, the same work is done and the
/// result is `false`, so the time doesn't reveal whether an account exists.
///
/// Errors: `Unavailable` if the queue is full; the password was not compared.
pub async fn verify(
    password: SecretString,
    hashed: Option<HashedPassword>,
    priority: Priority,
) -> Result<bool> {
    HASHING
        .take(priority, move || {
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
    fn only_the_beginning_of_a_long_password_is_checked() {
        let long = "p4$$w0rd1ng5".repeat(MAX_BYTES / 12);
        let short: String = long.chars().take(CHECKED).collect();
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
