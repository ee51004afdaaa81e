//! The usage pages and the export match the requests.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Browser, Desk, Org, Page, Server, desk, eventually};
use crate::usage::{crowd, crowds_keys};

const COUNTS: [&str; 10] = [
    "requests",
    "ok",
    "client_errors",
    "limited",
    "server_errors",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

/// The lines of an export, each by the names of its columns.
fn lines(page: &Page) -> Vec<BTreeMap<String, String>> {
    assert_eq!(page.status, 200, "{}", page.body);
    let text = page.body.strip_prefix('\u{feff}').expect("spreadsheets need the byte order mark");
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let named = |row: Vec<&str>| {
        assert_eq!(row.len(), head.len(), "{row:?}");
        head.iter().map(|name| (*name).to_owned()).zip(row.into_iter().map(str::to_owned)).collect()
    };
    rows.map(named).collect()
}

fn sum(lines: &[BTreeMap<String, String>], column: &str) -> i64 {
    lines.iter().map(|line| line[column].parse::<i64>().unwrap()).sum()
}

fn number(text: &str) -> i64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// The sum of a column of the table below the chart.
fn charted(page: &Page, column: usize) -> i64 {
    let cells = page.texts(&format!("figure table tbody td:nth-child({})", column + 2));
    cells.iter().map(|cell| number(cell)).sum()
}

/// Requests by the name of the row.
fn rows(page: &Page) -> BTreeMap<String, i64> {
    let names = page.texts("table.uses tbody th .two > span:first-child");
    let requests = page.texts("table.uses tbody td.number:not(.from-phone):not(.from-wide)");
    let requests = requests.iter().step_by((requests.len() / names.len().max(1)).max(1));
    names.into_iter().zip(requests.map(|text| number(text))).collect()
}

/// Makes someone else a member, whose password is the owner's.
pub fn join(desk: &Desk, org: &Org, email: &str, role: &str) {
    desk.run_with_input(
        &[
            "setup",
            "--another",
            "--org",
            "Elsewhere",
            "--name",
            "Someone",
            "--email",
            email,
            "--password-stdin",
        ],
        crate::support::PASSWORD,
    );
    let slug = &org.slug;
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, '{role}', 0 \
         FROM organizations o, people p WHERE o.slug = '{slug}' AND p.email = '{email}'"
    ));
}

fn counted(server: &Server, browser: &mut Browser, org: &Org, requests: i64) {
    let _ = server;
    let path = format!("/o/{}/usage?range=24h", org.slug);
    eventually("all is counted", || charted(&browser.get(&path), 0) >= requests);
}

/// Waits until all counts are in the tables of sums.
pub fn added_up(desk: &Desk) {
    eventually("all is added up", || desk.database.count("SELECT COUNT(*) AS count FROM usage_journal") == 0);
}

