//! The types of settings: their checks, how a column stores them, and how a form holds them.

use std::net::IpAddr;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Text};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use crate::config::parse_network;
use crate::orgs::policy::MAX_RPM;

/// The most networks that a key can be restricted to.
const MAX_NETWORKS: usize = 50;

/// A number of requests per minute: at least 1, at most [`u32::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
#[serde(transparent)]
pub struct PerMinute(i64);

impl PerMinute {
    /// A limit of this many requests per minute.
    pub fn new(limit: u32) -> PerMinute {
        PerMinute(limit.max(1).into())
    }

    /// Checks a limit that was sent. The error says what to do.
    pub fn check(limit: i64) -> Result<PerMinute, String> {
        let is_allowed = (1..=i64::from(MAX_RPM)).contains(&limit);
        if is_allowed { Ok(PerMinute(limit)) } else { Err("Use a number from 1 to 1,000,000.".to_owned()) }
    }

    /// The limit as a number.
    pub fn get(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for PerMinute
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for PerMinute
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let limit = i64::from_sql(bytes)?;
        u32::try_from(limit).ok().filter(|limit| *limit > 0).ok_or("a limit is out of range")?;
        Ok(PerMinute(limit))
    }
}

/// The networks that a key may be used from; none means any. The column holds them separated by
/// spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, FromSqlRow)]
#[serde(transparent)]
pub struct Networks(Box<[IpNet]>);

impl Networks {
    /// Checks addresses and networks that were sent. The error says what to do.
    pub fn check(texts: Vec<String>) -> Result<Networks, String> {
        if texts.len() > MAX_NETWORKS {
            return Err(format!("Use at most {MAX_NETWORKS} networks."));
        }
        let networks = texts.iter().map(|text| Some(parse_network(text.trim())?.trunc()));
        let networks: Option<Box<[IpNet]>> = networks.collect();
        let wrong = || "Write addresses or networks such as 203.0.113.7 or 10.0.0.0/8.".to_owned();
        networks.map(Networks).ok_or_else(wrong)
    }

    /// Whether the list is empty, so that any address is allowed.
    pub fn allow_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a client at this address is allowed. An unknown address is in no network.
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        let is_listed = |address: IpAddr| {
            let address = address.to_canonical();
            self.0.iter().any(|network| network.contains(&address))
        };
        self.allow_any() || address.is_some_and(is_listed)
    }

    /// Whether these networks hold an address that `before` did not allow.
    pub fn reach_further(&self, before: &Networks) -> bool {
        let was_allowed = |network: &IpNet| before.0.iter().any(|allowed| allowed.contains(network));
        !before.allow_any() && (self.allow_any() || !self.0.iter().all(was_allowed))
    }

    /// The networks as texts.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(IpNet::to_string).collect()
    }
}

impl AsExpression<Text> for Networks {
    type Expression = <String as AsExpression<Text>>::Expression;

    fn as_expression(self) -> Self::Expression {
        AsExpression::<Text>::as_expression(&self)
    }
}

impl AsExpression<Text> for &Networks {
    type Expression = <String as AsExpression<Text>>::Expression;

    fn as_expression(self) -> Self::Expression {
        AsExpression::<Text>::as_expression(self.texts().join(" "))
    }
}

impl<DB: Backend> FromSql<Text, DB> for Networks
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let text = String::from_sql(bytes)?;
        let networks: Result<_, _> = text.split_whitespace().map(str::parse).collect();
        Ok(Networks(networks?))
    }
}

/// The type of a setting's input, read from the values of a form's field.
pub(super) trait FormInput {
    /// Reads the input. What cannot be read becomes a value that the setting's check rejects.
    fn read(texts: Vec<String>) -> Self;
}

impl FormInput for i64 {
    fn read(texts: Vec<String>) -> i64 {
        texts.first().and_then(|text| text.trim().replace(',', "").parse().ok()).unwrap_or(0)
    }
}

impl FormInput for bool {
    /// A check box that is not ticked submits nothing, so it follows a hidden field with the value
    /// `false`; the last value counts.
    fn read(texts: Vec<String>) -> bool {
        texts.last().is_some_and(|text| text == "true")
    }
}

impl FormInput for Vec<String> {
    /// A list is written one entry per line, or separated by commas or spaces.
    fn read(texts: Vec<String>) -> Vec<String> {
        let separates = |letter: char| letter.is_whitespace() || letter == ',';
        let entries = texts.iter().flat_map(|text| text.split(separates));
        entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }
}

/// A setting's value as the field of a form holds it: a list one entry per line.
pub(super) fn form_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(entries) => entries.iter().map(form_text).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::check(texts.iter().map(|text| (*text).to_owned()).collect()).expect("valid")
    }

    #[test]
    fn network_within_an_allowed_one_allows_no_more() {
        for (before, after, further) in [
            (&[][..], &[][..], false),
            (&[], &["10.0.0.0/8"], false),
            (&["10.0.0.0/8"], &[], true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], false),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], true),
            (&["10.1.0.0/16"], &["10.1.0.0/16", "192.0.2.1/32"], true),
            (&["0.0.0.0/0"], &["::/0"], true),
        ] {
            assert_eq!(networks(after).reach_further(&networks(before)), further, "{before:?} {after:?}");
        }
    }

    #[test]
    fn form_values_are_read_back_as_they_were_shown() {
        let shown = form_text(&serde_json::json!(networks(&["10.0.0.0/8", "192.0.2.1"])));
        assert_eq!(shown, "10.0.0.0/8\n192.0.2.1/32");
        assert_eq!(Vec::read(vec![shown]), ["10.0.0.0/8", "192.0.2.1/32"]);
        assert_eq!(i64::read(vec![" 1,200 ".to_owned()]), 1_200);
        assert_eq!(i64::read(vec!["many".to_owned()]), 0);
        assert!(bool::read(vec!["false".to_owned(), "true".to_owned()]));
        assert!(!bool::read(vec!["false".to_owned()]));
    }
}
