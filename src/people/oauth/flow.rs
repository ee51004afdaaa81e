//! Sign-in flows: visits to a provider, as rows. A flow is valid once, for ten minutes, and only in the
//! browser that began it.

use diesel::prelude::*;

use crate::crypto::{Digest, Keyring, random_base62, sha256};
use crate::db::Tx;
use crate::error::Result;
use crate::id::UserId;
use crate::people::oauth::{Challenge, Kind};
use crate::schema::sign_in_flows as flows;
use crate::time::{MINUTE, Time};

const LASTS: i64 = 10 * MINUTE;
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

/// Begins a flow in this browser. `next` may contain the token of an invitation, so it is sealed under the
/// state, of which the row holds only a digest.
pub fn begin(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    kind: Kind,
    browser: &str,
    purpose: Purpose,
    next: &str,
    now: Time,
) -> Result<Challenge> {
    let random = || random_base62(LENGTH).map(|text| text.to_string());
    let again = matches!(purpose, Purpose::Again(_));
    let challenge = Challenge { state: random()?, nonce: random()?, verifier: random()?, again };
    let (name, person) = purpose.columns();
    let next = hex::encode(keyring.seal(challenge.state.as_bytes(), next.as_bytes())?);
    diesel::insert_into(flows::table)
        .values((
            flows::digest.eq(digest(&challenge.state).as_slice()),
            flows::browser.eq(digest(browser).as_slice()),
            flows::provider.eq(kind.name()),
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
    kind: Kind,
    browser: &str,
    state: &str,
    now: Time,
) -> Result<Option<Flow>> {
    let own = flows::table
        .find(digest(state).as_slice().to_vec())
        .filter(flows::browser.eq(digest(browser).as_slice().to_vec()))
        .filter(flows::provider.eq(kind.name()));
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
