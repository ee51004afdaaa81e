//! What people were told about a key's end, on its page, and that someone has seen it.

use actix_session::SessionExt;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::keys::Key;
use crate::notices::store::{self, Told};
use crate::path;
use crate::portal::kit::words::{self, When};
use crate::text::count;
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::web::page::redirect;
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

/// How many lines the page shows.
const SHOWN: i64 = 50;

/// The part of a key's page about notices.
pub struct Notices {
    /// Who was told what, and what became of the mail.
    pub lines: Vec<Line>,
    /// Who has seen it, and when.
    pub seen: Option<(String, When)>,
    /// Whether there is a mail server to send them by.
    pub has_server: bool,
}

/// Someone was told.
pub struct Line {
    /// Which step.
    pub step: String,
    /// Who.
    pub reader: String,
    /// What became of the mail.
    pub state: &'static str,
    /// When that was.
    pub at: Option<When>,
    /// What the server said.
    pub words: Option<String>,
}

impl Line {
    fn new(told: Told, now: Time, zone: &TimeZone) -> Line {
        let (state, at) = match told.state.as_deref() {
            Some("sent") => ("sent", told.sent_at),
            Some("failed") => ("failed", told.queued_at),
            Some(_) => ("queued", told.queued_at),
            // The queue forgets mails that were sent a month ago.
            None if told.has_mail => ("sent", None),
            None => ("queued", None),
        };
        Line {
            step: step(told.step),
            reader: told.reader,
            state,
            at: at.map(|at| When::past(at, now, zone)),
            words: told.words,
        }
    }
}

fn step(seconds: i64) -> String {
    match seconds {
        0 => "expired".to_owned(),
        _ if seconds < 0 => "still used a day later".to_owned(),
        _ if seconds % DAY == 0 => format!("{} before", count(seconds / DAY, "day", "days")),
        _ if seconds % HOUR == 0 => format!("{} before", count(seconds / HOUR, "hour", "hours")),
        _ if seconds % MINUTE == 0 => format!("{} before", count(seconds / MINUTE, "minute", "minutes")),
        _ => format!("{} before", count(seconds, "second", "seconds")),
    }
}

impl Notices {
    /// Of a key, for a reader in that zone.
    pub fn of(
        conn: &mut crate::db::Conn,
        key: &Key,
        has_server: bool,
        now: Time,
        zone: &TimeZone,
    ) -> Result<Notices, Error> {
        let lines = store::of_key(conn, key.org, key.id, SHOWN)?;
        let seen = match key.expires_at {
            Some(end) => store::seen(conn, key.org, key.id, key.secret, end)?,
            None => None,
        };
        Ok(Notices {
            lines: lines.into_iter().map(|told| Line::new(told, now, zone)).collect(),
            seen: seen.map(|(name, at)| (name, When::past(at, now, zone))),
            has_server,
        })
    }
}

/// `POST /o/{org}/keys/{id}/seen`: someone has seen that the key ends.
pub async fn seen(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = super::find(&site, &member, &path.1).await?;
    let now = Time::now();
    let change = member.change(&request, now);
    let Some(end) = key.expires_at.filter(|end| *end > now && key.revoked.is_none()) else {
        return Err(Error::KeyEnded.into());
    };
    change
        .commit(&site.db, move |tx, acting| store::acknowledge(tx, acting, key.id, key.secret, end))
        .await?;
    let told =
        format!("Noted: you have seen that it ends on {}.", words::date(end, &member.person.time_zone()));
    session::flash(&request.get_session(), &told);
    Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
}
