//! What a route requires. The table in `app::routes` states it for each.

use crate::role::Act;
use crate::scope::Scope;
use crate::web::body::BodyLimit;

/// What a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing. Credentials are ignored.
    Public,
    /// Nothing, but the page knows who is signed in.
    Page,
    /// A signed-in person.
    SignedIn,
    /// A person who signed in within the last ten minutes.
    SignedInFresh,
    /// A member of the organisation in the path, with a role that allows the act.
    Member(Act),
    /// The same, and a sign-in within the last ten minutes.
    MemberFresh(Act),
    /// An API key with this scope.
    Key(Scope),
    /// Any API key.
    AnyKey,
    /// An API key with `admin`, or the key that the path names.
    AdminOrSelf,
    /// An API key with the scopes that the query names; for forward authentication.
    ScopesInQuery,
}

impl Permission {
    pub fn requires_fresh_sign_in(self) -> bool {
        matches!(self, Permission::MemberFresh(_) | Permission::SignedInFresh)
    }

    /// The largest body that the routes accept. `None` if they ignore the body.
    pub fn max_body(self) -> Option<BodyLimit> {
        match self {
            // A proxy may send the body of the request that it asks about.
            Permission::ScopesInQuery => None,
            Permission::Key(Scope::InferenceWrite) => Some(BodyLimit::Gateway),
            _ => Some(BodyLimit::Management),
        }
    }
}
