//! Why a key that exists may not do what was asked.

use crate::scope::Scope;

/// Why a key that exists may not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// The secret was replaced by a rotation whose overlap is over.
    Superseded,
    /// It is disabled.
    Disabled,
    /// It may be used from other addresses only.
    IpNotAllowed,
    /// It does not hold the scope, or its owner's role does not.
    MissingScope(Scope),
}
