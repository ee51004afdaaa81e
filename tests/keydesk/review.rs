//! The review reports the right findings, and decisions about them last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::mail::{Mail, mails_in};
use crate::support::{Browser, Desk, Org, desk, eventually};
use crate::usage_pages::join;

const DAY: i64 = 86_400_000_000;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn text(value: Option<i64>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}

fn id(desk: &Desk, number: i64) -> String {
    match desk.database.is_postgres() {
        true => format!("decode('{number:032x}', 'hex')"),
        false => format!("x'{number:032x}'"),
    }
}

/// A thousand keys in every state there is, with what they left behind.
fn thousand_keys(desk: &Desk, org: &Org, now: i64) {
    let mut dice = Dice(7);
    let of_org = format!("(SELECT id FROM organizations WHERE slug = '{}')", org.slug);
    let people = "INSERT INTO people (id, email, email_folded, name, created_at, disabled_at) VALUES ";
    let person = |number: i64, disabled: &str| {
        format!(
            "({}, 'p{number}@example.com', 'p{number}@example.com', 'P{number}', 0, {disabled})",
            id(desk, number + 9_000)
        )
    };
    desk.database.execute(&format!(
        "{people}{}, {}, {}, {}",
        person(0, "NULL"),
        person(1, "NULL"),
        person(2, "1"),
        person(3, "NULL")
    ));
    // The first is a member, the second was one, the third is disabled, the fourth is disabled in this organisation.
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at, disabled_at) VALUES ({of_org}, {}, 'member', 0, NULL), \
         ({of_org}, {}, 'member', 0, NULL), ({of_org}, {}, 'member', 0, 5)",
        id(desk, 9_000), id(desk, 9_002), id(desk, 9_003)
    ));
    let scopes = [
        "inference:read",
        "inference:read inference:write",
        "inference:read inference:write analytics:read",
        "admin keys:verify",
    ];
    let (mut keys, mut secrets, mut uses, mut counts, mut addresses) =
        (vec![], vec![], vec![], vec![], vec![]);
    for number in 0..1_000_i64 {
        let (key, secret) = (id(desk, number), id(desk, number + 20_000));
        let owner =
            [9_000, 9_000, 9_000, 9_000, 9_001, 9_002, 9_003][usize::try_from(dice.throw(7)).unwrap()];
        let created = now - dice.throw(200) * DAY - dice.throw(DAY);
        let expires = [
            None,
            Some(now - dice.throw(20) * DAY),
            Some(now + dice.throw(10) * DAY + DAY / 24),
            Some(now + 90 * DAY),
        ][usize::try_from(dice.throw(4)).unwrap()];
        let revoked = (dice.throw(6) == 0).then(|| now - dice.throw(10) * DAY - 3);
        let disabled = (dice.throw(8) == 0).then_some(now - DAY);
        let used = [None, Some(now - dice.throw(10) * DAY - 7), Some(now - dice.throw(130) * DAY - 7)]
            [usize::try_from(dice.throw(3)).unwrap()];
        let held = scopes[usize::try_from(dice.throw(4)).unwrap()];
        let aside = if desk.database.is_postgres() { "FALSE" } else { "0" };
        keys.push(format!(
            "({key}, {of_org}, 'key-{number}', 'key-{number}', 'key-{number}', '', '{held}', {}, 'system:cli', {created}, {}, {}, {}, 600, '', {aside}, {secret}, {})",
            id(desk, owner), text(expires), text(disabled), text(revoked), text(used)
        ));
        secrets
            .push(format!("({secret}, {of_org}, {key}, {secret}, 'kd', 'abcd', '0123456789ab', {created})"));
        for scope in held.split(' ') {
            if dice.throw(3) == 0 {
                continue;
            }
            let granted = (dice.throw(4) == 0).then(|| now - dice.throw(120) * DAY - 9);
            let last = (dice.throw(3) > 0).then(|| now - dice.throw(120) * DAY - 9);
            uses.push(format!("({of_org}, {key}, '{scope}', {}, {})", text(granted), text(last)));
        }
        if dice.throw(2) == 0 {
            let requests = 50 + dice.throw(200);
            let (client, server) = (dice.throw(8), dice.throw(8));
            let today = now / DAY * DAY;
            let ok = requests - client - server;
            for (outcome, requests) in [("ok", ok), ("client_errors", client), ("server_errors", server)] {
                counts.push(format!(
                    "({of_org}, {key}, 86400, {today}, {key}, '', '', '{outcome}', {requests}, 0, 0)"
                ));
            }
        }
        for address in 0..dice.throw(4) {
            let first = now - dice.throw(30) * DAY - 11;
            let address = if address == 0 { "other".to_owned() } else { format!("10.0.0.{address}") };
            addresses.push(format!("({of_org}, {key}, '{address}', {first}, {first})"));
        }
    }
    for (table, columns, rows) in [
        (
            "api_keys",
            "id, org_id, name, name_folded, live_name, description, scopes, owner_id, created_by, created_at, expires_at, disabled_at, revoked_at, requests_per_minute, allowed_ips, self_rotate, secret_id, last_used_at",
            keys,
        ),
        ("key_secrets", "id, org_id, key_id, digest, prefix, last4, sha256_prefix, created_at", secrets),
        ("scope_uses", "org_id, key_id, scope, granted_at, last_used_at", uses),
        (
            "usage_counts",
            "org_id, key_id, width, start, secret_id, scope, model, outcome, requests, input_tokens, output_tokens",
            counts,
        ),
        ("key_addresses", "org_id, key_id, address, first_seen_at, last_seen_at", addresses),
    ] {
        desk.database.execute(&format!("INSERT INTO {table} ({columns}) VALUES {}", rows.join(", ")));
    }
}

