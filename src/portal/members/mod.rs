//! The pages about who belongs to an organisation.

pub mod disable;
pub mod list;
pub mod remove;
pub mod roles;
pub mod service;
pub mod show;

use crate::error::Error;
use crate::id::UserId;
use crate::orgs::store::{self, Membership};
use crate::web::Shared;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// The member of a page's path.
async fn find(site: &Shared, reader: &Member, id: &str) -> Result<Membership, Problem> {
    let id = UserId::parse(id).ok_or_else(Problem::not_found)?;
    let org = reader.org.id;
    let find = move |conn: &mut _| store::find_member(conn, org, &id.to_string())?.ok_or(Error::NotFound);
    Ok(site.db.read(find).await?)
}

/// The same for a page on which the reader changes them.
async fn find_managed(site: &Shared, reader: &Member, id: &str) -> Result<Membership, Problem> {
    let found = find(site, reader, id).await?;
    if reader.role.manages(found.role) { Ok(found) } else { Err(Error::Forbidden.into()) }
}

/// A way to sign in, in words.
fn method(kind: &str) -> &'static str {
    match kind {
        "password" => "Password",
        "github" => "GitHub",
        _ => "Single sign-on",
    }
}
