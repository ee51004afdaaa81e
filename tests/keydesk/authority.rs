//! A right must still exist at the commit: every route that can change something, combined with every way in
//! which the right of its principal can end between the head of a request and the end of its body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keydesk::role::{Act, Role};
use keydesk::web::permission::Permission;
use serde_json::{Value, json};

use crate::support::stage::{Call, ELSEWHERE, IN_PASSING, Request, Stage};
use crate::support::{Api, Desk, TABLE, desk};

/// How a right ends. Each is written directly to the database, and undone afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// Nothing ends: the request must succeed, otherwise the other cases prove nothing.
    Control,
    KeyRevoked,
    KeyExpired,
    KeyDisabled,
    SignedOut,
    PersonDisabled,
    MembershipDisabled,
    Demoted,
    Removed,
    /// The sign-in is no longer fresh.
    Stale,
}
use Ending::*;

impl Ending {
    fn statement(self) -> &'static str {
        match self {
            Control | Stale => "",
            KeyRevoked => "UPDATE api_keys SET revoked_at = 1, revoked_by = 'system'",
            KeyExpired => "UPDATE api_keys SET expires_at = 1",
            KeyDisabled => "UPDATE api_keys SET disabled_at = 1, disabled_by = 'system'",
            SignedOut => "DELETE FROM sessions",
            PersonDisabled => "UPDATE people SET disabled_at = 1",
            MembershipDisabled => "UPDATE members SET disabled_at = 1",
            Demoted => "UPDATE members SET role = 'auditor'",
            Removed => "DELETE FROM members",
        }
    }

    /// The ways in which the right to a route can end.
    fn of(permission: Permission, pattern: &str) -> Vec<Ending> {
        match permission {
            Permission::Key(_) | Permission::AdminOrSelf => {
                vec![Control, KeyRevoked, KeyExpired, KeyDisabled, PersonDisabled, Demoted, Removed]
            }
            Permission::AnyKey => vec![Control, KeyRevoked, KeyExpired, KeyDisabled],
            // It answers without waiting for a body.
            Permission::ScopesInQuery => Vec::new(),
            Permission::Member(act) => Ending::of_member(act).collect(),
            Permission::MemberFresh(act) => Ending::of_member(act).chain([Stale]).collect(),
            Permission::SignedIn => vec![Control, SignedOut, PersonDisabled],
            Permission::SignedInFresh => vec![Control, SignedOut, PersonDisabled, Stale],
            // Of the public pages, this one needs a signed-in person.
            Permission::Page if pattern.ends_with("/accept") => vec![Control, SignedOut, PersonDisabled],
            // The others are authorised by a link or a password in the body.
            Permission::Page | Permission::Public => Vec::new(),
        }
    }

    fn of_member(act: Act) -> impl Iterator<Item = Ending> {
        let all = [Control, SignedOut, PersonDisabled, MembershipDisabled, Removed];
        // No change of role ends a right that auditors have too.
        all.into_iter().chain((!Role::Auditor.may(act)).then_some(Demoted))
    }
}

/// A request of which the head and the first half of the body are sent.
struct Begun {
    stream: TcpStream,
    rest: String,
}

impl Begun {
    fn new(base: &str, request: &Request) -> Begun {
        let Request { method, path, headers, body, .. } = request;
        // Something must be left to send.
        let body = if body.is_empty() { "nothing=like-it" } else { body.as_str() };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 100"), "{method} {path}: {line}");
        let half = body.len() / 2;
        stream.write_all(&body.as_bytes()[..half]).unwrap();
        // The gate looks at the head while this passes. Where it is slower the case is an easier one, and
        // no less right.
        std::thread::sleep(Duration::from_millis(60));
        Begun { stream, rest: body[half..].to_owned() }
    }

