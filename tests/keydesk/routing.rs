//! Where requests go with a catalogue: upstreams, their order, names and credentials, and what a key may call.

use serde_json::{Value, json};

use crate::support::stub::{Stub, nowhere};
use crate::support::{Api, Desk, Org, Server, desk, eventually};

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4-0613","choices":[{"index":0,"message":
    {"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#;

/// A catalogue with these upstreams, and a model that is called through all of them in this order.
fn catalogue(upstreams: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, url) in upstreams {
        let variable = name.to_uppercase();
        text.push_str(&format!(
            "[[upstream]]\nname = \"{name}\"\nkind = \"openai\"\nurl = \"{url}\"\nkey_env = \"{variable}_KEY\"\n"
        ));
    }
    let names: Vec<String> = upstreams.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let order = names.join(", ");
    text + &format!(
        "[[model]]\nname = \"gpt-4\"\nupstreams = [{order}]\nupstream_model = \"gpt-4-0613\"\n\
         [[model]]\nname = \"org/embed:1\"\nupstreams = [{order}]\n[[model]]\nname = \"claude-sonnet\"\nupstreams = [{order}]\n"
    )
}

struct Setup {
    desk: Desk,
    server: Server,
    org: Org,
}

fn start(catalogue: &str) -> Setup {
    let desk = Desk::new();
    let file = desk.data.path().join("models.toml");
    std::fs::write(&file, catalogue).unwrap();
    let desk = desk
        .with("KEYDESK_MODELS_FILE", file.to_str().unwrap())
        .with("FIRST_KEY", "first-credential")
        .with("SECOND_KEY", "second-credential");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    Setup { desk, server, org }
}

impl Setup {
    fn caller(&self, name: &str, models: &Value) -> Api {
        caller(&self.server, &self.org, name, models)
    }
}

