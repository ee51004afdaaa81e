//! The e-mail log: queued, sent and failed e-mails, with the mail server's reply.

use actix_web::{HttpResponse, web};
use askama::Template;
use jiff::tz::TimeZone;

use crate::audit::event::Event;
use crate::audit::log;
use crate::id::{KeyId, MailId};
use crate::mail::Test;
use crate::mail::delivery_log::{self, LoggedMail};
use crate::mail::outbox::{self, NewMail, State};
use crate::mail::sender::Sender;
use crate::path;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::role::Act;
use crate::time::Time;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The number of e-mails shown.
const SHOWN: i64 = 200;

#[derive(Template)]
#[template(path = "portal/mail_log.html")]
struct MailPage {
    layout: Layout,
    org: OrgLink,
    state: State,
    counts: Vec<(State, i64)>,
    rows: Vec<Row>,
    has_server: bool,
    directory: String,
    from: String,
    writable: bool,
    zone: String,
}

struct Row {
    id: MailId,
    event: String,
    about: &'static str,
    key: Option<KeyId>,
    name: String,
    address: String,
    queued: When,
    sent: Option<When>,
    next: When,
    attempts: String,
    words: Option<String>,
    is_combined: bool,
    is_invitation: bool,
}

impl Row {
    fn new(entry: LoggedMail, now: Time, zone: &TimeZone) -> Row {
        Row {
            id: entry.id,
            about: about(&entry.event),
            is_invitation: entry.event == delivery_log::INVITATION,
            event: entry.event,
            key: entry.key,
            name: entry.name,
            address: entry.address,
            queued: When::past(entry.created_at, now, zone),
            sent: entry.sent_at.map(|at| When::past(at, now, zone)),
            next: When::ahead(entry.due_at.max(now), now, zone),
            attempts: format::count(entry.attempts, "attempt", "attempts"),
            words: entry.last_error,
            is_combined: entry.is_combined,
        }
    }
}

/// The subject of an e-mail, by its event.
fn about(event: &str) -> &'static str {
    match event {
        "key_created" => "New key",
        "key_expiring" => "Key expires soon",
        "key_expired" => "Key has expired",
        "key_expired_still_used" => "Expired key still used",
        "key_rotated" => "New secret",
        "key_revoked" => "Key revoked",
        "key_leaked" => "Key leaked",
        "digest" => "Several keys",
        "invitation" => "Invitation",
        "password_reset" => "New password",
        "email_verification" => "Address confirmation",
        "security_notice" => "Security notice",
        "limit_request" | "limit_decision" => "Higher limit",
        "audit_checkpoint" => "Checkpoint",
        "audit_confirmation" => "Checkpoint confirmation",
        "quota" => "Budget",
        "review_reminder" => "Review",
        "test" => "Test",
        _ => "Notice",
    }
}

impl MailPage {
    fn label(state: &State) -> &'static str {
        match state {
            State::Queued => "Queued",
            State::Sent => "Sent",
            State::Failed => "Failed",
        }
    }
}

/// `GET /o/{org}/mail`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (visit.org.id, visit.now, visit.zone.clone());
    let state = State::parse(visit.query().get("state"));
    let found = visit.read(move |conn| {
        let mut counts = Vec::new();
        for state in State::ALL {
            counts.push((state, delivery_log::count(conn, org, state)?));
        }
        // Failed e-mails need attention, so they are shown first.
        let failed = counts.iter().any(|(state, count)| *state == State::Failed && *count > 0);
        let state = state.unwrap_or(if failed { State::Failed } else { State::Sent });
        Ok((state, counts, delivery_log::list(conn, org, state, SHOWN)?))
    });
    let (state, counts, entries) = found.await?;
    let layout = visit.layout(NavSection::Settings);
    let view = MailPage {
        writable: layout.may(Act::WriteMail),
        layout,
        org: visit.org_link(),
        state,
        counts,
        rows: entries.into_iter().map(|entry| Row::new(entry, now, &zone)).collect(),
        has_server: visit.site.post.sender.has_server(),
        directory: match &visit.site.post.sender {
            Sender::Directory(directory) => directory.display().to_string(),
            Sender::Smtp { .. } => String::new(),
        },
        from: visit.site.post.from.to_string(),
        zone: visit.zone_name(),
    };
    visit.page(&view)
}

/// `POST /o/{org}/mail/test`: sends a test e-mail to the visitor.
pub async fn test(visit: Visit) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let to = visit.person.recipient(Some(visit.org.id));
    let letter = Test { asked_by: to.name.clone() };
    let draft = NewMail::new(to, letter, now);
    visit
        .change(move |tx, acting| {
            outbox::queue_all(tx, std::slice::from_ref(&draft), acting.now)?;
            log::append(tx, acting, &draft.id.to_string(), &Event::MailTested)
        })
        .await?;
    Ok(visit.redirect_with(
        path::mail(&visit.org.slug).query("state", "sent"),
        format!("A test e-mail to {} is queued.", visit.person.email),
    ))
}

/// `POST /o/{org}/mail/{id}/send`: sends an e-mail again.
pub async fn send_again(visit: Visit, path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let id = MailId::parse(&path.1).ok_or_else(Problem::not_found)?;
    visit
        .change(move |tx, acting| {
            delivery_log::send_again(tx, acting.org, id, acting.now)?;
            log::append(tx, acting, &id.to_string(), &Event::MailSentAgain)
        })
        .await?;
    Ok(visit
        .redirect_with(path::mail(&visit.org.slug).query("state", "queued"), "The e-mail is queued again."))
}
