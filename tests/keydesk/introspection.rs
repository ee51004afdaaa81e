//! `POST /v1/introspect` with HTTP Basic, as clients of RFC 7662 authenticate.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::support::{Answer, Api, desk};

fn basic(id: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{password}")))
}

fn introspect(api: &Api, authorization: &str, form: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", authorization)];
    api.send("POST", "/v1/introspect", &headers, Some(form))
}

fn challenges(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
    all.map(|(_, value)| value.split(' ').next().unwrap()).collect()
}

#[test]
fn key_is_accepted_as_the_password_of_http_basic() {
    let (desk, server, org) = desk();
    let checker = desk.key(&org.slug, "checker", "keys:verify");
    let seen = desk.key(&org.slug, "seen", "inference:read");
    let (api, form) = (server.api(""), format!("token={seen}"));
    let encoded: String = checker.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for authorization in [
        basic("", &checker),
        basic("any-client", &checker),
        basic(&checker, &checker),
        basic("http%3A%2F%2Fclient", &checker),
        basic("client", &encoded),
        basic("client", &checker.replace('_', "%5f")),
        basic("client", &checker).replace("Basic", "basic"),
        basic("client", &checker).replace("Basic ", "BASIC   "),
        format!("Basic {}", STANDARD_NO_PAD.encode(format!("c:{checker}"))),
        format!("Bearer {checker}"),
    ] {
        let answer = introspect(&api, &authorization, &form);
        assert_eq!(answer.status, 200, "{authorization}: {}", answer.body);
        assert_eq!(answer.json()["active"], true, "{authorization}");
        assert!(answer.header("x-ratelimit-limit").is_some(), "{authorization}");
    }
    // The key counts and is refused like any other.
    let reader = desk.key(&org.slug, "reader", "inference:read");
    let refused = introspect(&api, &basic("client", &reader), &form);
    assert_eq!(refused.refusal(), (403, "insufficient_scope".into()));
    org.admin.delete(&format!(
        "/v1/api-keys/{}",
        server.api(&checker).get("/v1/api-keys/self").json()["id"].as_str().unwrap()
    ));
    let revoked = introspect(&api, &basic("client", &checker), &form);
    assert_eq!(revoked.refusal(), (401, "key_revoked".into()));
    assert_eq!(challenges(&revoked), ["Bearer", "Basic"]);
    let log = server.whole_log();
    assert!(!log.contains(&checker) && !log.contains(&STANDARD.encode(format!("client:{checker}"))), "{log}");
}

#[test]
fn malformed_and_missing_credentials_are_refused_with_both_challenges() {
    let (desk, server, org) = desk();
    let (first, second) =
        (desk.key(&org.slug, "first", "keys:verify"), desk.key(&org.slug, "second", "keys:verify"));
    let api = server.api("");
    let unknown = "kd_0000000000000000000000000000000000000000000000";
    for (authorization, code) in [
        (String::new(), "missing_credential"),
        ("Basic".to_owned(), "missing_credential"),
        ("Basic  ".to_owned(), "missing_credential"),
        ("Digest abc".to_owned(), "missing_credential"),
        (basic("client", ""), "missing_credential"),
        (basic(&first, ""), "missing_credential"),
        (basic("client", "secret"), "invalid_token"),
        (basic("client", unknown), "invalid_token"),
        (basic("client", &format!("{first}:")), "invalid_token"),
        (basic("client", &format!("x:{first}")), "invalid_token"),
        (basic("client", &format!(" {first}")), "invalid_token"),
        (basic("client", &format!("{first}%00")), "invalid_token"),
        (basic("client", &format!("{first}%ff")), "invalid_token"),
        (basic("client", &first[..first.len() - 1]), "invalid_token"),
        (format!("Bearer {}", STANDARD.encode(format!("c:{first}"))), "invalid_token"),
    ] {
        let answer = introspect(&api, &authorization, "token=x");
        assert_eq!(answer.refusal(), (401, code.into()), "{authorization:?}");
        assert_eq!(challenges(&answer), ["Bearer", "Basic"], "{authorization:?}");
    }
    for authorization in [
        "Basic !!!".to_owned(),
        format!("Basic {first}"),
        format!("Basic client:{first}"),
        format!("Basic {}", STANDARD.encode(&first)),
        format!("Basic {}", STANDARD.encode([b"client:\xff".as_slice(), first.as_bytes()].concat())),
        format!("{} {}", basic("a", &first), basic("b", &second)),
        format!("{}, Bearer {second}", basic("a", &first)),
        // Two different keys.
        basic(&second, &first),
        basic(&second, "secret"),
    ] {
        let answer = introspect(&api, &authorization, "token=x");
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{authorization:?}");
        assert!(!answer.body.contains(&first) && !answer.body.contains(&second), "{}", answer.body);
    }
    // The form is no place for a credential, neither alone nor beside another.
    let posted = format!("token=x&client_id=a&client_secret={first}");
    assert_eq!(introspect(&api, "", &posted).refusal(), (401, "missing_credential".into()));
    for authorization in [basic("a", &first), basic("a", &second), format!("Bearer {second}")] {
        let answer = introspect(&api, &authorization, &posted);
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{authorization:?}");
    }
    assert_eq!(introspect(&api, &basic("a", &first), "token=x&client_id=a&client_secret=").status, 200);
}

#[test]
fn http_basic_is_accepted_on_no_other_route() {
    let (desk, server, org) = desk();
    let key = desk.key(&org.slug, "all", "keys:verify,inference:read,analytics:read,admin");
    let api = server.api("");
    for (method, path) in [
        ("GET", "/v1/models"),
        ("GET", "/v1/authorize"),
        ("GET", "/v1/authorize/v1/introspect"),
        ("GET", "/v1/api-keys/self"),
        ("POST", "/v1/api-keys/verify"),
        ("GET", "/v1/usage"),
        ("DELETE", "/v1/api-keys/key_01kb8y4s5hf2ktd5rh3qh5w5d9"),
    ] {
        let answer = api.send(method, path, &[("authorization", &basic("client", &key))], None);
        assert_eq!(answer.refusal(), (401, "missing_credential".into()), "{method} {path}");
        assert_eq!(challenges(&answer), ["Bearer"], "{method} {path}");
    }
}
