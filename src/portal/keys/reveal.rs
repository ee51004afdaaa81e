//! The page that shows a new key, this once.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::id::KeyId;
use crate::keys::secret::{Fingerprint, PlainSecret};
use crate::keys::{Key, secret_store};
use crate::path;
use crate::portal::kit::words;
use crate::scope::Scope;
use crate::time::{MINUTE, Time};
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;

/// How long the page asks for the first request, in seconds.
const PATIENCE: i64 = 10 * MINUTE;

#[derive(Template)]
#[template(path = "portal/keys/reveal.html", blocks = ["first_use"])]
struct RevealPage<'a> {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: &'a str,
    fingerprint: &'a Fingerprint,
    /// The secret in clear; empty where only a fragment is rendered.
    secret: &'a str,
    /// The environment variable that the examples use.
    variable: String,
    /// A call that the key may make.
    example: Example,
    first_use: FirstUse,
    /// The old secret of a rotated key, and until when it works.
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

/// Shows the key. The answer is kept nowhere and has no URL of its own.
pub fn show(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    secret: &PlainSecret,
) -> Result<HttpResponse, Problem> {
    let page = RevealPage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: &key.name,
        fingerprint: &key.fingerprint,
        secret: secret.expose(),
        variable: variable(&member.org.slug),
        example: Example::of(key, site),
        first_use: FirstUse::Waiting,
        old: key.rotation(key.secret_made_at).map(|old| {
            (old.fingerprint.hint.as_str(), words::date_time(old.ends_at, &member.person.time_zone()))
        }),
    };
    let mut response = html(StatusCode::OK, &page)?;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Why a form makes no second key.
pub enum Again {
    /// It has made this key, by its id.
    Key(String),
    /// It has rotated this key, by its id.
    Rotated(String),
    /// It is making one right now.
    Running,
}

#[derive(Template)]
#[template(path = "portal/keys/again.html")]
struct AgainPage {
    layout: Layout,
    org: Place,
    id: Option<KeyId>,
    rotated: bool,
}

/// Says that the form was sent twice and made one secret.
pub fn again(request: &HttpRequest, member: &Member, again: Again) -> Result<HttpResponse, Problem> {
    let (id, rotated) = match again {
        Again::Key(id) => (KeyId::parse(&id), false),
        Again::Rotated(id) => (KeyId::parse(&id), true),
        Again::Running => (None, false),
    };
    let org = Place::of(&member.org);
    html(StatusCode::OK, &AgainPage { layout: Layout::of(request, Room::Keys), org, id, rotated })
}

/// `GET /o/{org}/keys/{id}/first-use`: the line that waits for the first request.
pub async fn first_use(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = super::find(&site, &member, &path.1).await?;
    if !is_partial(&request) {
        return Ok(redirect(&request, &path::key(&member.org.slug, &key.id)));
    }
    let (org, id, now) = (member.org.id, key.id, Time::now());
    let secrets = site.db.read(move |conn| secret_store::uses(conn, org, id)).await?;
    let of_now = secrets.iter().find(|secret| secret.id == key.secret);
    let used = of_now.and_then(|secret| Some((secret.first_used_at?, secret.last_address.clone()?)));
    let first_use = match used {
        Some((at, from)) => FirstUse::Used { at: words::clock(at, &member.person.time_zone()), from },
        None if now.since(key.secret_made_at) > PATIENCE => FirstUse::GivenUp,
        None => FirstUse::Waiting,
    };
    let page = RevealPage {
        layout: Layout::of(&request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: &key.name,
        fingerprint: &key.fingerprint,
        secret: "",
        variable: String::new(),
        example: Example::of(&key, &site),
        first_use,
        old: None,
    };
    html(StatusCode::OK, &page.as_first_use())
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
