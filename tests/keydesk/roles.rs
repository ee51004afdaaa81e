//! Role × role × every route that changes members, enumerated from the tables that decide.
//! Every other route is in `matrix`.

use keydesk::role::{Act, Role};
use keydesk::web::permission::Permission;

use crate::support::{Browser, TABLE, desk};

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
fn each_role_manages_only_the_roles_below_it() {
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
    println!("role × role × routes that change members: {cases} cases");
    let people = targeted().filter(|(_, path)| !path.contains("service-accounts")).count();
    let services = targeted().count() - people;
    assert_eq!(cases, people * 16 + services * 8 + 32);
}

#[test]
fn changing_members_needs_a_fresh_sign_in() {
    let (desk, server, org) = desk();
    let id = desk.add_member(&org, "bo@example.com", "member");
    let mut browser = server.signed_in(&org);
    crate::fresh_sign_in::grow_stale(&desk);
    let mut cases = 0;
    for (method, pattern, permission) in TABLE.iter() {
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
