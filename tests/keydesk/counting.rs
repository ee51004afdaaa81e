//! Counts of several processes, and what happens to them when something fails.

use std::sync::Arc;
use std::time::Duration;

use keydesk::db::Db;
use keydesk::id::{KeyId, OrgId, SecretId};
use keydesk::time::Time;
use keydesk::usage::call::{Call, Outcome, Tokens};
use keydesk::usage::journal::Writer;
use keydesk::usage::meter::Meter;
use keydesk::usage::part::{Part, Sort};
use keydesk::usage::question::{Filter, Group, Question, Range};
use keydesk::usage::ranking::Rankings;
use keydesk::usage::{flush, sums};
use serde_json::json;

use crate::support::{Desk, desk, eventually};

type Ids = (OrgId, KeyId, SecretId);

fn ids() -> Ids {
    let now = Time::now();
    (OrgId::new(now), KeyId::new(now), SecretId::new(now))
}

fn count(meter: &Meter, (org, key, secret): Ids, calls: usize) {
    for number in 0..calls {
        meter.record(&Call {
            org,
            key,
            secret,
            scope: None,
            model: ["one", "two"][number % 2],
            outcome: [Outcome::Ok, Outcome::Limited, Outcome::Ok][number % 3],
            took: Duration::from_micros(100 << (number % 7)),
            tokens: Tokens { input: 2, output: 3, ..Tokens::default() },
            address: Some([10, 0, 0, u8::try_from(number % 5).unwrap()].into()),
            agent: "test/1",
            at: Time::now(),
        });
    }
}

fn meter(name: u8) -> Meter {
    Meter::new(Writer::new([name; 16]), Time::now())
}

fn requests(desk: &Desk, of: &str) -> i64 {
    desk.database.count(&format!("SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS count FROM {of}"))
}

/// The sums of each table or view, which have to say the same.
fn told(desk: &Desk, prefix: &str) -> [i64; 6] {
    [
        "usage_counts WHERE width = 60",
        "usage_counts WHERE width = 3600",
        "usage_counts WHERE width = 86400",
        "usage_callers",
        "usage_totals WHERE width = 3600",
        "usage_totals WHERE width = 86400",
    ]
    .map(|of| requests(desk, &format!("{prefix}{of}")))
}

fn waiting(desk: &Desk) -> i64 {
    desk.database.count("SELECT COUNT(*) AS count FROM usage_journal")
}

fn tables() -> (Desk, Db) {
    let desk = Desk::new();
    desk.start().stop();
    let db = desk.database.open();
    (desk, db)
}

#[test]
fn each_request_counts_once_while_several_processes_write_and_aggregate() {
    let (desk, db) = tables();
    let others = desk.database.open();
    let keys: Arc<Vec<Ids>> = Arc::new((0..40).map(|_| ids()).collect());
    std::thread::scope(|scope| {
        for name in 0..3 {
            let (db, keys) = (if name == 0 { db.clone() } else { others.clone() }, keys.clone());
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let meter = meter(name);
                for round in 0..20 {
                    for key in keys.iter() {
                        count(&meter, *key, 1 + round % 3);
                    }
                    runtime.block_on(flush(&meter, &db, Time::now())).unwrap();
                    // Rows that another process moves in the meantime are gone.
                    let _ = runtime.block_on(sums::settle(&db, || false));
                }
            });
        }
    });
    let all: i64 = (0..20).map(|round| 1 + round % 3).sum::<i64>() * 40 * 3;
    assert_eq!(told(&desk, "all_"), [all; 6]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(sums::settle(&db, || false)).unwrap();
    assert_eq!(waiting(&desk), 0);
    assert_eq!(told(&desk, ""), [all; 6]);
    assert_eq!(told(&desk, "all_"), [all; 6]);
    let answered = requests(&desk, "usage_counts WHERE width = 86400 AND outcome = 'ok'");
    for latencies in ["usage_latencies", "usage_total_latencies"] {
        assert_eq!(requests(&desk, &format!("{latencies} WHERE width = 86400")), answered, "{latencies}");
    }
}

#[test]
fn batch_that_is_rewritten_after_a_lost_commit_counts_once() {
    let (desk, db) = tables();
    let (meter, now) = (meter(1), Time::now());
    count(&meter, ids(), 12);
    let batch = meter.take(now);
    for _ in 0..3 {
        db.write_now(|tx| meter.writer.write(tx, 1, &batch, now)).unwrap();
    }
    assert_eq!(told(&desk, "all_"), [12; 6]);
    db.write_now(|tx| meter.writer.write(tx, 2, &batch, now)).unwrap();
    assert_eq!(told(&desk, "all_"), [24; 6]);
}

#[test]
fn counts_that_overflow_stay_in_the_journal_and_do_not_block_others() {
    let (desk, db) = tables();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let meter = meter(1);
    let (bad, good) = (ids(), ids());
    count(&meter, bad, 1);
    runtime.block_on(flush(&meter, &db, Time::now())).unwrap();
    runtime.block_on(sums::settle(&db, || false)).unwrap();
    desk.database.execute("UPDATE usage_callers SET requests = 9223372036854775807");
    count(&meter, bad, 1);
    count(&meter, good, 5);
    runtime.block_on(flush(&meter, &db, Time::now())).unwrap();
    runtime.block_on(sums::settle(&db, || false)).unwrap();
    // SQLite adds up any values.
    let left = i64::from(desk.database.is_postgres());
    assert_eq!(waiting(&desk), left);
    assert_eq!(requests(&desk, "usage_counts WHERE width = 86400"), 7 - left);
    assert_eq!(requests(&desk, "all_usage_counts WHERE width = 86400"), 7);
}

