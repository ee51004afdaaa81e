//! Who calls. The gate decides it once, from one kind of credential; handlers take what
//! they need as arguments.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::audit::event::{Actor, Context};
use crate::error::Error;
use crate::keys::manager::Manager;
use crate::keys::presented::Presented;
use crate::keys::secret::{PlainSecret, contains_key};
use crate::orgs::store::Org;
use crate::people::store::Person;
use crate::role::Role;
use crate::time::Time;
use crate::web::address;
use crate::web::problem::{Code, Problem};
use crate::web::request::{path_holds_key, request_id};
use crate::web::ticket::Ticket;

/// A program with a working key.
#[derive(Clone)]
pub struct KeyCaller {
    /// The key.
    pub key: Arc<Presented>,
    /// What was presented; needed for sealing what only the same caller may open.
    pub secret: Arc<PlainSecret>,
    /// From where.
    pub address: IpAddr,
}

/// Someone signed in.
#[derive(Clone)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// The organisations they belong to.
    pub orgs: Vec<(Org, Role)>,
}

/// Someone signed in, as a member of the organisation in the path.
#[derive(Clone)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// Of what.
    pub org: Org,
    /// In which role.
    pub role: Role,
}

/// How many findings of the review are open, for whoever may see it.
#[derive(Clone, Copy)]
pub struct Findings(pub i64);

impl KeyCaller {
    /// What an audit entry says about this call.
    pub fn context(&self, request: &HttpRequest, now: Time) -> Context {
        Context {
            org: self.key.org,
            actor: Actor::Key(self.key.key),
            address: Some(self.address.to_string()),
            request: Some(request_id(request)),
            now,
        }
    }

    /// What the key may do to others: what its owner's role may.
    pub fn manager(&self) -> Result<Manager, Problem> {
        let role = self.key.owner_role.ok_or(Error::Forbidden)?;
        Ok(Manager { person: self.key.owner, role })
    }
}

impl Member {
    /// What an audit entry says about this request.
    pub fn context(&self, request: &HttpRequest, now: Time) -> Context {
        Context {
            org: self.org.id,
            actor: Actor::Person(self.person.id),
            address: Some(address::client(request).to_string()),
            request: Some(request_id(request)),
            now,
        }
    }

    /// What this member may do to keys.
    pub fn manager(&self) -> Manager {
        Manager { person: self.person.id, role: self.role }
    }
}

/// Reads the one credential of an API request: `Authorization: Bearer <key>`.
///
/// Errors: `invalid_request` for a second credential or a key in the URL,
/// `missing_credential`, `invalid_token` for what is not shaped like a key.
pub fn bearer(request: &HttpRequest) -> Result<PlainSecret, Problem> {
    refuse_key_in_url(request)?;
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else {
        return Err(Problem::missing_credential());
    };
    if values.next().is_some() {
        return Err(invalid_credentials("Send one Authorization header, not several."));
    }
    let text = value.to_str().map_err(|_| invalid_credentials("The Authorization header can't be read."))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::missing_credential());
    }
    if token.trim_matches(' ').is_empty() {
        return Err(Problem::missing_credential());
    }
    PlainSecret::parse(token.trim_matches(' ')).ok_or_else(|| Problem::invalid_token(Code::InvalidToken))
}

/// A key in a URL ends up in logs and histories, so such a request is refused everywhere.
pub fn refuse_key_in_url(request: &HttpRequest) -> Result<(), Problem> {
    let query = request.query_string();
    let decoded = form_values(query).any(|value| contains_key(&value));
    if decoded || contains_key(query) || path_holds_key(request.path()) {
        return Err(invalid_credentials(
            "There is an API key in the address. Treat it as leaked: revoke it, and send keys in the Authorization header.",
        ));
    }
    Ok(())
}

fn form_values(query: &str) -> impl Iterator<Item = String> {
    let pairs: Vec<(String, String)> = serde_html_form::from_str(query).unwrap_or_default();
    pairs.into_iter().map(|(_, value)| value)
}

fn invalid_credentials(detail: &str) -> Problem {
    Problem::bad_request(detail)
        .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"keydesk\", error=\"invalid_request\"")
}

macro_rules! from_gate {
    ($principal:ty) => {
        impl FromRequest for $principal {
            type Error = Problem;
            type Future = Ready<Result<Self, Problem>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let found = request.extensions().get::<$principal>().cloned();
                // A route whose permission admits someone else is a fault of ours.
                ready(
                    found.ok_or_else(|| {
                        Error::internal("the route's permission admits no such caller").into()
                    }),
                )
            }
        }
    };
}

from_gate!(KeyCaller);
from_gate!(SignedIn);
from_gate!(Member);
from_gate!(Ticket);
