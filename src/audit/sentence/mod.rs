//! What happened, as a sentence without its subject: "changed the limit of web-gateway: 600 → 1,200
//! a minute". A face puts the actor's name before it and names in place of identifiers.

mod making;

use crate::audit::event::Event;
use crate::audit::sentence::making::Sentence;
use crate::id::{KeyId, UserId};
use crate::time::Time;

pub use making::{field, value};

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// Something that programs read, such as a scope.
    Code(String),
    /// A name that someone chose.
    Name(String),
    /// A person.
    Person(UserId),
    /// A key.
    Key(KeyId),
    /// An instant.
    Time(Time),
    /// A number.
    Number(i64),
}

/// What is told of an event about `target`, the identifier that its entry names.
///
/// There is no arm for the rest: a new event has no way into the log without words.
pub fn of(event: &Event, target: &str) -> Vec<Piece> {
    let say = |words: &str| Sentence::default().text(words);
    let of_target = |words: &str| say(words).text(" ").target(target);
    let sentence = match event {
        Event::OrganizationCreated { name, owner } => {
            say("set up the organisation ").name(name).text(" with ").person(*owner).text(" as its owner")
        }
        Event::KeyCreated { scopes, expires_at, .. } => {
            let sentence = of_target("created").text(" with ").scopes(*scopes);
            match expires_at {
                Some(end) => sentence.text("; it ends on ").time(*end),
                None => sentence.text("; it never ends"),
            }
        }
        Event::KeyUpdated { changes } => say("changed ").changes(changes, target),
        Event::KeyDisabled => of_target("disabled"),
        Event::KeyEnabled => of_target("enabled"),
        Event::KeyRotated { old_ends_at, expires_at, .. } => {
            let sentence = of_target("rotated").text("; the old secret works until ").time(*old_ends_at);
            match expires_at {
                Some(end) => sentence.text(", the key ends on ").time(*end),
                None => sentence.text(", the key never ends"),
            }
        }
        Event::RotationMoved { before, after } => {
            of_target("moved the end of the old secret of").text(": ").time(*before).text(" → ").time(*after)
        }
        Event::RotationEnded { .. } => of_target("ended the old secret of"),
        Event::KeyRevoked { reason } => match reason {
            Some(reason) => of_target("revoked").text(": ").name(reason),
            None => of_target("revoked"),
        },
        Event::FindingKept { finding, scope, until } => say("reviewed ")
            .target(target)
            .text(" and keeps it as it is: ")
            .finding(finding, scope.as_deref())
            .text(", until ")
            .time(*until),
        Event::FindingReopened { finding, scope } => {
            say("put ").target(target).text(" up for review again: ").finding(finding, scope.as_deref())
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
            let sentence = of_target("created the service account").text(", for which ");
            let named = answerers.iter().enumerate().fold(sentence, |sentence, (place, person)| {
                if place > 0 { sentence.text(", ") } else { sentence }.person(*person)
            });
            named.text(if answerers.len() == 1 { " answers" } else { " answer" })
        }
        Event::ServiceAccountUpdated { changes } => say("changed ").changes(changes, target),
        Event::PersonDisabled => of_target("locked out").text(" everywhere"),
        Event::PersonEnabled => of_target("let").text(" in again"),
        Event::NoticeSeen { ends_at } => {
            say("has seen that ").target(target).text(" ends on ").time(*ends_at)
        }
        Event::MailTested => say("sent a test mail"),
        Event::MailSentAgain => of_target("sent again the mail"),
        Event::CalendarMade => say("created a calendar address for ").target(target),
        Event::CalendarEnded => say("revoked the calendar address of ").target(target),
        Event::LimitRequested { requests_per_minute, reason } => of_target("asked for a higher limit of")
            .text(": ")
            .number(*requests_per_minute)
            .text(" a minute, for ")
            .name(reason),
        Event::LimitRequestApproved { before, after, .. } => of_target("raised the limit of")
            .text(" on request: ")
            .number(*before)
            .text(" → ")
            .number(*after)
            .text(" a minute"),
        Event::LimitRequestRefused { asked, words } => of_target("refused a higher limit of")
            .text(": ")
            .number(*asked)
            .text(" a minute, since ")
            .name(words),
        Event::LimitRequestWithdrawn { asked } => of_target("took back the request for a higher limit of")
            .text(": ")
            .number(*asked)
            .text(" a minute"),
        Event::PolicyUpdated { changes, existing_keys_from } => {
            let sentence = if changes.is_empty() {
                say("moved the date of the key policy")
            } else {
                say("changed ").changes(changes, target)
            };
            match existing_keys_from {
                Some(date) => sentence.text("; keys that exist follow from ").time(*date),
                None => sentence,
            }
        }
        Event::CheckpointsAsked => say("asked an address outside whether checkpoints may be mailed there"),
        Event::CheckpointsConfirmed => {
            say("mails checkpoints to an address outside from now on: its reader confirmed it")
        }
        Event::CheckpointsEnded => say("ended the mails with checkpoints to an address outside"),
        Event::LogRecovered { name: None, .. } => say("recovered the audit log; no entry was lost"),
        Event::LogRecovered { name: Some(name), .. } => {
            say("recovered the audit log, whose earlier entries are not proven, under the name ").text(name)
        }
        Event::EntryLost => say("found that the entry of this place is missing"),
        Event::OrganizationUpdated { changes } => say("changed ").changes(changes, target),
        Event::SignedIn => say("signed in"),
        Event::SignedOut => say("signed out"),
        Event::PasswordReset => say("replaced the password of ").target(target),
        Event::MethodConnected { method } => {
            say("connected ").text(method_name(method)).text(" to sign in with it")
        }
        Event::MethodRemoved { method } => say("gave up signing in with ").text(method_name(method)),
        Event::PasswordChanged => say("changed their password"),
        Event::EmailChangeRequested => say("requested a change of their e-mail address"),
        Event::EmailChangeCancelled => say("cancelled the change of their e-mail address"),
        Event::EmailChanged => say("changed their e-mail address"),
        Event::EmailVerified => say("proved that their e-mail address is theirs"),
        Event::SessionsEnded { count: 0 } => say("made sure that no other session of theirs is open"),
        Event::SessionsEnded { count: 1 } => say("ended another session of theirs"),
        Event::SessionsEnded { count } => say("ended ")
            .and(Piece::Number(i64::try_from(*count).unwrap_or(i64::MAX)))
            .text(" other sessions of theirs"),
        Event::PersonUpdated { changes } => say("changed ").changes(changes, target),
    };
    sentence.0
}

