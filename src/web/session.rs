//! Sessions of people: actix-session over our own table.
//!
//! The cookie holds a random identifier, of which the table keeps a digest. A session ends
//! after a week without use, after 30 days in any case (NIST SP 800-63B-4, AAL1), and at
//! sign-out; its identifier changes at sign-in.

use std::collections::HashMap;

use actix_session::config::{CookieContentSecurity, PersistentSession, TtlExtensionPolicy};
use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Key, SameSite};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use anyhow::Error as AnyError;
use diesel::prelude::*;

use crate::crypto::{Digest, Keyring, MacKey, random_base62};
use crate::db::{Db, Tx};
use crate::error::Result;
use crate::id::UserId;
use crate::schema::sessions;
use crate::time::{DAY, MINUTE, Time};

const IDLE: i64 = 7 * DAY;
const ABSOLUTE: i64 = 30 * DAY;
/// The last use is written when the one known is older than this.
const COARSE: i64 = 5 * MINUTE;
/// 43 characters of base62 are 256 bits.
const IDENTIFIER: usize = 43;

const PERSON: &str = "person";
const FLASH: &str = "flash";

/// Who is signed in by this session.
pub fn person(session: &Session) -> Option<UserId> {
    session.get::<String>(PERSON).ok().flatten().and_then(|id| UserId::parse(&id))
}

/// Signs a person in under a new identifier.
pub fn sign_in(session: &Session, person: UserId) {
    session.clear();
    session.renew();
    keep(session, PERSON, &person.to_string());
}

/// Ends the session, also in the table.
pub fn sign_out(session: &Session) {
    session.purge();
}

/// Keeps a sentence for the next page.
pub fn flash(session: &Session, text: &str) {
    keep(session, FLASH, text);
}

/// The sentence kept for this page, once.
pub fn take_flash(session: &Session) -> Option<String> {
    session.remove_as::<String>(FLASH).and_then(Result::ok)
}

fn keep(session: &Session, name: &str, value: &str) {
    // Only a value that has no JSON form could fail, and text always has one.
    if let Err(error) = session.insert(name, value) {
        tracing::error!(%error, "the session takes no text");
    }
}

/// Leads to the sign-in page, and from there back to a page that was asked for.
pub fn to_sign_in(request: &HttpRequest) -> HttpResponse {
    let wanted = request.uri().path_and_query().map(|wanted| wanted.as_str()).unwrap_or("/");
    let next = if request.method() == Method::GET { wanted } else { "/" };
    let query = serde_html_form::to_string([("next", next)]).unwrap_or_default();
    let target = if next == "/" { "/sign-in".to_owned() } else { format!("/sign-in?{query}") };
    if is_partial(request) {
        // A fragment's place can't take a whole page, so the browser is sent there.
        return HttpResponse::Ok().insert_header(("HX-Redirect", target)).finish();
    }
    HttpResponse::SeeOther().insert_header((header::LOCATION, target)).finish()
}

/// Whether htmx asks for a fragment rather than a page.
pub fn is_partial(request: &HttpRequest) -> bool {
    request.headers().get("hx-request-type").is_some_and(|kind| kind == "partial")
}

/// A path of this site to go to after sign-in; anything else is `/`.
pub fn safe_next(next: &str) -> &str {
    let path = next.starts_with('/') && !next.starts_with("//");
    let clean =
        next.len() <= 2000 && !next.contains('\\') && next.chars().all(|letter| letter.is_ascii_graphic());
    if path && clean { next } else { "/" }
}

/// The middleware for the portal's routes.
pub fn middleware(db: &Db, keyring: &Keyring, https: bool) -> SessionMiddleware<Table> {
    let table = Table { db: db.clone(), digests: keyring.sessions.clone() };
    let name = if https { "__Host-keydesk" } else { "keydesk" };
    SessionMiddleware::builder(table, Key::from(keyring.cookie_key().as_ref()))
        .cookie_name(name.to_owned())
        .cookie_secure(https)
        .cookie_http_only(true)
        // Strict would lose the session on the way back from a sign-in provider.
        .cookie_same_site(SameSite::Lax)
        .cookie_path("/".to_owned())
        .cookie_content_security(CookieContentSecurity::Private)
        .session_lifecycle(
            PersistentSession::default()
                .session_ttl(Duration::seconds(IDLE))
                .session_ttl_extension_policy(TtlExtensionPolicy::OnEveryRequest),
        )
        .build()
}

