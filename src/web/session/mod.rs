//! Sessions of people: actix-session over our own table.
//!
//! The cookie holds a random identifier, of which the table keeps a digest. A session ends
//! after a week without use, after 30 days in any case (NIST SP 800-63B-4, AAL1), and at
//! sign-out; its identifier changes at sign-in.

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
use crate::web::session::table::Table;

const IDLE: i64 = 7 * DAY;

const PERSON: &str = "person";
const ID: &str = "id";
const ADDRESS: &str = "address";
const PROGRAM: &str = "program";
const PROVED: &str = "proved_at";
/// The person's access generation when they proved who they are.
const GENERATION: &str = "generation";
/// Asks for a new identifier when the session is written.
const RENEW: &str = "renew";
const BROWSER: &str = "browser";
const FLASH: &str = "flash";

/// Who is signed in by this session.
pub fn person(session: &Session) -> Option<UserId> {
    text(session, PERSON).and_then(|id| UserId::parse(&id))
}

/// Signs a person in under a new identifier. `person` is as it was read when they proved who they are,
/// which was at `proved`: if the account was secured since, no session begins.
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

/// The name of this session among the person's.
pub fn id(session: &Session) -> Option<SessionId> {
    text(session, ID).and_then(|id| SessionId::parse(&id))
}

/// Notes that the person has proved again who they are, under a new identifier. Unlike
/// `Session::renew`, which makes another row, this changes the row that is there: a session that was
/// ended in the meantime stays ended.
pub fn prove(session: &Session, proved: Time) {
    renew(session);
    keep(session, PROVED, &proved.seconds().to_string());
}

/// Goes on under a new identifier: a copy of the cookie works no more.
pub fn renew(session: &Session) {
    keep(session, RENEW, "1");
}

/// Who is signed in by this session, for making changes.
pub fn principal(session: &Session, must_be_fresh: bool) -> Option<SignedInPerson> {
    let proved = text(session, PROVED).and_then(|seconds| seconds.parse().ok()).map(Time::from_seconds);
    Some(SignedInPerson { id: person(session)?, session: id(session)?, proved, must_be_fresh })
}

/// Ends the session, also in the table.
pub fn sign_out(session: &Session) {
    session.purge();
}

/// The secret by which this browser's ways to a provider are its own, if it began one.
pub fn browser(session: &Session) -> Option<String> {
    text(session, BROWSER)
}

/// Keeps such a secret.
pub fn set_browser(session: &Session, secret: &str) {
    keep(session, BROWSER, secret);
}

/// Keeps a sentence for the next page.
pub fn flash(session: &Session, text: &str) {
    keep(session, FLASH, text);
}

/// The sentence kept for this page, once.
pub fn take_flash(session: &Session) -> Option<String> {
    // Removing counts as a change, also of what is not there, and a change is written.
    let said = text(session, FLASH)?;
    session.remove(FLASH);
    Some(said)
}

fn text(session: &Session, name: &str) -> Option<String> {
    session.get(name).ok().flatten()
}

fn keep(session: &Session, name: &str, value: &str) {
    // Only a value that has no JSON form could fail, and text always has one.
    if let Err(error) = session.insert(name, value) {
        tracing::error!(%error, "the session takes no text");
    }
}

/// Redirects to the sign-in page, and from there back to the requested page.
pub fn to_sign_in(request: &HttpRequest) -> HttpResponse {
    redirect_by_way_of(path::sign_in(), request)
}

/// Redirects to the page that asks for a fresh sign-in, and from there back.
pub fn to_sign_in_again(request: &HttpRequest) -> HttpResponse {
    redirect_by_way_of(path::sign_in_again(), request)
}

fn redirect_by_way_of(stop: Href, request: &HttpRequest) -> HttpResponse {
    let requested = request.uri().path_and_query().filter(|_| request.method() == Method::GET);
    let next = requested.map_or_else(path::home, |requested| Href::next(requested.as_str()));
    let target = stop.then(&next);
    let target = target.as_str();
    if is_partial(request) {
        // A fragment can't be replaced by a whole page, so the browser is sent there.
        return HttpResponse::Ok().insert_header(("HX-Redirect", target)).finish();
    }
    HttpResponse::SeeOther().insert_header((header::LOCATION, target)).finish()
}

/// Whether htmx asks for a fragment rather than a page.
pub fn is_partial(request: &HttpRequest) -> bool {
    request.headers().get("hx-request-type").is_some_and(|kind| kind == "partial")
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