    /// Sends the rest; status, headers and body of what comes back.
    fn finish(mut self) -> (u16, String) {
        self.stream.write_all(self.rest.as_bytes()).unwrap();
        let mut text = Vec::new();
        self.stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let text = text.split_once("HTTP/1.1 ").unwrap_or_else(|| panic!("{text:?}")).1.to_owned();
        (text[..3].parse().unwrap(), text)
    }
}

impl Stage {
    fn keep(&self) {
        let kept = ["sessions", "people", "members"].map(|table| {
            format!("DROP TABLE IF EXISTS kept_{table}; CREATE TABLE kept_{table} AS SELECT * FROM {table};")
        });
        self.desk.database.execute(&kept.concat());
        self.desk.database.execute(
            "DROP TABLE IF EXISTS kept_keys;
             CREATE TABLE kept_keys AS SELECT id, revoked_at, revoked_by, expires_at, disabled_at, disabled_by FROM api_keys",
        );
    }

    /// Everything as it was kept, as far as [`Ending`] changes it.
    fn restore(&self) {
        let kept = |column| format!("{column} = (SELECT {column} FROM kept_keys k WHERE k.id = api_keys.id)");
        let columns = ["revoked_at", "revoked_by", "expires_at", "disabled_at", "disabled_by"].map(kept);
        self.desk.database.change(&format!(
            "DELETE FROM sessions; INSERT INTO sessions SELECT * FROM kept_sessions;
             UPDATE people SET disabled_at = NULL;
             DELETE FROM members; INSERT INTO members SELECT * FROM kept_members;
             UPDATE api_keys SET {} WHERE id IN (SELECT id FROM kept_keys);
             DELETE FROM sign_in_attempts",
            columns.join(", ")
        ));
    }

    /// Ages every session so that its sign-in is fresh for one or two more seconds; returns until when.
    fn age_sessions(&self) -> jiff::Timestamp {
        let proved = jiff::Timestamp::now().as_second() - 598;
        self.desk.database.execute(&format!(
            "UPDATE sessions SET signed_in_at = {proved}000000,
                state = replace(state, substr(state, {place}, {length}), '\"proved_at\":\"\\\"{proved}\\\"')",
            place = self.place_of("proved_at"),
            length = "\"proved_at\":\"\\\"1234567890\\\"".len(),
        ));
        jiff::Timestamp::from_second(proved + 600).unwrap()
    }

    fn place_of(&self, name: &str) -> String {
        let quoted = format!("'\"{name}\":'");
        if self.desk.database.is_postgres() {
            format!("position({quoted} in state)")
        } else {
            format!("instr(state, {quoted})")
        }
    }
}

/// What a refused request may write, besides the server's background work.
fn state(stage: &Stage) -> Vec<String> {
    let kept = ["kept_sessions", "kept_people", "kept_members", "kept_keys", "feed_head", "key_changes"];
    let tables: Vec<&str> = ELSEWHERE.iter().copied().chain(kept).collect();
    stage.desk.database.state(&tables, IN_PASSING)
}

