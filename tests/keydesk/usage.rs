//! The counts match the requests.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::stream::{Open, STREAM_HEAD, send_chunk, upstream, with_upstream};
use crate::support::{Api, Desk, Org, Server, desk, eventually};

#[test]
fn counts_equal_the_requests_after_a_graceful_stop() {
    let (desk, server, org) = desk();
    let body = json!({"name": "counted", "scopes": ["inference:read"], "requests_per_minute": 40});
    let key = org.admin.create(&body);
    let api = server.api(key["key"].as_str().unwrap());
    let mut sent = std::collections::BTreeMap::new();
    for number in 0..60 {
        let path = if number % 3 == 0 { "/v1/api-keys" } else { "/v1/models" };
        let outcome = match api.get(path).status {
            200 => "ok",
            403 => "client_errors",
            429 => "limited",
            status => panic!("{status}"),
        };
        let scope = if number % 3 == 0 { "admin" } else { "inference:read" };
        *sent.entry(format!("{scope} {outcome}")).or_insert(0) += 1;
    }
    let id = key["id"].as_str().unwrap();
    assert_eq!(server.stop(), Some(0));
    let counted = desk.database.lines(
        "SELECT h.scope || ' ' || h.outcome || '=' || CAST(SUM(h.requests) AS BIGINT) AS line FROM all_usage_counts h \
         JOIN api_keys k ON k.id = h.key_id WHERE h.width = 3600 AND k.name = 'counted' GROUP BY h.scope, h.outcome ORDER BY 1",
    );
    let expected: Vec<String> = sent.iter().map(|(what, number)| format!("{what}={number}")).collect();
    assert_eq!(counted, expected, "{id}");
    assert_eq!(
        desk.database.count(
            "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM all_usage_callers WHERE program LIKE 'ureq%'"
        ),
        61
    );
}

#[test]
fn the_last_use_is_known_within_seconds() {
    let (_desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "used", "scopes": ["inference:read"]}));
    let path = format!("/v1/api-keys/{}", key["id"].as_str().unwrap());
    server.api(key["key"].as_str().unwrap()).get("/v1/models");
    eventually("the last use", || org.admin.get(&path).json()["last_used_at"].is_string());
}

#[test]
fn requests_with_an_ended_key_are_counted() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "ended", "scopes": ["inference:read"]}));
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    server.api(key["key"].as_str().unwrap()).get("/v1/models");
    server.stop();
    let counted = "SELECT CAST(COALESCE(SUM(h.requests), 0) AS BIGINT) AS count FROM all_usage_counts h JOIN api_keys k ON k.id = h.key_id \
                   WHERE h.width = 3600 AND k.name = 'ended' AND h.outcome = 'client_errors'";
    assert_eq!(desk.database.count(counted), 1);
}

