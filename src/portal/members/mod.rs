//! The members of an organisation.

pub mod disable;
pub mod list;
pub mod remove;
pub mod roles;
pub mod service;
pub mod show;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::store::{self, Membership};
use crate::role::Role;
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// The member in the path of a page, as the visiting member may read them.
#[derive(Clone, Copy)]
pub struct RequestedMember {
    org: OrgId,
    id: UserId,
    reader: Role,
}

impl FromRequest for RequestedMember {
    type Error = Problem;
    type Future = Ready<std::result::Result<RequestedMember, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = UserId::parse(request.match_info().get("id").unwrap_or_default());
        let extensions = request.extensions();
        let requested = id.zip(extensions.get::<Member>()).map(|(id, reader)| RequestedMember {
            org: reader.org.id,
            id,
            reader: reader.role,
        });
        ready(requested.ok_or_else(Problem::not_found))
    }
}

impl RequestedMember {
    /// The visiting member.
    fn oneself(reader: &Member) -> RequestedMember {
        RequestedMember { org: reader.org.id, id: reader.person.id, reader: reader.role }
    }

    fn find(self, conn: &mut Conn) -> Result<Membership> {
        store::find_member(conn, self.org, &self.id.to_string())?.ok_or(Error::NotFound)
    }

    /// The same for a page that changes them. Errors: `Forbidden`.
    fn find_managed(self, conn: &mut Conn) -> Result<Membership> {
        let found = self.find(conn)?;
        if self.reader.manages(found.role) { Ok(found) } else { Err(Error::Forbidden) }
    }
}

/// The label of a sign-in method.
fn method(kind: &str) -> &'static str {
    match kind {
        "password" => "Password",
        "github" => "GitHub",
        _ => "Single sign-on",
    }
}
