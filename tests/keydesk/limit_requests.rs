//! Limit requests: made by members on the key's page, decided by admins, notified by e-mail.

use serde_json::{Value, json};

use crate::support::{Browser, Desk, Org, Server, desk, eventually};

/// A member with a key, and that key as its object.
fn member_with_key(desk: &Desk, server: &Server, org: &Org) -> (Browser, String, Value) {
    let other = desk.set_up(server, "Elsewhere");
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, 'member', 1 FROM organizations o, people p \
         WHERE o.slug = '{}' AND p.email = '{}'",
        org.slug, other.email
    ));
    let body = json!({"name": "batch", "scopes": ["inference:read"], "owner": other.email});
    let key = org.admin.create(&body);
    (server.signed_in(&other), other.email, key)
}

fn page(org: &Org, key: &Value, rest: &str) -> String {
    format!("/o/{}/keys/{}{rest}", org.slug, key["id"].as_str().unwrap())
}

fn limit(org: &Org, key: &Value) -> Value {
    org.admin.get(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap())).json()["requests_per_minute"]
        .clone()
}

/// Subjects and addresses of the e-mails of an event, in order.
fn mails(desk: &Desk, event: &str) -> Vec<String> {
    desk.database.lines(&format!(
        "SELECT address || ' ' || message AS line FROM outbox WHERE event = '{event}' ORDER BY created_at, address"
    ))
}

fn answer(browser: &mut Browser, org: &Org, key: &Value, fields: &[(&str, &str)]) -> (u16, Option<String>) {
    let path = page(org, key, "/limit/decision");
    let request = browser.get(&path).attribute("[name=request]", "value").unwrap_or_default();
    let mut sent = vec![("request", request.as_str())];
    sent.extend(fields);
    let page = browser.post(&path, &sent);
    (page.status, page.attribute(".summary a", "href"))
}

#[test]
fn admin_approves_a_different_limit_than_requested() {
    let (desk, server, org) = desk();
    let second = desk.start();
    let (mut member, email, key) = member_with_key(&desk, &server, &org);
    let mut owner = server.signed_in(&org);
    let shown = member.get(&page(&org, &key, ""));
    assert_eq!(shown.texts("dd a[href$='/limit']"), ["Request more"]);
    assert_eq!(owner.get(&page(&org, &key, "")).texts("dd a[href$='/limit']"), [] as [&str; 0]);
    let ask = page(&org, &key, "/limit");
    assert_eq!(member.get(&ask).status, 200);
    let asked = member.post(&ask, &[("limit", "5,000"), ("reason", "Nightly runs")]);
    assert_eq!(asked.header("location"), Some(page(&org, &key, "").as_str()));
    let told = mails(&desk, "limit_request");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&org.email) && told[0].contains("Nightly runs"), "{}", told[0]);
    // The key keeps its limit until someone decides.
    assert_eq!(limit(&org, &key), 600);
    let open = owner.get(&page(&org, &key, ""));
    assert!(open.body.contains("requested a limit of 5,000 requests a minute"), "{}", open.body);
    let list = owner.get(&format!("/o/{}/settings/requests", org.slug));
    assert_eq!(list.texts("tbody th a"), ["batch"]);
    assert_eq!(list.text("[aria-current=page] span"), "1");
    assert_eq!(
        owner.get(&page(&org, &key, "/limit/decision")).attribute("#limit", "value").as_deref(),
        Some("5000")
    );
    assert_eq!(
        answer(&mut owner, &org, &key, &[("answer", "approve"), ("limit", "2000"), ("words", "For now")]),
        (303, None)
    );
    // Every process knows at once or soon.
    let headers = |server: &Server| {
        let api = server.api(key["key"].as_str().unwrap());
        api.get("/v1/models").header("x-ratelimit-limit").map(str::to_owned)
    };
    assert_eq!(headers(&server).as_deref(), Some("2000"));
    desk.database.wait_until_noticed();
    assert_eq!(headers(&second).as_deref(), Some("2000"));
    let told = mails(&desk, "limit_decision");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(&email) && told[0].contains("For now"), "{}", told[0]);
    let shown = member.get(&page(&org, &key, ""));
    assert!(shown.body.contains("2,000 approved by Ada Lovelace") && shown.body.contains("For now"));
    let entries = desk
        .database
        .lines("SELECT action AS line FROM audit_entries WHERE action LIKE 'key.limit%' ORDER BY position");
    assert_eq!(entries, ["key.limit_requested", "key.limit_request_approved"]);
    // The e-mail is written as a file with its event in a header.
    eventually("the mails have left", || {
        let directory = desk.data.path().join("mail");
        let mails = std::fs::read_dir(directory).map(|files| files.count()).unwrap_or(0);
        mails >= 2
    });
}

