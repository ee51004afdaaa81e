//! Sessions in the database, for actix-session.

use std::collections::HashMap;

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time::Duration;
use anyhow::Error as AnyError;
use diesel::prelude::*;

use super::{ADDRESS, GENERATION, ID, PERSON, PROGRAM, PROVED, RENEW};
use crate::crypto::{Digest, MacKey, random_base62};
use crate::db::Db;
use crate::id::{SessionId, UserId};
use crate::people;
use crate::schema::sessions;
use crate::time::{DAY, HOUR, MINUTE, Time};

const ABSOLUTE: i64 = 30 * DAY;
/// The lifetime of a session without a person, in seconds: long enough for a sign-in flow.
const NOBODY: i64 = HOUR;
/// The last use is updated when the stored one is older than this, in seconds.
const COARSE: i64 = 5 * MINUTE;
/// 43 characters of base62 are 256 bits.
const IDENTIFIER: usize = 43;

/// The session store.
pub struct SessionTable {
    pub(super) db: Db,
    pub(super) digests: MacKey,
}

type SessionState = HashMap<String, String>;

impl SessionTable {
    fn digest(&self, key: &SessionKey) -> Digest {
        self.digests.digest(key.as_ref().as_bytes())
    }
}

/// actix-session provides no time, so this adapter reads the clock.
impl SessionStore for SessionTable {
    async fn load(&self, key: &SessionKey) -> Result<Option<SessionState>, LoadError> {
        let (digest, now) = (self.digest(key), Time::now());
        let found = self.db.read(move |conn| {
            let state = sessions::table
                .find(digest.as_slice())
                .filter(sessions::ends_at.gt(now).and(sessions::created_at.gt(now.plus(-ABSOLUTE))))
                .select(sessions::state)
                .first::<String>(conn)
                .optional()?;
            Ok(state)
        });
        let text = found.await.map_err(|error| LoadError::Other(error.into()))?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| LoadError::Deserialization(error.into()))
    }

    async fn save(&self, state: SessionState, ttl: &Duration) -> Result<SessionKey, SaveError> {
        let failed = |error: AnyError| SaveError::Other(error);
        let key = new_key().map_err(failed)?;
        let (digest, now) = (self.digest(&key), Time::now());
        let columns = Columns::of(&state, ttl, now);
        let text = serde_json::to_string(&state).map_err(|error| SaveError::Serialization(error.into()))?;
        let saved = self.db.write(move |tx| {
            // Someone who signs in while their account is being secured gets a cookie without a session.
            if let Some(person) = columns.person
                && !people::sessions::may_begin(tx, person, columns.generation, now)?
            {
                return Ok(());
            }
            diesel::insert_into(sessions::table)
                .values((
                    sessions::digest.eq(digest.as_slice()),
                    sessions::id.eq(columns.id),
                    sessions::person_id.eq(columns.person),
                    sessions::state.eq(&text),
                    sessions::address.eq(&columns.address),
                    sessions::program.eq(&columns.program),
                    sessions::signed_in_at.eq(columns.proved),
                    sessions::created_at.eq(now),
                    sessions::seen_at.eq(now),
                    sessions::ends_at.eq(columns.ends),
                ))
                .execute(tx.conn)?;
            Ok(())
        });
        saved.await.map_err(|error| failed(error.into()))?;
        Ok(key)
    }

    /// Updates the existing row; a deleted one is not created again.
    async fn update(
        &self,
        key: SessionKey,
        mut state: SessionState,
        ttl: &Duration,
    ) -> Result<SessionKey, UpdateError> {
        let (digest, now) = (self.digest(&key), Time::now());
        let renews = state.remove(RENEW).is_some();
        let key = if renews { new_key().map_err(UpdateError::Other)? } else { key };
        let digest_from_now_on = self.digest(&key);
        let columns = Columns::of(&state, ttl, now);
        let text = serde_json::to_string(&state).map_err(|error| UpdateError::Serialization(error.into()))?;
        let updated = self.db.write(move |tx| {
            diesel::update(sessions::table.find(digest.as_slice()))
                .set((
                    sessions::digest.eq(digest_from_now_on.as_slice()),
                    sessions::state.eq(&text),
                    sessions::signed_in_at.eq(columns.proved),
                    sessions::seen_at.eq(now),
                    sessions::ends_at.eq(columns.ends),
                ))
                .execute(tx.conn)?;
            Ok(())
        });
        updated.await.map_err(|error| UpdateError::Other(error.into()))?;
        Ok(key)
    }

    async fn update_ttl(&self, key: &SessionKey, ttl: &Duration) -> Result<(), AnyError> {
        let (digest, now, ends) = (self.digest(key), Time::now(), ttl.whole_seconds());
        let seen = self.db.read(move |conn| {
            let seen: Option<(Option<UserId>, Time)> = sessions::table
                .find(digest.as_slice())
                .filter(sessions::person_id.is_not_null())
                .select((sessions::person_id, sessions::seen_at))
                .first(conn)
                .optional()?;
            Ok(seen)
        });
        let Some((Some(person), seen)) = seen.await? else { return Ok(()) };
        if now.since(seen) < COARSE {
            return Ok(());
        }
        let written = self.db.write(move |tx| {
            diesel::update(sessions::table.find(digest.as_slice()))
                .set((sessions::seen_at.eq(now), sessions::ends_at.eq(now.plus(ends))))
                .execute(tx.conn)?;
            people::store::note_seen(tx, person, now)
        });
        Ok(written.await?)
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), AnyError> {
        let digest = self.digest(key);
        let deleted = self.db.write(move |tx| {
            diesel::delete(sessions::table.find(digest.as_slice())).execute(tx.conn)?;
            Ok(())
        });
        Ok(deleted.await?)
    }
}

fn new_key() -> Result<SessionKey, AnyError> {
    let identifier = random_base62(IDENTIFIER)?;
    identifier.to_string().try_into().map_err(|_| AnyError::msg("identifier too long"))
}

/// The parts of a session's state that have their own column.
struct Columns {
    id: SessionId,
    person: Option<UserId>,
    generation: i64,
    address: String,
    program: String,
    proved: Option<Time>,
    ends: Time,
}

impl Columns {
    fn of(state: &SessionState, ttl: &Duration, now: Time) -> Columns {
        // actix-session stores each value as JSON.
        let text = |name| serde_json::from_str::<String>(state.get(name)?).ok();
        let person = text(PERSON).and_then(|id| UserId::parse(&id));
        let longest = if person.is_some() { ttl.whole_seconds() } else { NOBODY };
        Columns {
            id: text(ID).and_then(|id| SessionId::parse(&id)).unwrap_or_else(|| SessionId::new(now)),
            person,
            // No generation is negative, so a session without one never begins.
            generation: text(GENERATION).and_then(|number| number.parse().ok()).unwrap_or(-1),
            address: text(ADDRESS).unwrap_or_default(),
            program: text(PROGRAM).unwrap_or_default(),
            proved: text(PROVED).and_then(|seconds| seconds.parse().ok()).map(Time::from_seconds),
            ends: now.plus(ttl.whole_seconds().min(longest)),
        }
    }
}
