//! The way back from a provider: who came back, and whether they are let in, connected, or
//! proved to be who they are.

use actix_session::SessionExt;
use actix_web::{HttpRequest, HttpResponse};

use crate::audit::event::Event;
use crate::authority::{self, AccountHolder};
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::Error;
use crate::mail::Change;
use crate::orgs::{invitation, journal};
use crate::path::{self, Href, Pattern};
use crate::people::oauth::flow::{self, Flow, Purpose};
use crate::people::oauth::{Answer, Identity, Kind, Provider, Refusal, printable};
use crate::people::store::{self, Person, Profile, fold_email};
use crate::people::{methods, notice, recovery};
use crate::portal::entrance::provider::refused::{Refused, refuse};
use crate::portal::entrance::provider::signed_in;
use crate::time::{MINUTE, Time};
use crate::web::form::Fields;
use crate::web::page::redirect;
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

/// How far a provider's clock may be from ours when it tells when someone proved who they are.
const APART: i64 = MINUTE;

/// `GET /sign-in/oidc/callback`.
pub async fn finish_oidc(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    finish(Kind::Oidc, request, site).await
}

/// `GET /sign-in/github/callback`.
pub async fn finish_github(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    finish(Kind::GitHub, request, site).await
}

/// Takes in whoever comes back. Nothing of the answer is believed before the cookie, the state
/// and the issuer have been.
async fn finish(kind: Kind, request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let provider = site.providers.get(kind).ok_or_else(Problem::not_found)?;
    let (answer, now) = (Fields::of_query(&request), Time::now());
    let taken = match (session::browser(&request.get_session()), only(&answer, "state")) {
        (Some(browser), Some(state)) => {
            let keyring = site.mint.keyring.clone();
            site.db.write(move |tx| flow::take(tx, &keyring, kind, &browser, &state, now)).await?
        }
        _ => None,
    };
    let Some(flow) = taken else {
        return refuse(provider, Purpose::SignIn, &path::home(), Refused::Lost, &request);
    };
    let (purpose, next) = (flow.purpose, Href::next(&flow.next));
    match arrive(provider, flow, &answer, &request, &site, now).await {
        Ok(next) => Ok(redirect(&request, &next)),
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
) -> Result<Href, Refused> {
    let here = signed_in(request);
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
            let here = here.filter(|here| here.person.id == person).ok_or(Refused::Lost)?;
            connect_to(here, identity, provider.name(), request, site, now).await
        }
        Purpose::Again(person) => {
            here.filter(|here| here.person.id == person).ok_or(Refused::Lost)?;
            let lately = flow.created_at.plus(-APART)..=now.plus(APART);
            let lately = identity.proved_at.is_some_and(|proved| lately.contains(&proved));
            // GitHub tells no time; being signed in there is all it can say.
            if !lately && identity.kind == Kind::Oidc {
                return Err(Refused::NotProved);
            }
            let found = site.db.read(move |conn| methods::by_identity(conn, &identity)).await?;
            found.filter(|(_, found)| found.id == person).ok_or(Refused::NotProved)?;
            session::prove(&request.get_session(), now);
            Ok(Href::next(&flow.next))
        }
    }
}

async fn sign_in(
    identity: Identity,
    next: &str,
    request: &HttpRequest,
    site: &Shared,
    now: Time,
) -> Result<Href, Refused> {
    // Whoever has been signed in there for hours has proved nothing lately.
    let proved = match identity.proved_at {
        Some(proved) if proved <= now.plus(APART) => proved.min(now),
        // A provider whose clock is that wrong, or that counts in other units, says nothing.
        Some(_) => now.plus(-authority::FRESH),
        // A provider that says nothing may have let them in without asking for anything.
        None if identity.kind == Kind::Oidc => now.plus(-authority::FRESH),
        // GitHub never says it, and can't be asked to ask.
        None => now,
    };
    let source = source(request);
    let (keyring, wanted) = (site.mint.keyring.clone(), next.to_owned());
    let person = site
        .db
        .write(move |tx| {
            let Some((method, person)) = methods::by_identity(tx.conn, &identity)? else {
                return by_invitation(tx, &identity, &keyring, &wanted, now);
            };
            let person = store::lock(tx, person.id)?.unwrap_or(person);
            if person.disabled_at.is_none() {
                methods::note_use(tx, method, &identity.label, now)?;
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                journal::note(tx, &holder, &Event::SignedIn)?;
            }
            Ok(Ok(person))
        })
        .await??;
    if person.disabled_at.is_some() {
        return Err(Refused::Disabled);
    }
    session::sign_in(request, &person, proved);
    Ok(Href::next(next))
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
    let Some(token) = next.strip_prefix(Pattern::invitation.prefix()) else {
        return Ok(Err(Refused::Unknown));
    };
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
    signed_in: SignedIn,
    identity: Identity,
    name: &str,
    request: &HttpRequest,
    site: &Shared,
    now: Time,
) -> Result<Href, Refused> {
    let (change, called) = (signed_in.change(request, now), name.to_owned());
    let person = signed_in.person;
    let connected = change
        .commit(&site.db, move |tx, holder| {
            // It was when they left for the provider, which may be long ago.
            holder.require_fresh()?;
            if !recovery::is_current(tx, &person)? {
                return Ok(false);
            }
            methods::connect(tx, person.id, &identity, now)?;
            notice::tell(tx, &person, Change::MethodConnected(called.clone()), &holder.source, now)?;
            let event = Event::MethodConnected { method: identity.kind.name().to_owned() };
            journal::note(tx, holder, &event)?;
            Ok(true)
        })
        .await;
    match connected {
        Ok(false) => Err(Refused::Lost),
        Ok(true) => {
            session::flash(&request.get_session(), &format!("{name} is connected. You can sign in with it."));
            Ok(path::account())
        }
        Err(Error::Conflict(_)) => Err(Refused::Taken),
        Err(error) => Err(error.into()),
    }
}

/// The one value of that name; several are none.
fn only(fields: &Fields, name: &str) -> Option<String> {
    let mut values = fields.all(name);
    let value = values.pop().filter(|value| !value.is_empty() && value.len() <= 4096);
    value.filter(|_| values.is_empty())
}
