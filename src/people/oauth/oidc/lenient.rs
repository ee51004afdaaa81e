//! The one place that reads JSON from OpenID Connect providers.
//!
//! Providers send members that Keydesk does not know, and known ones in other types than the specifications say:
//! times and booleans as text, identifiers as numbers. So only the members that Keydesk uses are picked out, each in
//! its specified type; nothing else of a document can make a sign-in fail. Of members that protect the sign-in, a
//! value in no readable form is refused rather than treated as absent.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::people::oauth::ProviderError;

/// A JSON object from a provider.
pub(super) struct Document(Map<String, Value>);

impl Document {
    /// Parses an object; `None` for anything else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Document> {
        match serde_json::from_slice(bytes).ok()? {
            Value::Object(members) => Some(Document(members)),
            _ => None,
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Text, or a number as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// The texts in a list, or a single one.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
            value => value.and_then(text).into_iter().collect(),
        }
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).and_then(flag) == Some(true)
    }

    /// The items of a list.
    pub(super) fn items(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The claims of an ID token that Keydesk uses, in their specified types.
    pub(super) fn id_token_claims(&self) -> Result<Value, ProviderError> {
        let mut claims = self.user_claims()?;
        for name in ["iss", "azp", "at_hash", "nonce"] {
            claims.extend(self.strict(name, text)?.map(|value| (name.to_owned(), json!(value))));
        }
        for name in ["exp", "iat"] {
            let seconds = self.strict(name, seconds)?.ok_or_else(|| missing(name))?;
            claims.insert(name.to_owned(), json!(seconds));
        }
        // Without a readable time of sign-in, there is no proof of a fresh one.
        claims.extend(self.get("auth_time").and_then(seconds).map(|at| ("auth_time".to_owned(), json!(at))));
        let audiences = self.strict("aud", audiences)?.ok_or_else(|| missing("aud"))?;
        claims.insert("aud".to_owned(), json!(audiences));
        if !claims.contains_key("iss") {
            return Err(missing("iss"));
        }
        Ok(Value::Object(claims))
    }

    /// The claims about a person that Keydesk uses, from an ID token or the userinfo endpoint.
    pub(super) fn user_claims(&self) -> Result<Map<String, Value>, ProviderError> {
        let mut claims = Map::new();
        let subject = self.strict("sub", text)?.ok_or_else(|| missing("sub"))?;
        claims.insert("sub".to_owned(), json!(subject));
        for name in ["email", "name", "preferred_username"] {
            let value = self.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
            claims.extend(value.map(|value| (name.to_owned(), json!(value))));
        }
        // A value that can't be read is no promise, so it counts as false rather than as absent.
        let verified = self.get("email_verified").map(|value| flag(value).unwrap_or_default());
        claims.extend(verified.map(|verified| ("email_verified".to_owned(), json!(verified))));
        Ok(claims)
    }

    /// The members of a response of the token endpoint that Keydesk uses.
    pub(super) fn token_response(&self) -> Value {
        let names = ["access_token", "token_type", "id_token", "error", "error_description"];
        names.into_iter().filter_map(|name| Some((name.to_owned(), json!(self.text(name)?)))).collect()
    }

    /// A member that must be readable if it is present.
    fn strict<T>(&self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, ProviderError> {
        let value = self.get(name).map(|value| read(value).ok_or_else(|| unreadable(name)));
        value.transpose()
    }
}

/// Names of members in errors, which outlive the document.
fn known(name: &str) -> &'static str {
    let names = ["iss", "sub", "aud", "exp", "iat", "azp", "at_hash", "nonce"];
    names.into_iter().find(|known| *known == name).unwrap_or("claims")
}

fn missing(name: &str) -> ProviderError {
    ProviderError::claim(known(name), format!("{name} is missing"))
}

