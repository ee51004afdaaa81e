//! Removing members and handing over their keys; service accounts.

use serde_json::{Value, json};

use crate::support::{Api, Desk, Org, PASSWORD, Server, desk, text};

/// Makes a key by the command line for someone.
fn key_of(desk: &Desk, org: &Org, owner: &str, name: &str, scopes: &str) -> String {
    let arguments =
        ["key", "create", "--org", &org.slug, "--name", name, "--scope", scopes, "--owner", owner];
    text(&desk.run(&arguments))
}

fn find(org: &Org, name: &str) -> Value {
    let found = org.admin.get(&format!("/v1/api-keys?q={name}")).json();
    found["data"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap().clone()
}

fn remove_path(org: &Org, id: &str) -> String {
    format!("/o/{}/members/{id}/remove", org.slug)
}

#[test]
fn removing_a_member_handles_all_their_keys_in_one_transaction() {
    let (desk, server, org) = desk();
    let second = desk.start();
    let bo = desk.add_member(&org, "bo@example.com", "member");
    let cy = desk.add_member(&org, "cy@example.com", "member");
    let secret = key_of(&desk, &org, "bo@example.com", "to-cy", "inference:read");
    for name in ["to-backup", "to-revoke", "unused"] {
        key_of(&desk, &org, "bo@example.com", name, "inference:read");
    }
    key_of(&desk, &org, "cy@example.com", "backed-up", "inference:read");
    let id = |name: &str| find(&org, name)["id"].as_str().unwrap().to_owned();
    let patch = |name: &str, body: Value| {
        assert_eq!(org.admin.patch(&format!("/v1/api-keys/{}", id(name)), &body).status, 200)
    };
    patch("to-backup", json!({"backup": "cy@example.com"}));
    patch("backed-up", json!({"backup": "bo@example.com"}));
    let elsewhere = second.api(&secret);
    assert_eq!(server.api(&secret).get("/v1/models").status, 200);
    assert_eq!(elsewhere.get("/v1/models").status, 200);
    let mut owner = server.signed_in(&org);
    let page = owner.get(&remove_path(&org, &bo));
    assert_eq!(page.status, 200);
    let rows = page.texts(".heirs tbody tr");
    // The busiest comes first, with its traffic; what the other process counted may follow later.
    assert!(rows[0].starts_with("to-cy") && rows[0].contains("just now"), "{rows:?}");
    let counts = page.texts(".heirs tbody tr:first-child td.number");
    assert!(counts[..2].iter().all(|count| ["1", "2"].contains(&&**count)), "{counts:?}");
    assert!(page.text("main form > .notice.warn").contains("1 key was used in the last 24 hours."));
    assert!(page.text("main form > .notice:not(.warn)").contains("loses its backup: backed-up"));
    // Nothing happens unless all is decided.
    let fates = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let mut all = vec![
            (id("to-cy"), cy.clone()),
            (id("to-backup"), "backup".into()),
            (id("to-revoke"), "revoke".into()),
        ];
        all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all
    };
    let mut post = |fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        owner.post(&remove_path(&org, &bo), &fields)
    };
    let before = desk.database.count("SELECT COUNT(*) AS count FROM audit_entries");
    let open = post(&fates(&[]));
    assert_eq!(open.status, 422);
    assert_eq!(open.texts(".summary li"), ["Choose what happens to unused."]);
    let wrong = post(&fates(&[(&id("unused"), "backup")]));
    assert_eq!(wrong.texts(".summary li"), ["unused has no backup. Choose a new owner."]);
    let wrong = post(&fates(&[(&id("unused"), bo.as_str())]));
    assert_eq!(
        wrong.texts(".summary li"),
        ["The new owner of unused must be an active member. Choose another."]
    );
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM audit_entries"), before);
    assert_eq!(find(&org, "to-revoke")["status"], "active");
    let done = post(&fates(&[("rest", "revoke")]));
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(
        owner.get(&format!("/o/{}/members", org.slug)).text(".notice.ok"),
        "Bo was removed. 2 keys were handed over. 2 keys were revoked. 1 key now has no backup."
    );
    assert_eq!(find(&org, "to-cy")["owner"]["email"], "cy@example.com");
    let backed = find(&org, "to-backup");
    assert_eq!((&backed["owner"]["email"], &backed["backup"]), (&json!("cy@example.com"), &Value::Null));
    assert_eq!(find(&org, "to-revoke")["revoked"]["reason"], "Its owner left");
    assert_eq!(find(&org, "unused")["status"], "revoked");
    assert_eq!(find(&org, "backed-up")["backup"], Value::Null);
    for api in [server.api(&secret), elsewhere] {
        assert_eq!(api.get("/v1/models").status, 200, "a key that is handed over goes on");
    }
    let log = desk.database.lines(
        "SELECT action AS line FROM audit_entries WHERE action NOT LIKE 'person%' ORDER BY position DESC LIMIT 6",
    );
    assert_eq!(
        log,
        ["member.removed", "key.updated", "key.revoked", "key.revoked", "key.updated", "key.updated"]
    );
    let mut gone = server.signed_in_as("bo@example.com");
    assert_eq!(gone.get(&format!("/o/{}/keys", org.slug)).status, 404);
    assert_eq!(gone.get("/account").status, 200, "the person is still known");
    assert_eq!(
        desk.database.count(
            "SELECT COUNT(*) AS count FROM api_keys WHERE revoked_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM members m WHERE m.org_id = api_keys.org_id AND m.person_id = api_keys.owner_id)"
        ),
        0
    );
}

