//! The ways to a sign-in provider and back: to sign in, to connect, to prove again who one is.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use askama::Template;

use crate::audit::event::{Actor, Event};
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::Error;
use crate::mail::Change;
use crate::orgs::{invitation, journal};
use crate::people::oauth::flow::{self, Flow, Purpose};
use crate::people::oauth::{Answer, Identity, Kind, Provider, Refusal, printable};
use crate::people::store::{self, Person, Profile, fold_email};
use crate::people::{methods, notice};
use crate::portal::{origin, whence};
use crate::time::{MINUTE, Time};
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::providers::way;
use crate::web::request::request_id;
use crate::web::session::safe_next;
use crate::web::{Shared, session};

/// How far a provider's clock may be behind ours when it tells when someone proved who they are.
const BEHIND: i64 = MINUTE;

/// What a way to a provider came to when it came to nothing.
#[derive(Template)]
#[template(path = "portal/provider.html")]
struct RefusedPage {
    layout: Layout,
    title: String,
    words: String,
    /// Where to try again, and how that is called.
    again: (String, &'static str),
    request: String,
}

/// Why someone who came back is not let in.
enum Refused {
    /// The provider's answer does not do.
    Provider(Refusal),
    /// There is no such way in this browser, or not any more.
    Lost,
    /// Nobody here signs in by this identity.
    Unknown,
    /// The invitation is for another address than the provider has verified.
    OtherAddress,
    /// Someone is known by the invited address already.
    KnownAddress,
    /// They may not sign in.
    Disabled,
    /// It is someone else's.
    Taken,
    /// It is not the person who is signed in, or they were not asked to prove it.
    NotProved,
    /// Something of ours.
    Problem(Problem),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::Provider(refusal)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Problem(error.into())
    }
}

/// `GET /sign-in/oidc`.
pub async fn start_oidc(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    start(Kind::Oidc, request, site).await
}

/// `GET /sign-in/github`.
pub async fn start_github(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    start(Kind::GitHub, request, site).await
}

/// `GET /sign-in/oidc/callback`.
pub async fn finish_oidc(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    finish(Kind::Oidc, request, site).await
}

/// `GET /sign-in/github/callback`.
pub async fn finish_github(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    finish(Kind::GitHub, request, site).await
}

/// `GET /account/connect/{provider}`: begins to connect. The link is this session's own, so that
/// no other site leads someone into connecting a stranger's identity.
pub async fn connect(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let provider = named(&site, &path)?;
    let (query, session) = (Fields::of_query(&request), session::id(&request.get_session()));
    let of_session = site.mint.keyring.open_link_token(CONNECT, query.get("token"));
    if of_session.is_none() || of_session != session.map(|id| id.to_string()).as_deref() {
        return Ok(redirect(&request, "/account"));
    }
    begin(provider, Purpose::Connect(signed_in.person.id), "/account", &request, &site).await
}

/// What the links that connect are made for.
const CONNECT: &str = "connect";

/// The link by which this session connects a provider.
pub fn connect_link(request: &HttpRequest, site: &Shared, kind: Kind) -> String {
    let session = session::id(&request.get_session()).map(|id| id.to_string()).unwrap_or_default();
    format!("/account/connect/{}?token={}", kind.name(), site.mint.keyring.link_token(CONNECT, &session))
}

/// `GET /sign-in/again/{provider}`: begins to prove again who one is.
pub async fn prove(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let provider = named(&site, &path)?;
    let query = Fields::of_query(&request);
    begin(provider, Purpose::Again(signed_in.person.id), safe_next(query.get("next")), &request, &site).await
}

fn named<'a>(site: &'a Shared, name: &str) -> Result<Provider<'a>, Problem> {
    Kind::parse(name).and_then(|kind| site.providers.get(kind)).ok_or_else(Problem::not_found)
}

async fn start(kind: Kind, request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let provider = site.providers.get(kind).ok_or_else(Problem::not_found)?;
    let query = Fields::of_query(&request);
    let next = safe_next(query.get("next"));
    if signed_in(&request).is_some() {
        return Ok(redirect(&request, next));
    }
    begin(provider, Purpose::SignIn, next, &request, &site).await
}

/// Leads to the provider.
async fn begin(
    provider: Provider<'_>,
    purpose: Purpose,
    next: &str,
    request: &HttpRequest,
    site: &Shared,
) -> Result<HttpResponse, Problem> {
    let (session, now) = (request.get_session(), Time::now());
    let browser = match session::browser(&session) {
        Some(secret) => secret,
        None => flow::new_browser()?,
    };
    session::set_browser(&session, &browser);
    let (kind, wanted) = (provider.kind(), next.to_owned());
    let challenge = site.db.write(move |tx| flow::begin(tx, kind, &browser, purpose, &wanted, now)).await?;
    match provider.authorize_url(&challenge).await {
        Ok(url) => Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, url)).finish()),
        Err(refusal) => refuse(provider, purpose, next, refusal.into(), request),
    }
}

