//! Signing in and out.

use crate::support::{PASSWORD, desk};

#[test]
fn wrong_password_and_unknown_person_get_the_same_response() {
    let (_desk, server, org) = desk();
    let refused = |email: &str, password: &str| {
        let page = server.browser().post("/sign-in", &[("email", email), ("password", password)]);
        (page.status, page.body.replace(email, "EMAIL"), page.header("set-cookie").is_some())
    };
    let wrong = refused(&org.email, "not the right password");
    assert_eq!(wrong.0, 422);
    assert!(!wrong.2);
    assert_eq!(wrong, refused("nobody@example.com", "not the right password"));
    assert!(wrong.1.contains("<title>Error: Sign in"));
    assert!(!wrong.1.contains("not the right password"));
}

#[test]
fn sign_in_renews_the_session_and_sign_out_ends_it_on_the_server() {
    let (_desk, server, org) = desk();
    let mut browser = server.browser();
    browser.cookie = Some("keydesk=planted".into());
    let page = browser.post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    let cookie = page.header("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_ne!(browser.cookie.as_deref(), Some("keydesk=planted"));
    assert!(browser.get("/account").body.contains(&org.email));
    let first = browser.cookie.clone();
    browser.post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    assert_ne!(browser.cookie, first);
    let mut old = server.browser();
    old.cookie = first;
    assert_eq!(old.get("/account").status, 303, "the identifier before sign-in no longer counts");
    let last = browser.cookie.clone();
    assert_eq!(browser.post("/sign-out", &[]).header("location"), Some("/sign-in"));
    let mut thief = server.browser();
    thief.cookie = last;
    assert_eq!(thief.get("/account").status, 303);
}

#[test]
fn sign_in_returns_to_the_requested_page_of_this_site_only() {
    let (_desk, server, org) = desk();
    let land = |next: &str| {
        let fields = [("email", org.email.as_str()), ("password", PASSWORD), ("next", next)];
        server.browser().post("/sign-in", &fields).header("location").unwrap().to_owned()
    };
    let wanted = format!("/o/{}/keys?status=active", org.slug);
    assert_eq!(land(&wanted), wanted);
    for elsewhere in
        ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\tb"]
    {
        assert_eq!(land(elsewhere), "/", "{elsewhere}");
    }
}

#[test]
fn attempts_are_slowed_down_and_no_one_is_locked_out_permanently() {
    let (desk, server, org) = desk();
    let spellings = [org.email.to_uppercase(), format!("  {} ", org.email), org.email.clone()];
    let attempt = |number: usize, password: &str| {
        let email = &spellings[number % spellings.len()];
        let forwarded = format!("203.0.113.{number}");
        let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", forwarded.as_str())];
        server.browser().post_with("/sign-in", &[("email", email), ("password", password)], &headers)
    };
    let statuses: Vec<u16> =
        (0..12).map(|number| attempt(number, "a wrong password indeed").status).collect();
    assert_eq!(statuses[..5], [422; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
    let waiting = attempt(0, PASSWORD);
    assert_eq!(waiting.status, 429);
    assert!(waiting.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert!(waiting.text(".summary p").starts_with("Too many attempts. Wait "));
    // The longest wait is over.
    desk.database.execute("UPDATE sign_in_attempts SET blocked_until = 0");
    assert_eq!(attempt(0, PASSWORD).status, 303);
    assert_eq!(attempt(0, PASSWORD).status, 303);
}

#[test]
fn clock_that_was_ahead_locks_no_one_out() {
    let (desk, server, org) = desk();
    let sign_in = |password: &str| {
        server.browser().post("/sign-in", &[("email", &org.email), ("password", password)]).status
    };
    let tries: Vec<u16> = (0..5).map(|_| sign_in("not the right password")).collect();
    assert_eq!(tries, [422; 5]);
    desk.database.execute("UPDATE sign_in_attempts SET blocked_until = last_at + 900000000");
    assert_eq!(sign_in(PASSWORD), 429);
    let day = "86400000000";
    desk.database.execute(&format!(
        "UPDATE sign_in_attempts SET last_at = last_at + {day}, blocked_until = blocked_until + {day}"
    ));
    assert_eq!(sign_in(PASSWORD), 303);
}

#[test]
fn thousand_untrusted_forwarded_addresses_count_as_one() {
    let (_desk, server, org) = desk();
    let known = std::sync::atomic::AtomicUsize::new(0);
    let threads = 8;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    loop {
                        let number = known.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= 1_000 {
                            return statuses;
                        }
                        let forwarded = format!("198.51.{}.{}", number / 256, number % 256);
                        let headers =
                            [("sec-fetch-site", "same-origin"), ("x-forwarded-for", forwarded.as_str())];
                        let fields = [("email", org.email.as_str()), ("password", "a guess at a password")];
                        statuses.push(server.browser().post_with("/sign-in", &fields, &headers).status);
                    }
                })
            })
            .collect();
        tries.into_iter().flat_map(|tried| tried.join().unwrap()).collect()
    });
    let guesses = statuses.iter().filter(|status| **status == 422).count();
    assert_eq!(statuses.len(), 1_000);
    assert!(statuses.iter().all(|status| [422, 429].contains(status)), "{statuses:?}");
    // Five are free; further ones were admitted only if they began before the others were counted.
    assert!((5..5 + threads).contains(&guesses), "{guesses} guesses came through");
}

