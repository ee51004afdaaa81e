//! The gate for people: who is signed in, in which organisation, and how lately they proved it.

use actix_session::SessionExt;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};

use crate::orgs;
use crate::review;
use crate::role::Act;
use crate::time::Time;
use crate::web::body::budget::Sender;
use crate::web::form::Fields;
use crate::web::permission::Permission;
use crate::web::principal::{Findings, Member, SignedIn, refuse_key_in_url};
use crate::web::problem::Problem;
use crate::web::{Shared, body, fresh, session};

/// Lets a request through to its handler if the person who is signed in may make it.
pub(super) async fn with_person(
    permission: Permission,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admitted = match admit_person(permission, request.request()).await {
        // Before the admission is final: who is let in depends on what the form says.
        Ok(None) => body::buffer(&mut request, permission.max_body(), sender).await.map(|()| None),
        admitted => admitted,
    };
    let admitted = match admitted {
        Ok(None) if permission.is_fresh() => demand_fresh(&mut request).await,
        admitted => admitted,
    };
    match admitted {
        Ok(None) => Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Some(elsewhere)) => Ok(request.into_response(elsewhere)),
        // `Ok` with the error inside keeps it readable for the envelope.
        Err(problem) => Ok(request.error_response(problem)),
    }
}

/// Puts who is signed in into the request. `Some` is a redirect to where they sign in.
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
    let principal = session::principal(&request.get_session(), permission.is_fresh());
    let Some(((person, orgs), principal)) = found.zip(principal) else {
        request.get_session().purge();
        return Ok(stranger());
    };
    let signed_in = SignedIn { person, orgs, principal };
    request.extensions_mut().insert(signed_in.clone());
    let (Permission::Member(act) | Permission::MemberFresh(act)) = permission else { return Ok(None) };
    let slug = request.match_info().get("org").unwrap_or_default();
    let (org, role) =
        signed_in.orgs.into_iter().find(|(org, _)| org.slug == slug).ok_or_else(Problem::not_found)?;
    if role.may(Act::ReadReview) {
        let id = org.id;
        let findings = site.db.read(move |conn| review::store::open(conn, id)).await?;
        request.extensions_mut().insert(Findings(findings));
    }
    let SignedIn { person, principal, .. } = signed_in;
    request.extensions_mut().insert(Member { person, org, role, act, principal });
    if role.may(act) { Ok(None) } else { Err(crate::error::Error::Forbidden.into()) }
}

/// Lets through who proved lately who they are. `Some` is where or how they do: a page leads
/// there, a form comes back with what was typed.
async fn demand_fresh(request: &mut ServiceRequest) -> Result<Option<HttpResponse>, Problem> {
    let now = Time::now();
    if fresh::is_fresh(request.request(), now) {
        return Ok(None);
    }
    if request.method().is_safe() {
        return Ok(Some(session::to_sign_in_again(request.request())));
    }
    let site = request.app_data::<Shared>().cloned().ok_or_else(Problem::not_found)?;
    let bytes = body::buffered(request.take_payload()).await?;
    let fields = Fields::of_body(&bytes)?;
    let asked = fresh::confirm(request.request(), &site, &fields, now).await?;
    // The handler reads the form again.
    request.set_payload(bytes.into());
    Ok(asked)
}

/// Who sends a body: the person, once it is known who is signed in.
fn sender(request: &ServiceRequest) -> Sender {
    let person = request.extensions().get::<SignedIn>().map(|signed_in| signed_in.person.id);
    person.map_or_else(|| super::by_address(request), Sender::Person)
}