/// The cells of each row of a query over some columns; `-` where there is nothing.
fn rows(desk: &Desk, columns: &[&str], from: &str) -> Vec<Vec<String>> {
    let cells: Vec<String> =
        columns.iter().map(|column| format!("COALESCE(CAST({column} AS TEXT), '-')")).collect();
    let lines = desk.database.lines(&format!("SELECT {} AS line FROM {from}", cells.join(" || '|' || ")));
    lines.iter().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn number(cell: &str) -> Option<i64> {
    cell.parse().ok()
}

/// What should be found, from all rows and by other means than the server's.
fn expected(desk: &Desk, now: i64) -> BTreeSet<(String, String, String)> {
    let members: BTreeSet<String> = rows(
        desk,
        &["p.email"],
        "members m JOIN people p ON p.id = m.person_id WHERE m.disabled_at IS NULL AND p.disabled_at IS NULL",
    )
    .into_iter()
    .map(|mut row| row.remove(0))
    .collect();
    let uses: BTreeMap<(String, String), (Option<i64>, Option<i64>)> = rows(
        desk,
        &["k.name", "u.scope", "u.granted_at", "u.last_used_at"],
        "scope_uses u JOIN api_keys k ON k.id = u.key_id",
    )
    .into_iter()
    .map(|row| ((row[0].clone(), row[1].clone()), (number(&row[2]), number(&row[3]))))
    .collect();
    let weeks: BTreeMap<String, (i64, i64)> = rows(
        desk,
        &["k.name", "SUM(c.requests)", "SUM(CASE WHEN c.outcome = 'ok' THEN 0 ELSE c.requests END)"],
        "usage_counts c JOIN api_keys k ON k.id = c.key_id WHERE c.width = 86400 GROUP BY k.name",
    )
    .into_iter()
    .map(|row| (row[0].clone(), (number(&row[1]).unwrap(), number(&row[2]).unwrap())))
    .collect();
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in rows(
        desk,
        &["k.name", "a.first_seen_at"],
        "key_addresses a JOIN api_keys k ON k.id = a.key_id WHERE a.address <> 'other'",
    ) {
        seen.entry(row[0].clone()).or_default().push(number(&row[1]).unwrap());
    }
    let mut found = BTreeSet::new();
    let keys = rows(
        desk,
        &[
            "k.name",
            "k.created_at",
            "k.expires_at",
            "k.revoked_at",
            "k.disabled_at",
            "k.last_used_at",
            "k.scopes",
            "p.email",
        ],
        "api_keys k JOIN people p ON p.id = k.owner_id",
    );
    for key in keys {
        let name = &key[0];
        let age = |cell: &str| number(cell).map(|at| now - at);
        let (created, used) = (age(&key[1]).unwrap(), age(&key[5]));
        let mut add =
            |card: &str, scope: &str| found.insert((card.to_owned(), name.clone(), scope.to_owned()));
        let ended = [age(&key[2]), age(&key[3])].into_iter().flatten().filter(|age| *age >= 0).max();
        if let Some(ended) = ended {
            if used.is_some_and(|used| used < ended && used < 7 * DAY) {
                add("called_after_end", "");
            }
            continue;
        }
        if !members.contains(&key[7]) {
            add("owner_left", "");
        }
        if key[2] == "-" {
            add("no_expiry", "");
        }
        if key[4] != "-" {
            continue;
        }
        if age(&key[2]).is_some_and(|age| -age <= 7 * DAY) {
            add("ends_soon", "");
        }
        let Some(used) = used else {
            if created >= 7 * DAY {
                add("never_used", "");
            }
            continue;
        };
        if used >= 90 * DAY {
            add("idle_90_days", "");
        } else if used >= 30 * DAY {
            add("idle_30_days", "");
        } else {
            if weeks.get(name).is_some_and(|(requests, errors)| *requests >= 100 && errors * 20 > *requests) {
                add("many_errors", "");
            }
            if let Some(seen) = seen.get(name) {
                let (old, new): (Vec<i64>, Vec<i64>) = seen.iter().partition(|at| now - **at >= 7 * DAY);
                if created >= 7 * DAY && !old.is_empty() && !new.is_empty() {
                    add("new_address", "");
                }
            }
            let scopes: Vec<&str> = key[6].split(' ').collect();
            for scope in scopes.iter().filter(|_| scopes.len() > 1) {
                let (granted, last) =
                    uses.get(&(name.clone(), (*scope).to_owned())).copied().unwrap_or_default();
                let given = granted.map_or(created, |at| now - at);
                if given >= 60 * DAY && last.is_none_or(|at| now - at >= 60 * DAY) {
                    add("scope_unused", scope);
                }
            }
        }
    }
    found
}

fn stored(desk: &Desk) -> BTreeSet<(String, String, String)> {
    let stored =
        rows(desk, &["f.card", "k.name", "f.scope"], "review_findings f JOIN api_keys k ON k.id = f.key_id");
    stored
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row.get(2).cloned().unwrap_or_default()))
        .collect()
}

