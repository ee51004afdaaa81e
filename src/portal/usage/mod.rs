//! The usage of an organisation and of one key.

pub mod export;
pub mod key;
pub mod overview;
pub mod params;
pub mod table;
pub mod tiles;

use crate::id::OrgId;
use crate::role::{Act, Reach};
use crate::usage::question::Question;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// Limits a query to the keys that the member may see.
fn within_reach(member: &Member, question: &mut Question) -> Result<(), Problem> {
    Ok(question.filter.narrow(member.role.reach(Act::ReadUsage), member.person.id)?)
}

/// The keys whose usage a page shows.
#[derive(Clone, Copy)]
struct Coverage {
    org: OrgId,
    /// Whether these are only the member's own keys.
    own: bool,
}

impl Coverage {
    fn of(member: &Member) -> Coverage {
        Coverage { org: member.org.id, own: member.role.reach(Act::ReadUsage) == Reach::Own }
    }
}
