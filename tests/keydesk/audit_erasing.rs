//! Attackers who can write to the database, but do not know the root secret, delete audit logs or insert
//! unreadable rows.

use serde_json::json;

use crate::support::tampering::{EDIT, Place, checkpoint, fill_one, is_found, place, stays_unsigned};
use crate::support::{Org, Server, eventually};

const ERASE: &str = "DELETE FROM audit_entries; DELETE FROM audit_nodes; DELETE FROM audit_heads";
const ERASE_REGISTER: &str = "DELETE FROM audit_register";
const ERASE_SIGNED: &str = "DELETE FROM audit_checkpoints; DELETE FROM audit_signers";

impl Place {
    fn recover(&self, org: &Org, more: &[&str]) -> (Option<i32>, String) {
        let output = self.desk.run(&[&["audit", "recover", "--org", &org.slug], more].concat());
        let all = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(all).unwrap())
    }

    /// All organisations have a log that is broken, and admins were notified of each.
    fn all_alarmed(&self, what: &str) {
        eventually(&format!("{what}: admins are notified of each log"), || {
            self.count("audit_heads WHERE alarmed_at IS NOT NULL") == self.count("organizations")
        });
    }
}

#[test]
fn erased_logs_are_never_restarted_under_their_names() {
    for (what, statements) in [
        ("erased", vec![ERASE, ERASE_REGISTER]),
        ("erased with signatures", vec![ERASE, ERASE_REGISTER, ERASE_SIGNED]),
        ("erased but for the register", vec![ERASE, ERASE_SIGNED]),
    ] {
        let (place, server) = place();
        let other = place.desk.set_up(&server, "Other Org");
        place.registered();
        server.stop();
        place.tamper(&statements);
        let server = is_found(what, &place, None, Some(0));
        place.all_alarmed(what);
        stays_unsigned(what, &place, &server);
        assert_eq!(checkpoint(&other, &server).status, 409, "{what}");
        for more in [vec![], vec!["--key", &place.key]] {
            let (status, said) = place.verify(&more);
            assert_eq!(status, Some(1), "{what}: {said}");
        }
        // A new organisation is signed only where the register knows the others.
        let third = place.desk.set_up(&server, "Third Org");
        let signed = if statements.contains(&ERASE_REGISTER) { 409 } else { 200 };
        assert_eq!(checkpoint(&third, &server).status, signed, "{what}");
        // A later start finds the same.
        server.stop();
        let server = place.desk.start();
        stays_unsigned(what, &place, &server);
        server.stop();
        // An operator recovers each under a new name.
        for org in [&place.org, &other] {
            assert_eq!(place.recover(org, &[]).0, Some(1), "{what}");
            let (status, said) = place.recover(org, &["--new-name"]);
            assert_eq!(status, Some(0), "{what}: {said}");
        }
        let server = place.desk.start();
        let renamed = checkpoint(&place.org, &server);
        assert_eq!(renamed.status, 200, "{what}: {}", renamed.body);
        assert!(renamed.body.lines().next().unwrap().contains("/acme-ai/2"), "{what}: {}", renamed.body);
    }
}

#[test]
fn one_of_two_logs_erased_with_the_register_is_found_at_once() {
    let (place, server) = place();
    place.desk.set_up(&server, "Other Org");
    place.registered();
    server.stop();
    let own = place.own();
    let erase: String = ["audit_entries", "audit_nodes", "audit_heads", "audit_checkpoints", "audit_signers"]
        .map(|table| format!("DELETE FROM {table} WHERE org_id = {own};"))
        .concat();
    place.tamper(&[&erase, ERASE_REGISTER]);
    let server = is_found("one of two", &place, None, None);
    place.all_alarmed("one of two");
    stays_unsigned("one of two", &place, &server);
    assert_eq!(place.count("audit_register"), 0, "no register is written in place of a lost one");
}

