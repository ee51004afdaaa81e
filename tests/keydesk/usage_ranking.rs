//! The table of keys matches the counts, in every order and for all filters and periods.

use std::time::SystemTime;

use serde_json::json;

use crate::support::{Browser, Desk, Org, desk};

const KEYS: usize = 60;
const DAY: i64 = 86_400;

/// Some dozen keys that called unlike often, for three models, refused and limited some of them;
/// every other one three days ago.
fn busy(desk: &Desk, server: crate::support::Server, org: &Org) {
    for number in 0..KEYS {
        let limit = if number % 5 == 0 { 3 } else { 600 };
        let name = format!("{}-{number:02}", if number % 2 == 0 { "even" } else { "odd" });
        let body = json!({"name": name, "scopes": ["inference:write"], "requests_per_minute": limit});
        let key = server.api(org.admin.create(&body)["key"].as_str().unwrap());
        let model = json!({"model": format!("m{}", number % 3), "prompt": "word ".repeat(number % 4 + 1)});
        for _ in 0..=number % 7 {
            key.post("/v1/inference", &model);
        }
        if number % 4 == 0 {
            assert_ne!(key.get("/v1/models").status, 200);
        }
    }
    assert_eq!(server.stop(), Some(0));
    desk.database.execute(&format!(
        "UPDATE usage_counts SET start = start - {} WHERE key_id IN (SELECT id FROM api_keys WHERE name LIKE 'odd%')",
        3 * DAY * 1_000_000
    ));
}

/// All names of the table, page by page.
fn shown(owner: &mut Browser, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for number in 1.. {
        let page = owner.get(&format!("{path}&page={number}"));
        assert_eq!(page.status, 200, "{path}");
        names.extend(page.texts("table.uses tbody th .two > span:first-child"));
        if page.attribute("a[rel=next]", "href").is_none() {
            return names;
        }
        assert!(number < 9, "{path} has no end");
    }
    names
}

#[test]
fn every_order_of_every_period_and_filter_matches_the_counts() {
    let (desk, server, org) = desk();
    busy(&desk, server, &org);
    let server = desk.start();
    let mut owner = server.signed_in(&org);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let today = i64::try_from(now).unwrap() / DAY;
    let date = |day: i64| jiff::Timestamp::from_second(day * DAY).unwrap().to_string()[..10].to_owned();
    let custom = |from, to| format!("range=custom&from={}&to={}", date(today - from), date(today - to));
    let periods = [
        ("range=7d".to_owned(), 6, 0),
        ("range=30d".to_owned(), 29, 0),
        ("range=90d".to_owned(), 89, 0),
        (custom(3, 3), 3, 3),
        (custom(5, 0), 5, 0),
        (custom(80, 2), 80, 2),
        (custom(300, 1), 300, 1),
    ];
    let filters = [
        ("", "1 = 1"),
        ("&model=m1", "model = 'm1'"),
        ("&scope=inference:write", "scope = 'inference:write'"),
        ("&scope=inference:read", "scope = 'inference:read'"),
        ("&scope=inference:write&model=m2", "scope = 'inference:write' AND model = 'm2'"),
    ];
    let sorts = [
        ("requests", "SUM(requests)"),
        ("tokens", "SUM(input_tokens) + SUM(output_tokens)"),
        (
            "failed",
            "CAST(SUM(CASE WHEN outcome = 'ok' THEN 0 ELSE requests END) * 1000000 AS BIGINT) / CAST(SUM(requests) AS BIGINT)",
        ),
        ("limited", "SUM(CASE WHEN outcome = 'limited' THEN requests ELSE 0 END)"),
    ];
    let mut rows = 0;
    for (period, from, to) in &periods {
        for (filter, condition) in filters {
            for (sort, value) in sorts {
                // One sort turned round for each filter is enough, and all for all calls.
                let ways = if filter.is_empty() || sort == "requests" { 2 } else { 1 };
                for (way, (value_order, key_order)) in
                    [("", ("DESC", "ASC")), ("&dir=reversed", ("ASC", "DESC"))].into_iter().take(ways)
                {
                    let expected = desk.database.lines(&format!(
                        "SELECT k.name AS line FROM all_usage_counts c JOIN api_keys k ON k.id = c.key_id \
                         WHERE c.width = {DAY} AND c.start >= {} AND c.start < {} AND {condition} \
                         GROUP BY k.id, k.name ORDER BY {value} {value_order}, k.id {key_order}",
                        (today - from) * DAY * 1_000_000,
                        (today - to + 1) * DAY * 1_000_000,
                    ));
                    let path = format!("/o/{}/usage?{period}{filter}&sort={sort}{way}", org.slug);
                    assert_eq!(shown(&mut owner, &path), expected, "{path}");
                    rows += expected.len();
                }
            }
        }
    }
    assert!(rows > 50 * KEYS, "{rows}");
}
