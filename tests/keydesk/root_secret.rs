//! Replacing the root secret, with several processes and with unused keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Desk, Org, Server, eventually};

fn old() -> String {
    STANDARD.encode([1; 32])
}

fn new() -> String {
    STANDARD.encode([2; 32])
}

/// The desk of a process at a step: at first, knowing the new secret, using it, without the old one.
fn at(desk: Desk, step: usize) -> Desk {
    let (secret, previous) =
        [(old(), None), (old(), Some(new())), (new(), Some(old())), (new(), None)][step].clone();
    let desk =
        desk.without("KEYDESK_SECRET").without("KEYDESK_SECRET_PREVIOUS").with("KEYDESK_SECRET", &secret);
    match previous {
        Some(previous) => desk.with("KEYDESK_SECRET_PREVIOUS", &previous),
        None => desk,
    }
}

fn status(desk: &Desk) -> (Option<i32>, String) {
    let output = desk.run(&["secret", "status"]);
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

fn keys(org: &Org, number: usize) -> Vec<String> {
    let body = |number| json!({"name": format!("key-{number}"), "scopes": ["inference:read"]});
    (0..number).map(|number| org.admin.create(&body(number))["key"].as_str().unwrap().to_owned()).collect()
}

fn all_work(servers: &[&Server], keys: &[String]) {
    for server in servers {
        for key in keys {
            assert_eq!(server.api(key).get("/v1/models").status, 200);
        }
    }
}

/// A change goes through on each process, and is true on all.
fn changes(servers: &[&Server], org: &Org, what: &str) {
    for (number, server) in servers.iter().enumerate() {
        let admin = server.api(&org.admin.key);
        let made = admin.create(&json!({"name": format!("{what}-{number}"), "scopes": ["inference:read"]}));
        all_work(servers, &[made["key"].as_str().unwrap().to_owned()]);
        let id = made["id"].as_str().unwrap();
        assert_eq!(admin.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).status, 200, "{what}");
        assert_eq!(server.api(made["key"].as_str().unwrap()).get("/v1/models").status, 401, "{what}");
    }
}

