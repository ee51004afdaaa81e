//! Changing one's password, or choosing a first one.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use secrecy::SecretString;

use crate::audit::event::Event;
use crate::error::{Error, FieldError};
use crate::mail::Change;
use crate::orgs::journal;
use crate::path;
use crate::people::password::NewPassword;
use crate::people::recovery::{self, Ends};
use crate::people::sign_in::{self, Attempt, Outcome};
use crate::people::{methods, notice, password, store, throttle};
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, address, fresh, session};

#[derive(Template)]
#[template(path = "portal/account/password.html")]
struct PasswordPage {
    layout: Layout,
    email: String,
    has_password: bool,
    complaints: Complaints,
}

/// `GET /account/password`.
pub async fn form(request: HttpRequest, signed_in: SignedIn, site: Shared) -> Result<HttpResponse, Problem> {
    let has_password = has_password(&signed_in, &site).await?;
    if let Some(elsewhere) = first_needs_proof(&request, has_password, Time::now()) {
        return Ok(elsewhere);
    }
    page(&request, &signed_in, has_password, Complaints::default(), StatusCode::OK)
}

/// `POST /account/password`. Whoever has a password proves it, whoever has none signed in lately.
pub async fn submit(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (now, person) = (Time::now(), signed_in.person.clone());
    let has_password = has_password(&signed_in, &site).await?;
    if let Some(elsewhere) = first_needs_proof(&request, has_password, now) {
        return Ok(elsewhere);
    }
    let new: SecretString = fields.get("new_password").into();
    let context = [person.email.as_str(), person.name.as_str()];
    let mut wrong: Vec<FieldError> = password::check_length("new_password", &new).err().into_iter().collect();
    if has_password {
        let attempt = Attempt {
            email: person.email.clone(),
            password: fields.get("password").into(),
            client: address::client(&request).bucket(&person.email),
            zone: None,
            session: session::id(&request.get_session()),
        };
        let throttle = &site.mint.keyring.throttle;
        match sign_in::with_password(&site.db, throttle, attempt, |_, _| Ok(()), now).await? {
            Outcome::Welcome(proved) if proved.id == person.id => {}
            Outcome::Wait(seconds) => {
                let told = FieldError::new("password", throttle::words_of_wait(seconds));
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut response = page(&request, &signed_in, true, Complaints(vec![told]), status)?;
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                return Ok(response);
            }
            _ => wrong
                .insert(0, FieldError::new("password", "This is not your password. Check it and try again.")),
        }
    }
    if !wrong.is_empty() {
        return page(&request, &signed_in, has_password, Complaints(wrong), StatusCode::UNPROCESSABLE_ENTITY);
    }
    // Last, since it takes a while: whoever does not know the password of now can't ask for it.
    let new = match NewPassword::check("new_password", new, &context).await {
        Ok(new) => new,
        Err(Error::Invalid(wrong)) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return page(&request, &signed_in, has_password, Complaints(wrong), status);
        }
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(new).await?;
    let session = request.get_session();
    let but = session::id(&session).ok_or_else(Problem::not_found)?;
    let (keys, client) =
        (site.mint.keyring.throttle.clone(), address::client(&request).bucket(&person.email));
    signed_in
        .change(&request, now)
        .commit(&site.db, move |tx, holder| {
            if !has_password {
                // It opens the account for good.
                holder.require_fresh()?;
            }
            recovery::secure(tx, &person, Ends::AllBut(but), now)?;
            throttle::keep_client(tx, &keys, &person, &client, now)?;
            methods::set_password(tx, person.id, &hashed, now)?;
            notice::tell(tx, &person, Change::PasswordChanged, &holder.source, now)?;
            journal::note(tx, holder, &Event::PasswordChanged)
        })
        .await?;
    session::prove(&session, now);
    session::flash(
        &session,
        "Your password was changed. Your other sessions have ended, and pending links and calendar addresses no longer work.",
    );
    Ok(redirect(&request, &path::account()))
}

/// A first password opens the account for good, so whoever chooses it proves who they are.
fn first_needs_proof(request: &HttpRequest, has_password: bool, now: Time) -> Option<HttpResponse> {
    let needed = !has_password && !fresh::is_fresh(request, now);
    needed.then(|| redirect(request, &path::sign_in_again().then(&path::account_password())))
}

async fn has_password(signed_in: &SignedIn, site: &Shared) -> Result<bool, Problem> {
    let id = signed_in.person.id;
    Ok(site.db.read(move |conn| store::password(conn, id)).await?.is_some())
}

fn page(
    request: &HttpRequest,
    signed_in: &SignedIn,
    has_password: bool,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let layout = Layout::of(request, Room::Account);
    html(status, &PasswordPage { layout, email: signed_in.person.email.clone(), has_password, complaints })
}
