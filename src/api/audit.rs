//! The audit log for programs: entries, the signed checkpoint, and proofs about them.

use actix_web::HttpResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::audit::checkpoint::Signer;
use crate::audit::entry::Entry;
use crate::audit::list::{self, Filter, Part};
use crate::audit::signing;
use crate::audit::store::{self, StoredNodes};
use crate::audit::tree::{self, Hash, Nodes};
use crate::error::{Error, FieldError};
use crate::time::Time;
use crate::web::Shared;
use crate::web::body::Query;
use crate::web::principal::KeyCaller;
use crate::web::problem::Problem;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 100;
const MAX_TEXT: usize = 100;

/// The query of `GET /v1/audit-events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditEvent {
    /// The position in the organisation's log, from 0.
    index: i64,
    /// `evt_…`.
    id: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// The organisation's id.
    organization: String,
    /// `user_…`, `key_…`, `system:cli` or `system`.
    actor: String,
    /// The event, such as `key.created`.
    action: String,
    /// The id of the thing that was changed.
    target: String,
    /// The members of the event, such as the values before and after; null if it has none.
    #[schema(value_type = Option<Object>)]
    details: Value,
    /// The client's address, if known.
    address: Option<String>,
    /// The request id, if an HTTP request caused the event.
    request_id: Option<String>,
}

/// A page of the log.
#[derive(Serialize, ToSchema)]
pub struct AuditEvents {
    /// Newest first.
    data: Vec<AuditEvent>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl AuditEvent {
    /// The API's form of an entry.
    pub fn of(entry: Entry) -> AuditEvent {
        let body = entry.body;
        AuditEvent {
            index: entry.index,
            id: body.id,
            at: body.at,
            organization: body.organization,
            actor: body.actor,
            action: body.action,
            target: body.target,
            details: body.details,
            address: body.address,
            request_id: body.request_id,
        }
    }
}

/// `GET /v1/audit-events`: the organisation's log, newest first.
pub async fn events(
    site: Shared,
    caller: KeyCaller,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, Problem> {
    let (filter, part, limit) = query.0.check().map_err(Error::Invalid)?;
    let org = caller.key.org;
    let mut entries = site.db.read(move |conn| list::list(conn, org, &filter, part, limit + 1)).await?;
    let most = usize::try_from(limit).unwrap_or_default();
    let more = entries.len() > most;
    entries.truncate(most);
    let next_cursor = entries.last().filter(|_| more).map(|entry| entry.index.to_string());
    let data = entries.into_iter().map(AuditEvent::of).collect();
    Ok(HttpResponse::Ok().json(AuditEvents { data, next_cursor }))
}

impl EventsQuery {
    fn check(self) -> Result<(Filter, Part, i64), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut text = |field, text: Option<String>| {
            if text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT || text.contains('\0')) {
                errors.push(FieldError::new(field, format!("Use at most {MAX_TEXT} characters.")));
            }
            text.filter(|text| !text.is_empty())
        };
        let (actor, target) = (text("actor", self.actor), text("target", self.target));
        let actions = text("action", self.action).into_iter().collect();
        let mut time = |field, text: Option<String>| {
            let time = text.as_deref().map(Time::parse);
            if time == Some(None) {
                errors.push(FieldError::new(field, "Write a time as 2026-11-23T15:00:00Z."));
            }
            time.flatten()
        };
        let (from, to) = (time("from", self.from), time("to", self.to));
        let limit = self.limit.as_deref().map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if limit.is_none() {
            errors.push(FieldError::new("limit", format!("Use a number from 1 to {MAX_LIMIT}.")));
        }
        let cursor = self.cursor.as_deref().map(|text| text.parse().ok().filter(|place| *place >= 0));
        if cursor == Some(None) {
            errors.push(FieldError::new("cursor", "Use the next_cursor of an earlier response."));
        }
        let part = cursor.flatten().map_or(Part::Newest, Part::Before);
        let filter = Filter { actor, target, actions, search: None, from, to };
        match limit {
            Some(limit) if errors.is_empty() => Ok((filter, part, limit)),
            _ => Err(errors),
        }
    }
}

