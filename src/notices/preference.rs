//! A person's preferences for early notices.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::UserId;
use crate::schema::notice_preferences as table;
use crate::time::DAY;

/// Steps of this length or more are early, and people can turn them off.
pub const EARLY: i64 = 7 * DAY;

const ALL: &str = "all";

/// A person's preferences. By default, they receive all notices, in one e-mail a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// The early steps that are turned off.
    pub muted: Muted,
    /// Whether each key gets a separate e-mail.
    pub single: bool,
}

/// Early steps that are turned off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Muted {
    /// All, including those configured later.
    All,
    /// These, in seconds.
    Steps(Vec<i64>),
}

impl Default for Muted {
    fn default() -> Muted {
        Muted::Steps(Vec::new())
    }
}

impl Muted {
    fn parse(text: &str) -> Muted {
        if text == ALL {
            return Muted::All;
        }
        Muted::Steps(text.split_whitespace().filter_map(|step| step.parse().ok()).collect())
    }

    /// The stored form.
    pub fn text(&self) -> String {
        match self {
            Muted::All => ALL.to_owned(),
            Muted::Steps(steps) => steps.iter().map(i64::to_string).collect::<Vec<_>>().join(" "),
        }
    }
}

impl Preference {
    /// Whether the person wants a notice at this step.
    pub fn wants(&self, step: i64) -> bool {
        step < EARLY
            || match &self.muted {
                Muted::All => false,
                Muted::Steps(steps) => !steps.contains(&step),
            }
    }
}

/// The preferences of these people; those who never chose are missing.
pub fn of_people(
    conn: &mut Conn,
    people: impl IntoIterator<Item = UserId>,
) -> Result<HashMap<UserId, Preference>> {
    let rows: Vec<(UserId, String, bool)> = table::table
        .filter(table::person_id.eq_any(people))
        .select((table::person_id, table::muted, table::single))
        .load(conn)?;
    let preference = |(person, muted, single): (UserId, String, bool)| {
        (person, Preference { muted: Muted::parse(&muted), single })
    };
    Ok(rows.into_iter().map(preference).collect())
}

/// A person's preferences.
pub fn of(conn: &mut Conn, person: UserId) -> Result<Preference> {
    Ok(of_people(conn, [person])?.remove(&person).unwrap_or_default())
}

/// Stores a person's preferences.
pub fn set(tx: &mut Tx<'_>, person: UserId, preference: &Preference) -> Result<()> {
    let chosen = (table::muted.eq(preference.muted.text()), table::single.eq(preference.single));
    each!(tx.conn, |c| {
        diesel::insert_into(table::table)
            .values((table::person_id.eq(person), chosen.clone()))
            .on_conflict(table::person_id)
            .do_update()
            .set(chosen)
            .execute(c)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_early_steps_can_be_muted() {
        let all = Preference { muted: Muted::parse("all"), single: false };
        let one = Preference { muted: Muted::parse(&(30 * DAY).to_string()), single: false };
        let wanted = |preference: &Preference| [30, 14, 7, 3, 1, 0].map(|days| preference.wants(days * DAY));
        assert_eq!(wanted(&all), [false, false, false, true, true, true]);
        assert_eq!(wanted(&one), [false, true, true, true, true, true]);
        assert_eq!(wanted(&Preference::default()), [true; 6]);
        assert_eq!(Muted::parse(&one.muted.text()), one.muted);
    }
}
