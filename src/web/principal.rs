//! Who calls. The gate decides it once, from one kind of credential; handlers take what
//! they need as arguments.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::authority::{AccountChange, Change};
use crate::error::Error;
use crate::keys::lookup::PresentedKey;
use crate::keys::manager::Manager;
use crate::keys::secret::{PlainSecret, contains_key};
use crate::orgs::principal::SignedInMember;
use crate::orgs::store::Org;
use crate::people::principal::SignedInPerson;
use crate::people::store::Person;
use crate::role::{Act, Role};
use crate::scope::Scopes;
use crate::time::Time;
use crate::verify::decision;
use crate::verify::principal::ActingKey;
use crate::web::Site;
use crate::web::address::ClientAddress;
use crate::web::form::pairs;
use crate::web::problem::{Code, Problem};
use crate::web::request::{path_holds_key, source};

/// A program with a working key.
#[derive(Clone)]
pub struct KeyCaller {
    /// The key.
    pub key: Arc<PresentedKey>,
    /// What was presented; needed for sealing what only the same caller may open.
    pub secret: Arc<PlainSecret>,
    /// From where.
    pub address: ClientAddress,
    /// The scopes that the route needs of it; none where it acts on itself.
    pub needed: Option<Scopes>,
}

/// Someone signed in.
#[derive(Clone)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// The organisations they belong to.
    pub orgs: Vec<(Org, Role)>,
    /// The same for making changes.
    pub principal: SignedInPerson,
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
    /// What the route needs of the role.
    pub act: Act,
    /// The person, for making changes.
    pub principal: SignedInPerson,
}

/// How many findings of the review are open, for whoever may see it.
#[derive(Clone, Copy)]
pub struct Findings(pub i64);

impl KeyCaller {
    /// Opens a change that this key asks for. It is made only if the key may still make it at the
    /// commit.
    pub fn change(&self, request: &HttpRequest, now: Time) -> Change<ActingKey> {
        let (secret, address, needed) = (self.key.secret, self.address.ip(), self.needed);
        Change::new(ActingKey { secret, address, needed }, self.key.org, source(request), now)
    }

    /// Looks the key up again, and checks that it may still make this request: what was true when the
    /// request began may have ended since.
    ///
    /// Errors: what the gate would answer now, and unavailable.
    pub async fn check_again(&mut self, site: &Site, now: Time) -> Result<(), Problem> {
        let found = site.table.look_up(&site.db, &site.mint.keyring, &self.secret, Instant::now()).await?;
        self.key = found.ok_or_else(|| Problem::invalid_token(Code::InvalidToken))?;
        decision::is_usable(&self.key, self.address.ip(), now)?;
        self.needed.map_or(Ok(()), |needed| decision::has_scopes(&self.key, needed, now))?;
        Ok(())
    }

    /// What the key may see: what its owner's role may.
    pub fn manager(&self) -> Result<Manager, Problem> {
        let role = self.key.owner_role.ok_or(Error::Forbidden)?;
        Ok(Manager { person: self.key.owner, role })
    }
}

impl Member {
    /// Opens a change that this member asks for. It is made only if, at the commit, they are still
    /// signed in and their role allows what the route needs.
    pub fn change(&self, request: &HttpRequest, now: Time) -> Change<SignedInMember> {
        let (person, org, act) = (self.principal.clone(), self.org.id, self.act);
        Change::new(SignedInMember { person, org, act }, org, source(request), now)
    }

    /// What this member may do to keys, as far as pages show it.
    pub fn manager(&self) -> Manager {
        Manager { person: self.person.id, role: self.role }
    }
}

impl SignedIn {
    /// Opens a change of the person's own account. It is made only if they are still signed in at the
    /// commit.
    pub fn change(&self, request: &HttpRequest, now: Time) -> AccountChange<SignedInPerson> {
        AccountChange::new(self.principal.clone(), self.principal.id, source(request), now)
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
    // A query with too many fields, or that can't be read, is refused where it is used.
    let decoded = !query.is_empty()
        && pairs(query.as_bytes(), "The query")
            .is_ok_and(|pairs| pairs.iter().any(|(_, value)| contains_key(value)));
    if decoded || contains_key(query) || path_holds_key(request.path()) {
        return Err(invalid_credentials(
            "There is an API key in the address. Treat it as leaked: revoke it, and send keys in the Authorization header.",
        ));
    }
    Ok(())
}

fn invalid_credentials(detail: &str) -> Problem {
    Problem::bad_request(detail)
        .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"keydesk\", error=\"invalid_request\"")
}

/// Takes from the request what the gate put there.
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
