//! Signing in with the providers that people use, each played as its documentation describes its responses.

use serde_json::{Value, json};

use crate::fresh_sign_in::grow_stale;
use crate::support::oidc::{CLIENT, Oidc, Personality};
use crate::support::{Browser, Desk, Org, PASSWORD, Page, Server};

const INVITED: &str = "bo@example.com";

/// A provider that sends what the specification requires, with a verified address and the time of sign-in.
pub fn plain() -> Personality {
    Personality {
        name: "Plain SSO",
        issuer: "",
        header: Value::Null,
        metadata: Value::Null,
        claims: |now| json!({"email": INVITED, "email_verified": true, "name": "Bo", "auth_time": now}),
        tokens: Value::Null,
        userinfo: Value::Null,
        needs_trust: false,
        confirms: true,
        uses_ed25519: false,
    }
}

fn personalities() -> Vec<Personality> {
    vec![
        Personality {
            name: "Auth0",
            issuer: "/",
            header: json!({"typ": "JWT"}),
            metadata: json!({"mfa_challenge_endpoint": "/mfa", "global_token_revocation_endpoint": {}, "ui_locales_supported": "en"}),
            claims: |now| {
                json!({"sub": "auth0|1", "nickname": "bo", "name": INVITED, "picture": "https://s.gravatar.com/avatar/1",
                    "updated_at": "2026-11-30T10:00:00.000Z", "email": INVITED, "email_verified": true,
                    "sid": "x", "auth_time": now, "https://acme.example/roles": ["a", 1, null]})
            },
            ..plain()
        },
        Personality {
            name: "Entra ID",
            issuer: "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            header: json!({"typ": "JWT"}),
            metadata: json!({"tenant_region_scope": null, "cloud_instance_name": "microsoftonline.com",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
                "http_logout_supported": true, "msgraph_host": "graph.microsoft.com", "request_uri_parameter_supported": false}),
            claims: |now| {
                json!({"aio": "x", "at_hash": null, "email": INVITED, "name": "Bo", "nbf": now, "oid": "o", "tid": "t",
                    "preferred_username": "bo@tenant.onmicrosoft.com", "rh": "1.x.", "uti": "u", "ver": "2.0", "wids": ["w"]})
            },
            tokens: json!({"expires_in": "3599", "ext_expires_in": "3599", "not_before": "1", "scope": "email openid profile"}),
            needs_trust: true,
            confirms: false,
            ..plain()
        },
        Personality {
            name: "Zitadel",
            claims: |now| json!({"aud": [CLIENT, "project-123"], "azp": CLIENT, "client_id": CLIENT, "amr": ["pwd"], "auth_time": now, "sid": "V1_1"}),
            tokens: json!({"refresh_token": "r", "expires_in": 43199}),
            userinfo: json!({"name": "Bo", "email": INVITED, "email_verified": true, "updated_at": 1_700_000_000, "locale": null,
                "preferred_username": "bo", "urn:zitadel:iam:org:project:roles": {"admin": {"1": "acme.example"}}}),
            ..plain()
        },
        Personality {
            name: "Google",
            claims: |_| {
                json!({"azp": CLIENT, "email": INVITED, "email_verified": true, "hd": "example.com", "name": "Bo",
                    "picture": "https://lh3.googleusercontent.com/a/x", "given_name": "Bo", "locale": "en"})
            },
            tokens: json!({"scope": "openid https://www.googleapis.com/auth/userinfo.email", "expires_in": 3599}),
            confirms: false,
            ..plain()
        },
        Personality {
            name: "Dex",
            issuer: "/dex",
            claims: |_| {
                json!({"email": INVITED, "email_verified": true, "groups": ["a"], "name": "Bo", "c_hash": "x",
                    "federated_claims": {"connector_id": "ldap", "user_id": "1"}})
            },
            confirms: false,
            ..plain()
        },
        Personality {
            name: "Authentik",
            issuer: "/application/o/keydesk/",
            claims: |now| {
                json!({"acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd", "mfa"], "auth_time": now, "uid": "u",
                    "email": INVITED, "email_verified": true, "name": "Bo", "preferred_username": "bo", "groups": []})
            },
            ..plain()
        },
        Personality {
            name: "Keycloak",
            issuer: "/realms/acme",
            metadata: json!({"mtls_endpoint_aliases": {"token_endpoint": "/x"}, "require_pushed_authorization_requests": false,
                "acr_values_supported": [0, 1], "claims_parameter_supported": "true", "tls_client_certificate_bound_access_tokens": true}),
            claims: |now| {
                json!({"typ": "ID", "azp": CLIENT, "session_state": "s", "acr": 1, "auth_time": now, "jti": "j", "sid": "s",
                    "email": INVITED, "email_verified": true, "name": "Bo", "address": {}, "realm_access": {"roles": ["a"]}})
            },
            tokens: json!({"refresh_expires_in": 1800, "not-before-policy": 0, "session_state": "s", "scope": "openid"}),
            ..plain()
        },
        Personality {
            name: "Okta",
            issuer: "/oauth2/default",
            claims: |now| json!({"ver": 1, "jti": "ID.x", "amr": ["pwd"], "idp": "00o", "auth_time": now, "preferred_username": "bo"}),
            userinfo: json!({"name": "Bo", "email": INVITED, "email_verified": true, "zoneinfo": "America/Los_Angeles",
                "locale": "en_US", "updated_at": 1_700_000_000, "address": {"country": 1}, "phone_number": null}),
            ..plain()
        },
        Personality {
            name: "Every type",
            metadata: json!({"token_endpoint_auth_methods_supported": ["client_secret_post", 1], "scopes_supported": "openid",
                "op_tos_uri": "not a URL", "service_documentation": "", "authorization_response_iss_parameter_supported": "false"}),
            claims: |now| {
                json!({"iat": now.to_string(), "exp": (now + 300).to_string(), "auth_time": format!("{now}.5"), "acr": 2, "amr": "pwd",
                    "email": INVITED, "email_verified": "true", "name": ["Bo"], "updated_at": {}, "picture": 1, "locale": [],
                    "sub": 4711, "phone_number_verified": "no", "address": "Street 1"})
            },
            tokens: json!({"expires_in": "3600", "scope": ["openid"], "token_type": "bearer", "refresh_token": null}),
            uses_ed25519: true,
            ..plain()
        },
    ]
}