fn clock() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros())
        .unwrap()
}

#[test]
fn each_card_matches_the_rows_of_a_thousand_keys() {
    // No tick comes in between.
    let desk = Desk::new().with("KEYDESK_TICK", "3600s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let mut owner = server.signed_in(&org);
    let now = clock();
    thousand_keys(&desk, &org, now);
    desk.database.scan();
    let page = owner.get(&format!("/o/{}/review", org.slug));
    assert_eq!(page.status, 200, "{}", page.body);
    let (stored, expected) = (stored(&desk), expected(&desk, now));
    let missing: Vec<_> = expected.difference(&stored).take(5).collect();
    let wrong: Vec<_> = stored.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing {missing:?}, wrong {wrong:?}");
    let mut by_card: BTreeMap<&str, usize> = BTreeMap::new();
    for (card, _, _) in &expected {
        *by_card.entry(card).or_default() += 1;
    }
    assert_eq!(by_card.len(), 10, "every kind occurs: {by_card:?}");
    // The page's figures, its rows and the export tell the same.
    let export = owner.get(&format!("/o/{}/review.csv", org.slug));
    assert!(export.body.starts_with("\u{feff}"), "{}", export.body);
    let exported: BTreeSet<(String, String, String)> = export
        .body
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| (cells[0].to_owned(), cells[3].to_owned(), cells[6].to_owned()))
        .collect();
    assert_eq!(exported, expected);
    for (card, number) in by_card {
        let page = owner.get(&format!("/o/{}/review?card={card}", org.slug));
        assert_eq!(page.text(".review-cards [aria-current] .figure"), number.to_string(), "{card}");
        let mut shown = BTreeSet::new();
        for part in 1..=number.div_ceil(25) {
            let page = owner.get(&format!("/o/{}/review?card={card}&page={part}", org.slug));
            let names = page.texts("table.findings tbody th a");
            let scopes = page.texts("table.findings tbody td:nth-child(5) .mono");
            for (place, name) in names.into_iter().enumerate() {
                shown.insert((card.to_owned(), name, scopes.get(place).cloned().unwrap_or_default()));
            }
        }
        let expected: BTreeSet<_> = expected.iter().filter(|(of, _, _)| of == card).cloned().collect();
        assert_eq!(shown, expected, "{card}");
    }
    let print = owner.get(&format!("/o/{}/review/print", org.slug));
    assert_eq!(print.status, 200);
    assert_eq!(print.texts("section.printed h2").len(), 11);
}