/// Ends every session of a person.
pub fn end_all(tx: &mut Tx<'_>, person: UserId) -> Result<()> {
    diesel::delete(sessions::table.filter(sessions::person_id.eq(person))).execute(tx.conn)?;
    Ok(())
}

/// Forgets sessions that have ended.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(sessions::table.filter(sessions::ends_at.le(now))).execute(tx.conn)?;
    Ok(())
}

/// The table of sessions.
pub struct Table {
    db: Db,
    digests: MacKey,
}

type State = HashMap<String, String>;

impl Table {
    fn digest(&self, key: &SessionKey) -> Digest {
        self.digests.digest(key.as_ref().as_bytes())
    }
}

/// actix-session gives no time, so this face of ours reads the clock.
impl SessionStore for Table {
    async fn load(&self, key: &SessionKey) -> Result<Option<State>, LoadError> {
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

    async fn save(&self, state: State, ttl: &Duration) -> Result<SessionKey, SaveError> {
        let failed = |error: AnyError| SaveError::Other(error);
        let identifier = random_base62(IDENTIFIER).map_err(|error| failed(error.into()))?;
        let key: SessionKey =
            identifier.to_string().try_into().map_err(|_| failed(AnyError::msg("identifier too long")))?;
        let (digest, now, ends) = (self.digest(&key), Time::now(), ttl.whole_seconds());
        let person = state_person(&state);
        let text = serde_json::to_string(&state).map_err(|error| SaveError::Serialization(error.into()))?;
        let saved = self.db.write(move |tx| {
            diesel::insert_into(sessions::table)
                .values((
                    sessions::digest.eq(digest.as_slice()),
                    sessions::person_id.eq(person),
                    sessions::state.eq(&text),
                    sessions::created_at.eq(now),
                    sessions::seen_at.eq(now),
                    sessions::ends_at.eq(now.plus(ends)),
                ))
                .execute(tx.conn)?;
            Ok(())
        });
        saved.await.map_err(|error| failed(error.into()))?;
        Ok(key)
    }

    async fn update(&self, key: SessionKey, state: State, ttl: &Duration) -> Result<SessionKey, UpdateError> {
        let (digest, now, ends) = (self.digest(&key), Time::now(), ttl.whole_seconds());
        let person = state_person(&state);
        let text = serde_json::to_string(&state).map_err(|error| UpdateError::Serialization(error.into()))?;
        let updated = self.db.write(move |tx| {
            diesel::update(sessions::table.find(digest.as_slice()))
                .set((
                    sessions::person_id.eq(person),
                    sessions::state.eq(&text),
                    sessions::seen_at.eq(now),
                    sessions::ends_at.eq(now.plus(ends)),
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
            let seen: Option<Time> =
                sessions::table.find(digest.as_slice()).select(sessions::seen_at).first(conn).optional()?;
            Ok(seen)
        });
        if seen.await?.is_none_or(|seen| now.since(seen) < COARSE) {
            return Ok(());
        }
        let written = self.db.write(move |tx| {
            diesel::update(sessions::table.find(digest.as_slice()))
                .set((sessions::seen_at.eq(now), sessions::ends_at.eq(now.plus(ends))))
                .execute(tx.conn)?;
            Ok(())
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

/// actix-session keeps each value as JSON.
fn state_person(state: &State) -> Option<UserId> {
    let text: String = serde_json::from_str(state.get(PERSON)?).ok()?;
    UserId::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::safe_next;

    #[test]
    fn only_paths_of_this_site_are_gone_to_after_sign_in() {
        for good in ["/", "/o/acme/keys?status=active", "/keys/key_01kb"] {
            assert_eq!(safe_next(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/a\r\nb",
            "/a b",
            "/\u{e9}",
        ] {
            assert_eq!(safe_next(bad), "/", "{bad:?}");
        }
    }
}
