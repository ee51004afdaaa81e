//! Rotations under constant load, and while the server is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::rotation::{id, key, rotate, seconds};
use crate::support::{Api, Desk, desk, eventually};

fn now_in_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Sends requests without pause until told to stop; returns the start and the result of each.
fn call_without_pause(api: &Api, over: &AtomicBool) -> Vec<(i64, u16)> {
    let mut answers = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let began = now_in_micros();
        answers.push((began, api.get("/v1/models").status));
    }
    answers
}

#[test]
fn no_request_is_refused_under_load_until_the_second_the_overlap_ends() {
    let (_desk, server, org) = desk();
    let (made, old) = key(&server, &org, json!({}));
    let (old_over, new_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let by_old: Vec<_> =
            (0..8).map(|_| scope.spawn(|| call_without_pause(&old.clone(), &old_over))).collect();
        std::thread::sleep(Duration::from_millis(300));
        let after = rotate(&org.admin, id(&made), "3s").json();
        let new = server.api(after["key"].as_str().unwrap());
        let by_new: Vec<_> = (0..8)
            .map(|_| {
                let new = new.clone();
                let over = &new_over;
                scope.spawn(move || call_without_pause(&new, over))
            })
            .collect();
        let end = seconds(&after["rotation"]["ends_at"]) * 1_000_000;
        eventually("the overlap is over", || now_in_micros() > end + 500_000);
        old_over.store(true, Ordering::SeqCst);
        new_over.store(true, Ordering::SeqCst);
        let (mut before, mut refused) = (0, 0);
        for (began, status) in by_old.into_iter().flat_map(|calls| calls.join().unwrap()) {
            // A request that began before the end may be decided after it.
            match status {
                200 => assert!(began < end, "accepted {} µs after the end", began - end),
                401 => assert!(began > end - 500_000, "refused {} µs before the end", end - began),
                _ => panic!("status {status}"),
            }
            *(if status == 200 { &mut before } else { &mut refused }) += 1;
        }
        assert!(before > 50 && refused > 8, "{before} answered, {refused} refused");
        let answers: Vec<_> = by_new.into_iter().flat_map(|calls| calls.join().unwrap()).collect();
        assert!(answers.len() > 50 && answers.iter().all(|(_, status)| *status == 200));
    });
}

/// How often the server is killed: more when time allows.
fn kills() -> u64 {
    std::env::var("KEYDESK_TEST_KILLS").map_or(8, |number| number.parse().unwrap())
}

#[test]
fn kill_during_a_rotation_leaves_the_old_or_the_new_state() {
    let (desk, mut server, org) = desk();
    let (made, mut newest) = key(&server, &org, json!({}));
    let (mut cut, mut whole) = (0, 0);
    for round in 0..kills() {
        let (api, path) = (server.api(&org.admin.key), format!("/v1/api-keys/{}/rotate", id(&made)));
        let answered = std::thread::scope(|scope| {
            let rotating = scope.spawn(|| {
                let mut secrets = Vec::new();
                while let Ok(answer) = api.try_send("POST", &path, &[], Some(r#"{"overlap": "0s"}"#)) {
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    secrets.push(answer.json()["key"].as_str().unwrap().to_owned());
                }
                secrets
            });
            // Another moment in each round, without a generator that could not be repeated.
            std::thread::sleep(Duration::from_micros(3_000 + round * 7_919 % 60_000));
            server.kill_now();
            rotating.join().unwrap()
        });
        server.kill();
        server = desk.start();
        let old = server.api(answered.last().unwrap_or(&newest.key));
        // The last returned secret works, unless the kill came between commit and response.
        match old.get("/v1/models").status {
            200 => {
                whole += 1;
                newest = old;
            }
            _ => {
                cut += 1;
                assert_eq!(old.get("/v1/models").code(), "key_superseded");
                let again = rotate(&server.api(&org.admin.key), id(&made), "0s").json();
                newest = server.api(again["key"].as_str().unwrap());
                assert_eq!(newest.get("/v1/models").status, 200);
            }
        }
        whole_state(&desk);
    }
    eprintln!("{whole} kills left the last told secret, {cut} fell between commit and answer");
}

/// Each key has one current secret, all others are superseded, and each rotation has its entry.
fn whole_state(desk: &Desk) {
    let count = |query: &str| desk.database.count(&format!("SELECT COUNT(*) AS count FROM {query}"));
    let secrets = count("key_secrets");
    let keys = count("api_keys");
    assert_eq!(
        count(
            "api_keys k JOIN key_secrets s ON s.id = k.secret_id AND s.key_id = k.id AND s.superseded_at IS NULL"
        ),
        keys
    );
    assert_eq!(count("key_secrets WHERE superseded_at IS NOT NULL AND ends_at IS NOT NULL"), secrets - keys);
    assert_eq!(count("audit_entries WHERE action = 'key.rotated'"), secrets - keys);
    assert_eq!(count("key_changes"), secrets);
}
