//! Acknowledged changes survive a kill at any moment, and nothing is stored incompletely.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{desk, eventually};

const KILLS: u64 = 20;

#[test]
fn acknowledged_keys_survive_kills_and_none_is_incomplete() {
    let (desk, mut server, org) = desk();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let (killed, acknowledgements) = (AtomicBool::new(false), AtomicUsize::new(0));
        let made: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (api, killed) = (server.api(&org.admin.key), &killed);
                    let acknowledgements = &acknowledgements;
                    scope.spawn(move || {
                        let mut made = Vec::new();
                        for number in 0.. {
                            let body = json!({"name": format!("k-{round}-{writer}-{number}"), "scopes": ["inference:read"], "requests_per_minute": 100_000});
                            match api.try_send("POST", "/v1/api-keys", &[], Some(&body.to_string())) {
                                Ok(answer) if answer.status == 201 => {
                                    made.push(answer.json()["key"].as_str().unwrap().to_owned());
                                    acknowledgements.fetch_add(1, Ordering::SeqCst);
                                }
                                Ok(answer) => assert_eq!(answer.status, 429, "{}", answer.body),
                                Err(_) => {
                                    assert!(killed.load(Ordering::SeqCst), "a request failed although the server was not killed");
                                    return made;
                                }
                            }
                        }
                        made
                    })
                })
                .collect();
            eventually("a key was made", || acknowledgements.load(Ordering::SeqCst) > 0);
            // Another moment in each round, without a generator that could not be repeated.
            std::thread::sleep(Duration::from_millis(20 + round * 37 % 150));
            killed.store(true, Ordering::SeqCst);
            server.kill();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        acknowledged.extend(made);
        server = desk.start();
    }
    assert!(acknowledged.len() >= usize::try_from(KILLS).unwrap());
    for secret in &acknowledged {
        assert_eq!(server.api(secret).get("/v1/models").status, 200);
    }
    let whole = "SELECT COUNT(*) AS count FROM api_keys k JOIN key_secrets s ON s.id = k.secret_id AND s.key_id = k.id";
    let keys = desk.database.count("SELECT COUNT(*) AS count FROM api_keys");
    assert_eq!(desk.database.count(whole), keys);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM key_secrets"), keys);
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM audit_entries WHERE action = 'key.created'"),
        keys
    );
    assert_eq!(desk.database.count("SELECT position AS count FROM feed_head"), keys);
    assert_eq!(
        desk.database.count("SELECT MAX(position) + 1 AS count FROM audit_entries"),
        desk.database.count("SELECT COUNT(*) AS count FROM audit_entries"),
    );
    let verified = desk.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn command_that_reads_the_database_does_not_disturb_the_server() {
    let (desk, mut server, org) = desk();
    for round in 0..3 {
        // As an administrator's `sqlite3` does: opened, read, closed.
        assert!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys") > 0);
        let api = server.api(&org.admin.key);
        let made = api.create(&json!({"name": format!("k-{round}"), "scopes": ["inference:read"]}));
        assert_eq!(
            desk.database.count(&format!("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'k-{round}'")),
            1,
            "the server writes where others read"
        );
        server.kill();
        server = desk.start();
        assert_eq!(server.api(made["key"].as_str().unwrap()).get("/v1/models").status, 200);
    }
}