fn actions(desk: &Desk, action: &str) -> i64 {
    desk.database.count(&format!("SELECT COUNT(*) AS count FROM audit_entries WHERE action = '{action}'"))
}

#[test]
fn finding_is_snoozed_with_person_and_time_and_the_snooze_can_be_ended() {
    let (desk, server, org) = desk();
    let key = org.admin.create(&json!({"name": "forever", "scopes": ["inference:read"], "expires_at": null}));
    desk.database
        .execute(&format!("UPDATE api_keys SET expires_at = NULL, created_at = created_at - {}", 20 * DAY));
    let mut owner = server.signed_in(&org);
    let review = format!("/o/{}/review", org.slug);
    let card = format!("{review}?card=no_expiry");
    assert!(owner.get(&card).texts("table.findings tbody th a").contains(&"forever".to_owned()));
    let id = key["id"].as_str().unwrap();
    let form = [("key", id), ("card", "no_expiry")];
    let answer = owner.post(&format!("{review}/keep"), &form);
    assert_eq!((answer.status, answer.header("location")), (303, Some(card.as_str())));
    let page = owner.get(&card);
    let kept = page.texts("section[aria-labelledby=kept] tbody tr");
    assert!(
        kept.len() == 1 && kept[0].contains("Never expire") && kept[0].contains("by Ada Lovelace"),
        "{kept:?}"
    );
    assert!(!page.texts("section[aria-labelledby=findings] th a").contains(&"forever".to_owned()));
    assert_eq!(actions(&desk, "review.kept"), 1);
    let export = owner.get(&format!("{review}.csv")).body;
    assert!(
        export.lines().any(
            |line| line.starts_with(&format!("no_expiry,kept,{id},forever")) && line.contains(&org.email)
        ),
        "{export}"
    );
    // When its time is over it is found again by itself.
    assert_eq!(
        owner.post(&format!("{review}/keep"), &[("key", id), ("card", "called_after_end")]).status,
        409
    );
    desk.database.execute("UPDATE review_keeps SET until = 1");
    assert_eq!(owner.post(&format!("{review}/reopen"), &form).status, 404, "it ended by itself");
    assert!(owner.get(&card).texts("section[aria-labelledby=findings] th a").contains(&"forever".to_owned()));
    assert_eq!(owner.post(&format!("{review}/keep"), &form).status, 303);
    assert_eq!(owner.post(&format!("{review}/reopen"), &form).status, 303);
    assert!(owner.get(&card).texts("section[aria-labelledby=findings] th a").contains(&"forever".to_owned()));
    assert_eq!(actions(&desk, "review.reopened"), 1);
    assert_eq!(owner.post(&format!("{review}/reopen"), &form).status, 404);
    for wrong in [
        [("key", id), ("card", "nonsense")],
        [("key", "key_00000000000000000000000000"), ("card", "no_expiry")],
        [("key", id), ("card", "scope_unused")],
    ] {
        assert_eq!(owner.post(&format!("{review}/keep"), &wrong).status, 404);
    }
}

