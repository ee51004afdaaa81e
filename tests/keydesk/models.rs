//! The models that a key may call: chosen for the key, and bounded by the organisation's policy for members.

use serde_json::{Value, json};

use crate::support::{Browser, Desk, Org, Server, desk};

const CATALOGUE: &str = r#"
[[upstream]]
name = "main"
kind = "openai"
url = "http://127.0.0.1:9/v1"
[[model]]
name = "gpt-4"
upstreams = ["main"]
[[model]]
name = "claude-sonnet"
upstreams = ["main"]
"#;

fn desk_with_catalogue() -> (Desk, Server, Org) {
    let desk = Desk::new();
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, CATALOGUE).unwrap();
    let desk = desk.with("KEYDESK_MODELS_FILE", file.to_str().unwrap());
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

fn key(name: &str, models: &Value) -> Value {
    json!({"name": name, "scopes": ["inference:read", "inference:write"], "expires_in_days": 30, "models": models})
}

/// The fields that the portal's form submits for a key, and these values of the field of models.
fn form<'a>(name: &'a str, models: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![("name", name), ("scopes", "inference:write"), ("expires", "30"), ("requests_per_minute", "60")];
    fields.extend(models.iter().map(|value| ("models", *value)));
    fields
}

fn stored(org: &Org, name: &str) -> Value {
    let list = org.admin.get(&format!("/v1/api-keys?q={name}")).json();
    list["data"][0]["models"].clone()
}

#[test]
fn models_of_a_key_are_set_changed_and_removed_through_the_api() {
    let (_desk, _server, org) = desk();
    let made = org.admin.create(&key("listed", &json!(["gpt-4", "claude-*", "org/model", "gpt-4"])));
    assert_eq!(made["models"], json!(["gpt-4", "claude-*", "org/model"]));
    assert_eq!(org.admin.create(&key("open", &Value::Null))["models"], Value::Null);
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"description": "x"})).json()["models"], made["models"]);
    assert_eq!(org.admin.patch(&path, &json!({"models": ["gpt-4"]})).json()["models"], json!(["gpt-4"]));
    let refused = org.admin.patch(&path, &json!({"models": []}));
    assert_eq!(refused.refusal(), (422, "validation_failed".into()));
    assert_eq!(refused.fields(), ["models"]);
    assert_eq!(org.admin.patch(&path, &json!({"models": null})).json()["models"], Value::Null);
    assert_eq!(org.admin.get(&path).json()["models"], Value::Null);
    let entries = org.admin.get("/v1/audit-events?action=key.updated").json();
    let change = &entries["data"][0]["details"]["changes"][0];
    assert_eq!(change["field"], "models", "{entries}");
    assert_eq!((&change["before"], &change["after"]), (&json!(["gpt-4"]), &Value::Null), "{entries}");
}

#[test]
fn owner_learns_of_more_models_and_not_of_fewer() {
    let (desk, _server, org) = desk();
    let made = org.admin.create(&key("grows", &json!(["gpt-*"])));
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    for (models, sentence) in [
        (json!(["gpt-4", "gpt-5"]), None),
        (json!(["gpt-4", "claude-*"]), Some("It can call more models: gpt-4, claude-*.")),
        (Value::Null, Some("It can call every model")),
    ] {
        let before = desk.wait_for_mails("security_notice", 0).len();
        assert_eq!(org.admin.patch(&path, &json!({"models": models})).status, 200);
        let Some(sentence) = sentence else { continue };
        let mails = desk.wait_for_mails("security_notice", before + 1);
        // E-mails of the same second have no order.
        assert!(mails.iter().any(|mail| mail.raw.replace("=\r\n", "").contains(sentence)), "{sentence}");
    }
    // Two widenings, two e-mails: the narrowing sent none.
    assert_eq!(desk.wait_for_mails("security_notice", 2).len(), 2);
}

#[test]
fn command_line_takes_models() {
    let (desk, _server, org) = desk();
    let create = |name: &str, models: &str| {
        desk.run(&[
            "key",
            "create",
            "--org",
            &org.slug,
            "--name",
            name,
            "--scope",
            "inference:write",
            "--models",
            models,
        ])
    };
    assert_eq!(create("by-command", "gpt-4,claude-*").status.code(), Some(0));
    assert_eq!(stored(&org, "by-command"), json!(["gpt-4", "claude-*"]));
    for models in ["", "gpt 4", "g*t"] {
        let refused = create("refused", models);
        assert_eq!(refused.status.code(), Some(1), "{models}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is not the name of a model"), "{models}");
    }
}

