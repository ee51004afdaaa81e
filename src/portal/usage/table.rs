//! The table below the chart: usage by key, model, scope, person, address or secret.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, OrgSlug, UserId};
use crate::keys::{secret_store, store};
use crate::path::{self, Href};
use crate::people;
use crate::portal::kit::chart::Spark;
use crate::portal::kit::format::{self, When};
use crate::portal::usage::params::{PAGE, UsageParams};
use crate::time::{DAY, Time};
use crate::usage::part::Part;
use crate::usage::question::Question;
use crate::usage::ranking::Ranking;
use crate::usage::totals::Totals;
use crate::usage::{recent, top};

const SPARK_DAYS: usize = 7;

/// The dimension of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Key,
    Model,
    Scope,
    Person,
    Address,
    Secret,
}

impl By {
    /// The dimensions of an organisation's usage.
    pub const OF_ORG: [By; 4] = [By::Key, By::Model, By::Scope, By::Person];
    /// The dimensions of a key's usage.
    pub const OF_KEY: [By; 4] = [By::Scope, By::Model, By::Address, By::Secret];

    /// The value of the parameter `by`.
    pub fn name(self) -> &'static str {
        match self {
            By::Key => "key",
            By::Model => "model",
            By::Scope => "scope",
            By::Person => "person",
            By::Address => "address",
            By::Secret => "secret",
        }
    }

    /// The label.
    pub fn word(self) -> &'static str {
        match self {
            By::Key => "Key",
            By::Model => "Model",
            By::Scope => "Scope",
            By::Person => "Person",
            By::Address => "Address",
            By::Secret => "Secret",
        }
    }
}

pub struct Row {
    pub name: String,
    /// The link of its name.
    pub link: Option<Href>,
    /// A second line under the name.
    pub second: String,
    /// Whether the name is set in a monospaced font.
    pub mono: bool,
    pub owner: String,
    pub totals: Totals,
    pub last_used: Option<When>,
    /// The requests of the last seven days.
    pub spark: Option<Spark>,
}

pub struct Table {
    pub by: By,
    pub rows: Vec<Row>,
    /// The number of rows on all pages.
    pub number: i64,
    /// Whether the totals are still being computed.
    pub is_being_made: bool,
}

impl Row {
    fn new(name: String, totals: Totals) -> Row {
        let (second, owner) = (String::new(), String::new());
        Row { name, link: None, second, mono: false, owner, totals, last_used: None, spark: None }
    }

    pub fn requests(&self) -> String {
        format::number(self.totals.requests)
    }

    /// Input and output tokens.
    pub fn tokens(&self) -> String {
        format::short(self.totals.tokens())
    }

    /// The share of failed requests.
    pub fn failed(&self) -> String {
        format::share(self.totals.failed(), self.totals.requests)
    }

    /// Rate-limited requests.
    pub fn limited(&self) -> String {
        format::number(self.totals.limited)
    }
}

/// The arguments of a table's queries.
pub struct Reading<'a> {
    pub slug: &'a OrgSlug,
    pub org: OrgId,
    pub question: &'a Question,
    pub params: &'a UsageParams,
    pub part: Part,
    pub now: Time,
    pub zone: &'a TimeZone,
    /// Usage by key; `None` while it is being computed and on the page of one key.
    pub ranking: Option<&'a Ranking>,
}

