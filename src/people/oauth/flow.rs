//! Sign-in flows: visits to a provider. A flow is valid once, for ten minutes, and only in the browser that began it.
//!
//! A flow of someone who is signed in is a row, which securing the account deletes. A stranger's is sealed for a cookie,
//! so that requests without an account never write to the database.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::crypto::{Digest, Keyring, random_base62, sha256};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::people::oauth::{Challenge, ProviderId};
use crate::schema::sign_in_flows as flows;
use crate::time::{MINUTE, Time};

/// How long a flow is valid, in seconds.
pub const LASTS: i64 = 10 * MINUTE;
/// 43 characters of base62 are 256 bits, the length that RFC 7636 recommends for a verifier.
const LENGTH: usize = 43;

/// The purpose of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    SignIn,
    /// Add the identity as a sign-in method of this person.
    Connect(UserId),
    /// Confirm the identity of this person.
    Again(UserId),
}

/// A flow that has begun.
#[derive(Debug)]
pub struct Flow {
    pub purpose: Purpose,
    /// The page to open afterwards.
    pub next: String,
    /// The nonce that was sent.
    pub nonce: String,
    /// The PKCE verifier whose digest was sent.
    pub verifier: String,
    pub created_at: Time,
}

impl Purpose {
    fn columns(self) -> (&'static str, Option<UserId>) {
        match self {
            Purpose::SignIn => ("sign_in", None),
            Purpose::Connect(person) => ("connect", Some(person)),
            Purpose::Again(person) => ("again", Some(person)),
        }
    }

    fn of_columns(name: &str, person: Option<UserId>) -> Option<Purpose> {
        match (name, person) {
            ("sign_in", None) => Some(Purpose::SignIn),
            ("connect", Some(person)) => Some(Purpose::Connect(person)),
            ("again", Some(person)) => Some(Purpose::Again(person)),
            _ => None,
        }
    }
}

/// A random secret for a browser's session, which binds its flows to it.
pub fn new_browser() -> Result<String> {
    Ok(random_base62(LENGTH)?.to_string())
}

/// A stranger's flow, as it is sealed.
#[derive(Deserialize, Serialize)]
struct Sealed {
    provider: String,
    next: String,
    nonce: String,
    verifier: String,
    created_at: i64,
}

/// Begins the sign-in of a stranger. Returns the sealed flow, for a cookie.
pub fn begin_sealed(
    keyring: &Keyring,
    provider: ProviderId,
    next: &str,
    now: Time,
) -> Result<(Challenge, String)> {
    let challenge = challenge(Purpose::SignIn)?;
    let sealed = Sealed {
        provider: provider.to_string(),
        next: next.to_owned(),
        nonce: challenge.nonce.clone(),
        verifier: challenge.verifier.clone(),
        created_at: now.seconds(),
    };
    let plain = serde_json::to_vec(&sealed).map_err(|_| Error::internal("a flow has no JSON form"))?;
    let sealed = keyring.seal(&context(&challenge.state), &plain)?;
    Ok((challenge, URL_SAFE_NO_PAD.encode(sealed)))
}

/// Opens a sealed flow. `None` with another state, for another provider, or after ten minutes.
pub fn open_sealed(
    keyring: &Keyring,
    provider: ProviderId,
    state: &str,
    sealed: &str,
    now: Time,
) -> Option<Flow> {
    let plain = keyring.open(&context(state), &URL_SAFE_NO_PAD.decode(sealed).ok()?)?;
    let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
    let created_at = Time::from_seconds(sealed.created_at);
    let is_valid = sealed.provider == provider.to_string() && now.since(created_at) < LASTS;
    let Sealed { next, nonce, verifier, .. } = sealed;
    is_valid.then_some(Flow { purpose: Purpose::SignIn, next, nonce, verifier, created_at })
}

fn context(state: &str) -> Vec<u8> {
    format!("sign-in flow {state}").into_bytes()
}

fn challenge(purpose: Purpose) -> Result<Challenge> {
    let random = || random_base62(LENGTH).map(|text| text.to_string());
    let again = matches!(purpose, Purpose::Again(_));
    Ok(Challenge { state: random()?, nonce: random()?, verifier: random()?, again })
}

