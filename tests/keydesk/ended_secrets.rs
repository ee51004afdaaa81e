//! "End now" ends an old secret whatever the clocks of the processes say.

use serde_json::{Value, json};

use crate::support::{Api, Desk, Org, Server, desk};

const HOUR: i64 = 3_600_000_000;

/// A key and its secret.
fn key(server: &Server, org: &Org, name: &str) -> (String, Api) {
    let key = org.admin.create(&json!({"name": name, "scopes": ["inference:read"]}));
    (key["id"].as_str().unwrap().to_owned(), server.api(key["key"].as_str().unwrap()))
}

fn rotate(org: &Org, id: &str, overlap: &str) {
    let rotated = org.admin.post(&format!("/v1/api-keys/{id}/rotate"), &json!({"overlap": overlap}));
    assert_eq!(rotated.status, 200, "{}", rotated.body);
}

/// Moves all ends, so that they are where a process finds them whose clock is an hour behind.
fn an_hour_behind(desk: &Desk) {
    desk.database.change(&format!("UPDATE key_secrets SET ends_at = ends_at + {HOUR}"));
}

#[test]
fn a_secret_that_was_ended_at_once_works_for_no_clock() {
    let (desk, server, org) = desk();
    let (by_api, old_by_api) = key(&server, &org, "by-api");
    let (by_page, old_by_page) = key(&server, &org, "by-page");
    let (at_once, old_at_once) = key(&server, &org, "at-once");
    let (open, old_open) = key(&server, &org, "open");
    for id in [&by_api, &by_page, &open] {
        rotate(&org, id, "24h");
    }
    rotate(&org, &at_once, "0s");
    assert_eq!(org.admin.delete(&format!("/v1/api-keys/{by_api}/rotation")).status, 200);
    let page = format!("/o/{}/keys/{by_page}/rotation/end", org.slug);
    assert_eq!(server.signed_in(&org).post(&page, &[]).status, 303);
    an_hour_behind(&desk);
    // Another process, which has nothing in memory.
    let other = desk.start();
    for (id, old) in [(&by_api, &old_by_api), (&by_page, &old_by_page), (&at_once, &old_at_once)] {
        for base in [&server.base, &other.base] {
            let refused = Api::new(base, &old.key).get("/v1/models");
            assert_eq!(refused.refusal(), (401, "key_superseded".to_owned()), "{id}");
        }
        assert_eq!(org.admin.get(&format!("/v1/api-keys/{id}")).json()["rotation"], Value::Null);
        let shown = server.signed_in(&org).get(&format!("/o/{}/keys/{id}", org.slug));
        assert!(shown.body.contains("Ended "), "{}", shown.body);
        // No rotation is open, so the next one can begin.
        rotate(&org, id, "1h");
    }
    assert_eq!(old_open.get("/v1/models").status, 200, "an overlap that is open is not affected");
    assert!(org.admin.get(&format!("/v1/api-keys/{open}")).json()["rotation"].is_object());
}

#[test]
fn an_end_that_is_moved_remains_a_time() {
    let (desk, server, org) = desk();
    let (id, old) = key(&server, &org, "moved");
    rotate(&org, &id, "24h");
    let soon = keydesk::time::Time::now().whole_second().plus(600).rfc3339();
    let moved = org.admin.post(&format!("/v1/api-keys/{id}/rotation"), &json!({"ends_at": soon}));
    assert_eq!((moved.status, &moved.json()["rotation"]["ends_at"]), (200, &json!(soon)), "{}", moved.body);
    assert_eq!(old.get("/v1/models").status, 200);
    desk.database.change(&format!("UPDATE key_secrets SET ends_at = ends_at - {HOUR}"));
    assert_eq!(old.get("/v1/models").refusal(), (401, "key_superseded".to_owned()));
}
