//! Ways to a provider that were begun: rows that count once, for ten minutes, and in the browser
//! that began them alone.

use diesel::prelude::*;

use crate::crypto::{Digest, Keyring, random_base62, sha256};
use crate::db::Tx;
use crate::error::Result;
use crate::id::UserId;
use crate::people::oauth::{Challenge, Kind};
use crate::schema::sign_in_flows as flows;
use crate::time::{MINUTE, Time};

const LASTS: i64 = 10 * MINUTE;
/// 43 characters of base62 are 256 bits; RFC 7636 asks for as many of a verifier.
const LENGTH: usize = 43;

/// What someone is on the way for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To make this a way in which this person signs in.
    Connect(UserId),
    /// To prove again that it is this person.
    Again(UserId),
}

/// A way that was begun.
#[derive(Debug)]
pub struct Flow {
    /// What for.
    pub purpose: Purpose,
    /// The page to go to afterwards.
    pub next: String,
    /// The nonce that was sent.
    pub nonce: String,
    /// The verifier whose digest was sent.
    pub verifier: String,
    /// When it was begun.
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

/// A secret that a browser's session keeps, so that its ways are its own.
pub fn new_browser() -> Result<String> {
    Ok(random_base62(LENGTH)?.to_string())
}

/// Begins a way in this browser. `next` may hold the token of an invitation, so it is sealed under the state,
/// of which the row has a digest only.
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

/// Takes the way of this state; of two takers one gets it. `None` in another browser, for another
/// provider, too late, or the second time.
pub fn take(
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

/// Forgets what a person has begun: they come back to nothing.
pub fn forget_of(tx: &mut Tx<'_>, person: UserId) -> Result<()> {
    diesel::delete(flows::table.filter(flows::person_id.eq(person))).execute(tx.conn)?;
    Ok(())
}

/// Forgets ways that nobody came back from.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(flows::table.filter(flows::created_at.le(now.plus(-LASTS)))).execute(tx.conn)?;
    Ok(())
}

fn digest(text: &str) -> Digest {
    sha256(text.as_bytes())
}
