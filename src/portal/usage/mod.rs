//! The pages about what keys are used for, of an organisation and of one key.

pub mod asked;
pub mod export;
pub mod key;
pub mod overview;
pub mod table;
pub mod tiles;

use crate::id::OrgId;
use crate::role::{Act, Reach};
use crate::usage::question::Question;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// Narrows a question to the keys that the member may see.
fn within_reach(member: &Member, question: &mut Question) -> Result<(), Problem> {
    Ok(question.filter.narrow(member.role.reach(Act::ReadUsage), member.person.id)?)
}

/// What a question is put to.
#[derive(Clone, Copy)]
struct Within {
    org: OrgId,
    /// Whether only the member's own keys are seen.
    own: bool,
}

impl Within {
    fn of(member: &Member) -> Within {
        Within { org: member.org.id, own: member.role.reach(Act::ReadUsage) == Reach::Own }
    }
}