/// Takes in whoever comes back. Nothing of the answer is believed before the cookie, the state
/// and the issuer have been.
async fn finish(kind: Kind, request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let provider = site.providers.get(kind).ok_or_else(Problem::not_found)?;
    let (answer, now) = (Fields::of_query(&request), Time::now());
    let taken = match (session::browser(&request.get_session()), only(&answer, "state")) {
        (Some(browser), Some(state)) => {
            site.db.write(move |tx| flow::take(tx, kind, &browser, &state, now)).await?
        }
        _ => None,
    };
    let Some(flow) = taken else {
        return refuse(provider, Purpose::SignIn, "/", Refused::Lost, &request);
    };
    let (purpose, next) = (flow.purpose, flow.next.clone());
    match arrive(provider, flow, &answer, &request, &site, now).await {
        Ok(path) => Ok(redirect(&request, &path)),
        Err(Refused::Problem(problem)) => Err(problem),
        Err(refused) => refuse(provider, purpose, &next, refused, &request),
    }
}

/// Finds out who came back, does what they went for, and says where they go on.
async fn arrive(
    provider: Provider<'_>,
    flow: Flow,
    answer: &Fields,
    request: &HttpRequest,
    site: &Shared,
    now: Time,
) -> Result<String, Refused> {
    let here = signed_in(request).map(|signed_in| signed_in.person);
    provider.check_issuer(answer.has("iss").then(|| answer.get("iss"))).await?;
    if answer.has("error") {
        return Err(Refusal::Denied(printable(answer.get("error"))).into());
    }
    let code = only(answer, "code").ok_or_else(|| Refusal::Answer("there is no code".to_owned()))?;
    let answer = Answer { code, nonce: flow.nonce, verifier: flow.verifier };
    let identity = provider.identify(answer, now).await?;
    match flow.purpose {
        Purpose::SignIn => sign_in(identity, &flow.next, request, site, now).await,
        Purpose::Connect(person) => {
            let person = here.filter(|here| here.id == person).ok_or(Refused::Lost)?;
            connect_to(person, identity, provider.name(), request, site, now).await
        }
        Purpose::Again(person) => {
            here.filter(|here| here.id == person).ok_or(Refused::Lost)?;
            let asked = flow.created_at.plus(-BEHIND);
            let lately = identity.proved_at.is_some_and(|proved| proved >= asked);
            // GitHub tells no time; being signed in there is all it can say.
            if !lately && identity.kind == Kind::Oidc {
                return Err(Refused::NotProved);
            }
            let found = site.db.read(move |conn| methods::by_identity(conn, &identity)).await?;
            found.filter(|(_, found)| found.id == person).ok_or(Refused::NotProved)?;
            session::prove(&request.get_session(), now);
            Ok(flow.next)
        }
    }
}

async fn sign_in(
    identity: Identity,
    next: &str,
    request: &HttpRequest,
    site: &Shared,
    now: Time,
) -> Result<String, Refused> {
    // Whoever has been signed in there for hours has proved nothing lately.
    let proved = identity.proved_at.filter(|proved| *proved < now).unwrap_or(now);
    let origin = origin(request);
    let (keyring, wanted) = (site.mint.keyring.clone(), next.to_owned());
    let person = site
        .db
        .write(move |tx| {
            let Some((method, person)) = methods::by_identity(tx.conn, &identity)? else {
                return by_invitation(tx, &identity, &keyring, &wanted, now);
            };
            if person.disabled_at.is_none() {
                methods::note_use(tx, method, &identity.label, now)?;
                journal::note(tx, person.id, Actor::Person(person.id), &origin, &Event::SignedIn, now)?;
            }
            Ok(Ok(person))
        })
        .await??;
    if person.disabled_at.is_some() {
        return Err(Refused::Disabled);
    }
    session::sign_in(request, person.id, proved);
    Ok(safe_next(next).to_owned())
}

/// Makes an account for someone on their way to an open invitation: with the invited address,
/// which the provider must have verified. Whoever is known by it signs in as they do.
fn by_invitation(
    tx: &mut Tx<'_>,
    identity: &Identity,
    keyring: &Keyring,
    next: &str,
    now: Time,
) -> Result<Result<Person, Refused>, Error> {
    let Some(token) = next.strip_prefix("/invitations/") else { return Ok(Err(Refused::Unknown)) };
    let Some(invitation) = invitation::open(tx.conn, keyring, token, now)? else {
        return Ok(Err(Refused::Unknown));
    };
    let verified = identity.email.as_deref().map(fold_email);
    if verified != Some(fold_email(&invitation.email)) {
        return Ok(Err(Refused::OtherAddress));
    }
    if store::by_email(tx.conn, &invitation.email)?.is_some() {
        return Ok(Err(Refused::KnownAddress));
    }
    let name = identity.name.as_deref().unwrap_or(&invitation.email);
    let profile = Profile::parse(name, &invitation.email)
        .or_else(|_| Profile::parse(&invitation.email, &invitation.email))
        .map_err(Error::Invalid)?;
    let person = store::insert_without_method(tx, &profile, None, now)?;
    store::set_verified(tx, person.id, now)?;
    methods::connect(tx, person.id, identity, now)?;
    Ok(Ok(person))
}

