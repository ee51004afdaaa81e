//! The client's address, behind proxies that report addresses in various forms.

use serde_json::json;

use crate::support::{Api, Desk, Org, PASSWORD, Server, desk};

fn behind_a_proxy() -> (Desk, Server, Org) {
    let desk = Desk::new().with("KEYDESK_TRUSTED_PROXIES", "127.0.0.0/8");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

fn bound(server: &Server, org: &Org, name: &str, network: &str) -> Api {
    let key =
        org.admin.create(&json!({"name": name, "scopes": ["inference:read"], "allowed_ips": [network]}));
    server.api(key["key"].as_str().unwrap())
}

fn from(api: &Api, forwarded: &str) -> u16 {
    api.send("GET", "/v1/models", &[("x-forwarded-for", forwarded)], None).status
}

#[test]
fn every_form_of_an_address_is_parsed() {
    let (_desk, server, org) = behind_a_proxy();
    let v4 = bound(&server, &org, "v4", "203.0.113.7");
    let v6 = bound(&server, &org, "v6", "2001:db8::/32");
    for form in [
        "203.0.113.7",
        "203.0.113.7:54321",
        "\"203.0.113.7\"",
        "\"203.0.113.7:80\"",
        "203.0.113.7,",
        " , 203.0.113.7 , ",
        "::ffff:203.0.113.7",
        "[::ffff:203.0.113.7]:443",
        "8.8.8.8, 203.0.113.7",
        "nonsense, 203.0.113.7",
        "203.0.113.7, 127.0.0.2:80",
    ] {
        assert_eq!(from(&v4, form), 200, "{form}");
        assert_eq!(from(&v6, form), 403, "{form}");
    }
    for form in
        ["2001:db8::5", "[2001:db8::5]", "[2001:db8::5]:443", "\"[2001:db8::5]:443\"", "2001:db8::5%eth0"]
    {
        assert_eq!(from(&v6, form), 200, "{form}");
        assert_eq!(from(&v4, form), 403, "{form}");
    }
}

#[test]
fn unreadable_address_matches_no_allowed_one_and_is_logged_once() {
    let (desk, server, org) = behind_a_proxy();
    // The proxy itself is in the network: an unreadable address must not become the proxy's.
    let inside = bound(&server, &org, "inside", "127.0.0.0/8");
    assert_eq!(from(&inside, "127.0.0.9"), 200);
    let many = "127.0.0.2,".repeat(200);
    for form in
        ["8.8.8.8", "8.8.8.8:1234", "nonsense", "unknown", "8.8.8.8:x", "[8.8.8.8", "_secret", "é", &many]
    {
        assert_eq!(from(&inside, form), 403, "{form}");
    }
    let twice = [("x-forwarded-for", "127.0.0.9"), ("x-forwarded-for", "nonsense")];
    assert_eq!(inside.send("GET", "/v1/models", &twice, None).status, 403);
    // A key without addresses works, and what it did is known to come from somewhere unknown.
    let free = org.admin.create(&json!({"name": "free", "scopes": ["admin"]}));
    let free = server.api(free["key"].as_str().unwrap());
    let body = json!({"name": "made", "scopes": ["inference:read"]}).to_string();
    let made = free.send("POST", "/v1/api-keys", &[("x-forwarded-for", "nonsense")], Some(&body));
    assert_eq!(made.status, 201, "{}", made.body);
    let query = "SELECT COUNT(*) AS count FROM audit_entries WHERE address = 'unknown'";
    assert_eq!(desk.database.count(query), 1);
    let log = server.whole_log();
    assert_eq!(log.matches("KEYDESK_TRUSTED_PROXIES").count(), 1, "{log}");
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM refused_requests WHERE address = 'unknown'"),
        8
    );
}

#[test]
fn attacker_with_an_unreadable_address_slows_down_no_one_else() {
    let (_desk, server, org) = behind_a_proxy();
    let sign_in = |email: &str, password: &str, forwarded: &str| {
        let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", forwarded)];
        server.browser().post_with("/sign-in", &[("email", email), ("password", password)], &headers).status
    };
    for number in 0..24 {
        let status =
            sign_in(&format!("nobody-{number}@example.com"), "wrong", &format!("unknown:{number}:x"));
        assert_eq!(status, 422, "{number}");
    }
    assert_eq!(sign_in(&org.email, PASSWORD, "unknown"), 303);
    // One account is still protected.
    let guesses: Vec<u16> = (0..8).map(|_| sign_in("victim@example.com", "wrong", "unknown")).collect();
    assert!(guesses.contains(&429), "{guesses:?}");
    // And so are all, from an address that can be read, whatever its port.
    let guesses: Vec<u16> = (0..24)
        .map(|number| {
            sign_in(&format!("someone-{number}@example.com"), "wrong", &format!("203.0.113.9:{number}"))
        })
        .collect();
    assert!(guesses.contains(&429), "{guesses:?}");
    assert_eq!(sign_in(&org.email, PASSWORD, "203.0.113.10"), 303);
}

#[test]
fn forwarded_address_of_an_untrusted_client_is_ignored() {
    let (_desk, server, org) = desk();
    let key = bound(&server, &org, "bound", "203.0.113.7");
    assert_eq!(from(&key, "203.0.113.7"), 403);
    let own = bound(&server, &org, "own", "127.0.0.1");
    assert_eq!(from(&own, "nonsense"), 200);
}
