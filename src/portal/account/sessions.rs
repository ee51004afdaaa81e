//! Ending one's own sessions.

use actix_web::{HttpResponse, web};

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::crypto::MacKey;
use crate::db::Tx;
use crate::error::Result;
use crate::id::SessionId;
use crate::orgs::account_log;
use crate::path;
use crate::people::recovery::{self, SessionsToEnd};
use crate::people::store::Person;
use crate::people::throttle;
use crate::portal::entrance::sign_in;
use crate::portal::kit::format;
use crate::portal::kit::visit::AccountVisit;
use crate::web::problem::Problem;
use crate::web::{address, session};

/// `POST /account/sessions/{id}/end`.
pub async fn end(visit: AccountVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = SessionId::parse(&path).ok_or_else(Problem::not_found)?;
    if session::id(&visit.session()) == Some(id) {
        return sign_in::end_session(&visit).await;
    }
    let person = visit.person.clone();
    let (keys, client) = client(&visit, &person);
    visit
        .change(move |tx, holder| {
            let ended = recovery::secure(tx, &person, SessionsToEnd::One(id), holder.now)?;
            if ended == 0 {
                return Ok(());
            }
            throttle::keep_client(tx, &keys, &person, &client, holder.now)?;
            note(tx, holder, ended)
        })
        .await?;
    session::renew(&visit.session());
    Ok(visit.redirect_with(path::account(), "The session was ended."))
}

/// `POST /account/sessions/end-others`.
pub async fn end_others(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    let session = visit.session();
    let but = session::id(&session).ok_or_else(Problem::not_found)?;
    let person = visit.person.clone();
    let (keys, client) = client(&visit, &person);
    let ended = visit
        .change(move |tx, holder| {
            let ended = recovery::secure(tx, &person, SessionsToEnd::AllBut(but), holder.now)?;
            throttle::keep_client(tx, &keys, &person, &client, holder.now)?;
            note(tx, holder, ended)?;
            Ok(ended)
        })
        .await?;
    // Someone may have a copy of this session's cookie.
    session::renew(&session);
    let ended = i64::try_from(ended).unwrap_or(i64::MAX);
    visit.flash(format!(
        "{} ended. Pending links and calendar addresses no longer work.",
        format::count(ended, "other session was", "other sessions were")
    ));
    Ok(visit.redirect(path::account()))
}

/// The arguments of [`throttle::keep_client`].
fn client(visit: &AccountVisit, person: &Person) -> (MacKey, String) {
    (visit.site.defaults.keyring.throttle.clone(), address::client(&visit.request).bucket(&person.email))
}

fn note(tx: &mut Tx<'_>, holder: &AccountHolder, ended: usize) -> Result<()> {
    account_log::append(tx, holder, &Event::SessionsEnded { count: ended })
}
