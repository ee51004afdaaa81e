//! The pages about API keys.

pub mod asked;
pub mod bounds;
pub mod cockpit;
pub mod create;
pub mod disable;
pub mod edit;
pub mod fields;
pub mod limit;
pub mod limit_decision;
pub mod list;
pub mod notices;
pub mod overlap;
pub mod owner;
pub mod refusals;
pub mod reveal;
pub mod revoke;
pub mod rotate;
pub mod show;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::{Key, store};
use crate::web::Shared;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// The key of a page's path, as far as the member may see it.
pub(super) async fn find(site: &Shared, member: &Member, id: &str) -> Result<Key, Problem> {
    let id = KeyId::parse(id).ok_or_else(Problem::not_found)?;
    let org = member.org.id;
    let key = site.db.read(move |conn| store::find(conn, org, id)?.ok_or(Error::NotFound)).await?;
    if member.manager().sees(&key) { Ok(key) } else { Err(Problem::not_found()) }
}

/// The same for a page that changes the key.
async fn find_managed(site: &Shared, member: &Member, id: &str) -> Result<Key, Problem> {
    let key = find(site, member, id).await?;
    if member.manager().manages(&key) { Ok(key) } else { Err(Error::Forbidden.into()) }
}
