//! What a backup, an owner and an admin can do with a key, and who is notified when it can do more.

use serde_json::{Value, json};

use crate::fresh_sign_in::grow_stale;
use crate::support::mail::Mail;
use crate::support::{Browser, Desk, Org, Server, desk};

/// Ada's organisation with the members Bob and Carol.
fn stage() -> (Desk, Server, Org) {
    let (desk, server, org) = desk();
    for name in ["bob", "carol"] {
        desk.add_member(&org, &format!("{name}@example.com"), "member");
    }
    (desk, server, org)
}

fn key(org: &Org, name: &str, scopes: &[&str], more: Value) -> String {
    let mut body = json!({"name": name, "scopes": scopes, "expires_in_days": 7});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    org.admin.create(&body)["id"].as_str().unwrap().to_owned()
}

fn page(org: &Org, id: &str, rest: &str) -> String {
    format!("/o/{}/keys/{id}{rest}", org.slug)
}

const EDIT: [(&str, &str); 4] =
    [("scopes", "inference:write"), ("expires", "365"), ("requests_per_minute", "600"), ("allowed_ips", "")];

#[test]
fn a_backup_views_rotates_and_revokes_but_changes_nothing_else() {
    let (desk, server, org) = stage();
    let more = json!({"backup": "bob@example.com", "allowed_ips": ["203.0.113.7"]});
    let id = key(&org, "prod", &["inference:write"], more);
    let mut bob = server.signed_in_as("bob@example.com");
    let shown = bob.get(&page(&org, &id, ""));
    assert_eq!(shown.status, 200);
    let buttons = shown.texts(".actions a");
    assert_eq!(buttons, ["Rotate", "Revoke"]);
    let before = org.admin.get(&format!("/v1/api-keys/{id}")).json();
    let bob_id = desk.id_of("bob@example.com");
    for (path, fields) in [
        ("/edit", &EDIT[..]),
        ("/disable", &[]),
        ("/enable", &[]),
        ("/owner", &[("owner", bob_id.as_str())]),
        ("/limit", &[("limit", "900"), ("reason", "More")]),
    ] {
        assert_eq!(bob.post(&page(&org, &id, path), fields).status, 403, "{path}");
    }
    assert_eq!(org.admin.get(&format!("/v1/api-keys/{id}")).json(), before);
    let rotated = bob.post(&page(&org, &id, "/rotate"), &[("form", "x"), ("overlap", "1h")]);
    assert_eq!(rotated.texts("[data-secret]").len(), 1, "{}", rotated.body);
    // More time for the old secret is a widening; less is none.
    assert_eq!(bob.post(&page(&org, &id, "/rotation/move"), &[("longer", "24h")]).status, 403);
    assert_eq!(bob.post(&page(&org, &id, "/rotation/end"), &[]).status, 303);
    assert_eq!(bob.post(&page(&org, &id, "/revoke"), &[]).status, 303);
    let mut carol = server.signed_in_as("carol@example.com");
    assert_eq!(carol.get(&page(&org, &id, "")).status, 404);
}

#[test]
fn rotation_gives_a_backup_no_right_beyond_policy_and_role() {
    let (desk, server, org) = stage();
    let backed = json!({"backup": "bob@example.com"});
    let wide = key(&org, "reports", &["inference:read", "analytics:read"], backed.clone());
    let plain = key(&org, "prod", &["inference:write"], backed.clone());
    let carols = json!({"backup": "bob@example.com", "owner": "carol@example.com"});
    let equal = key(&org, "carols-reports", &["analytics:read"], carols);
    let mut bob = server.signed_in_as("bob@example.com");
    let rotate = [("form", "x"), ("overlap", "1h")];
    // The owner sees the usage of everybody, so a key of theirs does too.
    assert_eq!(bob.get(&page(&org, &wide, "")).texts(".actions a"), ["Revoke"]);
    assert_eq!(bob.get(&page(&org, &wide, "/rotate")).status, 403);
    assert_eq!(bob.post(&page(&org, &wide, "/rotate"), &rotate).status, 403);
    // Carol sees no more than Bob could.
    assert_eq!(bob.post(&page(&org, &equal, "/rotate"), &rotate).status, 200);
    // The organisation lets members grant less than their role could.
    let mut ada = server.signed_in(&org);
    let policy = [
        ("longest", ""),
        ("never", "everyone"),
        ("default_expiry", "30"),
        ("member_scopes", "inference:read"),
        ("default_rpm", ""),
        ("largest_rpm", "1000000"),
        ("date", "2026-12-31"),
    ];
    assert_eq!(ada.post(&format!("/o/{}/settings/policy", org.slug), &policy).status, 303);
    assert_eq!(bob.post(&page(&org, &plain, "/rotate"), &rotate).status, 403);
    assert_eq!(bob.post(&page(&org, &plain, "/revoke"), &[]).status, 303);
    drop(desk);
}

