//! Every e-mail is read by two parsers, with hostile names in it.

use std::path::Path;
use std::process::Command;

use keydesk::config::PublicUrl;
use keydesk::crypto::{Keyring, Root};
use keydesk::id::{InvitationId, KeyId, LinkId, MailId, UserId};
use keydesk::mail::claim::ClaimedMail;
use keydesk::mail::context::Links;
use keydesk::mail::mailer::Mailer;
use keydesk::mail::message::Message;
use keydesk::mail::sender::Sender;
use keydesk::mail::{
    AuditCheckpoint, AuditConfirmation, Change, Digest, EmailVerification, Impact, Invitation, KeyCreated,
    KeyExpired, KeyExpiredStillUsed, KeyExpiring, KeyFacts, KeyRevoked, KeyRotated, KeyWidened,
    LimitDecision, LimitRequest, Occasion, PasswordReset, Requester, ReviewFinding, ReviewReminder,
    SecurityNotice, Summarized, Summary, Test, Why, Widening,
};
use keydesk::time::{DAY, HOUR, Time};
use mail_parser::MessageParser;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::programs::python;

/// Names that try to break the structure of an e-mail.
const HOSTILE: [&str; 16] = [
    "prod\r\nBcc: eve@example.com",
    "prod\nX-Keydesk-Event: forged",
    "prod\r\n\r\nA second body",
    "prod\r\n.\r\nMAIL FROM:<eve@example.com>",
    "prod\0key",
    "prod\u{2028}key\u{2029}",
    "prod\u{202e}yek",
    "prod\u{85}key",
    "=?utf-8?q?=0D=0ABcc:_eve=40example.com?=",
    "\"prod\" <eve@example.com>, x",
    "prod; boundary=\"x\"\r\n--x",
    "<script>alert(1)</script>",
    "{{ letter.key }}",
    "ключ 🔑 مفتاح",
    ".",
    "\u{feff}prod\r",
];

fn post() -> Mailer {
    let root = Root::parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
    Mailer {
        sender: Sender::Directory("unused".into()),
        from: "Keydesk <keydesk@example.com>".parse().unwrap(),
        links: Links { public_url: PublicUrl::loopback(8080), keyring: Keyring::new(root, None) },
    }
}

fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// One of each, about a key of this name.
fn messages(name: &str) -> Vec<Message> {
    let now = at("2026-11-23T08:00:00Z");
    let ends_at = at("2026-11-30T22:59:59Z");
    let key = KeyFacts {
        id: KeyId::new(now),
        name: name.to_owned(),
        hint: "kd_…x9Ka".to_owned(),
        owner: "Mara Lindqvist".to_owned(),
        scopes: vec!["inference:read".to_owned(), "inference:write".to_owned()],
    };
    let checkpoint = |occasion, broken_at| AuditCheckpoint {
        org: "acme-ai".to_owned().into(),
        occasion,
        size: 1_284,
        note: format!(
            "keys.example.com/acme-ai\n1284\n2TaN2vzQ6T5G5kG8DPlcfGYN5jzDg/6/KSYKlfV9Zow=\n\n\u{2014} \
             keys.example.com/acme-ai {}\n",
            "2c4FmRRAG7Iw/hh4".repeat(5) + "2c4FmRRAG7I="
        ),
        at: now,
        broken_at,
        why: broken_at.map(|_| "its text is not what was written".to_owned()),
    };
    let busy = Impact {
        calls: 8_412,
        addresses: 7,
        callers: ["10.2.0.4", "10.2.0.9", "203.0.113.7", "2001:db8::1", "198.51.100.23"]
            .map(str::to_owned)
            .to_vec(),
        scopes: vec!["inference:write".to_owned()],
        last_used_at: Some(at("2026-11-23T07:57:00Z")),
    };
    let idle = Impact::default();
    let by = format!("Grace {name}");
    let expiring = |step: i64, impact: &Impact, why: Why| KeyExpiring {
        key: key.clone(),
        why,
        ends_at,
        step,
        impact: impact.clone(),
        unseen: step <= 3 * DAY,
        early: step >= 7 * DAY,
    };
    let decision = |granted: bool, asker: Option<Requester>| LimitDecision {
        key: key.id,
        key_name: name.to_owned(),
        decider: format!("Grace {name}"),
        limit: if granted { 2_000 } else { 600 },
        asked: 5_000,
        granted,
        words: format!("Ask again when {name} is measured"),
        asker,
    };
    let mut messages: Vec<Message> = vec![
        KeyCreated { key: key.clone(), why: Why::Owner, by: by.clone(), at: now, ends_at: Some(ends_at) }
            .into(),
        expiring(7 * DAY, &busy, Why::Owner).into(),
        expiring(3 * DAY, &idle, Why::Backup).into(),
        expiring(DAY, &busy, Why::Admin).into(),
        KeyExpired { key: key.clone(), why: Why::Owner, ended_at: ends_at, impact: busy.clone() }.into(),
        KeyExpiredStillUsed {
            key: key.clone(),
            why: Why::Answerer,
            ended_at: ends_at,
            calls: 312,
            addresses: 2,
            callers: vec!["10.2.0.4".to_owned(), "10.2.0.9".to_owned()],
        }
        .into(),
        KeyRotated {
            key: key.clone(),
            why: Why::Owner,
            by: by.clone(),
            at: now,
            old_ends_at: now.plus(DAY),
            ends_at: Some(now.plus(90 * DAY)),
        }
        .into(),
        KeyWidened {
            key: key.clone(),
            why: Why::Owner,
            by: by.clone(),
            at: now,
            changes: vec![
                Widening::Scopes(vec!["inference:write".to_owned()]),
                Widening::Expiry(Some(now.plus(90 * DAY))),
                Widening::Addresses(Vec::new()),
                Widening::Models(Some(vec!["gpt-4".to_owned(), "claude-*".to_owned()])),
                Widening::Limit(1_200),
                Widening::Backup(format!("Dee {name}")),
            ],
        }
        .into(),
        KeyWidened {
            key: key.clone(),
            why: Why::Former,
            by: by.clone(),
            at: now,
            changes: vec![Widening::Owner("Dee Park".to_owned())],
        }
        .into(),
        KeyRevoked {
            key: key.clone(),
            why: Why::Backup,
            by,
            at: now,
            reason: Some(format!("found in {name}")),
        }
        .into(),
        Digest {
            keys: [(1, &busy, Why::Owner), (7, &idle, Why::Admin), (14, &busy, Why::Owner)]
                .map(|(days, impact, why)| KeyExpiring {
                    ends_at: now.plus(days * DAY + 6 * HOUR),
                    ..expiring(days * DAY, impact, why)
                })
                .to_vec(),
            more: 3,
        }
        .into(),
        ReviewReminder {
            org: "acme".to_owned().into(),
            findings: [(2, "still used after they expired or were revoked"), (1_204, "with unused scopes")]
                .map(|(found, what)| ReviewFinding { found, what: what.to_owned() })
                .to_vec(),
        }
        .into(),
        Test { asked_by: name.to_owned() }.into(),
        Invitation {
            id: InvitationId::new(now).to_string(),
            org: format!("Acme {name}"),
            invited_by: format!("Grace {name}"),
            role: "a member".to_owned(),
            ends_at,
        }
        .into(),
        EmailVerification { link: LinkId::new(now), email: "mara@example.com".to_owned(), ends_at }.into(),
        PasswordReset { link: LinkId::new(now), ends_at }.into(),
        SecurityNotice {
            what: Change::EmailChangeRequested {
                email: "mallory@b\u{fc}cher.example".to_owned(),
                cancel: LinkId::new(now),
                ends_at,
            },
            at: now,
            address: None,
            device: Some(format!("Firefox on {name}")),
        }
        .into(),
        SecurityNotice {
            what: Change::MethodConnected(format!("SSO of {name}")),
            at: now,
            address: Some("2001:db8::1".to_owned()),
            device: Some(format!("Firefox on {name}")),
        }
        .into(),
        LimitRequest {
            key: key.id,
            key_name: name.to_owned(),
            org: "acme-ai".to_owned().into(),
            asker: format!("Bo {name}"),
            limit: 600,
            asked: 5_000,
            reason: format!("Nightly runs of {name}"),
        }
        .into(),
        decision(true, None).into(),
        decision(false, Some(Requester { name: format!("Bo {name}"), why: Why::Answerer })).into(),
        AuditConfirmation {
            link: LinkId::new(now),
            org: format!("Acme {name}"),
            asker: name.to_owned(),
            ends_at,
        }
        .into(),
        checkpoint(Occasion::First, None).into(),
        checkpoint(Occasion::Regular, None).into(),
        checkpoint(Occasion::Regular, Some(4)).into(),
        checkpoint(Occasion::Replaced, None).into(),
        checkpoint(Occasion::Ended, None).into(),
    ];
    let about_keys = messages.iter().filter(|message| message.key().is_some());
    let listed = about_keys.map(|message| Summarized { at: now, message: message.clone() }).collect();
    messages.push(Summary { listed, more: 1_480, event: None }.into());
    messages
}