#[test]
fn key_is_not_handed_to_a_member_whose_role_does_not_allow_its_scopes() {
    let (desk, server, org) = desk();
    let bo = desk.add_member(&org, "bo@example.com", "admin");
    let cy = desk.add_member(&org, "cy@example.com", "member");
    key_of(&desk, &org, "bo@example.com", "verifier", "keys:verify");
    let id = find(&org, "verifier")["id"].as_str().unwrap().to_owned();
    let mut owner = server.signed_in(&org);
    let refused = owner.post(&remove_path(&org, &bo), &[(&id, &cy)]);
    assert_eq!(refused.status, 422);
    assert!(refused.text(".summary li").contains("Cy may not have keys:verify, which verifier has."));
    // Someone who was demoted can't raise what their key does by leaving it to an admin.
    let demoted = owner.post(&format!("/o/{}/members/{bo}/role", org.slug), &[("role", "member")]);
    assert_eq!(demoted.status, 303);
    let mut leaving = server.signed_in_as("bo@example.com");
    let leave = format!("/o/{}/leave", org.slug);
    let admin = desk.add_member(&org, "di@example.com", "admin");
    let refused = leaving.post(&leave, &[(&id, &admin)]);
    assert_eq!(refused.texts(".summary li"), ["You may not grant keys:verify, which verifier has."]);
    assert!(
        leaving
            .post(&leave, &[(&id, &cy)])
            .text(".summary li")
            .contains("Leave verifier to an owner, an admin or its backup.")
    );
    assert_eq!(leaving.post(&leave, &[(&id, "revoke")]).header("location"), Some("/account"));
    assert_eq!(leaving.get(&leave).status, 404);
}

#[test]
fn organisation_always_has_an_owner() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let own = desk.id_of(&org.email);
    let role = format!("/o/{}/members/{own}/role", org.slug);
    let leave = format!("/o/{}/leave", org.slug);
    let all = ("rest", "revoke");
    for (path, fields) in [(&role, ("role", "admin")), (&leave, all), (&remove_path(&org, &own), all)] {
        let refused = owner.post(path, &[fields]);
        assert_eq!(refused.status, 422, "{path}");
        assert!(refused.text(".summary").contains("This is the only owner."), "{path}");
    }
    // A second one who is disabled does not count.
    let second = desk.add_member(&org, "bo@example.com", "owner");
    let disable = |act: &str| format!("/o/{}/members/{second}/{act}", org.slug);
    assert_eq!(owner.post(&disable("disable"), &[]).status, 303);
    assert_eq!(owner.post(&leave, &[all]).status, 422);
    assert_eq!(owner.post(&disable("enable"), &[]).status, 303);
    // Of two owners who demote each other at the same time one stays.
    let mut other = server.signed_in_as("bo@example.com");
    let (mine, theirs) = (role.clone(), format!("/o/{}/members/{second}/role", org.slug));
    let demote =
        |browser: &mut crate::support::Browser, path: &str| browser.post(path, &[("role", "member")]).status;
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| demote(&mut owner, &theirs));
        let second = scope.spawn(|| demote(&mut other, &mine));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!([first, second].iter().filter(|status| **status == 303).count(), 1, "{first} {second}");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM members WHERE role = 'owner'"), 1);
}