#[test]
fn form_offers_the_catalogue_and_takes_prefixes() {
    let (_desk, server, org) = desk_with_catalogue();
    let mut browser = server.signed_in(&org);
    let keys = format!("/o/{}/keys", org.slug);
    let page = browser.get(&format!("{keys}/new"));
    let offered = page.inputs("input[type=checkbox][name=models]");
    assert_eq!(
        offered.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
        ["gpt-4", "claude-sonnet"]
    );
    assert_eq!(page.inputs("input[type=radio][name=models][checked]")[0].1, "*");
    assert_eq!(browser.post(&keys, &form("all", &["*", "gpt-4", "ignored-*"])).status, 200);
    assert_eq!(stored(&org, "all"), Value::Null);
    assert_eq!(browser.post(&keys, &form("some", &["", "gpt-4", "llama-*\r\nmistral-*"])).status, 200);
    assert_eq!(stored(&org, "some"), json!(["gpt-4", "llama-*", "mistral-*"]));
    assert_eq!(browser.post(&keys, &form("unsent", &[])).status, 200);
    assert_eq!(stored(&org, "unsent"), Value::Null);
    // Nothing chosen is not everything, and an unknown name is a mistake.
    for (models, message) in [
        (&["", ""][..], "Name 1 to 100 models."),
        (&["", "gpt-4", "gtp-4"][..], "The catalogue has no model named \"gtp-4\"."),
        (&["", "g*t"][..], "\"g*t\" is not the name of a model."),
    ] {
        let refused = browser.post(&keys, &form("refused", models));
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert!(refused.text("#models-error").contains(message), "{}", refused.text("#models-error"));
    }
    // The edit form shows what is chosen, and keeps it.
    let id = org.admin.get("/v1/api-keys?q=some").json()["data"][0]["id"].as_str().unwrap().to_owned();
    let edit = browser.get(&format!("{keys}/{id}/edit"));
    assert_eq!(
        edit.inputs("input[name=models][checked]"),
        [("models".into(), String::new()), ("models".into(), "gpt-4".into())]
    );
    assert_eq!(edit.source("#models-others"), "llama-*\nmistral-*");
    assert!(browser.get(&format!("{keys}/{id}")).body.contains("gpt-4, llama-*, mistral-*"));
}

#[test]
fn names_that_the_catalogue_lacks_are_refused_unless_the_key_has_them() {
    let (desk, server, org) = desk_with_catalogue();
    let refused = org.admin.post("/v1/api-keys", &key("wrong", &json!(["gpt-4", "gpt-5", "claude"])));
    assert_eq!(refused.refusal(), (422, "validation_failed".into()));
    assert_eq!(
        refused.json()["errors"][0]["message"],
        "The catalogue has no model named \"gpt-5\", \"claude\". Correct the name."
    );
    let made = org.admin.create(&key("right", &json!(["gpt-4", "claude-sonnet", "future-*"])));
    // A model that leaves the catalogue does not stand in the way of other changes.
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, CATALOGUE.replace("gpt-4", "gpt-5")).unwrap();
    server.ask_to_reload();
    server.wait_for_log("models added: gpt-5");
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"models": ["gpt-4", "gpt-5"]})).status, 200);
    let other = org.admin.create(&key("other", &json!(["gpt-5"])));
    let path = format!("/v1/api-keys/{}", other["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"models": ["gpt-4"]})).status, 422);
}

/// Saves a policy with these values of the field of models.
fn save_policy(browser: &mut Browser, org: &Org, act: &str, models: &[&str]) -> crate::support::Page {
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30);
    let day = day.strftime("%Y-%m-%d").to_string();
    let mut fields = vec![
        ("longest", ""),
        ("never", "everyone"),
        ("default_expiry", "90"),
        ("member_scopes", "inference:read"),
        ("member_scopes", "inference:write"),
        ("member_scopes", "analytics:read"),
        ("default_rpm", ""),
        ("largest_rpm", "1000000"),
        ("date", &day),
        ("act", act),
    ];
    fields.extend(models.iter().map(|value| ("member_models", *value)));
    browser.post(&format!("/o/{}/settings/policy", org.slug), &fields)
}

#[test]
fn policy_bounds_the_models_of_members_and_previews_who_is_affected() {
    let (desk, server, org) = desk();
    desk.add_member(&org, "bo@example.com", "member");
    let of_bo = |name: &str, models: Value| {
        let mut body = key(name, &models);
        body["owner"] = json!("bo@example.com");
        org.admin.post("/v1/api-keys", &body)
    };
    assert_eq!(of_bo("everything", Value::Null).status, 201);
    assert_eq!(of_bo("gpt", json!(["gpt-4"])).status, 201);
    assert_eq!(org.admin.create(&key("of-the-owner", &json!(["claude-x"])))["models"], json!(["claude-x"]));
    let mut browser = server.signed_in(&org);
    let preview = save_policy(&mut browser, &org, "preview", &["", "gpt-*"]);
    assert_eq!(preview.texts("[data-kind=fewer_models] a"), ["everything"]);
    assert!(preview.text("[data-kind=fewer_models]").contains("gpt-*"), "{}", preview.body);
    let refused = save_policy(&mut browser, &org, "", &["", "g*t"]);
    assert_eq!((refused.status, refused.texts("#member_models-error").len()), (422, 1));
    assert_eq!(save_policy(&mut browser, &org, "", &["", "gpt-*"]).status, 303);
    // New keys and changes follow at once; names beyond the policy are refused and nothing is dropped.
    let message = "The organisation’s policy does not let members call \"claude-x\", \"g*\".";
    let refused = of_bo("refused", json!(["gpt-4", "claude-x", "g*"]));
    assert_eq!(refused.fields(), ["models"]);
    assert_eq!(refused.json()["errors"][0]["message"], message);
    assert_eq!(of_bo("within", json!(["gpt-4", "gpt-5*"])).status, 201);
    assert_eq!(org.admin.post("/v1/api-keys", &key("owners", &json!(["claude-x"]))).status, 201);
    let page = browser.get(&format!("/o/{}/settings/policy", org.slug));
    assert_eq!(page.source("#member_models-others"), "gpt-*");
    // Lifting the rule gives back before the date, and names it.
    let preview = save_policy(&mut browser, &org, "preview", &["*"]);
    assert!(preview.texts("[data-kind=fewer_models] a").is_empty());
    assert!(preview.body.contains("was 1"), "{}", preview.body);
}
