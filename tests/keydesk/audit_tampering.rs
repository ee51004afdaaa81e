//! Attackers who can write to the database, but do not know the root secret, change the audit log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keydesk::crypto::{Keyring, Root};
use serde_json::json;

use crate::support::tampering::{
    EDIT, FORGET_HASHES, HASH, NEW, OLD, Place, checkpoint, fill_one, is_found, place, stays_unsigned,
};
use crate::support::{eventually, text};

#[test]
fn entry_edited_while_the_server_was_stopped_is_found_and_never_hashed_again() {
    let (place, server) = place();
    server.stop();
    place.execute(EDIT);
    place.execute(FORGET_HASHES);
    let server = is_found("edited", &place, None, Some(5));
    stays_unsigned("edited", &place, &server);
    // Admins are notified once, however often the server looks.
    let alarms = place.desk.wait_for_mails("audit_checkpoint", 1);
    let subject = alarms[0].header("Subject");
    assert!(subject.contains("The audit log is broken at entry 6"), "{subject}");
    assert!(alarms[0].text().contains("signs nothing"), "{}", alarms[0].text());
    let page = server.signed_in(&place.org).get(&format!("/o/{}/audit", place.org.slug));
    assert!(page.text(".notice.bad").contains("The log is broken at entry 6"), "{}", page.body);
    let proof = server.signed_in(&place.org).get(&format!("/o/{}/audit/proof", place.org.slug));
    assert_eq!((proof.status, proof.texts("#note").len()), (200, 0));
    server.stop();
    let server = place.desk.start();
    let other = place.desk.set_up(&server, "Other Org");
    eventually("the server has looked again", || place.count("audit_heads WHERE checked >= 1") == 1);
    assert_eq!(place.count("outbox WHERE event = 'audit_checkpoint'"), 1);
    assert_eq!((checkpoint(&place.org, &server).status, checkpoint(&other, &server).status), (409, 200));
    assert_eq!(place.verify(&[]).0, Some(1));
}

#[test]
fn entry_edited_while_the_server_runs_is_found() {
    let (place, server) = place();
    place.execute(EDIT);
    place.execute(FORGET_HASHES);
    // The next change notices that the end of the log is different, and is still made.
    fill_one(&place.org, &server, "while-broken");
    let server = is_found("edited", &place, Some(server), Some(5));
    stays_unsigned("edited", &place, &server);
}

#[test]
fn every_change_to_a_stopped_database_is_detected() {
    let (place, server) = place();
    server.stop();
    let keep = ["audit_heads", "audit_entries", "audit_nodes", "audit_checkpoints", "audit_register"];
    for table in keep {
        place.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"));
    }
    let restore = || {
        for table in keep {
            place.execute(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}"));
        }
    };
    for (what, statements, first_bad) in TAMPERINGS {
        restore();
        let sound = place.verify(&[]);
        assert_eq!(sound.0, Some(0), "before {what}: {}", sound.1);
        place.tamper(statements);
        let (status, said) = place.verify(&[]);
        assert_eq!(status, Some(1), "{what}: {said}");
        if let Some(index) = first_bad {
            assert!(said.contains(&format!("first bad entry: {index} (")), "{what}: {said}");
        }
    }
    // The server's findings, for changes that affect different things.
    let served = ["log removed", "tail cut off", "checkpoint removed", "all codes removed", "node changed"];
    for (what, statements, first_bad) in TAMPERINGS.iter().filter(|(what, ..)| served.contains(what)) {
        restore();
        place.tamper(statements);
        let server = is_found(what, &place, None, *first_bad);
        stays_unsigned(what, &place, &server);
        server.stop();
    }
}

