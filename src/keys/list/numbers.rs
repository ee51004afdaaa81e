//! Counts keys.

use diesel::dsl::{case_when, count, count_star};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};

use crate::db::Conn;
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::keys::Status;
use crate::keys::list::Filter;
use crate::keys::list::search::Search;
use crate::keys::secret::SHA256_DIGITS;
use crate::schema::{api_keys, key_secrets, service_answerers};
use crate::slow_cache::{LARGE, SlowCache};
use crate::time::Time;

/// Counts of keys. Those of large organisations are cached, so the latest changes may be missing.
pub struct Numbers {
    matching: SlowCache<i64>,
    counts: SlowCache<Counts>,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers { matching: SlowCache::new(256), counts: SlowCache::new(256) }
    }
}

/// The number of keys, in total and by status; `active` includes expiring keys.
#[derive(Clone, Debug)]
pub struct Counts {
    pub total: i64,
    /// In the order in which statuses are shown.
    pub by_status: Vec<(Status, i64)>,
}

fn is_large(keys: i64) -> bool {
    usize::try_from(keys).is_ok_and(|keys| keys > LARGE)
}

impl Numbers {
    /// Counts the keys of an organisation that match the filter.
    pub fn matching(&self, conn: &mut Conn, org: OrgId, filter: &Filter, now: Time) -> Result<i64> {
        if let Filter {
            status,
            mine,
            owner: None,
            scope: None,
            search: None,
            fingerprint: None,
            among: None,
        } = filter
        {
            let counts = self.counts(conn, org, *mine, now)?;
            return Ok(status.map_or(counts.total, |status| counts.of(status)));
        }
        self.matching.or(
            format!("{org} {filter:?}"),
            |matching| is_large(*matching),
            || Ok(narrowed!(count_star(), org, filter, now).first(conn)?),
        )
    }

    /// Counts the keys of an organisation, or those of one member, in one pass.
    pub fn counts(&self, conn: &mut Conn, org: OrgId, mine: Option<UserId>, now: Time) -> Result<Counts> {
        let name = format!("{org} {mine:?}");
        self.counts.or(name, |counts| is_large(counts.total), || counted(conn, org, mine, now))
    }
}

impl Counts {
    /// The number of keys with this status.
    pub fn of(&self, status: Status) -> i64 {
        self.by_status.iter().find(|(other, _)| *other == status).map_or(0, |(_, number)| *number)
    }
}

fn counted(conn: &mut Conn, org: OrgId, mine: Option<UserId>, now: Time) -> Result<Counts> {
    let one = || 1.into_sql::<Integer>();
    let filter = Filter { mine, ..Filter::default() };
    let selection = (
        count_star(),
        count(case_when(has_status!(active, now), one())),
        count(case_when(has_status!(expiring, now), one())),
        count(case_when(has_status!(disabled, now), one())),
        count(case_when(has_status!(expired, now), one())),
        count(case_when(has_status!(revoked, now), one())),
    );
    let (total, active, expiring, disabled, expired, revoked) =
        narrowed!(selection, org, filter, now).first(conn)?;
    let by_status = Status::ALL.into_iter().zip([active, expiring, disabled, expired, revoked]).collect();
    Ok(Counts { total, by_status })
}