/// What `GET /v1/usage` tells, once everything that was answered is counted.
fn usage(api: &Api, query: &str) -> Value {
    let answer = api.get(&format!("/v1/usage?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn groups(usage: &Value, member: &str) -> BTreeMap<String, i64> {
    let mut groups = BTreeMap::new();
    for line in usage["data"].as_array().unwrap() {
        let group = line["group"].as_str().unwrap_or("none").to_owned();
        *groups.entry(group).or_insert(0) += line[member].as_i64().unwrap();
    }
    groups
}

#[test]
fn usage_is_grouped_by_model_key_and_scope_with_tokens() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:read"]}));
    let id = key["id"].as_str().unwrap();
    org.admin.patch(&format!("/v1/api-keys/{id}"), &json!({"scopes": ["inference:read", "inference:write"]}));
    let caller = server.api(key["key"].as_str().unwrap());
    let mut expected: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut count = |model, usage: &Value, input, output| {
        let sum = expected.entry(model).or_default();
        sum.0 += usage[input].as_i64().unwrap();
        sum.1 += usage[output].as_i64().unwrap_or(0);
    };
    let whole = caller.post("/v1/inference", &json!({"model": "small", "prompt": "Hello there"})).json();
    count("small", &whole["usage"], "input_tokens", "output_tokens");
    let message = json!([{"role": "user", "content": "How are you?"}]);
    let chat = caller.post("/v1/chat/completions", &json!({"model": "large", "messages": message})).json();
    count("large", &chat["usage"], "prompt_tokens", "completion_tokens");
    // The echo says what a stream has cost only if asked; else it is counted and comes to the same.
    let stream = json!({"model": "large", "messages": message, "stream": true});
    assert_eq!(caller.post("/v1/chat/completions", &stream).status, 200);
    count("large", &chat["usage"], "prompt_tokens", "completion_tokens");
    let response = caller.post("/v1/responses", &json!({"model": "large", "input": "Hello"})).json();
    count("large", &response["usage"], "input_tokens", "output_tokens");
    let stream = json!({"model": "large", "input": "Hello", "stream": true});
    assert_eq!(caller.post("/v1/responses", &stream).status, 200);
    count("large", &response["usage"], "input_tokens", "output_tokens");
    let vector = caller.post("/v1/embeddings", &json!({"model": "vectors", "input": ["a", "bcdef"]})).json();
    count("vectors", &vector["usage"], "prompt_tokens", "none");
    assert_eq!(caller.get("/v1/models").status, 200);
    assert_eq!(caller.get("/v1/usage").status, 403);
    assert_eq!(caller.post("/v1/inference", &json!({"model": "small", "prompt": ""})).status, 422);
    let analyst = server.api(&desk.key(&org.slug, "analyst", "analytics:read"));
    eventually("all is counted", || {
        usage(&analyst, "group_by=model")["total"]["requests"].as_i64() >= Some(12)
    });
    let by_model = usage(&analyst, "group_by=model");
    for (model, (input, output)) in expected {
        assert_eq!(groups(&by_model, "input_tokens")[model], input, "{model}");
        assert_eq!(groups(&by_model, "output_tokens")[model], output, "{model}");
    }
    assert_eq!(groups(&by_model, "requests")["large"], 4);
    // An unknown model in the body is not counted as a model.
    assert_eq!(groups(&by_model, "requests")["small"], 1);
    let by_scope = usage(&analyst, "group_by=scope");
    assert_eq!(groups(&by_scope, "ok")["inference:write"], 6);
    assert_eq!(groups(&by_scope, "client_errors")["inference:write"], 1);
    assert_eq!(groups(&by_scope, "client_errors")["analytics:read"], 1);
    let by_key = usage(&analyst, "group_by=key&bucket=day");
    assert_eq!(groups(&by_key, "requests")[id], 9);
    let total = &by_key["total"];
    let parts = ["ok", "client_errors", "limited", "server_errors"].map(|part| total[part].as_i64().unwrap());
    assert_eq!(total["requests"].as_i64(), Some(parts.iter().sum()));
    let latencies = "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM all_usage_latencies WHERE width = 3600 AND model <> ''";
    assert_eq!(desk.database.count(latencies), 6);
}

#[test]
fn usage_is_bounded_in_time_and_belongs_to_the_organisation() {
    let (desk, server, org) = desk();
    let other = desk.set_up(&server, "Other");
    let analyst = server.api(&desk.key(&org.slug, "analyst", "analytics:read"));
    let stranger = server.api(&desk.key(&other.slug, "analyst", "analytics:read"));
    assert_eq!(analyst.get("/v1/usage").json()["data"], json!([]));
    eventually("its own call", || usage(&analyst, "group_by=scope")["data"][0]["group"] == "analytics:read");
    let line = usage(&analyst, "bucket=day")["data"][0].clone();
    let start = line["start"].as_str().unwrap();
    assert!(start.ends_with("T00:00:00Z") && line["group"].is_null(), "{line}");
    assert_eq!(usage(&analyst, &format!("bucket=day&to={start}"))["data"], json!([]));
    assert_eq!(usage(&analyst, &format!("bucket=day&from={start}"))["data"][0]["start"], start);
    let ours = desk
        .database
        .count("SELECT CAST(SUM(requests) AS BIGINT) AS count FROM all_usage_counts WHERE width = 60");
    assert!(usage(&stranger, "")["total"]["requests"].as_i64().unwrap() < ours);
    assert!(usage(&stranger, "group_by=key")["data"].as_array().unwrap().len() <= 1);
    for (query, field) in [
        ("from=yesterday", "from"),
        ("to=2026-11-24", "to"),
        ("from=2026-11-24T10:00:00Z&to=2026-11-24T10:00:00Z", "from"),
        ("from=2020-01-01T00:00:00Z", "from"),
        ("bucket=minute", "bucket"),
        ("group_by=owner", "group_by"),
    ] {
        let answer = analyst.get(&format!("/v1/usage?{query}"));
        assert_eq!(answer.refusal(), (422, "validation_failed".into()), "{query}");
        assert_eq!(answer.fields(), [field], "{query}");
    }
    assert_eq!(analyst.get("/v1/usage?group=key").refusal(), (400, "invalid_request".into()));
    assert_eq!(analyst.get("/v1/usage?from=a&from=b").refusal(), (400, "invalid_request".into()));
    assert_eq!(usage(&analyst, "from=2020-01-01T00:00:00Z&bucket=day")["data"].as_array().unwrap().len(), 1);
}

#[test]
fn abandoned_stream_counts_the_tokens_received_so_far() {
    let url = upstream(|_, mut stream| {
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        send_chunk(&mut stream, "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n").unwrap();
        // Until no one reads it any more; bounded, so that a failure shows.
        for _ in 0..2_000 {
            if send_chunk(&mut stream, ": still there\n\n").is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let (desk, server, org) = with_upstream(&url);
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write,analytics:read"));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "1234"}], "stream": true});
    let mut open = Open::post(&api, &server, "/v1/chat/completions", &body);
    open.until("12345678");
    drop(open);
    eventually("the call is counted", || {
        let usage = usage(&api, "group_by=model");
        groups(&usage, "input_tokens").get("m") == Some(&1) && groups(&usage, "output_tokens")["m"] == 2
    });
}

/// Sends requests from 16 clients at once until each has sent `calls` or the server is gone. Returns how many got
/// a response, by outcome, and how many of these in the last second.
pub fn crowd(server: &Server, keys: &[String], calls: usize) -> (BTreeMap<&'static str, i64>, Vec<Instant>) {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let api = server.api(&keys[client % keys.len()]);
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    for number in 0..calls {
                        let path = if number % 5 == 0 { "/v1/api-keys" } else { "/v1/models" };
                        let Ok(answer) = api.try_send("GET", path, &[], None) else { break };
                        let outcome = match answer.status {
                            200 => "ok",
                            403 => "client_errors",
                            429 => "limited",
                            status => panic!("{status}"),
                        };
                        answers.push((outcome, Instant::now()));
                    }
                    answers
                })
            })
            .collect();
        let mut counts = BTreeMap::new();
        let mut times = Vec::new();
        for (outcome, at) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            *counts.entry(outcome).or_insert(0) += 1;
            times.push(at);
        }
        (counts, times)
    })
}