fn location(page: &Page) -> String {
    assert_eq!(page.status, 303, "{}", page.body);
    page.header("location").unwrap().to_owned()
}

fn desk(oidc: &Oidc) -> (Desk, Server, Org) {
    let desk = oidc.add_to(Desk::new(), 1);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    (desk, server, org)
}

fn invite(desk: &Desk, server: &Server, org: &Org) -> String {
    let members = format!("/o/{}/members", org.slug);
    assert_eq!(server.signed_in(org).post(&members, &[("email", INVITED), ("role", "member")]).status, 303);
    desk.mailed_path(INVITED, "invitation", "/invitations/")
}

fn start_link(browser: &mut Browser, page: &str) -> String {
    browser.get(page).attribute("a[href^='/sign-in/oidc']", "href").unwrap()
}

#[test]
fn every_provider_signs_in_accepts_an_invitation_and_confirms_or_says_what_to_do() {
    for personality in personalities() {
        let name = personality.name;
        let oidc = Oidc::start(personality);
        let (desk, server, org) = desk(&oidc);
        let path = invite(&desk, &server, &org);
        let mut browser = server.browser();
        let link = start_link(&mut browser, &path);
        let back = oidc.go(&mut browser, &link);
        assert_eq!(back.status, 303, "{name}: {}\n{}", back.body, server.log());
        assert_eq!(location(&back), path);
        assert_eq!(browser.post(&format!("{path}/accept"), &[]).status, 303, "{name}");
        let mut again = server.browser();
        assert_eq!(location(&oidc.go(&mut again, "/sign-in/oidc")), "/", "{name}");
        assert_eq!(again.get(&format!("/o/{}/keys", org.slug)).status, 200, "{name}");

        grow_stale(&desk);
        let page = again.get("/sign-in/again?next=%2Faccount");
        assert_eq!(page.texts("#confirm_password").len(), 0, "{name}");
        let link = page.attribute(".providers a", "href").unwrap();
        let confirmed = oidc.go(&mut again, &link);
        let disconnect = again.get("/account").attribute("a[href$='/disconnect']", "href");
        assert_eq!(disconnect, None, "{name}: it is the only method");
        if oidc.personality.confirms {
            assert_eq!(location(&confirmed), "/account", "{name}");
            assert_eq!(location(&again.get("/sign-in/again?next=%2Faccount")), "/account", "{name}");
        } else {
            assert_eq!(confirmed.status, 403, "{name}");
            let words = format!("{name} does not report when you signed in there");
            assert!(confirmed.body.contains(&words), "{name}: {}", confirmed.body);
            assert!(confirmed.text("[data-advice]").contains("sends no claim auth_time"), "{name}");
            server.wait_for_log("auth_time is missing");
            // The way out that the page names: a password by e-mail, which also confirms.
            let reset = confirmed.attribute("a[href='/reset-password']", "href").unwrap();
            assert_eq!(again.get(&reset).status, 200);
            assert!(again.post(&reset, &[("email", INVITED)]).status < 400, "{name}");
            let mails = desk.wait_for_mails("password_reset", 1);
            let link = mails
                .iter()
                .find(|mail| mail.header("To").contains(INVITED))
                .unwrap()
                .link("/reset-password?");
            let token = link.split("token=").nth(1).unwrap();
            let chosen = again.post("/reset-password", &[("token", token), ("new_password", PASSWORD)]);
            assert_eq!(chosen.status, 303, "{name}: {}", chosen.body);
            let mut with_password = server.browser();
            let signed_in = with_password.post("/sign-in", &[("email", INVITED), ("password", PASSWORD)]);
            assert_eq!(signed_in.status, 303, "{name}: {}", signed_in.body);
        }
    }
}

