//! The model catalogue: the upstreams that requests go to, the models that clients can call, and their
//! prices. It is read from a TOML file; `docs/operations.md` describes the format.

pub mod current;
mod file;
pub mod health;
pub mod list;
pub mod money;
mod reader;

use std::collections::HashMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::catalogue::money::{Currency, Price};

pub use file::CatalogueError;

/// Bytes of a model's name.
pub const MAX_MODEL_NAME: usize = 200;

/// The API that an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI's API, or a compatible one.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Kind {
    /// The name as people know it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OpenAi => "OpenAI",
            Kind::Anthropic => "Anthropic",
        }
    }
}

/// A server that runs models.
#[derive(Clone, Debug)]
pub struct ModelServer {
    /// Unique in the catalogue: a–z, 0–9 and `-`.
    pub name: String,
    pub kind: Kind,
    /// The base URL, without a slash at its end and without credentials.
    pub url: String,
    /// The credential that Keydesk sends.
    pub key: Option<SecretString>,
    /// How long it may stay silent, if that differs from `KEYDESK_UPSTREAM_TIMEOUT`.
    pub timeout: Option<Duration>,
}

impl PartialEq for ModelServer {
    fn eq(&self, other: &ModelServer) -> bool {
        let is_same_key = match (&self.key, &other.key) {
            (Some(one), Some(two)) => {
                bool::from(one.expose_secret().as_bytes().ct_eq(two.expose_secret().as_bytes()))
            }
            (one, two) => one.is_none() && two.is_none(),
        };
        is_same_key
            && (&self.name, self.kind, &self.url, self.timeout)
                == (&other.name, other.kind, &other.url, other.timeout)
    }
}

/// A model that clients can call.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name that clients request: unique, without white space and commas.
    pub name: String,
    /// The names of its upstreams, in fail-over order; at least one.
    pub upstreams: Vec<String>,
    /// The name that is sent to the upstream.
    pub upstream_model: String,
    /// The most tokens of one response.
    pub max_output: Option<u32>,
    /// `None`: its cost is unknown.
    pub price: Option<Price>,
}

/// A checked catalogue: names are unique, every upstream that a model names exists, and there is at least one
/// model.
#[derive(Debug)]
pub struct Catalogue {
    /// The currency of all prices; `None` if no model has one.
    pub currency: Option<Currency>,
    /// In the order of the file.
    pub servers: Vec<ModelServer>,
    /// In the order of the file.
    pub models: Vec<Model>,
    /// The place of each model, by name.
    places: HashMap<String, usize>,
}

impl Catalogue {
    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.places.get(name).map(|place| &self.models[*place])
    }

    /// The upstreams of a model, in fail-over order.
    pub fn servers_of<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a ModelServer> {
        model.upstreams.iter().filter_map(|name| self.servers.iter().find(|server| server.name == *name))
    }
}
