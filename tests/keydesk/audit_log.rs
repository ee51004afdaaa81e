//! The audit log as a tree: checkpoints, proofs, exports and their verification.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, check_record, check_tree, record_hash};

use crate::support::{Desk, Org, desk, eventually, text};

fn run(desk: &Desk, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = desk.run(arguments);
    let read = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), read(output.stdout), read(output.stderr))
}

/// Exports a log and returns it with its verifier key.
fn export(desk: &Desk, org: &Org) -> (String, String) {
    let (status, lines, errors) = run(desk, &["audit", "export", "--org", &org.slug]);
    assert_eq!(status, Some(0), "{errors}");
    (lines, errors.lines().nth(1).unwrap().to_owned())
}

fn fill(org: &Org, keys: usize) {
    for number in 0..keys {
        org.admin.create(&json!({"name": format!("key-{number}"), "scopes": ["inference:read"]}));
    }
}

fn hash(value: &Value) -> Hash {
    Hash(STANDARD.decode(value.as_str().unwrap()).unwrap().try_into().unwrap())
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

/// Reads a checkpoint with the crates of others.
fn read_checkpoint(note: &str, verifier: &str) -> Checkpoint {
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(verifier).unwrap())]);
    let (good, _) = note.verify(&known).unwrap();
    assert_eq!(good.len(), 1);
    Checkpoint::from_bytes(note.text()).unwrap()
}

#[test]
fn independent_verifiers_accept_checkpoints_and_proofs() {
    let (desk, _server, org) = desk();
    fill(&org, 5);
    let (_, verifier) = export(&desk, &org);
    let older = read_checkpoint(&org.admin.get("/v1/audit/checkpoint").body, &verifier);
    fill_more(&org, 9);
    let answer = org.admin.get("/v1/audit/checkpoint");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let newer = read_checkpoint(&answer.body, &verifier);
    assert!(newer.origin().ends_with(&format!("/{}", org.slug)));
    assert_eq!(newer.size(), older.size() + 9);
    let texts = desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY position");
    assert_eq!(texts.len() as u64, newer.size());
    for (index, text) in (0_u64..).zip(&texts) {
        for tree in [&older, &newer].into_iter().filter(|tree| index < tree.size()) {
            let path = format!("/v1/audit/proof?index={index}&size={}", tree.size());
            let proof = org.admin.get(&path).json();
            let leaf = record_hash(text.as_bytes());
            assert_eq!(hash(&proof["leaf"]).0, leaf.0);
            assert_eq!(hash(&proof["root"]).0, tree.hash().0);
            check_record(&hashes(&proof["hashes"]), tree.size(), *tree.hash(), index, leaf).unwrap();
        }
    }
    for from in 1..=older.size() {
        let proof = org.admin.get(&format!("/v1/audit/proof?from={from}&size={}", newer.size())).json();
        let root = hash(&proof["from_root"]);
        check_tree(&hashes(&proof["hashes"]), newer.size(), *newer.hash(), from, root).unwrap();
        if from == older.size() {
            assert_eq!(root.0, older.hash().0);
        }
    }
    for wrong in ["", "?index=14&from=1", "?index=999", "?from=0", "?size=0&index=0", "?index=-1", "?from=x"]
    {
        let refusal = org.admin.get(&format!("/v1/audit/proof{wrong}")).refusal();
        assert_eq!(refusal, (422, "validation_failed".into()), "{wrong}");
    }
}

fn fill_more(org: &Org, keys: usize) {
    for number in 0..keys {
        org.admin.create(&json!({"name": format!("more-{number}"), "scopes": ["inference:read"]}));
    }
}