#[test]
fn address_that_is_not_verified_accepts_no_invitation_and_the_page_says_why() {
    // The changes of claims, whether the configuration trusts addresses, the claim and words of the page.
    let cases = [
        (
            json!({"email_verified": false}),
            true,
            "email_verified",
            "says that it has not verified your address",
        ),
        (
            json!({"email_verified": "false"}),
            true,
            "email_verified",
            "says that it has not verified your address",
        ),
        (
            json!({"email_verified": "perhaps"}),
            true,
            "email_verified",
            "says that it has not verified your address",
        ),
        (json!({"email_verified": {}}), true, "email_verified", "says that it has not verified your address"),
        (
            json!({"email_verified": null}),
            false,
            "email_verified",
            "does not say whether it has verified your address",
        ),
        (json!({"email": null, "email_verified": null}), true, "email", "did not send your e-mail address"),
        (
            json!({"email": null, "preferred_username": INVITED, "upn": INVITED}),
            true,
            "email",
            "did not send your e-mail address",
        ),
        (json!({"email": [INVITED]}), true, "email", "did not send your e-mail address"),
        (
            json!({"email": "eve@example.com"}),
            true,
            "email",
            "but your address at Plain SSO is eve@example.com",
        ),
    ];
    for trusts in [true, false] {
        let oidc = Oidc::start(Personality { needs_trust: trusts, ..plain() });
        let (desk, server, org) = desk(&oidc);
        let path = invite(&desk, &server, &org);
        for (claims, _, claim, words) in cases.iter().filter(|(_, trusted, ..)| *trusted == trusts) {
            oidc.change(json!({ "claims": claims }));
            let seen = server.log().len();
            let mut browser = server.browser();
            let link = start_link(&mut browser, &path);
            let page = oidc.go(&mut browser, &link);
            assert_eq!(page.status, 403, "{claims}: {}", page.body);
            assert!(page.text("main").contains(words), "{claims}: {}", page.text("main"));
            assert!(page.text("main").contains("The invitation stays open"), "{claims}");
            assert_eq!(browser.get("/account").status, 303, "{claims}");
            server.wait_for_log_after(seen, &format!("\"claim\":\"{claim}\""));
        }
        assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM people"), 1);
        if !trusts {
            oidc.change(json!({"claims": {"email_verified": null}}));
            let mut browser = server.browser();
            let link = start_link(&mut browser, &path);
            let advice = oidc.go(&mut browser, &link).text("[data-advice]");
            assert!(advice.contains("KEYDESK_OIDC_TRUST_EMAIL=1"), "{advice}");
        }
        // It did stay open.
        oidc.change(json!({}));
        let mut browser = server.browser();
        let link = start_link(&mut browser, &path);
        assert_eq!(location(&oidc.go(&mut browser, &link)), path);
    }
}