#[test]
fn foreign_journal_rows_do_not_block_others_and_reach_no_total() {
    let (desk, db) = tables();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let meter = meter(1);
    let blob = |bytes: &[u8]| match desk.database.is_postgres() {
        true => format!("'\\x{}'::bytea", hex::encode(bytes)),
        false => format!("x'{}'", hex::encode(bytes)),
    };
    let (id, short) = (blob(&[7; 16]), blob(b"x"));
    for (org, key, secret, requests) in [
        (&short, &id, &id, "1"),
        (&id, &short, &id, "1"),
        (&id, &id, &short, "1"),
        (&id, &id, &id, "-1"),
        (&id, &id, &id, "9223372036854775807"),
    ] {
        desk.database.execute(&format!(
            "INSERT INTO usage_journal (org_id, key_id, secret_id, start, scope, model, outcome, bucket, address, program,
                requests, input_tokens, output_tokens, last_at)
             VALUES ({org}, {key}, {secret}, 60000000, '', '', 'ok', 1, '', '', {requests}, 0, 0, 60000000)"
        ));
    }
    count(&meter, ids(), 3);
    runtime.block_on(flush(&meter, &db, Time::now())).unwrap();
    runtime.block_on(sums::settle(&db, || false)).unwrap();
    assert_eq!((waiting(&desk), told(&desk, "")), (0, [3; 6]));
}

#[test]
fn counted_until_waits_for_the_slowest_live_process_only() {
    let (desk, server, org) = desk();
    let analyst = server.api(&desk.key(&org.slug, "analyst", "analytics:read"));
    let until = || Time::parse(analyst.get("/v1/usage").json()["counted_until"].as_str().unwrap()).unwrap();
    let name = if desk.database.is_postgres() { "'\\x0a'::bytea" } else { "x'0a'" };
    let micros = |at: Time| at.seconds() * 1_000_000;
    let now = Time::now().whole_second();
    let behind = now.plus(-7);
    desk.database.execute(&format!(
        "INSERT INTO usage_writers (id, batch, counted_until, seen_at) VALUES ({name}, 1, {}, {})",
        micros(behind),
        micros(now)
    ));
    assert_eq!(until(), behind);
    // It has nothing to count.
    desk.database.execute(&format!("UPDATE usage_writers SET counted_until = NULL WHERE id = {name}"));
    assert!(until() > behind);
    desk.database.execute(&format!(
        "UPDATE usage_writers SET counted_until = {}, seen_at = {} WHERE id = {name}",
        micros(behind),
        micros(now.plus(-60))
    ));
    assert!(until() > behind, "it has ended");
    server.stop();
    let left = format!(
        "SELECT COUNT(*) AS count FROM usage_writers WHERE counted_until IS NOT NULL AND id <> {name}"
    );
    assert_eq!(desk.database.count(&left), 0, "a process that was stopped counts no more");
}

#[test]
fn usage_is_the_same_from_each_process_within_seconds() {
    let desk = Desk::new();
    let one = desk.start();
    let org = desk.set_up(&one, "Acme AI");
    let two = desk.start();
    let secret = desk.key(&org.slug, "caller", "inference:read,analytics:read");
    for _ in 0..10 {
        for server in [&one, &two] {
            assert_eq!(server.api(&secret).get("/v1/models").status, 200);
        }
    }
    for server in [&one, &two] {
        eventually("all calls are there", || {
            let usage = server.api(&secret).get("/v1/usage?scope=inference:read").json();
            usage["total"]["requests"] == json!(20)
        });
    }
}

/// Counts of this many keys, a different number for each.
fn used(desk: &Desk, org: OrgId, keys: usize) {
    let bytes = |id: &[u8; 16]| match desk.database.is_postgres() {
        true => format!("'\\x{}'::bytea", hex::encode(id)),
        false => format!("x'{}'", hex::encode(id)),
    };
    let org = bytes(org.bytes());
    let today = Time::now().floor(86_400).micros();
    let row = |number: usize| {
        let key = bytes(KeyId::new(Time::now()).bytes());
        format!("({org}, {key}, 86400, {today}, {key}, '', '', 'ok', {}, 0, 0)", number + 1)
    };
    for chunk in (0..keys).collect::<Vec<_>>().chunks(500) {
        let rows: Vec<String> = chunk.iter().map(|number| row(*number)).collect();
        desk.database.execute(&format!(
            "INSERT INTO usage_counts (org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens)
             VALUES {}",
            rows.join(", ")
        ));
    }
}

#[test]
fn large_rankings_are_cached_and_small_ones_are_not() {
    let (desk, db) = tables();
    let rankings = Arc::new(Rankings::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let now = Time::now();
    let question = Question { range: Range::last(7, now), filter: Filter::default(), group: Group::All };
    let look = |org| runtime.block_on(rankings.of(&db, org, &question, now)).unwrap().unwrap();
    let (large, small) = (ids().0, ids().0);
    used(&desk, large, 2_500);
    used(&desk, small, 10);
    let (first, second) = (look(large), look(large));
    assert!(Arc::ptr_eq(&first, &second), "it is shown until it is old");
    assert_eq!(first.keys.len(), 2_500);
    let part = Part { sort: Sort::Requests, reversed: false, offset: 1, limit: 3 };
    let requests: Vec<i64> = part.of(&first.keys).iter().map(|(_, totals)| totals.requests).collect();
    assert_eq!(requests, [2_499, 2_498, 2_497]);
    assert_eq!(look(small).keys.len(), 10);
    used(&desk, small, 1);
    assert_eq!(look(small).keys.len(), 11);
}
