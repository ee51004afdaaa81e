//! One request as it is counted.

use std::net::IpAddr;
use std::time::Duration;

use crate::id::{KeyId, OrgId, SecretId};
use crate::scope::Scope;
use crate::time::Time;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Refused or invalid, but not rate-limited; or abandoned by the client.
    ClientError,
    /// Rate-limited.
    Limited,
    /// Failed here or upstream.
    ServerError,
}

impl Outcome {
    /// The outcome of an HTTP status.
    pub fn of_status(status: u16) -> Outcome {
        match status {
            429 => Outcome::Limited,
            400..=499 => Outcome::ClientError,
            500.. => Outcome::ServerError,
            _ => Outcome::Ok,
        }
    }

    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ClientError => "client_errors",
            Outcome::Limited => "limited",
            Outcome::ServerError => "server_errors",
        }
    }
}

/// The tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Sent to the model, including those read from and written to its cache.
    pub input: u64,
    /// Returned by it, including its reasoning.
    pub output: u64,
    /// The part of the input that was read from the cache.
    pub cached: u64,
    /// The part of the input that was written to the cache.
    pub cache_write: u64,
    /// The part of the output that is reasoning.
    pub reasoning: u64,
}

/// One request that proved a key.
pub struct Call<'a> {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret that was presented.
    pub secret: SecretId,
    /// The scope that the route needs.
    pub scope: Option<Scope>,
    /// The requested model; empty for routes that take none.
    pub model: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// The time from its arrival until its answer began.
    pub took: Duration,
    pub tokens: Tokens,
    /// The client’s address, if it is known.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`.
    pub agent: &'a str,
    /// When it ended.
    pub at: Time,
}