pub fn crowds_keys(org: &Org) -> Vec<String> {
    let limits = [100_000, 50, 100_000];
    let key = |(number, limit): (usize, &i64)| {
        let body = json!({"name": format!("crowd-{number}"), "scopes": ["inference:read"], "requests_per_minute": limit});
        org.admin.create(&body)["key"].as_str().unwrap().to_owned()
    };
    limits.iter().enumerate().map(key).collect()
}

#[test]
fn usage_after_a_restart_equals_the_counts_of_sixteen_clients() {
    let (desk, server, org) = desk();
    let analyst = desk.key(&org.slug, "analyst", "analytics:read");
    let (counts, _) = crowd(&server, &crowds_keys(&org), 150);
    assert_eq!(server.stop(), Some(0));
    let server = desk.start();
    let usage = usage(&server.api(&analyst), "");
    // Besides these requests, the admin key has created three keys.
    let told = |outcome: &str| usage["total"][outcome].as_i64().unwrap();
    assert_eq!(told("ok"), counts["ok"] + 3);
    assert_eq!(told("client_errors"), counts["client_errors"]);
    assert_eq!(told("limited"), counts["limited"]);
    assert_eq!(told("requests"), 16 * 150 + 3);
}

struct KillAtEnd<'a>(&'a Server);

impl Drop for KillAtEnd<'_> {
    fn drop(&mut self) {
        self.0.kill_now();
    }
}

