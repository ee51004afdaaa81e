//! The recent activity of an account.

use jiff::tz::TimeZone;

use crate::audit::entry::EntryBody;
use crate::audit::event::Event;
use crate::authority::Actor;
use crate::id::UserId;
use crate::portal::kit::format::{self, When};
use crate::time::Time;

pub(super) struct ActivityRow {
    pub(super) what: String,
    pub(super) when: When,
    pub(super) address: Option<String>,
}

/// The latest of these entries about a person. An event that is in the logs of several organisations is
/// listed once.
pub(super) fn latest(
    mut entries: Vec<EntryBody>,
    person: UserId,
    most: usize,
    now: Time,
    tz: &TimeZone,
) -> Vec<ActivityRow> {
    entries.sort_by(|left, right| right.at.cmp(&left.at).then_with(|| left.action.cmp(&right.action)));
    entries.dedup_by(|left, right| left.at == right.at && left.action == right.action);
    let rows = entries.into_iter().filter_map(|said| {
        let by_others = said.actor() != Some(Actor::Person(person));
        let what = words(&said.event()?)?;
        let what = if by_others { format!("{what}, by someone else") } else { what };
        Some(ActivityRow { what, when: When::past(said.at, now, tz), address: said.address })
    });
    rows.take(most).collect()
}

fn words(event: &Event) -> Option<String> {
    let text = match event {
        Event::SignedIn => "Signed in",
        Event::SignedOut => "Signed out",
        Event::PasswordReset => "Password reset",
        Event::PasswordChanged => "Password changed",
        Event::EmailChangeRequested => "Change of e-mail address requested",
        Event::EmailChangeCancelled => "Change of e-mail address cancelled",
        Event::EmailChanged => "E-mail address changed",
        Event::EmailVerified => "E-mail address verified",
        Event::SessionsEnded { count } => {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            return Some(format!("{} ended", format::count(count, "session", "sessions")));
        }
        Event::MethodConnected { .. } => "Sign-in method connected",
        Event::MethodRemoved { .. } => "Sign-in method removed",
        Event::PersonUpdated { .. } => "Profile changed",
        _ => return None,
    };
    Some(text.to_owned())
}
