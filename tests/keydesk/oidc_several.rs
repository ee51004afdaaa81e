//! Several OpenID Connect providers at once.

use crate::oidc_personalities::plain;
use crate::support::oidc::{Oidc, Personality};
use crate::support::{Browser, Desk, Org, Page, Server};

fn two() -> (Oidc, Oidc, Desk, Server, Org) {
    let one = Oidc::start(Personality { name: "Staff SSO", ..plain() });
    // The same subject and address as at the first.
    let two = Oidc::start(Personality { name: "Partner SSO", ..plain() });
    let desk = two.add_to(one.add_to(Desk::new(), 1), 2);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (one, two, desk, server, org)
}

fn location(page: &Page) -> String {
    assert_eq!(page.status, 303, "{}", page.body);
    page.header("location").unwrap().to_owned()
}

fn connect(browser: &mut Browser, oidc: &Oidc, path: &str) -> Page {
    let selector = format!("a[href^='{path}?']");
    let link = browser.get("/account").attribute(&selector, "href").unwrap();
    oidc.go(browser, &link)
}

#[test]
fn every_page_offers_all_providers() {
    let (_one, _two, desk, server, org) = two();
    let names = ["Continue with Staff SSO", "Continue with Partner SSO"];
    let page = server.browser().get("/sign-in");
    assert_eq!(page.texts(".providers a"), names);
    assert_eq!(page.attribute(".providers a:last-child", "href").as_deref(), Some("/sign-in/oidc/2"));
    let mut owner = server.signed_in(&org);
    let account = owner.get("/account");
    assert!(account.body.contains("Connect Staff SSO") && account.body.contains("Connect Partner SSO"));
    let members = format!("/o/{}/members", org.slug);
    owner.post(&members, &[("email", "bo@example.com"), ("role", "member")]);
    let path = desk.mailed_path("bo@example.com", "invitation", "/invitations/");
    assert_eq!(server.browser().get(&path).texts(".providers a"), names);
}

#[test]
fn same_subject_at_another_provider_is_another_identity() {
    let (one, two, desk, server, org) = two();
    let mut owner = server.signed_in(&org);
    assert_eq!(location(&connect(&mut owner, &one, "/account/connect/oidc")), "/account");
    let mut browser = server.browser();
    let refused = two.go(&mut browser, "/sign-in/oidc/2");
    assert_eq!((refused.status, browser.get("/account").status), (403, 303));
    assert_eq!(location(&one.go(&mut browser, "/sign-in/oidc")), "/");

    // Another person may have that subject at the other provider.
    let other = desk.set_up(&server, "Other Org");
    let mut theirs = server.signed_in(&other);
    assert_eq!(location(&connect(&mut theirs, &two, "/account/connect/oidc-2")), "/account");
    for (oidc, path, email, not) in [
        (&one, "/sign-in/oidc", &org.email, &other.email),
        (&two, "/sign-in/oidc/2", &other.email, &org.email),
    ] {
        let mut browser = server.browser();
        assert_eq!(location(&oidc.go(&mut browser, path)), "/");
        let account = browser.get("/account").body;
        assert!(account.contains(email) && !account.contains(not.as_str()));
    }
    let taken = connect(&mut owner, &two, "/account/connect/oidc-2");
    assert_eq!((taken.status, taken.text("h1").as_str()), (409, "Partner SSO was not connected"));
}

#[test]
fn each_provider_confirms_and_is_removed_by_its_own_name() {
    let (one, two, desk, server, org) = two();
    let mut owner = server.signed_in(&org);
    connect(&mut owner, &one, "/account/connect/oidc");
    assert_eq!(location(&connect(&mut owner, &two, "/account/connect/oidc-2")), "/account");
    crate::fresh_sign_in::grow_stale(&desk);
    let page = owner.get("/sign-in/again?next=%2Faccount");
    assert_eq!(page.texts(".providers a"), ["Confirm with Staff SSO", "Confirm with Partner SSO"]);
    let link = page.attribute(".providers a:last-child", "href").unwrap();
    assert!(link.starts_with("/sign-in/again/oidc-2?"), "{link}");
    assert_eq!(location(&two.go(&mut owner, &link)), "/account");
    let account = owner.get("/account");
    let remove = account.attribute("tr:last-child a[href$='/disconnect']", "href").unwrap();
    assert_eq!(owner.get(&remove).text("h1"), "Remove Partner SSO?");
    assert_eq!(owner.post(&remove, &[]).status, 303);
    assert!(owner.get("/account").body.contains("Partner SSO was removed."));
    let methods = "SELECT issuer AS line FROM sign_in_methods WHERE kind = 'oidc'";
    assert_eq!(desk.database.lines(methods), [one.issuer.as_str()]);
}