#[test]
fn a_kill_loses_at_most_the_last_second_of_counts() {
    let (desk, server, org) = desk();
    let analyst = desk.key(&org.slug, "analyst", "analytics:read");
    let keys = crowds_keys(&org);
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // Without it the crowd would go on for ever if the counts never came.
            let _end = KillAtEnd(&server);
            eventually("some seconds of counts are there", || {
                desk.database.count("SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM all_usage_counts WHERE width = 60") > 2_000
            });
            server.kill_now();
            Instant::now()
        });
        let (_, times) = crowd(&server, &keys, usize::MAX);
        (killer.join().unwrap(), times)
    });
    let (at, times) = killed;
    let server = desk.start();
    let counted = usage(&server.api(&analyst), "")["total"]["requests"].as_i64().unwrap() - 3;
    let answered = i64::try_from(times.len()).unwrap();
    // A request may be counted although the kill cut off its response: at most one per client.
    assert!(counted <= answered + 16, "{counted} of {answered}");
    // A flush begins every second, and takes its time; what it took is safe once it is over.
    let lately = times.iter().filter(|time| at - **time < Duration::from_millis(1_500)).count();
    let lost = answered - counted;
    assert!(lost <= i64::try_from(lately).unwrap(), "{lost} of {answered}");
}

#[test]
fn old_minutes_are_dropped_and_hours_and_days_stay() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    org.admin.get("/v1/api-keys");
    let rows = |width| format!("SELECT COUNT(*) AS count FROM usage_counts WHERE width = {width}");
    eventually("the call is counted", || desk.database.count(&rows(60)) == 1);
    desk.database.execute("UPDATE usage_counts SET start = start - 259200000000");
    eventually("the minute is dropped", || desk.database.count(&rows(60)) == 0);
    assert_eq!(desk.database.count(&rows(3600)), 1);
    desk.database.execute("UPDATE usage_counts SET start = start - 8640000000000");
    eventually("the hour is dropped", || desk.database.count(&rows(3600)) == 0);
    assert_eq!(desk.database.count(&rows(86400)), 1);
}

#[test]
fn invalid_model_and_client_names_are_counted_and_never_shown() {
    let (desk, server, org) = desk();
    let secret = desk.key(&org.slug, "caller", "inference:write");
    let caller = server.api(&secret);
    let message = json!([{"role": "user", "content": "Hi"}]);
    let odd = ["a\u{0}b", "a\u{202e}b", &format!("my {secret} model")].map(str::to_owned);
    for model in odd.iter().map(String::as_str).chain(["plain"]) {
        let answer = caller.post("/v1/chat/completions", &json!({"model": model, "messages": message}));
        assert_eq!(answer.status, 200, "{model:?}: {}", answer.body);
    }
    let escaped = secret.replace('_', "%5F");
    let refused = org.admin.get(&format!("/v1/api-keys/{escaped}"));
    assert_eq!(refused.refusal(), (400, "invalid_request".into()));
    let analyst = server.api(&desk.key(&org.slug, "analyst", "analytics:read"));
    eventually("all is counted", || {
        groups(&usage(&analyst, "group_by=model"), "ok").get("plain") == Some(&1)
    });
    assert_eq!(groups(&usage(&analyst, "group_by=model"), "ok")["other"], 3);
    assert_eq!(server.stop(), Some(0));
    for (table, column) in
        [("usage_counts", "model"), ("usage_totals", "model"), ("refused_requests", "route")]
    {
        let texts = desk.database.lines(&format!("SELECT {column} AS line FROM {table}"));
        assert!(
            !texts.iter().any(|text| text.contains(&secret) || text.contains(&escaped)),
            "{table}: {texts:?}"
        );
    }
}

#[test]
fn nonsensical_upstream_usage_does_not_corrupt_totals() {
    let answer = r#"{"choices":[{"message":{"role":"assistant","content":"12345678"}}],"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615}}"#;
    let url = upstream(move |_, mut stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(format!("{head}{answer}").as_bytes());
    });
    let (desk, server, org) = with_upstream(&url);
    let caller = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let message = json!([{"role": "user", "content": "12345678"}]);
    let body = json!({"model": "one", "messages": message});
    assert_eq!(caller.post("/v1/chat/completions", &body).status, 200);
    let analyst = server.api(&desk.key(&org.slug, "analyst", "analytics:read"));
    eventually("it is counted", || groups(&usage(&analyst, "group_by=model"), "ok").contains_key("one"));
    let total = usage(&analyst, "bucket=day")["total"].clone();
    assert_eq!((total["input_tokens"].as_i64(), total["output_tokens"].as_i64()), (Some(2), Some(2)));
}
