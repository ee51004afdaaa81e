//! Sessions of people, stored by actix-session in a database table.
//!
//! The cookie contains a random identifier, of which the table stores a digest. A session ends after a week
//! without use, after 30 days in any case (NIST SP 800-63B-4, AAL1), and at sign-out; its identifier changes at
//! sign-in.

mod table;

use actix_session::config::{CookieContentSecurity, PersistentSession, TtlExtensionPolicy};
use actix_session::{Session, SessionExt, SessionMiddleware};
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Key, SameSite};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};

use crate::crypto::Keyring;
use crate::db::Db;
use crate::id::{SessionId, UserId};
use crate::path::{self, Href};
use crate::people::principal::SignedInPerson;
use crate::people::store::Person;
use crate::time::{DAY, Time};
use crate::web::address;
use crate::web::session::table::SessionTable;

const IDLE: i64 = 7 * DAY;

const PERSON: &str = "person";
const ID: &str = "id";
const ADDRESS: &str = "address";
const PROGRAM: &str = "program";
const PROVED: &str = "proved_at";
/// The person's access generation when they proved their identity.
const GENERATION: &str = "generation";
/// Requests a new identifier when the session is written.
const RENEW: &str = "renew";
const BROWSER: &str = "browser";
const FLASH: &str = "flash";

/// The person who is signed in with this session.
pub fn person(session: &Session) -> Option<UserId> {
    text(session, PERSON).and_then(|id| UserId::parse(&id))
}

/// Signs a person in under a new identifier. `person` was read when they proved their identity, at `proved`: if the
/// account was secured since, no session begins.
pub fn sign_in(request: &HttpRequest, person: &Person, proved: Time) {
    let session = request.get_session();
    session.clear();
    session.renew();
    keep(&session, PERSON, &person.id.to_string());
    keep(&session, GENERATION, &person.access_generation.to_string());
    keep(&session, ID, &SessionId::new(proved).to_string());
    keep(&session, ADDRESS, &address::client(request).to_string());
    let program = request.headers().get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    keep(&session, PROGRAM, &program.unwrap_or_default().chars().take(300).collect::<String>());
    keep(&session, PROVED, &proved.seconds().to_string());
}

/// The session's id on the account page.
pub fn id(session: &Session) -> Option<SessionId> {
    text(session, ID).and_then(|id| SessionId::parse(&id))
}

/// Records that the person has confirmed their identity, under a new identifier. Unlike `Session::renew`, which
/// inserts a new row, this updates the existing one: a session that was ended in the meantime stays ended.
pub fn prove(session: &Session, proved: Time) {
    renew(session);
    keep(session, PROVED, &proved.seconds().to_string());
}

/// Changes the identifier, so that a copy of the cookie stops working.
pub fn renew(session: &Session) {
    keep(session, RENEW, "1");
}

/// The signed-in person as a principal, for changes.
pub fn principal(session: &Session, must_be_fresh: bool) -> Option<SignedInPerson> {
    let proved = text(session, PROVED).and_then(|seconds| seconds.parse().ok()).map(Time::from_seconds);
    Some(SignedInPerson { id: person(session)?, session: id(session)?, proved, must_be_fresh })
}

/// Ends the session, including its row.
pub fn sign_out(session: &Session) {
    session.purge();
}

/// The secret that binds sign-in flows to this browser, if it began one.
pub fn browser(session: &Session) -> Option<String> {
    text(session, BROWSER)
}

/// Stores the secret that binds sign-in flows to this browser.
pub fn set_browser(session: &Session, secret: &str) {
    keep(session, BROWSER, secret);
}

/// Stores a message for the next page.
pub fn flash(session: &Session, text: &str) {
    keep(session, FLASH, text);
}

/// Takes the message for this page out of the session.
pub fn take_flash(session: &Session) -> Option<String> {
    // Removing an absent value would count as a change and write the session.
    let said = text(session, FLASH)?;
    session.remove(FLASH);
    Some(said)
}

fn text(session: &Session, name: &str) -> Option<String> {
    session.get(name).ok().flatten()
}

fn keep(session: &Session, name: &str, value: &str) {
    // Only a value without a JSON form could fail, and text always has one.
    if let Err(error) = session.insert(name, value) {
        tracing::error!(%error, "cannot store a session value");
    }
}

/// Redirects to the sign-in page, and from there back to the requested page.
pub fn to_sign_in(request: &HttpRequest) -> HttpResponse {
    redirect_by_way_of(path::sign_in(), request)
}

/// Redirects to the page on which a signed-in person confirms their identity, and from there back.
pub fn to_sign_in_again(request: &HttpRequest) -> HttpResponse {
    redirect_by_way_of(path::sign_in_again(), request)
}

fn redirect_by_way_of(stop: Href, request: &HttpRequest) -> HttpResponse {
    let requested = request.uri().path_and_query().filter(|_| request.method() == Method::GET);
    let next = requested.map_or_else(path::home, |requested| Href::next(requested.as_str()));
    let target = stop.then(&next);
    let target = target.as_str();
    if is_partial(request) {
        // A fragment can't be replaced by a whole page, so the browser is redirected.
        return HttpResponse::Ok().insert_header(("HX-Redirect", target)).finish();
    }
    HttpResponse::SeeOther().insert_header((header::LOCATION, target)).finish()
}

/// Whether htmx requests a fragment rather than a page.
pub fn is_partial(request: &HttpRequest) -> bool {
    request.headers().get("hx-request-type").is_some_and(|kind| kind == "partial")
}

/// The middleware for the portal's routes.
pub fn middleware(db: &Db, keyring: &Keyring, https: bool) -> SessionMiddleware<SessionTable> {
    let table = SessionTable { db: db.clone(), digests: keyring.sessions.clone() };
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
