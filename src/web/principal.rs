//! The authenticated client or person of a request. The gate determines it once, from one kind of credential;
//! handlers take it as an argument.

use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::header;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::authority::{AccountChange, Change};
use crate::error::Error;
use crate::keys::lookup::PresentedKey;
use crate::keys::manager::KeyManager;
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

/// Base64 with or without padding, since clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A program with a working key.
#[derive(Clone)]
pub struct KeyCaller {
    pub key: Arc<PresentedKey>,
    /// The presented secret, for sealing data that only this client may open.
    pub secret: Arc<PlainSecret>,
    pub address: ClientAddress,
    /// The scopes that the route requires of the key; `None` if it acts on itself.
    pub needed: Option<Scopes>,
}

/// A signed-in person.
#[derive(Clone)]
pub struct SignedIn {
    pub person: Person,
    /// The person's organisations, with their role.
    pub orgs: Vec<(Org, Role)>,
    /// The person as a principal, for changes.
    pub principal: SignedInPerson,
}

/// A signed-in member of the organisation in the path.
#[derive(Clone)]
pub struct Member {
    pub person: Person,
    pub org: Org,
    pub role: Role,
    /// The act that the route requires of the role.
    pub act: Act,
    /// The person as a principal, for changes.
    pub principal: SignedInPerson,
}

/// The number of open review findings, for people who may see them.
#[derive(Clone, Copy)]
pub struct Findings(pub i64);

impl KeyCaller {
    /// Begins a change by this key. It is committed only if the key still has the right at that time.
    pub fn change(&self, request: &HttpRequest, now: Time) -> Change<ActingKey> {
        let (secret, address, needed) = (self.key.secret, self.address.ip(), self.needed);
        Change::new(ActingKey { secret, address, needed }, self.key.org, source(request), now)
    }

    /// Looks the key up again and checks that it may still make this request, since it may have changed
    /// since the request began.
    ///
    /// Errors: the gate's current response, and unavailable.
    pub async fn check_again(&mut self, site: &Site, now: Time) -> Result<(), Problem> {
        let found =
            site.table.look_up(&site.db, &site.defaults.keyring, &self.secret, Instant::now()).await?;
        self.key = found.ok_or_else(|| Problem::invalid_token(Code::InvalidToken))?;
        decision::is_usable(&self.key, self.address.ip(), now)?;
        self.needed.map_or(Ok(()), |needed| decision::has_scopes(&self.key, needed, now))?;
        Ok(())
    }

    /// The key's rights over keys: those of its owner's role.
    pub fn manager(&self) -> Result<KeyManager, Problem> {
        let role = self.key.owner_role.ok_or(Error::Forbidden)?;
        Ok(KeyManager { person: self.key.owner, role })
    }
}

impl Member {
    /// Begins a change by this member. It is committed only if they are still signed in and their role still
    /// allows the route's act at that time.
    pub fn change(&self, request: &HttpRequest, now: Time) -> Change<SignedInMember> {
        let (person, org, act) = (self.principal.clone(), self.org.id, self.act);
        Change::new(SignedInMember { person, org, act }, org, source(request), now)
    }

    /// The member's rights over keys.
    pub fn manager(&self) -> KeyManager {
        KeyManager { person: self.person.id, role: self.role }
    }
}

impl SignedIn {
    /// Begins a change of the person's own account. It is committed only if they are still signed in at that
    /// time.
    pub fn change(&self, request: &HttpRequest, now: Time) -> AccountChange<SignedInPerson> {
        AccountChange::new(self.principal.clone(), self.principal.id, source(request), now)
    }
}

/// The schemes of `Authorization` that a route accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Schemes {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// Also `Basic` (RFC 7617) with the key as the password, for clients of RFC 7662.
    BearerOrBasic,
}