#[test]
fn refusal_names_the_claim_in_the_log_and_the_setting_on_the_page() {
    let oidc = Oidc::start(plain());
    let (_desk, server, org) = desk(&oidc);
    let mut owner = server.signed_in(&org);
    let link = owner.get("/account").attribute("a[href^='/account/connect/oidc']", "href").unwrap();
    assert_eq!(location(&oidc.go(&mut owner, &link)), "/account");
    let second = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (changes, claim, advice) in [
        (json!({"claims": {"aud": [CLIENT, "other"]}}), "aud", "KEYDESK_OIDC_CLIENT_ID"),
        (json!({"claims": {"aud": ["other", "another"], "azp": CLIENT}}), "aud", "KEYDESK_OIDC_CLIENT_ID"),
        (json!({"claims": {"aud": [CLIENT, "other"], "azp": "other"}}), "azp", "KEYDESK_OIDC_CLIENT_ID"),
        (json!({"claims": {"aud": [CLIENT, "other"], "azp": ["other"]}}), "azp", "KEYDESK_OIDC_CLIENT_ID"),
        (json!({"claims": {"aud": "other"}}), "aud", "KEYDESK_OIDC_CLIENT_ID"),
        (json!({"claims": {"iss": "https://evil.example"}}), "iss", "KEYDESK_OIDC_ISSUER"),
        (json!({"claims": {"iss": "accounts.google.com"}}), "iss", "KEYDESK_OIDC_ISSUER"),
        (json!({"claims": {"exp": second - 10}}), "exp", "clocks"),
        (json!({"claims": {"exp": (second - 10).to_string()}}), "exp", "clocks"),
        (json!({"claims": {"exp": null}}), "exp", "clocks"),
        (json!({"claims": {"iat": second + 3600, "exp": second + 7200}}), "iat", "clocks"),
        (json!({"claims": {"iat": {}}}), "iat", "clocks"),
        (json!({"claims": {"nonce": "another"}}), "nonce", "nonce"),
        (json!({"claims": {"nonce": null}}), "nonce", "nonce"),
        (json!({"claims": {"sub": ""}}), "sub", "sub"),
        (json!({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}), "at_hash", "at_hash"),
        (json!({"header": {"alg": "none"}}), "signature", "RS256"),
        (json!({"header": {"alg": "HS256"}}), "signature", "RS256"),
        (json!({"header": {"alg": "Ed25519"}}), "signature", "RS256"),
        (json!({"header": {"kid": "unknown"}}), "signature", "RS256"),
        (json!({"header": {"crit": ["x"], "x": 1}}), "id_token", "id_token"),
        (json!({"tokens": {"token_type": "mac"}}), "token_type", "token_type"),
        (json!({"tokens": {"id_token": null}}), "id_token", "id_token"),
        (json!({"tokens": {"error": "invalid_client"}}), "error", "KEYDESK_OIDC_CLIENT_SECRET"),
        (json!({"claims": {"email": null}, "userinfo": {"sub": "other"}}), "sub", "sub"),
    ] {
        let seen = server.log().len();
        oidc.change(changes.clone());
        let mut browser = server.browser();
        let page = oidc.go(&mut browser, "/sign-in/oidc");
        assert_eq!(page.status, 400, "{changes}: {}", page.body);
        assert!(page.text("[data-advice]").contains(advice), "{changes}: {}", page.text("[data-advice]"));
        assert_eq!(browser.get("/account").status, 303, "{changes}");
        server.wait_for_log_after(seen, &format!("\"claim\":\"{claim}\""));
    }
    oidc.change(json!({}));
    assert_eq!(location(&oidc.go(&mut server.browser(), "/sign-in/oidc")), "/");
    let log = server.whole_log();
    assert!(!log.contains("code-") && !log.contains("access-") && !log.contains("secret & more"), "{log}");
}

