//! The return from a provider: the visitor is signed in, connected, or confirmed.

use actix_web::{HttpResponse, web};

use crate::audit::event::Event;
use crate::authority::{self, AccountHolder};
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::Error;
use crate::mail::Change;
use crate::orgs::{account_log, invitation};
use crate::path::{self, Href, Pattern};
use crate::people::oauth::flow::{self, Flow, Purpose};
use crate::people::oauth::{
    Identity, Kind, Provider, ProviderEmail, ProviderError, ProviderId, ProviderResponse, printable,
};
use crate::people::store::{self, Person, Profile, fold_email};
use crate::people::{methods, notice, recovery};
use crate::portal::entrance::provider::reason::Refused;
use crate::portal::entrance::provider::refused::refuse;
use crate::portal::entrance::provider::{cookie, numbered};
use crate::portal::kit::visit::{AccountVisit, GuestVisit};
use crate::text::to_name;
use crate::time::{MINUTE, Time};
use crate::web::form::Fields;
use crate::web::problem::Problem;
use crate::web::session;

/// How far a provider's clock may differ from ours, in seconds.
const APART: i64 = MINUTE;

/// `GET /sign-in/oidc/callback`.
pub async fn finish_oidc(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    finish(ProviderId::Oidc(1), visit).await
}

/// `GET /sign-in/oidc/{number}/callback`.
pub async fn finish_numbered(visit: GuestVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    finish(numbered(&path)?, visit).await
}

/// `GET /sign-in/github/callback`.
pub async fn finish_github(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    finish(ProviderId::GitHub, visit).await
}

/// Handles the return from a provider. The answer is used only after cookie, state and issuer are checked.
async fn finish(id: ProviderId, visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let provider = visit.site.providers.get(id).ok_or_else(Problem::not_found)?;
    let answer = visit.query();
    let Some(state) = only(&answer, "state") else {
        return refuse(provider, Purpose::SignIn, &path::home(), Refused::Lost, &visit);
    };
    let https = visit.site.public_url.is_https();
    let sealed = cookie::read(&visit.request, &state, https);
    let is_sealed = sealed.is_some();
    let flow = taken(id, &state, sealed, &visit).await?;
    // A flow that another provider's callback does not accept stays valid.
    let is_used_up = is_sealed && flow.is_some();
    let mut response = complete(provider, flow, &answer, &visit).await?;
    if is_used_up {
        response
            .add_cookie(&cookie::removal(&state, https))
            .map_err(|_| Error::internal("a cookie has no header form"))?;
    }
    Ok(response)
}

/// Takes the flow with this state, if this browser started it.
async fn taken(
    id: ProviderId,
    state: &str,
    sealed: Option<String>,
    visit: &GuestVisit,
) -> Result<Option<Flow>, Problem> {
    let (keyring, now) = (visit.site.defaults.keyring.clone(), visit.now);
    if let Some(sealed) = sealed {
        return Ok(flow::open_sealed(&keyring, id, state, &sealed, now));
    }
    let Some(browser) = session::browser(&visit.session()) else { return Ok(None) };
    let state = state.to_owned();
    Ok(visit.site.db.write(move |tx| flow::consume(tx, &keyring, id, &browser, &state, now)).await?)
}

async fn complete(
    provider: Provider<'_>,
    flow: Option<Flow>,
    answer: &Fields,
    visit: &GuestVisit,
) -> Result<HttpResponse, Problem> {
    let Some(flow) = flow else {
        return refuse(provider, Purpose::SignIn, &path::home(), Refused::Lost, visit);
    };
    let (purpose, next) = (flow.purpose, Href::next(&flow.next));
    match arrive(provider, flow, answer, visit, visit.now).await {
        Ok(path) => Ok(visit.redirect(path)),
        Err(Refused::Problem(problem)) => Err(problem),
        Err(refused) => refuse(provider, purpose, &next, refused, visit),
    }
}

