//! The key policy: it applies to every way of creating a key, to new keys at once and to existing ones from a
//! date, and its preview matches the effect.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Browser, Desk, Org, Page, Server, desk};

/// Fields of the form: the rules of the contract, but for what a test changes.
fn fields<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("longest", ""),
        ("never", "everyone"),
        ("default_expiry", "90"),
        ("member_scopes", "inference:read inference:write analytics:read"),
        ("default_rpm", ""),
        ("largest_rpm", "1000000"),
        ("date", "next month"),
    ];
    let value = |name: &str, usual: &'a str| {
        changes.iter().find(|(changed, _)| *changed == name).map_or(usual, |(_, value)| *value)
    };
    usual.into_iter().map(|(name, usual)| (name, value(name, usual))).collect()
}

/// Sends the form as a browser would; `act` is `preview` or nothing.
fn send(browser: &mut Browser, org: &Org, act: &str, changes: &[(&str, &str)]) -> Page {
    let date = in_days(30);
    let mut sent = Vec::new();
    for (name, value) in fields(changes) {
        match name {
            "member_scopes" => sent.extend(value.split_whitespace().map(|scope| (name, scope))),
            _ if value == "next month" => sent.push((name, date.as_str())),
            _ => sent.push((name, value)),
        }
    }
    sent.push(("act", act));
    browser.post(&format!("/o/{}/settings/policy", org.slug), &sent)
}

fn save(browser: &mut Browser, org: &Org, changes: &[(&str, &str)]) {
    let page = send(browser, org, "", changes);
    assert_eq!(page.status, 303, "{}", page.body);
}

fn in_days(days: i64) -> String {
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    day.strftime("%Y-%m-%d").to_string()
}

/// Another organisation's owner joins this one as a member.
fn member(desk: &Desk, server: &Server, org: &Org) -> (Browser, String) {
    let other = desk.set_up(server, "Elsewhere");
    desk.database.execute(&format!(
        "INSERT INTO members (org_id, person_id, role, joined_at) SELECT o.id, p.id, 'member', 1 FROM organizations o, people p \
         WHERE o.slug = '{}' AND p.email = '{}'",
        org.slug, other.email
    ));
    (server.signed_in(&other), other.email)
}

/// Lets days pass: everything that was is so much longer ago.
fn pass(desk: &Desk, days: i64) {
    let span = days * 86_400_000_000;
    desk.database.change(&format!(
        "UPDATE key_policies SET saved_at = saved_at - {span}, until = until - {span};
         UPDATE policy_ends SET asked = asked - {span}, moved_to = moved_to - {span};
         UPDATE key_secrets SET created_at = created_at - {span};
         UPDATE api_keys SET created_at = created_at - {span}, expires_at = expires_at - {span};"
    ));
}

const STRICT: [(&str, &str); 5] = [
    ("longest", "30"),
    ("never", "nobody"),
    ("default_expiry", "14"),
    ("default_rpm", "100"),
    ("largest_rpm", "1,000"),
];