#[test]
fn page_api_export_and_database_agree_exactly() {
    let (desk, server, org) = desk();
    let analyst = desk.key(&org.slug, "analyst", "analytics:read");
    let (sent, _) = crowd(&server, &crowds_keys(&org), 120);
    let model = json!({"model": "m1", "prompt": "Hello"});
    let writer = server.api(&desk.key(&org.slug, "writer", "inference:write"));
    for _ in 0..7 {
        assert_eq!(writer.post("/v1/inference", &model).status, 200);
    }
    assert_eq!(server.stop(), Some(0));
    let server = desk.start();
    let mut owner = server.signed_in(&org);
    let path = format!("/o/{}/usage", org.slug);
    // Besides these requests, the admin key has created three keys.
    let all = 16 * 120 + 7 + 3;
    for range in ["24h", "7d", "30d", "90d"] {
        let page = owner.get(&format!("{path}?range={range}"));
        assert_eq!(number(&page.texts(".tiles dd")[0]), all, "{range}");
        assert_eq!(charted(&page, 0), all, "{range}");
        assert_eq!(charted(&page, 1), sent["ok"] + 7 + 3, "{range}");
        assert_eq!(charted(&page, 2), sent["client_errors"], "{range}");
        assert_eq!(charted(&page, 3), sent["limited"], "{range}");
        assert_eq!(charted(&page, 4), 0, "{range}");
        for by in ["key", "model", "scope", "person"] {
            let table = owner.get(&format!("{path}?range={range}&by={by}"));
            assert_eq!(rows(&table).values().sum::<i64>(), all, "{range} by {by}");
        }
        let export = lines(&owner.get(&format!("/o/{}/usage.csv?range={range}", org.slug)));
        assert_eq!(sum(&export, "requests"), all, "{range}");
        for (outcome, more) in [("ok", 10), ("client_errors", 0), ("limited", 0)] {
            assert_eq!(sum(&export, outcome), sent[outcome] + more, "{range} {outcome}");
        }
    }
    let export = lines(&owner.get(&format!("/o/{}/usage.csv?range=24h", org.slug)));
    for count in COUNTS {
        let database = |table: &str, width| {
            let sum = match count {
                "requests" => format!("SUM({count})"),
                _ if count.ends_with("_tokens") => format!("SUM({count})"),
                _ => format!("SUM(CASE WHEN outcome = '{count}' THEN requests ELSE 0 END)"),
            };
            desk.database.count(&format!(
                "SELECT CAST(COALESCE({sum}, 0) AS BIGINT) AS count FROM {table} WHERE width = {width}"
            ))
        };
        let expected = sum(&export, count);
        for width in [60, 3_600, 86_400] {
            assert_eq!(database("all_usage_counts", width), expected, "{count} by {width} s");
        }
        for width in [3_600, 86_400] {
            assert_eq!(database("all_usage_totals", width), expected, "{count} together by {width} s");
        }
    }
    // Last, because this request is counted too, a second later.
    let told = server.api(&analyst).get("/v1/usage").json()["total"].clone();
    for count in COUNTS {
        assert_eq!(told[count].as_i64(), Some(sum(&export, count)), "{count}");
    }
    // Page, export and API use the same filters.
    let by_model = owner.get(&format!("{path}?range=24h&model=m1"));
    assert_eq!(charted(&by_model, 0), 7);
    assert_eq!(rows(&by_model), BTreeMap::from([("writer".to_owned(), 7)]));
    assert_eq!(
        sum(&lines(&owner.get(&format!("/o/{}/usage.csv?range=24h&model=m1", org.slug))), "requests"),
        7
    );
    let narrowed = |query: &str| {
        let answer = server.api(&analyst).get(&format!("/v1/usage?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["total"]["requests"].as_i64().unwrap()
    };
    assert_eq!(narrowed("model=m1"), 7);
    let writer = export.iter().find(|line| line["key_name"] == "writer").unwrap()["key_id"].clone();
    assert_eq!(narrowed(&format!("key={writer}&scope=inference:write")), 7);
    assert_eq!(narrowed(&format!("key={writer}&scope=inference:read")), 0);
    let person = export[0]["owner_id"].clone();
    assert_eq!(narrowed(&format!("owner={person}&model=m1")), 7);
    for by in ["scope", "model", "address", "secret"] {
        let page = owner.get(&format!("/o/{}/keys/{writer}/usage?range=24h&by={by}", org.slug));
        assert_eq!(rows(&page).values().collect::<Vec<_>>(), [&7], "{by}");
        assert_eq!(number(&page.texts(".tiles dd")[0]), 7, "{by}");
    }
}

#[test]
fn members_see_usage_of_their_own_keys_and_auditors_of_all() {
    let (desk, server, org) = desk();
    join(&desk, &org, "member@example.com", "member");
    join(&desk, &org, "auditor@example.com", "auditor");
    let mine = json!({"name": "mine", "scopes": ["inference:read"], "owner": "member@example.com"});
    let mine = org.admin.create(&mine);
    let theirs = org.admin.create(&json!({"name": "theirs", "scopes": ["inference:read"]}));
    for (key, calls) in [(&mine, 2), (&theirs, 3)] {
        for _ in 0..calls {
            server.api(key["key"].as_str().unwrap()).get("/v1/models");
        }
    }
    let path = format!("/o/{}/usage", org.slug);
    let mut owner = server.signed_in(&org);
    // The admin key created both keys.
    counted(&server, &mut owner, &org, 7);
    let mut member = server.signed_in_as("member@example.com");
    let page = member.get(&path);
    assert_eq!(rows(&page), BTreeMap::from([("mine".to_owned(), 2)]));
    assert_eq!(charted(&page, 0), 2);
    for by in ["model", "scope", "person"] {
        assert_eq!(rows(&member.get(&format!("{path}?by={by}"))).values().sum::<i64>(), 2, "{by}");
    }
    assert_eq!(sum(&lines(&member.get(&format!("/o/{}/usage.csv", org.slug))), "requests"), 2);
    let of = |key: &serde_json::Value| key["id"].as_str().unwrap().to_owned();
    assert_eq!(member.get(&format!("/o/{}/keys/{}/usage", org.slug, of(&mine))).status, 200);
    assert_eq!(member.get(&format!("/o/{}/keys/{}/usage", org.slug, of(&theirs))).status, 404);
    assert_eq!(member.get(&format!("/o/{}/usage.csv?key={}", org.slug, of(&theirs))).status, 404);
    let owner_id = org.admin.get(&format!("/v1/api-keys/{}", of(&theirs))).json()["owner"]["id"].clone();
    assert_eq!(member.get(&format!("{path}?owner={}", owner_id.as_str().unwrap())).status, 404);
    // Programs see what the owner of their key does.
    let analyst = json!({"name": "analyst", "scopes": ["analytics:read"], "owner": "member@example.com"});
    let analyst = server.api(org.admin.create(&analyst)["key"].as_str().unwrap());
    let told = analyst.get("/v1/usage?group_by=key").body;
    assert!(told.contains(&of(&mine)) && !told.contains(&of(&theirs)), "{told}");
    assert_eq!(analyst.get(&format!("/v1/usage?owner={}", owner_id.as_str().unwrap())).status, 404);
    let mut auditor = server.signed_in_as("auditor@example.com");
    assert!(charted(&auditor.get(&path), 0) >= 7);
    assert_eq!(auditor.get(&format!("/o/{}/keys/{}/usage", org.slug, of(&theirs))).status, 200);
    let other = desk.set_up(&server, "Other");
    let mut stranger = server.signed_in(&other);
    assert_eq!(stranger.get(&path).status, 404);
    assert_eq!(auditor.get(&format!("{path}?owner={}", desk.id_of(&other.email))).status, 404);
    // Where nothing was ever called, calling is the next step; a filter that leaves nothing is another matter.
    let theirs = format!("/o/{}/usage", other.slug);
    let idle = org.admin.create(&json!({"name": "idle", "scopes": ["inference:read"]}));
    assert_eq!(stranger.get(&theirs).text(".empty h2"), "No requests yet");
    assert_eq!(stranger.get(&format!("{theirs}?model=m1")).text(".empty h2"), "No requests match");
    let page = owner.get(&format!("/o/{}/keys/{}/usage", org.slug, of(&idle)));
    assert_eq!(page.text(".empty h2"), "No requests yet");
    assert_eq!(rows(&stranger.get(&theirs)).get("theirs"), None);
}

#[test]
fn short_period_excludes_older_requests() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let mut owner = server.signed_in(&org);
    let key = server.api(&desk.key(&org.slug, "worker", "inference:read"));
    for _ in 0..5 {
        key.get("/v1/models");
    }
    counted(&server, &mut owner, &org, 5);
    added_up(&desk);
    let days = 10;
    desk.database.execute(&format!(
        "UPDATE usage_counts SET start = start - {micros}; UPDATE usage_totals SET start = start - {micros}",
        micros = days * 86_400_000_000_i64
    ));
    let path = format!("/o/{}/usage", org.slug);
    assert!(rows(&owner.get(&format!("{path}?range=30d"))).get("worker") == Some(&5));
    let page = owner.get(&format!("{path}?range=7d"));
    assert_eq!(rows(&page), BTreeMap::new());
    assert!(page.body.contains("No requests in this period"));
    for range in ["24h", "7d"] {
        let page = owner.get(&format!("{path}?range={range}"));
        assert_eq!(charted(&page, 0), 0, "{range}");
        assert_eq!(page.text(".empty h2"), "No requests in this period", "{range}");
        let all = page.attribute(".empty .actions a", "href");
        assert_eq!(all, Some(format!("{path}?range=90d")), "{range}");
        let page = owner.get(&format!("{path}?range={range}&model=m1"));
        assert_eq!(page.text(".empty h2"), "No requests match", "{range}");
        let all = page.attribute(".empty .actions a", "href");
        assert_eq!(all, Some(format!("{path}?range={range}")), "{range}");
    }
    // New requests count in all windows, in addition to the old ones in longer windows.
    key.get("/v1/models");
    counted(&server, &mut owner, &org, 1);
    for (range, requests) in [("24h", 1), ("7d", 1), ("30d", 6), ("90d", 6)] {
        let page = owner.get(&format!("{path}?range={range}"));
        assert_eq!(rows(&page).get("worker"), Some(&requests), "{range}");
    }
}

#[test]
fn period_can_be_chosen_and_invalid_ones_are_refused() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    org.admin.get("/v1/api-keys");
    counted(&server, &mut owner, &org, 1);
    let today = desk.database.lines(if desk.database.is_postgres() {
        "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS line"
    } else {
        "SELECT date('now') AS line"
    });
    let today = &today[0];
    let path = format!("/o/{}/usage", org.slug);
    let page = owner.get(&format!("{path}?range=custom&from={today}&to={today}"));
    assert_eq!((page.status, charted(&page, 0)), (200, 1));
    let page = owner.get(&format!("{path}?range=custom&from=2026-01-01&to={today}"));
    assert_eq!((page.status, charted(&page, 0)), (200, 1));
    assert_eq!(rows(&page), BTreeMap::from([("admin-key".to_owned(), 1)]));
    for (query, field) in [
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("from=yesterday&to=2026-01-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-01-01&to=", "to"),
        ("from=2999-01-01&to=2999-01-02", "from"),
    ] {
        let page = owner.get(&format!("{path}?range=custom&{query}"));
        assert_eq!(page.status, 422, "{query}");
        assert!(page.text("head title").starts_with("Error: "), "{query}");
        assert_eq!(page.attribute(".summary a", "href"), Some(format!("#{field}")), "{query}");
        assert_eq!(owner.get(&format!("/o/{}/usage.csv?range=custom&{query}", org.slug)).status, 422);
    }
    for query in ["range=1y", "by=colour", "sort=name", "page=0", "key=x", "owner=x", "scope=x", "model=%00"]
    {
        assert_eq!(owner.get(&format!("{path}?{query}")).status, 400, "{query}");
    }
}