/// When each is written: at its step, or a day after the expiry.
fn written_at(message: &Message) -> Time {
    match message {
        Message::KeyExpiring(letter) => letter.ends_at.plus(-letter.step),
        Message::KeyExpired(letter) => letter.ended_at,
        Message::KeyExpiredStillUsed(letter) => letter.ended_at.plus(DAY),
        _ => at("2026-11-23T08:00:00Z"),
    }
}

fn written(message: Message, reader: &str) -> Vec<u8> {
    let now = written_at(&message);
    let mail = claimed(message, reader, now, "Europe/Berlin");
    post().build(&mail).unwrap().message.formatted()
}

/// The subject of an e-mail.
fn subject_of(message: Message, now: Time, zone: &str) -> String {
    let bytes = post().build(&claimed(message, "Mara", now, zone)).unwrap().message.formatted();
    MessageParser::default().parse(&bytes).unwrap().subject().unwrap().to_owned()
}

fn claimed(message: Message, reader: &str, now: Time, zone: &str) -> ClaimedMail {
    ClaimedMail {
        id: MailId::new(now),
        message,
        name: reader.to_owned(),
        address: "mara@example.com".to_owned(),
        person: Some(UserId::new(now)),
        zone: Some(zone.to_owned()),
        org: Some("Acme AI".to_owned()),
        created_at: now,
        attempts: 0,
    }
}

/// The names of the headers as one parser sees them, then the types of the parts.
fn shape(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let mail = MessageParser::default().parse(bytes).unwrap();
    let names = mail.headers().iter().map(|header| header.name.as_str().to_lowercase());
    let types = mail.parts.iter().filter_map(|part| {
        let of = mail_parser::MimeHeaders::content_type(part)?;
        (of.ctype() != "multipart").then(|| format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default()))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    (names, types.collect())
}

fn by_python(directory: &Path) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keydesk/support/parse_mails.py");
    let output = Command::new(python()).arg(script).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn no_name_changes_the_structure_of_a_mail() {
    let directory = TempDir::new().unwrap();
    let plain: Vec<_> =
        messages("prod-batch").into_iter().map(|message| shape(&written(message, "Mara"))).collect();
    let mut expected = Vec::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        for (kind, message) in messages(name).into_iter().enumerate() {
            let bytes = written(message, name);
            assert_eq!(shape(&bytes), plain[kind], "{name:?}");
            for line in bytes.split(|byte| *byte == b'\n') {
                assert!(line.len() <= 998, "{name:?}");
                assert!(line.is_ascii(), "{name:?}");
            }
            std::fs::write(directory.path().join(format!("{number:02}-{kind:02}.eml")), bytes).unwrap();
            expected.push(&plain[kind]);
        }
    }
    let read = by_python(directory.path());
    assert_eq!(read.len(), expected.len());
    for (mail, (names, parts)) in read.iter().zip(expected) {
        let strings = |name: &str| -> Vec<String> {
            mail[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_lowercase()).collect()
        };
        let mut headers = strings("headers");
        headers.sort();
        assert_eq!((&headers, &strings("parts")), (names, parts), "{mail}");
        assert_eq!(mail["to"], serde_json::json!(["mara@example.com"]));
        assert_eq!(mail["defects"], serde_json::json!([]));
    }
}