/// What is told of an event that this version does not know.
pub fn of_unknown(action: &str, target: &str) -> Vec<Piece> {
    Sentence::default().text("did ").code(action).text(" to ").target(target).0
}

/// A way to sign in, in words.
fn method_name(method: &str) -> &str {
    match method {
        "password" => "a password",
        "github" => "GitHub",
        "oidc" => "single sign-on",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::entry::Said;
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
    fn a_change_tells_what_was_before_and_after() {
        let key = KeyId::new(Time::from_seconds(0)).to_string();
        let told = |event: &Event| words(&of(event, &key)).replace(&key, "KEY");
        assert_eq!(
            told(&change("requests_per_minute", json!(600), json!(1200))),
            "changed the limit of KEY: 600 → 1200 a minute"
        );
        assert_eq!(
            told(&change("scopes", json!(["inference:read", "inference:write"]), json!(["inference:read"]))),
            "changed the scopes of KEY: removed inference:write"
        );
        assert_eq!(
            told(&change("expires_at", json!(null), json!("2026-11-23T15:00:00Z"))),
            "changed the end of KEY: none → 2026-11-23T15:00:00Z"
        );
        let change = |field: &'static str| Change { field: field.into(), before: json!(1), after: json!(2) };
        let both = Event::KeyUpdated { changes: vec![change("scopes"), change("description")] };
        assert_eq!(told(&both), "changed the scopes and the description of KEY");
    }

    #[test]
    fn a_finding_is_told_in_words_and_its_scope_as_it_is() {
        let of_finding = |finding: &str, scope: Option<&str>| {
            of(&Event::FindingReopened { finding: finding.into(), scope: scope.map(str::to_owned) }, "key_1")
        };
        assert_eq!(of_finding("new_address", None).last(), Some(&Piece::Text("new address".to_owned())));
        let scope = of_finding("scope_unused", Some("inference:read"));
        assert_eq!(scope.last(), Some(&Piece::Code("inference:read".to_owned())));
    }

    #[test]
    fn what_was_written_is_read_back_and_what_is_unknown_is_told_too() {
        let event = change("allowed_ips", json!([]), json!(["10.0.0.0/8"]));
        let mut entry = serde_json::to_value(&event).unwrap();
        for (name, value) in
            [("id", "evt_1"), ("at", "2026-11-23T15:00:00Z"), ("organization", "org_1"), ("actor", "system")]
        {
            entry[name] = json!(value);
        }
        entry["target"] = json!("key_1");
        let said: Said = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!(said.event(), Some(event));
        entry["action"] = json!("key.sung_to");
        let said: Said = serde_json::from_value(entry).unwrap();
        assert_eq!(said.event(), None);
        assert_eq!(words(&of_unknown(&said.action, &said.target)), "did key.sung_to to key_1");
    }
}