#[test]
fn only_an_admin_enables_what_an_admin_disabled() {
    let (desk, server, org) = stage();
    let id = key(&org, "bobs", &["inference:read"], json!({"owner": "bob@example.com"}));
    let (mut ada, mut bob) = (server.signed_in(&org), server.signed_in_as("bob@example.com"));
    let path = |rest: &str| page(&org, &id, rest);
    let is_disabled = || org.admin.get(&format!("/v1/api-keys/{id}")).json()["disabled"] == json!(true);
    // They can enable keys that they disabled themselves.
    assert_eq!(bob.post(&path("/disable"), &[]).status, 303);
    assert_eq!(bob.post(&path("/enable"), &[]).status, 303);
    assert!(!is_disabled());
    // An admin disables it, once more on top of the owner's own doing.
    assert_eq!(bob.post(&path("/disable"), &[]).status, 303);
    assert_eq!(ada.post(&path("/disable"), &[]).status, 303);
    let shown = bob.get(&path(""));
    assert!(shown.body.contains("only an admin can enable it"), "{}", shown.body);
    assert!(!shown.texts(".actions a").contains(&"Enable".to_owned()));
    let refused = bob.post(&path("/enable"), &[]);
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("An admin disabled this key"), "{}", refused.body);
    // Disabling it again doesn't make it the owner's.
    assert_eq!(bob.post(&path("/disable"), &[]).status, 303);
    assert_eq!(bob.post(&path("/enable"), &[]).status, 403);
    assert!(is_disabled());
    assert_eq!(ada.post(&path("/enable"), &[]).status, 303);
    assert!(!is_disabled());
    drop(desk);
}

/// The notices of what a key can do now, to an address.
fn notices(desk: &Desk, to: &str) -> Vec<Mail> {
    let mut found = desk.wait_for_mails("security_notice", 1);
    found.retain(|mail| mail.header("To").contains(to));
    found
}

#[test]
fn owner_backup_and_admins_are_notified_of_every_widening_change() {
    let (desk, server, org) = stage();
    desk.add_member(&org, "admin@example.com", "admin");
    let more = json!({"owner": "bob@example.com", "backup": "carol@example.com",
        "allowed_ips": ["203.0.113.7"], "requests_per_minute": 100, "description": "before"});
    let id = key(&org, "prod", &["inference:read"], more);
    let path = format!("/v1/api-keys/{id}");
    // Changes after which it can do less, or the same, notify no one.
    let narrower = json!({"description": "after", "requests_per_minute": 50, "disabled": true});
    assert_eq!(org.admin.patch(&path, &narrower).status, 200);
    let ends = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 60)).to_string();
    for (change, sentence) in [
        (json!({"scopes": ["inference:read", "inference:write"]}), "New scopes: inference:write."),
        (json!({"expires_at": ends}), "It now expires later"),
        (json!({"allowed_ips": ["203.0.113.0/24"]}), "from more addresses"),
        (json!({"allowed_ips": []}), "from any address"),
        (json!({"requests_per_minute": 500}), "New limit: 500 requests a minute."),
        (json!({"disabled": false}), "It is enabled again."),
        (json!({"self_rotate": true}), "It can now rotate itself."),
        (json!({"owner": "carol@example.com", "backup": "bob@example.com"}), "New owner: Carol."),
    ] {
        let sent = desk.wait_for_mails("security_notice", 0).len();
        assert_eq!(org.admin.patch(&path, &change).status, 200, "{change}");
        let mails = desk.wait_for_mails("security_notice", sent + 2);
        for reader in ["bob@example.com", "carol@example.com"] {
            let text = |mail: &Mail| mail.text().contains(sentence);
            let told = mails.iter().filter(|mail| mail.header("To").contains(reader) && text(mail)).count();
            assert_eq!(told, 1, "{change}: {reader}");
        }
    }
    assert_eq!(notices(&desk, "bob@example.com").len(), 8);
    assert!(notices(&desk, "admin@example.com").is_empty());
    // Admins learn of a key that is one.
    let mut ada = server.signed_in(&org);
    let strong = key(&org, "strong", &["admin"], json!({"allowed_ips": ["203.0.113.7"]}));
    assert_eq!(org.admin.patch(&format!("/v1/api-keys/{strong}"), &json!({"allowed_ips": []})).status, 200);
    desk.wait_for_mails("security_notice", 18);
    assert_eq!(notices(&desk, "admin@example.com").len(), 1);
    let mail = notices(&desk, "admin@example.com").remove(0);
    assert_eq!(mail.header("X-Keydesk-Key"), strong);
    assert!(mail.text().contains("You are receiving this because you manage"), "{}", mail.raw);
    assert_eq!(ada.get("/account").status, 200);
}

