//! Changing one's password, or choosing a first one.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use askama::Template;
use secrecy::SecretString;

use crate::audit::event::Event;
use crate::error::{Error, FieldError};
use crate::mail::Change;
use crate::orgs::account_log;
use crate::path;
use crate::people::password::NewPassword;
use crate::people::recovery::{self, SessionsToEnd};
use crate::people::sign_in::{self, Attempt, Outcome};
use crate::people::{credential, notice, password, throttle};
use crate::portal::kit::visit::AccountVisit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;
use crate::web::{address, fresh, session};

#[derive(Template)]
#[template(path = "portal/account/password.html")]
struct PasswordPage {
    layout: Layout,
    email: String,
    has_password: bool,
    form_errors: FormErrors,
}

/// `GET /account/password`.
pub async fn form(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    let has_password = has_password(&visit).await?;
    if let Some(elsewhere) = first_needs_proof(&visit, has_password) {
        return Ok(elsewhere);
    }
    page(&visit, has_password, FormErrors::default(), StatusCode::OK)
}

/// `POST /account/password`: requires the current password, or a fresh sign-in if there is none.
pub async fn submit(visit: AccountVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (now, person) = (visit.now, visit.person.clone());
    let has_password = has_password(&visit).await?;
    if let Some(elsewhere) = first_needs_proof(&visit, has_password) {
        return Ok(elsewhere);
    }
    let new: SecretString = fields.get("new_password").into();
    let context = [person.email.as_str(), person.name.as_str()];
    let mut wrong: Vec<FieldError> = password::check_length("new_password", &new).err().into_iter().collect();
    if has_password {
        let attempt = Attempt {
            email: person.email.clone(),
            password: fields.get("password").into(),
            client: address::client(&visit.request).bucket(&person.email),
            zone: None,
            session: session::id(&visit.session()),
        };
        let throttle = &visit.site.defaults.keyring.throttle;
        match sign_in::with_password(&visit.site.db, throttle, attempt, |_, _| Ok(()), now).await? {
            Outcome::Welcome(proved) if proved.id == person.id => {}
            Outcome::Wait(seconds) => {
                let message = FieldError::new("password", throttle::wait_message(seconds));
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut response = page(&visit, true, FormErrors(vec![message]), status)?;
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                return Ok(response);
            }
            _ => {
                wrong.insert(0, FieldError::new("password", "The password is wrong. Check it and try again."))
            }
        }
    }
    if !wrong.is_empty() {
        return page(&visit, has_password, FormErrors(wrong), StatusCode::UNPROCESSABLE_ENTITY);
    }
    // Last, because it takes long: only with the current password can anyone cause the work.
    let new = match NewPassword::check("new_password", new, &context).await {
        Ok(new) => new,
        Err(Error::Invalid(wrong)) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return page(&visit, has_password, FormErrors(wrong), status);
        }
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(new).await?;
    let session = visit.session();
    let but = session::id(&session).ok_or_else(Problem::not_found)?;
    let (keys, client) =
        (visit.site.defaults.keyring.throttle.clone(), address::client(&visit.request).bucket(&person.email));
    visit
        .change(move |tx, holder| {
            if !has_password {
                // A password gives lasting access to the account.
                holder.require_fresh()?;
            }
            recovery::secure(tx, &person, SessionsToEnd::AllBut(but), now)?;
            throttle::keep_client(tx, &keys, &person, &client, now)?;
            credential::set(tx, person.id, &hashed, now)?;
            notice::send(tx, &person, Change::PasswordChanged, &holder.source, now)?;
            account_log::append(tx, holder, &Event::PasswordChanged)
        })
        .await?;
    session::prove(&session, now);
    visit.flash("Your password was changed. Your other sessions have ended, and pending links and calendar addresses no longer work.",
    );
    Ok(visit.redirect(path::account()))
}

/// A first password gives lasting access to the account, so choosing it requires a fresh sign-in.
fn first_needs_proof(visit: &AccountVisit, has_password: bool) -> Option<HttpResponse> {
    let needed = !has_password && !fresh::is_fresh(&visit.request, visit.now);
    needed.then(|| visit.redirect(path::sign_in_again().then(path::account_password())))
}

async fn has_password(visit: &AccountVisit) -> Result<bool, Problem> {
    let id = visit.person.id;
    Ok(visit.read(move |conn| credential::find(conn, id)).await?.is_some())
}

fn page(
    visit: &AccountVisit,
    has_password: bool,
    form_errors: FormErrors,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let layout = visit.layout(NavSection::Account);
    visit.page_with_status(
        status,
        &PasswordPage { layout, email: visit.person.email.clone(), has_password, form_errors },
    )
}
