//! Findings as the page and the print show them.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::{Key, names, store as keys};
use crate::people;
use crate::portal::kit::format::{self, When};
use crate::review::facts::{self, Which};
use crate::review::findings::Findings;
use crate::review::rules::{self, Facts, FindingKind};
use crate::review::store::{self, Snooze, scope_name};
use crate::time::Time;

/// A finding.
pub struct Row {
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// How to recognise it.
    pub hint: String,
    /// Its owner's name.
    pub owner: String,
    /// The scope that it is about, or empty.
    pub scope: String,
    /// The new address that it is about, or empty.
    pub address: String,
    /// How many more new addresses it is about.
    pub more: usize,
    /// The instant that says most about it, or in words what does.
    pub since: Since,
    /// When the key was last used.
    pub last_used: Option<When>,
}

/// The most important fact about a finding.
pub enum Since {
    At(When),
    Words(String),
}

/// A decision about a finding or a scope.
pub struct Decision {
    pub id: KeyId,
    pub name: String,
    /// The kind of finding, as in forms; empty for a removed scope.
    pub card: String,
    /// The title of the kind of finding.
    pub what: String,
    /// The scope, or empty.
    pub scope: String,
    /// The name of the person who decided.
    pub by: String,
    pub at: String,
    /// How long it lasts, or can be undone.
    pub until: String,
}

/// The organisation, time and zone for which rows are read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub org: OrgId,
    pub now: Time,
    pub zone: &'a TimeZone,
}

impl Reader<'_> {
    /// Open findings of a kind. Those that no longer hold since the last scan are left out.
    pub fn rows(
        &self,
        conn: &mut Conn,
        findings: &Findings,
        kind: FindingKind,
        part: (i64, i64),
    ) -> Result<Vec<Row>> {
        let found = findings.of_kind(conn, kind, part)?;
        let ids: Vec<KeyId> = found.iter().map(|(key, _, _)| *key).collect();
        let facts = facts::read(conn, self.org, Which::These(&ids), self.now)?;
        let facts: HashMap<KeyId, Facts> = facts.into_iter().map(|facts| (facts.key, facts)).collect();
        let keys = keys::by_ids(conn, self.org, &ids)?;
        let keys: HashMap<KeyId, Key> = keys.into_iter().map(|key| (key.id, key)).collect();
        let new = match kind {
            FindingKind::NewAddress => facts::new_addresses(conn, self.org, &ids, self.now)?,
            _ => HashMap::new(),
        };
        let row = |(id, scope, since): (KeyId, String, Time)| {
            let (key, facts) = (keys.get(&id)?, facts.get(&id)?);
            let findings = rules::findings(facts, self.now);
            let holds =
                findings.iter().any(|finding| finding.kind == kind && scope_name(finding.scope) == scope);
            let new = new.get(&id).map_or(&[][..], Vec::as_slice);
            holds.then(|| self.row(key, facts, kind, scope, since, new))
        };
        Ok(found.into_iter().filter_map(row).collect())
    }

    fn row(
        &self,
        key: &Key,
        facts: &Facts,
        kind: FindingKind,
        scope: String,
        since: Time,
        new: &[(String, Time)],
    ) -> Row {
        let past = |at| When::past(at, self.now, self.zone);
        let used = facts.scope_uses.iter().find(|(held, _, _)| held.name() == scope);
        let since = match kind {
            FindingKind::EndsSoon => Since::At(When::ahead(since, self.now, self.zone)),
            FindingKind::ManyErrors => Since::Words(format!(
                "{} of {}",
                format::share(facts.errors, facts.requests),
                format::number(facts.requests)
            )),
            FindingKind::ScopeUnused => match used.and_then(|(_, _, last)| *last) {
                Some(last) => Since::At(past(last)),
                None => Since::Words("never".to_owned()),
            },
            FindingKind::OwnerLeft if facts.last_used_at.is_none() => Since::Words("never".to_owned()),
            // The address that is named has its own time beside it.
            FindingKind::NewAddress => Since::At(past(new.first().map_or(since, |(_, seen)| *seen))),
            _ => Since::At(past(since)),
        };
        Row {
            id: key.id,
            name: key.name.clone(),
            hint: key.fingerprint.hint.clone(),
            owner: key.owner.name.clone(),
            scope,
            address: new.first().map(|(address, _)| address.clone()).unwrap_or_default(),
            more: new.len().saturating_sub(1),
            since,
            last_used: facts.last_used_at.map(past),
        }
    }

    /// Snoozed findings.
    pub fn kept(&self, conn: &mut Conn, most: i64) -> Result<Vec<Decision>> {
        let snoozes = store::snoozes(conn, self.org, self.now, most)?;
        let decided = snoozes.into_iter().map(|snooze| {
            let title = FindingKind::parse(&snooze.kind).map_or("", |kind| super::kind_text(kind).title);
            let Snooze { key, kind, scope, by, at, until } = snooze;
            (key, kind, title.to_owned(), scope, by, at, until)
        });
        self.decided(conn, decided.collect())
    }

    /// Scopes that were removed on advice and can be given back.
    pub fn removed(&self, conn: &mut Conn, most: i64) -> Result<Vec<Decision>> {
        let days = crate::review::advice::UNDO_DAYS * crate::time::DAY;
        let removals = store::removals(conn, self.org, self.now.plus(-days), most)?;
        let decided = removals.into_iter().map(|removal| {
            let until = removal.at.plus(days);
            (removal.key, String::new(), removal.scope.clone(), removal.scope, removal.by, removal.at, until)
        });
        self.decided(conn, decided.collect())
    }

    fn decided(
        &self,
        conn: &mut Conn,
        rows: Vec<(KeyId, String, String, String, UserId, Time, Time)>,
    ) -> Result<Vec<Decision>> {
        let ids: Vec<KeyId> = rows.iter().map(|row| row.0).collect();
        let people: Vec<UserId> = rows.iter().map(|row| row.4).collect();
        let (keys, people) =
            (names::with_owners(conn, self.org, &ids)?, people::store::names(conn, &people)?);
        let decided = rows.into_iter().map(|(key, card, what, scope, by, at, until)| Decision {
            id: key,
            name: keys.get(&key).map(|named| named.name.clone()).unwrap_or_default(),
            card,
            what,
            scope,
            by: people.get(&by).map(|(name, _)| name.clone()).unwrap_or_default(),
            at: format::date_time(at, self.zone),
            until: format::date(until, self.zone),
        });
        Ok(decided.collect())
    }
}
