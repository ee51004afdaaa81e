//! Public identifiers: TypeIDs, a type prefix and a UUIDv7 in Crockford base32
//! (TypeID specification 0.3, RFC 9562 section 5.7). They are safe in logs, URLs and tickets.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Binary, Text};
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

use crate::time::Time;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED: usize = 26;

fn new_bytes(now: Time) -> [u8; 16] {
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    *Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)).as_bytes()
}

fn encode(bytes: [u8; 16]) -> String {
    let mut rest = u128::from_be_bytes(bytes);
    let mut text = [0_u8; ENCODED];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text.iter().map(|&byte| char::from(byte)).collect()
}

fn decode(text: &str) -> Option<[u8; 16]> {
    // 26 characters hold 130 bits, so the two highest bits must be zero.
    if text.len() != ENCODED || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value = 0_u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(value.to_be_bytes())
}

/// Parses a column of ids. A malformed value, which Keydesk did not write, is logged and skipped, so that
/// one bad row doesn't block the others.
pub fn readable<T: From<[u8; 16]>>(column: Vec<Vec<u8>>) -> Vec<T> {
    let id = |bytes: Vec<u8>| match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(bytes) => Some(T::from(bytes)),
        Err(_) => {
            tracing::error!(bytes = hex::encode(&bytes), "skipping a malformed identifier in the database");
            None
        }
    };
    column.into_iter().filter_map(id).collect()
}

macro_rules! type_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
        #[diesel(sql_type = Binary)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new identifier. Identifiers sort by creation time, to the second.
            pub fn new(now: Time) -> Self {
                Self(new_bytes(now))
            }

            /// Parses the public form; `None` for anything else, including other prefixes.
            pub fn parse(text: &str) -> Option<Self> {
                decode(text.strip_prefix(concat!($prefix, "_"))?).map(Self)
            }

            /// The creation time, to the second.
            pub fn created_at(&self) -> Time {
                let [a, b, c, d, e, f, ..] = self.0;
                let milliseconds = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                Time::from_seconds(milliseconds.cast_signed() / 1_000)
            }

            /// The identifier stored as these bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes as stored.
            pub fn bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(concat!("expected ", $prefix, "_…")))
            }
        }

        impl<DB: Backend> ToSql<Binary, DB> for $name
        where
            [u8]: ToSql<Binary, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.0.as_slice().to_sql(out)
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl<DB: Backend> FromSql<Binary, DB> for $name
        where
            Vec<u8>: FromSql<Binary, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                let bytes = Vec::<u8>::from_sql(bytes)?;
                Ok(Self(bytes.as_slice().try_into()?))
            }
        }
    };
}

type_id!(
    /// A request for a higher limit.
    LimitRequestId, "lim"
);
type_id!(
    /// An organisation.
    OrgId, "org"
);
type_id!(
    /// A person.
    UserId, "user"
);
type_id!(
    /// An API key; rotations keep it.
    KeyId, "key"
);
type_id!(
    /// One secret of an API key.
    SecretId, "sec"
);
type_id!(
    /// An entry of the audit log.
    EventId, "evt"
);
type_id!(
    /// A sign-in method, such as a password.
    MethodId, "sim"
);
type_id!(
    /// A session, as shown on the account page.
    SessionId, "ses"
);
type_id!(
    /// A link sent by e-mail.
    LinkId, "lnk"
);
type_id!(
    /// An invitation to an organisation.
    InvitationId, "inv"
);
type_id!(
    /// One HTTP request, sent back in `X-Request-Id`.
    RequestId, "req"
);
type_id!(
    /// One answered inference request.
    InferenceId, "inf"
);
type_id!(
    /// An e-mail.
    MailId, "mail"
);

/// The name of an organisation in URLs and commands: a–z, 0–9 and `-`. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[serde(transparent)]
#[diesel(sql_type = Text)]
pub struct OrgSlug(String);

impl From<String> for OrgSlug {
    fn from(slug: String) -> Self {
        Self(slug)
    }
}

impl OrgSlug {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for OrgSlug {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for OrgSlug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<DB: Backend> ToSql<Text, DB> for OrgSlug
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for OrgSlug
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        String::from_sql(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Vectors of the TypeID specification, valid.json.
    #[test]
    fn published_vectors_are_verified() {
        let cases = [
            ("00000000000000000000000000", [0_u8; 16]),
            ("7zzzzzzzzzzzzzzzzzzzzzzzzz", [255_u8; 16]),
            ("0123456789abcdefghjkmnpqrs", 0x0110_c853_1d09_52d8_d73e_1194_e95b_5f19_u128.to_be_bytes()),
        ];
        for (text, bytes) in cases {
            assert_eq!(decode(text), Some(bytes));
            assert_eq!(encode(bytes), text);
        }
    }

    #[test]
    fn other_prefixes_and_shapes_are_refused() {
        let id = KeyId::new(Time::from_seconds(1_800_000_000));
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(OrgId::parse(&id.to_string()), None);
        for wrong in ["", "key_", "key_8zzzzzzzzzzzzzzzzzzzzzzzzz", "key_0000000000000000000000000l", "key_é"]
        {
            assert_eq!(KeyId::parse(wrong), None, "{wrong}");
        }
    }
}
