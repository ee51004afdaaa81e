//! Role × role × every route that changes members, and status × every route × every credential:
//! both enumerated from the tables that decide.

use keydesk::orgs::role::{Act, Role};
use keydesk::web::permission::{Permission, TABLE};

use crate::support::{Browser, Desk, desk, text};

/// The routes that are about one member, an invitation of a role or a service account of one.
fn targeted() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE
        .iter()
        .filter(|(_, path, permission)| {
            let writes = matches!(
                permission,
                Permission::Member(Act::WriteMembers) | Permission::MemberFresh(Act::WriteMembers)
            );
            writes && path.contains("{id}")
        })
        .map(|(method, path, _)| (*method, *path))
}

fn send(browser: &mut Browser, method: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
    if method == "GET" { browser.get(path).status } else { browser.post(path, fields).status }
}

#[test]
fn each_role_manages_those_below_it_and_nobody_else() {
    let (desk, server, org) = desk();
    let mut actors: Vec<(Role, Browser)> = Role::ALL
        .into_iter()
        .map(|role| {
            let email = format!("{}@example.com", role.name());
            desk.add_member(&org, &email, role.name());
            (role, server.signed_in_as(&email))
        })
        .collect();
    let mut owner = server.signed_in(&org);
    let (mut cases, mut number) = (0, 0);
    for (method, pattern) in targeted() {
        for target in Role::ALL {
            let is_service = pattern.contains("service-accounts");
            if is_service && !Role::OF_SERVICE_ACCOUNTS.contains(&target) {
                continue;
            }
            for (acting, browser) in &mut actors {
                number += 1;
                let email = format!("target-{number}@example.com");
                let id = if pattern.contains("/invitations/") {
                    owner.post(
                        &format!("/o/{}/members", org.slug),
                        &[("email", &email), ("role", target.name())],
                    );
                    desk.database.execute("UPDATE invitations SET sent_at = 1");
                    let page = owner.get(&format!("/o/{}/members", org.slug));
                    let form = page.attribute("form[action$='/send']", "action");
                    let action = form.unwrap();
                    desk.database.execute("UPDATE invitations SET open_email = NULL");
                    action.split('/').nth(4).unwrap().to_owned()
                } else if is_service {
                    desk.add_service_account(&org, &email, target.name())
                } else {
                    desk.add_member(&org, &email, target.name())
                };
                let path = pattern.replace("{org}", &org.slug).replace("{id}", &id);
                let answerer = desk.id_of(&org.email);
                let fields = [
                    ("role", target.name()),
                    ("rest", "revoke"),
                    ("name", &*email),
                    ("answerers", &*answerer),
                ];
                let status = send(browser, method, &path, &fields);
                if acting.manages(target) {
                    assert!(
                        [200, 303].contains(&status),
                        "{acting:?} {method} {path} on {target:?}: {status}"
                    );
                } else {
                    assert_eq!(status, 403, "{acting:?} {method} {path} on {target:?}");
                }
                if pattern.contains("/invitations/") {
                    desk.database.execute("DELETE FROM invitations");
                }
                cases += 1;
            }
        }
    }
    // What they may give: by invitation and by a change of role.
    for (acting, browser) in &mut actors {
        for given in Role::ALL {
            number += 1;
            let email = format!("given-{number}@example.com");
            let fields = [("email", &*email), ("role", given.name())];
            let invited = browser.post(&format!("/o/{}/members", org.slug), &fields).status;
            let id = desk.add_member(&org, &email.replace("given", "raised"), "auditor");
            let path = format!("/o/{}/members/{id}/role", org.slug);
            let raised = browser.post(&path, &[("role", given.name())]).status;
            match (acting.may(Act::WriteMembers), acting.manages(given)) {
                (false, _) => assert_eq!((invited, raised), (403, 403), "{acting:?} {given:?}"),
                (true, true) => assert_eq!((invited, raised), (303, 303), "{acting:?} {given:?}"),
                (true, false) => assert_eq!((invited, raised), (422, 422), "{acting:?} {given:?}"),
            }
            cases += 2;
        }
    }
    let people = targeted().filter(|(_, path)| !path.contains("service-accounts")).count();
    let services = targeted().count() - people;
    assert_eq!(cases, people * 16 + services * 8 + 32);
}

