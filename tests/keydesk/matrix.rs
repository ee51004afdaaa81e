//! Access to every route: role × owner's role × route × credential, and status × route × credential, both
//! enumerated from the tables that decide.

use keydesk::role::{Act, Reach, Role};
use keydesk::scope::{Scope, Scopes};
use keydesk::web::permission::Permission;
use serde_json::json;

use crate::support::{Answer, Api, Browser, Desk, Org, PASSWORD, Server, TABLE, desk};

const SCOPES: &str = "inference:read,inference:write,analytics:read,keys:verify,admin";

fn is_api(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// Sends what is wrong for most forms, so that who is let in changes as little as can be.
fn visit(browser: &Browser, method: &str, path: &str, key: Option<&Api>) -> Answer {
    let authorization = key.map(|api| format!("Bearer {}", api.key)).unwrap_or_default();
    let mut headers = vec![("sec-fetch-site", "same-origin")];
    if !authorization.is_empty() {
        headers.push(("authorization", &authorization));
    }
    let fields = [("nothing", "like it")];
    // Cookies from the response must not affect the next request.
    browser.clone().request(method, path, &fields, &headers)
}

fn call(api: &Api, method: &str, path: &str, browser: Option<&Browser>) -> Answer {
    let method = if method == "ANY" { "GET" } else { method };
    let body = (method != "GET").then_some("{}");
    let cookie = browser.and_then(|browser| browser.cookie.as_deref()).unwrap_or_default();
    api.send(method, path, &[("cookie", cookie)], body)
}

/// A key of this person with these scopes: its object and its secret.
fn key_of(desk: &Desk, org: &Org, email: &str, name: &str, scopes: &str) -> (String, Api) {
    let scopes: Vec<&str> = scopes.split(',').collect();
    let key = org.admin.create(&json!({"name": name, "scopes": scopes, "expires_in_days": 90}));
    desk.database.execute(&format!(
        "UPDATE api_keys SET owner_id = (SELECT id FROM people WHERE email = '{email}') WHERE name = '{name}'"
    ));
    let mut api = org.admin.clone();
    key["key"].as_str().unwrap().clone_into(&mut api.key);
    (key["id"].as_str().unwrap().to_owned(), api)
}

/// Saves the current sessions, so that ending one affects only one case.
fn keep_sessions(desk: &Desk) {
    desk.database.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM sessions");
}

/// Restores the sessions, and clears throttling.
fn restore_sessions(desk: &Desk) {
    desk.database.execute(
        "DELETE FROM sessions; INSERT INTO sessions SELECT * FROM kept; DELETE FROM sign_in_attempts",
    );
}

/// What a role's reach allows for something that a member with the other role owns.
fn reaches(role: Role, act: Act, is_own: bool) -> bool {
    match role.reach(act) {
        Reach::All => true,
        Reach::Own => is_own,
        Reach::No => false,
    }
}

/// The path with what the case is about in its place.
fn path_for(pattern: &str, org: &Org, key: &str, member: &str) -> String {
    let id = match pattern {
        _ if pattern.contains("/api-keys/") || pattern.contains("/keys/{id}") => key,
        _ if pattern.contains("/members/") => member,
        _ if pattern.contains("/mail/") => "mail_00000000000000000000000000",
        _ if pattern.contains("/invitations/") => "inv_00000000000000000000000000",
        _ => "user_00000000000000000000000000",
    };
    let path = pattern.replace("{org}", &org.slug).replace("{id}", id).replace("{index}", "0");
    path.replace("{rest:.*}", "any/path")
        .replace("{model:.*}", "echo")
        .replace("{token}", "unknown")
        .replace("{provider}", "github")
}

/// Whether there is nothing at the route's path in these tests, so that who is let in finds that.
fn is_empty(pattern: &str) -> bool {
    ["/mail/{id}/", "/invitations/{id}/", "/service-accounts/{id}/", "/limit/decision", "/review/"]
        .iter()
        .any(|part| pattern.contains(part))
}

#[test]
fn each_role_can_use_exactly_the_pages_and_forms_in_the_table() {
    let (desk, server, org) = desk();
    let people: Vec<(Role, String, Browser)> = Role::ALL
        .into_iter()
        .map(|role| {
            let email = format!("{}@example.com", role.name());
            desk.add_member(&org, &email, role.name());
            let browser = server.signed_in_as(&email);
            (role, email, browser)
        })
        .collect();
    keep_sessions(&desk);
    let portal = || TABLE.iter().filter(|(_, path, _)| !is_api(path));
    let (mut cases, mut open) = (0, Vec::new());
    for (acting, _, browser) in &people {
        let mut of_role = Vec::new();
        for (method, pattern, permission) in portal() {
            let names_key = pattern.contains("/keys/{id}");
            for (owner, owner_email, _) in &people {
                if !names_key && owner != acting {
                    continue;
                }
                cases += 1;
                let key = if names_key {
                    key_of(&desk, &org, owner_email, &format!("key-{cases}"), "inference:read").0
                } else {
                    String::new()
                };
                let member = if pattern.contains("/members/{id}") {
                    desk.add_member(&org, &format!("target-{cases}@example.com"), "auditor")
                } else {
                    String::new()
                };
                let path = path_for(pattern, &org, &key, &member);
                let status = visit(browser, method, &path, None).status;
                let case = format!("{acting:?} {method} {path} of {owner:?}: {status}");
                assert!(status < 500 && status != 401, "{case}");
                let is_own = owner == acting;
                match permission {
                    Permission::Public | Permission::Page => of_role.push((*method, *pattern, status)),
                    Permission::SignedIn | Permission::SignedInFresh if names_key => {
                        assert_eq!(status != 404, reaches(*acting, Act::ReadKeys, is_own), "{case}");
                    }
                    Permission::SignedIn | Permission::SignedInFresh => assert_ne!(status, 403, "{case}"),
                    Permission::Member(act) | Permission::MemberFresh(act) => {
                        if !acting.may(*act) {
                            assert_eq!(status, 403, "{case}");
                        } else if names_key && !reaches(*acting, *act, is_own) {
                            assert_eq!(status, 404, "{case}");
                        } else {
                            assert!(status != 403 && (status != 404 || is_empty(pattern)), "{case}");
                        }
                    }
                    other => unreachable!("{other:?} is for the API"),
                }
                if *method != "GET" {
                    restore_sessions(&desk);
                }
            }
        }
        open.push(of_role);
    }
    assert!(open.iter().all(|answers| *answers == open[0]), "a role plays no part there: {open:?}");
    println!("role × owner's role × routes of the portal: {cases} cases");
    assert_eq!(
        cases,
        portal().map(|(_, path, _)| if path.contains("/keys/{id}") { 16 } else { 4 }).sum::<i32>()
    );
}

#[test]
fn key_can_use_exactly_the_routes_that_its_owners_role_allows() {
    let (desk, server, org) = desk();
    let owners: Vec<(Role, String)> =
        Role::ALL.into_iter().map(|role| (role, format!("{}@example.com", role.name()))).collect();
    for (role, email) in &owners {
        desk.add_member(&org, email, role.name());
    }
    let api = || TABLE.iter().filter(|(_, path, _)| is_api(path));
    let mut cases = 0;
    for (role, email) in &owners {
        for (method, pattern, permission) in api() {
            for (_, target_email) in &owners {
                if !pattern.contains("{id}") && target_email != email {
                    continue;
                }
                cases += 1;
                let (own_id, own) = key_of(&desk, &org, email, &format!("own-{cases}"), SCOPES);
                let (id, _) = key_of(&desk, &org, target_email, &format!("target-{cases}"), "inference:read");
                let answer = call(&own, method, &path_for(pattern, &org, &id, ""), None);
                let case = format!("{role:?} {method} {pattern} of {target_email}: {}", answer.body);
                assert!(answer.status < 500, "{case}");
                let may = match permission {
                    Permission::Key(scope) => role.grantable().has(*scope),
                    Permission::AdminOrSelf => role.grantable().has(Scope::Admin),
                    Permission::ScopesInQuery => role.grantable() != Scopes::NONE,
                    _ => true,
                };
                if may {
                    assert!(![401, 403, 404].contains(&answer.status), "{case}");
                } else {
                    assert_eq!(answer.refusal(), (403, "insufficient_scope".into()), "{case}");
                }
                // About itself a key needs no scope; to rotate itself it must have been allowed to.
                if *permission == Permission::AdminOrSelf && target_email == email {
                    let itself = call(&own, method, &path_for(pattern, &org, &own_id, ""), None);
                    let is_rotation = pattern.ends_with("/rotate");
                    assert_eq!(itself.status == 403, is_rotation && !may, "{case}: {}", itself.body);
                    cases += 1;
                }
            }
        }
    }
    println!("role × role × routes of the API: {cases} cases");
    let size = |path: &str, permission| match (path.contains("{id}"), permission) {
        (true, Permission::AdminOrSelf) => 20,
        (true, _) => 16,
        (false, _) => 4,
    };
    assert_eq!(cases, api().map(|(_, path, permission)| size(path, *permission)).sum::<i32>());
    assert_eq!(server.stop(), Some(0));
}

/// Why someone has no access to an organisation that they owned a moment ago.
const STATUSES: [&str; 4] = ["invited", "disabled in this organisation", "disabled everywhere", "removed"];

fn become_so(desk: &Desk, server: &Server, org: &Org, status: &str, email: &str) {
    let of = format!("person_id = (SELECT id FROM people WHERE email = '{email}')");
    match status {
        "invited" => {
            desk.database.change(&format!("DELETE FROM members WHERE {of}"));
            let fields = [("email", email), ("role", "owner")];
            let invited = server.signed_in(org).post(&format!("/o/{}/members", org.slug), &fields);
            assert_eq!(invited.status, 303);
        }
        "disabled in this organisation" => {
            desk.database.change(&format!("UPDATE members SET disabled_at = 1 WHERE {of}"))
        }
        "disabled everywhere" => {
            desk.database.change(&format!("UPDATE people SET disabled_at = 1 WHERE email = '{email}'"));
        }
        _ => desk.database.change(&format!("DELETE FROM members WHERE {of}")),
    }
}

#[test]
fn invited_disabled_and_removed_people_get_no_access() {
    let desk = Desk::new();
    let server = desk.start();
    let org = desk.set_up(&server, "Hidden House");
    let (target, _) = key_of(&desk, &org, &org.email, "a-target-of-theirs", "inference:read");
    let member = desk.id_of(&org.email);
    let log = || {
        desk.database.lines(
            "SELECT entry AS line FROM audit_entries WHERE action NOT LIKE 'person.%' ORDER BY position",
        )
    };
    let mut cases = 0;
    for status in STATUSES {
        let email = format!("{}@example.com", status.replace(' ', "-"));
        desk.add_member(&org, &email, "owner");
        let (_, key) = key_of(&desk, &org, &email, &format!("of-{}", status.replace(' ', "-")), SCOPES);
        let browser = server.signed_in_as(&email);
        let members = format!("/o/{}/members", org.slug);
        assert_eq!(visit(&browser, "GET", &members, None).status, 200);
        assert_eq!(key.get("/v1/models").status, 200);
        become_so(&desk, &server, &org, status, &email);
        keep_sessions(&desk);
        let before = log();
        let locked_out = status == "disabled everywhere";
        let (stranger, nobody) = (server.browser(), server.api(""));
        for (method, pattern, permission) in TABLE.iter() {
            let path = path_for(pattern, &org, &target, &member);
            let case = |answer: &Answer, with: &str| {
                assert!(answer.status < 500, "{status}: {method} {path} with {with}: {}", answer.body);
                format!("{status}: {method} {path} with {with}: {} {}", answer.status, answer.body)
            };
            if is_api(pattern) && *permission != Permission::Public {
                // A session is no credential here, and makes none better.
                let session = call(&nobody, method, &path, Some(&browser));
                assert_eq!(
                    session.refusal(),
                    (401, "missing_credential".into()),
                    "{}",
                    case(&session, "session")
                );
                for with in [None, Some(&browser)] {
                    let answer = call(&key, method, &path, with);
                    let case = case(&answer, "key");
                    if *permission == Permission::AnyKey {
                        assert_eq!(answer.status, 200, "{case}");
                    } else {
                        assert_eq!(answer.refusal(), (403, "insufficient_scope".into()), "{case}");
                    }
                }
                cases += 3;
                continue;
            }
            // Neither is a key a credential for people.
            let of_stranger = visit(&stranger, method, &path, None);
            restore_sessions(&desk);
            let with_key = visit(&stranger, method, &path, Some(&key));
            restore_sessions(&desk);
            assert_eq!(with_key.status, of_stranger.status, "{}", case(&with_key, "key"));
            for with in [None, Some(&key)] {
                let answer = visit(&browser, method, &path, with);
                let case = case(&answer, "session");
                let of_theirs = pattern.contains("{org}") || pattern.contains("/keys/{id}");
                match permission {
                    _ if locked_out => assert_eq!(answer.status, of_stranger.status, "{case}"),
                    Permission::Public | Permission::Page => {}
                    _ if of_theirs => assert_eq!(answer.status, 404, "{case}"),
                    _ => assert!(![401, 403].contains(&answer.status), "{case}"),
                }
                for of_theirs in ["hidden-house", "Hidden House", "a-target-of-theirs"] {
                    assert!(
                        !answer.body.contains(of_theirs) || answer.body.contains("/sign-in?next="),
                        "{case}"
                    );
                }
                restore_sessions(&desk);
            }
            cases += 3;
        }
        let signed_in = server.browser().post("/sign-in", &[("email", &email), ("password", PASSWORD)]);
        assert_eq!(signed_in.status, if locked_out { 422 } else { 303 }, "{status}");
        assert_eq!(log(), before, "{status}: nothing was changed");
    }
    println!("status × route × credential: {cases} cases");
    assert_eq!(cases, STATUSES.len() * TABLE.len() * 3);
}

/// Accounts are created only by set-up and by invitations to an address, so an unconfirmed address neither adds nor
/// removes rights. It opens no account at a provider either; see `providers`.
#[test]
fn unconfirmed_address_makes_no_difference_on_any_route() {
    let (desk, server, org) = desk();
    let mut twins = Vec::new();
    for (email, confirmed) in [("one@example.com", "1"), ("two@example.com", "NULL")] {
        desk.add_member(&org, email, "admin");
        desk.database
            .execute(&format!("UPDATE people SET email_verified_at = {confirmed} WHERE email = '{email}'"));
        twins.push((email, server.signed_in_as(email)));
    }
    keep_sessions(&desk);
    let mut cases = 0;
    for (method, pattern, permission) in TABLE.iter() {
        let mut answers = Vec::new();
        for (email, browser) in &twins {
            cases += 1;
            let (id, _) = key_of(&desk, &org, email, &format!("target-{cases}"), "inference:read");
            let member = desk.add_member(&org, &format!("target-{cases}@example.com"), "member");
            let (_, own) = key_of(&desk, &org, email, &format!("own-{cases}"), SCOPES);
            let path = path_for(pattern, &org, &id, &member);
            let by_key = if is_api(pattern) { call(&own, method, &path, None).status } else { 0 };
            let by_session = if is_api(pattern) { 0 } else { visit(browser, method, &path, None).status };
            restore_sessions(&desk);
            answers.push((by_key, by_session));
        }
        assert_eq!(answers[0], answers[1], "{method} {pattern} {permission:?}");
        assert!(answers[0].0 < 500 && answers[0].1 < 500, "{method} {pattern}: {answers:?}");
    }
    println!("unconfirmed address × route: {cases} cases");
    assert_eq!(cases, TABLE.len() * 2);
}
