//! Which e-mail addresses are the same, and which can be used.

use serde_json::json;

use crate::support::{Desk, Org, PASSWORD, Server, desk, text};

fn sign_in(server: &Server, email: &str) -> u16 {
    server.browser().post("/sign-in", &[("email", email), ("password", PASSWORD)]).status
}

fn set_up(desk: &Desk, org: &str, email: &str, with_password: bool) -> std::process::Output {
    let mut arguments = vec!["setup", "--another", "--org", org, "--name", "Bob", "--email", email];
    if with_password {
        arguments.push("--password-stdin");
    }
    desk.run_with_input(&arguments, PASSWORD)
}

fn invite(server: &Server, org: &Org, email: &str) -> crate::support::Page {
    let path = format!("/o/{}/members", org.slug);
    server.signed_in(org).post(&path, &[("email", email), ("role", "member")])
}

#[test]
fn addresses_that_look_alike_are_different() {
    let (desk, server, org) = desk();
    text(&set_up(&desk, "Evil Corp", "ceo@fırma.example", true));
    // No one has the real address, so setup needs a password for the owner.
    let refused = set_up(&desk, "Victim Corp", "ceo@firma.example", false);
    assert_eq!(refused.status.code(), Some(1));
    let key = |owner: &str| {
        let body = json!({"name": owner, "scopes": ["inference:read"], "owner": owner});
        org.admin.post("/v1/api-keys", &body).status
    };
    desk.join(&org, "ceo@fırma.example", "member");
    assert_eq!((key("ceo@firma.example"), key("ceo@fırma.example")), (422, 201));
    assert_eq!((sign_in(&server, "ceo@firma.example"), sign_in(&server, "CEO@fırma.example")), (422, 303));
    // The real person can have an account, and what is typed is shown beside its ASCII form.
    text(&set_up(&desk, "Victim Corp", "ceo@firma.example", true));
    assert_eq!(sign_in(&server, "ceo@firma.example"), 303);
    let known = set_up(&desk, "Third", "ceo@fırma.example", false);
    assert!(known.status.success());
    let told = String::from_utf8(known.stderr).unwrap();
    assert!(told.contains("ceo@fırma.example (xn--frma-"), "{told}");
}

#[test]
fn spellings_of_one_domain_are_the_same_address() {
    let (desk, server, org) = desk();
    assert_eq!(invite(&server, &org, "bob@bücher.example").status, 303);
    let again = invite(&server, &org, "BOB@xn--bcher-kva.example");
    assert!(again.status == 422 && again.body.contains("open invitation"), "{}", again.body);
    // Servers without SMTPUTF8 take the ASCII form.
    let mail = desk.wait_for_mails("invitation", 1).remove(0);
    assert!(mail.header("To").contains("bob@xn--bcher-kva.example"), "{}", mail.raw);
    text(&set_up(&desk, "Bookshop", "bob@bücher.example", true));
    assert_eq!(set_up(&desk, "Other", "bob@xn--bcher-kva.example", true).status.code(), Some(0));
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people WHERE name = 'Bob'"), 1);
    for spelling in ["bob@bücher.example", "Bob@BÜCHER.example", "bob@xn--bcher-kva.example"] {
        assert_eq!(sign_in(&server, spelling), 303, "{spelling}");
    }
    assert_eq!(sign_in(&server, "bob@bucher.example"), 422);
}

#[test]
fn addresses_stored_in_an_old_form_are_compared_correctly_after_a_start() {
    let (desk, server, _) = desk();
    text(&set_up(&desk, "Evil Corp", "ceo@fırma.example", true));
    assert_eq!(server.stop(), Some(0));
    desk.database.execute("UPDATE people SET email_folded = 'ceo@firma.example' WHERE email LIKE 'ceo@%'");
    let server = desk.start();
    assert_eq!((sign_in(&server, "ceo@firma.example"), sign_in(&server, "ceo@fırma.example")), (422, 303));
    let folded = desk.database.lines("SELECT email_folded AS line FROM people WHERE email LIKE 'ceo@%'");
    assert!(folded[0].starts_with("ceo@xn--"), "{folded:?}");
}

