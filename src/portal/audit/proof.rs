//! How to verify the log oneself: the signed checkpoint of now, the keys that sign, the commands.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::audit::{signing, store};
use crate::error::Error;
use crate::path;
use crate::portal::audit::Proof;
use crate::portal::kit::words;
use crate::time::Time;
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/audit/proof.html")]
struct ProofPage {
    layout: Layout,
    org: Place,
    proof: Proof,
    /// The signed checkpoint; none for a broken log.
    note: Option<String>,
    /// The keys that sign, newest first, and since when.
    verifiers: Vec<(String, String)>,
    zone: String,
}

/// `GET /o/{org}/audit/proof`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let (org, zone) = (member.org.id, member.person.time_zone());
    let (host, signers) = (site.public_url.host().to_owned(), Signer::all(&site.mint.keyring)?);
    let found = site.db.write(move |tx| {
        let note = match signing::sign(tx, org, &host, &signers, now) {
            Ok(note) => Some(note),
            Err(Error::LogBroken { .. }) => None,
            Err(error) => return Err(error),
        };
        let (head, kept) = (store::head(tx.conn, org)?, store::last_checkpoint(tx.conn, org)?);
        Ok((note, head, kept, signing::authentic_verifiers(tx.conn, tx.logs, org)?))
    });
    let (note, head, kept, verifiers) = found.await?;
    let view = ProofPage {
        layout: Layout::of(&request, Room::Audit).with_flash(&request),
        org: Place::of(&member.org),
        proof: Proof::of(&head, kept.as_ref(), now, &zone),
        note,
        verifiers: verifiers.into_iter().map(|(key, since)| (key, words::date_time(since, &zone))).collect(),
        zone: member.person.zone_name(),
    };
    html(StatusCode::OK, &view)
}