#[test]
fn day_that_has_just_begun_is_compared_with_the_same_hours_before() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    for _ in 0..2 {
        org.admin.get("/v1/api-keys");
    }
    counted(&server, &mut owner, &org, 2);
    added_up(&desk);
    // A week ago: four in the current hour of the day, and many in the last hour of that day.
    let (hour, week) = (3_600_000_000_i64, 7 * 86_400_000_000_i64);
    let this = jiff::Timestamp::now().as_second() / 3_600 % 24;
    let many = if this == 23 { 0 } else { 96 };
    let row = |width: i64, start: i64, requests: i64| {
        format!(
            "INSERT INTO usage_totals (org_id, width, start, scope, model, outcome, requests, input_tokens, output_tokens) \
             SELECT org_id, {width}, start - {week} + {start}, 'inference:read', '', 'ok', {requests}, 0, 0 \
             FROM usage_totals WHERE width = 86400 AND outcome = 'ok'"
        )
    };
    let mut rows = vec![row(3_600, this * hour, 4)];
    if many > 0 {
        rows.push(row(3_600, 23 * hour, many));
    }
    rows.push(row(86_400, 0, 4 + many));
    desk.database.execute(&rows.join(";"));
    let page = owner.get(&format!("/o/{}/usage?range=7d", org.slug));
    assert_eq!(page.texts(".tiles dd.note")[0], "50 % less than before");
}