#[test]
fn response_of_one_provider_is_refused_at_the_callback_of_another() {
    let (one, two, _desk, server, org) = two();
    connect(&mut server.signed_in(&org), &one, "/account/connect/oidc");
    let mut browser = server.browser();
    let back = one.grant(&location(&browser.get("/sign-in/oidc")));
    let elsewhere = back.replace("/sign-in/oidc/callback", "/sign-in/oidc/2/callback");
    assert_ne!(back, elsewhere);
    assert_eq!(browser.get(&elsewhere).status, 400);
    assert_eq!(location(&browser.get(&back)), "/", "the attempt used nothing up");
    let back = two.grant(&location(&server.browser().get("/sign-in/oidc/2")));
    assert!(back.starts_with("/sign-in/oidc/2/callback?"), "{back}");
    for path in [
        "/sign-in/oidc/1",
        "/sign-in/oidc/3",
        "/sign-in/oidc/02",
        "/sign-in/oidc/3/callback",
        "/sign-in/again/oidc-3",
    ] {
        let page = server.signed_in(&org).get(path);
        assert_eq!(page.status, 404, "{path}");
    }
}

#[test]
fn providers_that_do_not_fit_together_are_refused_at_start() {
    let set = |number: &str, rest: &[(&str, &str)]| {
        let desk = Desk::new()
            .with("KEYDESK_OIDC_ISSUER", "https://sso.example")
            .with("KEYDESK_OIDC_CLIENT_ID", "id")
            .with("KEYDESK_OIDC_CLIENT_SECRET", "secret");
        rest.iter()
            .fold(desk, |desk, (name, value)| desk.with(&format!("KEYDESK_OIDC_{number}_{name}"), value))
    };
    let whole = [("ISSUER", "https://two.example"), ("CLIENT_ID", "id"), ("CLIENT_SECRET", "secret")];
    let with = |name: &'static str, value: &'static str| {
        let mut all = whole.to_vec();
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
        all
    };
    for (number, rest, variable, words) in [
        ("3", whole.to_vec(), "KEYDESK_OIDC_2_ISSUER", "without gaps"),
        ("2", with("ISSUER", "https://sso.example"), "KEYDESK_OIDC_2_ISSUER", "same as KEYDESK_OIDC_ISSUER"),
        ("2", with("ISSUER", "https://sso.example/"), "KEYDESK_OIDC_2_ISSUER", "same as KEYDESK_OIDC_ISSUER"),
        ("2", with("NAME", "SSO.example"), "KEYDESK_OIDC_2_NAME", "must differ from KEYDESK_OIDC_NAME"),
        ("2", whole[..2].to_vec(), "KEYDESK_OIDC_2_CLIENT_SECRET", "is required"),
        ("2", whole[1..].to_vec(), "KEYDESK_OIDC_2_ISSUER", "is required"),
        ("2", vec![whole[0], whole[2]], "KEYDESK_OIDC_2_CLIENT_ID", "is required"),
        ("2", vec![("TRUST_EMAIL", "1")], "KEYDESK_OIDC_2_ISSUER", "is required"),
        ("2", with("TRUST_EMAIL", "yes"), "KEYDESK_OIDC_2_TRUST_EMAIL", "Use 0 or 1"),
        (
            "9",
            vec![("ISSUER", "http://two.example")],
            "KEYDESK_OIDC_9_ISSUER",
            "http is accepted on loopback only",
        ),
    ] {
        let output = set(number, &rest).run(&["serve"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{rest:?}: {errors}");
        assert!(
            errors.contains(&format!("keydesk: {variable} ")) && errors.contains(words),
            "{rest:?}: {errors}"
        );
    }
    // A flag sets a numbered option, too.
    let output = set("2", &whole[1..]).run(&["serve", "--oidc-2-issuer", "http://two.example"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("KEYDESK_OIDC_2_ISSUER is not valid"));
}