/// Sends a form with a sign-in that is no longer fresh: it is refused until the password comes with it.
fn needs_proof(desk: &Desk, browser: &mut Browser, path: &str, fields: &[(&str, &str)]) {
    grow_stale(desk);
    let asked = browser.post(path, fields);
    assert_eq!(asked.status, 403, "{path}: {}", asked.body);
    assert!(asked.body.contains("confirm_password"), "{path}: {}", asked.body);
    let proof = [fields, &[("confirm_password", crate::support::PASSWORD)]].concat();
    let done = browser.post(path, &proof);
    assert!([200, 303].contains(&done.status), "{path}: {} {}", done.status, done.body);
}

#[test]
fn granting_or_reviving_admin_needs_a_fresh_sign_in() {
    let (desk, server, org) = stage();
    let mut ada = server.signed_in(&org);
    let strong = key(&org, "strong", &["admin", "inference:read"], json!({"allowed_ips": ["203.0.113.7"]}));
    let path = |rest: &str| page(&org, &strong, rest);
    assert_eq!(ada.post(&path("/disable"), &[]).status, 303);
    needs_proof(&desk, &mut ada, &path("/enable"), &[]);
    let edit = [
        ("scopes", "admin"),
        ("scopes", "inference:read"),
        ("expires", "keep"),
        ("requests_per_minute", "600"),
        ("allowed_ips", ""),
    ];
    needs_proof(&desk, &mut ada, &path("/edit"), &edit);
    desk.add_member(&org, "admin@example.com", "admin");
    let heir = desk.id_of("admin@example.com");
    needs_proof(&desk, &mut ada, &path("/owner"), &[("owner", &heir)]);
    needs_proof(&desk, &mut ada, &path("/rotate"), &[("overlap", "1h")]);
    needs_proof(&desk, &mut ada, &path("/rotation/move"), &[("longer", "1h")]);
    // A change after which it can do less needs none.
    grow_stale(&desk);
    assert_eq!(ada.post(&path("/rotation/end"), &[]).status, 303);
    assert_eq!(ada.post(&path("/disable"), &[]).status, 303);
    // Nor does widening a key that is no admin.
    let plain = key(&org, "plain", &["inference:read"], json!({}));
    assert_eq!(ada.post(&page(&org, &plain, "/disable"), &[]).status, 303);
    assert_eq!(ada.post(&page(&org, &plain, "/enable"), &[]).status, 303);
}

#[test]
fn a_replaced_secret_cannot_revoke_and_a_key_that_rotated_itself_can_be_revoked_instead() {
    let (_desk, server, org) = stage();
    let made = org.admin.create(&json!({"name": "bot", "scopes": ["inference:read"], "self_rotate": true}));
    let (id, old) = (made["id"].as_str().unwrap(), server.api(made["key"].as_str().unwrap()));
    let rotated = old.post(&format!("/v1/api-keys/{id}/rotate"), &json!({"overlap": "2h"}));
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    for refused in [
        old.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})),
        old.delete(&format!("/v1/api-keys/{id}")),
    ] {
        assert_eq!(refused.refusal(), (403, "forbidden".into()));
    }
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5)).to_string();
    assert_eq!(
        old.post(&format!("/v1/api-keys/{id}/rotation"), &json!({"ends_at": later})).status,
        403,
        "nor does it give itself more time"
    );
    let mut ada = server.signed_in(&org);
    let confirm = ada.get(&page(&org, id, "/rotation/end"));
    assert!(confirm.body.contains("This key rotated itself."), "{}", confirm.body);
    assert!(confirm.texts("a.danger-2").contains(&"Revoke the key".to_owned()));
    let new = server.api(rotated.json()["key"].as_str().unwrap());
    assert_eq!(new.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).status, 200);
    assert_eq!(old.get("/v1/models").status, 401);
}

