//! The part of a key's page about its expiry notices, and acknowledging them.

use actix_web::HttpResponse;
use jiff::tz::TimeZone;

use crate::db::Conn;
use crate::error::Error;
use crate::keys::Key;
use crate::notices::store::{self, SentNotice};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::text::count;
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::web::problem::Problem;

/// The number of notices shown.
const SHOWN: i64 = 50;

pub struct Notices {
    pub lines: Vec<Line>,
    /// Who acknowledged the notice, and the time.
    pub seen: Option<(String, When)>,
    /// Whether a mail server is configured.
    pub has_server: bool,
}

/// One notice to one person.
pub struct Line {
    pub step: String,
    pub reader: String,
    pub state: &'static str,
    pub at: Option<When>,
    /// The mail server's reply.
    pub words: Option<String>,
}

impl Line {
    fn new(sent: SentNotice, now: Time, zone: &TimeZone) -> Line {
        let (state, at) = match sent.state.as_deref() {
            Some("sent") => ("sent", sent.sent_at),
            Some("failed") => ("failed", sent.queued_at),
            Some(_) => ("queued", sent.queued_at),
            // The queue forgets e-mails a month after sending them.
            None if sent.has_mail => ("sent", None),
            None => ("queued", None),
        };
        Line {
            step: step(sent.step),
            reader: sent.reader,
            state,
            at: at.map(|at| When::past(at, now, zone)),
            words: sent.words,
        }
    }
}

fn step(seconds: i64) -> String {
    match seconds {
        0 => "Expired".to_owned(),
        _ if seconds < 0 => "Still used a day later".to_owned(),
        _ if seconds % DAY == 0 => format!("{} before", count(seconds / DAY, "day", "days")),
        _ if seconds % HOUR == 0 => format!("{} before", count(seconds / HOUR, "hour", "hours")),
        _ if seconds % MINUTE == 0 => format!("{} before", count(seconds / MINUTE, "minute", "minutes")),
        _ => format!("{} before", count(seconds, "second", "seconds")),
    }
}

/// What the database knows about a key's notices.
pub(super) struct Found {
    sent: Vec<SentNotice>,
    seen: Option<(String, Time)>,
}

impl Found {
    pub(super) fn load(conn: &mut Conn, key: &Key) -> Result<Found, Error> {
        let sent = store::of_key(conn, key.org, key.id, SHOWN)?;
        let seen = match key.expires_at {
            Some(end) => store::seen(conn, key.org, key.id, key.secret, end)?,
            None => None,
        };
        Ok(Found { sent, seen })
    }
}

impl Notices {
    pub(super) fn new(visit: &Visit, found: Found) -> Notices {
        let (now, zone) = (visit.now, &visit.zone);
        Notices {
            lines: found.sent.into_iter().map(|sent| Line::new(sent, now, zone)).collect(),
            seen: found.seen.map(|(name, at)| (name, When::past(at, now, zone))),
            has_server: visit.site.post.sender.has_server(),
        }
    }
}

/// `POST /o/{org}/keys/{id}/seen`: acknowledges that the key expires.
pub async fn seen(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let key = visit.read(move |conn| requested.find(conn)).await?;
    let Some(end) = key.expires_at.filter(|end| *end > visit.now && key.revoked.is_none()) else {
        return Err(Error::KeyEnded.into());
    };
    visit.change(move |tx, acting| store::acknowledge(tx, acting, key.id, key.secret, end)).await?;
    Ok(visit.redirect_with(
        path::key(&visit.org.slug, &key.id),
        format!("You acknowledged that it expires on {}.", format::date(end, &visit.zone)),
    ))
}