/// Begins a flow in this browser. `next` may contain the token of an invitation, so it is sealed under the
/// state, of which the row holds only a digest.
pub fn begin(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    provider: ProviderId,
    browser: &str,
    purpose: Purpose,
    next: &str,
    now: Time,
) -> Result<Challenge> {
    let challenge = challenge(purpose)?;
    let (name, person) = purpose.columns();
    let next = hex::encode(keyring.seal(challenge.state.as_bytes(), next.as_bytes())?);
    diesel::insert_into(flows::table)
        .values((
            flows::digest.eq(digest(&challenge.state).as_slice()),
            flows::browser.eq(digest(browser).as_slice()),
            flows::provider.eq(provider.to_string()),
            flows::nonce.eq(&challenge.nonce),
            flows::verifier.eq(&challenge.verifier),
            flows::purpose.eq(name),
            flows::next.eq(next),
            flows::person_id.eq(person),
            flows::created_at.eq(now),
        ))
        .execute(tx.conn)?;
    Ok(challenge)
}

/// Uses up the flow of this state; of two concurrent attempts, one succeeds. `None` in another browser, for
/// another provider, after ten minutes, or the second time.
pub fn consume(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    provider: ProviderId,
    browser: &str,
    state: &str,
    now: Time,
) -> Result<Option<Flow>> {
    let own = flows::table
        .find(digest(state).as_slice().to_vec())
        .filter(flows::browser.eq(digest(browser).as_slice().to_vec()))
        .filter(flows::provider.eq(provider.to_string()));
    type Row = (String, String, String, String, Option<UserId>, Time);
    let taken: Option<Row> = diesel::delete(own)
        .returning((
            flows::nonce,
            flows::verifier,
            flows::next,
            flows::purpose,
            flows::person_id,
            flows::created_at,
        ))
        .get_result(tx.conn)
        .optional()?;
    Ok(taken.and_then(|(nonce, verifier, next, purpose, person, created_at)| {
        let purpose = Purpose::of_columns(&purpose, person)?;
        let next = keyring.open(state.as_bytes(), &hex::decode(next).ok()?)?;
        let next = String::from_utf8(next.to_vec()).ok()?;
        let flow = Flow { purpose, next, nonce, verifier, created_at };
        (now.since(created_at) < LASTS).then_some(flow)
    }))
}

/// Deletes a person's flows, so that they can't be completed.
pub fn forget_of(tx: &mut Tx<'_>, person: UserId) -> Result<()> {
    diesel::delete(flows::table.filter(flows::person_id.eq(person))).execute(tx.conn)?;
    Ok(())
}

/// Deletes expired flows.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(flows::table.filter(flows::created_at.le(now.plus(-LASTS)))).execute(tx.conn)?;
    Ok(())
}

fn digest(text: &str) -> Digest {
    sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Root;

    #[test]
    fn sealed_flow_opens_with_its_state_for_its_provider_and_for_ten_minutes() {
        let keyring = Keyring::new(Root::generate().expect("random bytes"), None);
        let (first, second) = (ProviderId::Oidc(1), ProviderId::Oidc(2));
        let now = Time::from_seconds(1_800_000_000);
        let (challenge, sealed) =
            begin_sealed(&keyring, first, "/invitations/inv_secret", now).expect("a flow");
        let open = |provider, state: &str, sealed: &str, seconds| {
            open_sealed(&keyring, provider, state, sealed, now.plus(seconds))
        };
        let flow = open(first, &challenge.state, &sealed, LASTS - 1).expect("a valid flow");
        assert_eq!((flow.purpose, flow.next.as_str()), (Purpose::SignIn, "/invitations/inv_secret"));
        assert_eq!((flow.nonce, flow.verifier), (challenge.nonce.clone(), challenge.verifier.clone()));
        assert!(open(first, &challenge.state, &sealed, LASTS).is_none());
        assert!(open(second, &challenge.state, &sealed, 0).is_none());
        assert!(open(first, "another", &sealed, 0).is_none());
        assert!(open(first, &challenge.state, &sealed[1..], 0).is_none());
        let (_, other) = begin_sealed(&keyring, first, "/", now).expect("a flow");
        assert!(open(first, &challenge.state, &other, 0).is_none());
        // Browsers keep cookies of at most 4,096 bytes. An `Href` has at most 2,000.
        let (_, sealed) = begin_sealed(&keyring, first, &"/x".repeat(1000), now).expect("a flow");
        assert!(sealed.len() < 3500, "{}", sealed.len());
    }
}
