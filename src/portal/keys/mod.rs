//! The pages about API keys.

pub mod asked;
pub mod calendar;
pub mod create;
pub mod disable;
pub mod edit;
pub mod fields;
pub mod limits;
pub mod list;
pub mod notices;
pub mod owner;
pub mod refusals;
pub mod reveal;
pub mod revoke;
pub mod rotation;
pub mod show;

use crate::error::Error;
use crate::id::{KeyId, OrgId};
use crate::keys::manager::{Deed, Manager, StandInBounds};
use crate::keys::{Key, store};
use crate::orgs::store::Org;
use crate::web::Shared;
use crate::web::principal::{Member, SignedIn};
use crate::web::problem::Problem;

/// The key of a page's path, as far as the member may see it.
pub(super) async fn find(site: &Shared, member: &Member, id: &str) -> Result<Key, Problem> {
    let id = KeyId::parse(id).ok_or_else(Problem::not_found)?;
    let org = member.org.id;
    let key = site.db.read(move |conn| store::find(conn, org, id)?.ok_or(Error::NotFound)).await?;
    if member.manager().sees(&key) { Ok(key) } else { Err(Problem::not_found()) }
}

/// The same for a page that changes the key.
async fn find_for(deed: Deed, site: &Shared, member: &Member, id: &str) -> Result<Key, Problem> {
    let key = find(site, member, id).await?;
    if !member.manager().edits(&key) {
        member.manager().check_within(&bounds(site, &key).await?, deed, &key)?;
    }
    Ok(key)
}

/// What bounds those who stand in for the key's owner.
async fn bounds(site: &Shared, key: &Key) -> Result<StandInBounds, Problem> {
    let key = key.clone();
    Ok(site.db.read(move |conn| StandInBounds::read(conn, &key)).await?)
}

/// What a member may do to a key.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    pub(super) edit: bool,
    pub(super) rotate: bool,
    pub(super) revoke: bool,
    /// Whether they may enable it if it is disabled.
    pub(super) enable: bool,
}

impl Rights {
    async fn of(site: &Shared, member: &Member, key: &Key) -> Result<Rights, Problem> {
        let (manager, bounds) = (member.manager(), bounds(site, key).await?);
        let edit = manager.edits(key);
        let by_admin = key.disabled.as_ref().is_some_and(|disabled| disabled.by_admin);
        Ok(Rights {
            edit,
            rotate: manager.may(Deed::Rotate, key, &bounds),
            revoke: manager.may(Deed::Revoke, key, &bounds),
            enable: edit && (!by_admin || member.role.manages_all_keys()),
        })
    }
}

/// The key of that id in whichever organisation, as far as the person may see it there.
pub async fn find_anywhere<'a>(
    site: &Shared,
    person: &'a SignedIn,
    id: &str,
) -> Result<(&'a Org, Key), Problem> {
    let id = KeyId::parse(id).ok_or_else(Problem::not_found)?;
    let orgs: Vec<OrgId> = person.orgs.iter().map(|(org, _)| org.id).collect();
    let found = site.db.read(move |conn| {
        let org = store::org_of(conn, &orgs, id)?.ok_or(Error::NotFound)?;
        store::find(conn, org, id)?.ok_or(Error::NotFound)
    });
    let key = found.await?;
    let place = person.orgs.iter().find(|(org, _)| org.id == key.org);
    let (org, role) = place.ok_or_else(Problem::not_found)?;
    let manager = Manager { person: person.person.id, role: *role };
    if manager.sees(&key) { Ok((org, key)) } else { Err(Problem::not_found()) }
}