#[test]
fn erasing_logs_or_their_last_entry_while_the_server_runs_is_found_without_another_entry() {
    for (what, statements) in [
        ("erased", vec![ERASE, ERASE_REGISTER, ERASE_SIGNED]),
        ("end erased", vec!["DELETE FROM audit_heads"]),
        ("last entry erased", vec!["DELETE FROM audit_entries WHERE position = 7"]),
        (
            "entry added",
            vec![
                "INSERT INTO audit_entries (org_id, position, id, at, actor, action, target, entry, leaf)
                    SELECT org_id, 9, org_id, at, actor, action, target, entry, leaf FROM audit_entries
                    WHERE position = 6",
            ],
        ),
    ] {
        let (place, server) = place();
        place.tamper(&statements);
        let server = is_found(what, &place, Some(server), None);
        stays_unsigned(what, &place, &server);
    }
}

#[test]
fn old_copy_of_a_broken_log_does_not_repair_it() {
    let (place, server) = place();
    place.copy();
    let epoch = || place.desk.database.count("SELECT epoch AS count FROM audit_register");
    let before = epoch();
    server.stop();
    place.execute(EDIT);
    let server = is_found("edited", &place, None, Some(5));
    fill_one(&place.org, &server, "behind-the-tree");
    eventually("the register knows that the log is broken", || epoch() > before);
    server.stop();
    place.put_back(false);
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("put back without a recovery"), "{said}");
    let server = place.desk.start();
    eventually("it is found", || place.count("audit_heads WHERE broken_at IS NOT NULL") == 1);
    stays_unsigned("an old copy", &place, &server);
}

#[test]
fn lost_register_is_rewritten_only_by_recovering_each_log() {
    let (place, server) = place();
    let other = place.desk.set_up(&server, "Other Org");
    place.registered();
    server.stop();
    place.execute(ERASE_REGISTER);
    assert_eq!(place.recover(&place.org, &[]).0, Some(0));
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("other-org: ") && !said.contains("acme-ai: first bad"), "{said}");
    let server = place.desk.start();
    assert_eq!((checkpoint(&place.org, &server).status, checkpoint(&other, &server).status), (200, 409));
    server.stop();
    assert_eq!(place.recover(&other, &[]).0, Some(0));
    let (status, said) = place.verify(&[]);
    assert_eq!(status, Some(0), "{said}");
    let server = place.desk.start();
    place.registered();
    assert_eq!(checkpoint(&other, &server).status, 200);
    assert_eq!(place.count("audit_heads WHERE broken_at IS NOT NULL"), 0);
}

#[test]
fn unreadable_rows_hide_no_change_of_a_log() {
    let unreadable = |place: &Place| {
        let mut rows = vec![
            format!(
                "INSERT INTO organizations (id, slug, name, created_at) VALUES ({}, 'zz', 'zz', 1)",
                place.blob(&[0])
            ),
            format!(
                "INSERT INTO organizations (id, slug, name, created_at) VALUES ({x}, 'x', 'x', 1);
                INSERT INTO audit_heads (org_id, size) VALUES ({x}, 0)",
                x = place.blob(b"x")
            ),
        ];
        if !place.desk.database.is_postgres() {
            // Only SQLite takes bytes for text.
            rows.push("UPDATE audit_heads SET origin = x'ff' WHERE length(org_id) = 16".to_owned());
        }
        rows
    };
    for number in 0.. {
        let (place, server) = place();
        let Some(row) = unreadable(&place).get(number).cloned() else { break };
        place.execute(&row);
        place.execute(EDIT);
        server.stop();
        let (status, said) = place.verify(&[]);
        assert_eq!(status, Some(1), "{row}: {said}");
        assert!(said.contains("first bad entry"), "{row}: {said}");
        let server = is_found(&row, &place, Some(place.desk.start()), None);
        stays_unsigned(&row, &place, &server);
    }
}

