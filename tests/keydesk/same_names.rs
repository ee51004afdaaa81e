//! Names that look the same are the same, wherever they are entered and typed.

use serde_json::json;

use crate::support::{Desk, Org, PASSWORD, Page, Server, desk, text};

fn create(org: &Org, name: &str) -> u16 {
    org.admin.post("/v1/api-keys", &json!({"name": name, "scopes": ["inference:read"]})).status
}

/// Creates a key that was used, and gives it a name that an earlier version accepted.
fn older_key(desk: &Desk, server: &Server, org: &Org, name: &str, number: usize) -> String {
    let key = org.admin.create(&json!({"name": format!("older-{number}"), "scopes": ["inference:read"]}));
    let id = key["id"].as_str().unwrap().to_owned();
    assert_eq!(server.api(key["key"].as_str().unwrap()).get("/v1/models").status, 200);
    desk.database.change(&format!(
        "UPDATE api_keys SET name = '{name}', name_folded = '{name}', live_name = '{name}' WHERE name = 'older-{number}'"
    ));
    id
}

fn revoke(server: &Server, org: &Org, id: &str, typed: &str) -> Page {
    server.signed_in(org).post(&format!("/o/{}/keys/{id}/revoke", org.slug), &[("confirm", typed)])
}

#[test]
fn white_space_of_any_kind_and_length_is_one_space_in_the_name_of_a_key() {
    let (_desk, _server, org) = desk();
    let made = org.admin.create(&json!({"name": " used \u{3000} twice\u{a0}", "scopes": ["inference:read"]}));
    assert_eq!(made["name"], "used twice");
    for name in
        ["used twice", "Used  Twice", "used\u{a0}twice", "used\u{2009}\u{202f}twice", "used\u{3000}twice "]
    {
        assert_eq!(create(&org, name), 409, "{name:?}");
    }
    // Letters that look alike in another script are not folded.
    for name in ["usedtwice", "us\u{435}d twice"] {
        assert_eq!(create(&org, name), 201, "{name:?}");
    }
}

#[test]
fn invisible_characters_are_in_no_name_of_a_key() {
    let (_desk, _server, org) = desk();
    for unseen in [
        '\u{ad}',
        '\u{115f}',
        '\u{1160}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2028}',
        '\u{202e}',
        '\u{2060}',
        '\u{2800}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{ffa0}',
        '\u{1d173}',
        '\u{e0041}',
        '\n',
        '\t',
        '\0',
    ] {
        for name in [format!("prod{unseen}1"), format!("{unseen}"), format!("a {unseen} b")] {
            let refused =
                org.admin.post("/v1/api-keys", &json!({"name": name, "scopes": ["inference:read"]}));
            assert_eq!(refused.refusal(), (422, "validation_failed".to_owned()), "{name:?}");
            assert_eq!(refused.fields(), ["name"], "{name:?}");
        }
    }
    assert_eq!(create(&org, "\u{301}x"), 422, "a mark on no letter");
    for name in ["e\u{301}t\u{e9}", "नमस्ते दुनिया", "🔑", "北京"] {
        assert_eq!(create(&org, name), 201, "{name}");
    }
}

