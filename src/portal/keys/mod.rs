//! The pages about API keys.

pub mod calendar;
pub mod clients;
pub mod create;
pub mod disable;
pub mod edit;
pub mod fields;
pub mod limits;
pub mod list;
pub mod notices;
pub mod owner;
pub mod params;
pub mod refusals;
pub mod reveal;
pub mod revoke;
pub mod rotation;
pub mod show;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::keys::manager::{KeyAction, KeyManager, StandInBounds};
use crate::keys::{Key, store};
use crate::orgs::store::Org;
use crate::portal::kit::visit::AccountVisit;
use crate::time::Time;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// The key in the path of a page, as the visiting member may read it.
#[derive(Clone, Copy)]
pub struct RequestedKey {
    org: OrgId,
    pub(super) id: KeyId,
    manager: KeyManager,
}

impl FromRequest for RequestedKey {
    type Error = Problem;
    type Future = Ready<std::result::Result<RequestedKey, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let id = request.match_info().get("id").unwrap_or_default();
        let member = extensions.get::<Member>().ok_or_else(Problem::not_found);
        ready(member.and_then(|member| RequestedKey::of(member, id)))
    }
}

impl RequestedKey {
    pub(super) fn of(member: &Member, id: &str) -> std::result::Result<RequestedKey, Problem> {
        let id = KeyId::parse(id).ok_or_else(Problem::not_found)?;
        Ok(RequestedKey { org: member.org.id, id, manager: member.manager() })
    }

    /// Errors: `NotFound` also for a key that the member may not see.
    pub(super) fn find(self, conn: &mut Conn) -> Result<Key> {
        let key = store::find(conn, self.org, self.id)?;
        key.filter(|key| self.manager.sees(key)).ok_or(Error::NotFound)
    }

    /// The same for a page that makes a change.
    fn find_for(self, conn: &mut Conn, action: KeyAction) -> Result<Key> {
        let key = self.find(conn)?;
        if !self.manager.edits(&key) {
            self.manager.check_within(&StandInBounds::read(conn, &key)?, action, &key)?;
        }
        Ok(key)
    }

    /// The same for a page that an expired or revoked key does not have.
    fn find_active_for(self, conn: &mut Conn, action: KeyAction, now: Time) -> Result<Key> {
        let key = self.find_for(conn, action)?;
        if key.status(now).is_ended() { Err(Error::KeyEnded) } else { Ok(key) }
    }

    fn rights(self, conn: &mut Conn, key: &Key) -> Result<Rights> {
        let (manager, bounds) = (self.manager, StandInBounds::read(conn, key)?);
        let edit = manager.edits(key);
        let by_admin = key.disabled.as_ref().is_some_and(|disabled| disabled.by_admin);
        Ok(Rights {
            edit,
            rotate: manager.may(KeyAction::Rotate, key, &bounds),
            revoke: manager.may(KeyAction::Revoke, key, &bounds),
            enable: edit && (!by_admin || manager.role.manages_all_keys()),
        })
    }
}

/// What a member may do to a key.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    pub(super) edit: bool,
    pub(super) rotate: bool,
    pub(super) revoke: bool,
    pub(super) enable: bool,
}

/// A key in any of the visitor's organisations, if they may see it there.
pub async fn find_anywhere<'a>(
    visit: &'a AccountVisit,
    id: &str,
) -> std::result::Result<(&'a Org, Key), Problem> {
    let id = KeyId::parse(id).ok_or_else(Problem::not_found)?;
    let orgs: Vec<OrgId> = visit.orgs.iter().map(|(org, _)| org.id).collect();
    let found = visit.read(move |conn| {
        let org = store::org_of(conn, &orgs, id)?.ok_or(Error::NotFound)?;
        store::find(conn, org, id)?.ok_or(Error::NotFound)
    });
    let key = found.await?;
    let membership = visit.orgs.iter().find(|(org, _)| org.id == key.org);
    let (org, role) = membership.ok_or_else(Problem::not_found)?;
    let manager = KeyManager { person: visit.person.id, role: *role };
    if manager.sees(&key) { Ok((org, key)) } else { Err(Problem::not_found()) }
}
