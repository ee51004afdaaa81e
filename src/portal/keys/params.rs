//! The parameters of the list of keys.

use crate::id::UserId;
use crate::keys::Status;
use crate::keys::list::{Filter, Order};
use crate::portal::kit::list_query::ListQuery;
use crate::scope::Scope;
use crate::web::form::{Fields, query};
use crate::web::problem::Problem;

/// Keys per page.
pub const PAGE: i64 = 50;

#[derive(Clone, Default)]
pub struct ListParams {
    pub q: String,
    pub status: String,
    pub owner: String,
    pub scope: String,
    pub sort: String,
    pub reversed: bool,
    /// From 1.
    pub page: i64,
}

impl ListParams {
    /// Errors: 400 for an invalid parameter.
    pub fn parse(fields: &Fields) -> Result<(ListParams, Filter, Order), Problem> {
        let query = ListQuery(fields);
        let params = ListParams {
            q: query.text("q")?,
            status: query.text("status")?,
            owner: query.text("owner")?,
            scope: query.text("scope")?,
            sort: query.text("sort")?,
            reversed: query.is_reversed(),
            page: query.page()?,
        };
        let order = query.choice("sort", |sort| match sort {
            "expires" => Some(Order::Expires),
            "name" => Some(Order::Name),
            "used" => Some(Order::LastUsed),
            "created" => Some(Order::Created),
            _ => None,
        })?;
        let filter = Filter {
            status: query.choice("status", Status::parse)?,
            scope: query.choice("scope", Scope::parse)?,
            owner: query.choice("owner", UserId::parse)?,
            mine: None,
            search: (!params.q.is_empty()).then(|| params.q.clone()),
            ..Filter::default()
        };
        Ok((params, filter, order.unwrap_or(Order::Expires)))
    }

    /// Whether any filter is set.
    pub fn is_filtered(&self) -> bool {
        !(self.q.is_empty() && self.owner.is_empty() && self.scope.is_empty() && self.status.is_empty())
    }

    /// The parameters with some changed.
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
