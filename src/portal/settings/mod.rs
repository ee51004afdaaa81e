//! The pages about an organisation: its settings, what its keys may be, what members ask for.

pub mod changes;
pub mod checkpoints;
pub mod organization;
pub mod policy;
pub mod requests;
pub mod rules;

use crate::keys::limit_request::rows;
use crate::role::Act;
use crate::time::Time;
use crate::web::Shared;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// The tabs above the settings.
pub struct Tabs {
    /// The one that is shown.
    here: &'static str,
    /// How many requests wait, for whoever may answer them.
    requests: Option<i64>,
    /// Whether the reader may see what concerns the audit log.
    audit: bool,
}

impl Tabs {
    /// For a member.
    async fn load(site: &Shared, member: &Member, here: &'static str) -> Result<Tabs, Problem> {
        let (org, now) = (member.org.id, Time::now());
        let requests = if member.role.may(Act::DecideRequests) {
            Some(site.db.read(move |conn| rows::count_open(conn, org, now)).await?)
        } else {
            None
        };
        Ok(Tabs { here, requests, audit: member.role.may(Act::ReadAudit) })
    }
}
