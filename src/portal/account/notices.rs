//! A person's choice of expiry notices: on a page, or by the unsubscribe link of an e-mail.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Error;
use crate::id::UserId;
use crate::mail::mailer::UNSUBSCRIBE;
use crate::notices::preference::{self, EARLY, Muted, Preference};
use crate::orgs::account_log;
use crate::path;
use crate::portal::kit::visit::{AccountVisit, GuestVisit};
use crate::text::count;
use crate::time::DAY;
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/account/notices.html")]
struct NoticesPage {
    layout: Layout,
    early: Vec<Early>,
    single: bool,
    email: String,
}

/// A notice step that a person can turn off.
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
pub async fn form(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    let person = visit.person.id;
    let chosen = visit.read(move |conn| preference::of(conn, person)).await?;
    let early = early_steps(&visit.site).map(|seconds| Early {
        seconds,
        words: format!("{} before expiry", words(seconds)),
        wanted: chosen.wants(seconds),
    });
    let view = NoticesPage {
        layout: visit.layout(NavSection::Account),
        early: early.collect(),
        single: chosen.single,
        email: visit.person.email.clone(),
    };
    visit.page(&view)
}

/// `POST /account/notices`.
pub async fn save(visit: AccountVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let wanted = fields.all("early");
    let muted: Vec<i64> =
        early_steps(&visit.site).filter(|step| !wanted.contains(&step.to_string())).collect();
    let muted = if wanted.is_empty() { Muted::All } else { Muted::Steps(muted) };
    let preference = Preference { muted, single: fields.get("mails") == "single" };
    visit.change(move |tx, holder| change(tx, holder, &preference)).await?;
    Ok(visit.redirect_with(path::account_notices(), "Your choice was saved."))
}

/// `GET /unsubscribe/{token}`. Mail scanners follow links, so this changes nothing.
pub async fn unsubscribe_form(visit: GuestVisit, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    reader(&visit.site, &token)?;
    let layout = visit.layout(NavSection::None);
    visit.page(&UnsubscribePage { layout, token: token.into_inner(), done: false })
}

/// `POST /unsubscribe/{token}`: one click in a mail program (RFC 8058) or on the page, without a sign-in.
pub async fn unsubscribe(visit: GuestVisit, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (person, source, now) = (reader(&visit.site, &token)?, visit.source(), visit.now);
    visit
        .site
        .db
        .write(move |tx| {
            let before = preference::of(tx.conn, person)?;
            let holder = AccountHolder::just_proved(person, source.clone(), now);
            change(tx, &holder, &Preference { muted: Muted::All, ..before })
        })
        .await?;
    let layout = visit.layout(NavSection::None);
    visit.page(&UnsubscribePage { layout, token: token.into_inner(), done: true })
}

fn reader(site: &Shared, token: &str) -> Result<UserId, Problem> {
    let id = site.defaults.keyring.open_link_token(UNSUBSCRIBE, token);
    id.and_then(UserId::parse).ok_or_else(Problem::not_found)
}

fn change(tx: &mut Tx<'_>, holder: &AccountHolder, after: &Preference) -> Result<(), Error> {
    let before = preference::of(tx.conn, holder.person)?;
    if before == *after {
        return Ok(());
    }
    preference::set(tx, holder.person, after)?;
    let json_of = |preference: &Preference| json!({"muted": preference.muted.text(), "mails": if preference.single { "single" } else { "digest" }});
    let changes = vec![Change { field: "notices".into(), before: json_of(&before), after: json_of(after) }];
    account_log::append(tx, holder, &Event::PersonUpdated { changes })
}

/// The steps that people can turn off, longest first.
fn early_steps(site: &Shared) -> impl Iterator<Item = i64> {
    site.defaults.notices.spans().iter().copied().filter(|step| *step >= EARLY)
}

fn words(seconds: i64) -> String {
    count(seconds / DAY, "day", "days")
}
