//! The page that shows a new secret, once.

use actix_web::HttpResponse;
use actix_web::http::header;
use askama::Template;

use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::Result;
use crate::id::KeyId;
use crate::keys::secret::{Fingerprint, PlainSecret};
use crate::keys::{Key, secret_store};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::scope::Scope;
use crate::time::{MINUTE, Time};
use crate::web::Shared;
use crate::web::idempotency::{Claim, ClaimError};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// How long the page polls for the first request, in seconds.
const PATIENCE: i64 = 10 * MINUTE;

#[derive(Template)]
#[template(path = "portal/keys/reveal.html", blocks = ["first_use"])]
struct RevealPage<'a> {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: &'a str,
    fingerprint: &'a Fingerprint,
    /// Empty in a fragment.
    secret: &'a str,
    /// The environment variable in the examples.
    variable: String,
    /// A request that the key may make.
    example: Example,
    first_use: FirstUse,
    /// The hint of a rotated key's old secret, and the end of its overlap.
    old: Option<(&'a str, String)>,
}

struct Example {
    url: String,
    body: Option<&'static str>,
}

enum FirstUse {
    Waiting,
    GivenUp,
    Used { at: String, from: String },
}

/// Shows the secret. The response is not stored and has no address of its own.
pub fn show(visit: &Visit, key: &Key, secret: &PlainSecret) -> Result<HttpResponse, Problem> {
    let page = RevealPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: &key.name,
        fingerprint: &key.fingerprint,
        secret: secret.expose(),
        variable: variable(&visit.org.slug),
        example: Example::of(key, &visit.site),
        first_use: FirstUse::Waiting,
        old: key
            .rotation(key.secret_made_at)
            .map(|old| (old.fingerprint.hint.as_str(), format::date_time(old.ends_at, &visit.zone))),
    };
    let mut response = visit.page(&page)?;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Why a form that was submitted twice creates no second secret.
pub enum Again {
    /// It has created the key with this id.
    Key(String),
    /// It has rotated the key with this id.
    Rotated(String),
    /// The first submission is still in progress.
    Running,
}

/// Creates a secret, unless an earlier submission of the same form has created it. `done` tells what that one
/// did, by the id of its key.
pub fn once(
    tx: &mut Tx<'_>,
    claim: Option<&Claim>,
    keyring: &Keyring,
    now: Time,
    done: fn(String) -> Again,
    make: impl FnOnce(&mut Tx<'_>) -> Result<(Key, PlainSecret)>,
) -> Result<Result<(Key, PlainSecret), Again>> {
    if let Some(claim) = claim {
        match claim.take(tx, keyring, now) {
            Ok(None) => {}
            Ok(Some(earlier)) => return Ok(Err(done(earlier.answer))),
            Err(ClaimError::Failed(error)) => return Err(error),
            Err(_) => return Ok(Err(Again::Running)),
        }
    }
    let (key, secret) = make(tx)?;
    if let Some(claim) = claim {
        // Only the id is stored: this page never shows a secret twice.
        claim.keep(tx, keyring, &key.id.to_string(), "")?;
    }
    Ok(Ok((key, secret)))
}

#[derive(Template)]
#[template(path = "portal/keys/again.html")]
struct AgainPage {
    layout: Layout,
    org: OrgLink,
    id: Option<KeyId>,
    rotated: bool,
}

/// The page for a form that was submitted twice.
pub fn again(visit: &Visit, again: Again) -> Result<HttpResponse, Problem> {
    let (id, rotated) = match again {
        Again::Key(id) => (KeyId::parse(&id), false),
        Again::Rotated(id) => (KeyId::parse(&id), true),
        Again::Running => (None, false),
    };
    let org = visit.org_link();
    visit.page(&AgainPage { layout: visit.layout(NavSection::Keys), org, id, rotated })
}

/// `GET /o/{org}/keys/{id}/first-use`: the line that waits for the first request.
pub async fn first_use(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let found = visit.read(move |conn| {
        let key = requested.find(conn)?;
        let secrets = secret_store::uses(conn, key.org, key.id)?;
        Ok((key, secrets))
    });
    let (key, secrets) = found.await?;
    if !visit.is_partial() {
        return Ok(visit.redirect(path::key(&visit.org.slug, &key.id)));
    }
    let of_now = secrets.iter().find(|secret| secret.id == key.secret);
    let used = of_now.and_then(|secret| Some((secret.first_used_at?, secret.last_address.clone()?)));
    let first_use = match used {
        Some((at, from)) => FirstUse::Used { at: format::clock(at, &visit.zone), from },
        None if now.since(key.secret_made_at) > PATIENCE => FirstUse::GivenUp,
        None => FirstUse::Waiting,
    };
    let page = RevealPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: &key.name,
        fingerprint: &key.fingerprint,
        secret: "",
        variable: String::new(),
        example: Example::of(&key, &visit.site),
        first_use,
        old: None,
    };
    visit.page(&page.as_first_use())
}

impl Example {
    fn of(key: &Key, site: &Shared) -> Example {
        let link = |path| site.public_url.link(&path);
        if key.scopes.has(Scope::InferenceWrite) {
            Example {
                url: link(path::v1_inference()),
                body: Some(r#"{"model": "gpt-4", "prompt": "Hello"}"#),
            }
        } else if key.scopes.has(Scope::InferenceRead) {
            Example { url: link(path::v1_models()), body: None }
        } else {
            Example { url: link(path::v1_api_key_self()), body: None }
        }
    }
}

/// `ACME_AI_API_KEY` for the organisation `acme-ai`.
fn variable(slug: &str) -> String {
    let name = slug.to_uppercase().replace('-', "_");
    // A variable can't begin with a digit.
    let start = if name.starts_with(|letter: char| letter.is_ascii_digit()) { "_" } else { "" };
    format!("{start}{name}_API_KEY")
}