/// Goes through the routes of the table for which `is_meant` holds.
fn no_right_outlives_its_end(is_meant: impl Fn(Permission) -> bool) -> usize {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let owner = server.signed_in(&org);
    let mut stage = Stage { desk, server, org, owner };
    let mut cases = 0;
    for (method, pattern, permission) in TABLE.iter().filter(|(method, _, _)| *method != "GET") {
        if !is_meant(*permission) {
            continue;
        }
        for ending in Ending::of(*permission, pattern) {
            stage.owner = stage.server.signed_in(&stage.org);
            let (_, call) = stage.ready(method, pattern);
            let Call::Request(request) = call else { panic!("{pattern}") };
            stage.rest();
            let stale_at = (ending == Stale).then(|| stage.age_sessions());
            stage.keep();
            let entries = stage.entries();
            let begun = Begun::new(&stage.server.base, &request);
            if let Some(stale_at) = stale_at {
                let rest =
                    stale_at.duration_since(jiff::Timestamp::now()) + jiff::SignedDuration::from_millis(100);
                std::thread::sleep(rest.try_into().unwrap_or_default());
            } else if ending != Control {
                stage.desk.database.change(ending.statement());
            }
            let before = state(&stage);
            let (status, text) = begun.finish();
            let case = format!("{method} {pattern} {ending:?}: {text}");
            if ending == Control {
                assert!([200, 201, 204, 303].contains(&status), "{case}");
                assert!(!text.contains("location: /sign-in"), "{case}");
            } else {
                match ending {
                    SignedOut | PersonDisabled if request.path.starts_with("/v1/") => {
                        assert_eq!(status, 403, "{case}");
                    }
                    // A disabled person has no valid password.
                    PersonDisabled if status == 422 => assert_eq!(*pattern, "/account/password", "{case}"),
                    SignedOut | PersonDisabled => {
                        // This one changes nothing but the session, and where that is over its cookie opens
                        // nothing any more.
                        let is_of_session = *pattern == "/sign-in/again";
                        if ending == SignedOut {
                            let open = "SELECT COUNT(*) AS count FROM sessions WHERE person_id IS NOT NULL";
                            assert_eq!(stage.desk.database.count(open), 0, "{case}");
                        }
                        // Signing out twice is no failure either.
                        let asks = is_of_session
                            || text.contains("location: /sign-in")
                            || text.contains("location: /invitations/");
                        assert!(status == 303 && asks, "{case}");
                    }
                    KeyRevoked | KeyExpired | KeyDisabled => assert_eq!(status, 401, "{case}"),
                    Stale => assert_eq!(status, 403, "{case}"),
                    _ => assert!([403, 404].contains(&status), "{case}"),
                }
                let after = state(&stage);
                let changed: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
                assert!(before == after, "{case} changed {changed:#?}");
                assert!(stage.entries() <= entries + 1, "{case}");
            }
            stage.restore();
            cases += 1;
        }
    }
    cases
}

#[test]
fn key_that_stops_working_during_a_request_changes_nothing() {
    let is_of_keys =
        |permission| matches!(permission, Permission::Key(_) | Permission::AdminOrSelf | Permission::AnyKey);
    let cases = no_right_outlives_its_end(is_of_keys);
    assert!(cases > 80, "{cases}");
}

#[test]
fn member_who_loses_the_right_during_a_request_changes_nothing() {
    let is_of_members = |permission| matches!(permission, Permission::Member(_) | Permission::MemberFresh(_));
    let cases = no_right_outlives_its_end(is_of_members);
    assert!(cases > 200, "{cases}");
}

#[test]
fn person_who_is_signed_out_during_a_request_changes_nothing() {
    let is_of_people = |permission| {
        matches!(permission, Permission::SignedIn | Permission::SignedInFresh | Permission::Page)
    };
    let cases = no_right_outlives_its_end(is_of_people);
    assert!(cases > 20, "{cases}");
}

#[test]
fn keys_created_during_a_revocation_precede_it_in_the_log() {
    let (_desk, server, org) = desk();
    let mut created = 0;
    for round in 0..40 {
        let key = org.admin.create(&json!({"name": format!("actor-{round}"), "scopes": ["admin"],
            "requests_per_minute": 10_000}));
        let (id, api) = (key["id"].as_str().unwrap(), server.api(key["key"].as_str().unwrap()));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let creators: Vec<_> = (0..16)
                .map(|thread| {
                    let (api, stop) = (api.clone(), &stop);
                    scope.spawn(move || creates(&api, round, thread, stop))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(30));
            let revoked = org.admin.post(&format!("/v1/api-keys/{id}/revoke"), &json!({}));
            stop.store(true, Ordering::Relaxed);
            assert_eq!(revoked.status, 200, "{}", revoked.body);
            created += creators.into_iter().map(|creator| creator.join().unwrap()).sum::<usize>();
        });
        let entries =
            org.admin.get(&format!("/v1/audit-events?target={id}&action=key.revoked&limit=1")).json();
        let revoked = index(&entries["data"][0]);
        let behind = org.admin.get(&format!("/v1/audit-events?actor={id}&limit=100")).json();
        let behind: Vec<_> =
            behind["data"].as_array().unwrap().iter().filter(|entry| index(entry) > revoked).collect();
        assert!(behind.is_empty(), "round {round}: {behind:#?}");
    }
    assert!(created > 10, "the race was never on: {created}");
}