#[test]
fn log_with_unreadable_rows_is_recovered() {
    let damage = |place: &Place| {
        let mut all = vec![
            format!("UPDATE audit_entries SET id = {} WHERE position = 4", place.blob(b"x")),
            format!(
                "INSERT INTO audit_signers (org_id, verifier, since) SELECT {}, verifier, since FROM audit_signers",
                place.blob(b"x")
            ),
        ];
        if !place.desk.database.is_postgres() {
            // Only SQLite takes bytes for text.
            all.extend(
                [
                    "UPDATE audit_entries SET entry = CAST(x'ff' AS TEXT) WHERE position = 4",
                    "UPDATE audit_entries SET actor = CAST(x'ff' AS TEXT) WHERE position = 4",
                    "UPDATE audit_checkpoints SET note = CAST(x'ff' AS TEXT)",
                    "UPDATE audit_signers SET verifier = CAST(x'ff' AS TEXT)",
                    "UPDATE organizations SET name = CAST(x'ff' AS TEXT); DELETE FROM audit_nodes",
                    "UPDATE people SET name = CAST(x'ff' AS TEXT); DELETE FROM audit_nodes",
                ]
                .map(str::to_owned),
            );
        }
        all
    };
    for number in 0.. {
        let (place, server) = place();
        server.stop();
        let Some(statements) = damage(&place).get(number).cloned() else { break };
        place.desk.database.tamper(&statements);
        let recovered = place.desk.run(&["audit", "recover", "--org", &place.org.slug, "--new-name"]);
        assert!(recovered.status.success(), "{statements}: {}", String::from_utf8_lossy(&recovered.stderr));
        let (status, said) = place.verify(&[]);
        assert_eq!(status, Some(0), "{statements}: {said}");
        // The key of an owner who can't be read does not work.
        place.execute("UPDATE people SET name = 'Ada'");
        let server = place.desk.start();
        let signed = || checkpoint(&place.org, &server).status == 200;
        eventually(&format!("{statements}: the log is signed again"), signed);
    }
}

#[test]
fn entries_at_wrong_positions_do_not_prevent_revocations() {
    let mut positions = vec!["9223372036854775807", "9223372036854775806", "4611686018427387903", "-1"];
    let (first, _) = place();
    if !first.desk.database.is_postgres() {
        positions.push("'x'");
    }
    for position in positions {
        let (place, server) = place();
        let columns = "org_id, at, actor, action, target, entry, leaf, address";
        let id = place.blob(&[7; 16]);
        place.execute(&format!(
            "INSERT INTO audit_entries (position, id, {columns})
                SELECT {position}, {id}, {columns} FROM audit_entries WHERE position = 5"
        ));
        let server = is_found(position, &place, Some(server), None);
        for _ in 0..2 {
            stays_unsigned_but_for_the_name(position, &place, &server);
        }
        drop(server);
        let recovered = place.desk.run(&["audit", "recover", "--org", &place.org.slug, "--new-name"]);
        assert!(recovered.status.success(), "{position}: {}", String::from_utf8_lossy(&recovered.stderr));
        let server = place.desk.start();
        eventually("the log is signed again", || checkpoint(&place.org, &server).status == 200);
    }
}

fn stays_unsigned_but_for_the_name(what: &str, place: &Place, server: &Server) {
    assert_eq!(checkpoint(&place.org, server).status, 409, "{what}");
    let api = server.api(&place.org.admin.key);
    let made = api.create(&json!({"name": crate::support::stage::name(), "scopes": ["inference:read"]}));
    let id = made["id"].as_str().unwrap();
    assert_eq!(api.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).status, 200, "{what}");
    server.signed_in(&place.org);
}

#[test]
fn foreign_rows_in_feed_and_checkpoints_prevent_neither_revocations_nor_checks() {
    let (place, server) = place();
    place.execute(
        "INSERT INTO key_changes (position, org_id, key_id, at)
            SELECT feed_head.position + 1, org_id, api_keys.id, 9000000000000000 FROM api_keys, feed_head LIMIT 1",
    );
    let api = server.api(&place.org.admin.key);
    let made = api.create(&json!({"name": "made-later", "scopes": ["inference:read"]}));
    let id = made["id"].as_str().unwrap();
    assert_eq!(api.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).status, 200);
    if !place.desk.database.is_postgres() {
        // Only SQLite takes text for a number.
        place.execute("UPDATE audit_checkpoints SET size = 'zz'");
        server.stop();
        let (status, said) = place.verify(&[]);
        assert_eq!(status, Some(1), "{said}");
        is_found("size", &place, Some(place.desk.start()), None);
    }
}
