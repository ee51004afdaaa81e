//! Scopes: what a key may do. A key has at least one; an empty set never means all.

use serde::Serialize;

/// One right that a key can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// See which models can be called.
    InferenceRead,
    /// Call models.
    InferenceWrite,
    /// Read usage.
    AnalyticsRead,
    /// Check other keys; for gateways.
    KeysVerify,
    /// Manage keys, members and audit; grants no inference or analytics route.
    Admin,
}

impl Scope {
    /// All scopes, least powerful first, in display order.
    pub const ALL: [Scope; 5] =
        [Scope::InferenceRead, Scope::InferenceWrite, Scope::AnalyticsRead, Scope::KeysVerify, Scope::Admin];

    /// The name in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Scope::InferenceRead => "inference:read",
            Scope::InferenceWrite => "inference:write",
            Scope::AnalyticsRead => "analytics:read",
            Scope::KeysVerify => "keys:verify",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name, if there is one.
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What the scope lets a key do, in one line.
    pub fn effect(self) -> &'static str {
        match self {
            Scope::InferenceRead => "List models and see what can be called",
            Scope::InferenceWrite => "Run models: chat, completions, embeddings",
            Scope::AnalyticsRead => "Read usage of the whole organisation",
            Scope::KeysVerify => "Check other keys; for gateways",
            Scope::Admin => "Create, change and revoke keys",
        }
    }

    /// The verb phrase for a summary sentence: "may list models and run models".
    pub fn phrase(self) -> &'static str {
        match self {
            Scope::InferenceRead => "list models",
            Scope::InferenceWrite => "run models",
            Scope::AnalyticsRead => "read usage",
            Scope::KeysVerify => "check other keys",
            Scope::Admin => "manage keys",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// The empty set.
    pub const NONE: Scopes = Scopes(0);

    /// The set of every scope.
    pub fn all() -> Scopes {
        Scope::ALL.into_iter().collect()
    }

    /// Whether the set contains this scope.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The scopes in both sets.
    pub fn intersection(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    /// The scopes in either set.
    pub fn union(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// The scopes in this set but not in `other`.
    pub fn without(self, other: Scopes) -> Scopes {
        Scopes(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in this set, least powerful first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// The names, least powerful first.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Scope::name).collect()
    }

    /// Space-separated names: the form of OAuth 2.0 (RFC 6749 section 3.3) and of the database.
    pub fn text(self) -> String {
        self.names().join(" ")
    }

    /// Parses the output of [`Scopes::text`], ignoring unknown names.
    pub fn from_text(text: &str) -> Scopes {
        text.split(' ').filter_map(Scope::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::name))
    }
}

impl<'de> serde::Deserialize<'de> for Scopes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let scopes: Option<Scopes> = names.iter().map(|name| Scope::parse(name)).collect();
        scopes.ok_or_else(|| serde::de::Error::custom("unknown scope"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_set_round_trips_through_text() {
        for bits in 0..32 {
            let scopes = Scopes(bits);
            assert_eq!(Scopes::from_text(&scopes.text()), scopes);
        }
        assert_eq!(Scopes::all().0, 31);
    }
}
