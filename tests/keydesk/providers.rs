//! Sign-in through a provider, with a substitute for GitHub. OpenID Connect is tested with a real provider in the
//! browser tests.

use crate::fresh_sign_in::grow_stale;
use crate::support::github::{GitHub, Mood, User};
use crate::support::{Browser, Desk, Org, PASSWORD, Page, Server};

fn desk() -> (GitHub, Desk, Server, Org) {
    let github = GitHub::start();
    let desk = github.desk();
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (github, desk, server, org)
}

/// Where a page leads.
fn location(page: &Page) -> String {
    assert_eq!(page.status, 303, "{}", page.body);
    page.header("location").unwrap().to_owned()
}

/// Goes to GitHub by this path of Keydesk, says yes there, and is sent back.
fn go(browser: &mut Browser, github: &GitHub, path: &str, user: &User) -> Page {
    let back = github.grant(&location(&browser.get(path)), user);
    browser.get(&back)
}

fn connect_link(browser: &mut Browser) -> String {
    browser.get("/account").attribute("a[href^='/account/connect/github']", "href").unwrap()
}

/// The owner, signed in, with this account connected.
fn connected(github: &GitHub, server: &Server, org: &Org, user: &User) -> Browser {
    let mut browser = server.signed_in(org);
    let link = connect_link(&mut browser);
    assert_eq!(location(&go(&mut browser, github, &link, user)), "/account");
    browser
}

fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/account").status == 200
}

fn ada() -> User {
    User::new(4711, "ada-l", "ada@elsewhere.example")
}

#[test]
fn connected_account_signs_in_and_lands_on_the_requested_page() {
    let (github, desk, server, org) = desk();
    let mut owner = connected(&github, &server, &org, &ada());
    let account = owner.get("/account");
    assert!(account.body.contains("ada-l") && !account.body.contains("Connect GitHub"), "{}", account.body);
    let mut browser = server.browser();
    let keys = format!("/o/{}/keys", org.slug);
    let asked = location(&browser.get(&keys));
    let page = browser.get(&asked);
    let link = page.attribute("a[href^='/sign-in/github']", "href").unwrap();
    assert_eq!(page.texts(".providers"), ["Continue with GitHub"]);
    let before = browser.clone().cookie;
    let back = go(&mut browser, &github, &link, &ada());
    assert_eq!(location(&back), keys);
    assert_ne!(browser.cookie, before);
    assert_eq!(browser.get(&keys).status, 200);
    // The login changes hands, the id stays.
    let renamed = User { login: "countess", ..ada() };
    let mut again = server.browser();
    assert_eq!(location(&go(&mut again, &github, "/sign-in/github", &renamed)), "/");
    let thief = User { id: 4712, ..ada() };
    let mut other = server.browser();
    assert_eq!(go(&mut other, &github, "/sign-in/github", &thief).status, 403);
    assert!(!is_signed_in(&mut other));
    let methods = desk.database.lines("SELECT label AS line FROM sign_in_methods WHERE kind = 'github'");
    assert_eq!(methods, ["countess"]);
}

#[test]
fn matching_address_opens_no_account_and_creates_none() {
    let (github, desk, server, org) = desk();
    for verified in [true, false] {
        let mut user = User::new(1, "mallory", &org.email);
        user.emails[1]["verified"] = verified.into();
        let mut browser = server.browser();
        let page = go(&mut browser, &github, "/sign-in/github", &user);
        assert_eq!((page.status, page.text("h1").as_str()), (403, "You are not signed in"));
        assert!(
            page.text("title").starts_with("Error: ") && page.body.contains("Ask an admin for an invitation")
        );
        assert!(!is_signed_in(&mut browser));
        // Nor does a link to an invitation that there is none of.
        let page = go(&mut browser, &github, "/sign-in/github?next=%2Finvitations%2Fguessed", &user);
        assert_eq!(page.status, 403);
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 1);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM sign_in_methods"), 1);
    server.wait_for_log("no account has this identity");
}

