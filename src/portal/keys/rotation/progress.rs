//! The part of a key's page about an open rotation: the requests with both secrets on the same scale,
//! the clients that still use the old one, and the actions.

use actix_web::HttpResponse;
use askama::Template;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgSlug};
use crate::keys::{Key, Superseded};
use crate::path;
use crate::portal::keys::clients::{CallerRow, actor};
use crate::portal::keys::{RequestedKey, Rights};
use crate::portal::kit::chart;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::usage;
use crate::usage::rotation_progress::{self, Flow, MINUTES, RotationProgress};
use crate::web::problem::Problem;

/// The number of clients listed of each kind.
const CALLERS: usize = 20;

/// The progress of an open rotation, or of one that has just ended.
#[derive(Template)]
#[template(path = "portal/keys/rotation/progress.html")]
pub struct RotationPanel {
    org: OrgSlug,
    id: KeyId,
    /// "22 h 48 min"; `None` once the old secret has ended.
    left: Option<String>,
    started: String,
    by: String,
    /// The percentage of requests with the new secret; `None` without requests.
    share: Option<i64>,
    new: Side,
    old: Side,
    still: Vec<CallerRow>,
    unseen: Vec<CallerRow>,
    callers_still: usize,
    callers_unseen: usize,
    /// The start of counting clients: "14:00".
    counted_from: String,
    rights: Rights,
    counted_to: String,
}

/// One of the two secrets.
struct Side {
    hint: String,
    rate: String,
    /// A summary of the bars.
    title: String,
    /// The requests of the last hour, as an SVG path.
    bars: String,
    from: String,
    to: String,
    note: String,
}

impl askama::filters::HtmlSafe for RotationPanel {}

/// What the database knows about a rotation.
pub struct Found {
    new: Flow,
    old: Flow,
    handover: RotationProgress,
    requests_with_new: i64,
    by: String,
}

pub fn find(conn: &mut Conn, key: &Key, old: &Superseded, now: Time) -> Result<Found> {
    let (org, id) = (key.org, key.id);
    let [new, of_old] = rotation_progress::flows(conn, org, id, [key.secret, old.secret], now)?;
    Ok(Found {
        new,
        old: of_old,
        handover: rotation_progress::progress(conn, org, id, (old.secret, key.secret), old.at, now)?,
        requests_with_new: rotation_progress::requests_with(conn, org, id, key.secret, key.secret_made_at)?,
        by: actor(conn, org, &old.by)?,
    })
}

/// `GET /o/{org}/keys/{id}/rotation`: the part of the key's page, requested every few seconds.
pub async fn refresh(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    visit.site.meter.wait_until_written().await;
    let found = visit.read(move |conn| {
        let key = requested.find(conn)?;
        let progress = key.previous.as_ref().map(|old| find(conn, &key, old, now)).transpose()?;
        Ok((requested.rights(conn, &key)?, key, progress))
    });
    match found.await? {
        (rights, key, Some(progress)) if visit.is_partial() => {
            visit.page(&RotationPanel::new(&visit, &key, rights, progress))
        }
        (_, key, _) => Ok(visit.redirect(path::key(&visit.org.slug, &key.id))),
    }
}