#[test]
fn declining_needs_a_message_and_keeps_the_limit() {
    let (desk, server, org) = desk();
    let (mut member, email, key) = member_with_key(&desk, &server, &org);
    let mut owner = server.signed_in(&org);
    member.post(&page(&org, &key, "/limit"), &[("limit", "900"), ("reason", "More")]);
    let refused = answer(&mut owner, &org, &key, &[("answer", "refuse"), ("words", " ")]);
    assert_eq!(refused, (422, Some("#words".into())));
    assert_eq!(
        answer(&mut owner, &org, &key, &[("answer", "refuse"), ("words", "Use batches")]),
        (303, None)
    );
    assert_eq!(limit(&org, &key), 600);
    let told = mails(&desk, "limit_decision");
    assert!(told[0].starts_with(&email) && told[0].contains("Use batches"), "{told:?}");
    // It is decided once; after a decline, the member can request again.
    let stale = owner.post(
        &page(&org, &key, "/limit/decision"),
        &[
            ("request", "lim_00000000000000000000000000"),
            ("answer", "approve"),
            ("limit", "900"),
            ("words", ""),
        ],
    );
    assert_eq!(stale.status, 409);
    assert_eq!(
        member.post(&page(&org, &key, "/limit"), &[("limit", "900"), ("reason", "Batches are used")]).status,
        303
    );
}