fn caller(server: &Server, org: &Org, name: &str, models: &Value) -> Api {
    let body = json!({"name": name, "scopes": ["inference:read", "inference:write"], "models": models});
    server.api(org.admin.create(&body)["key"].as_str().unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

#[test]
fn catalogue_decides_upstream_name_and_credential() {
    let (first, second) = (Stub::new(200, CHAT), Stub::new(200, CHAT));
    let setup = start(&catalogue(&[("first", &first.url), ("second", &second.url)]));
    let api = setup.caller("caller", &Value::Null);
    let body =
        r#"{ "messages" : [{"role":"user","content":"Hello"}], "temperature":1.50 , "model" : "gpt-4" }"#;
    let answer = api.send("POST", "/v1/chat/completions", &[], Some(body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The response is the upstream's own.
    assert_eq!(answer.body, CHAT);
    let request = first.requests.recv().unwrap();
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer first-credential\r\n"), "{request}");
    assert!(request.ends_with(&body.replace("\"gpt-4\"", "\"gpt-4-0613\"")), "{request}");
    assert!(!request.contains(&api.key), "{request}");
    let answer = api.post("/v1/inference", &json!({"model": "gpt-4", "prompt": "Hello"}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(first.requests.recv().unwrap().contains("\"gpt-4-0613\""));
    assert_eq!(second.count(), 0);
    let answer = api.post("/v1/embeddings", &json!({"model": "org/embed:1", "input": "x"}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(first.requests.recv().unwrap().contains("\"org/embed:1\""));
}

#[test]
fn next_upstream_is_tried_while_nothing_was_done_or_passed_on() {
    for status in [429, 500, 502, 503, 529] {
        let (first, second) = (Stub::new(status, r#"{"error":{"message":"down"}}"#), Stub::new(200, CHAT));
        let setup = start(&catalogue(&[("first", &first.url), ("second", &second.url)]));
        let answer = setup.caller("caller", &Value::Null).post("/v1/chat/completions", &chat("gpt-4"));
        assert_eq!((answer.status, answer.body.as_str()), (200, CHAT), "{status}");
        assert_eq!((first.count(), second.count()), (1, 1), "{status}");
        setup.server.wait_for_log("trying the next one");
        let log = setup.server.whole_log();
        assert!(!log.contains("first-credential") && !log.contains("second-credential"));
    }
    let second = Stub::new(200, CHAT);
    let setup = start(&catalogue(&[("first", &nowhere()), ("second", &second.url)]));
    let api = setup.caller("caller", &Value::Null);
    assert_eq!(api.post("/v1/chat/completions", &chat("gpt-4")).status, 200);
    let request = second.requests.recv().unwrap();
    assert!(request.to_lowercase().contains("authorization: bearer second-credential\r\n"), "{request}");
    // The requests count as answered.
    let usage =
        setup.org.admin.post("/v1/api-keys", &json!({"name": "reader", "scopes": ["analytics:read"]})).json();
    let reader = setup.server.api(usage["key"].as_str().unwrap());
    eventually("the request is counted", || reader.get("/v1/usage?group_by=model").body.contains("gpt-4"));
    let usage = reader.get("/v1/usage?group_by=model").json();
    let counted = usage["data"].as_array().unwrap().iter().find(|row| row["group"] == "gpt-4").unwrap();
    assert_eq!((&counted["ok"], &counted["server_errors"]), (&json!(1), &json!(0)), "{usage}");
}

#[test]
fn other_failures_and_the_last_upstream_are_not_replaced_by_another() {
    for (status, expected) in [(400, 400), (401, 502), (404, 404), (504, 502)] {
        let (first, second) = (Stub::new(status, r#"{"error":{"message":"no"}}"#), Stub::new(200, CHAT));
        let setup = start(&catalogue(&[("first", &first.url), ("second", &second.url)]));
        let answer = setup.caller("caller", &Value::Null).post("/v1/chat/completions", &chat("gpt-4"));
        assert_eq!(answer.status, expected, "{status}: {}", answer.body);
        assert_eq!((first.count(), second.count()), (1, 0), "{status}");
    }
    let (first, second) = (Stub::new(503, "{}"), Stub::new(429, r#"{"error":{"message":"slow down"}}"#));
    let setup = start(&catalogue(&[("first", &first.url), ("second", &second.url)]));
    let answer = setup.caller("caller", &Value::Null).post("/v1/chat/completions", &chat("gpt-4"));
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.body.contains("slow down"));
}

#[test]
fn key_sees_and_calls_only_its_models() {
    let stub = Stub::new(200, CHAT);
    let setup = start(&catalogue(&[("first", &stub.url)]));
    let all = setup.caller("all", &Value::Null);
    let some = setup.caller("some", &json!(["gpt-*", "org/*"]));
    assert_eq!(ids(&all.get("/v1/models").json()), ["gpt-4", "org/embed:1", "claude-sonnet"]);
    let list = some.get("/v1/models").json();
    assert_eq!(ids(&list), ["gpt-4", "org/embed:1"]);
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&json!("list"), &json!("model")));
    assert_eq!(list["data"][0]["owned_by"], "first");
    for path in ["/v1/models/org/embed:1", "/v1/models/org%2Fembed%3A1"] {
        let one = some.get(path);
        assert_eq!((one.status, &one.json()["id"]), (200, &json!("org/embed:1")), "{path}: {}", one.body);
    }
    assert_eq!(some.get("/v1/models/claude-sonnet").refusal(), (403, "model_not_allowed".into()));
    assert_eq!(some.get("/v1/models/gpt-4-0613").refusal(), (404, "model_not_found".into()));
    assert_eq!(all.get("/v1/models/claude-sonnet").status, 200);
    for (path, more) in [
        ("/v1/chat/completions", json!({"messages": []})),
        ("/v1/completions", json!({"prompt": "x"})),
        ("/v1/embeddings", json!({"input": "x"})),
        ("/v1/responses", json!({"input": "x"})),
        ("/v1/inference", json!({"prompt": "x"})),
    ] {
        let call = |api: &Api, model: &str| {
            let mut body = more.clone();
            body["model"] = json!(model);
            api.post(path, &body)
        };
        assert_eq!(call(&all, "claude").refusal(), (404, "model_not_found".into()), "{path}");
        assert_eq!(call(&some, "gpt-4-0613").refusal(), (404, "model_not_found".into()), "{path}");
        let refused = call(&some, "claude-sonnet");
        assert_eq!(refused.refusal(), (403, "model_not_allowed".into()), "{path}");
        assert!(refused.body.contains("It may call gpt-4, org/embed:1."), "{}", refused.body);
        assert_eq!(stub.count(), 0, "{path}");
        assert_eq!(call(&some, "gpt-4").status, 200, "{path}");
        assert_eq!(stub.count(), 1, "{path}");
    }
}

#[test]
fn change_of_a_keys_models_takes_effect_at_once() {
    let stub = Stub::new(200, CHAT);
    let setup = start(&catalogue(&[("first", &stub.url)]));
    let made = setup.org.admin.create(&json!({"name": "changing", "scopes": ["inference:write"]}));
    let api = setup.server.api(made["key"].as_str().unwrap());
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    for (models, status) in
        [(Value::Null, 200), (json!(["claude-*"]), 403), (json!(["gpt-4"]), 200), (json!(["gpt-4x*"]), 403)]
    {
        assert_eq!(setup.org.admin.patch(&path, &json!({"models": models})).status, 200);
        assert_eq!(api.post("/v1/chat/completions", &chat("gpt-4")).status, status, "{models}");
    }
}

#[test]
fn policy_bounds_what_keys_of_members_call() {
    let stub = Stub::new(200, CHAT);
    let setup = start(&catalogue(&[("first", &stub.url)]));
    setup.desk.add_member(&setup.org, "bo@example.com", "member");
    let body =
        json!({"name": "of-bo", "scopes": ["inference:read", "inference:write"], "owner": "bo@example.com"});
    let rules = json!({"longest_days": null, "never": "everyone", "default_days": 90,
        "member_scopes": ["inference:read", "inference:write"], "default_rpm": null, "largest_rpm": 1000000,
        "member_models": ["claude-*"]});
    setup.desk.database.execute(&format!(
        "INSERT INTO key_policies (org_id, rules, saved_at) SELECT id, '{rules}', 1 FROM organizations WHERE slug = '{}'",
        setup.org.slug
    ));
    let of_bo = setup.server.api(setup.org.admin.create(&body)["key"].as_str().unwrap());
    assert_eq!(ids(&of_bo.get("/v1/models").json()), ["claude-sonnet"]);
    assert_eq!(of_bo.post("/v1/chat/completions", &chat("claude-sonnet")).status, 200);
    assert_eq!(
        of_bo.post("/v1/chat/completions", &chat("gpt-4")).refusal(),
        (403, "model_not_allowed".into())
    );
    assert_eq!(setup.caller("of-ada", &Value::Null).post("/v1/chat/completions", &chat("gpt-4")).status, 200);
}

#[test]
fn without_a_catalogue_every_name_is_accepted_that_the_key_may_call() {
    let (_desk, server, org) = desk();
    let (all, some) =
        (caller(&server, &org, "all", &Value::Null), caller(&server, &org, "some", &json!(["gpt-*"])));
    assert_eq!(all.post("/v1/chat/completions", &chat("anything")).status, 200);
    assert_eq!(some.post("/v1/chat/completions", &chat("gpt-9")).status, 200);
    let refused = some.post("/v1/chat/completions", &chat("anything"));
    assert_eq!(refused.refusal(), (403, "model_not_allowed".into()));
    assert!(refused.body.contains("It may call gpt-*."), "{}", refused.body);
    assert_eq!(ids(&all.get("/v1/models").json()), ["echo"]);
    assert!(ids(&some.get("/v1/models").json()).is_empty());
    assert_eq!(all.get("/v1/models/echo").status, 200);
    assert_eq!(some.get("/v1/models/echo").refusal(), (403, "model_not_allowed".into()));
    assert_eq!(all.get("/v1/models/other").refusal(), (404, "model_not_found".into()));
}

#[test]
fn reload_changes_where_requests_go() {
    let (first, second) = (Stub::new(200, CHAT), Stub::new(200, CHAT));
    let setup = start(&catalogue(&[("first", &first.url)]));
    let api = setup.caller("caller", &Value::Null);
    assert_eq!(api.post("/v1/chat/completions", &chat("gpt-4")).status, 200);
    let file = setup.desk.data.path().join("models.toml");
    let next = catalogue(&[("first", &second.url)]).replace("\"claude-sonnet\"", "\"claude-opus\"");
    std::fs::write(file, next).unwrap();
    setup.server.ask_to_reload();
    setup
        .server
        .wait_for_log("models added: claude-opus; models removed: claude-sonnet; upstreams changed: first");
    assert_eq!(api.post("/v1/chat/completions", &chat("gpt-4")).status, 200);
    assert_eq!((first.count(), second.count()), (1, 1));
    assert_eq!(api.post("/v1/chat/completions", &chat("claude-sonnet")).status, 404);
}

#[test]
fn model_of_another_api_is_not_called_through_openais_routes() {
    let stub = Stub::new(200, CHAT);
    let setup =
        start(&catalogue(&[("first", &stub.url)]).replace("kind = \"openai\"", "kind = \"anthropic\""));
    let refused = setup.caller("caller", &Value::Null).post("/v1/chat/completions", &chat("gpt-4"));
    assert_eq!(refused.refusal(), (404, "model_not_found".into()));
    assert!(refused.body.contains("speaks another API"), "{}", refused.body);
    assert_eq!(stub.count(), 0);
}
