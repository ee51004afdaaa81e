//! Descriptions of events, as sentences without their subject: "changed the limit of web-gateway: 600 →
//! 1,200 requests a minute". The interface adds the actor's name and replaces identifiers with names.

mod builder;

use crate::audit::description::builder::Description;
use crate::audit::event::Event;
use crate::id::{KeyId, UserId};
use crate::time::Time;

pub use builder::{field, setting_value, value};

/// A part of a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// A word for programs, such as a scope.
    Code(String),
    /// A name or text that a person chose.
    Name(String),
    Person(UserId),
    Key(KeyId),
    Time(Time),
    Number(i64),
}

/// The description of an event about `target`, the id in its entry.
///
/// The match has no wildcard arm, so every new event needs a description.
pub fn describe(event: &Event, target: &str) -> Vec<Piece> {
    let say = |words: &str| Description::default().text(words);
    let of_target = |words: &str| say(words).text(" ").target(target);
    let description = match event {
        Event::OrganizationCreated { name, owner } => {
            say("set up the organisation ").name(name).text(" with ").person(*owner).text(" as its owner")
        }
        Event::KeyCreated { scopes, expires_at, .. } => {
            let description = of_target("created").text(" with ").scopes(*scopes);
            match expires_at {
                Some(end) => description.text("; it expires on ").time(*end),
                None => description.text("; it never expires"),
            }
        }
        Event::KeyUpdated { changes } => say("changed ").changes(changes, target),
        Event::KeyDisabled => of_target("disabled"),
        Event::KeyEnabled => of_target("enabled"),
        Event::KeyRotated { old_ends_at, expires_at, .. } => {
            let description = of_target("rotated").text("; the old secret works until ").time(*old_ends_at);
            match expires_at {
                Some(end) => description.text(", the key expires on ").time(*end),
                None => description.text(", the key never expires"),
            }
        }
        Event::RotationMoved { before, after } => {
            of_target("moved the end of the overlap of").text(": ").time(*before).text(" → ").time(*after)
        }
        Event::RotationEnded { .. } => of_target("ended the overlap of"),
        Event::KeyRevoked { reason } => match reason {
            Some(reason) => of_target("revoked").text(": ").name(reason),
            None => of_target("revoked"),
        },
        Event::FindingSnoozed { finding, scope, until } => of_target("snoozed a finding about")
            .text(": ")
            .finding(finding, scope.as_deref())
            .text(", until ")
            .time(*until),
        Event::FindingReopened { finding, scope } => {
            of_target("ended the snooze of a finding about").text(": ").finding(finding, scope.as_deref())
        }
        Event::InvitationCreated { role } => say("invited someone as ").code(role),
        Event::InvitationSentAgain => say("sent an invitation again"),
        Event::InvitationWithdrawn => say("withdrew an invitation"),
        Event::MemberJoined { role, .. } => say("accepted an invitation and joined as ").code(role),
        Event::MemberRoleChanged { before, after } => {
            of_target("changed the role of").text(": ").code(before).text(" → ").code(after)
        }
        Event::MemberDisabled => of_target("disabled"),
        Event::MemberEnabled => of_target("enabled"),
        Event::MemberRemoved { role } => {
            say("ended the membership of ").target(target).text(" as ").code(role)
        }
        Event::ServiceAccountCreated { answerers, .. } => {
            let description = of_target("created the service account").text("; responsible: ");
            answerers.iter().enumerate().fold(description, |description, (place, person)| {
                if place > 0 { description.text(", ") } else { description }.person(*person)
            })
        }
        Event::ServiceAccountUpdated { changes } => say("changed ").changes(changes, target),
        Event::PersonDisabled => of_target("disabled the account of").text(" in all organisations"),
        Event::PersonEnabled => of_target("enabled the account of").text(" in all organisations"),
        Event::NoticeSeen { ends_at } => of_target("acknowledged that").text(" expires on ").time(*ends_at),
        Event::MailTested => say("sent a test e-mail"),
        Event::MailSentAgain => of_target("sent the e-mail").text(" again"),
        Event::CalendarCreated => of_target("created a calendar address for"),
        Event::CalendarRevoked => of_target("revoked the calendar address of"),
        Event::LimitRequested { requests_per_minute, reason } => say("requested a limit of ")
            .number(*requests_per_minute)
            .text(" requests a minute for ")
            .target(target)
            .quote(reason),
        Event::LimitRequestApproved { before, after, .. } => of_target("raised the limit of")
            .text(" on request: ")
            .number(*before)
            .text(" → ")
            .number(*after)
            .text(" requests a minute"),
        Event::LimitRequestDeclined { asked, words } => say("declined a limit of ")
            .number(*asked)
            .text(" requests a minute for ")
            .target(target)
            .quote(words),
        Event::LimitRequestWithdrawn { asked } => say("withdrew the request for a limit of ")
            .number(*asked)
            .text(" requests a minute for ")
            .target(target),
        Event::PolicyUpdated { changes, existing_keys_from } => {
            let description = if changes.is_empty() {
                say("moved the date from which the key policy applies to existing keys")
            } else {
                say("changed ").changes(changes, target)
            };
            match existing_keys_from {
                Some(date) => description.text("; applies to existing keys from ").time(*date),
                None => description,
            }
        }
        Event::CheckpointsRequested => {
            say("asked an external e-mail address to confirm that it receives checkpoints")
        }
        Event::CheckpointsConfirmed => {
            say("started sending checkpoints to an external e-mail address, which was confirmed")
        }
        Event::CheckpointsEnded => say("stopped sending checkpoints to an external e-mail address"),
        Event::LogRecovered { name: None, .. } => say("recovered the audit log; no entry was lost"),
        Event::LogRecovered { name: Some(name), .. } => {
            say("recovered the audit log under the name ").text(name).text("; earlier entries are not proven")
        }
        Event::EntryLost => say("found that the entry at this position was missing"),
        Event::OrganizationUpdated { changes } => say("changed ").changes(changes, target),
        Event::SignedIn => say("signed in"),
        Event::SignedOut => say("signed out"),
        Event::PasswordReset => of_target("reset the password of"),
        Event::MethodConnected { method } => {
            say("added ").text(method_name(method)).text(" as a sign-in method")
        }
        Event::MethodRemoved { method } => {
            say("removed ").text(method_name(method)).text(" as a sign-in method")
        }
        Event::PasswordChanged => say("changed their password"),
        Event::EmailChangeRequested => say("requested a change of their e-mail address"),
        Event::EmailChangeCancelled => say("cancelled the change of their e-mail address"),
        Event::EmailChanged => say("changed their e-mail address"),
        Event::EmailVerified => say("verified their e-mail address"),
        Event::SessionsEnded { count: 0 } => say("checked that they have no other session"),
        Event::SessionsEnded { count: 1 } => say("ended another of their sessions"),
        Event::SessionsEnded { count } => say("ended ")
            .and(Piece::Number(i64::try_from(*count).unwrap_or(i64::MAX)))
            .text(" of their other sessions"),
        Event::PersonUpdated { changes } => say("changed ").changes(changes, target),
    };
    description.0
}

