//! The gate for people: session, organisation and fresh sign-in.

use actix_session::SessionExt;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};

use crate::orgs;
use crate::people::principal::SignedInPerson;
use crate::review;
use crate::role::Act;
use crate::time::Time;
use crate::web::body::budget::Sender;
use crate::web::connections::ConnectionOwner;
use crate::web::form::Fields;
use crate::web::permission::Permission;
use crate::web::principal::{Findings, Member, SignedIn, refuse_key_in_url};
use crate::web::problem::{Problem, RequiredStep};
use crate::web::{Shared, body, connections, fresh, session};

/// Passes a request on to its handler if the signed-in person may make it.
pub(super) async fn with_person(
    permission: Permission,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admitted = match admit_person(permission, request.request()).await {
        // Before the admission is final, because it depends on the form.
        Ok(None) => body::buffer(&mut request, permission.max_body(), sender).await.map(|()| None),
        admitted => admitted,
    };
    let form = match admitted {
        Ok(None) => confirm(permission, &mut request).await,
        Ok(Some(elsewhere)) => Ok(Err(elsewhere)),
        Err(problem) => Err(problem),
    };
    match form {
        Ok(Ok(form)) => {
            let response = next.call(request).await?.map_into_boxed_body();
            Box::pin(ask_for_proof(response, &form)).await
        }
        Ok(Err(elsewhere)) => Ok(request.into_response(elsewhere)),
        // `Ok` with the error inside keeps it readable for the envelope.
        Err(problem) => Ok(request.error_response(problem)),
    }
}

/// If a change was refused at its commit because the session had ended or the sign-in was not fresh, responds
/// with the page on which the person can fix that.
async fn ask_for_proof(
    response: ServiceResponse<BoxBody>,
    form: &Bytes,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
    let Some(proof) = problem.and_then(|problem| problem.required_step) else { return Ok(response) };
    let request = response.request().clone();
    let answer = match proof {
        RequiredStep::SignIn => {
            request.get_session().purge();
            Ok(session::to_sign_in(&request))
        }
        RequiredStep::Fresh => {
            let site = request.app_data::<Shared>().cloned().ok_or_else(Problem::not_found);
            let fields = Fields::of_body(form);
            match (site, fields) {
                (Ok(site), Ok(fields)) => {
                    fresh::page(&request, &site, &fields, StatusCode::FORBIDDEN, None).await
                }
                (Err(problem), _) | (_, Err(problem)) => Err(problem),
            }
        }
    };
    Ok(match answer {
        Ok(answer) => response.into_response(answer),
        Err(problem) => response.error_response(problem),
    })
}

/// Stores the signed-in person in the request. `Some` is a redirect to the sign-in page.
async fn admit_person(
    permission: Permission,
    request: &HttpRequest,
) -> Result<Option<HttpResponse>, Problem> {
    refuse_key_in_url(request)?;
    let site = request.app_data::<Shared>().ok_or_else(Problem::not_found)?;
    let stranger = || (permission != Permission::Page).then(|| session::to_sign_in(request));
    let Some(id) = session::person(&request.get_session()) else { return Ok(stranger()) };
    let found = site
        .db
        .read(move |conn| {
            let person = crate::people::store::find(conn, id)?.filter(|person| person.disabled_at.is_none());
            let orgs = orgs::store::of_person(conn, id)?;
            Ok(person.map(|person| (person, orgs)))
        })
        .await?;
    let principal = session::principal(&request.get_session(), permission.requires_fresh_sign_in());
    let Some(((person, orgs), principal)) = found.zip(principal) else {
        request.get_session().purge();
        return Ok(stranger());
    };
    let org = orgs.first().map(|(org, _)| org.id);
    connections::prove(request, ConnectionOwner { org, owner: id, key: None });
    let signed_in = SignedIn { person, orgs, principal };
    request.extensions_mut().insert(signed_in.clone());
    let (Permission::Member(act) | Permission::MemberFresh(act)) = permission else { return Ok(None) };
    let slug = request.match_info().get("org").unwrap_or_default();
    let (org, role) = signed_in
        .orgs
        .into_iter()
        .find(|(org, _)| org.slug.as_str() == slug)
        .ok_or_else(Problem::not_found)?;
    if role.may(Act::ReadReview) {
        let id = org.id;
        let findings = site.db.read(move |conn| review::store::open(conn, id)).await?;
        request.extensions_mut().insert(Findings(findings));
    }
    let SignedIn { person, principal, .. } = signed_in;
    request.extensions_mut().insert(Member { person, org, role, act, principal });
    if role.may(act) { Ok(None) } else { Err(crate::error::Error::Forbidden.into()) }
}

/// Takes the confirmation of the person's identity out of a form that contains one, and asks for it if the route
/// requires a fresh sign-in. Returns the form, for changes that turn out to require one; the inner `Err` is the
/// page that asks.
async fn confirm(
    permission: Permission,
    request: &mut ServiceRequest,
) -> Result<Result<Bytes, HttpResponse>, Problem> {
    let now = Time::now();
    if request.method().is_safe() {
        let is_due = permission.requires_fresh_sign_in() && !fresh::is_fresh(request.request(), now);
        return Ok(if is_due { Err(session::to_sign_in_again(request.request())) } else { Ok(Bytes::new()) });
    }
    let form = body::buffered(request.take_payload()).await?;
    // The handler reads the form again.
    request.set_payload(form.clone().into());
    if matches!(permission, Permission::Page) || fresh::is_fresh(request.request(), now) {
        return Ok(Ok(form));
    }
    let site = request.app_data::<Shared>().cloned().ok_or_else(Problem::not_found)?;
    let fields = Fields::of_body(&form)?;
    if !permission.requires_fresh_sign_in() && !fresh::is_confirmed(&fields) {
        return Ok(Ok(form));
    }
    let page = fresh::confirm(request.request(), &site, &fields, now).await?;
    if page.is_none() {
        let proved = session::principal(&request.get_session(), permission.requires_fresh_sign_in());
        replace_principal(request, proved);
    }
    Ok(page.map_or(Ok(form), Err))
}

/// Stores that the person has just confirmed their identity.
fn replace_principal(request: &ServiceRequest, proved: Option<SignedInPerson>) {
    let mut extensions = request.extensions_mut();
    let Some(proved) = proved else { return };
    if let Some(member) = extensions.get_mut::<Member>() {
        member.principal = proved.clone();
    }
    if let Some(signed_in) = extensions.get_mut::<SignedIn>() {
        signed_in.principal = proved;
    }
}

/// The sender of a body: the person, once known.
fn sender(request: &ServiceRequest) -> Sender {
    let person = request.extensions().get::<SignedIn>().map(|signed_in| signed_in.person.id);
    person.map_or_else(|| super::by_address(request), Sender::Person)
}