#[test]
fn finding_names_the_new_address_and_links_to_the_remedy() {
    let (desk, server, org) = desk();
    join(&desk, &org, "member@example.com", "member");
    let create = |name: &str, owner: &str| {
        let key = json!({"name": name, "scopes": ["inference:read"], "owner": owner});
        org.admin.create(&key)["id"].as_str().unwrap().to_owned()
    };
    let left = create("left", "member@example.com");
    create("roaming", &org.email);
    let now = clock();
    desk.database.execute(&format!(
        "UPDATE api_keys SET created_at = created_at - {}, last_used_at = {now} WHERE name = 'roaming'",
        20 * DAY
    ));
    let (first, latest) = (now - 3 * DAY - DAY / 24, now - DAY / 24);
    for (address, seen) in
        [("192.0.2.1", now - 15 * DAY), ("192.0.2.9", latest), ("192.0.2.7", first), ("other", now - 4 * DAY)]
    {
        desk.database.execute(&format!(
            "INSERT INTO key_addresses (org_id, key_id, address, first_seen_at, last_seen_at) \
             SELECT org_id, id, '{address}', {seen}, {seen} FROM api_keys WHERE name = 'roaming'"
        ));
    }
    desk.database.execute("UPDATE members SET disabled_at = 1 WHERE role = 'member'");
    let mut owner = server.signed_in(&org);
    let review = format!("/o/{}/review", org.slug);
    let page = owner.get(&format!("{review}?card=new_address"));
    let since = "192.0.2.7 and 1 more, 3 days ago";
    assert_eq!(page.text("section[aria-labelledby=findings] tbody td.from-phone"), since);
    // Phones have no such column: the name's second line tells the same.
    assert_eq!(page.text("section[aria-labelledby=findings] th .only-phone"), format!("First seen: {since}"));
    let print = owner.get(&format!("{review}/print"));
    let printed = print.text("section[aria-label=\"New address\"] tbody td:nth-child(4)");
    assert!(printed.starts_with("192.0.2.7 and 1 more, "), "{printed}");
    let page = owner.get(&format!("{review}?card=owner_left"));
    let way = page.attribute("section[aria-labelledby=findings] .row-acts a", "href").unwrap();
    assert_eq!(way, format!("/o/{}/keys/{left}/owner", org.slug));
    assert_eq!(owner.get(&way).status, 200);
}

#[test]
fn unused_scope_is_removed_and_restored_with_one_click_each() {
    let (desk, server, org) = desk();
    let create =
        |name: &str| org.admin.create(&json!({"name": name, "scopes": ["inference:read", "analytics:read"]}));
    let (old, new) = (create("old"), create("new"));
    for key in [&old, &new] {
        server.api(key["key"].as_str().unwrap()).get("/v1/models");
    }
    crate::support::eventually("the uses are known", || {
        desk.database.count("SELECT COUNT(*) AS count FROM scope_uses WHERE scope = 'inference:read'") == 2
    });
    desk.database
        .change(&format!("UPDATE api_keys SET created_at = created_at - {} WHERE name = 'old'", 61 * DAY));
    let mut owner = server.signed_in(&org);
    let review = format!("/o/{}/review", org.slug);
    let page = owner.get(&format!("{review}?card=scope_unused"));
    assert_eq!(page.texts("section[aria-labelledby=findings] tbody th a"), ["old"]);
    let scopes = |key: &serde_json::Value| {
        org.admin.get(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap())).json()["scopes"].clone()
    };
    let form = |key: &serde_json::Value, scope: &str| {
        [("key".to_owned(), key["id"].as_str().unwrap().to_owned()), ("scope".to_owned(), scope.to_owned())]
    };
    let mut post = |path: &str, key: &serde_json::Value, scope: &str| {
        let fields = form(key, scope);
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        owner.post(&format!("{review}/{path}"), &fields).status
    };
    // Too new, in use, not held: refused.
    assert_eq!(post("remove-scope", &new, "analytics:read"), 409);
    assert_eq!(post("remove-scope", &old, "inference:read"), 409);
    assert_eq!(post("remove-scope", &old, "admin"), 409);
    assert_eq!(scopes(&old), json!(["inference:read", "analytics:read"]));
    let updated = actions(&desk, "key.updated");
    assert_eq!(post("remove-scope", &old, "analytics:read"), 303);
    assert_eq!(scopes(&old), json!(["inference:read"]));
    assert_eq!(actions(&desk, "key.updated"), updated + 1);
    let refused = server.api(old["key"].as_str().unwrap()).get("/v1/usage");
    assert_eq!(refused.status, 403);
    assert_eq!(post("restore-scope", &old, "analytics:read"), 303);
    assert_eq!(scopes(&old), json!(["inference:read", "analytics:read"]));
    assert_eq!(server.api(old["key"].as_str().unwrap()).get("/v1/usage").status, 200);
    assert_eq!(actions(&desk, "key.updated"), updated + 2);
    assert_eq!(post("restore-scope", &old, "analytics:read"), 409);
    // It was just granted again, so it is not reported again at once.
    assert_eq!(post("remove-scope", &old, "analytics:read"), 409);
    // After seven days there is nothing to undo.
    desk.database.change(&format!(
        "UPDATE scope_uses SET granted_at = granted_at - {days}, last_used_at = NULL WHERE scope = 'analytics:read'",
        days = 61 * DAY
    ));
    assert_eq!(post("remove-scope", &old, "analytics:read"), 303);
    desk.database.execute(&format!("UPDATE scope_removals SET removed_at = removed_at - {}", 7 * DAY));
    assert_eq!(post("restore-scope", &old, "analytics:read"), 409);
    assert_eq!(scopes(&old), json!(["inference:read"]));
}