#[test]
fn policy_applies_to_the_api() {
    let (_desk, server, org) = desk();
    let key = |name: &str, more: Value| {
        let mut body = json!({"name": name, "scopes": ["inference:read"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        org.admin.post("/v1/api-keys", &body)
    };
    let before = key("before", json!({"expires_in_days": 365})).json();
    save(&mut server.signed_in(&org), &org, &STRICT);
    for (name, more, field) in [
        ("none", json!({}), "expires_at"),
        ("long", json!({"expires_in_days": 31}), "expires_in_days"),
        ("late", json!({"expires_at": "2031-01-01T00:00:00Z"}), "expires_at"),
        ("fast", json!({"expires_in_days": 30, "requests_per_minute": 1001}), "requests_per_minute"),
    ] {
        let refused = key(name, more);
        assert_eq!(refused.refusal(), (422, "validation_failed".into()), "{name}");
        assert_eq!(refused.fields(), [field], "{name}");
        let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        let most = if field == "requests_per_minute" { "1000" } else { "at most 30 days" };
        assert!(message.contains(most), "{message}");
    }
    let made = key("made", json!({"expires_in_days": 30})).json();
    assert_eq!(made["requests_per_minute"], 100);
    assert_eq!(key("faster", json!({"expires_in_days": 1, "requests_per_minute": 1000})).status, 201);
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    for (edit, field) in [
        (json!({"expires_at": null}), "expires_at"),
        (json!({"expires_at": "2031-01-01T00:00:00Z"}), "expires_at"),
        (json!({"requests_per_minute": 1001}), "requests_per_minute"),
    ] {
        let refused = org.admin.patch(&path, &edit);
        assert_eq!(refused.refusal(), (422, "validation_failed".into()), "{edit}");
        assert_eq!(refused.fields(), [field], "{edit}");
    }
    assert_eq!(org.admin.patch(&path, &json!({"requests_per_minute": 1000})).status, 200);
    assert_eq!(
        org.admin.patch(&path, &json!({"expires_at": format!("{}T00:00:00Z", in_days(3))})).status,
        200
    );
    // A rotation gives as long a life again, but no longer than the policy allows.
    let long = before["id"].as_str().unwrap();
    let rotated = org.admin.post(&format!("/v1/api-keys/{long}/rotate"), &json!({"overlap": "1h"})).json();
    assert_eq!(day(&rotated["expires_at"]), day(&json!(format!("{}T00:00:00Z", in_days(30)))));
    // What exists may still be changed in other ways, and made to end earlier.
    let path = format!("/v1/api-keys/{}", before["id"].as_str().unwrap());
    assert_eq!(org.admin.patch(&path, &json!({"description": "x", "requests_per_minute": 600})).status, 200);
    assert_eq!(
        org.admin.patch(&path, &json!({"expires_at": format!("{}T00:00:00Z", in_days(2))})).status,
        200
    );
}

#[test]
fn policy_applies_to_the_command_line() {
    let (desk, server, org) = desk();
    save(&mut server.signed_in(&org), &org, &STRICT);
    let create = |more: &[&str]| {
        let mut arguments =
            vec!["key", "create", "--org", &org.slug, "--name", "cli", "--scope", "inference:read"];
        arguments.extend(more);
        desk.run(&arguments)
    };
    for refused in [create(&[]), create(&["--expires", "31d"])] {
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stdout.is_empty());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("at most 30 days"));
    }
    let refused = create(&["--expires", "1d", "--requests-per-minute", "1001"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("at most 1000"));
    assert_eq!(create(&["--expires", "30d"]).status.code(), Some(0));
}

#[test]
fn policy_applies_to_the_portal_which_shows_the_allowed_choices() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let form = format!("/o/{}/keys/new", org.slug);
    let page = browser.get(&form);
    assert_eq!(page.attribute("[name=expires][checked]", "value").as_deref(), Some("90"));
    assert!(page.attribute("[name=expires][value=never]", "value").is_some());
    save(&mut browser, &org, &STRICT);
    let page = browser.get(&form);
    assert_eq!(page.attribute("[name=expires][checked]", "value").as_deref(), Some("14"));
    for absent in ["never", "90", "180"] {
        assert!(page.attribute(&format!("[name=expires][value='{absent}']"), "value").is_none(), "{absent}");
    }
    assert!(page.attribute("[name=expires][value='30']", "value").is_some());
    assert!(page.attribute("#expires_on", "max").unwrap() < in_days(31));
    assert!(page.body.contains("The key policy allows at most 30 days."));
    assert_eq!(page.attribute("#requests_per_minute", "value").as_deref(), Some("100"));
    let mut create = |expires: &str, rpm: &str| {
        let name = format!("key-{expires}-{rpm}");
        let fields = [
            ("name", name.as_str()),
            ("scopes", "inference:read"),
            ("expires", expires),
            ("requests_per_minute", rpm),
        ];
        browser.post(&format!("/o/{}/keys", org.slug), &fields)
    };
    for (expires, rpm, field) in
        [("never", "100", "expires"), ("90", "100", "expires"), ("30", "1001", "requests_per_minute")]
    {
        let refused = create(expires, rpm);
        assert_eq!(refused.status, 422, "{expires} {rpm}");
        assert_eq!(refused.attribute(".summary a", "href"), Some(format!("#{field}")));
    }
    assert_eq!(create("30", "1000").status, 200);
}

#[test]
fn members_grant_only_scopes_that_the_policy_allows() {
    let (desk, server, org) = desk();
    let (mut member, email) = member(&desk, &server, &org);
    let mut owner = server.signed_in(&org);
    let mut create = |scope: &str, rpm: &str| {
        let name = format!("{scope} {rpm} {}", crate::support::unique());
        let fields =
            [("name", name.as_str()), ("scopes", scope), ("expires", "30"), ("requests_per_minute", rpm)];
        member.post(&format!("/o/{}/keys", org.slug), &fields).status
    };
    assert_eq!((create("analytics:read", "600"), create("keys:verify", "600")), (200, 422));
    assert_eq!(create("inference:read", "601"), 422);
    save(&mut owner, &org, &[("member_scopes", "inference:read keys:verify"), ("default_rpm", "700")]);
    assert_eq!((create("analytics:read", "600"), create("keys:verify", "600")), (422, 200));
    assert_eq!((create("inference:read", "700"), create("inference:read", "701")), (200, 422));
    // A key created for a member can have no more scopes than the member may grant.
    let body = |scope: &str| json!({"name": scope, "scopes": [scope], "owner": email});
    let refused = org.admin.post("/v1/api-keys", &body("inference:write"));
    assert_eq!(refused.refusal(), (403, "scope_not_grantable".into()));
    assert_eq!(org.admin.post("/v1/api-keys", &body("keys:verify")).status, 201);
    // `admin` stays with owners and admins, whatever is sent.
    let refused = send(&mut owner, &org, "", &[("member_scopes", "admin")]);
    assert_eq!(
        (refused.status, refused.attribute(".summary a", "href").as_deref()),
        (422, Some("#member_scopes"))
    );
}

#[test]
fn existing_keys_keep_their_rights_until_the_date_in_every_process() {
    let (desk, server, org) = desk();
    let (_, email) = member(&desk, &server, &org);
    let other = desk.start();
    let body = json!({"name": "reports", "scopes": ["inference:read", "analytics:read"], "owner": email});
    let key = org.admin.create(&body)["key"].as_str().unwrap().to_owned();
    let reads = || [&server, &other].map(|server| server.api(&key).get("/v1/usage").status);
    assert_eq!(reads(), [200, 200]);
    save(&mut server.signed_in(&org), &org, &[("member_scopes", "inference:read"), ("largest_rpm", "50")]);
    assert_eq!(reads(), [200, 200]);
    assert_eq!(server.api(&key).get("/v1/models").header("x-ratelimit-limit"), Some("600"));
    pass(&desk, 29);
    assert_eq!(reads(), [200, 200]);
    pass(&desk, 2);
    assert_eq!(reads(), [403, 403]);
    let answer = other.api(&key).get("/v1/models");
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, Some("50")));
    // Wider rules count at once.
    save(&mut server.signed_in(&org), &org, &[]);
    desk.database.wait_until_noticed();
    assert_eq!(reads(), [200, 200]);
}