impl Reading<'_> {
    pub fn table(&self, conn: &mut Conn, by: By) -> Result<Table> {
        let (rows, number) = match by {
            By::Key => self.keys(conn)?,
            By::Person => self.people(conn)?,
            By::Model => {
                let all = top::models(conn, self.org, self.question)?;
                self.named(all, "model", "No model")
            }
            By::Scope => {
                let all = top::scopes(conn, self.org, self.question)?;
                self.named(all, "scope", "No scope required")
            }
            By::Address => self.addresses(conn)?,
            By::Secret => self.secrets(conn)?,
        };
        let is_being_made = self.ranking.is_none() && matches!(by, By::Key | By::Person);
        Ok(Table { by, rows, number, is_being_made })
    }

    fn link(&self, name: &str, value: &str) -> Option<Href> {
        let query = self.params.query(&[(name, value), ("by", ""), ("page", "")]);
        Some(path::usage(self.slug).queries(query))
    }

    fn keys(&self, conn: &mut Conn) -> Result<(Vec<Row>, i64)> {
        let Some(ranking) = self.ranking else { return Ok((Vec::new(), 0)) };
        let number = i64::try_from(ranking.keys.len()).unwrap_or(i64::MAX);
        let used = self.part.of(&ranking.keys);
        let ids: Vec<KeyId> = used.iter().map(|(key, _)| *key).collect();
        let keys = store::by_ids(conn, self.org, &ids)?;
        let week = self.now.floor(DAY).plus(-(SPARK_DAYS as i64 - 1) * DAY);
        let daily = recent::daily(conn, self.org, &ids, week, SPARK_DAYS)?;
        let totals: HashMap<KeyId, Totals> = used.into_iter().collect();
        let row = |key: &crate::keys::Key| Row {
            link: Some(path::key_usage(self.slug, &key.id).queries(self.range_query())),
            owner: key.owner.name.clone(),
            last_used: key.last_used_at.map(|at| When::past(at, self.now, self.zone)),
            spark: daily.get(&key.id).map(|days| Spark::new(days)),
            ..Row::new(key.name.clone(), totals.get(&key.id).copied().unwrap_or_default())
        };
        Ok((keys.iter().map(row).collect(), number))
    }

    /// The range, for the link to a key's page.
    fn range_query(&self) -> Vec<(String, String)> {
        let UsageParams { range, from, to, .. } = self.params.clone();
        UsageParams { range, from, to, ..UsageParams::default() }.query(&[])
    }

    fn people(&self, conn: &mut Conn) -> Result<(Vec<Row>, i64)> {
        let Some(ranking) = self.ranking else { return Ok((Vec::new(), 0)) };
        let people = ranking.people(conn, self.org)?;
        let number = i64::try_from(people.len()).unwrap_or(i64::MAX);
        let shown = self.part.of(people);
        let ids: Vec<UserId> = shown.iter().map(|(person, _)| *person).collect();
        let names = people::store::names(conn, &ids)?;
        let row = |(person, totals): (UserId, Totals)| {
            let (name, email) = names.get(&person).cloned().unwrap_or_default();
            Row { link: self.link("owner", &person.to_string()), second: email, ..Row::new(name, totals) }
        };
        Ok((shown.into_iter().map(row).collect(), number))
    }

    fn named(&self, all: Vec<(String, Totals)>, parameter: &str, none: &str) -> (Vec<Row>, i64) {
        let number = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let of_key = self.question.filter.key.is_some();
        let row = |(name, totals): (String, Totals)| match name.as_str() {
            "" => Row::new(none.to_owned(), totals),
            _ => Row {
                link: self.link(parameter, &name).filter(|_| !of_key),
                mono: true,
                ..Row::new(name, totals)
            },
        };
        (self.part.of(&all).into_iter().map(row).collect(), number)
    }

    fn addresses(&self, conn: &mut Conn) -> Result<(Vec<Row>, i64)> {
        let Some(key) = self.question.filter.key else { return Ok((Vec::new(), 0)) };
        let range = (self.question.range.first(), self.question.range.to);
        let all = top::addresses(conn, self.org, key, range)?;
        let number = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let skipped = usize::try_from(self.part.offset).unwrap_or(usize::MAX);
        let shown = all.into_iter().skip(skipped).take(usize::try_from(PAGE).unwrap_or(0));
        let row = |(address, requests, last): (String, i64, Time)| Row {
            mono: address != "other" && address != "unknown",
            last_used: Some(When::past(last, self.now, self.zone)),
            ..Row::new(address, Totals { requests, ..Totals::default() })
        };
        Ok((shown.map(row).collect(), number))
    }

    fn secrets(&self, conn: &mut Conn) -> Result<(Vec<Row>, i64)> {
        let Some(key) = self.question.filter.key else { return Ok((Vec::new(), 0)) };
        let all = top::secrets(conn, self.org, self.question)?;
        let number = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let secrets = secret_store::uses(conn, self.org, key)?;
        let row = |(id, totals)| {
            let secret = secrets.iter().find(|secret| secret.id == id);
            let name = secret.map_or("unknown".to_owned(), |secret| {
                format!("…{}, created {}", secret.last4, format::date_time(secret.created_at, self.zone))
            });
            let last = secret.and_then(|secret| secret.last_used_at);
            Row { last_used: last.map(|at| When::past(at, self.now, self.zone)), ..Row::new(name, totals) }
        };
        Ok((self.part.of(&all).into_iter().map(row).collect(), number))
    }
}