#[test]
fn many_people_behind_one_address_can_sign_in() {
    let (_desk, server, org) = desk();
    for _ in 0..30 {
        server.signed_in(&org);
    }
}

#[test]
fn a_form_from_another_site_changes_nothing() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let fields = [("name", "forged"), ("scopes", "admin"), ("expires", "30"), ("requests_per_minute", "600")];
    let path = format!("/o/{}/keys", org.slug);
    let origin = server.base.replace("127.0.0.1", "localhost");
    let cases: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", &origin)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[],
    ];
    for headers in cases {
        assert_eq!(browser.post_with(&path, &fields, headers).status, 403, "{headers:?}");
    }
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'forged'"), 0);
    assert_eq!(browser.post_with(&path, &fields, &[("origin", &origin)]).status, 200);
}

#[test]
fn password_reset_by_the_command_line_ends_all_sessions() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let reset = ["user", "reset-password", "--email", &org.email, "--password-stdin"];
    assert_eq!(desk.run_with_input(&reset, "short").status.code(), Some(1));
    assert_eq!(browser.get("/account").status, 200);
    assert!(desk.run_with_input(&reset, "another good long password").status.success());
    assert_eq!(browser.get("/account").status, 303);
    let old = server.browser().post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    assert_eq!(old.status, 422);
    let new = server
        .browser()
        .post("/sign-in", &[("email", &org.email), ("password", "another good long password")]);
    assert_eq!(new.status, 303);
}

#[test]
fn a_session_ends_when_its_person_is_disabled_or_its_time_is_over() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    desk.database.change("UPDATE people SET disabled_at = 1");
    assert_eq!(browser.get("/account").status, 303);
    let refused = server.browser().post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    assert_eq!(refused.status, 422);
    desk.database.change("UPDATE people SET disabled_at = NULL");
    let mut browser = server.signed_in(&org);
    desk.database.execute("UPDATE sessions SET created_at = created_at - 2592001000000");
    assert_eq!(browser.get("/account").status, 303);
    let mut browser = server.signed_in(&org);
    desk.database.execute("UPDATE sessions SET ends_at = 1");
    assert_eq!(browser.get("/account").status, 303);
}

#[test]
fn viewing_pages_changes_nothing_in_the_database() {
    let (desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let sessions = "SELECT CAST(seen_at AS TEXT) || ' ' || state AS line FROM sessions ORDER BY 1";
    browser.get(&format!("/o/{}/keys", org.slug));
    let before = desk.database.lines(sessions);
    for page in ["keys", "usage", "review", "audit"] {
        assert_eq!(browser.get(&format!("/o/{}/{page}", org.slug)).status, 200, "{page}");
    }
    assert_eq!(desk.database.lines(sessions), before);
    // The flash message is shown once, which is a change.
    browser.post("/account", &[("name", "Ada"), ("zone", "Europe/Berlin")]);
    let said = |page: &crate::support::Page| page.texts(".notice.ok").join(" ");
    assert!(said(&browser.get("/account")).contains("saved"));
    assert!(!said(&browser.get("/account")).contains("saved"));
}

#[test]
fn cookie_is_bound_to_the_host_under_https() {
    let desk = crate::support::Desk::new().with("KEYDESK_PUBLIC_URL", "https://keys.example.com");
    let server = desk.start();
    assert!(server.setup_link.clone().unwrap().starts_with("https://keys.example.com/setup?token="));
    let org = desk.set_up(&server, "Acme");
    let page = server.browser().post("/sign-in", &[("email", &org.email), ("password", PASSWORD)]);
    let cookie = page.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-keydesk=") && cookie.contains("Secure"), "{cookie}");
    assert!(page.header("strict-transport-security").is_some());
}

#[test]
fn time_zone_is_saved_and_an_invalid_one_refused() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let wrong = browser.post("/account", &[("zone", "Mars/Olympus")]);
    assert_eq!(wrong.status, 422);
    assert!(wrong.text("title").starts_with("Error: "));
    assert_eq!(browser.post("/account", &[("zone", "Asia/Tokyo")]).status, 303);
    assert!(browser.get(&format!("/o/{}/keys", org.slug)).text(".foot").starts_with("Times in Asia/Tokyo"));
}