#[test]
fn key_from_a_process_whose_clock_is_ahead_existed_before_the_policy() {
    let (desk, server, org) = desk();
    let made = org.admin.create(&json!({"name": "b", "scopes": ["inference:read"], "expires_in_days": 365}));
    desk.database.change("UPDATE key_secrets SET created_at = created_at + 3600000000");
    save(&mut server.signed_in(&org), &org, &STRICT);
    let key = org.admin.get(&format!("/v1/api-keys/{}", made["id"].as_str().unwrap())).json();
    assert!(*key["expires_at"].as_str().unwrap() < *in_days(31), "{key}");
}

#[test]
fn policy_change_can_be_undone_before_its_date() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let body = json!({"name": "for-ever", "scopes": ["inference:read"]});
    let id = org.admin.create(&body)["id"].as_str().unwrap().to_owned();
    let ends = || org.admin.get(&format!("/v1/api-keys/{id}")).json()["expires_at"].clone();
    let strict = [("never", "nobody"), ("longest", "7"), ("default_expiry", "7")];
    save(&mut owner, &org, &strict);
    assert_eq!(ends(), json!(format!("{}T00:00:00Z", in_days(30))));
    let again = send(&mut owner, &org, "preview", &[]);
    assert_eq!(again.texts("[data-kind=later] a"), ["admin-key", "for-ever"]);
    save(&mut owner, &org, &[("date", &in_days(60)), strict[0], strict[1], strict[2]]);
    assert_eq!(ends(), json!(format!("{}T00:00:00Z", in_days(60))));
    save(&mut owner, &org, &[]);
    assert_eq!(ends(), Value::Null);
    let told = desk
        .database
        .lines("SELECT action AS line FROM audit_entries WHERE action IN ('policy.updated', 'key.updated')");
    // The admin key has no end either, so both moved at each of the three changes.
    assert_eq!(told.iter().filter(|action| *action == "policy.updated").count(), 3);
    assert_eq!(told.iter().filter(|action| *action == "key.updated").count(), 6);
}