#[test]
fn names_of_people_and_organisations_follow_the_same_rules() {
    let (desk, server, org) = desk();
    let set_up = |org: &str, name: &str| {
        let email = format!("x{}@example.com", crate::support::unique());
        let arguments =
            ["setup", "--another", "--org", org, "--name", name, "--email", &email, "--password-stdin"];
        desk.run_with_input(&arguments, PASSWORD)
    };
    for (name_of_org, name) in
        [("Ac\u{200b}me", "Bob"), ("\u{2800}", "Bob"), ("New", "Bo\u{200d}b"), ("New", "\u{3164}")]
    {
        let refused = set_up(name_of_org, name);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("invisible"), "{said}");
    }
    text(&set_up("Two \u{a0} Words", "Bob\u{3000}\u{3000}Jones"));
    let names = desk.database.lines("SELECT name AS line FROM people WHERE name LIKE 'Bob%'");
    assert_eq!(names, ["Bob Jones"]);
    let names = desk.database.lines("SELECT name AS line FROM organizations WHERE name LIKE 'Two%'");
    assert_eq!(names, ["Two Words"]);
    let mut owner = server.signed_in(&org);
    let refused = owner.post("/account", &[("name", "Ada\u{fe0f}")]);
    assert_eq!((refused.status, refused.texts("#name-error").len()), (422, 1), "{}", refused.body);
    assert_eq!(owner.post("/account", &[("name", " Ada\u{a0}\u{a0}Byron ")]).status, 303);
    assert_eq!(owner.get("/account").attribute("#name", "value").as_deref(), Some("Ada Byron"));
    let settings = format!("/o/{}/settings", org.slug);
    assert_eq!(owner.post(&settings, &[("name", "Acme\u{2060}")]).status, 422);
    assert_eq!(owner.post(&settings, &[("name", "Acme \u{2003} Labs")]).status, 303);
    assert_eq!(owner.get(&settings).attribute("#name", "value").as_deref(), Some("Acme Labs"));
}

#[test]
fn a_name_is_confirmed_as_the_page_shows_it() {
    let (desk, server, org) = desk();
    let older = ["used  twice", "prod1\u{200d}", "x\u{a0}y", "\u{2800}"];
    let keys: Vec<String> = older
        .iter()
        .enumerate()
        .map(|(number, name)| older_key(&desk, &server, &org, name, number))
        .collect();
    for (id, wrong) in keys.iter().zip(["used", "prod2", "xy", ""]) {
        let refused = revoke(&server, &org, id, wrong);
        assert_eq!((refused.status, refused.texts("#confirm-error").len()), (422, 1), "{wrong:?}");
    }
    let page = server.signed_in(&org).get(&format!("/o/{}/keys/{}/revoke", org.slug, keys[3]));
    let hint = page.text("#confirm-hint");
    assert!(hint.starts_with("kd_…"), "an invisible name can't be typed: {hint}");
    for (id, typed) in keys.iter().zip([" USED\u{a0}twice ", "prod1", "x y", &hint]) {
        assert_eq!(revoke(&server, &org, id, typed).status, 303, "{typed:?}");
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE revoked_at IS NOT NULL"), 4);
}

#[test]
fn names_from_before_are_folded_once_and_no_key_loses_its_name() {
    let (desk, server, org) = desk();
    for (number, name) in ["used  twice", "prod1\u{200d}", "prod1", "\u{2800}"].iter().enumerate() {
        older_key(&desk, &server, &org, name, number);
    }
    assert_eq!(server.stop(), Some(0));
    desk.database.execute("INSERT INTO names_to_fold (key_id, org_id) SELECT id, org_id FROM api_keys");
    let server = desk.start();
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM names_to_fold"), 0);
    let folded = |name: &str| {
        desk.database
            .lines(&format!("SELECT live_name AS line FROM api_keys WHERE name = '{name}'"))
            .remove(0)
    };
    assert_eq!(folded("used  twice"), "used twice");
    // Another key has that name, so this one keeps its own.
    assert_eq!((folded("prod1").as_str(), folded("prod1\u{200d}").as_str()), ("prod1", "prod1\u{200d}"));
    let admin = server.api(&desk.key(&org.slug, "second-admin", "admin"));
    let create =
        |name: &str| admin.post("/v1/api-keys", &json!({"name": name, "scopes": ["inference:read"]})).status;
    assert_eq!((create("Used Twice"), create("prod1"), create("prod2")), (409, 409, 201));
    // By its exact name, a command finds the one that was meant.
    let shown = |name: &str| {
        let output = text(&desk.run(&["key", "show", "--org", &org.slug, "--json", name]));
        serde_json::from_str::<serde_json::Value>(&output).unwrap()["name"].as_str().unwrap().to_owned()
    };
    for name in ["prod1", "prod1\u{200d}", "used  twice"] {
        assert_eq!(shown(name), name);
    }
    assert_eq!(shown("used\u{a0}twice"), "used  twice");
}
