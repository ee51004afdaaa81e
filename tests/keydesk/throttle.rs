//! Slowing down password guesses without slowing down others.

use std::time::Instant;

use crate::support::{Desk, Org, PASSWORD, Page, Server};

const WRONG: &str = "a wrong password indeed";

/// A desk behind a proxy that names its clients.
fn desk() -> (Desk, Server, Org) {
    let desk = Desk::new().with("KEYDESK_TRUSTED_PROXIES", "127.0.0.0/8");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

fn post(server: &Server, from: &str, path: &str, fields: &[(&str, &str)]) -> Page {
    let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", from)];
    server.browser().post_with(path, fields, &headers)
}

fn attempt(server: &Server, from: &str, email: &str, password: &str) -> u16 {
    post(server, from, "/sign-in", &[("email", email), ("password", password)]).status
}

/// All that is counted, in an order.
fn counted(desk: &Desk) -> Vec<String> {
    let bytes = if desk.database.is_postgres() { "encode(bucket, 'hex')" } else { "hex(bucket)" };
    desk.database.lines(&format!(
        "SELECT {bytes} || ' ' || CAST(failures AS TEXT) || ' ' || CAST(last_at AS TEXT) || ' ' || \
         CAST(blocked_until AS TEXT) AS line FROM sign_in_attempts ORDER BY 1"
    ))
}

/// Makes every wait that has begun a long one.
fn hold_all(desk: &Desk) {
    desk.database.execute(
        "UPDATE sign_in_attempts SET blocked_until = last_at + 900000000 WHERE blocked_until > last_at",
    );
}

#[test]
fn throttled_address_does_not_throttle_an_account() {
    let (desk, server, org) = desk();
    let attacker = "203.0.113.66";
    for number in 0..20 {
        assert_eq!(attempt(&server, attacker, &format!("nobody-{number}@example.com"), WRONG), 422);
    }
    hold_all(&desk);
    let before = counted(&desk);
    for _ in 0..30 {
        assert_eq!(attempt(&server, attacker, &org.email, PASSWORD), 429);
    }
    assert_eq!(counted(&desk), before, "a try that has to wait is recorded nowhere");
    assert_eq!(attempt(&server, "198.51.100.7", &org.email, PASSWORD), 303);
}

#[test]
fn throttled_account_records_no_new_addresses() {
    let (desk, server, org) = desk();
    for number in 0..5 {
        assert_eq!(attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG), 422);
    }
    hold_all(&desk);
    let before = counted(&desk);
    for number in 100..130 {
        assert_eq!(attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG), 429);
    }
    assert_eq!(counted(&desk), before);
}

/// How many of these tries at once were compared, and how many may be: as many as are free, and one
/// for each wait of 1, 2, 4 s and so on that ended meanwhile.
fn at_once(server: &Server, free: usize, tries: &[(String, String)]) -> (usize, usize) {
    let began = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let begun: Vec<_> = tries
            .iter()
            .map(|(from, email)| scope.spawn(move || attempt(server, from, email, WRONG)))
            .collect();
        begun.into_iter().map(|tried| tried.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [422, 429].contains(status)), "{statuses:?}");
    let waits = (began.elapsed().as_secs() + 1).ilog2() as usize;
    (statuses.iter().filter(|status| **status == 422).count(), free + waits)
}

#[test]
fn concurrent_guesses_are_limited_like_sequential_ones() {
    let (_desk, server, org) = desk();
    let at_an_account: Vec<_> =
        (0..48).map(|number| (format!("203.0.113.{number}"), org.email.clone())).collect();
    let (compared, most) = at_once(&server, 5, &at_an_account);
    assert!((5..=most).contains(&compared), "{compared} of at most {most} at one account");
    let from_an_address: Vec<_> =
        (0..48).map(|number| ("198.51.100.1".to_owned(), format!("person-{number}@example.com"))).collect();
    let (compared, most) = at_once(&server, 20, &from_an_address);
    assert!((20..=most).contains(&compared), "{compared} of at most {most} from one address");
}

#[test]
fn password_reset_ends_the_wait_at_once() {
    let (desk, server, org) = desk();
    let guess = || {
        for number in 0..5 {
            attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG);
        }
        hold_all(&desk);
        assert_eq!(attempt(&server, "198.51.100.7", &org.email, PASSWORD), 429);
    };
    guess();
    let arguments = ["user", "reset-password", "--email", &org.email, "--password-stdin"];
    assert!(desk.run_with_input(&arguments, "a wholly new passphrase").status.success());
    assert_eq!(attempt(&server, "198.51.100.7", &org.email, "a wholly new passphrase"), 303);
    // By link; from another network than the one that is known by now.
    for number in 0..5 {
        attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG);
    }
    hold_all(&desk);
    let owner = "192.0.2.44";
    assert_eq!(attempt(&server, owner, &org.email, "a wholly new passphrase"), 429);
    assert_eq!(post(&server, owner, "/reset-password", &[("email", &org.email)]).status, 200);
    let link = desk.wait_for_mails("password_reset", 1).remove(0).link("/reset-password?");
    let token = link.split_once("token=").unwrap().1.to_owned();
    let fields = [("token", token.as_str()), ("new_password", "yet another passphrase")];
    assert_eq!(post(&server, owner, "/reset-password", &fields).status, 303);
    // Further guesses from elsewhere come too late to lock the owner out.
    for number in 0..5 {
        attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG);
    }
    hold_all(&desk);
    assert_eq!(attempt(&server, owner, &org.email, "yet another passphrase"), 303);
}

