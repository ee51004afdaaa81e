//! How to verify the log: the current checkpoint, the signing keys, the commands.

use actix_web::HttpResponse;
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::audit::{signing, store};
use crate::error::Error;
use crate::path;
use crate::portal::audit::Proof;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::time::Time;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/audit/proof.html")]
struct ProofPage {
    layout: Layout,
    org: OrgLink,
    proof: Proof,
    /// The signed checkpoint; `None` for a broken log.
    note: Option<String>,
    /// The signing keys, newest first, and the start of their use.
    verifiers: Vec<(String, String)>,
    zone: String,
}

/// `GET /o/{org}/audit/proof`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let (org, zone) = (visit.org.id, visit.zone.clone());
    let (host, signers) =
        (visit.site.public_url.host().to_owned(), Signer::all(&visit.site.defaults.keyring)?);
    let logs = visit.site.db.logs().clone();
    let found = visit.read(move |conn| {
        let note = match signing::current(conn, &logs, org, &host, &signers) {
            Ok(note) => Some(note),
            Err(Error::LogBroken { .. }) => None,
            Err(error) => return Err(error),
        };
        let (head, kept) = (store::head(conn, org)?, store::last_checkpoint(conn, org)?);
        let verifiers = signing::verifiers(conn, &logs, org, &host, &signers, now)?;
        Ok((note, head, kept, verifiers))
    });
    let (note, head, kept, verifiers) = found.await?;
    let view = ProofPage {
        layout: visit.layout(NavSection::Audit),
        org: visit.org_link(),
        proof: Proof::of(&head, kept.as_ref(), now, &zone),
        note,
        verifiers: verifiers.into_iter().map(|(key, since)| (key, format::date_time(since, &zone))).collect(),
        zone: visit.zone_name(),
    };
    visit.page(&view)
}