#[test]
fn invalid_limit_requests_are_refused() {
    let (desk, server, org) = desk();
    let (mut member, _, key) = member_with_key(&desk, &server, &org);
    let ask = page(&org, &key, "/limit");
    for (limit, reason, field) in
        [("600", "x", "limit"), ("many", "x", "limit"), ("1000001", "x", "limit"), ("700", " ", "reason")]
    {
        let page = member.post(&ask, &[("limit", limit), ("reason", reason)]);
        assert_eq!(
            (page.status, page.attribute(".summary a", "href")),
            (422, Some(format!("#{field}"))),
            "{limit}"
        );
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM limit_requests"), 0);
    assert_eq!(member.post(&ask, &[("limit", "700"), ("reason", "x")]).status, 303);
    assert_eq!(member.post(&ask, &[("limit", "800"), ("reason", "y")]).status, 409);
    // Only admins decide, and members can't make requests for keys of others.
    assert_eq!(member.get(&page(&org, &key, "/limit/decision")).status, 403);
    assert_eq!(
        member.post(&page(&org, &key, "/limit/decision"), &[("answer", "approve"), ("limit", "700")]).status,
        403
    );
    assert_eq!(member.get(&format!("/o/{}/settings/requests", org.slug)).status, 403);
    let others = org.admin.create(&json!({"name": "not-mine", "scopes": ["inference:read"]}));
    assert_eq!(member.post(&page(&org, &others, "/limit"), &[("limit", "700"), ("reason", "x")]).status, 404);
    // Taken back, it is gone from the list.
    assert_eq!(member.post(&page(&org, &key, "/limit/withdraw"), &[]).status, 303);
    let list = server.signed_in(&org).get(&format!("/o/{}/settings/requests", org.slug));
    assert!(list.body.contains("No open requests"));
    assert_eq!(member.post(&page(&org, &key, "/limit/withdraw"), &[]).status, 409);
    assert_eq!(limit(&org, &key), 600);
}

#[test]
fn decision_goes_to_the_responsible_people_and_not_to_the_service_account() {
    let (desk, server, org) = desk();
    let (mut member, email, key) = member_with_key(&desk, &server, &org);
    let robot = "robot@acme-ai.invalid";
    desk.add_service_account(&org, robot, "admin");
    desk.add_member(&org, "gone@example.com", "admin");
    desk.add_member(&org, "ad@example.com", "admin");
    desk.database.change(
        "UPDATE members SET disabled_at = 1 WHERE person_id = (SELECT id FROM people WHERE email = 'gone@example.com')",
    );
    member.post(&page(&org, &key, "/limit"), &[("limit", "900"), ("reason", "More")]);
    let addresses = |event: &str| -> Vec<String> {
        let mails = mails(&desk, event);
        mails.iter().map(|mail| mail.split(' ').next().unwrap().to_owned()).collect()
    };
    let mut told = vec!["ad@example.com".to_owned(), org.email.clone()];
    told.sort();
    assert_eq!(addresses("limit_request"), told);
    // Before it is answered, the key is handed over to the program that uses it.
    let id = key["id"].as_str().unwrap();
    assert_eq!(org.admin.patch(&format!("/v1/api-keys/{id}"), &json!({"owner": robot})).status, 200);
    let mut admin = server.signed_in_as("ad@example.com");
    let yes = [("answer", "approve"), ("limit", "900"), ("words", "")];
    assert_eq!(answer(&mut admin, &org, &key, &yes), (303, None));
    // The requester, and the owner of the organisation, who is responsible for the service account.
    let mut told = vec![email.clone(), org.email.clone()];
    told.sort();
    assert_eq!(addresses("limit_decision"), told);
    let of = |address: &str| {
        let mails = mails(&desk, "limit_decision");
        mails.into_iter().find(|mail| mail.starts_with(address)).unwrap()
    };
    assert!(of(&email).contains("\"asker\":null"));
    assert!(of(&org.email).contains("\"why\":\"answerer\""), "{}", of(&org.email));
    // No other e-mail goes to an address that receives none.
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(org.admin.post(&format!("{path}/rotate"), &json!({"overlap": "1h"})).status, 200);
    assert_eq!(server.browser().post("/reset-password", &[("email", robot)]).status, 200);
    let mut owner = server.signed_in(&org);
    let invited = owner.post(&format!("/o/{}/members", org.slug), &[("email", robot), ("role", "member")]);
    assert_eq!(invited.status, 422);
    assert_eq!(org.admin.post(&format!("{path}/revoke"), &json!({})).status, 200);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE event = 'key_revoked'"), 1);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE address LIKE '%invalid'"), 0);
}

#[test]
fn list_of_keys_shows_admins_open_limit_requests() {
    let (desk, server, org) = desk();
    let (mut member, _, key) = member_with_key(&desk, &server, &org);
    let mut owner = server.signed_in(&org);
    let list = format!("/o/{}/keys", org.slug);
    let requests = format!("/o/{}/settings/requests", org.slug);
    let notice = format!(".notice a[href='{requests}']");
    assert!(owner.get(&list).texts(&notice).is_empty());
    member.post(&page(&org, &key, "/limit"), &[("limit", "900"), ("reason", "More")]);
    assert_eq!(owner.get(&list).texts(&notice), ["View requests"]);
    assert!(
        owner
            .get(&list)
            .text(".notice")
            .starts_with("1 request for a higher limit is waiting for a decision.")
    );
    assert!(member.get(&list).texts(&notice).is_empty());
    answer(&mut owner, &org, &key, &[("answer", "refuse"), ("words", "Use batches")]);
    assert!(owner.get(&list).texts(&notice).is_empty());
}