#[test]
fn service_account_owns_keys_and_has_responsible_people() {
    let (desk, server, org) = desk();
    let (mut owner, own) = (server.signed_in(&org), desk.id_of(&org.email));
    let bo = desk.add_member(&org, "bo@example.com", "member");
    let make = format!("/o/{}/service-accounts", org.slug);
    for fields in [
        vec![("name", ""), ("answerers", &*own)],
        vec![("name", "nightly")],
        vec![("name", "nightly"), ("answerers", "user_00000000000000000000000000")],
    ] {
        assert_eq!(owner.post(&make, &fields).status, 422, "{fields:?}");
    }
    let made = owner.post(&make, &[("name", "Nightly Batch"), ("answerers", &bo)]);
    assert_eq!(made.status, 303, "{}", made.body);
    let page = made.header("location").unwrap().to_owned();
    let account = page.rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(owner.post(&make, &[("name", "nightly batch"), ("answerers", &bo)]).status, 422);
    let address = format!("nightly-batch@{}.invalid", org.slug);
    let secret = key_of(&desk, &org, &address, "batch", "inference:read");
    assert_eq!(server.api(&secret).get("/v1/models").status, 200);
    assert_eq!(find(&org, "batch")["owner"], json!({"id": account, "email": address}));
    // It becomes a member: its keys can do no more, unless an owner promotes it.
    let admin = json!({"name": "ruler", "scopes": ["admin"], "owner": account});
    assert_eq!(org.admin.post("/v1/api-keys", &admin).refusal(), (403, "scope_not_grantable".into()));
    for role in ["owner", "auditor"] {
        assert_eq!(owner.post(&format!("{page}/role"), &[("role", role)]).status, 422, "{role}");
    }
    assert_eq!(owner.post(&format!("{page}/role"), &[("role", "admin")]).status, 303);
    assert_eq!(org.admin.post("/v1/api-keys", &admin).status, 201);
    assert_eq!(owner.post(&format!("{page}/role"), &[("role", "member")]).status, 303);
    // No one can sign in as it, invite it, or set a password for it.
    let signed_in = server.browser().post("/sign-in", &[("email", &address), ("password", PASSWORD)]);
    assert_eq!(signed_in.status, 422);
    let reset = ["user", "reset-password", "--email", &address, "--password-stdin"];
    assert_eq!(desk.run_with_input(&reset, PASSWORD).status.code(), Some(1));
    assert_eq!(
        owner.post(&format!("/o/{}/members", org.slug), &[("email", &address), ("role", "member")]).status,
        422
    );
    assert!(!text(&desk.run(&["user", "list"])).contains("invalid"));
    // The only responsible person can't leave without a replacement.
    let refused = owner.post(&remove_path(&org, &bo), &[("rest", "revoke")]);
    assert_eq!(refused.texts(".summary li"), ["Choose who is responsible for Nightly Batch from now on."]);
    assert_eq!(owner.post(&remove_path(&org, &bo), &[("rest", "revoke"), (&account, &account)]).status, 422);
    assert_eq!(owner.post(&remove_path(&org, &bo), &[("rest", "revoke"), (&account, &own)]).status, 303);
    assert!(owner.get(&page).text(".facts").contains("Responsible peopleAda Lovelace"));
    assert_eq!(server.api(&secret).get("/v1/models").status, 200, "it outlives who answered for it");
    let edited = owner.post(&format!("{make}/{account}/edit"), &[("name", "Batch"), ("answerers", &own)]);
    assert_eq!(edited.status, 303);
    assert_eq!(owner.get(&page).text("h1"), "Batch");
    assert_eq!(owner.post(&remove_path(&org, &account), &[("rest", "revoke")]).status, 303);
    assert_eq!(server.api(&secret).get("/v1/models").refusal(), (401, "key_revoked".into()));
    assert_eq!(owner.get(&page).status, 404);
}

#[test]
fn rights_of_keys_follow_each_change_of_their_owner_in_every_process() {
    let (desk, server, org) = desk();
    let second = desk.start();
    let bo = desk.add_member(&org, "bo@example.com", "admin");
    let secret = key_of(&desk, &org, "bo@example.com", "powerful", "admin,inference:read");
    let (here, there) = (server.api(&secret), second.api(&secret));
    let may = |api: &Api| (api.get("/v1/api-keys").status, api.get("/v1/models").status);
    let mut owner = server.signed_in(&org);
    let mut change = |act: &str, fields: &[(&str, &str)], expected: (u16, u16)| {
        let answer = owner.post(&format!("/o/{}/members/{bo}/{act}", org.slug), fields);
        assert_eq!(answer.status, 303, "{act} {fields:?}: {}", answer.body);
        assert_eq!(may(&here), expected, "{act} {fields:?}");
        crate::support::eventually("the other process follows", || may(&there) == expected);
    };
    assert_eq!((may(&here), may(&there)), ((200, 200), (200, 200)));
    change("role", &[("role", "member")], (403, 200));
    change("role", &[("role", "auditor")], (403, 403));
    change("role", &[("role", "owner")], (200, 200));
    change("disable", &[], (403, 403));
    change("enable", &[], (200, 200));
    change("remove", &[("rest", "revoke")], (401, 401));
}

