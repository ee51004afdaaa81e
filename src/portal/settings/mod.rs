//! The settings of an organisation: name, key policy, models, limit requests, checkpoints.

pub mod changes;
pub mod checkpoints;
pub mod models;
pub mod organization;
pub mod policy;
pub mod requests;
pub mod rules;

use crate::db::Conn;
use crate::error::Result;
use crate::id::OrgId;
use crate::keys::limit_request::rows;
use crate::portal::kit::visit::Visit;
use crate::role::{Act, Role};
use crate::time::Time;

/// The tabs above the settings.
pub struct Tabs {
    /// The current tab.
    here: &'static str,
    /// The number of open limit requests, if the visitor may decide them.
    requests: Option<i64>,
    /// Whether the visitor may see the audit log.
    audit: bool,
}

impl Tabs {
    /// Counts open limit requests, for members who may decide them.
    fn count_requests(conn: &mut Conn, org: OrgId, role: Role, now: Time) -> Result<Option<i64>> {
        if role.may(Act::DecideRequests) { rows::count_open(conn, org, now).map(Some) } else { Ok(None) }
    }

    fn new(visit: &Visit, here: &'static str, requests: Option<i64>) -> Tabs {
        Tabs { here, requests, audit: visit.role.may(Act::ReadAudit) }
    }
}