#[test]
fn export_of_many_parts_is_complete_and_contains_no_formulas() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let key = org.admin.create(&json!({"name": "=1+1|cmd", "scopes": ["inference:write"]}));
    server
        .api(key["key"].as_str().unwrap())
        .post("/v1/inference", &json!({"model": "@SUM(A1)", "prompt": "x"}));
    counted(&server, &mut owner, &org, 2);
    added_up(&desk);
    // As many rows as several parts hold, two of them of one key in one hour.
    let (start, cast) = if desk.database.is_postgres() {
        ("n * 3600000000::BIGINT", "decode(lpad(to_hex(n % 3), 32, '0'), 'hex')")
    } else {
        ("n * 3600000000", "CAST(printf('%016d', n % 3) AS BLOB)")
    };
    desk.database.execute(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000) \
         INSERT INTO usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens) \
         SELECT o.org_id, {cast}, 86400, o.start - {start} / 24, o.secret_id, 'inference:write', CASE WHEN m.m = 1 THEN 'a' ELSE 'b' END, \
            CASE WHEN m.m = 3 THEN 'limited' ELSE 'ok' END, 1, 0, 0 \
         FROM numbers, (SELECT 1 AS m UNION ALL SELECT 2 UNION ALL SELECT 3) m, \
            (SELECT org_id, start, secret_id FROM usage_counts WHERE width = 86400 AND model = '@SUM(A1)') o"
    ));
    let export = owner.get(&format!("/o/{}/usage.csv?range=90d", org.slug));
    assert_eq!(export.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert!(
        export.header("content-disposition").unwrap().starts_with("attachment; filename=\"keydesk-usage-")
    );
    let text = export.body.replace("\"'=1+1|cmd\"", "guarded").replace("\"'@SUM(A1)\"", "guarded");
    assert!(text.contains("guarded,") && !text.contains(",=") && !text.contains(",@"), "{text}");
    let export = Page { body: text, ..export };
    let all = lines(&export);
    let in_range = desk.database.count(
        "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM usage_counts WHERE width = 86400 \
         AND start > (SELECT MAX(start) FROM usage_counts WHERE width = 86400) - 7776000000000",
    );
    assert!(in_range > 6_000, "{in_range}");
    assert_eq!(sum(&all, "requests"), in_range);
    let mut places: Vec<_> = all
        .iter()
        .map(|line| ["start_utc", "key_id", "scope", "model"].map(|column| line[column].clone()))
        .collect();
    let (sorted, number) = (places.is_sorted_by_key(|place| place[0].clone()), places.len());
    places.sort();
    places.dedup();
    assert!(sorted && places.len() == number, "each line once, oldest first");
}
