//! The ways to a sign-in provider and back: to sign in, to connect, to prove again who one is.

pub mod arrival;
mod refused;

use actix_session::SessionExt;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use crate::db::Tx;
use crate::path::{self, Href};
use crate::people::oauth::flow::{self, Purpose};
use crate::people::oauth::{Kind, Provider};
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::redirect;
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, session};
use refused::refuse;

/// `GET /sign-in/oidc`.
pub async fn start_oidc(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    start(Kind::Oidc, request, site).await
}

/// `GET /sign-in/github`.
pub async fn start_github(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    start(Kind::GitHub, request, site).await
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
        return Ok(redirect(&request, &path::account()));
    }
    begin(provider, Purpose::Connect(signed_in.person.id), &path::account(), &request, &site).await
}

/// What the links that connect are made for.
const CONNECT: &str = "connect";

/// The link by which this session connects a provider.
pub fn connect_link(request: &HttpRequest, site: &Shared, kind: Kind) -> Href {
    let session = session::id(&request.get_session()).map(|id| id.to_string()).unwrap_or_default();
    path::account_connect(kind.name()).query("token", site.mint.keyring.link_token(CONNECT, &session))
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
    let next = Href::next(query.get("next"));
    begin(provider, Purpose::Again(signed_in.person.id), &next, &request, &site).await
}

fn named<'a>(site: &'a Shared, name: &str) -> Result<Provider<'a>, Problem> {
    Kind::parse(name).and_then(|kind| site.providers.get(kind)).ok_or_else(Problem::not_found)
}

async fn start(kind: Kind, request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let provider = site.providers.get(kind).ok_or_else(Problem::not_found)?;
    let query = Fields::of_query(&request);
    let next = Href::next(query.get("next"));
    if signed_in(&request).is_some() {
        return Ok(redirect(&request, &next));
    }
    begin(provider, Purpose::SignIn, &next, &request, &site).await
}

/// Leads to the provider.
async fn begin(
    provider: Provider<'_>,
    purpose: Purpose,
    next: &Href,
    request: &HttpRequest,
    site: &Shared,
) -> Result<HttpResponse, Problem> {
    let (session, now) = (request.get_session(), Time::now());
    let browser = match session::browser(&session) {
        Some(secret) => secret,
        None => flow::new_browser()?,
    };
    session::set_browser(&session, &browser);
    let (kind, wanted, keyring) = (provider.kind(), next.to_string(), site.mint.keyring.clone());
    let begun = move |tx: &mut Tx<'_>| flow::begin(tx, &keyring, kind, &browser, purpose, &wanted, now);
    let challenge = site.db.write(begun).await?;
    match provider.authorize_url(&challenge).await {
        Ok(url) => Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, url)).finish()),
        Err(refusal) => refuse(provider, purpose, next, refusal.into(), request),
    }
}

fn signed_in(request: &HttpRequest) -> Option<SignedIn> {
    request.extensions().get::<SignedIn>().cloned()
}
