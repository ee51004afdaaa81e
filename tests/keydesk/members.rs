//! Organisations, their members, and disabling people.

use crate::support::{PASSWORD, desk, text};

#[test]
fn existing_person_can_own_another_organisation_and_keeps_their_password() {
    let (desk, server, first) = desk();
    let another = |email: &str| {
        ["setup", "--another", "--org", "Second", "--name", "Someone", "--email", email].map(String::from)
    };
    let arguments = another(&first.email);
    let slug = text(&desk.run(&arguments.each_ref().map(String::as_str)));
    let mut browser = server.signed_in(&first);
    assert_eq!(browser.get(&format!("/o/{slug}/keys")).status, 200);
    assert_eq!(browser.get(&format!("/o/{}/keys", first.slug)).status, 200);
    assert!(browser.get("/account").body.contains("Ada Lovelace"), "they keep their name");
    // A password that is given is not taken: knowing an address must not change one.
    let mut arguments = another(&first.email).to_vec();
    arguments.push("--password-stdin".into());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert!(desk.run_with_input(&arguments, "another good long password").status.success());
    server.signed_in(&first);
    // A new person needs one, and without `--another` setup is refused.
    let stranger = another("stranger@example.com");
    assert_eq!(desk.run(&stranger.each_ref().map(String::as_str)).status.code(), Some(1));
    let plain = ["setup", "--org", "Third", "--name", "X", "--email", &first.email, "--password-stdin"];
    assert_eq!(desk.run_with_input(&plain, PASSWORD).status.code(), Some(1));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM organizations"), 3);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 1);
}

#[test]
fn person_disabled_by_the_command_line_has_no_access_until_enabled() {
    let (desk, server, org) = desk();
    let second = desk.start();
    let (mut browser, elsewhere) = (server.signed_in(&org), second.api(&org.admin.key));
    assert_eq!(elsewhere.get("/v1/api-keys").status, 200);
    let run = |act: &str| assert!(desk.run(&["user", act, "--email", &org.email]).status.success());
    run("disable");
    assert_eq!(browser.get("/account").status, 303);
    assert_eq!(org.admin.get("/v1/api-keys").refusal(), (403, "insufficient_scope".into()));
    assert_eq!(elsewhere.get("/v1/api-keys").refusal(), (403, "insufficient_scope".into()));
    let refused = server.browser().post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    assert_eq!(refused.status, 422);
    run("enable");
    assert_eq!(org.admin.get("/v1/api-keys").status, 200);
    assert_eq!(elsewhere.get("/v1/api-keys").status, 200);
    server.signed_in(&org);
    let entries = desk.database.lines(
        "SELECT action AS line FROM audit_entries WHERE action LIKE 'person.%abled' ORDER BY position",
    );
    assert_eq!(entries, ["person.disabled", "person.enabled"]);
    assert_eq!(desk.run(&["user", "disable", "--email", "nobody@example.com"]).status.code(), Some(1));
}