#[test]
fn a_replaced_secret_of_an_admin_key_has_no_power_over_its_successor() {
    let (_desk, server, org) = stage();
    let made = org.admin.create(&json!({"name": "bot", "scopes": ["admin", "inference:read"]}));
    let (id, old) = (made["id"].as_str().unwrap(), server.api(made["key"].as_str().unwrap()));
    let path = format!("/v1/api-keys/{id}");
    let rotated = org.admin.post(&format!("{path}/rotate"), &json!({"overlap": "2h"}));
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5)).to_string();
    for refused in [
        old.delete(&path),
        old.post(&format!("{path}/revoke"), &json!({})),
        old.patch(&path, &json!({"disabled": true})),
        old.patch(&path, &json!({"description": "mine"})),
        old.post(&format!("{path}/rotation"), &json!({"ends_at": later})),
        old.post("/v1/api-keys", &json!({"name": "heir", "scopes": ["admin"]})),
    ] {
        assert_eq!(refused.refusal(), (403, "forbidden".into()));
        assert!(refused.body.contains("This secret was replaced by a rotation"), "{}", refused.body);
    }
    // Nor does it revive another admin key by an edit that takes `admin` from it.
    let other = key(&org, "other", &["admin"], json!({}));
    let other = format!("/v1/api-keys/{other}");
    assert_eq!(org.admin.patch(&other, &json!({"disabled": true})).status, 200);
    let revived = old.patch(&other, &json!({"scopes": ["inference:read"], "disabled": false}));
    assert_eq!(revived.refusal(), (403, "forbidden".into()));
    // Clients can use it until the overlap ends.
    assert_eq!(old.post("/v1/api-keys", &json!({"name": "child", "scopes": ["inference:read"]})).status, 201);
    let new = server.api(rotated.json()["key"].as_str().unwrap());
    assert_eq!(new.patch(&path, &json!({"description": "ours"})).status, 200);
}

#[test]
fn a_member_who_leaves_gains_nothing_by_giving_a_key_away() {
    let (desk, server, org) = stage();
    let reads = key(&org, "reads", &["analytics:read"], json!({"owner": "bob@example.com"}));
    let plain = key(&org, "plain", &["inference:read"], json!({"owner": "bob@example.com"}));
    let (ada, mut bob) = (desk.id_of(&org.email), server.signed_in_as("bob@example.com"));
    let leave = format!("/o/{}/leave", org.slug);
    // Ada sees the usage of everybody, and so would the key whose secret Bob knows.
    let refused = bob.post(&leave, &[(reads.as_str(), ada.as_str()), (plain.as_str(), ada.as_str())]);
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("reads could do more if Ada Lovelace owned it"), "{}", refused.body);
    let owner = org.admin.get(&format!("/v1/api-keys/{reads}")).json()["owner"]["email"].clone();
    assert_eq!(owner, json!("bob@example.com"));
    let left = bob.post(&leave, &[(reads.as_str(), "revoke"), (plain.as_str(), ada.as_str())]);
    assert_eq!(left.status, 303, "{}", left.body);
}

#[test]
fn approving_a_higher_limit_of_an_admin_key_needs_a_fresh_sign_in_and_notifies_admins() {
    let (desk, server, org) = stage();
    let strong = key(&org, "strong", &["inference:read", "admin"], json!({"requests_per_minute": 60}));
    // The original owner is now a member, who can request a limit.
    desk.database.change(
        "UPDATE api_keys SET owner_id = (SELECT id FROM people WHERE email = 'bob@example.com') WHERE name = 'strong'",
    );
    let path = page(&org, &strong, "/limit");
    let mut bob = server.signed_in_as("bob@example.com");
    assert_eq!(bob.post(&path, &[("limit", "900"), ("reason", "Nightly")]).status, 303);
    let mut ada = server.signed_in(&org);
    let decision = page(&org, &strong, "/limit/decision");
    let request = ada.get(&decision).attribute("[name=request]", "value").unwrap();
    let fields = [("request", request.as_str()), ("answer", "approve"), ("limit", "800")];
    needs_proof(&desk, &mut ada, &decision, &fields);
    let told = desk.wait_for_mails("security_notice", 1);
    assert!(
        told.iter()
            .any(|mail| mail.header("To").contains(&org.email) && mail.text().contains("New limit: 800"))
    );
}
