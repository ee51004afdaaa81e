//! Date fields: which texts they take, what they say otherwise, and which instant a date means.

use serde_json::json;

use crate::support::{Browser, Org, desk};

const WANTED: &str = "Enter a date such as 2027-11-29.";
const NO_DATES: [&str; 6] =
    ["29.11.2027", "29/11/2027", "11/29/2027", "20271129", "2027-02-30", "2027-11-29T12:00:00Z"];

fn key_form<'a>(name: &'a str, date: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("form", name),
        ("name", name),
        ("description", ""),
        ("scopes", "inference:read"),
        ("expires", "custom"),
        ("expires_on", date),
        ("requests_per_minute", "600"),
        ("allowed_ips", ""),
    ]
}

/// The errors beside the fields of a form.
fn errors(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Vec<String> {
    let page = browser.post(path, fields);
    assert_eq!(page.status, 422, "{path} {fields:?}");
    page.texts("[id$='-error']")
}

#[test]
fn a_form_asks_for_a_date_as_its_field_takes_it() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let keys = format!("/o/{}/keys", org.slug);
    let made = org.admin.create(&json!({"name": "edited", "scopes": ["inference:read"]}));
    let page = format!("{keys}/{}", made["id"].as_str().unwrap());
    for date in NO_DATES {
        assert_eq!(errors(&mut browser, &keys, &key_form("new", date)), [WANTED], "{date}");
        let mut edit = key_form("", date);
        edit.retain(|(name, _)| !["form", "name"].contains(name));
        assert_eq!(errors(&mut browser, &format!("{page}/edit"), &edit), [WANTED], "{date}");
        let overlap = [("form", "x"), ("overlap", "custom"), ("overlap_until", date)];
        assert_eq!(errors(&mut browser, &format!("{page}/rotate"), &overlap), [WANTED], "{date}");
        let policy = [
            ("longest", ""),
            ("never", "everyone"),
            ("default_expiry", "90"),
            ("member_scopes", "inference:read"),
            ("default_rpm", ""),
            ("largest_rpm", "1000000"),
            ("date", date),
        ];
        let path = format!("/o/{}/settings/policy", org.slug);
        assert_eq!(errors(&mut browser, &path, &policy), [WANTED], "{date}");
        for list in ["usage", "audit"] {
            for (from, to) in [(date, "2026-11-29"), ("2026-11-29", date)] {
                let path = format!("/o/{}/{list}?range=custom&from={from}&to={to}", org.slug);
                assert!(browser.get(&path).body.contains(WANTED), "{path}");
            }
        }
    }
    let list = browser.get(&format!("/o/{}/audit?range=custom&from=2026-11-01&to=2026-11-29", org.slug));
    assert!(list.status == 200 && !list.body.contains(WANTED));
    // Programs send instants, so their message requests one.
    let body = json!({"name": "x", "scopes": ["inference:read"], "expires_at": "29.11.2027"});
    let refused = org.admin.post("/v1/api-keys", &body);
    assert!(refused.status == 422 && refused.body.contains("2027-02-21T15:00:00Z"), "{}", refused.body);
}

#[test]
fn a_key_expires_with_the_last_second_of_its_day() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let keys = format!("/o/{}/keys", org.slug);
    for (number, (zone, date, end)) in [
        // Its last hour comes twice.
        ("Africa/Cairo", "2027-10-28", "2027-10-28T21:59:59Z"),
        ("Africa/Cairo", "2028-10-26", "2028-10-26T21:59:59Z"),
        ("Africa/Cairo", "2027-10-29", "2027-10-29T21:59:59Z"),
        // The day begins at 01:00.
        ("Africa/Cairo", "2027-04-30", "2027-04-30T20:59:59Z"),
        ("America/Havana", "2027-11-07", "2027-11-08T04:59:59Z"),
        ("Europe/Berlin", "2027-10-31", "2027-10-31T22:59:59Z"),
        ("Pacific/Apia", "2027-12-30", "2027-12-30T10:59:59Z"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(browser.post("/account", &[("zone", zone)]).status, 303);
        let name = format!("key-{number}");
        assert_eq!(browser.post(&keys, &key_form(&name, date)).status, 200);
        let found = expiry(&org, &name);
        assert_eq!(found, end, "{zone} {date}");
    }
}

fn expiry(org: &Org, name: &str) -> String {
    let found = org.admin.get(&format!("/v1/api-keys?q={name}")).json();
    found["data"][0]["expires_at"].as_str().unwrap().to_owned()
}