async fn connect_to(
    person: Person,
    identity: Identity,
    name: &str,
    request: &HttpRequest,
    site: &Shared,
    now: Time,
) -> Result<String, Refused> {
    let (origin, whence, called) = (origin(request), whence(request), name.to_owned());
    let connected = site
        .db
        .write(move |tx| {
            methods::connect(tx, person.id, &identity, now)?;
            notice::tell(tx, &person, Change::MethodConnected(called.clone()), &whence, now)?;
            let event = Event::MethodConnected { method: identity.kind.name().to_owned() };
            journal::note(tx, person.id, Actor::Person(person.id), &origin, &event, now)
        })
        .await;
    match connected {
        Ok(()) => {
            session::flash(&request.get_session(), &format!("{name} is connected. You can sign in with it."));
            Ok("/account".to_owned())
        }
        Err(Error::Conflict(_)) => Err(Refused::Taken),
        Err(error) => Err(error.into()),
    }
}

fn signed_in(request: &HttpRequest) -> Option<SignedIn> {
    request.extensions().get::<SignedIn>().cloned()
}

/// The one value of that name; several are none.
fn only(fields: &Fields, name: &str) -> Option<String> {
    let mut values = fields.all(name);
    let value = values.pop().filter(|value| !value.is_empty() && value.len() <= 4096);
    value.filter(|_| values.is_empty())
}

fn refuse(
    provider: Provider<'_>,
    purpose: Purpose,
    next: &str,
    refused: Refused,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (reason, status, words) = refused.parts(provider.name());
    tracing::warn!(
        provider = provider.kind().name(),
        reason,
        request = request_id(request),
        "a sign-in was refused"
    );
    let (title, again) = match purpose {
        Purpose::SignIn => ("You are not signed in".to_owned(), (way("/sign-in", next), "Back to sign-in")),
        Purpose::Connect(_) => (
            format!("{} was not connected", provider.name()),
            ("/account".to_owned(), "Back to your account"),
        ),
        Purpose::Again(_) => {
            ("It is not confirmed that it is you".to_owned(), (way("/sign-in/again", next), "Try again"))
        }
    };
    let layout = Layout::of(request, Room::None);
    let page = RefusedPage { layout, title, words, again, request: request_id(request) };
    let mut response = html(status, &page)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    Ok(response)
}

impl Refused {
    /// The reason for the log, the status, and what is said.
    fn parts(&self, provider: &str) -> (String, StatusCode, String) {
        let forbidden = StatusCode::FORBIDDEN;
        match self {
            Refused::Provider(refusal @ Refusal::Unreachable(_)) => (
                refusal.to_string(),
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{provider} does not answer right now. Nothing was changed. Try again in a moment, or sign in another way."),
            ),
            Refused::Provider(refusal @ Refusal::Answer(_)) => (
                refusal.to_string(),
                StatusCode::BAD_REQUEST,
                format!("What {provider} answered can't be trusted. Nothing was changed. Try again; if it happens again, tell whoever runs Keydesk: its log says why."),
            ),
            Refused::Provider(refusal @ Refusal::Denied(_)) => {
                (refusal.to_string(), forbidden, format!("{provider} did not let you through. Nothing was changed."))
            }
            Refused::Lost => (
                "there is no such state in this browser".to_owned(),
                StatusCode::BAD_REQUEST,
                "This way was begun in another browser, was used already, or took longer than 10 minutes. Begin again.".to_owned(),
            ),
            Refused::Unknown => (
                "nobody signs in by this identity".to_owned(),
                forbidden,
                format!("No account here uses this sign-in at {provider}. Ask an admin for an invitation, or sign in another way and connect {provider} on your account page."),
            ),
            Refused::OtherAddress => (
                "the invitation is for another address".to_owned(),
                forbidden,
                format!("This invitation is for another address than the one that {provider} has verified for you. It stays open. Sign in another way, or ask for an invitation to your address."),
            ),
            Refused::KnownAddress => (
                "the invited address has an account".to_owned(),
                forbidden,
                format!("The invited address has an account here. The invitation stays open. Sign in to that account another way; you can connect {provider} on your account page then."),
            ),
            Refused::Disabled => (
                "the account is disabled".to_owned(),
                forbidden,
                "Your account may not sign in. Ask an admin of your organisation.".to_owned(),
            ),
            Refused::Taken => (
                "the identity belongs to an account".to_owned(),
                StatusCode::CONFLICT,
                format!("This sign-in at {provider} belongs to an account here already."),
            ),
            Refused::NotProved => (
                "another identity, or no fresh proof of this one".to_owned(),
                forbidden,
                format!("{provider} did not confirm that it is you: someone else is signed in there, or it did not ask."),
            ),
            Refused::Problem(problem) => (problem.to_string(), problem.code.status(), problem.detail.clone()),
        }
    }
}
