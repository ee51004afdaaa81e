//! Ending sessions of one's own.

use actix_session::SessionExt;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::crypto::MacKey;
use crate::db::Tx;
use crate::error::Result;
use crate::id::SessionId;
use crate::orgs::journal;
use crate::path;
use crate::people::recovery::{self, Ends};
use crate::people::store::Person;
use crate::people::throttle;
use crate::portal::kit::words;
use crate::time::Time;
use crate::web::page::redirect;
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, address, session};

/// `POST /account/sessions/{id}/end`.
pub async fn end(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = SessionId::parse(&path).ok_or_else(Problem::not_found)?;
    if session::id(&request.get_session()) == Some(id) {
        return crate::portal::entrance::sign_in::sign_out(request, site).await;
    }
    let (change, person) = (signed_in.change(&request, Time::now()), signed_in.person);
    let (keys, client) = client(&request, &site, &person);
    change
        .commit(&site.db, move |tx, holder| {
            let ended = recovery::secure(tx, &person, Ends::One(id), holder.now)?;
            if ended == 0 {
                return Ok(());
            }
            throttle::keep_client(tx, &keys, &person, &client, holder.now)?;
            note(tx, holder, ended)
        })
        .await?;
    session::renew(&request.get_session());
    session::flash(&request.get_session(), "The session was ended.");
    Ok(redirect(&request, &path::account()))
}

/// `POST /account/sessions/end-others`.
pub async fn end_others(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
) -> Result<HttpResponse, Problem> {
    let session = request.get_session();
    let but = session::id(&session).ok_or_else(Problem::not_found)?;
    let (change, person) = (signed_in.change(&request, Time::now()), signed_in.person);
    let (keys, client) = client(&request, &site, &person);
    let ended = change
        .commit(&site.db, move |tx, holder| {
            let ended = recovery::secure(tx, &person, Ends::AllBut(but), holder.now)?;
            throttle::keep_client(tx, &keys, &person, &client, holder.now)?;
            note(tx, holder, ended)?;
            Ok(ended)
        })
        .await?;
    // Someone may have a copy of this session's own cookie.
    session::renew(&session);
    let ended = i64::try_from(ended).unwrap_or(i64::MAX);
    session::flash(
        &session,
        &format!(
            "{} ended. Pending links and calendar addresses no longer work.",
            words::count(ended, "other session was", "other sessions were")
        ),
    );
    Ok(redirect(&request, &path::account()))
}

/// What [`throttle::keep_client`] needs.
fn client(request: &HttpRequest, site: &Shared, person: &Person) -> (MacKey, String) {
    (site.mint.keyring.throttle.clone(), address::client(request).bucket(&person.email))
}

fn note(tx: &mut Tx<'_>, holder: &AccountHolder, ended: usize) -> Result<()> {
    journal::note(tx, holder, &Event::SessionsEnded { count: ended })
}
