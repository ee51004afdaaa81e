//! What the URL of the list asks for, and the URLs of the same view with something changed.

use crate::id::UserId;
use crate::keys::Status;
use crate::keys::list::{Filter, Order};
use crate::scope::Scope;
use crate::web::form::{Fields, query};
use crate::web::problem::{Code, Problem};

/// How many keys a page shows.
pub const PAGE: i64 = 50;

/// What the URL asks for.
#[derive(Clone, Default)]
pub struct Asked {
    /// `q`.
    pub q: String,
    /// `status`.
    pub status: String,
    /// `owner`.
    pub owner: String,
    /// `scope`.
    pub scope: String,
    /// `sort`.
    pub sort: String,
    /// `dir`.
    pub reversed: bool,
    /// `page`, from 1.
    pub page: i64,
}

impl Asked {
    /// Reads a query string; what does not exist is refused by its name.
    pub fn parse(fields: &Fields) -> Result<(Asked, Filter, Order), Problem> {
        let asked = Asked {
            q: fields.get("q").trim().to_owned(),
            status: fields.get("status").to_owned(),
            owner: fields.get("owner").to_owned(),
            scope: fields.get("scope").to_owned(),
            sort: fields.get("sort").to_owned(),
            reversed: fields.get("dir") == "reversed",
            page: match fields.get("page") {
                "" => 1,
                text => text
                    .parse()
                    .ok()
                    .filter(|page| (1..=1_000_000).contains(page))
                    .ok_or_else(|| wrong("page"))?,
            },
        };
        if asked.q.chars().count() > 200 || asked.q.chars().any(char::is_control) {
            return Err(wrong("q"));
        }
        let order = match asked.sort.as_str() {
            "" | "expires" => Order::Expires,
            "name" => Order::Name,
            "used" => Order::LastUsed,
            "created" => Order::Created,
            _ => return Err(wrong("sort")),
        };
        let filter = Filter {
            status: choice(&asked.status, Status::parse, "status")?,
            scope: choice(&asked.scope, Scope::parse, "scope")?,
            owner: choice(&asked.owner, UserId::parse, "owner")?,
            mine: None,
            search: (!asked.q.is_empty()).then(|| asked.q.clone()),
            ..Filter::default()
        };
        Ok((asked, filter, order))
    }

    /// Whether it narrows the list.
    pub fn is_filtered(&self) -> bool {
        !(self.q.is_empty() && self.owner.is_empty() && self.scope.is_empty() && self.status.is_empty())
    }

    /// The same view with some parameters changed.
    pub fn query(&self, changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let page = if self.page > 1 { self.page.to_string() } else { String::new() };
        let reversed = if self.reversed { "reversed" } else { "" };
        let own = [
            ("q", self.q.as_str()),
            ("status", &self.status),
            ("owner", &self.owner),
            ("scope", &self.scope),
            ("sort", &self.sort),
            ("dir", reversed),
            ("page", &page),
        ];
        query(&own, changes)
    }
}

fn choice<T>(text: &str, parse: impl Fn(&str) -> Option<T>, name: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some).ok_or_else(|| wrong(name)) }
}

fn wrong(name: &str) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!(
            "The address asks for something that does not exist: {name}. Go back to the list and choose again."
        ),
    )
}