#[test]
fn tomorrow_is_relative_to_the_recipients_time_zone() {
    let subject = |told: &str, ends: &str, zone: &str| {
        let key = KeyFacts {
            id: KeyId::new(at(told)),
            name: "prod".to_owned(),
            hint: "kd_…x9Ka".to_owned(),
            owner: "Mara".to_owned(),
            scopes: Vec::new(),
        };
        let letter = KeyExpiring {
            key,
            why: Why::Admin,
            ends_at: at(ends),
            step: DAY,
            impact: Impact::default(),
            unseen: false,
            early: false,
        };
        let subject = subject_of(letter.into(), at(told), zone);
        subject.trim_start_matches("[Acme AI] API key \"prod\" expires ").to_owned()
    };
    let (told, ends) = ("2026-11-29T08:00:00Z", "2026-11-30T20:00:00Z");
    assert_eq!(subject(told, ends, "Europe/Berlin"), "tomorrow (30 Nov)");
    // The same e-mail to a recipient for whom it is a different day.
    assert_eq!(subject(told, ends, "Asia/Tokyo"), "in 1 day (1 Dec)");
    // The last 09:00 that is not too late is up to two days before the expiry.
    assert_eq!(subject(told, "2026-12-01T07:00:00Z", "Europe/Berlin"), "in 1 day (1 Dec)");
    assert_eq!(subject("2026-11-30T01:00:00Z", "2026-11-30T22:00:00Z", "UTC"), "today (30 Nov)");
}

/// Writes the e-mails to a folder for the screenshots of `tests/browser`.
#[test]
fn every_mail_reads_well_as_text_and_in_html() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mails");
    std::fs::create_dir_all(&directory).unwrap();
    let mut subjects = Vec::new();
    for (number, message) in messages("prod-batch").into_iter().enumerate() {
        let event = message.event();
        let bytes = written(message, "Mara");
        let mail = MessageParser::default().parse(&bytes).unwrap();
        let (text, html) = (mail.body_text(0).unwrap(), mail.body_html(0).unwrap());
        subjects.push(mail.subject().unwrap().to_owned());
        for body in [&text, &html] {
            assert!(!body.contains("{{") && !body.contains("{%"), "{body}");
            assert!(body.contains("http://localhost:8080/"), "{body}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(!text.contains("\n\n\n") && !text.contains("\r\n\r\n\r\n"), "{text}");
        // Gmail cuts what is longer.
        assert!(html.len() < 100_000);
        let early = mail.header("List-Unsubscribe").is_some();
        assert!(mail.header("List-Unsubscribe-Post").is_none(), "one click needs https");
        assert_eq!(early, number == 1, "{event}");
        let name = directory.join(format!("{number:02}-{event}"));
        std::fs::write(name.with_extension("html"), html.as_bytes()).unwrap();
        std::fs::write(name.with_extension("txt"), text.as_bytes()).unwrap();
    }
    assert_eq!(
        subjects,
        [
            "[Acme AI] API key \"prod-batch\" was created",
            "[Acme AI] API key \"prod-batch\" expires in 7 days (30 Nov)",
            "[Acme AI] Not acknowledged: API key \"prod-batch\" expires in 3 days (30 Nov)",
            "[Acme AI] Not acknowledged: API key \"prod-batch\" expires tomorrow (30 Nov)",
            "[Acme AI] API key \"prod-batch\" has expired (30 Nov)",
            "[Acme AI] API key \"prod-batch\" expired yesterday and is still being used (312 requests from 2 addresses)",
            "[Acme AI] API key \"prod-batch\" has a new secret",
            "[Acme AI] API key \"prod-batch\" can do more than before",
            "[Acme AI] Dee Park now owns API key \"prod-batch\"",
            "[Acme AI] API key \"prod-batch\" was revoked",
            "[Acme AI] 6 API keys expire soon, 2 of them in use",
            "[Acme AI] 1,206 findings to review",
            "[Acme AI] Test e-mail",
            "[Acme AI] Grace prod-batch invited you to Acme prod-batch",
            "[Acme AI] Confirm your e-mail address",
            "[Acme AI] Choose a new password",
            "[Acme AI] Someone requested a change of your e-mail address",
            "[Acme AI] SSO of prod-batch was added to your sign-in methods",
            "[Acme AI] Bo prod-batch requests 5,000 requests a minute for \"prod-batch\"",
            "[Acme AI] API key \"prod-batch\" is now limited to 2,000 requests a minute",
            "[Acme AI] The limit of API key \"prod-batch\" stays at 600 requests a minute",
            "[Acme AI] Confirm that you want to receive audit checkpoints",
            "[Acme AI] The first checkpoint of the audit log (23 Nov)",
            "[Acme AI] The audit log has 1,284 entries (23 Nov)",
            "[Acme AI] The audit log is broken at entry 5 (23 Nov)",
            "[Acme AI] Checkpoints now go to another address (23 Nov)",
            "[Acme AI] Checkpoints are no longer sent (23 Nov)",
            "[Acme AI] 1,493 notices about API keys",
        ]
    );
}