impl RotationPanel {
    pub(in crate::portal::keys) fn new(
        visit: &Visit,
        key: &Key,
        rights: Rights,
        found: Found,
    ) -> RotationPanel {
        let (now, zone) = (visit.now, &visit.zone);
        // A key that was never rotated has no such panel.
        let old = key.previous.as_ref();
        let peak = |flow: &Flow| flow.minutes.iter().copied().max().unwrap_or(0);
        let most = peak(&found.new).max(peak(&found.old));
        let clock = |at: Time| format::clock(at, zone);
        let (from, to) = (clock(now.plus(-(MINUTES as i64 - 1) * MINUTE)), clock(now));
        let side = |flow: &Flow, hint: &str, note| Side {
            hint: hint.to_owned(),
            rate: format::number(flow.rate),
            title: format!("Requests per minute from {from} to {to}, at most {}", format::number(peak(flow))),
            bars: chart::bars(&flow.minutes, most, 5, 4, 44),
            from: from.clone(),
            to: to.clone(),
            note,
        };
        let started = old.map_or(now, |old| old.at);
        let rates = found.new.rate + found.old.rate;
        let since = if now.since(started) < DAY { clock(started) } else { format::date_time(started, zone) };
        let addresses = count(found.handover.addresses_on_new, "address", "addresses");
        let requests = format::count(found.requests_with_new, "request", "requests");
        let still = &found.handover.still;
        let left = addresses_of(still);
        let rows = |list: &[usage::recent::CallerUse]| {
            list.iter().take(CALLERS).map(|caller| CallerRow::new(caller, now, zone)).collect::<Vec<_>>()
        };
        RotationPanel {
            org: visit.org.slug.clone(),
            id: key.id,
            left: key.rotation(now).map(|old| words_left(old.ends_at.since(now))),
            started: format::date_time(started, zone),
            by: found.by,
            share: (rates > 0).then(|| (found.new.rate * 100 + rates / 2) / rates),
            new: side(&found.new, &key.fingerprint.hint, format!("{requests} since {since} · {addresses}")),
            old: side(
                &found.old,
                old.map_or("", |old| old.fingerprint.hint.as_str()),
                format!(
                    "{} {} · {}",
                    if key.rotation(now).is_some() { "Ends" } else { "Ended" },
                    old.map(|old| format::date_time(old.ends_at, zone)).unwrap_or_default(),
                    count(left, "address still uses it", "addresses still use it")
                ),
            ),
            callers_still: still.len(),
            callers_unseen: found.handover.unseen.len(),
            still: rows(still),
            unseen: rows(&found.handover.unseen),
            counted_from: clock(rotation_progress::counted_from(now)),
            rights,
            counted_to: clock(now),
        }
    }

    /// The effect of ending the old secret now.
    fn verdict(&self) -> String {
        match (self.callers_still, self.callers_unseen) {
            (0, 0) => "Safe to end now: no client uses the old secret any more.".to_owned(),
            (0, unseen) => format!(
                "Not in use now, but {} seen in the last 7 days {} not switched yet.",
                count(unseen, "client", "clients"),
                if unseen == 1 { "has" } else { "have" }
            ),
            (1, _) => "If you end it now, this client gets".to_owned(),
            (still, _) => format!("If you end it now, these {still} clients get"),
        }
    }
}

fn addresses_of(callers: &[usage::recent::CallerUse]) -> usize {
    let mut addresses: Vec<&str> = callers.iter().map(|caller| caller.address.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}

fn count(number: usize, one: &str, many: &str) -> String {
    format::count(i64::try_from(number).unwrap_or(i64::MAX), one, many)
}

/// "22 h 48 min": the two largest units.
fn words_left(seconds: i64) -> String {
    let part = |span: i64, unit: &str| if span > 0 { format!(" {span} {unit}") } else { String::new() };
    match seconds {
        _ if seconds < MINUTE => format!("{seconds} s"),
        _ if seconds < HOUR => format!("{} min", seconds / MINUTE),
        _ if seconds < 2 * DAY => {
            format!("{} h{}", seconds / HOUR, part(seconds % HOUR / MINUTE, "min"))
        }
        _ => format!("{} days{}", seconds / DAY, part(seconds % DAY / HOUR, "h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_has_at_most_two_units() {
        assert_eq!(words_left(22 * HOUR + 48 * MINUTE + 59), "22 h 48 min");
        assert_eq!(words_left(24 * HOUR), "24 h");
        assert_eq!(words_left(59), "59 s");
        assert_eq!(words_left(3 * DAY + 5 * HOUR), "3 days 5 h");
        assert_eq!(words_left(30 * DAY), "30 days");
    }
}
