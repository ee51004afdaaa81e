//! Roles: what a member may do and which scopes they may put on a key.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

use crate::scope::{Scope, Scopes};

/// The part a member plays in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub enum Role {
    /// Everything, including other owners.
    Owner,
    /// Everything about keys and members below them.
    Admin,
    /// Their own keys.
    Member,
    /// Reads everything, changes nothing.
    Auditor,
}

/// Something a member does in the portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Look at keys.
    ReadKeys,
    /// Create, change and end keys: their own, or all where the role manages all.
    WriteKeys,
}

impl Role {
    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Auditor => "auditor",
        }
    }

    fn parse(name: &str) -> Option<Role> {
        [Role::Owner, Role::Admin, Role::Member, Role::Auditor].into_iter().find(|role| role.name() == name)
    }

    /// Whether the role allows the act.
    pub fn may(self, act: Act) -> bool {
        match act {
            Act::ReadKeys => true,
            Act::WriteKeys => self != Role::Auditor,
        }
    }

    /// Whether the role sees and manages the keys of others.
    pub fn manages_all_keys(self) -> bool {
        matches!(self, Role::Owner | Role::Admin)
    }

    /// Whether the role sees the keys of others.
    pub fn sees_all_keys(self) -> bool {
        self != Role::Member
    }

    /// The scopes that this role may put on a key, and the most that its keys can do.
    pub fn grantable(self) -> Scopes {
        match self {
            Role::Owner | Role::Admin => Scopes::all(),
            Role::Member => {
                [Scope::InferenceRead, Scope::InferenceWrite, Scope::AnalyticsRead].into_iter().collect()
            }
            Role::Auditor => Scopes::NONE,
        }
    }
}

impl<DB: Backend> ToSql<Text, DB> for Role
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.name().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for Role
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let name = String::from_sql(bytes)?;
        Role::parse(&name).ok_or_else(|| format!("unknown role {name}").into())
    }
}
