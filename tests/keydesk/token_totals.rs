//! Many requests of all kinds, streamed and whole, abandoned at random points: the counts are what the upstream
//! reports. `KEYDESK_TEST_REQUESTS` sets how many.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

use serde_json::json;

use crate::support::plan::{Plan, Report};
use crate::support::stream::{Open, many_upstreams, with_upstream};
use crate::support::{Api, Server, eventually};

const COUNTS: [&str; 6] =
    ["requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"];

/// Plays the upstream's part.
fn respond(request: &str, mut stream: TcpStream) -> std::io::Result<()> {
    let seed = request.split("seed ").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
    let plan = Plan::new(seed.parse().unwrap());
    if !plan.is_stream {
        let body = plan.whole().to_string();
        let head =
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length:";
        return write!(stream, "{head} {}\r\n\r\n{body}", body.len());
    }
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n")?;
    for piece in 0..plan.abandoned.unwrap_or(plan.pieces.len()) {
        stream.write_all(plan.piece(piece).as_bytes())?;
    }
    if plan.abandoned.is_none() {
        return stream.write_all(plan.end().as_bytes());
    }
    // Until Keydesk disconnects, because its client did; bounded, so that a failure shows.
    for _ in 0..2_000 {
        stream.write_all(b": waiting\n\n")?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

fn send(api: &Api, server: &Server, plan: &Plan) {
    if let Some(pieces) = plan.abandoned {
        let mut open = Open::post(api, server, plan.path, &plan.body());
        if plan.path == "/v1/inference" {
            // Only content is translated; every plan of this path has nothing else.
            assert!(plan.pieces.iter().all(|(name, _)| *name == "content"));
        }
        open.until(&format!("piece {}", pieces - 1));
        return;
    }
    let answer = api.post(plan.path, &plan.body());
    assert_eq!(answer.status, 200, "{plan:?}: {}", answer.body);
    if plan.is_stream {
        let usage_only = answer.body.contains("\"choices\":[],\"usage\":{");
        let shows = plan.requests_usage && plan.report == Report::Last;
        let is_chunks = !matches!(plan.path, "/v1/responses" | "/v1/inference");
        assert_eq!(usage_only, shows && is_chunks, "{plan:?}: {}", answer.body);
    }
}

#[test]
fn counts_of_many_requests_are_what_the_upstream_reports() {
    let requests = std::env::var("KEYDESK_TEST_REQUESTS").ok();
    let requests: u64 = requests.map_or(300, |text| text.parse().expect("a number"));
    let url = many_upstreams(|request, stream| drop(respond(&request, stream)));
    let (desk, server, org) = with_upstream(&url);
    let limits = json!({"name": "caller", "scopes": ["inference:write", "analytics:read"], "requests_per_minute": 1_000_000});
    let api = server.api(org.admin.create(&limits)["key"].as_str().unwrap());
    let expected: Mutex<BTreeMap<String, [i64; 6]>> = Mutex::default();
    let (api_of_client, server_of_client, expected_of_client) = (&api, &server, &expected);
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for seed in (client..requests).step_by(8) {
                    let plan = Plan::new(seed * 1_000_003 + 17);
                    send(api_of_client, server_of_client, &plan);
                    let mut expected = expected_of_client.lock().unwrap();
                    let sums = expected.entry(plan.model()).or_default();
                    for (sum, count) in sums.iter_mut().zip(plan.expected()) {
                        *sum += count;
                    }
                }
            });
        }
    });
    let counted = || {
        let usage = api.get("/v1/usage?scope=inference:write&group_by=model").json();
        let mut counted: BTreeMap<String, [i64; 6]> = BTreeMap::new();
        for line in usage["data"].as_array().unwrap() {
            let sums = counted.entry(line["group"].as_str().unwrap().to_owned()).or_default();
            for (sum, count) in sums.iter_mut().zip(COUNTS) {
                *sum += line[count].as_i64().unwrap();
            }
        }
        counted
    };
    let all = || counted().values().map(|counts| counts[0]).sum::<i64>();
    eventually("all is counted", || all() >= requests.cast_signed());
    let expected = expected.into_inner().unwrap();
    assert_eq!(counted(), expected, "of {COUNTS:?}");
    let total = api.get("/v1/usage?scope=inference:write").json()["total"].clone();
    for (place, count) in COUNTS.iter().enumerate() {
        let sum: i64 = expected.values().map(|counts| counts[place]).sum();
        assert_eq!(total[count], sum, "{count}");
        let column = format!(
            "SELECT CAST(SUM({count}) AS BIGINT) AS count FROM all_usage_counts WHERE width = 86400 AND scope = 'inference:write'"
        );
        assert_eq!(desk.database.count(&column), sum, "{count} in the database");
    }
}