#[test]
fn export_hashes_to_the_signed_root() {
    let (desk, _server, org) = desk();
    org.admin.create(&json!({"name": "Ünïcode \u{1F600} \"quoted\"", "scopes": ["inference:read"]}));
    fill(&org, 6);
    let (lines, verifier) = export(&desk, &org);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, entries) = lines.split_last().unwrap();
    let checkpoint = read_checkpoint(last["checkpoint"].as_str().unwrap(), &verifier);
    assert_eq!(checkpoint.size(), entries.len() as u64);
    let texts = desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY position");
    let mut level: Vec<[u8; 32]> = Vec::new();
    for (index, (line, text)) in entries.iter().zip(&texts).enumerate() {
        assert_eq!(line["index"], index);
        assert_eq!(line["entry"], *text);
        level.push(Sha256::new().chain_update([0]).chain_update(text).finalize().into());
    }
    // The tree by hand: neighbours are hashed together, one left over goes up as it is.
    while level.len() > 1 {
        let above = level.chunks(2).map(|pair| match pair {
            [left, right] => {
                Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
            }
            _ => pair[0],
        });
        level = above.collect();
    }
    assert_eq!(checkpoint.hash().0, level[0]);
}

#[test]
fn tampered_export_is_detected_and_the_first_bad_entry_named() {
    let (desk, _server, org) = desk();
    fill(&org, 12);
    let file = desk.data.path().join("log.jsonl");
    let path = file.to_str().unwrap();
    let (status, out, errors) = run(&desk, &["audit", "export", "--org", &org.slug, path]);
    assert_eq!((status, out.as_str()), (Some(0), ""), "{errors}");
    let key = errors.lines().nth(1).unwrap();
    let lines = std::fs::read_to_string(&file).unwrap();
    let (status, out, _) = run(&desk, &["audit", "verify", "--export", path]);
    assert_eq!(status, Some(0));
    assert!(out.contains("self-consistent only"), "{out}");
    let (status, out, _) = run(&desk, &["audit", "verify", "--export", path, "--key", key]);
    assert_eq!(status, Some(0));
    assert!(!out.contains("self-consistent"), "{out}");
    let note = desk.data.path().join("checkpoint");
    std::fs::write(&note, org.admin.get("/v1/audit/checkpoint").body).unwrap();
    let note = note.to_str().unwrap();
    assert_eq!(run(&desk, &["audit", "verify", "--export", path, "--checkpoint", note]).0, Some(0));
    let whole: Vec<&str> = lines.lines().collect();
    let without = |index: usize| [&whole[..index], &whole[index + 1..]].concat();
    let mut swapped = whole.clone();
    swapped.swap(3, 9);
    let tampered = [
        (lines.replace("key-4", "kez-4"), 6),
        (without(7).join("\n") + "\n", 7),
        (swapped.join("\n") + "\n", 3),
        (whole[..10].join("\n") + "\n", 10),
        (lines[..lines.len() / 2].to_owned(), lines[..lines.len() / 2].lines().count() - 1),
        (without(whole.len() - 1).join("\n") + "\n", whole.len() - 1),
    ];
    for (bytes, expected) in tampered {
        std::fs::write(&file, bytes).unwrap();
        let (status, out, errors) = run(&desk, &["audit", "verify", "--export", path, "--key", key]);
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(errors.contains(&format!("first bad entry: {expected} (")), "{expected}: {errors}");
    }
    std::fs::write(&file, lines).unwrap();
    let stranger = key.replace("/acme-ai+", "/other+");
    assert_eq!(run(&desk, &["audit", "verify", "--export", path, "--key", &stranger]).0, Some(2));
    assert_eq!(run(&desk, &["audit", "verify", "--export", "nothing", "--key", key]).0, Some(2));
}

#[test]
fn tampered_database_is_detected_by_the_command_and_by_the_server() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    fill(&org, 6);
    let checked = "SELECT COUNT(*) AS count FROM audit_heads WHERE checked_at IS NOT NULL";
    eventually("the log is checked", || desk.database.count(checked) == 1);
    assert!(text(&desk.run(&["audit", "verify"])).contains("8 entries, unbroken, self-consistent only"));
    let (_, key) = export(&desk, &org);
    let note = desk.data.path().join("checkpoint");
    std::fs::write(&note, org.admin.get("/v1/audit/checkpoint").body).unwrap();
    let note = note.to_str().unwrap();
    assert!(text(&desk.run(&["audit", "verify", "--key", &key])).contains("the key from outside has signed"));
    let by_note = text(&desk.run(&["audit", "verify", "--checkpoint", note]));
    assert!(by_note.contains("the checkpoint from outside confirms them."), "{by_note}");
    desk.database
        .execute("UPDATE audit_entries SET entry = REPLACE(entry, 'key-3', 'kez-3') WHERE position = 5");
    for more in [vec![], vec!["--key", &key], vec!["--checkpoint", note]] {
        let (status, _, errors) = run(&desk, &[vec!["audit", "verify"], more].concat());
        assert_eq!(status, Some(1));
        assert!(errors.contains("first bad entry: 5 (its text is not what was written)"), "{errors}");
    }
    // The server looks at all of it after each start and once a day.
    server.stop();
    let _server = desk.start();
    eventually("the server finds it", || {
        desk.database.count("SELECT COALESCE(MAX(broken_at), 0) AS count FROM audit_heads") == 5
    });
}