#[test]
fn guesses_from_elsewhere_do_not_lock_out_a_known_network() {
    let (desk, server, org) = desk();
    let home = "192.0.2.44";
    assert_eq!(attempt(&server, home, &org.email, PASSWORD), 303);
    for number in 0..5 {
        assert_eq!(attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG), 422);
    }
    hold_all(&desk);
    assert_eq!(attempt(&server, "203.0.113.200", &org.email, PASSWORD), 429, "it is still slowed down");
    assert_eq!(attempt(&server, home, &org.email, PASSWORD), 303);
    // Nor is guessing free there.
    let tries: Vec<u16> = (0..8).map(|_| attempt(&server, home, &org.email, WRONG)).collect();
    assert!(tries[..5] == [422; 5] && tries.contains(&429), "{tries:?}");
    // A signed-in person can confirm their identity, whatever others guess.
    desk.database.execute("UPDATE sign_in_attempts SET blocked_until = 0, failures = 0");
    let mut owner = server.signed_in(&org);
    for number in 0..5 {
        attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG);
    }
    hold_all(&desk);
    assert_eq!(owner.post("/sign-in/again", &[("confirm_password", PASSWORD)]).status, 303);
    // But a thief of the session does not guess without end.
    let tries: Vec<u16> = (0..8)
        .map(|_| owner.post("/account/password", &[("password", WRONG), ("new_password", WRONG)]).status)
        .collect();
    assert!(tries[..5] == [422; 5] && tries.contains(&429), "{tries:?}");
}

#[test]
fn securing_an_account_keeps_its_network_known() {
    let acts = [("/account/sessions/end-others", ""), ("/account/password", "a wholly new passphrase")];
    for (act, new_password) in
        acts.into_iter().chain([("/account/sessions/ses_00000000000000000000000000/end", "")])
    {
        let (desk, server, org) = desk();
        let home = "192.0.2.44";
        let headers = [("sec-fetch-site", "same-origin"), ("x-forwarded-for", home)];
        let mut owner = server.browser();
        let fields = [("email", org.email.as_str()), ("password", PASSWORD)];
        assert_eq!(owner.post_with("/sign-in", &fields, &headers).status, 303);
        let fields = [("password", PASSWORD), ("new_password", new_password)];
        let done = owner.post_with(act, &fields, &headers);
        assert_eq!(done.status, 303, "{act}: {}", done.body);
        for number in 0..5 {
            attempt(&server, &format!("203.0.113.{number}"), &org.email, WRONG);
        }
        hold_all(&desk);
        let password = if new_password.is_empty() { PASSWORD } else { new_password };
        assert_eq!(attempt(&server, home, &org.email, password), 303, "{act}");
    }
}

#[test]
fn attempt_refused_before_the_password_check_is_not_counted() {
    let (desk, server, org) = desk();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..120)
            .map(|number| {
                let (server, email) = (&server, format!("nobody-{number}@example.com"));
                scope.spawn(move || attempt(server, &format!("203.0.113.{number}"), &email, WRONG))
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let compared = answers.iter().filter(|status| **status == 422).count();
    assert!(answers.iter().all(|status| [422, 503].contains(status)), "{answers:?}");
    let counted = desk
        .database
        .count("SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) AS count FROM sign_in_attempts");
    // Each that was compared counts for its address and its account.
    assert_eq!(counted, 2 * compared as i64);
    assert_eq!(attempt(&server, "192.0.2.1", &org.email, PASSWORD), 303);
}

#[test]
fn requests_for_reset_mails_are_throttled_by_address() {
    let (desk, server, org) = desk();
    let ask = |from: &str, email: &str| post(&server, from, "/reset-password", &[("email", email)]).status;
    for number in 0..20 {
        assert_eq!(ask("203.0.113.66", &format!("nobody-{number}@example.com")), 200);
    }
    hold_all(&desk);
    let before = counted(&desk);
    for _ in 0..10 {
        assert_eq!(ask("203.0.113.66", &org.email), 429);
    }
    assert_eq!(counted(&desk), before);
    assert_eq!(ask("198.51.100.7", &org.email), 200);
    assert_eq!(desk.wait_for_mails("password_reset", 1).len(), 1);
}