#[test]
fn an_invitation_is_accepted_with_the_verified_address_of_a_provider_and_with_no_other() {
    let (github, desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let members = format!("/o/{}/members", org.slug);
    assert_eq!(owner.post(&members, &[("email", "Bo@Example.com"), ("role", "member")]).status, 303);
    let path = desk.mailed_path("Bo@Example.com", "invitation", "/invitations/");
    let link =
        |browser: &mut Browser| browser.get(&path).attribute("a[href^='/sign-in/github']", "href").unwrap();
    let bo = User::new(77, "bo", "bo@example.com");
    let with = |change: &dyn Fn(&mut User)| {
        let mut user = bo.clone();
        change(&mut user);
        user
    };
    for (user, words) in [
        (User::new(78, "eve", "eve@example.com"), "but your address at GitHub is eve@example.com"),
        (
            with(&|user| user.emails[1]["verified"] = false.into()),
            "GitHub says that it has not verified your address bo@example.com",
        ),
        // The invited address is verified, but is not the primary one.
        (with(&|user| user.emails[1]["primary"] = false.into()), "GitHub did not send your e-mail address"),
        (with(&|user| user.emails = serde_json::json!([])), "GitHub did not send your e-mail address"),
    ] {
        let mut browser = server.browser();
        let start = link(&mut browser);
        let page = go(&mut browser, &github, &start, &user);
        assert_eq!(page.status, 403, "{}", page.body);
        assert!(page.body.contains(words), "{}", page.body);
        assert!(!is_signed_in(&mut browser));
        assert_eq!(browser.get(&path).status, 200, "it stays open");
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 1);
    let mut browser = server.browser();
    let start = link(&mut browser);
    assert_eq!(location(&go(&mut browser, &github, &start, &bo)), path);
    // An account is no membership yet.
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 404);
    assert_eq!(browser.get(&path).text("main form button"), "Accept");
    let keys = format!("/o/{}/keys", org.slug);
    let accepted = browser.post(&format!("{path}/accept"), &[("zone", "Asia/Tokyo")]);
    assert_eq!(location(&accepted), keys);
    assert_eq!(browser.get(&keys).status, 200);
    assert!(browser.get("/account").text(".foot").contains("Asia/Tokyo"), "no provider tells a zone");
    assert_eq!(location(&go(&mut server.browser(), &github, "/sign-in/github", &bo)), "/");
    // Once used, it admits no one else, not even the person who now has its address at the provider.
    let again = format!("/sign-in/github?next={}", path.replace('/', "%2F"));
    let other = User { id: 79, ..bo.clone() };
    assert_eq!(go(&mut server.browser(), &github, &again, &other).status, 403);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 2);
}

#[test]
fn invitation_of_an_existing_person_does_not_open_their_account_through_a_provider() {
    let (github, desk, server, org) = desk();
    let known = desk.set_up(&server, "Other Org");
    let mut owner = server.signed_in(&org);
    let members = format!("/o/{}/members", org.slug);
    owner.post(&members, &[("email", &known.email), ("role", "member")]);
    let path = desk.mailed_path(&known.email, "invitation", "/invitations/");
    let mut browser = server.browser();
    let link = browser.get(&path).attribute("a[href^='/sign-in/github']", "href").unwrap();
    let page = go(&mut browser, &github, &link, &User::new(5, "same-address", &known.email));
    assert_eq!(page.status, 403);
    assert!(page.body.contains("The invited address has an account here"), "{}", page.body);
    assert!(!is_signed_in(&mut browser));
    // They connect it themselves, and then it does.
    let mut person = server.signed_in(&known);
    let connect = connect_link(&mut person);
    assert_eq!(
        location(&go(&mut person, &github, &connect, &User::new(5, "same-address", &known.email))),
        "/account"
    );
    let page = go(&mut browser, &github, &link, &User::new(5, "same-address", &known.email));
    assert_eq!(location(&page), path);
    assert_eq!(browser.post(&format!("{path}/accept"), &[]).status, 303);
}

