//! Which notices about ending keys someone gets: chosen on a page, or ended by one click in a mail.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Error;
use crate::id::UserId;
use crate::mail::letter::UNSUBSCRIBE;
use crate::notices::preference::{self, EARLY, Muted, Preference};
use crate::orgs::journal;
use crate::path;
use crate::text::count;
use crate::time::{DAY, Time};
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/account/notices.html")]
struct NoticesPage {
    layout: Layout,
    early: Vec<Early>,
    single: bool,
    email: String,
}

/// An early step that can be left out.
struct Early {
    seconds: i64,
    words: String,
    wanted: bool,
}

#[derive(Template)]
#[template(path = "portal/account/unsubscribe.html")]
struct UnsubscribePage {
    layout: Layout,
    token: String,
    done: bool,
}

/// `GET /account/notices`.
pub async fn form(request: HttpRequest, signed_in: SignedIn, site: Shared) -> Result<HttpResponse, Problem> {
    let person = signed_in.person.id;
    let chosen = site.db.read(move |conn| preference::of(conn, person)).await?;
    let early = early_steps(&site).map(|seconds| Early {
        seconds,
        words: format!("{} before the end", words(seconds)),
        wanted: chosen.wants(seconds),
    });
    let view = NoticesPage {
        layout: Layout::of(&request, Room::Account).with_flash(&request),
        early: early.collect(),
        single: chosen.single,
        email: signed_in.person.email,
    };
    html(StatusCode::OK, &view)
}

/// `POST /account/notices`.
pub async fn save(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let wanted = fields.all("early");
    let muted: Vec<i64> = early_steps(&site).filter(|step| !wanted.contains(&step.to_string())).collect();
    let muted = if wanted.is_empty() { Muted::All } else { Muted::Steps(muted) };
    let preference = Preference { muted, single: fields.get("mails") == "single" };
    let saving = signed_in.change(&request, Time::now());
    saving.commit(&site.db, move |tx, holder| change(tx, holder, &preference)).await?;
    session::flash(&request.get_session(), "Your choice was saved.");
    Ok(redirect(&request, &path::account_notices()))
}

/// `GET /unsubscribe/{token}`: the page of a mail's link. It changes nothing, since scanners of
/// links open it too.
pub async fn unsubscribe_form(
    request: HttpRequest,
    site: Shared,
    token: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    reader(&site, &token)?;
    let layout = Layout::of(&request, Room::None);
    html(StatusCode::OK, &UnsubscribePage { layout, token: token.into_inner(), done: false })
}

/// `POST /unsubscribe/{token}`: one click, by a mail program (RFC 8058) or on the page. The token
/// is all that is needed.
pub async fn unsubscribe(
    request: HttpRequest,
    site: Shared,
    token: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (person, source, now) = (reader(&site, &token)?, source(&request), Time::now());
    site.db
        .write(move |tx| {
            let before = preference::of(tx.conn, person)?;
            let holder = AccountHolder::just_proved(person, source.clone(), now);
            change(tx, &holder, &Preference { muted: Muted::All, ..before })
        })
        .await?;
    let layout = Layout::of(&request, Room::None);
    html(StatusCode::OK, &UnsubscribePage { layout, token: token.into_inner(), done: true })
}

fn reader(site: &Shared, token: &str) -> Result<UserId, Problem> {
    let id = site.mint.keyring.open_link_token(UNSUBSCRIBE, token);
    id.and_then(UserId::parse).ok_or_else(Problem::not_found)
}

fn change(tx: &mut Tx<'_>, holder: &AccountHolder, after: &Preference) -> Result<(), Error> {
    let before = preference::of(tx.conn, holder.person)?;
    if before == *after {
        return Ok(());
    }
    preference::set(tx, holder.person, after)?;
    let told = |preference: &Preference| json!({"muted": preference.muted.text(), "mails": if preference.single { "single" } else { "digest" }});
    let changes = vec![Change { field: "notices".into(), before: told(&before), after: told(after) }];
    journal::note(tx, holder, &Event::PersonUpdated { changes })
}

/// The steps that nobody needs to get, longest first.
fn early_steps(site: &Shared) -> impl Iterator<Item = i64> {
    site.mint.notices.spans().iter().copied().filter(|step| *step >= EARLY)
}

fn words(seconds: i64) -> String {
    count(seconds / DAY, "day", "days")
}