/// Ways to tamper with a log of eight entries, and the first bad entry where only one can be it.
const TAMPERINGS: [(&str, &[&str], Option<u64>); 20] = [
    ("text edited", &[EDIT], Some(5)),
    ("entry deleted", &["DELETE FROM audit_entries WHERE position = 4"], Some(4)),
    (
        "entry added",
        &["INSERT INTO audit_entries (org_id, position, id, at, actor, action, target, entry, leaf)
            SELECT org_id, 8, org_id, at, actor, action, target, entry, leaf FROM kept_audit_entries
            WHERE position = 7"],
        Some(8),
    ),
    ("head changed", &["UPDATE audit_heads SET whole_at = 4000000000000000"], None),
    ("code removed", &["UPDATE audit_heads SET mac = NULL"], None),
    (
        "all codes removed",
        &[
            "UPDATE audit_heads SET mac = NULL; UPDATE audit_signers SET mac = NULL; DELETE FROM audit_register",
        ],
        None,
    ),
    ("head removed", &["DELETE FROM audit_heads"], None),
    (
        "log removed",
        &["DELETE FROM audit_heads; DELETE FROM audit_entries; DELETE FROM audit_nodes;
            DELETE FROM audit_checkpoints"],
        Some(0),
    ),
    ("name changed", &["UPDATE audit_heads SET origin = 'elsewhere/acme-ai'"], None),
    ("register removed", &["DELETE FROM audit_register"], None),
    ("register changed", &["UPDATE audit_register SET epoch = epoch + 1"], None),
    ("checkpoint removed", &["DELETE FROM audit_checkpoints"], None),
    (
        "checkpoint replaced",
        &["UPDATE audit_checkpoints SET note = REPLACE(note, 'localhost', 'elsewhere')"],
        None,
    ),
    ("checkpoint spoilt", &["UPDATE audit_checkpoints SET note = 'nothing'"], None),
    (
        "node changed",
        &["UPDATE audit_nodes SET hash = (SELECT leaf FROM audit_entries WHERE position = 0)
            WHERE level = 1 AND place = 1"],
        Some(2),
    ),
    ("node removed", &["DELETE FROM audit_nodes WHERE level = 2"], Some(0)),
    (
        "hidden from searches",
        &["UPDATE audit_entries SET action = 'key.updated' WHERE position = 3"],
        Some(3),
    ),
    ("edited and hashed again", &[EDIT, HASH], None),
    ("edited and hashed again, without checkpoints", &[EDIT, "DELETE FROM audit_checkpoints", HASH], None),
    (
        "tail cut off",
        &[
            "DELETE FROM audit_entries WHERE position >= 6; DELETE FROM audit_checkpoints WHERE size > 6",
            HASH,
        ],
        None,
    ),
];

#[test]
fn old_copy_of_one_log_is_found() {
    let (place, server) = place();
    let other = place.desk.set_up(&server, "Other Org");
    place.registered();
    place.copy();
    fill_one(&place.org, &server, "forgotten");
    fill_one(&other, &server, "forgotten");
    place.registered();
    fill_one(&other, &server, "later");
    server.stop();
    place.put_back(false);
    let (status, said) = place.verify(&[]);
    assert_eq!((status, said.matches("first bad entry: 8 (").count()), (Some(1), 1), "{said}");
    let server = is_found("old copy", &place, None, Some(8));
    stays_unsigned("old copy", &place, &server);
    assert_eq!(checkpoint(&other, &server).status, 200, "the other log is as it should be");
    server.stop();
    // Where the register is old too, the other log, which went on, does not fit it.
    place.put_back(true);
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the register of all logs was put back to an older state"), "{said}");
}

#[test]
fn old_copy_of_everything_is_found_by_a_running_server_and_by_a_checkpoint_kept_elsewhere() {
    let (place, server) = place();
    place.copy();
    fill_one(&place.org, &server, "forgotten");
    let kept = place.desk.data.path().join("kept");
    std::fs::write(&kept, checkpoint(&place.org, &server).body).unwrap();
    place.put_back(true);
    let server = is_found("old copy of everything", &place, Some(server), None);
    stays_unsigned("old copy of everything", &place, &server);
    // The database alone does not tell a server that was started later.
    server.stop();
    place.put_back(true);
    assert_eq!(place.verify(&[]).0, Some(0));
    let (status, said) = place.verify(&["--key", &place.key]);
    assert_eq!(status, Some(0));
    assert!(said.contains("A key alone does not show") && !said.contains("confirms"), "{said}");
    let (status, said) = place.verify(&["--checkpoint", kept.to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert!(said.contains("first bad entry: 8 (it is missing"), "{said}");
}

#[test]
fn ends_of_two_logs_cannot_be_swapped() {
    let (place, server) = place();
    place.desk.set_up(&server, "Other Org");
    place.registered();
    server.stop();
    let columns: Vec<String> = "size hashed edge origin checked checked_at whole_at kept kept_size epoch mac"
        .split(' ')
        .map(|name| format!("{name} = (SELECT {name} FROM old WHERE old.org_id <> audit_heads.org_id)"))
        .collect();
    place.execute("CREATE TABLE old AS SELECT * FROM audit_heads");
    place.execute(&format!("UPDATE audit_heads SET {}", columns.join(", ")));
    let (status, said) = place.verify(&[]);
    assert_eq!((status, said.matches("first bad entry").count()), (Some(1), 2), "{said}");
    let _server = place.desk.start();
    eventually("both are found", || place.count("audit_heads WHERE alarmed_at IS NOT NULL") == 2);
}

#[test]
fn only_data_derived_from_entries_is_rebuilt_under_the_same_name() {
    let (place, server) = place();
    let before = checkpoint(&place.org, &server).body;
    server.stop();
    let recover = |more: &[&str]| {
        let output = place.desk.run(&[&["audit", "recover", "--org", &place.org.slug], more].concat());
        let all = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(all).unwrap())
    };
    assert_eq!(recover(&[]).0, Some(0), "what is not broken stays as it is");
    place.execute(
        "DELETE FROM audit_nodes; UPDATE audit_entries SET action = 'key.updated' WHERE position = 3",
    );
    assert_eq!(place.verify(&[]).0, Some(1));
    let server = is_found("nodes removed", &place, None, None);
    server.stop();
    assert_eq!(recover(&[]).0, Some(0));
    assert_eq!(place.verify(&[]).0, Some(0), "{}", place.verify(&[]).1);
    let server = place.desk.start();
    let after = checkpoint(&place.org, &server);
    assert_eq!((after.status, after.body.lines().next()), (200, before.lines().next()));
    server.stop();
    // Entries that are not what was written make another log, and it says so.
    place.execute(EDIT);
    place.execute("DELETE FROM audit_entries WHERE position = 6");
    let (status, said) = recover(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("--new-name"), "{said}");
    let (status, said) = recover(&["--new-name"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(place.verify(&[]).0, Some(0), "{}", place.verify(&[]).1);
    let server = place.desk.start();
    let renamed = checkpoint(&place.org, &server);
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    assert_ne!(renamed.body.lines().next(), before.lines().next());
    let actions = place.desk.database.lines("SELECT action AS line FROM audit_entries WHERE position IN (6, 9) OR action = 'audit.recovered' ORDER BY position");
    assert_eq!(actions.iter().filter(|action| *action == "audit.recovered").count(), 2, "{actions:?}");
    assert_eq!(actions[0], "audit.entry_lost");
}

#[test]
fn logs_stay_authentic_when_the_root_secret_is_replaced() {
    let (place, server) = place();
    server.stop();
    let (old, new) = (STANDARD.encode(OLD), STANDARD.encode(NEW));
    let Place { desk, org, key } = place;
    let desk = desk.with("KEYDESK_SECRET", &new).with("KEYDESK_SECRET_PREVIOUS", &old);
    let verified = text(&desk.run(&["audit", "verify"]));
    assert!(verified.contains("unbroken"), "before the first start: {verified}");
    let server = desk.start();
    assert_eq!(checkpoint(&org, &server).status, 200);
    fill_one(&org, &server, "under-the-new-secret");
    // Keys that still need the old root secret are revoked.
    let admin = server.api(&org.admin.key);
    for key in admin.get("/v1/api-keys").json()["data"].as_array().unwrap() {
        let name = key["name"].as_str().unwrap();
        if name.starts_with("key-") {
            let path = format!("/v1/api-keys/{}/revoke", key["id"].as_str().unwrap());
            assert_eq!(admin.post(&path, &json!({})).status, 200, "{name}");
        }
    }
    server.stop();
    let desk = Place { desk: desk.without("KEYDESK_SECRET_PREVIOUS"), org, key };
    let (status, said) = desk.verify(&[]);
    assert_eq!(status, Some(0), "{said}");
    let server = desk.desk.start();
    desk.registered();
    // Its owner's key of before still works: only the codes changed.
    assert_eq!(desk.count("audit_heads WHERE broken_at IS NULL"), 1);
    server.stop();
}

#[test]
fn replacing_the_root_secret_does_not_authenticate_changed_entries() {
    let (place, server) = place();
    server.stop();
    place.execute(EDIT);
    place.hash_again();
    let (old, new) = (STANDARD.encode(OLD), STANDARD.encode(NEW));
    let Place { desk, org, key } = place;
    let desk = desk.with("KEYDESK_SECRET", &new).with("KEYDESK_SECRET_PREVIOUS", &old);
    let place = Place { desk, org, key };
    assert_eq!(place.verify(&[]).0, Some(1));
    let server = is_found("edited", &place, None, None);
    stays_unsigned("edited", &place, &server);
}

#[test]
fn database_of_an_older_version_is_authenticated_once_and_cannot_be_faked() {
    let (place, server) = place();
    server.stop();
    let forget = "UPDATE audit_heads SET mac = NULL, kept = NULL, kept_size = 0, epoch = 0;
        UPDATE audit_signers SET mac = NULL; DELETE FROM audit_register;
        UPDATE audit_entries SET address = NULL, leaf = NULL;
        UPDATE audit_heads SET hashed = 0, edge = NULL, origin = NULL, checked = 0, checked_at = NULL, whole_at = NULL;
        DELETE FROM audit_nodes; DELETE FROM audit_checkpoints";
    place.execute(forget);
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(1), "{said}");
    // With the check value that only the secret gives it is hashed, once.
    let nonce = match place.desk.database.is_postgres() {
        true => "SELECT encode(nonce, 'hex') AS line FROM installation",
        false => "SELECT lower(hex(nonce)) AS line FROM installation",
    };
    let nonce = hex::decode(&place.desk.database.lines(nonce)[0]).unwrap();
    let keyring = Keyring::new(Root::parse(&STANDARD.encode(OLD)).unwrap(), None);
    let check = place.blob(&keyring.unsealed_check_value(&nonce));
    place.execute(&format!("UPDATE installation SET secret_check = {check}"));
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(1), "verifying does not hash: {said}");
    assert_eq!(place.count("audit_nodes"), 0);
    let server = place.desk.start();
    assert_eq!(checkpoint(&place.org, &server).status, 200);
    server.stop();
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(place.count(&format!("installation WHERE secret_check = {check}")), 0);
    // An old check value with current codes is not an upgrade.
    place.execute(EDIT);
    place.execute(FORGET_HASHES);
    place.execute(&format!("UPDATE installation SET secret_check = {check}"));
    let server = place.desk.start();
    eventually("it is found", || place.count("audit_heads WHERE alarmed_at IS NOT NULL") == 1);
    stays_unsigned("an old check value", &place, &server);
}

#[test]
fn foreign_verifier_key_is_not_shown() {
    let (place, server) = place();
    let stranger = "localhost/acme-ai+00000000+AAAA";
    place.execute(&format!(
        "INSERT INTO audit_signers (org_id, verifier, since, mac)
            SELECT org_id, '{stranger}', since + 1, mac FROM audit_signers"
    ));
    let page = server.signed_in(&place.org).get(&format!("/o/{}/audit/proof", place.org.slug));
    assert!(page.body.contains(&place.key) || page.text("#key-1").contains(&place.key), "{}", page.body);
    assert!(!page.body.contains(stranger));
    let exported = place.desk.run(&["audit", "export", "--org", &place.org.slug, "log.jsonl"]);
    assert!(!String::from_utf8_lossy(&exported.stderr).contains(stranger));
    // A key that signed nothing here is no key of this log.
    let (status, said) = place.verify(&["--key", &place.key.replace("/acme-ai+", "/other+")]);
    assert_eq!(status, Some(2), "{said}");
    let (status, said) = place.verify(&["--key", &place.key]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("that the key from outside has signed"), "{said}");
}

#[test]
fn busy_logs_of_two_servers_raise_no_false_alarm() {
    let (place, server) = place();
    let second = place.desk.start();
    let other = place.desk.set_up(&second, "Other Org");
    std::thread::scope(|scope| {
        for (name, server, org) in [
            ("a", &server, &place.org),
            ("b", &second, &place.org),
            ("c", &server, &other),
            ("d", &second, &other),
        ] {
            scope.spawn(move || {
                for number in 0..30 {
                    let body = json!({"name": format!("{name}-{number}"), "scopes": ["inference:read"]});
                    // A slow machine may be too busy for one; nothing else may go wrong.
                    let answer = server.api(&org.admin.key).post("/v1/api-keys", &body);
                    assert!([201, 503].contains(&answer.status), "{}", answer.body);
                }
            });
        }
        for _ in 0..4 {
            let (status, said) = place.verify(&[]);
            assert_eq!(status, Some(0), "{said}");
            for org in [&place.org, &other] {
                let signed = checkpoint(org, &second);
                assert!([200, 503].contains(&signed.status), "{}", signed.body);
            }
        }
    });
    place.registered();
    assert_eq!(place.count("audit_heads WHERE broken_at IS NOT NULL"), 0);
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn edit_is_detected_even_if_the_last_check_has_a_future_time() {
    let (place, server) = place();
    server.stop();
    place.execute(EDIT);
    place.execute(FORGET_HASHES);
    let year_ahead = "(SELECT MAX(created_at) + 31536000000000 FROM organizations)";
    place.execute(&format!("UPDATE audit_heads SET checked_at = {year_ahead}, whole_at = {year_ahead}"));
    is_found("edited", &place, None, Some(5));
}