/// Parses the one credential of an API request: `Authorization: Bearer <key>`.
///
/// Errors: `invalid_request` for a second credential, a malformed one or a key in the URL, `missing_credential`,
/// `invalid_token` for a malformed key.
pub fn credential(request: &HttpRequest, schemes: Schemes) -> Result<PlainSecret, Problem> {
    refuse_key_in_url(request)?;
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else {
        return Err(missing(schemes));
    };
    if values.next().is_some() {
        return Err(invalid_credentials("Send only one Authorization header."));
    }
    let text = value.to_str().map_err(|_| invalid_credentials("The Authorization header can't be read."))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim_matches(' ');
    let is_basic = schemes == Schemes::BearerOrBasic && scheme.eq_ignore_ascii_case("basic");
    if token.is_empty() || !(is_basic || scheme.eq_ignore_ascii_case("bearer")) {
        return Err(missing(schemes));
    }
    let secret = if is_basic { password(token)? } else { PlainSecret::parse(token) };
    secret.ok_or_else(|| Problem::invalid_token(Code::InvalidToken))
}

/// The key in the credentials of HTTP Basic: the password, plain (RFC 7617) or form-encoded (RFC 6749 section 2.3.1).
/// The user name is ignored, unless it is another key.
fn password(credentials: &str) -> Result<Option<PlainSecret>, Problem> {
    const UNREADABLE: &str =
        "The Authorization header can't be read: `Basic` is followed by the base64 of `id:key`.";
    let unreadable = || invalid_credentials(UNREADABLE);
    let decoded = Zeroizing::new(BASE64.decode(credentials).map_err(|_| unreadable())?);
    let (user, password) =
        std::str::from_utf8(&decoded).ok().and_then(|text| text.split_once(':')).ok_or_else(unreadable)?;
    if password.is_empty() {
        return Err(missing(Schemes::BearerOrBasic));
    }
    let parse = |text: &str| {
        let plain = PlainSecret::parse(text);
        plain.or_else(|| {
            PlainSecret::parse(&Zeroizing::new(percent_decode_str(text).decode_utf8().ok()?.into_owned()))
        })
    };
    let secret = parse(password);
    let is_other = |user: &PlainSecret| secret.as_ref().is_none_or(|secret| secret.expose() != user.expose());
    if parse(user).as_ref().is_some_and(is_other) {
        return Err(invalid_credentials("Send one key, as the password."));
    }
    Ok(secret)
}

fn missing(schemes: Schemes) -> Problem {
    let mut problem = Problem::missing_credential();
    if schemes == Schemes::BearerOrBasic {
        problem.detail =
            "Send an API key as `Authorization: Bearer <key>`, or as the password of HTTP Basic.".to_owned();
    }
    problem
}

/// Refuses a key in a URL, where it ends up in logs and histories.
pub fn refuse_key_in_url(request: &HttpRequest) -> Result<(), Problem> {
    let query = request.query_string();
    // A query with too many fields, or one that can't be parsed, is refused where it is used.
    let decoded = !query.is_empty()
        && pairs(query.as_bytes(), "The query")
            .is_ok_and(|pairs| pairs.iter().any(|(_, value)| contains_key(value)));
    if decoded || contains_key(query) || path_holds_key(request.path()) {
        return Err(invalid_credentials(
            "The URL contains an API key. Treat it as leaked: revoke it, and send keys in the Authorization header.",
        ));
    }
    Ok(())
}

fn invalid_credentials(detail: &str) -> Problem {
    Problem::bad_request(detail)
        .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"keydesk\", error=\"invalid_request\"")
}

/// Lets handlers take a value that the gate has stored in the request.
macro_rules! from_gate {
    ($principal:ty) => {
        impl actix_web::FromRequest for $principal {
            type Error = $crate::web::problem::Problem;
            type Future = std::future::Ready<Result<Self, Self::Error>>;

            fn from_request(
                request: &actix_web::HttpRequest,
                _: &mut actix_web::dev::Payload,
            ) -> Self::Future {
                let found = actix_web::HttpMessage::extensions(request).get::<$principal>().cloned();
                // If the route's permission admits another principal, the route table is wrong.
                std::future::ready(found.ok_or_else(|| {
                    $crate::error::Error::internal("the route's permission does not provide this principal")
                        .into()
                }))
            }
        }
    };
}

pub(crate) use from_gate;

from_gate!(KeyCaller);
from_gate!(SignedIn);
from_gate!(Member);
