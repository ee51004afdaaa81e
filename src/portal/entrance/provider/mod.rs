//! Sign-in providers: signing in, connecting, and confirming one's identity.

mod advice;
pub mod arrival;
mod cookie;
mod reason;
mod refused;

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use crate::db::Tx;
use crate::path::{self, Href};
use crate::people::oauth::flow::{self, Purpose};
use crate::people::oauth::{Provider, ProviderId};
use crate::portal::kit::visit::{AccountVisit, GuestVisit, Visit};
use crate::web::problem::Problem;
use crate::web::{Shared, session};
use refused::refuse;

/// `GET /sign-in/oidc`.
pub async fn start_oidc(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    start(ProviderId::Oidc(1), visit).await
}

/// `GET /sign-in/oidc/{number}`: the OpenID Connect providers after the first.
pub async fn start_numbered(visit: GuestVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    start(numbered(&path)?, visit).await
}

/// `GET /sign-in/github`.
pub async fn start_github(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    start(ProviderId::GitHub, visit).await
}

/// `GET /account/connect/{provider}`: starts to connect a provider. The link contains a token of the
/// session, so that no other site can make someone connect a stranger's identity.
pub async fn connect(visit: AccountVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let provider = named(&visit.site, &path)?;
    let (query, session) = (visit.query(), session::id(&visit.session()));
    let of_session = visit.site.defaults.keyring.open_link_token(CONNECT, query.get("token"));
    if of_session.is_none() || of_session != session.map(|id| id.to_string()).as_deref() {
        return Ok(visit.redirect(path::account()));
    }
    begin(provider, Purpose::Connect(visit.person.id), &path::account(), &visit).await
}

/// The purpose of the tokens in links that connect a provider.
const CONNECT: &str = "connect";

/// The link with which this session connects a provider.
pub fn connect_link<V>(visit: &Visit<V>, provider: ProviderId) -> Href {
    let session = session::id(&visit.session()).map(|id| id.to_string()).unwrap_or_default();
    let token = visit.site.defaults.keyring.link_token(CONNECT, &session);
    path::account_connect(&provider.to_string()).query("token", token)
}

/// `GET /sign-in/again/{provider}`: starts to confirm one's identity.
pub async fn prove(visit: AccountVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let provider = named(&visit.site, &path)?;
    let query = visit.query();
    begin(provider, Purpose::Again(visit.person.id), &Href::next(query.get("next")), &visit).await
}

fn named<'a>(site: &'a Shared, name: &str) -> Result<Provider<'a>, Problem> {
    ProviderId::parse(name).and_then(|id| site.providers.get(id)).ok_or_else(Problem::not_found)
}

/// The OpenID Connect provider with the number in a path.
fn numbered(number: &str) -> Result<ProviderId, Problem> {
    ProviderId::parse(&format!("oidc-{number}")).ok_or_else(Problem::not_found)
}

async fn start(id: ProviderId, visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let provider = visit.site.providers.get(id).ok_or_else(Problem::not_found)?;
    let query = visit.query();
    let next = Href::next(query.get("next"));
    if visit.signed_in.is_some() {
        return Ok(visit.redirect(next));
    }
    begin(provider, Purpose::SignIn, &next, &visit).await
}

/// Redirects to the provider.
async fn begin<V>(
    provider: Provider<'_>,
    purpose: Purpose,
    next: &Href,
    visit: &Visit<V>,
) -> Result<HttpResponse, Problem> {
    let (id, now, keyring) = (provider.id(), visit.now, visit.site.defaults.keyring.clone());
    let https = visit.site.public_url.is_https();
    let (challenge, cookies) = if purpose == Purpose::SignIn {
        let (challenge, sealed) = flow::begin_sealed(&keyring, id, next.as_str(), now)?;
        let mut cookies = cookie::removals(&visit.request, https);
        cookies.push(cookie::with(&challenge.state, sealed, https));
        (challenge, cookies)
    } else {
        let session = visit.session();
        let browser = match session::browser(&session) {
            Some(secret) => secret,
            None => flow::new_browser()?,
        };
        session::set_browser(&session, &browser);
        let wanted = next.to_string();
        let begun = move |tx: &mut Tx<'_>| flow::begin(tx, &keyring, id, &browser, purpose, &wanted, now);
        (visit.site.db.write(begun).await?, Vec::new())
    };
    match provider.authorize_url(&challenge).await {
        Ok(url) => {
            let mut response = HttpResponse::SeeOther();
            response.insert_header((header::LOCATION, url));
            for cookie in cookies {
                response.cookie(cookie);
            }
            Ok(response.finish())
        }
        Err(refusal) => refuse(provider, purpose, next, refusal.into(), visit),
    }
}