fn index(entry: &Value) -> i64 {
    entry["index"].as_i64().unwrap_or_else(|| panic!("{entry}"))
}

/// Creates keys until it is refused or told to stop. Returns how many.
fn creates(api: &Api, round: usize, thread: usize, stop: &AtomicBool) -> usize {
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("made-{round}-{thread}-{made}");
        let answer = api.post("/v1/api-keys", &json!({"name": name, "scopes": ["inference:read"]}));
        match answer.status {
            201 => made += 1,
            401 => break,
            _ => panic!("{}", answer.body),
        }
    }
    made
}

#[test]
fn stored_response_is_not_replayed_to_a_key_that_no_longer_works() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "actor", "scopes": ["admin"]}));
    let api = server.api(key["key"].as_str().unwrap());
    let body = json!({"name": "made", "scopes": ["inference:read"]}).to_string();
    let create = || api.send("POST", "/v1/api-keys", &[("idempotency-key", "once")], Some(&body));
    assert_eq!(create().status, 201);
    assert_eq!(create().header("idempotency-replayed"), Some("true"));
    let request = Request {
        method: "POST",
        path: "/v1/api-keys".to_owned(),
        headers: vec![
            ("authorization".to_owned(), format!("Bearer {}", api.key)),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("idempotency-key".to_owned(), "once".to_owned()),
        ],
        body: body.clone(),
        ..Request::new(&server.base)
    };
    let begun = Begun::new(&server.base, &request);
    let revoked = org.admin.post(&format!("/v1/api-keys/{}/revoke", key["id"].as_str().unwrap()), &json!({}));
    assert_eq!(revoked.status, 200);
    let (status, text) = begun.finish();
    assert_eq!(status, 401, "{text}");
    assert!(!text.contains("made") && text.contains("key_revoked"), "{text}");
}

#[test]
fn interfaces_open_changes_with_the_acting_principal() {
    // Transactions that no signed-in person or key asks for: each uses up a link, a token or a provider's
    // answer, or signs what the log already holds.
    let others = [
        "portal/audit/export.rs",
        "portal/entrance/cancel_email.rs",
        "portal/audit/proof.rs",
        "portal/entrance/checkpoints.rs",
        "portal/entrance/invitation.rs",
        "portal/account/notices.rs",
        "portal/entrance/provider/mod.rs",
        "portal/entrance/provider/arrival.rs",
        "portal/entrance/reset_password.rs",
        "portal/entrance/setup.rs",
        "portal/entrance/verify_email.rs",
        "api/audit.rs",
    ];
    let mut found = Vec::new();
    for folder in ["portal", "api", "gateway"] {
        search(&format!("{}/src/{folder}", env!("CARGO_MANIFEST_DIR")), &mut found);
    }
    let bypassing: Vec<_> =
        found.iter().filter(|path| !others.iter().any(|other| path.ends_with(other))).collect();
    assert!(bypassing.is_empty(), "these write without `change`: {bypassing:?}");
    assert!(found.len() >= 8, "the search finds too little: {found:?}");
}

/// The files below a folder that write to the database without opening a change.
fn search(folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        if std::path::Path::new(&path).is_dir() {
            search(&path, found);
        } else if std::fs::read_to_string(&path)
            .unwrap()
            .replace(char::is_whitespace, "")
            .contains(".db.write(")
        {
            found.push(path);
        }
    }
}
