//! Why an existing key is refused.

use crate::scope::Scope;

/// Why an existing key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Revoked,
    Expired,
    /// A rotation replaced the secret, and the overlap is over.
    Superseded,
    Disabled,
    /// The client's address is not in the key's allow-list.
    IpNotAllowed,
    /// The key or its owner's role lacks the scope.
    MissingScope(Scope),
}