/// Identifies the visitor, completes the purpose of the sign-in and returns the next page.
async fn arrive(
    provider: Provider<'_>,
    flow: Flow,
    answer: &Fields,
    visit: &GuestVisit,
    now: Time,
) -> Result<Href, Refused> {
    provider.check_issuer(answer.has("iss").then(|| answer.get("iss"))).await?;
    if answer.has("error") {
        let (error, words) = (printable(answer.get("error")), printable(answer.get("error_description")));
        return Err(ProviderError::Denied(format!("{error} {words}").trim().to_owned()).into());
    }
    let code =
        only(answer, "code").ok_or_else(|| ProviderError::InvalidResponse("there is no code".to_owned()))?;
    let answer = ProviderResponse { code, nonce: flow.nonce, verifier: flow.verifier };
    let identity = provider.identify(answer, now).await?;
    match flow.purpose {
        Purpose::SignIn => sign_in(identity, &flow.next, visit, now).await,
        Purpose::Connect(person) => {
            let account = visit.account().filter(|account| account.person.id == person);
            connect_to(&account.ok_or(Refused::Lost)?, identity, provider.name()).await
        }
        Purpose::Again(person) => {
            visit.account().filter(|account| account.person.id == person).ok_or(Refused::Lost)?;
            let is_fresh = match identity.proved_at {
                Some(proved) => (flow.created_at.plus(-APART)..=now.plus(APART)).contains(&proved),
                // GitHub reports no time of sign-in.
                None if identity.kind == Kind::GitHub => true,
                None => return Err(Refused::NoTimeOfSignIn),
            };
            if !is_fresh {
                return Err(Refused::OldSignIn);
            }
            let found = visit
                .read(move |conn| methods::by_identity(conn, &identity))
                .await
                .map_err(Refused::Problem)?;
            found.filter(|(_, found)| found.id == person).ok_or(Refused::OtherIdentity)?;
            session::prove(&visit.session(), now);
            Ok(Href::next(&flow.next))
        }
    }
}

async fn sign_in(identity: Identity, next: &str, visit: &GuestVisit, now: Time) -> Result<Href, Refused> {
    // A sign-in there hours ago does not count as fresh.
    let proved = match identity.proved_at {
        Some(proved) if proved <= now.plus(APART) => proved.min(now),
        // The provider's clock is wrong, or it uses another unit.
        Some(_) => now.plus(-authority::FRESH),
        // The provider may not have asked for a credential.
        None if identity.kind == Kind::Oidc => now.plus(-authority::FRESH),
        // GitHub never reports it and can't be made to ask.
        None => now,
    };
    let source = visit.source();
    let (keyring, wanted) = (visit.site.defaults.keyring.clone(), next.to_owned());
    let person = visit
        .site
        .db
        .write(move |tx| {
            let Some((method, person)) = methods::by_identity(tx.conn, &identity)? else {
                return by_invitation(tx, &identity, &keyring, &wanted, now);
            };
            let person = store::lock(tx, person.id)?.unwrap_or(person);
            if person.disabled_at.is_none() {
                methods::note_use(tx, method, &identity.label, now)?;
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                account_log::append(tx, &holder, &Event::SignedIn)?;
            }
            Ok(Ok(person))
        })
        .await??;
    if person.disabled_at.is_some() {
        return Err(Refused::Disabled);
    }
    session::sign_in(&visit.request, &person, proved);
    Ok(Href::next(next))
}

/// Creates an account for an open invitation, with the invited address, which the provider must have
/// verified. An address that has an account is refused: its owner signs in to it.
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
    match &identity.email {
        ProviderEmail::Verified(email) if fold_email(email) == fold_email(&invitation.email) => {}
        email => return Ok(Err(Refused::Address(email.clone(), invitation.email))),
    }
    if store::by_email(tx.conn, &invitation.email)?.is_some() {
        return Ok(Err(Refused::KnownAddress));
    }
    let name = to_name(identity.name.as_deref().unwrap_or(&invitation.email), store::MAX_NAME);
    let profile = Profile::parse(&name, &invitation.email)
        .or_else(|_| Profile::parse(&invitation.email, &invitation.email))
        .map_err(Error::Invalid)?;
    let person = store::insert(tx, &profile, None, now)?;
    store::set_verified(tx, person.id, now)?;
    methods::connect(tx, person.id, identity, now)?;
    Ok(Ok(person))
}

async fn connect_to(visit: &AccountVisit, identity: Identity, name: &str) -> Result<Href, Refused> {
    let (called, person, now) = (name.to_owned(), visit.person.clone(), visit.now);
    let connected = visit
        .change(move |tx, holder| {
            // The sign-in was fresh at the start, which may be long ago.
            holder.require_fresh()?;
            if !recovery::is_current(tx, &person)? {
                return Ok(false);
            }
            methods::connect(tx, person.id, &identity, now)?;
            notice::send(tx, &person, Change::MethodConnected(called.clone()), &holder.source, now)?;
            let event = Event::MethodConnected { method: identity.kind.name().to_owned() };
            account_log::append(tx, holder, &event)?;
            Ok(true)
        })
        .await;
    match connected {
        Ok(false) => Err(Refused::Lost),
        Ok(true) => {
            visit.flash(format!("{name} is connected. You can sign in with it."));
            Ok(path::account())
        }
        Err(Error::Conflict(_)) => Err(Refused::Taken),
        Err(error) => Err(error.into()),
    }
}

/// The only value with that name.
fn only(fields: &Fields, name: &str) -> Option<String> {
    let mut values = fields.all(name);
    let value = values.pop().filter(|value| !value.is_empty() && value.len() <= 4096);
    value.filter(|_| values.is_empty())
}