#[test]
fn only_owners_and_admins_change_the_policy_and_everyone_sees_it() {
    let (desk, server, org) = desk();
    let (mut member, _) = member(&desk, &server, &org);
    save(&mut server.signed_in(&org), &org, &[("longest", "45"), ("default_expiry", "30")]);
    let path = format!("/o/{}/settings/policy", org.slug);
    for role in ["member", "auditor"] {
        desk.database.change(&format!("UPDATE members SET role = '{role}' WHERE role <> 'owner'"));
        let page = member.get(&path);
        assert_eq!(page.status, 200);
        assert!(page.texts("dd").contains(&"45 days".to_owned()), "{}", page.body);
        assert!(page.texts("form [name=longest]").is_empty());
        for act in ["", "preview"] {
            assert_eq!(send(&mut member, &org, act, &[]).status, 403, "{role} {act}");
        }
        assert_eq!(member.post(&format!("/o/{}/settings", org.slug), &[("name", "Taken")]).status, 403);
    }
    desk.database.change("UPDATE members SET role = 'admin' WHERE role <> 'owner'");
    assert_eq!(send(&mut member, &org, "", &[]).status, 303);
    assert_eq!(server.browser().get(&path).status, 303);
}

#[test]
fn contradictory_rules_and_past_dates_are_refused() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let (today, far) = (in_days(0), in_days(400));
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("longest", "30")], "default_expiry"),
        (&[("never", "nobody"), ("default_expiry", "never")], "default_expiry"),
        (&[("never", "sometimes")], "never"),
        (&[("longest", "0")], "longest"),
        (&[("longest", "4000")], "longest"),
        (&[("largest_rpm", "0")], "largest_rpm"),
        (&[("largest_rpm", "10"), ("default_rpm", "11")], "default_rpm"),
        (&[("never", "nobody"), ("date", &today)], "date"),
        (&[("never", "nobody"), ("date", &far)], "date"),
    ];
    for (changes, field) in cases {
        for act in ["", "preview"] {
            let page = send(&mut owner, &org, act, changes);
            assert_eq!(page.status, 422, "{changes:?} {act}");
            assert_eq!(page.attribute(".summary a", "href"), Some(format!("#{field}")), "{changes:?}");
            assert!(page.text("title").starts_with("Error: "));
        }
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM key_policies"), 0);
}

#[test]
fn an_organisation_can_be_renamed_and_keeps_its_links() {
    let (desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let path = format!("/o/{}/settings", org.slug);
    let refused = owner.post(&path, &[("name", " ")]);
    assert_eq!((refused.status, refused.attribute(".summary a", "href").as_deref()), (422, Some("#name")));
    assert_eq!(owner.post(&path, &[("name", "Acme Labs")]).status, 303);
    let page = owner.get(&path);
    assert_eq!(page.attribute("#name", "value").as_deref(), Some("Acme Labs"));
    assert!(page.body.contains("The organisation was saved."));
    let entries =
        desk.database.lines("SELECT entry AS line FROM audit_entries WHERE action = 'organization.updated'");
    assert_eq!(entries.len(), 1);
    assert!(entries[0].contains("Acme AI") && entries[0].contains("Acme Labs"), "{}", entries[0]);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }

    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        of.iter().copied().filter(|_| self.roll(2) == 0).collect()
    }
}

/// What the preview says of each key: rights it loses, its end, its limit.
#[derive(Default, Debug)]
struct Told {
    loses: Vec<String>,
    ends: Option<String>,
    limit: Option<i64>,
}

fn told(page: &Page) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let on = page.texts(".notice.warn").into_iter().find_map(|text| {
        text.split_once("would expire earlier, on ").map(|(_, date)| date.trim_end_matches('.').to_owned())
    });
    for kind in ["in_use", "unused", "earlier", "limited"] {
        let names = page.texts(&format!("[data-kind={kind}] a"));
        let what = page.texts(&format!("[data-kind={kind}] li span:not(.busy)"));
        assert_eq!(names.len(), what.len());
        for (name, what) in names.into_iter().zip(what) {
            let told = told.entry(name).or_default();
            match kind {
                "in_use" | "unused" => told.loses.extend(what.split(", ").map(str::to_owned)),
                "limited" => {
                    told.limit = Some(what.split(' ').next().unwrap().replace(',', "").parse().unwrap())
                }
                _ => {
                    told.ends = Some(
                        on.clone().unwrap_or_else(|| what.split(", currently").next().unwrap().to_owned()),
                    )
                }
            }
        }
    }
    told
}

fn day(at: &Value) -> Option<String> {
    let at: jiff::Timestamp = at.as_str()?.parse().unwrap();
    Some(at.strftime("%-d %b %Y").to_string())
}