fn unreadable(name: &str) -> ProviderError {
    ProviderError::claim(known(name), format!("{name} has a type that can't be read"))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Every audience has to be readable, since each is checked.
fn audiences(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => text(value).map(|one| vec![one]),
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Seconds since 1970 as a number, as text, or as an RFC 3339 time, rounded down.
fn seconds(value: &Value) -> Option<i64> {
    let whole = |seconds: f64| (seconds.abs() < 1e15).then_some(seconds.floor() as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => {
            let text = text.trim();
            let number = text.parse().ok().or_else(|| text.parse().ok().and_then(whole));
            number.or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_second))
        }
        _ => None,
    }
}

/// The public keys of a JWKS document. Unreadable ones are left out.
pub(super) fn keys<K: serde::de::DeserializeOwned>(document: &Document) -> Vec<K> {
    let readable = |key: &Value| {
        let Value::Object(members) = key else { return None };
        let mut members = members.clone();
        // RFC 9864 section 2.2 gives this algorithm a name of its own.
        if members.get("alg").is_some_and(|alg| alg == "Ed25519") {
            members.insert("alg".to_owned(), json!("EdDSA"));
        }
        serde_json::from_value(Value::Object(members)).ok()
    };
    document.items("keys").iter().filter_map(readable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: &Value) -> Document {
        Document::parse(value.to_string().as_bytes()).expect("an object")
    }

    fn claims(change: Value) -> Result<Value, String> {
        let mut claims = json!({"iss": "https://sso", "sub": "1", "aud": "us", "exp": 2, "iat": 1});
        for (name, value) in change.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        document(&claims).id_token_claims().map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_a_time_is_read() {
        for (form, expected) in [
            (json!(1_700_000_000), 1_700_000_000),
            (json!(1_700_000_000.9), 1_700_000_000),
            (json!("1700000000"), 1_700_000_000),
            (json!("1.7e9"), 1_700_000_000),
            (json!("2023-11-14T22:13:20Z"), 1_700_000_000),
            (json!("2023-11-14T22:13:20.123Z"), 1_700_000_000),
        ] {
            for name in ["exp", "iat", "auth_time"] {
                let read = claims(json!({ name: form })).expect("valid claims");
                assert_eq!(read[name], json!(expected), "{name}: {form}");
            }
        }
    }

    #[test]
    fn unreadable_address_flag_is_never_true_and_never_absent() {
        for (form, expected) in [
            (json!(true), json!(true)),
            (json!("true"), json!(true)),
            (json!("True"), json!(true)),
            (json!(1), json!(true)),
            (json!("false"), json!(false)),
            (json!(0), json!(false)),
            (json!("yes"), json!(false)),
            (json!({}), json!(false)),
            (json!([true]), json!(false)),
        ] {
            let read = claims(json!({ "email_verified": form })).expect("valid claims");
            assert_eq!(read["email_verified"], expected, "{form}");
        }
        let read = claims(json!({ "email_verified": null })).expect("valid claims");
        assert!(read.get("email_verified").is_none());
    }

    #[test]
    fn unreadable_claim_that_protects_the_sign_in_is_refused_by_name() {
        for name in ["iss", "sub", "aud", "exp", "iat", "azp", "at_hash", "nonce"] {
            for form in [json!({}), json!([{}]), json!(true)] {
                let refused = claims(json!({ name: form })).expect_err("refused");
                assert!(refused.ends_with(&format!("{name} has a type that can't be read")), "{refused}");
            }
        }
        for name in ["iss", "sub", "aud", "exp", "iat"] {
            let refused = claims(json!({ name: null })).expect_err("refused");
            assert!(refused.ends_with(&format!("{name} is missing")), "{refused}");
        }
        assert!(claims(json!({ "aud": ["us", {}] })).is_err());
    }

    #[test]
    fn unknown_members_and_other_types_change_nothing() {
        let plain = claims(json!({})).expect("valid claims");
        for name in ["acr", "amr", "updated_at", "address", "picture", "locale", "phone_number_verified", "x"]
        {
            for form in [json!(null), json!(1), json!("x"), json!([{}]), json!({ "a": [] })] {
                assert_eq!(claims(json!({ name: form })).as_ref(), Ok(&plain), "{name}: {form}");
            }
        }
    }
}
