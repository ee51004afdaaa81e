//! The table below the chart: what was used, told apart by key, model, scope, person, address or secret.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, OrgSlug, UserId};
use crate::keys::{secret_store, store};
use crate::path::{self, Href};
use crate::people;
use crate::portal::kit::chart::Spark;
use crate::portal::kit::words::{self, When};
use crate::portal::usage::asked::{Asked, PAGE};
use crate::time::{DAY, Time};
use crate::usage::part::Part;
use crate::usage::question::Question;
use crate::usage::ranking::Ranking;
use crate::usage::totals::Totals;
use crate::usage::{recent, top};

const SPARK_DAYS: usize = 7;

/// What rows are told apart by, with the parameter and the words of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Keys.
    Key,
    /// Models.
    Model,
    /// Scopes.
    Scope,
    /// People.
    Person,
    /// Address groups.
    Address,
    /// Secrets.
    Secret,
}

impl By {
    /// What an organisation's usage is told apart by.
    pub const OF_ORG: [By; 4] = [By::Key, By::Model, By::Scope, By::Person];
    /// What a key's usage is told apart by.
    pub const OF_KEY: [By; 4] = [By::Scope, By::Model, By::Address, By::Secret];

    /// The name in the URL.
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

    /// The name on the page.
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

/// A row.
pub struct Row {
    /// What it is about.
    pub name: String,
    /// Where its name leads, if anywhere.
    pub link: Option<Href>,
    /// A second line under the name.
    pub second: String,
    /// Whether the name is one of a machine.
    pub mono: bool,
    /// Who owns it.
    pub owner: String,
    /// What was counted.
    pub totals: Totals,
    /// When it was last used.
    pub last_used: Option<When>,
    /// The last seven days.
    pub spark: Option<Spark>,
}

/// The table, with how many rows there are in all.
pub struct Table {
    /// What it is told apart by.
    pub by: By,
    /// The rows of this page.
    pub rows: Vec<Row>,
    /// The rows of all pages.
    pub number: i64,
    /// Whether the rows are still being added up.
    pub is_being_made: bool,
}

impl Row {
    fn new(name: String, totals: Totals) -> Row {
        let (second, owner) = (String::new(), String::new());
        Row { name, link: None, second, mono: false, owner, totals, last_used: None, spark: None }
    }

    /// Requests.
    pub fn requests(&self) -> String {
        words::number(self.totals.requests)
    }

    /// Tokens in both directions.
    pub fn tokens(&self) -> String {
        words::short(self.totals.tokens())
    }

    /// The share that did not succeed.
    pub fn failed(&self) -> String {
        words::share(self.totals.failed(), self.totals.requests)
    }

    /// Requests that were one too many.
    pub fn limited(&self) -> String {
        words::number(self.totals.limited)
    }
}

/// What a table is read for.
pub struct Reading<'a> {
    /// The organisation's name in URLs.
    pub slug: &'a OrgSlug,
    /// The organisation.
    pub org: OrgId,
    /// What is asked.
    pub question: &'a Question,
    /// By what URL.
    pub asked: &'a Asked,
    /// Which part.
    pub part: Part,
    /// When.
    pub now: Time,
    /// In which zone times are told.
    pub zone: &'a TimeZone,
    /// Usage by key, once it is added up; `None` on pages about one key.
    pub ranking: Option<&'a Ranking>,
}

impl Reading<'_> {
    /// Reads the table.
    pub fn table(&self, conn: &mut Conn, by: By) -> Result<Table> {
        let (rows, number) = match by {
            By::Key => self.keys(conn)?,
            By::Person => self.people(conn)?,
            By::Model => {
                let all = top::models(conn, self.org, self.question)?;
                self.named(all, "model", "no model named or read")
            }
            By::Scope => {
                let all = top::scopes(conn, self.org, self.question)?;
                self.named(all, "scope", "no scope needed")
            }
            By::Address => self.addresses(conn)?,
            By::Secret => self.secrets(conn)?,
        };
        let is_being_made = self.ranking.is_none() && matches!(by, By::Key | By::Person);
        Ok(Table { by, rows, number, is_being_made })
    }

    fn link(&self, name: &str, value: &str) -> Option<Href> {
        let query = self.asked.query(&[(name, value), ("by", ""), ("page", "")]);
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

    /// The range alone, for the page of a key.
    fn range_query(&self) -> Vec<(String, String)> {
        let Asked { range, from, to, .. } = self.asked.clone();
        Asked { range, from, to, ..Asked::default() }.query(&[])
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
                format!("…{}, made {}", secret.last4, words::date_time(secret.created_at, self.zone))
            });
            let last = secret.and_then(|secret| secret.last_used_at);
            Row { last_used: last.map(|at| When::past(at, self.now, self.zone)), ..Row::new(name, totals) }
        };
        Ok((self.part.of(&all).into_iter().map(row).collect(), number))
    }
}
