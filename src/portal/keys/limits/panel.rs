//! What the organisation's policy makes of a key, and what was asked for it; a part of its page.

use crate::id::UserId;
use crate::keys::Key;
use crate::keys::limit_request::{LimitRequest, State, rows};
use crate::orgs;
use crate::orgs::policy::{self, Held, Policy};
use crate::portal::kit::words::{self, When};
use crate::role::Act;
use crate::scope::Scopes;
use crate::time::Time;
use crate::web::Shared;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// How many requests are shown.
const REQUESTS: i64 = 5;

/// What the policy makes of a key, and what was asked for it.
pub struct Bounds {
    /// Requests a minute that it may make now, where that is less than it was given.
    pub cut_to: Option<String>,
    /// Scopes that are on it and don't count.
    pub idle: Vec<&'static str>,
    /// What it loses, and from when.
    pub loses: Option<(String, String)>,
    /// Whether the reader may ask for a higher limit.
    pub may_ask: bool,
    /// Whether the reader may answer.
    pub may_decide: bool,
    /// The latest requests, newest first.
    pub requests: Vec<Asked>,
}

/// A request for a higher limit, as the key's page shows it.
pub struct Asked {
    /// For how much.
    pub limit: String,
    /// Who asked.
    pub asker: String,
    /// When.
    pub when: When,
    /// Why.
    pub reason: String,
    /// What became of it.
    pub answer: String,
    /// What was said.
    pub words: String,
    /// Whether it waits.
    pub open: bool,
    /// Whether the reader asked.
    pub own: bool,
}

impl Bounds {
    /// Of a key that the member may see.
    pub async fn load(site: &Shared, member: &Member, key: &Key, now: Time) -> Result<Bounds, Problem> {
        let (org, id, owner) = (member.org.id, key.id, key.owner.id.to_string());
        let found = site.db.read(move |conn| {
            let policy = policy::store::find(conn, org)?;
            let owner = orgs::store::find_member(conn, org, &owner)?;
            Ok((policy, owner, rows::of_key(conn, org, id, REQUESTS)?))
        });
        let (policy, owner, requests) = found.await?;
        let held = Held {
            made: key.secret_made_at,
            ends: key.expires_at,
            scopes: key.scopes,
            rpm: key.requests_per_minute,
            role: owner.filter(orgs::store::Membership::is_active).map(|owner| owner.role),
        };
        let zone = member.person.time_zone();
        let is = policy.effective(&held, now);
        let most = policy.most_rpm(member.role, site.mint.default_rpm);
        let living = !key.status(now).is_ended();
        let waits = requests.iter().any(|request| request.state == State::Open);
        let more = most.max(key.requests_per_minute) < policy.rules.largest_rpm;
        Ok(Bounds {
            cut_to: (is.rpm < held.rpm).then(|| words::number(is.rpm.into())),
            idle: held.scopes.without(is.scopes).names(),
            loses: loses(&policy, &held, now).filter(|_| living).map(|(scopes, limit, date)| {
                let limit =
                    limit.map(|limit| format!("requests above {} a minute", words::number(limit.into())));
                let names = scopes.names().into_iter().map(str::to_owned).chain(limit);
                (names.collect::<Vec<_>>().join(", "), words::date(date, &zone))
            }),
            may_ask: living
                && !waits
                && more
                && !member.role.manages_all_keys()
                && member.manager().edits(key),
            may_decide: member.role.may(Act::DecideRequests),
            requests: requests
                .iter()
                .map(|request| Asked::new(request, member.person.id, now, &zone))
                .collect(),
        })
    }
}

/// What the key loses when the date of the policy comes, and when that is.
fn loses(policy: &Policy, held: &Held, now: Time) -> Option<(Scopes, Option<u32>, Time)> {
    let date = policy.earlier.as_ref().map(|earlier| earlier.until).filter(|date| now < *date)?;
    let (is, then) = (policy.effective(held, now), policy.effective(held, date));
    let scopes = is.scopes.without(then.scopes);
    let limit = (then.rpm < is.rpm).then_some(then.rpm);
    (!scopes.is_empty() || limit.is_some()).then_some((scopes, limit, date))
}

impl Asked {
    fn new(request: &LimitRequest, reader: UserId, now: Time, zone: &jiff::tz::TimeZone) -> Asked {
        let who = request.decided.as_ref().map_or("", |(_, name)| name);
        let answer = match request.state {
            State::Open => "Waits for an answer".to_owned(),
            State::Withdrawn => "Taken back".to_owned(),
            State::Refused => format!("Refused by {who}"),
            State::Approved => {
                let granted = request.granted.unwrap_or(request.asked_limit);
                format!("{} approved by {who}", words::number(granted.into()))
            }
        };
        Asked {
            limit: words::number(request.asked_limit.into()),
            asker: request.asker.clone(),
            when: When::past(request.asked_at, now, zone),
            reason: request.reason.clone(),
            answer,
            words: request.words.clone().unwrap_or_default(),
            open: request.state == State::Open,
            own: request.asked_by == reader,
        }
    }
}