#[test]
fn member_disabled_in_one_organisation_stays_active_in_others() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other Org");
    desk.join(&org, &other.email, "member");
    let mut owner = server.signed_in(&org);
    let id = desk.id_of(&other.email);
    let mut browser = server.signed_in(&other);
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 200);
    // Switching leads to the same room, where the reader may enter it there.
    let ways = |page: &str, browser: &mut crate::support::Browser| {
        let page = browser.get(page);
        page.attribute(&format!(".switcher a[href^='/o/{}/']", other.slug), "href").unwrap()
    };
    assert_eq!(ways(&format!("/o/{}/members", org.slug), &mut browser), format!("/o/{}/members", other.slug));
    assert_eq!(ways(&format!("/o/{}/keys", org.slug), &mut browser), format!("/o/{}/keys", other.slug));
    let asked = owner.get(&format!("/o/{}/members/{id}/disable", org.slug));
    assert!(asked.text("main").contains("and can be undone."));
    assert_eq!(owner.post(&format!("/o/{}/members/{id}/disable", org.slug), &[]).status, 303);
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 404);
    assert_eq!(browser.get(&format!("/o/{}/keys", other.slug)).status, 200);
    assert_eq!(other.admin.get("/v1/api-keys").status, 200);
    // A key can't be given to a disabled member.
    let body = json!({"name": "x", "scopes": ["inference:read"], "owner": other.email});
    assert_eq!(org.admin.post("/v1/api-keys", &body).fields(), ["owner"]);
    assert_eq!(owner.post(&format!("/o/{}/members/{id}/enable", org.slug), &[]).status, 303);
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 200);
}

#[test]
fn key_created_while_its_owner_is_removed_always_has_an_owner() {
    let (desk, server, org) = desk();
    let make = |server: &Server, round: u32, number: u32| {
        let body = json!({"name": format!("race-{round}-{number}"), "scopes": ["inference:read"],
            "owner": format!("race-{round}@example.com")});
        server.api(&org.admin.key).post("/v1/api-keys", &body).status
    };
    let mut owner = server.signed_in(&org);
    for round in 0..4 {
        let id = desk.add_member(&org, &format!("race-{round}@example.com"), "member");
        let path = remove_path(&org, &id);
        let removed = std::thread::scope(|scope| {
            for number in 0..4 {
                let (make, server) = (&make, &server);
                scope.spawn(move || assert!([201, 422].contains(&make(server, round, number))));
            }
            owner.post(&path, &[("rest", "revoke")]).status
        });
        assert_eq!(removed, 303);
    }
    assert_eq!(
        desk.database.count(
            "SELECT COUNT(*) AS count FROM api_keys WHERE revoked_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM members m WHERE m.org_id = api_keys.org_id AND m.person_id = api_keys.owner_id)"
        ),
        0
    );
}

#[test]
fn admins_hand_a_key_over_and_owners_choose_their_backup() {
    let (desk, server, org) = desk();
    let bo = desk.add_member(&org, "bo@example.com", "member");
    let cy = desk.add_member(&org, "cy@example.com", "auditor");
    let account = desk.add_service_account(&org, "nightly", "member");
    key_of(&desk, &org, &org.email, "batch", "inference:read");
    let id = find(&org, "batch")["id"].as_str().unwrap().to_owned();
    let path = format!("/o/{}/keys/{id}/owner", org.slug);
    let mut owner = server.signed_in(&org);
    let page = owner.get(&path);
    // A member whose role does not allow its scopes can't own it; a service account can't be a backup.
    let offered = |select: &str| page.texts(&format!("{select} option"));
    assert!(!offered("#owner").iter().any(|choice| choice.starts_with("Cy")));
    assert!(offered("#owner").contains(&"Nightly (service account)".to_owned()));
    assert!(!offered("#backup").iter().any(|choice| choice.starts_with("Nightly")));
    let wrong = owner.post(&path, &[("owner", "user_00000000000000000000000000"), ("backup", "")]);
    assert_eq!(wrong.status, 422);
    assert_eq!(owner.post(&path, &[("owner", &bo), ("backup", &cy)]).status, 303);
    let key = find(&org, "batch");
    assert_eq!((&key["owner"]["id"], &key["backup"]["id"]), (&json!(bo), &json!(cy)));
    let mut member = server.signed_in_as("bo@example.com");
    assert_eq!(member.get(&path).texts("#owner").len(), 0);
    assert_eq!(member.post(&path, &[("owner", &account), ("backup", "")]).status, 422);
    assert_eq!(member.post(&path, &[("backup", "")]).status, 303);
    assert_eq!(find(&org, "batch")["backup"], Value::Null);
    assert_eq!(owner.post(&path, &[("owner", &account), ("backup", &bo)]).status, 303);
    assert_eq!(member.get(&path).status, 403, "a backup does not choose who answers");
    assert_eq!(owner.post(&path, &[("owner", &account), ("backup", "")]).status, 303);
    assert_eq!(member.get(&path).status, 404, "no longer theirs");
    assert_eq!(find(&org, "batch")["owner"]["id"], account);
}