#[test]
fn the_review_is_for_admins_and_auditors_and_auditors_change_nothing() {
    let (desk, server, org) = desk();
    join(&desk, &org, "member@example.com", "member");
    join(&desk, &org, "auditor@example.com", "auditor");
    join(&desk, &org, "boss@example.com", "admin");
    let key = org.admin.create(&json!({"name": "forever", "scopes": ["inference:read"], "expires_at": null}));
    let form = [("key", key["id"].as_str().unwrap()), ("card", "no_expiry")];
    let review = format!("/o/{}/review", org.slug);
    for (email, read, write) in
        [("member@example.com", 403, 403), ("auditor@example.com", 200, 403), ("boss@example.com", 200, 303)]
    {
        let mut browser = server.signed_in_as(email);
        for path in [review.clone(), format!("{review}.csv"), format!("{review}/print")] {
            assert_eq!(browser.get(&path).status, read, "{email} {path}");
        }
        assert_eq!(browser.post(&format!("{review}/keep"), &form).status, write, "{email}");
        let page = browser.get(&format!("/o/{}/usage", org.slug));
        assert_eq!(page.body.contains(&format!("href=\"{review}\"")), read == 200, "{email}");
    }
    let other = desk.set_up(&server, "Other");
    let mut stranger = server.signed_in(&other);
    assert_eq!(stranger.get(&review).status, 404);
    assert_eq!(stranger.post(&format!("/o/{}/review/keep", other.slug), &form).status, 404);
}

#[test]
fn admins_are_reminded_of_open_findings_every_ninety_days() {
    let desk = Desk::new().with("KEYDESK_TICK", "1s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let directory = desk.data.path().join("mail");
    join(&desk, &org, "member@example.com", "member");
    org.admin.create(&json!({"name": "forever", "scopes": ["inference:read"], "expires_at": null}));
    desk.database
        .execute("UPDATE api_keys SET expires_at = created_at + 8000000000000 WHERE name <> 'forever'");
    desk.database.execute("UPDATE api_keys SET expires_at = NULL WHERE name = 'forever'");
    let mut owner = server.signed_in(&org);
    let review = format!("/o/{}/review", org.slug);
    let reminders = || -> Vec<Mail> {
        mails_in(&directory).into_iter().filter(|mail| mail.event() == "review_reminder").collect()
    };
    let look = |owner: &mut Browser| {
        desk.database.scan();
        assert_eq!(owner.get(&review).status, 200);
    };
    look(&mut owner);
    let due = "SELECT COUNT(*) AS count FROM review_looks WHERE remind_at > looked_at + 89 * 86400000000";
    assert_eq!(
        desk.database.count(due),
        2,
        "in both organisations, the first is as late as those that follow"
    );
    desk.database.execute("UPDATE review_looks SET remind_at = 1");
    look(&mut owner);
    eventually("the owner is reminded", || reminders().len() == 1);
    let mail = reminders().remove(0);
    assert!(mail.header("To").contains(&org.email), "{}", mail.header("To"));
    assert_eq!(mail.header("Subject"), "[Acme AI] 1 finding to review");
    let text = mail.text();
    assert!(text.contains("1  without an expiry date") && text.contains(&review), "{text}");
    // Once, and not at all when nothing is found.
    look(&mut owner);
    assert_eq!(desk.database.count(due), 2);
    desk.database
        .execute("UPDATE api_keys SET expires_at = created_at + 8000000000000 WHERE name = 'forever'");
    desk.database.execute("UPDATE review_looks SET remind_at = 1");
    look(&mut owner);
    assert_eq!(desk.database.count(due), 2);
    let queued = "SELECT COUNT(*) AS count FROM outbox WHERE event = 'review_reminder'";
    assert_eq!((desk.database.count(queued), reminders().len()), (1, 1));
}
