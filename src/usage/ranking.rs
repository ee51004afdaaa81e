//! Rankings of keys and people by usage.
//!
//! A ranking adds up all counts of a period. For large organisations that takes long, so it runs in the background when
//! someone opens the page, and its result is reused for a multiple of the time that it took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use tokio::sync::{Semaphore, watch};

use crate::db::{Conn, Db};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::schema::{all_usage_counts, api_keys};
use crate::slow_cache::LARGE;
use crate::time::{HOUR, Time};
use crate::usage::question::Question;
use crate::usage::report::{grouped, of_keys};
use crate::usage::top::{added, counted};
use crate::usage::totals::{Totals, sums};

/// How long the first visitor waits before the page says that the ranking is being computed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a ranking is reused, as a multiple of the time that it took.
const REST: u32 = 50;
/// The age in seconds from which a ranking is no longer shown.
const TOO_OLD: i64 = HOUR;
/// The most rankings in memory.
const MOST: usize = 8;

/// The usage of keys, in no order.
pub struct Ranking {
    pub keys: Vec<(KeyId, Totals)>,
    /// When it was computed.
    pub at: Time,
    people: OnceLock<Vec<(UserId, Totals)>>,
}

/// The rankings of large organisations in memory.
pub struct Rankings {
    made: Mutex<HashMap<String, Entry>>,
    /// One ranking is computed at a time, so that connections are left for other work.
    turn: Arc<Semaphore>,
}

struct Entry {
    latest: watch::Receiver<Option<Arc<Ranking>>>,
    is_being_made: bool,
    next_at: Instant,
}

impl Default for Rankings {
    fn default() -> Rankings {
        Rankings { made: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Rankings {
    /// The usage of keys, or `None` while it is being computed. `now` is the time of the question.
    ///
    /// Error: `Unavailable` if the database is unavailable.
    pub async fn of(
        self: &Arc<Rankings>,
        db: &Db,
        org: OrgId,
        question: &Question,
        now: Time,
    ) -> Result<Option<Arc<Ranking>>> {
        let name = name(org, question, now);
        let (mut latest, making) = self.look_up(&name, now);
        if let Some(making) = making {
            tokio::spawn(self.clone().make(db.clone(), org, question.clone(), now, name, making));
        }
        let made = latest.borrow().clone().filter(|ranking| !ranking.is_too_old(now));
        if made.is_some() {
            return Ok(made);
        }
        match tokio::time::timeout(PATIENCE, latest.changed()).await {
            Ok(Ok(())) => Ok(latest.borrow().clone()),
            // The failed task has logged the cause.
            Ok(Err(_)) => Err(Error::Unavailable("adding up the usage of keys failed".into())),
            Err(_) => Ok(None),
        }
    }

    /// The latest ranking of that name, and whether to compute the next.
    #[allow(clippy::type_complexity, reason = "the two ends of one channel")]
    fn look_up(
        &self,
        name: &str,
        now: Time,
    ) -> (watch::Receiver<Option<Arc<Ranking>>>, Option<watch::Sender<Option<Arc<Ranking>>>>) {
        let mut made = self.made();
        let known = made.get(name);
        if let Some(entry) = known.filter(|entry| entry.is_being_made || entry.next_at > Instant::now()) {
            return (entry.latest.clone(), None);
        }
        let latest = known.and_then(|entry| entry.latest.borrow().clone());
        let (making, latest) = watch::channel(latest.filter(|ranking| !ranking.is_too_old(now)));
        if made.len() >= MOST {
            let idle = made.iter().filter(|(_, entry)| !entry.is_being_made);
            let next = idle.min_by_key(|(_, entry)| entry.next_at).map(|(name, _)| name.clone());
            next.map(|name| made.remove(&name));
        }
        let entry = Entry { latest: latest.clone(), is_being_made: true, next_at: Instant::now() };
        made.insert(name.to_owned(), entry);
        (latest, Some(making))
    }

    async fn make(
        self: Arc<Rankings>,
        db: Db,
        org: OrgId,
        question: Question,
        now: Time,
        name: String,
        making: watch::Sender<Option<Arc<Ranking>>>,
    ) {
        let turn = self.turn.clone().acquire_owned().await;
        let began = Instant::now();
        let added_up = db.read(move |conn| {
            let _turn = turn;
            let query = counted!(all_usage_counts, org, question, all_usage_counts::key_id);
            Ok(added(of_keys!(all_usage_counts, query, org, question.filter).load(conn)?))
        });
        let added_up = added_up.await;
        let took = began.elapsed();
        let mut made = self.made();
        match added_up {
            Ok(keys) => {
                if keys.len() > LARGE
                    && let Some(entry) = made.get_mut(&name)
                {
                    entry.is_being_made = false;
                    entry.next_at = Instant::now() + took * REST;
                } else {
                    made.remove(&name);
                }
                making.send_replace(Some(Arc::new(Ranking { keys, at: now, people: OnceLock::new() })));
            }
            Err(error) => {
                tracing::warn!(organization = %org, cause = ?error, "adding up the usage of keys failed");
                made.remove(&name);
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ranking {
    fn is_too_old(&self, now: Time) -> bool {
        now.since(self.at) > TOO_OLD
    }

    /// The usage of the people who own the keys now.
    pub fn people(&self, conn: &mut Conn, org: OrgId) -> Result<&[(UserId, Totals)]> {
        if let Some(people) = self.people.get() {
            return Ok(people);
        }
        let mut query = api_keys::table
            .filter(api_keys::org_id.eq(org))
            .select((api_keys::id, api_keys::owner_id))
            .into_boxed();
        if self.keys.len() <= LARGE {
            query = query.filter(api_keys::id.eq_any(self.keys.iter().map(|(key, _)| *key)));
        }
        let owners: HashMap<KeyId, UserId> = query.load::<(KeyId, UserId)>(conn)?.into_iter().collect();
        let mut people: HashMap<UserId, Totals> = HashMap::new();
        for (key, totals) in &self.keys {
            if let Some(owner) = owners.get(key) {
                people.entry(*owner).or_default().add(totals);
            }
        }
        Ok(self.people.get_or_init(|| people.into_iter().collect()))
    }
}

/// The name of a ranking: the question that it answers.
fn name(org: OrgId, question: &Question, now: Time) -> String {
    let range = question.range;
    let to = if range.to == now { "now".to_owned() } else { range.to.rfc3339() };
    format!("{org} {} {to} {} {:?}", range.first().rfc3339(), range.width, question.filter)
}
