//! A lost database: requests are refused, no key is accepted after the lease, and the server recovers by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::RunQueryDsl;
use keydesk::time::Time;
use serde_json::json;

use crate::support::{Desk, desk, eventually};

/// A way to the database that can be cut and restored, and whose open connections can fall silent.
struct Cable {
    port: u16,
    cut: Arc<AtomicBool>,
    /// Connections with a smaller number silently pass nothing on any more.
    silent_below: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(address: String) -> Cable {
        Cable::at(0, address)
    }

    /// One that begins at this port, or at any for 0.
    fn at(port: u16, address: String) -> Cable {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_cut, open) = (cut.clone(), streams.clone());
        let silent_below = Arc::new(AtomicUsize::new(0));
        let silent = silent_below.clone();
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&address).unwrap();
                open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let pumped = |from: &TcpStream, to: &TcpStream| {
                    pump(from.try_clone().unwrap(), to.try_clone().unwrap(), number, silent.clone());
                };
                pumped(&client, &server);
                pumped(&server, &client);
            }
        });
        Cable { port, cut, silent_below, streams }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Makes all open connections pass nothing on without closing them; new ones work.
    fn silence(&self) {
        self.silent_below.store(self.streams.lock().unwrap().len() / 2, Ordering::SeqCst);
    }

    /// Makes all connections, including new ones, pass nothing on without closing them.
    fn freeze(&self) {
        self.silent_below.store(usize::MAX, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, number: usize, silent_below: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if number < silent_below.load(Ordering::SeqCst) {
                continue;
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A desk on PostgreSQL, whose connection can be cut; an SQLite file is on the same machine.
fn on_postgres() -> Desk {
    let desk = Desk::new();
    assert!(desk.database.is_postgres(), "run `tests/run postgres` or set KEYDESK_TEST_DATABASE");
    desk
}

/// The desk, with a cable between it and its database.
fn behind_cable(desk: Desk) -> (Cable, Desk) {
    let url = desk.database.url.clone();
    let (server, name) = url.rsplit_once('/').unwrap();
    let (user, address) = server.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let cable = Cable::to(address.to_owned());
    let url = format!("postgres://{user}@127.0.0.1:{}/{name}", cable.port);
    (cable, desk.with("KEYDESK_DATABASE_URL", &url))
}

#[test]
#[ignore = "needs PostgreSQL"]
fn lost_database_is_reported_and_recovers_by_itself() {
    let desk = on_postgres();
    let (cable, desk) = behind_cable(desk);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let mut browser = server.signed_in(&org);
    assert_eq!(server.api("").get("/readyz").status, 200);
    cable.cut();
    let refused = org.admin.get("/v1/api-keys");
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(refused.header("retry-after").is_some());
    assert!(!refused.body.contains("postgres") && !refused.body.contains("keydesk_"), "{}", refused.body);
    let made = org.admin.post("/v1/api-keys", &json!({"name": "lost", "scopes": ["inference:read"]}));
    assert_eq!(made.status, 503);
    let page = browser.get(&format!("/o/{}/keys", org.slug));
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some());
    assert_eq!(page.text("h1"), "Keydesk is unavailable");
    // As long as keys may be answered from memory, it is ready.
    let mut ready = server.api("").get("/readyz");
    eventually("the lease is over", || {
        let asked = Instant::now();
        ready = server.api("").get("/readyz");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        ready.status == 503
    });
    assert!(ready.body.contains("the database has not answered for"), "{}", ready.body);
    assert_eq!(server.api("").get("/healthz").status, 200);
    cable.mend();
    eventually("the database is back", || org.admin.get("/v1/api-keys").status == 200);
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 200);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'lost'"), 0);
}

/// Revokes the key `caller` as another process would.
fn revoke_elsewhere(desk: &Desk) {
    desk.database.execute(
        "UPDATE api_keys SET revoked_at = 1, live_name = NULL WHERE name = 'caller';
         UPDATE feed_head SET position = position + 1;
         INSERT INTO key_changes (position, org_id, key_id, at)
            SELECT (SELECT position FROM feed_head), org_id, id, 4000000000000000 FROM api_keys WHERE name = 'caller'",
    );
}

#[test]
#[ignore = "needs PostgreSQL"]
fn silent_connections_stop_no_process_from_responding_and_following_the_feed() {
    let desk = on_postgres();
    let (cable, desk) = behind_cable(desk.with("KEYDESK_DEFAULT_RPM", "1000000"));
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let api = server.api(&desk.key(&org.slug, "caller", "inference:read"));
    desk.database.wait_until_noticed();
    assert_eq!(api.get("/v1/models").status, 200);
    cable.silence();
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_secs(7) {
        let answer = api.get("/v1/models");
        assert_eq!(answer.status, 200, "after {:?}: {}", silent.elapsed(), answer.body);
        assert_eq!(server.api("").get("/readyz").status, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    revoke_elsewhere(&desk);
    eventually("the server has heard of the revocation", || api.get("/v1/models").status == 401);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_frozen_database_does_not_keep_a_process_from_stopping() {
    let desk = on_postgres();
    let (cable, desk) = behind_cable(desk);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
    cable.freeze();
    let asked = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn no_key_is_accepted_from_memory_after_the_lease_has_expired() {
    let desk = on_postgres();
    let (cable, desk) =
        behind_cable(desk.with("KEYDESK_MAX_STALENESS", "1s").with("KEYDESK_DEFAULT_RPM", "1000000"));
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let api = server.api(&desk.key(&org.slug, "caller", "inference:read"));
    // A change that arrives late would make the server forget the key that it is to answer for.
    desk.database.wait_until_noticed();
    assert_eq!(api.get("/v1/models").status, 200);
    cable.cut();
    let cut = Instant::now();
    // Until then, the response may come from memory; a request from before the end may be read after it.
    let mut answered = 0;
    let refused = loop {
        let asked = Instant::now();
        let answer = api.get("/v1/models");
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(asked - cut < Duration::from_secs(1), "a yes after {:?}", asked - cut);
    };
    assert!(answered > 0, "what is held is answered while the lease lasts");
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(refused.header("retry-after").is_some());
    // Another process revokes it meanwhile.
    revoke_elsewhere(&desk);
    cable.mend();
    let mut last = refused;
    eventually("the server has heard of the revocation", || {
        last = api.get("/v1/models");
        assert_ne!(last.status, 200, "a yes after the revocation");
        last.status == 401
    });
    assert_eq!(last.code(), "key_revoked");
}

/// The database fails over to a copy that lacks the latest change, and another process revokes a key there
/// before this one looks: the feed has the same length as before.
#[test]
fn fail_over_that_loses_a_change_hides_no_later_revocation() {
    let (desk, server, org) = desk();
    let api = server.api(&desk.key(&org.slug, "caller", "inference:read"));
    org.admin.create(&json!({"name": "lost", "scopes": ["inference:read"]}));
    desk.database.wait_until_noticed();
    assert_eq!(api.get("/v1/models").status, 200);
    let stamp = if desk.database.is_postgres() { "'\\x01'" } else { "x'01'" };
    desk.database.execute(&format!(
        "BEGIN;
         DELETE FROM key_changes WHERE position = (SELECT position FROM feed_head);
         UPDATE feed_head SET stamp = previous_stamp;
         UPDATE api_keys SET revoked_at = 1, live_name = NULL WHERE name = 'caller';
         UPDATE feed_head SET previous_stamp = stamp, stamp = {stamp};
         INSERT INTO key_changes (position, org_id, key_id, at, previous_stamp)
            SELECT position, org_id, api_keys.id, 4000000000000000, previous_stamp FROM api_keys, feed_head
            WHERE name = 'caller';
         COMMIT"
    ));
    eventually("the revocation is noticed", || {
        let answer = api.get("/v1/models");
        answer.status == 401 && answer.code() == "key_revoked"
    });
}

#[test]
fn process_that_confirms_a_revocation_no_longer_accepts_the_key() {
    let desk = Desk::new();
    let (one, other) = (desk.start(), desk.start());
    let org = desk.set_up(&one, "Acme AI");
    let (here, there) = (one.api(&org.admin.key), other.api(&org.admin.key));
    for number in 0..30 {
        let made = here.create(&json!({"name": format!("brief-{number}"), "scopes": ["inference:read"]}));
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        let with_it = other.api(key);
        assert_eq!(with_it.get("/v1/api-keys/self").status, 200);
        let path = format!("/v1/api-keys/{id}/revoke");
        assert_eq!(here.post(&path, &json!({})).status, 200);
        assert_eq!(there.post(&path, &json!({})).status, 200);
        assert_eq!(with_it.get("/v1/api-keys/self").status, 401, "attempt {number}");
    }
}

#[test]
fn right_that_expires_while_a_change_waits_changes_nothing() {
    let (desk, server, org) = desk();
    let made = org.admin.create(&json!({"name": "brief", "scopes": ["admin"]}));
    let brief = server.api(made["key"].as_str().unwrap());
    let db = desk.database.open();
    let ends_at = (Time::now().seconds() + 3) * 1_000_000;
    desk.database.change(&format!("UPDATE api_keys SET expires_at = {ends_at} WHERE name = 'brief'"));
    let (held, holds) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            db.write_now(|tx| {
                if desk.database.is_postgres() {
                    diesel::sql_query("SELECT 1 FROM audit_heads FOR UPDATE").execute(tx.conn).unwrap();
                    held.send(()).unwrap();
                    diesel::sql_query("SELECT pg_sleep(4)").execute(tx.conn).unwrap();
                } else {
                    held.send(()).unwrap();
                    std::thread::sleep(Duration::from_secs(4));
                }
                Ok(())
            })
            .unwrap();
        });
        holds.recv().unwrap();
        let late = brief.post("/v1/api-keys", &json!({"name": "late", "scopes": ["inference:read"]}));
        assert_eq!((late.status, late.json()["code"].as_str()), (401, Some("key_expired")), "{}", late.body);
    });
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'late'"), 0);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn start_waits_for_the_database() {
    let desk = on_postgres();
    let url = desk.database.url.clone();
    let (server, name) = url.rsplit_once('/').unwrap();
    let (user, address) = server.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let desk = desk
        .with("KEYDESK_DATABASE_URL", &format!("postgres://{user}@127.0.0.1:{port}/{name}"))
        .with("KEYDESK_START_TIMEOUT", "1s");
    let refused = desk.run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("waiting for the database") && said.contains("KEYDESK_DATABASE_URL"), "{said}");
    let desk = desk.with("KEYDESK_START_TIMEOUT", "60s");
    let server = std::thread::scope(|scope| {
        let starting = scope.spawn(|| desk.start());
        eventually("it waits", || {
            let files = std::fs::read_dir(desk.data.path()).unwrap().map(|file| file.unwrap().path());
            let logs = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("log-"));
            logs.map(|log| std::fs::read_to_string(log).unwrap())
                .any(|log| log.contains("waiting for the database"))
        });
        let _cable = Cable::at(port, address.to_owned());
        starting.join().unwrap()
    });
    assert_eq!(server.api("").get("/readyz").status, 200);
}