#[test]
fn new_and_old_root_secret_both_sign() {
    let old = STANDARD.encode([1; 32]);
    let desk = Desk::new().with("KEYDESK_SECRET", &old);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    fill(&org, 4);
    let (_, first) = export(&desk, &org);
    let before = read_checkpoint(&org.admin.get("/v1/audit/checkpoint").body, &first);
    server.stop();
    let desk = desk.with("KEYDESK_SECRET", &STANDARD.encode([2; 32])).with("KEYDESK_SECRET_PREVIOUS", &old);
    let server = desk.start();
    let api = server.api(&org.admin.key);
    let after = api.get("/v1/audit/checkpoint").body;
    assert_eq!(read_checkpoint(&after, &first).hash().0, before.hash().0);
    let (_, second) = export(&desk, &org);
    assert_ne!(first, second);
    assert_eq!(read_checkpoint(&after, &second).hash().0, before.hash().0);
    let (_, _, errors) = run(&desk, &["audit", "export", "--org", &org.slug, "x.jsonl"]);
    assert!(errors.contains(&first) && errors.contains(&second), "{errors}");
}

#[test]
fn events_are_filtered_and_paginated() {
    let (desk, _server, org) = desk();
    fill(&org, 7);
    let admin = org.admin.get("/v1/api-keys/self").json()["id"].as_str().unwrap().to_owned();
    let key = org.admin.get("/v1/api-keys?q=key-3").json()["data"][0]["id"].as_str().unwrap().to_owned();
    org.admin.post(&format!("/v1/api-keys/{key}/revoke"), &json!({"reason": "Left behind"}));
    let list = |query: &str| {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = org.admin.get(&format!("/v1/audit-events?limit=3{query}{cursor}"));
            assert_eq!(answer.status, 200, "{}", answer.body);
            let part = answer.json();
            found.extend(part["data"].as_array().unwrap().clone());
            match part["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let all = list("");
    let texts = desk.database.lines("SELECT entry AS line FROM audit_entries ORDER BY position DESC");
    assert_eq!(all.len(), texts.len());
    for (event, text) in all.iter().zip(&texts) {
        let entry: Value = serde_json::from_str(text).unwrap();
        for member in ["id", "at", "actor", "action", "target", "organization"] {
            assert_eq!(event[member], entry[member]);
        }
    }
    assert_eq!(all[0]["index"], texts.len() - 1);
    assert_eq!(all[0]["details"]["reason"], "Left behind");
    assert_eq!(list(&format!("&target={key}")).len(), 2);
    assert_eq!(list(&format!("&actor={admin}")).len(), 8);
    assert_eq!(list(&format!("&actor={admin}&action=key.created")).len(), 7);
    assert_eq!(list("&action=key.revoked").len(), 1);
    assert_eq!(list(&format!("&target={key}&action=key.revoked&actor={admin}")).len(), 1);
    assert_eq!(list("&actor=system:cli").len(), 2);
    assert_eq!(list("&from=2099-01-01T00:00:00Z").len(), 0);
    assert_eq!(list("&to=2001-01-01T00:00:00Z").len(), 0);
    assert_eq!(list("&from=2001-01-01T00:00:00Z&to=2099-01-01T00:00:00Z").len(), texts.len());
    for wrong in ["limit=0", "limit=x", "cursor=x", "cursor=-1", "from=yesterday", "to=1"] {
        let refusal = org.admin.get(&format!("/v1/audit-events?{wrong}")).refusal();
        assert_eq!(refusal, (422, "validation_failed".into()), "{wrong}");
    }
}