/// `GET /v1/audit/checkpoint`: a signed checkpoint of the current log (c2sp.org/tlog-checkpoint).
pub async fn checkpoint(site: Shared, caller: KeyCaller) -> Result<HttpResponse, Problem> {
    let (org, logs) = (caller.key.org, site.db.logs().clone());
    let (host, signers) = (site.public_url.host().to_owned(), Signer::all(&site.defaults.keyring)?);
    let note = site.db.read(move |conn| signing::current(conn, &logs, org, &host, &signers)).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(note))
}

/// The query of `GET /v1/audit/proof`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofQuery {
    index: Option<String>,
    from: Option<String>,
    size: Option<String>,
}

/// A proof about the audit log (RFC 6962 section 2.1).
#[derive(Serialize, ToSchema)]
pub struct AuditProof {
    /// The entry that the tree is proven to include; null in a consistency proof.
    index: Option<u64>,
    /// The older size with which the tree is proven to begin; null in an inclusion proof.
    from: Option<u64>,
    /// The size of the tree.
    size: u64,
    /// The entry's hash, in base64.
    leaf: Option<String>,
    /// The older tree's root, in base64.
    from_root: Option<String>,
    /// The tree's root, in base64.
    root: String,
    /// The proof, in base64, from the leaf up.
    hashes: Vec<String>,
}

/// What a proof shows about a tree.
#[derive(Clone, Copy)]
enum Claim {
    Includes(u64),
    Extends(u64),
}

/// `GET /v1/audit/proof`: proves that the log includes an entry, or that it begins with an older version.
pub async fn proof(
    site: Shared,
    caller: KeyCaller,
    query: Query<ProofQuery>,
) -> Result<HttpResponse, Problem> {
    let org = caller.key.org;
    let query = query.0;
    let proof = site.db.read(move |conn| {
        let head = store::head(conn, org)?;
        let (claim, size) = query.check(head.size).map_err(Error::Invalid)?;
        prove(&mut StoredNodes { conn, org }, claim, size)
    });
    Ok(HttpResponse::Ok().json(proof.await?))
}

fn prove(nodes: &mut StoredNodes<'_>, claim: Claim, size: u64) -> Result<AuditProof, Error> {
    let text = |hash: Hash| STANDARD.encode(hash);
    let root = text(tree::root(size, nodes)?);
    let all = |hashes: Vec<Hash>| hashes.into_iter().map(text).collect();
    Ok(match claim {
        Claim::Includes(index) => AuditProof {
            index: Some(index),
            from: None,
            size,
            leaf: Some(text(nodes.get(0, index)?)),
            from_root: None,
            root,
            hashes: all(tree::inclusion(index, size, nodes)?),
        },
        Claim::Extends(from) => AuditProof {
            index: None,
            from: Some(from),
            size,
            leaf: None,
            from_root: Some(text(tree::root(from, nodes)?)),
            root,
            hashes: all(tree::consistency(from, size, nodes)?),
        },
    })
}

impl ProofQuery {
    fn check(&self, now: u64) -> Result<(Claim, u64), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut number = |field, text: &Option<String>, least: u64, most: u64| {
            let number = text.as_ref().map(|text| text.parse().ok());
            let fits = number.map(|number| number.filter(|number| (least..=most).contains(number)));
            if fits == Some(None) {
                errors.push(FieldError::new(field, format!("Use a number from {least} to {most}.")));
            }
            fits.flatten()
        };
        let size = number("size", &self.size, 1, now).unwrap_or(now);
        let index = number("index", &self.index, 0, size.saturating_sub(1));
        let from = number("from", &self.from, 1, size);
        let claim = match (index, from) {
            (Some(index), None) => Some(Claim::Includes(index)),
            (None, Some(from)) => Some(Claim::Extends(from)),
            _ if errors.is_empty() => {
                let message = "Send either index, for an entry, or from, for an older size.";
                errors.push(FieldError::new("index", message));
                None
            }
            _ => None,
        };
        match claim {
            Some(claim) if errors.is_empty() => Ok((claim, size)),
            _ => Err(errors),
        }
    }
}
