//! Settings → Models.

use serde_json::{Value, json};

use crate::support::stub::{Stub, nowhere};
use crate::support::{Desk, desk};

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4","choices":[{"index":0,"message":
    {"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#;

fn catalogue(working: &str) -> String {
    format!(
        r#"currency = "EUR"
[[upstream]]
name = "main"
kind = "openai"
url = "{working}"
key_env = "MAIN_KEY"
[[upstream]]
name = "gone"
kind = "openai"
url = "{}"
[[model]]
name = "gpt-4"
upstreams = ["main"]
upstream_model = "gpt-4-0613"
max_output = 8192
price = {{ input = "2.50", cached_input = "1.25", output = "10" }}
[[model]]
name = "second"
upstreams = ["gone", "main"]
[[model]]
name = "lost"
upstreams = ["gone"]
[[model]]
name = "unused"
upstreams = ["main"]
"#,
        nowhere()
    )
}

#[test]
fn page_shows_models_prices_callers_and_health() {
    let stub = Stub::new(200, CHAT);
    let desk = Desk::new();
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, catalogue(&stub.url)).unwrap();
    let desk = desk.with("KEYDESK_MODELS_FILE", file.to_str().unwrap()).with("MAIN_KEY", "sk-never-shown");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let key = |name: &str, models: Value| {
        let body = json!({"name": name, "scopes": ["inference:write"], "models": models});
        server.api(org.admin.create(&body)["key"].as_str().unwrap())
    };
    let all = key("all", Value::Null);
    key("some", json!(["gpt-*"]));
    for (model, status) in [("gpt-4", 200), ("second", 200), ("lost", 502)] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(all.post("/v1/chat/completions", &body).status, status, "{model}");
    }
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/settings/models", org.slug);
    let page = browser.get(&path);
    assert_eq!(page.text("nav.tabs [aria-current=page]"), "Models");
    let rows = page.texts("[data-table=models] tbody tr");
    // Two keys can call models; the one of the set-up lacks the scope.
    for (row, parts) in rows.iter().zip([
        &[
            "gpt-4",
            "sent as gpt-4-0613",
            "main",
            "2.50 / 10.00",
            "cached 1.25",
            "at most 8,192 tokens",
            "Working",
            "0 of 1 failed",
            "All keys",
        ][..],
        &[
            "second",
            "gone, then main",
            "no price",
            "On second choice",
            "gone has been failing since",
            "1 of 2 keys",
        ],
        &[
            "lost",
            "gone",
            "no price",
            "Failing",
            ": Keydesk can't connect to the upstream, 1 of 1 failed",
            "1 of 2 keys",
        ],
        &["unused", "main", "no price", "Not called", "1 of 2 keys"],
    ]) {
        for part in parts {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
    assert_eq!(rows.len(), 4);
    let servers = page.texts("[data-table=upstreams] tbody tr");
    assert!(servers[0].contains(&stub.url) && servers[0].contains("Working"), "{}", servers[0]);
    assert!(servers[1].contains("Failing") && servers[1].contains("2 of 2 failed"), "{}", servers[1]);
    assert!(page.text(".notice.bad").contains("1 model is failing: lost"), "{}", page.text(".notice.bad"));
    crate::support::eventually("the requests are counted", || {
        !browser.get(&path).texts(".notice.warn").is_empty()
    });
    let unpriced = browser.get(&path).text(".notice.warn");
    assert!(
        unpriced.contains("second") && unpriced.contains("lost") && !unpriced.contains("unused"),
        "{unpriced}"
    );
    assert!(!browser.get(&path).body.contains("sk-never-shown"));
    // Members see the models, but neither addresses nor other people's keys.
    desk.add_member(&org, "bo@example.com", "member");
    let page = server.signed_in_as("bo@example.com").get(&path);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("gpt-4") && !page.body.contains(&stub.url) && !page.body.contains("All keys"));
    // Nor empty columns in their place.
    assert_eq!(page.texts("[data-table=models] thead th"), ["Name", "Upstreams", "Price", "Last 15 minutes"]);
    assert_eq!(page.texts("[data-table=upstreams] thead th"), ["Name", "API", "Last 15 minutes"]);
}

#[test]
fn failure_within_a_response_counts_against_model_and_upstream() {
    let stub = Stub::new(200, r#"{"error":{"message":"boom"}}"#);
    let desk = Desk::new();
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, catalogue(&stub.url)).unwrap();
    let desk = desk.with("KEYDESK_MODELS_FILE", file.to_str().unwrap()).with("MAIN_KEY", "sk-never-shown");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let made = org.admin.create(&json!({"name": "caller", "scopes": ["inference:write"]}));
    let body = json!({"model": "gpt-4", "messages": [{"role": "user", "content": "x"}]});
    server.api(made["key"].as_str().unwrap()).post("/v1/chat/completions", &body);
    let mut browser = server.signed_in(&org);
    let path = format!("/o/{}/settings/models", org.slug);
    let shown = ": reported an error, 1 of 1 failed";
    crate::support::eventually("the failure is shown", || {
        browser.get(&path).texts("[data-table=models] tbody tr")[0].contains(shown)
    });
    let server_row = &browser.get(&path).texts("[data-table=upstreams] tbody tr")[0];
    assert!(server_row.contains("Failing") && server_row.contains(shown), "{server_row}");
}

#[test]
fn page_without_a_catalogue_explains_how_to_set_one() {
    let (desk, server, org) = desk();
    let page = server.signed_in(&org).get(&format!("/o/{}/settings/models", org.slug));
    assert_eq!(page.status, 200);
    assert!(page.body.contains("KEYDESK_MODELS_FILE"));
    // The example is a catalogue that works.
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, page.source("pre")).unwrap();
    drop(server);
    let desk = desk.with("KEYDESK_MODELS_FILE", file.to_str().unwrap()).with("OPENAI_API_KEY", "sk-x");
    let page = desk.start().signed_in(&org).get(&format!("/o/{}/settings/models", org.slug));
    assert!(page.texts("[data-table=models] tbody tr")[0].contains("2.50 / 10.00"));
}
