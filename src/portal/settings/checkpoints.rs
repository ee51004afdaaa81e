//! The external e-mail address that receives an organisation's checkpoints.

use actix_web::HttpResponse;
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::error::{Error, FieldError};
use crate::orgs::checkpoint_mail::{self, CheckpointMail, SigningContext};
use crate::path;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::portal::settings::Tabs;
use crate::role::Act;
use crate::time::Time;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/settings/checkpoints.html")]
struct CheckpointsPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    /// The confirmed address, and the date of its confirmation.
    address: Option<(String, When)>,
    /// The address that has not confirmed yet, and its deadline.
    asked: Option<(String, String)>,
    /// The time of the last e-mail, and the number of entries in its checkpoint.
    sent: Option<(When, String)>,
    /// The value of the field.
    email: String,
    form_errors: FormErrors,
    zone: String,
}

/// `GET /o/{org}/settings/checkpoints`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    page(&visit, String::new(), Vec::new()).await
}

/// `POST /o/{org}/settings/checkpoints`: sends a confirmation to an address.
pub async fn ask(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let typed = fields.get("email").trim().to_owned();
    let email = typed.clone();
    match visit.change(move |tx, acting| checkpoint_mail::request(tx, acting, &email)).await {
        Ok(()) => {
            let message = format!(
                "A confirmation is on its way to {typed}. Checkpoints are sent there once it is confirmed."
            );
            Ok(visit.redirect_with(path::settings_checkpoints(&visit.org.slug), message))
        }
        Err(Error::Invalid(errors)) => page(&visit, typed, errors).await,
        Err(Error::Conflict(words)) => page(&visit, typed, vec![FieldError::new("email", words)]).await,
        Err(other) => Err(other.into()),
    }
}

/// `POST /o/{org}/settings/checkpoints/end`.
pub async fn end(visit: Visit) -> Result<HttpResponse, Problem> {
    let (host, signers) =
        (visit.site.public_url.host().to_owned(), Signer::all(&visit.site.defaults.keyring)?);
    let end = visit.change(move |tx, acting| {
        checkpoint_mail::end(tx, acting, SigningContext { host: &host, signers: &signers })
    });
    if end.await? {
        visit.flash("Checkpoints are no longer sent by e-mail.");
    }
    Ok(visit.redirect(path::settings_checkpoints(&visit.org.slug)))
}

async fn page(visit: &Visit, email: String, wrong: Vec<FieldError>) -> Result<HttpResponse, Problem> {
    let (org, role, now, zone) = (visit.org.id, visit.role, visit.now, visit.zone.clone());
    let found = visit.read(move |conn| {
        let outside: CheckpointMail = checkpoint_mail::find(conn, org)?;
        Ok((outside, Tabs::count_requests(conn, org, role, now)?))
    });
    let (outside, requests) = found.await?;
    let past = |at: Time| When::past(at, now, &zone);
    let open = outside.asked_until.filter(|until| *until > now);
    let view = CheckpointsPage {
        layout: visit.layout(NavSection::Settings),
        org: visit.org_link(),
        tabs: Tabs::new(visit, "checkpoints", requests),
        sent: outside
            .sent_at
            .filter(|_| outside.address.is_some())
            .map(|at| (past(at), format::number(outside.sent_size))),
        address: outside.address.zip(outside.since.map(past)),
        asked: outside.asked_address.zip(open.map(|until| format::date(until, &zone))),
        email,
        form_errors: FormErrors(wrong),
        zone: visit.zone_name(),
    };
    visit.form(&view.form_errors, &view)
}