#[test]
fn state_is_valid_once_in_its_browser_for_its_provider_for_ten_minutes() {
    let (github, desk, server, org) = desk();
    connected(&github, &server, &org, &ada());
    let refused = |browser: &mut Browser, path: &str| {
        let page = browser.get(path);
        assert_eq!(page.status, 400, "{path}: {}", page.body);
        assert!(!is_signed_in(browser), "{path}");
    };
    // Swapped between two browsers, each of which is on its own way.
    let (mut one, mut other) = (server.browser(), server.browser());
    let of_one = github.grant(&location(&one.get("/sign-in/github")), &ada());
    let of_other = github.grant(&location(&other.get("/sign-in/github")), &ada());
    refused(&mut other, &of_one);
    refused(&mut one, &of_other);
    refused(&mut server.browser(), &of_one);
    // Missing, empty, wrong, twice in one query.
    let code = of_one.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let state = of_one.split("state=").nth(1).unwrap();
    for query in [
        format!("code={code}"),
        format!("code={code}&state="),
        format!("code={code}&state=wrong"),
        format!("code={code}&state={state}&state={state}"),
        format!("code={code}&state={state}x"),
        String::new(),
    ] {
        refused(&mut one, &format!("/sign-in/github/callback?{query}"));
    }
    // It can still be used once, by the browser that started it.
    assert_eq!(location(&one.get(&of_one)), "/");
    let mut replay = server.browser();
    replay.get("/sign-in/github");
    refused(&mut replay, &of_one);
    one.post("/sign-out", &[]);
    refused(&mut one, &of_one);
    // Too late.
    let mut late = server.signed_in(&org);
    let again = location(&late.get("/sign-in/again/github?next=%2Faccount"));
    let back = github.grant(&again, &ada());
    assert!(desk.database.count("SELECT COUNT(*) AS count FROM sign_in_flows") > 0);
    desk.database.execute("UPDATE sign_in_flows SET created_at = created_at - 600000000");
    assert_eq!(late.get(&back).status, 400);
}

#[test]
fn starting_a_sign_in_stores_nothing_in_the_database_and_reveals_nothing_to_the_browser() {
    let (github, desk, server, _org) = desk();
    let rows = || {
        let sessions = desk.database.count("SELECT COUNT(*) AS count FROM sessions");
        sessions + desk.database.count("SELECT COUNT(*) AS count FROM sign_in_flows")
    };
    let before = rows();
    for _ in 0..5 {
        let page = server.browser().get("/sign-in/github?next=/invitations/inv_secret");
        let set: Vec<&str> = page
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(set.len(), 1, "{set:?}");
        assert!(
            set[0].contains("HttpOnly") && set[0].contains("SameSite=Lax") && set[0].contains("Max-Age=600"),
            "{set:?}"
        );
        assert!(!set[0].contains("inv_secret") && !location(&page).contains("inv_secret"), "{set:?}");
    }
    assert_eq!(rows(), before);
    // Two tabs, each with its own sign-in; each return removes its own cookie.
    let mut browser = server.browser();
    let [one, two] = [0, 1].map(|_| github.grant(&location(&browser.get("/sign-in/github")), &ada()));
    let refused = browser.get(&one);
    assert_eq!(refused.status, 403, "no account has this identity");
    let removal = refused.header("set-cookie").unwrap();
    assert!(removal.contains("Max-Age=0"), "{removal}");
    assert_eq!(browser.get(&one).status, 400, "used up");
    assert_eq!(browser.get(&two).status, 403);
    assert_eq!(rows(), before);
}

#[test]
fn browser_keeps_few_sign_ins_however_many_are_started() {
    let (github, _desk, server, _org) = desk();
    let mut browser = server.browser();
    let starts: Vec<_> = (0..20).map(|_| browser.get("/sign-in/github")).collect();
    let set = |page: &Page| page.headers.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(starts.iter().map(set).max(), Some(9), "one is set, and eight are removed");
    let back = |page: &Page| github.grant(&location(page), &ada());
    assert_eq!(browser.get(&back(&starts[0])).status, 400, "the first one is forgotten");
    assert_eq!(
        browser.get(&back(&starts[19])).status,
        403,
        "the last one is completed; no account has this identity"
    );
}

#[test]
fn concurrent_callbacks_sign_in_once() {
    let (github, _desk, server, org) = desk();
    connected(&github, &server, &org, &ada());
    let mut browser = server.browser();
    let back = github.grant(&location(&browser.get("/sign-in/github")), &ada());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|_| {
                let (mut browser, back) = (browser.clone(), &back);
                scope.spawn(move || browser.get(back).status)
            })
            .collect();
        tries.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 15, "{statuses:?}");
}