/// The description of an event that this version doesn't know.
pub fn describe_unknown(action: &str, target: &str) -> Vec<Piece> {
    Description::default().text("did ").code(action).text(" to ").target(target).0
}

/// A sign-in method in words.
fn method_name(method: &str) -> &str {
    match method {
        "password" => "their password",
        "github" => "GitHub",
        "oidc" => "single sign-on",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::entry::EntryBody;
    use crate::audit::event::Change;

    fn words(pieces: &[Piece]) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Code(text) | Piece::Name(text) => text.clone(),
            Piece::Person(id) => id.to_string(),
            Piece::Key(id) => id.to_string(),
            Piece::Time(at) => at.rfc3339(),
            Piece::Number(number) => number.to_string(),
        };
        pieces.iter().map(text).collect()
    }

    fn change(field: &'static str, before: Value, after: Value) -> Event {
        Event::KeyUpdated { changes: vec![Change { field: field.into(), before, after }] }
    }

    #[test]
    fn description_of_a_change_names_old_and_new_values() {
        let key = KeyId::new(Time::from_seconds(0)).to_string();
        let described = |event: &Event| words(&describe(event, &key)).replace(&key, "KEY");
        assert_eq!(
            described(&change("requests_per_minute", json!(600), json!(1200))),
            "changed the limit of KEY: 600 → 1200 requests a minute"
        );
        assert_eq!(
            described(&change(
                "scopes",
                json!(["inference:read", "inference:write"]),
                json!(["inference:read"])
            )),
            "changed the scopes of KEY: removed inference:write"
        );
        assert_eq!(
            described(&change("expires_at", json!(null), json!("2026-11-23T15:00:00Z"))),
            "changed the expiry of KEY: none → 2026-11-23T15:00:00Z"
        );
        assert_eq!(
            described(&change("models", json!(["gpt-4", "claude-*"]), json!(null))),
            "changed the models of KEY: gpt-4, claude-* → all"
        );
        let change = |field: &'static str| Change { field: field.into(), before: json!(1), after: json!(2) };
        let both = Event::KeyUpdated { changes: vec![change("scopes"), change("description")] };
        assert_eq!(described(&both), "changed the scopes and the description of KEY");
    }

    #[test]
    fn finding_is_described_in_words_with_its_scope_as_code() {
        let of_finding = |finding: &str, scope: Option<&str>| {
            describe(
                &Event::FindingReopened { finding: finding.into(), scope: scope.map(str::to_owned) },
                "key_1",
            )
        };
        assert_eq!(of_finding("new_address", None).last(), Some(&Piece::Text("new address".to_owned())));
        let scope = of_finding("scope_unused", Some("inference:read"));
        assert_eq!(scope.last(), Some(&Piece::Code("inference:read".to_owned())));
    }

    #[test]
    fn known_events_are_parsed_and_unknown_ones_described() {
        let event = change("allowed_ips", json!([]), json!(["10.0.0.0/8"]));
        let mut entry = serde_json::to_value(&event).unwrap();
        for (name, value) in
            [("id", "evt_1"), ("at", "2026-11-23T15:00:00Z"), ("organization", "org_1"), ("actor", "system")]
        {
            entry[name] = json!(value);
        }
        entry["target"] = json!("key_1");
        let body: EntryBody = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!(body.event(), Some(event));
        entry["action"] = json!("key.sung_to");
        let body: EntryBody = serde_json::from_value(entry).unwrap();
        assert_eq!(body.event(), None);
        assert_eq!(words(&describe_unknown(&body.action, &body.target)), "did key.sung_to to key_1");
    }
}