#[test]
fn preview_matches_the_effect_on_the_date() {
    let (desk, server, _) = desk();
    let (mut lost, mut ended, mut limited, mut same) = (0, 0, 0, 0);
    for seed in 1..=12_u64 {
        let dice = &mut Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let org = desk.set_up(&server, &format!("Acme {seed}"));
        let (_, email) = member(&desk, &server, &org);
        let mut owner = server.signed_in(&org);
        let all = "inference:read inference:write analytics:read keys:verify";
        save(&mut owner, &org, &[("member_scopes", all)]);
        let checker = org.admin.create(&json!({"name": "checker", "scopes": ["keys:verify"]}));
        let checker = server.api(checker["key"].as_str().unwrap());
        let mut keys = Vec::new();
        for number in 0..10 {
            let mut scopes = dice.some(&["inference:write", "analytics:read", "keys:verify"]);
            scopes.push("inference:read");
            let mut body = json!({
                "name": format!("key-{number}"), "scopes": scopes, "requests_per_minute": 10 + dice.roll(900),
                "owner": dice.pick(&[email.as_str(), org.email.as_str()]),
            });
            if dice.roll(3) > 0 {
                body["expires_in_days"] = json!(1 + dice.roll(400));
            }
            let key = org.admin.create(&body);
            // Some secrets are older.
            desk.database.execute(&format!(
                "UPDATE key_secrets SET created_at = created_at - {} WHERE sha256_prefix = '{}'",
                dice.roll(300) * 86_400_000_000,
                key["fingerprint"]["sha256_prefix"].as_str().unwrap()
            ));
            keys.push(key);
        }
        let scopes =
            dice.some(&["inference:read", "inference:write", "analytics:read", "keys:verify"]).join(" ");
        let (wait, largest) = (1 + i64::try_from(dice.roll(60)).unwrap(), (20 + dice.roll(900)).to_string());
        let date = in_days(wait);
        let rules = [
            ("longest", dice.pick(&["", "7", "45", "90", "365"])),
            ("never", dice.pick(&["nobody", "admins", "everyone"])),
            ("default_expiry", "7"),
            ("default_rpm", "20"),
            ("largest_rpm", &largest),
            ("member_scopes", &scopes),
            ("date", &date),
        ];
        let verify = |key: &Value| {
            let body = json!({"key": key["key"], "dry_run": true});
            checker.post("/v1/api-keys/verify", &body).json()
        };
        let before: Vec<Value> = keys.iter().map(verify).collect();
        let told = told(&send(&mut owner, &org, "preview", &rules));
        save(&mut owner, &org, &rules);
        // The key that verifies the others must not expire with them.
        desk.database.change("UPDATE api_keys SET expires_at = NULL WHERE name = 'checker'");
        let after: Vec<Value> = keys
            .iter()
            .map(|key| org.admin.get(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap())).json())
            .collect();
        pass(&desk, wait);
        for ((key, was), object) in keys.iter().zip(&before).zip(&after) {
            let name = key["name"].as_str().unwrap();
            let none = Told::default();
            let told = told.get(name).unwrap_or(&none);
            let is = verify(key);
            let expected: Vec<&str> = was["scopes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|scope| scope.as_str().unwrap())
                .filter(|scope| !told.loses.iter().any(|lost| lost == scope))
                .collect();
            assert_eq!(is["scopes"], json!(expected), "seed {seed}, {name}, {told:?}");
            let end = told.ends.clone().or(day(&was["expires_at"]));
            assert_eq!(day(&object["expires_at"]), end, "seed {seed}, {name}");
            let over = object["expires_at"].as_str().is_some_and(|end| {
                let end: jiff::Timestamp = end.parse().unwrap();
                end <= jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * wait)
            });
            let code = match (over, expected.is_empty()) {
                (true, _) => "key_expired",
                (false, true) => "insufficient_scope",
                (false, false) => "valid",
            };
            assert_eq!(is["code"], code, "seed {seed}, {name}");
            if !over {
                let limit = told.limit.unwrap_or(was["rate_limit"]["limit"].as_i64().unwrap());
                assert_eq!(is["rate_limit"]["limit"], limit, "seed {seed}, {name}");
            }
            lost += usize::from(!told.loses.is_empty());
            ended += usize::from(told.ends.is_some());
            limited += usize::from(told.limit.is_some());
            same += usize::from(told.loses.is_empty() && told.ends.is_none() && told.limit.is_none());
        }
    }
    // Each kind was there to be compared.
    assert!(lost > 5 && ended > 5 && limited > 5 && same > 5, "{lost} {ended} {limited} {same}");
}