#[test]
fn root_secret_is_replaced_process_by_process_and_no_key_fails_meanwhile() {
    let mut desk = at(Desk::new(), 0);
    let mut servers = [desk.start(), desk.start(), desk.start()];
    let org = desk.set_up(&servers[0], "Acme AI");
    let keys = keys(&org, 6);
    let (used, idle) = keys.split_at(4);
    for step in [1, 2] {
        desk = at(desk, step);
        for place in 0..servers.len() {
            servers[place] = desk.start();
            let all: Vec<&Server> = servers.iter().collect();
            all_work(&all, used);
            changes(&all, &org, &format!("step-{step}-{place}"));
            let verified = desk.run(&["audit", "verify"]);
            assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        }
    }
    // A process of the first round that starts once more does not turn everything back.
    let late = at(desk, 1);
    let straggler = late.start();
    let all = [&servers[0], &straggler];
    all_work(&all, used);
    changes(&all, &org, "late");
    drop(straggler);
    desk = at(late, 2);
    let (code, said) = status(&desk);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2 of 7 secrets"), "{said}");
    let page = servers[0].signed_in(&org).get(&format!("/o/{}/settings", org.slug));
    assert!(page.body.contains("2 of 7 secrets still use the previous one"), "{}", page.body);
    // Idle keys would stop working, so the secret before can't be taken away yet.
    desk = at(desk, 3);
    let refused = desk.run(&["serve"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("2 secrets of working API keys"), "{message}");
    all_work(&[&servers[1]], &idle[..1]);
    let refused = String::from_utf8(desk.run(&["serve"]).stderr).unwrap();
    assert!(refused.contains("1 secret of working API keys"), "{refused}");
    all_work(&[&servers[2]], idle);
    eventually("the last has moved", || status(&desk).0 == Some(0));
    for server in &mut servers {
        *server = desk.start();
    }
    let all: Vec<&Server> = servers.iter().collect();
    all_work(&all, &keys);
    changes(&all, &org, "after");
    let verified = desk.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(
        desk.database.count("SELECT COUNT(*) AS count FROM audit_heads WHERE broken_at IS NOT NULL"),
        0
    );
}

#[test]
fn secrets_of_ended_keys_do_not_block_a_replacement() {
    let desk = at(Desk::new(), 0);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    keys(&org, 2);
    drop(server);
    let desk = at(desk, 2);
    let server = desk.start();
    let admin = server.api(&org.admin.key);
    assert_eq!(status(&desk).0, Some(1));
    for key in admin.get("/v1/api-keys").json()["data"].as_array().unwrap() {
        if key["name"] != "setup" && key["scopes"] == json!(["inference:read"]) {
            let path = format!("/v1/api-keys/{}/revoke", key["id"].as_str().unwrap());
            assert_eq!(admin.post(&path, &json!({})).status, 200);
        }
    }
    let (code, said) = status(&desk);
    assert_eq!(code, Some(0), "{said}");
    drop(server);
    assert_eq!(at(desk, 3).start().api(&org.admin.key).get("/v1/api-keys").status, 200);
}

#[test]
fn secrets_without_a_root_tag_get_one_at_the_first_start() {
    let desk = at(Desk::new(), 0);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let keys = keys(&org, 2);
    drop(server);
    desk.database.execute("UPDATE key_secrets SET root = NULL; UPDATE installation SET retired_root = NULL");
    assert_eq!(status(&desk).0, Some(1));
    drop(desk.start());
    assert_eq!(status(&desk).0, Some(0));
    desk.database.execute("UPDATE key_secrets SET root = NULL");
    let desk = at(desk, 2);
    let server = desk.start();
    assert_eq!(status(&desk).0, Some(1));
    all_work(&[&server], &keys);
    assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
    assert_eq!(status(&desk).0, Some(0));
}

/// During a rolling upgrade, an earlier version creates keys while the new one starts.
#[test]
fn secret_created_by_an_earlier_version_during_the_start_does_not_stop_it() {
    let desk = at(Desk::new(), 0);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    drop(server);
    desk.database.execute("UPDATE key_secrets SET root = NULL");
    desk.database.execute(if desk.database.is_postgres() {
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.root = NULL; RETURN NEW; END $$;
         CREATE TRIGGER forget BEFORE UPDATE ON key_secrets FOR EACH ROW EXECUTE FUNCTION forget()"
    } else {
        "CREATE TRIGGER forget AFTER UPDATE OF root ON key_secrets
             BEGIN UPDATE key_secrets SET root = NULL WHERE id = NEW.id; END"
    });
    let server = desk.start();
    assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
}

#[test]
fn process_without_the_new_root_secret_accepts_no_key_once_others_use_it() {
    let desk = at(Desk::new(), 0);
    let old_one = desk.start();
    let org = desk.set_up(&old_one, "Acme AI");
    let key = org.admin.create(&json!({"name": "caller", "scopes": ["inference:read"]}));
    let secret = key["key"].as_str().unwrap();
    assert_eq!(old_one.api(secret).get("/v1/models").status, 200);
    let desk = at(desk, 2);
    let new_one = desk.start();
    assert_eq!(new_one.api(secret).get("/v1/models").status, 200);
    eventually("it hears of it", || old_one.api(secret).get("/v1/models").status == 503);
    let path = format!("/v1/api-keys/{}/revoke", key["id"].as_str().unwrap());
    assert_eq!(new_one.api(&org.admin.key).post(&path, &json!({})).status, 200);
    assert_eq!(old_one.api(secret).get("/v1/models").status, 503);
    assert_eq!(old_one.browser().get("/readyz").status, 503);
}

#[test]
fn process_with_the_old_root_secret_moves_no_digest_back() {
    let desk = at(Desk::new(), 0);
    drop(desk.start());
    let desk = at(desk.with("KEYDESK_TICK", "1h"), 1);
    let first = desk.start();
    let org = desk.set_up(&first, "Acme AI");
    let keys = keys(&org, 2);
    let desk = at(desk, 2);
    let second = desk.start();
    all_work(&[&second], &keys);
    assert_eq!(second.api(&org.admin.key).get("/v1/api-keys").status, 200);
    assert_eq!(status(&desk).0, Some(0));
    all_work(&[&first, &second], &keys);
    let (code, said) = status(&desk);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn root_secret_in_use_cannot_be_dropped_by_replacing_twice() {
    let desk = at(Desk::new(), 0);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    keys(&org, 2);
    drop(server);
    let mut desk = at(desk, 2);
    let server = desk.start();
    assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
    drop(server);
    let third = STANDARD.encode([3; 32]);
    for (secret, previous) in [(new(), third.clone()), (third, new())] {
        desk = desk.without("KEYDESK_SECRET").without("KEYDESK_SECRET_PREVIOUS");
        desk = desk.with("KEYDESK_SECRET", &secret).with("KEYDESK_SECRET_PREVIOUS", &previous);
        let refused = desk.run(&["serve"]);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains("2 of the secrets") && message.contains("neither"), "{message}");
    }
}
