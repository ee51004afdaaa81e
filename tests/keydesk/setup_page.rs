//! The set-up page and its one-time link.

use crate::support::{Browser, Desk, PASSWORD, Page};

fn fill(browser: &mut Browser, token: &str, organization: &str, password: &str) -> Page {
    browser.post(
        "/setup",
        &[
            ("token", token),
            ("organization", organization),
            ("name", "Ada Lovelace"),
            ("email", "ada@example.com"),
            ("password", password),
            ("zone", "Europe/Berlin"),
        ],
    )
}

#[test]
fn the_link_sets_up_once_and_signs_in() {
    let desk = Desk::new();
    let server = desk.start();
    let link = server.setup_link.clone().unwrap();
    let token = link.split("token=").nth(1).unwrap();
    let mut browser = server.browser();
    assert_eq!(browser.get("/").header("location"), Some("/setup"));
    assert!(browser.get("/setup").body.contains("Open the link from the terminal"));
    assert_eq!(browser.get(&format!("/setup?token={token}")).text("h1"), "Set up Keydesk");
    let done = fill(&mut browser, token, "Acme AI", PASSWORD);
    assert_eq!((done.status, done.header("location")), (303, Some("/o/acme-ai/keys")));
    let keys = browser.get("/o/acme-ai/keys");
    assert_eq!(keys.text("h1"), "API keys");
    assert!(keys.body.contains("Acme AI is set up"));
    assert!(keys.body.contains("No API keys yet"));
    let again = fill(&mut server.browser(), token, "Second", PASSWORD);
    assert_eq!(again.status, 422);
    assert!(again.text("title").starts_with("Error: "));
    assert_eq!(server.browser().get(&format!("/setup?token={token}")).header("location"), Some("/"));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM organizations"), 1);
}

#[test]
fn a_wrong_token_opens_nothing() {
    let desk = Desk::new();
    let server = desk.start();
    assert_eq!(server.browser().get("/setup?token=wrong").status, 403);
    assert_eq!(fill(&mut server.browser(), "wrong", "Acme", PASSWORD).status, 422);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM organizations"), 0);
}

#[test]
fn refused_form_keeps_the_input_except_the_password() {
    let desk = Desk::new();
    let server = desk.start();
    let link = server.setup_link.clone().unwrap();
    let token = link.split("token=").nth(1).unwrap();
    let page = fill(&mut server.browser(), token, "", "short");
    assert_eq!(page.status, 422);
    assert!(page.text("title").starts_with("Error: "));
    assert_eq!(page.text(".summary h2"), "Keydesk was not set up: 2 problems");
    assert_eq!(page.attribute("#email", "value").as_deref(), Some("ada@example.com"));
    assert_eq!(page.attribute("#password", "value"), None);
    assert!(page.text("#password-error").contains("15 characters"));
    for weak in ["aaaaaaaaaaaaaaaaaaaa", "password1234567", "ada@example.com"] {
        let page = fill(&mut server.browser(), token, "Acme", weak);
        assert!(page.text("#password-error").contains("too easy to guess"), "{weak}");
    }
    assert_eq!(fill(&mut server.browser(), token, "Acme", PASSWORD).status, 303);
}

#[test]
fn concurrent_set_ups_succeed_once() {
    let desk = Desk::new();
    let server = desk.start();
    let link = server.setup_link.clone().unwrap();
    let token = link.split("token=").nth(1).unwrap();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|number| {
                let mut browser = server.browser();
                scope.spawn(move || fill(&mut browser, token, &format!("Org {number}"), PASSWORD).status)
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM organizations"), 1);
}