#[test]
fn connecting_needs_this_sessions_link_a_fresh_sign_in_and_an_unused_identity() {
    let (github, desk, server, org) = desk();
    let mut owner = server.signed_in(&org);
    let mut elsewhere = server.signed_in(&org);
    let foreign = connect_link(&mut elsewhere);
    for path in ["/account/connect/github", "/account/connect/github?token=x", &foreign] {
        assert_eq!(location(&owner.get(path)), "/account", "{path}");
    }
    let link = connect_link(&mut owner);
    grow_stale(&desk);
    let asked = location(&owner.get(&link));
    assert!(asked.starts_with("/sign-in/again?next=%2Faccount%2Fconnect%2Fgithub%3Ftoken"), "{asked}");
    // A form must lead to no other site, so a page leads on.
    let page = owner.post(&asked, &[("confirm_password", PASSWORD)]);
    assert_eq!(page.status, 200, "{}", page.body);
    let on = page.attribute("main a", "href").unwrap();
    assert_eq!(page.attribute("meta[http-equiv=refresh]", "content"), Some(format!("0;url={on}")));
    let back = github.grant(&location(&owner.get(&on)), &ada());
    // Another person's browser can't finish it, not even with their own way open.
    let theirs = desk.set_up(&server, "Other Org");
    let mut other = server.signed_in(&theirs);
    let link = connect_link(&mut other);
    other.get(&link);
    assert_eq!(other.get(&back).status, 400);
    assert_eq!(location(&owner.get(&back)), "/account");
    let taken = go(&mut other, &github, &link, &ada());
    assert_eq!((taken.status, taken.text("h1").as_str()), (409, "GitHub was not connected"));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM sign_in_methods WHERE kind = 'github'"), 1);
    assert_eq!(
        desk.database
            .count("SELECT COUNT(*) AS count FROM audit_entries WHERE action = 'person.method_connected'"),
        1
    );
}

#[test]
fn sign_in_method_can_be_removed_unless_it_is_the_last_one() {
    let (github, desk, server, org) = desk();
    let mut owner = connected(&github, &server, &org, &ada());
    let page = owner.get("/account");
    let link = page.attribute("a[href$='/disconnect']", "href").unwrap();
    let theirs = desk.set_up(&server, "Other Org");
    assert_eq!(server.signed_in(&theirs).post(&link, &[]).status, 404);
    // The password goes first, behind the page's back; then the last way stays.
    let password = desk.database.lines(
        "SELECT credential AS line FROM sign_in_methods m JOIN people p ON p.id = m.person_id
            WHERE m.kind = 'password' ORDER BY p.created_at LIMIT 1",
    );
    desk.database.execute(&format!("DELETE FROM sign_in_methods WHERE credential = '{}'", password[0]));
    assert_eq!(owner.post(&link, &[]).status, 422);
    let mut browser = server.browser();
    assert_eq!(location(&go(&mut browser, &github, "/sign-in/github", &ada())), "/");
    // A person without a password chooses one, and can then remove GitHub.
    assert_eq!(browser.post("/account/password", &[("new_password", "a wholly new passphrase")]).status, 303);
    grow_stale(&desk);
    assert!(location(&browser.get(&link)).starts_with("/sign-in/again?next="));
    assert_eq!(browser.post(&link, &[("confirm_password", "a wholly new passphrase")]).status, 303);
    assert_eq!(go(&mut server.browser(), &github, "/sign-in/github", &ada()).status, 403);
}

#[test]
fn disabled_person_cannot_sign_in_with_a_provider() {
    let (github, desk, server, org) = desk();
    connected(&github, &server, &org, &ada());
    desk.database.change("UPDATE people SET disabled_at = 1");
    let mut browser = server.browser();
    assert_eq!(go(&mut browser, &github, "/sign-in/github", &ada()).status, 403);
    assert!(!is_signed_in(&mut browser));
}

