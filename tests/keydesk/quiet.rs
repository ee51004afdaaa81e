//! A server without requests writes nothing, and a GET changes nothing.

use std::time::Duration;

use serde_json::json;

use crate::support::{Browser, Desk, Org, Server, TABLE, eventually};

/// The tables in which a request with a key is counted.
const COUNTS: &[&str] = &[
    "key_addresses",
    "scope_uses",
    "usage_callers",
    "usage_counts",
    "usage_journal",
    "usage_latencies",
    "usage_total_latencies",
    "usage_totals",
    "usage_writers",
];
const LAST_USES: &[&str] = &[
    "api_keys.last_used_at",
    "key_secrets.first_used_at",
    "key_secrets.last_address",
    "key_secrets.last_program",
    "key_secrets.last_used_at",
];

/// Waits until the database stays the same for some time, in which everything that is due is done.
fn settle(desk: &Desk) {
    let mut before = desk.database.versions();
    eventually("the server has nothing left to write", || {
        std::thread::sleep(Duration::from_secs(4));
        let now = desk.database.versions();
        std::mem::replace(&mut before, now) == before
    });
}

/// An organisation in which something can be shown on each page: the id of a key in rotation, and of a member.
fn populate(desk: &Desk, server: &Server, org: &Org) -> (String, String) {
    let create = |name: &str| org.admin.create(&json!({"name": name, "scopes": ["inference:read"]}));
    let (key, revoked) = (create("rotating"), create("revoked"));
    org.admin.create(&json!({"name": "forever", "scopes": ["inference:read"], "expires_at": null}));
    let path = |key: &serde_json::Value| format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    server.api(key["key"].as_str().unwrap()).get("/v1/models");
    assert_eq!(org.admin.post(&format!("{}/rotate", path(&key)), &json!({"overlap": "24h"})).status, 200);
    assert_eq!(org.admin.delete(&path(&revoked)).status, 204);
    server.api(revoked["key"].as_str().unwrap()).get("/v1/models");
    let member = desk.add_member(org, "bo@example.com", "member");
    desk.add_service_account(org, "robot", "member");
    let mut owner = server.signed_in(org);
    let invited = [("email", "cleo@example.com"), ("role", "member")];
    assert_eq!(owner.post(&format!("/o/{}/members", org.slug), &invited).status, 303);
    desk.database.change("UPDATE api_keys SET created_at = created_at - 864000000000 WHERE name = 'forever'");
    (key["id"].as_str().unwrap().to_owned(), member)
}

fn path_for(pattern: &str, org: &Org, key: &str, member: &str) -> String {
    let id = if pattern.contains("keys/{id}") { key } else { member };
    let path = pattern.replace("{org}", &org.slug).replace("{id}", id).replace("{index}", "0");
    path.replace("{token}", "unknown")
        .replace("{provider}", "github")
        .replace("{file}", "app.css")
        .replace("{model:.*}", "echo")
}

#[test]
fn idle_server_writes_nothing() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    for number in 1..=20 {
        desk.set_up(&server, &format!("Acme {number}"));
    }
    settle(&desk);
    let before = desk.database.versions();
    // The time of many ticks, and of a few announcements to other processes.
    std::thread::sleep(Duration::from_secs(25));
    assert!(desk.database.versions() == before, "an idle server changed the database");
}

#[test]
fn get_changes_nothing() {
    // No tick comes in between.
    let desk = Desk::new().with("KEYDESK_TICK", "3600s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let (key, member) = populate(&desk, &server, &org);
    let program = server.api(&desk.key(&org.slug, "reader", "admin,inference:read,analytics:read"));
    let mut owner = server.signed_in(&org);
    // Shows, and so takes away, what the last form said.
    owner.get(&format!("/o/{}/keys", org.slug));
    settle(&desk);
    let gets = || TABLE.iter().filter(|(method, _, _)| *method == "GET");
    let is_api = |path: &str| path.starts_with("/v1/");
    // Connecting and confirming with a provider store a state for its return, and without an open request for a limit,
    // the session stores why the page leads elsewhere.
    let stores = |path: &str| {
        path.starts_with("/sign-in/again/")
            || path.starts_with("/account/connect/")
            || path.ends_with("/limit/decision")
    };
    let mut pages = 0;
    for (_, pattern, _) in gets().filter(|(_, path, _)| !is_api(path) && !stores(path)) {
        let before = desk.database.versions();
        let path = path_for(pattern, &org, &key, &member);
        for headers in [&[][..], &[("hx-request", "true")]] {
            let page = Browser::clone(&owner).request("GET", &path, &[], headers);
            assert!(page.status < 500, "{path}: {}", page.body);
        }
        assert!(desk.database.versions() == before, "GET {path} changed the database");
        pages += 1;
    }
    assert!(pages > 60, "{pages}");
    // Requests with keys are counted, and change nothing else.
    let state = || desk.database.state(COUNTS, LAST_USES);
    let before = state();
    for (_, pattern, _) in gets().filter(|(_, path, _)| is_api(path)) {
        let path = path_for(pattern, &org, &key, &member);
        let path = if path.ends_with("/proof") { format!("{path}?index=0") } else { path };
        let answer = program.get(&path);
        assert!(answer.status < 400, "{path}: {}", answer.body);
        let after = state();
        let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(after == before, "GET {path}: {changed:?}");
    }
}