#[test]
fn people_who_share_an_address_are_kept_and_reported() {
    let (desk, server, org) = desk();
    let (one, two) = ("bob@xn--bcher-kva.example", "bob@bücher.example");
    desk.add_member(&org, two, "member");
    desk.add_member(&org, one, "member");
    let pending = "INSERT INTO invitations (id, org_id, email, open_email, role, invited_by, created_at, \
                   sent_at, sends, ends_at) SELECT";
    let zero =
        if desk.database.is_postgres() { ["'\\x01'::bytea", "'\\x02'::bytea"] } else { ["x'01'", "x'02'"] };
    for (id, email) in zero.iter().zip(["eve@xn--bcher-kva.example", "eve@bücher.example"]) {
        let id = if desk.database.is_postgres() {
            id.replace("\\x0", "\\x0000000000000000000000000000000")
        } else {
            id.replace("x'0", "x'0000000000000000000000000000000")
        };
        desk.database.execute(&format!(
            "{pending} {id}, o.id, '{email}', '{email}', 'member', p.id, 1, 1, 1, 4000000000000000 \
             FROM organizations o, people p WHERE o.slug = '{}' AND p.email = '{}'",
            org.slug, org.email
        ));
    }
    assert_eq!(server.stop(), Some(0));
    let server = desk.start();
    let who = |spelling: &str| {
        let mut browser = server.signed_in_as(spelling);
        browser.get("/account").text(".title-row p").split(' ').next().unwrap().to_owned()
    };
    assert_eq!((who(one), who(two)), (one.to_owned(), two.to_owned()));
    // No one else can get the address while two people have it.
    assert_eq!(invite(&server, &org, "BOB@bücher.example").status, 422);
    let mut owner = server.signed_in(&org);
    assert_eq!(owner.post("/account/email", &[("email", "Bob@Bücher.example")]).status, 303);
    let token = desk
        .wait_for_mails("email_verification", 1)
        .remove(0)
        .link("/verify-email?")
        .split_once("token=")
        .unwrap()
        .1
        .to_owned();
    assert_eq!(server.browser().post("/verify-email", &[("token", &token)]).status, 409);
    let log = server.whole_log();
    assert!(log.contains(two) && log.contains("two people have the same e-mail address"), "{log}");
    assert!(log.contains("two invitations"), "{log}");
    let open = "SELECT COUNT(*) AS count FROM invitations WHERE open_email IS NOT NULL";
    assert_eq!(desk.database.count(open), 2, "neither is withdrawn");
    // Once one of them has another address, the other has this one alone.
    desk.database.execute(&format!(
        "UPDATE people SET email = 'bob@example.com', email_folded = 'bob@example.com' WHERE email = '{one}'"
    ));
    let server = desk.start();
    assert_eq!((sign_in(&server, one), sign_in(&server, two)), (303, 303));
    assert!(!server.whole_log().contains("two people have the same"));
}

#[test]
fn address_that_cannot_receive_mail_is_refused_by_the_form() {
    let (desk, server, org) = desk();
    let long = format!("{}@example.com", "x".repeat(80));
    let mut owner = server.signed_in(&org);
    for wrong in ["a..b@docomo.ne.jp", ".a@x.com", "a.@x.com", "bob@example..com", "bob@-x.com", &long] {
        assert_eq!(invite(&server, &org, wrong).status, 422, "{wrong}");
        let page = owner.post("/account/email", &[("email", wrong)]);
        assert!(page.status == 422 && !page.text("#email-error").is_empty(), "{wrong}");
        assert_eq!(set_up(&desk, "Never", wrong, true).status.code(), Some(1), "{wrong}");
        let outside = format!("/o/{}/settings/checkpoints", org.slug);
        assert_eq!(owner.post(&outside, &[("email", wrong)]).status, 422, "{wrong}");
    }
    assert!(owner.post("/account/email", &[("email", ".a@x.com")]).text("#email-error").contains("dot"));
    assert_eq!(invite(&server, &org, "first.last+tag@sub.example.co").status, 303);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM outbox WHERE state = 'failed'"), 0);
}
