//! The part of a key's page about its limits: the policy's effect, and requests for higher limits.

use crate::catalogue::list;
use crate::db::Conn;
use crate::error::Result;
use crate::id::UserId;
use crate::keys::Key;
use crate::keys::limit_request::{LimitRequest, State, rows};
use crate::orgs;
use crate::orgs::policy::{self, KeyTerms, Policy};
use crate::orgs::store::Membership;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::models;
use crate::portal::kit::visit::Visit;
use crate::role::Act;
use crate::time::Time;

/// The number of requests shown.
const REQUESTS: i64 = 5;

/// The policy's effect on a key, and requests for a higher limit.
pub struct LimitsPanel {
    /// The effective limit, if the policy lowers it.
    pub cut_to: Option<String>,
    /// Scopes without effect.
    pub idle: Vec<&'static str>,
    /// What it will lose, and the date.
    pub loses: Option<(String, String)>,
    /// Whether the visitor may request a higher limit.
    pub may_ask: bool,
    /// Whether the visitor may decide requests.
    pub may_decide: bool,
    /// Newest first.
    pub requests: Vec<RequestRow>,
}

/// A request for a higher limit, as the key's page shows it.
pub struct RequestRow {
    pub limit: String,
    pub asker: String,
    pub when: When,
    pub reason: String,
    pub answer: String,
    pub words: String,
    pub open: bool,
    /// Whether the visitor made it.
    pub own: bool,
}

/// What was read about the limits of a key.
pub(in crate::portal::keys) struct Found {
    policy: Policy,
    owner: Option<Membership>,
    requests: Vec<LimitRequest>,
}

impl Found {
    pub(in crate::portal::keys) fn load(conn: &mut Conn, key: &Key) -> Result<Found> {
        Ok(Found {
            policy: policy::store::find(conn, key.org)?,
            owner: orgs::store::find_member(conn, key.org, &key.owner.id.to_string())?,
            requests: rows::of_key(conn, key.org, key.id, REQUESTS)?,
        })
    }
}

impl LimitsPanel {
    pub(in crate::portal::keys) fn new(visit: &Visit, key: &Key, found: Found) -> LimitsPanel {
        let Found { policy, owner, requests } = found;
        let now = visit.now;
        let held = KeyTerms {
            made: key.secret_made_at,
            ends: key.expires_at,
            scopes: key.scopes,
            rpm: key.settings.requests_per_minute.get(),
            models: key.settings.models.clone(),
            role: owner.filter(Membership::is_active).map(|owner| owner.role),
        };
        let is = policy.effective(&held, now);
        let most = policy.most_rpm(visit.role, visit.site.defaults.default_rpm);
        let living = !key.status(now).is_ended();
        let waits = requests.iter().any(|request| request.state == State::Open);
        let more = most.max(held.rpm) < policy.rules.largest_rpm;
        LimitsPanel {
            cut_to: (is.rpm < held.rpm).then(|| format::number(is.rpm.into())),
            idle: held.scopes.without(is.scopes).names(),
            loses: loses(&policy, &held, now)
                .filter(|_| living)
                .map(|(losses, date)| (losses.join(", "), format::date(date, &visit.zone))),
            may_ask: living && !waits && more && !visit.role.manages_all_keys() && visit.manager().edits(key),
            may_decide: visit.role.may(Act::DecideRequests),
            requests: requests
                .iter()
                .map(|request| RequestRow::new(request, visit.person.id, now, &visit.zone))
                .collect(),
        }
    }
}

/// What the key loses when a pending policy takes effect, and the date.
fn loses(policy: &Policy, held: &KeyTerms, now: Time) -> Option<(Vec<String>, Time)> {
    let date = policy.earlier.as_ref().map(|earlier| earlier.until).filter(|date| now < *date)?;
    let (is, then) = (policy.effective(held, now), policy.effective(held, date));
    let scopes = is.scopes.without(then.scopes);
    let mut losses: Vec<String> = scopes.names().into_iter().map(str::to_owned).collect();
    if then.rpm < is.rpm {
        losses.push(format!("requests above {} a minute", format::number(then.rpm.into())));
    }
    if list::reaches_further(is.models.as_ref(), then.models.as_ref()) {
        losses.push(format!("models other than {}", models::text(then.models.as_ref())));
    }
    (!losses.is_empty()).then_some((losses, date))
}

impl RequestRow {
    fn new(request: &LimitRequest, reader: UserId, now: Time, zone: &jiff::tz::TimeZone) -> RequestRow {
        let who = request.decided.as_ref().map_or("", |(_, name)| name);
        let answer = match request.state {
            State::Open => "Waiting for a decision".to_owned(),
            State::Withdrawn => "Withdrawn".to_owned(),
            State::Declined => format!("Declined by {who}"),
            State::Approved => {
                let granted = request.granted.unwrap_or(request.asked_limit);
                format!("{} approved by {who}", format::number(granted.into()))
            }
        };
        RequestRow {
            limit: format::number(request.asked_limit.into()),
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