#[test]
fn misbehaving_provider_signs_no_one_in_and_the_log_says_why() {
    let (github, _desk, server, org) = desk();
    connected(&github, &server, &org, &ada());
    for (mood, status, reason) in [
        (Mood::BadCode, 400, "the token endpoint returned bad_verification_code"),
        (Mood::Html, 400, "the token endpoint: unexpected response Content-Type"),
        (Mood::Redirect, 400, "it returned a redirect (302)"),
        (Mood::Failing, 503, "it returned status 502"),
        (Mood::Huge, 400, "its response is too large"),
        (Mood::NoId, 400, "GET /user can't be parsed"),
        (Mood::EmailsForbidden, 400, "GET /user/emails returned status 403"),
        (Mood::EvilToken, 400, "the access token has invalid characters"),
    ] {
        let mut browser = server.browser();
        github.set_mood(mood);
        let page = go(&mut browser, &github, "/sign-in/github", &ada());
        assert_eq!(page.status, status, "{mood:?}: {}", page.body);
        assert!(!is_signed_in(&mut browser), "{mood:?}");
        server.wait_for_log(reason);
    }
    github.set_mood(Mood::Well);
    for (query, status, reason) in [
        ("error=access_denied", 403, "the provider refused: access_denied"),
        ("code=", 400, "there is no code"),
        ("code=a&code=b", 400, "there is no code"),
        ("code=x&iss=https%3A%2F%2Fevil.example", 400, "iss of the response is"),
    ] {
        let mut browser = server.browser();
        let back = github.grant(&location(&browser.get("/sign-in/github")), &ada());
        let state = back.split("state=").nth(1).unwrap();
        let page = browser.get(&format!("/sign-in/github/callback?{query}&state={state}"));
        assert_eq!(page.status, status, "{query}: {}", page.body);
        assert!(!is_signed_in(&mut browser), "{query}");
        server.wait_for_log(reason);
    }
    // No code and no token is in the log.
    let log = server.whole_log();
    assert!(!log.contains("code-") && !log.contains("gho_"));
}

#[test]
fn provider_confirms_the_identity_of_the_signed_in_person() {
    let (github, desk, server, org) = desk();
    let mut owner = connected(&github, &server, &org, &ada());
    grow_stale(&desk);
    let page = owner.get("/sign-in/again?next=%2Faccount");
    let link = page.attribute(".providers a", "href").unwrap();
    // A wrong password does not make it a form that waits beside.
    let wrong = owner.post("/sign-in/again?next=%2Faccount", &[("confirm_password", "not the right one")]);
    assert_eq!((wrong.status, wrong.attribute(".providers a", "href")), (422, Some(link.clone())));
    assert!(!wrong.body.contains("Your input is kept") && !wrong.body.contains("new tab"));
    assert_eq!(go(&mut owner, &github, &link, &User { id: 9, ..ada() }).status, 403);
    assert_eq!(owner.get("/sign-in/again?next=%2Faccount").status, 200);
    assert_eq!(location(&go(&mut owner, &github, &link, &ada())), "/account");
    assert_eq!(location(&owner.get("/sign-in/again?next=%2Faccount")), "/account");
}

#[test]
fn late_form_is_kept_while_a_provider_confirms_in_another_tab() {
    let (github, desk, server, org) = desk();
    let mut owner = connected(&github, &server, &org, &ada());
    grow_stale(&desk);
    let keys = format!("/o/{}/keys", org.slug);
    let fields = [("name", "late"), ("scopes", "admin"), ("expires", "90"), ("requests_per_minute", "600")];
    let asked = owner.post(&keys, &fields);
    assert_eq!(asked.status, 403);
    assert!(asked.body.contains("Your input is kept."));
    let link = asked.attribute(".providers a[target=_blank]", "href").unwrap();
    let back = location(&go(&mut owner, &github, &link, &ada()));
    let beside = owner.get(&back);
    assert_eq!((beside.status, beside.text("h1").as_str()), (200, "Identity confirmed"));
    let mut again = fields.to_vec();
    again.push(("confirmed_elsewhere", "1"));
    assert_eq!(owner.post(&keys, &again).status, 200);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'late'"), 1);
}

#[test]
fn without_configuration_there_are_no_providers() {
    let (_desk, server, org) = crate::support::desk();
    let mut browser = server.browser();
    for path in
        ["/sign-in/oidc", "/sign-in/github", "/sign-in/oidc/callback", "/sign-in/github/callback?code=x"]
    {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
    assert!(browser.get("/sign-in").texts(".providers").is_empty());
    let mut owner = server.signed_in(&org);
    assert!(!owner.get("/account").body.contains("Connect "));
    assert_eq!(owner.get("/account/connect/github?token=x").status, 404);
}
