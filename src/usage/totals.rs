//! Sums of requests and tokens.

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Serialize;

/// Requests and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Queryable)]
pub struct Sum {
    /// Requests.
    pub requests: i64,
    /// Tokens sent to models.
    pub input_tokens: i64,
    /// Tokens that models returned.
    pub output_tokens: i64,
    /// Input tokens read from a cache.
    pub cached_tokens: i64,
    /// Input tokens written to a cache.
    pub cache_write_tokens: i64,
    /// Output tokens used for reasoning.
    pub reasoning_tokens: i64,
}

impl Sum {
    /// Adds another sum.
    pub fn add(&mut self, other: Sum) {
        self.requests += other.requests;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// Requests by how they ended, and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Queryable, Serialize, utoipa::ToSchema)]
pub struct Totals {
    /// All requests.
    pub requests: i64,
    /// Answered.
    pub ok: i64,
    /// Refused or invalid, but not rate-limited.
    pub client_errors: i64,
    /// Rate-limited.
    pub limited: i64,
    /// Failed here or upstream.
    pub server_errors: i64,
    /// Tokens sent to models, including those read from and written to their caches.
    pub input_tokens: i64,
    /// Tokens that models returned, including their reasoning.
    pub output_tokens: i64,
    /// The input tokens that were read from a cache.
    pub cached_tokens: i64,
    /// The input tokens that were written to a cache.
    pub cache_write_tokens: i64,
    /// The output tokens that were used for reasoning.
    pub reasoning_tokens: i64,
}

impl Totals {
    /// Adds requests with this outcome.
    pub fn count(&mut self, outcome: &str, sum: Sum) {
        let requests = sum.requests;
        self.requests = self.requests.saturating_add(requests);
        self.input_tokens = self.input_tokens.saturating_add(sum.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(sum.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(sum.cached_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(sum.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(sum.reasoning_tokens);
        let of_outcome = match outcome {
            "ok" => &mut self.ok,
            "client_errors" => &mut self.client_errors,
            "limited" => &mut self.limited,
            _ => &mut self.server_errors,
        };
        *of_outcome = of_outcome.saturating_add(requests);
    }

    /// Requests that did not succeed.
    pub fn failed(&self) -> i64 {
        self.requests - self.ok
    }

    /// Tokens in both directions.
    pub fn tokens(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds other totals.
    pub fn add(&mut self, other: &Totals) {
        self.requests = self.requests.saturating_add(other.requests);
        self.ok = self.ok.saturating_add(other.ok);
        self.client_errors = self.client_errors.saturating_add(other.client_errors);
        self.limited = self.limited.saturating_add(other.limited);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// The sum of a column as an integer. PostgreSQL returns a decimal, which diesel can't read on both databases.
pub(super) fn sum(column: &'static str) -> SqlLiteral<BigInt> {
    diesel::dsl::sql::<BigInt>(&format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"))
}

type BigIntSql = SqlLiteral<BigInt>;

/// The sums of all columns of a [`Sum`].
pub(super) fn sums() -> (BigIntSql, BigIntSql, BigIntSql, BigIntSql, BigIntSql, BigIntSql) {
    (
        sum("requests"),
        sum("input_tokens"),
        sum("output_tokens"),
        sum("cached_tokens"),
        sum("cache_write_tokens"),
        sum("reasoning_tokens"),
    )
}