#[test]
fn provider_that_accepts_only_pushed_requests_is_refused_with_that_reason() {
    let metadata = json!({"require_pushed_authorization_requests": true});
    let oidc = Oidc::start(Personality { metadata, ..plain() });
    let (_desk, server, _org) = desk(&oidc);
    let page = server.browser().get("/sign-in/oidc");
    assert_eq!(page.status, 400, "{}", page.body);
    assert!(page.text("[data-advice]").contains("PAR, RFC 9126"), "{}", page.body);
    server.wait_for_log("pushed authorization requests");

    // Most providers require them of single clients, and say so only on the return.
    let oidc = Oidc::start(plain());
    let (_desk, server, _org) = desk(&oidc);
    for (error, has_advice) in [("invalid_request", true), ("access_denied", false)] {
        let mut browser = server.browser();
        let back = oidc.grant(&location(&browser.get("/sign-in/oidc")));
        let state = back.split("state=").nth(1).unwrap();
        let query = format!("error={error}&error_description=use+PAR&state={state}");
        let page = browser.get(&format!("/sign-in/oidc/callback?{query}"));
        assert_eq!(page.status, 403, "{}", page.body);
        let advice = page.texts("[data-advice]");
        assert_eq!(
            advice.iter().any(|advice| advice.contains("the error invalid_request use PAR")),
            has_advice
        );
        server.wait_for_log(&format!("the provider refused: {error} use PAR"));
    }
}

#[test]
fn signed_userinfo_is_accepted_from_the_issuer_for_this_client_alone() {
    let userinfo = json!({"email": INVITED, "email_verified": true});
    let oidc = Oidc::start(Personality { claims: |_| json!({}), userinfo, ..plain() });
    let (desk, server, org) = desk(&oidc);
    let path = invite(&desk, &server, &org);
    for (userinfo, claim) in [
        (json!({"aud": "other"}), "aud"),
        (json!({"iss": "https://evil.example"}), "iss"),
        (json!({"sub": "other"}), "sub"),
    ] {
        oidc.change(json!({"signs_userinfo": true, "userinfo": userinfo}));
        let seen = server.log().len();
        let mut browser = server.browser();
        let link = start_link(&mut browser, &path);
        assert_eq!(oidc.go(&mut browser, &link).status, 400, "{claim}");
        server.wait_for_log_after(seen, &format!("\"claim\":\"{claim}\""));
    }
    let changes = json!({"iss": oidc.issuer, "aud": [CLIENT]});
    oidc.change(json!({"signs_userinfo": true, "userinfo": changes}));
    let mut browser = server.browser();
    let link = start_link(&mut browser, &path);
    assert_eq!(location(&oidc.go(&mut browser, &link)), path);
}