#[test]
fn who_is_invited_disabled_or_removed_gets_in_nowhere() {
    let (desk, server, org) = desk();
    let key = text(&desk.run(&[
        "key",
        "create",
        "--org",
        &org.slug,
        "--name",
        "target",
        "--scope",
        "inference:read",
    ]));
    let id = org.admin.get("/v1/api-keys?q=target").json()["data"][0]["id"].as_str().unwrap().to_owned();
    let user = desk.id_of(&org.email);
    let before = |desk: &Desk| {
        desk.database.lines(
            "SELECT entry AS line FROM audit_entries WHERE action NOT LIKE 'person.signed%' ORDER BY id",
        )
    };
    let mut cases = 0;
    for status in ["invited", "disabled here", "disabled everywhere", "removed"] {
        let email = format!("{}@example.com", status.replace(' ', "-"));
        let own = desk.add_member(&org, &email, "owner");
        let arguments = [
            "key",
            "create",
            "--org",
            &org.slug,
            "--name",
            status,
            "--scope",
            "admin,inference:read,inference:write,analytics:read,keys:verify",
            "--owner",
            &email,
        ];
        let api = server.api(&text(&desk.run(&arguments)));
        let mut browser = server.signed_in_as(&email);
        assert_eq!(browser.get(&format!("/o/{}/members", org.slug)).status, 200);
        assert_eq!(api.get("/v1/models").status, 200);
        let of = format!("person_id = (SELECT id FROM people WHERE email = '{email}')");
        match status {
            "invited" => {
                let mut owner = server.signed_in(&org);
                desk.database.change(&format!("DELETE FROM members WHERE {of}"));
                let fields = [("email", &*email), ("role", "owner")];
                assert_eq!(owner.post(&format!("/o/{}/members", org.slug), &fields).status, 303);
            }
            "disabled here" => {
                desk.database.change(&format!("UPDATE members SET disabled_at = 1 WHERE {of}"))
            }
            "disabled everywhere" => {
                desk.database.change(&format!("UPDATE people SET disabled_at = 1 WHERE email = '{email}'"))
            }
            _ => desk.database.change(&format!("DELETE FROM members WHERE {of}")),
        }
        let log = before(&desk);
        let locked_out = status == "disabled everywhere";
        for (method, pattern, permission) in TABLE {
            let path = pattern.replace("{org}", &org.slug);
            let path = if path.contains("/members/") || path.contains("/service-accounts/") {
                path.replace("{id}", &user)
            } else {
                path.replace("{id}", &id)
            };
            match permission {
                Permission::Member(_) | Permission::MemberFresh(_) => {
                    let answer = send(&mut browser, method, &path, &[("rest", "revoke"), ("role", "member")]);
                    let expected = if locked_out { 303 } else { 404 };
                    assert_eq!(answer, expected, "{status}: {method} {path}");
                    cases += 1;
                }
                Permission::Key(_) => {
                    let body = (*method != "GET").then_some("{}");
                    let answer = api.send(method, &path, &[], body);
                    assert_eq!(
                        answer.refusal(),
                        (403, "insufficient_scope".into()),
                        "{status}: {method} {path}"
                    );
                    // A session is no credential of the API.
                    let with_cookie = server.api("").send(
                        method,
                        &path,
                        &[("cookie", browser.cookie.as_deref().unwrap_or("keydesk=x"))],
                        body,
                    );
                    assert_eq!(
                        with_cookie.refusal(),
                        (401, "missing_credential".into()),
                        "{status}: {method} {path}"
                    );
                    cases += 2;
                }
                _ => {}
            }
        }
        let signed_in =
            server.browser().post("/sign-in", &[("email", &email), ("password", crate::support::PASSWORD)]);
        assert_eq!(signed_in.status, if locked_out { 422 } else { 303 }, "{status}");
        assert_eq!(before(&desk), log, "{status}: nothing was changed");
        assert!(!own.is_empty());
    }
    assert_eq!(server.api(&key).get("/v1/models").status, 200);
    assert!(cases > 200, "{cases} cases are too few to be all");
}

#[test]
fn changing_members_needs_a_fresh_sign_in() {
    let (desk, server, org) = desk();
    let id = desk.add_member(&org, "bo@example.com", "member");
    let mut browser = server.signed_in(&org);
    crate::fresh_sign_in::grow_stale(&desk);
    let mut cases = 0;
    for (method, pattern, permission) in TABLE {
        if !matches!(permission, Permission::MemberFresh(Act::WriteMembers | Act::Leave)) {
            continue;
        }
        let path = pattern.replace("{org}", &org.slug).replace("{id}", &id);
        let status = send(&mut browser, method, &path, &[("role", "admin"), ("rest", "revoke")]);
        assert_eq!(status, if *method == "GET" { 303 } else { 403 }, "{method} {path}");
        cases += 1;
    }
    assert!(cases >= 9, "{cases}");
    // To let someone manage others is such a change too.
    let mut invite = |role: &str| {
        let fields = [("email", &*format!("{role}@example.com")), ("role", role)];
        browser.post(&format!("/o/{}/members", org.slug), &fields).status
    };
    assert_eq!([invite("admin"), invite("owner"), invite("member"), invite("auditor")], [403, 403, 303, 303]);
    let roles = desk.database.lines("SELECT role AS line FROM members ORDER BY role");
    assert_eq!(roles, ["member", "owner"]);
}
