//! Roles: what a member may do and which scopes their keys may have.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

use crate::scope::{Scope, Scopes};

/// A member's role in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub enum Role {
    /// May do everything, including managing owners.
    Owner,
    /// May manage all keys, and members and auditors.
    Admin,
    /// May manage their own keys.
    Member,
    /// May read everything and change nothing.
    Auditor,
}

/// Something that a member does in the portal, or an API key on behalf of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    ReadKeys,
    /// Create, change, rotate and revoke keys.
    WriteKeys,
    ReadUsage,
    ReadReview,
    /// Snooze findings of the review.
    WriteReview,
    ReadAudit,
    ReadMembers,
    /// Invite, change and remove members and service accounts.
    WriteMembers,
    /// See the organisation's settings and policy.
    ReadSettings,
    WriteSettings,
    /// Approve or decline limit requests.
    DecideRequests,
    /// See the e-mail log.
    ReadMail,
    /// Send e-mails again, and test e-mails.
    WriteMail,
    /// Give up one's own membership.
    Leave,
}

/// How far a role's right to an act extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    No,
    /// To the member's own things.
    Own,
    /// To everything in the organisation.
    All,
}

/// The rights of every role: for each act, its label and how far owner, admin, member and auditor reach.
/// Permissions, pages and tests all read this table.
pub const TABLE: &[(Act, &str, [Reach; 4])] = &[
    (Act::ReadKeys, "See keys", [All, All, Own, All]),
    (Act::WriteKeys, "Create, change, rotate and revoke keys", [All, All, Own, No]),
    (Act::ReadUsage, "See usage", [All, All, Own, All]),
    (Act::ReadReview, "See the review", [All, All, No, All]),
    (Act::WriteReview, "Snooze findings of the review", [All, All, No, No]),
    (Act::ReadAudit, "See the audit log", [All, All, No, All]),
    (Act::ReadMembers, "See members", [All, All, All, All]),
    (Act::WriteMembers, "Invite, change and remove members", [All, All, No, No]),
    (Act::ReadSettings, "See settings and the key policy", [All, All, All, All]),
    (Act::WriteSettings, "Change settings and the key policy", [All, All, No, No]),
    (Act::DecideRequests, "Approve and decline limit requests", [All, All, No, No]),
    (Act::ReadMail, "See the e-mail log", [All, All, No, All]),
    (Act::WriteMail, "Send e-mails again", [All, All, No, No]),
    (Act::Leave, "Leave the organisation", [Own, Own, Own, Own]),
];
use Reach::{All, No, Own};

impl Role {
    /// All roles, most powerful first, in the order of the columns of [`TABLE`].
    pub const ALL: [Role; 4] = [Role::Owner, Role::Admin, Role::Member, Role::Auditor];

    /// The roles that a service account can have: not the highest, and not those that only sign in to read.
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

    /// The name on pages.
    pub fn title(self) -> &'static str {
        match self {
            Role::Owner => "Owner",
            Role::Admin => "Admin",
            Role::Member => "Member",
            Role::Auditor => "Auditor",
        }
    }

    /// The name with its article: "an owner".
    pub fn with_article(self) -> String {
        format!("{} {}", if self == Role::Member { "a" } else { "an" }, self.name())
    }

    /// The role of that name, if there is one.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// How far this role's right to the act extends.
    pub fn reach(self, act: Act) -> Reach {
        let line = TABLE.iter().find(|(listed, _, _)| *listed == act);
        line.map_or(No, |(_, _, reaches)| reaches[self as usize])
    }

    /// Whether the role allows the act at all.
    pub fn may(self, act: Act) -> bool {
        self.reach(act) != No
    }

    /// Whether a member with this role may appoint, change and remove members with `other`: those
    /// below their own, and for owners all.
    pub fn manages(self, other: Role) -> bool {
        self.may(Act::WriteMembers) && (self == Role::Owner || (self as usize) < (other as usize))
    }

    /// The roles that a member with this role may assign.
    pub fn appoints(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.manages(*role))
    }

    /// Whether the role may manage other people's keys.
    pub fn manages_all_keys(self) -> bool {
        self.reach(Act::WriteKeys) == All
    }

    /// Whether the role may see other people's keys.
    pub fn sees_all_keys(self) -> bool {
        self.reach(Act::ReadKeys) == All
    }

    /// The scopes that this role may put on a key, and the most that its keys can use.
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
    fn table_has_one_line_per_act_and_auditors_change_nothing() {
        for (index, (act, words, _)) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(index + 1).all(|(other, _, _)| other != act), "{words}");
            let harmless = format!("{act:?}").starts_with("Read") || *act == Act::Leave;
            assert!(harmless || !Role::Auditor.may(*act), "{words}");
            assert!(Role::Owner.reach(*act) == Role::Admin.reach(*act), "{words}");
        }
    }

    #[test]
    fn only_owners_manage_members_with_their_own_role() {
        let managed = |role: Role| role.appoints().map(Role::name).collect::<Vec<_>>();
        assert_eq!(managed(Role::Owner), ["owner", "admin", "member", "auditor"]);
        assert_eq!(managed(Role::Admin), ["member", "auditor"]);
        assert!(managed(Role::Member).is_empty() && managed(Role::Auditor).is_empty());
    }
}
