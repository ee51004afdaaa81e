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

/// Something a member does in the portal, or an API key in the name of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Look at keys.
    ReadKeys,
    /// Create, change, rotate and end keys.
    WriteKeys,
    /// Look at usage.
    ReadUsage,
    /// Look at what the review finds.
    ReadReview,
    /// Settle findings of the review.
    WriteReview,
    /// Look at the audit trail.
    ReadAudit,
    /// See who belongs to the organisation.
    ReadMembers,
    /// Invite, change and remove members; service accounts too.
    WriteMembers,
    /// See the organisation's settings and policy.
    ReadSettings,
    /// Change them.
    WriteSettings,
    /// Approve or refuse what members ask for.
    DecideRequests,
    /// See which mails are queued, sent and failed.
    ReadMail,
    /// Send mails again, and test mails.
    WriteMail,
    /// Give up one's own membership.
    Leave,
}

/// How far a role's right to an act goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    No,
    /// What is the member's own.
    Own,
    /// Everything in the organisation.
    All,
}

/// Who may do what: for each act its words and how far owner, admin, member and auditor reach.
/// The one table that permissions, pages and tests read.
pub const TABLE: &[(Act, &str, [Reach; 4])] = &[
    (Act::ReadKeys, "See keys", [All, All, Own, All]),
    (Act::WriteKeys, "Create, change, rotate and revoke keys", [All, All, Own, No]),
    (Act::ReadUsage, "See usage", [All, All, Own, All]),
    (Act::ReadReview, "See the review", [All, All, No, All]),
    (Act::WriteReview, "Settle findings of the review", [All, All, No, No]),
    (Act::ReadAudit, "See the audit trail", [All, All, No, All]),
    (Act::ReadMembers, "See members", [All, All, All, All]),
    (Act::WriteMembers, "Invite, change and remove members", [All, All, No, No]),
    (Act::ReadSettings, "See settings and the key policy", [All, All, All, All]),
    (Act::WriteSettings, "Change settings and the key policy", [All, All, No, No]),
    (Act::DecideRequests, "Decide what members ask for", [All, All, No, No]),
    (Act::ReadMail, "See mails and whether they arrived", [All, All, No, All]),
    (Act::WriteMail, "Send mails again", [All, All, No, No]),
    (Act::Leave, "Leave the organisation", [Own, Own, Own, Own]),
];
use Reach::{All, No, Own};

impl Role {
    /// All roles, most rights first, in the order of the columns of [`TABLE`].
    pub const ALL: [Role; 4] = [Role::Owner, Role::Admin, Role::Member, Role::Auditor];

    /// The roles that a service account can have: those that do something without signing in,
    /// but for the highest.
    pub const OF_SERVICE_ACCOUNTS: [Role; 2] = [Role::Admin, Role::Member];

    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Member => "member",
            Role::Auditor => "auditor",
        }
    }

    /// The name with its article: "an owner".
    pub fn with_article(self) -> String {
        format!("{} {}", if self == Role::Member { "a" } else { "an" }, self.name())
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// How far the role's right to the act goes.
    pub fn reach(self, act: Act) -> Reach {
        let line = TABLE.iter().find(|(listed, _, _)| *listed == act);
        line.map_or(No, |(_, _, reaches)| reaches[self as usize])
    }

    /// Whether the role allows the act at all.
    pub fn may(self, act: Act) -> bool {
        self.reach(act) != No
    }

    /// Whether a holder of this role may appoint, change and remove holders of the other: those
    /// below, and owners everyone.
    pub fn manages(self, other: Role) -> bool {
        self.may(Act::WriteMembers) && (self == Role::Owner || (self as usize) < (other as usize))
    }

    /// The roles that a holder of this one may give.
    pub fn appoints(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.manages(*role))
    }

    /// Whether the role manages the keys of others.
    pub fn manages_all_keys(self) -> bool {
        self.reach(Act::WriteKeys) == All
    }

    /// Whether the role sees the keys of others.
    pub fn sees_all_keys(self) -> bool {
        self.reach(Act::ReadKeys) == All
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_line_for_each_act_and_an_auditor_changes_nothing() {
        for (index, (act, words, _)) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(index + 1).all(|(other, _, _)| other != act), "{words}");
            let harmless = format!("{act:?}").starts_with("Read") || *act == Act::Leave;
            assert!(harmless || !Role::Auditor.may(*act), "{words}");
            assert!(Role::Owner.reach(*act) == Role::Admin.reach(*act), "{words}");
        }
    }

    #[test]
    fn nobody_manages_an_equal_or_higher_role_but_owners_owners() {
        let managed = |role: Role| role.appoints().map(Role::name).collect::<Vec<_>>();
        assert_eq!(managed(Role::Owner), ["owner", "admin", "member", "auditor"]);
        assert_eq!(managed(Role::Admin), ["member", "auditor"]);
        assert!(managed(Role::Member).is_empty() && managed(Role::Auditor).is_empty());
    }
}
