//! Requests to a wrong address: a base URL without `/v1`, a route that does not exist, a host that is not the
//! configured one. And the client's address in the log.

use serde_json::{Value, json};

use crate::support::raw::exchange;
use crate::support::{Api, Desk, Server, desk};

const PUBLIC: &str = "https://keys.example.com";

fn public() -> (Desk, Server) {
    let desk = Desk::new().with("KEYDESK_PUBLIC_URL", PUBLIC);
    let server = desk.start();
    (desk, server)
}

#[test]
fn client_whose_base_url_lacks_v1_learns_the_right_one() {
    let (desk, server) = public();
    let org = desk.set_up(&server, "Acme AI");
    let key = desk.key(&org.slug, "client", "inference:write");
    let body = json!({"model": "echo", "messages": []}).to_string();
    let json_accept = [("accept", "application/json")];
    for api in [server.api(&key), server.api("")] {
        for (method, path, headers) in [
            ("POST", "/chat/completions", &[][..]),
            ("POST", "/chat/completions", &json_accept),
            ("POST", "//chat/completions", &[]),
            ("POST", "/completions", &[]),
            ("POST", "/embeddings", &[]),
            ("POST", "/responses", &[]),
            ("POST", "/messages", &[]),
            ("POST", "/inference", &[]),
            ("POST", "/api-keys", &[]),
            ("POST", "/introspect", &[]),
            ("GET", "/models", &[]),
            ("GET", "/models/echo", &[]),
            ("GET", "/openapi.json", &[]),
            ("PUT", "/audio/transcriptions", &[]),
            ("POST", "/openai/deployments/echo/chat/completions?api-version=2024-10-21", &[]),
            ("POST", "/openai/v1/chat/completions", &[]),
            ("POST", "/api/v2/generate", &json_accept),
        ] {
            let body = (method != "GET").then_some(body.as_str());
            let answer = api.send(method, path, headers, body);
            assert_eq!(answer.refusal(), (404, "not_found".into()), "{method} {path}: {}", answer.body);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("This gateway has no such route."), "{path}: {detail}");
            assert!(detail.contains(&format!("base URL of your client to {PUBLIC}/v1.")), "{path}: {detail}");
            assert_eq!(answer.json()["error"]["message"], detail);
            assert_eq!(answer.header("set-cookie"), None, "{path}");
        }
    }
    // A program that posts to a page learns it as well.
    for path in ["/", "/sign-in", "/o/acme-ai/keys"] {
        let answer = server.api(&key).send("POST", path, &json_accept, Some("{}"));
        assert_eq!(answer.refusal(), (403, "forbidden".into()), "{path}");
        assert!(answer.body.contains(&format!("{PUBLIC}/v1.")), "{path}: {}", answer.body);
    }
    // A key in the address is no less leaked there.
    let leaked = server.api("").get(&format!("/models?api_key={key}"));
    assert_eq!(leaked.refusal(), (400, "invalid_request".into()));
}

#[test]
fn path_below_v1_without_a_route_is_said_to_have_none() {
    let (desk, server) = public();
    let org = desk.set_up(&server, "Acme AI");
    for api in [&server.api(""), &org.admin] {
        for (method, path, sign) in [
            ("GET", "/v1", "lists its routes"),
            ("GET", "/v1/", "lists its routes"),
            ("GET", "/v1/nothing", "lists its routes"),
            ("POST", "/v1/files", "lists its routes"),
            ("DELETE", "/v1/api-keys/a/b/c", "lists its routes"),
            ("GET", "/v1//models", "lists its routes"),
            ("POST", "/v1/v1/chat/completions", "/v1 twice"),
            ("GET", "/v1/v1/models", "/v1 twice"),
        ] {
            for accept in ["application/json", "text/html,*/*", ""] {
                let answer = api.send(method, path, &[("accept", accept)], None);
                assert_eq!(answer.refusal(), (404, "not_found".into()), "{method} {path}: {}", answer.body);
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(
                    detail.contains(sign) && detail.contains(&format!("{PUBLIC}/v1")),
                    "{path}: {detail}"
                );
                assert!(!detail.contains("organisation") && !detail.contains("acme"), "{path}: {detail}");
            }
        }
    }
    // An id that does not exist is another matter.
    let unknown = org.admin.get("/v1/api-keys/key_01kb8y4s5hf2ktd5rh3qh5w5d9");
    assert_eq!(unknown.refusal(), (404, "not_found".into()));
    assert!(unknown.body.contains("or it belongs to another organisation"), "{}", unknown.body);
}

#[test]
fn browsers_get_a_page_where_programs_get_a_document() {
    let (_desk, server, _org) = desk();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in ["/nothing", "/models", "/o/acme-ai/nothing", "/openai/x"] {
        for method in ["GET", "POST"] {
            let page = server.api("").send(method, path, &[("accept", browser)], None);
            assert_eq!(page.status, 404, "{method} {path}");
            assert!(page.body.contains("Page not found") && !page.body.contains("<h1>Sign in"), "{path}");
        }
    }
    for headers in [
        [("accept", "application/json")],
        [("x-api-key", "secret")],
        [("api-key", "secret")],
        [("authorization", "Bearer secret")],
        [("content-type", "application/json")],
    ] {
        let answer = server.api("").send("GET", "/nothing", &headers, None);
        assert_eq!(answer.refusal(), (404, "not_found".into()), "{headers:?}");
    }
    assert_eq!(server.api("").get("/nothing").header("content-type"), Some("text/html; charset=utf-8"));
}

/// A request by its bytes, and the response.
fn send(server: &Server, head: &str, body: &str) -> String {
    let request = format!(
        "{head}\r\nAccept: text/html\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    String::from_utf8_lossy(&exchange(&server.base, request.as_bytes())).into_owned()
}

#[test]
fn form_from_another_address_than_the_public_url_is_refused_with_both() {
    let (desk, server) = public();
    let org = desk.set_up(&server, "Acme AI");
    let form = format!("email={}&password=x", org.email);
    let post = |host: &str, origin: &str| {
        send(&server, &format!("POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}"), &form)
    };
    for (host, used) in [
        ("10.0.0.5:8080", "http://10.0.0.5:8080"),
        ("Keydesk.LAN", "http://keydesk.lan"),
        ("[fd00::1]", "https://[fd00::1]"),
    ] {
        let page = post(host, used);
        assert!(page.starts_with("HTTP/1.1 403"), "{page}");
        assert!(
            page.contains(&format!("you opened Keydesk at {used}, but its address is {PUBLIC}")),
            "{page}"
        );
        assert!(page.contains("KEYDESK_PUBLIC_URL"), "{page}");
        server.wait_for_log(&format!("\"host\":\"{host}\""));
    }
    // The origin of another site is no address of Keydesk, nor is text that a client makes up.
    let hostile = "<script>alert(1)</script>";
    for (host, origin) in [
        ("keys.example.com", "https://evil.example"),
        ("keys.example.com", "null"),
        ("127.0.0.1:8080", "https://evil.example"),
        (hostile, &format!("https://{hostile}")),
        (&"a".repeat(300), &format!("https://{}", "a".repeat(300))),
        ("evil.example", "javascript://evil.example"),
    ] {
        let page = post(host, origin);
        if page.starts_with("HTTP/1.1 400") {
            continue;
        }
        assert!(page.starts_with("HTTP/1.1 403"), "{page}");
        assert!(page.contains("The form came from another site") && page.contains(PUBLIC), "{page}");
        assert!(
            !page.contains("evil.example") && !page.contains("<script>alert") && !page.contains("aaaa"),
            "{page}"
        );
    }
    // At the right address, the form is accepted.
    let right = post("keys.example.com", PUBLIC);
    assert!(right.starts_with("HTTP/1.1 422"), "{right}");
    let log = server.whole_log();
    let line = log.lines().find(|line| line.contains("10.0.0.5:8080")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line.to_string().contains("KEYDESK_PUBLIC_URL") && line.to_string().contains(PUBLIC), "{line}");
}

#[test]
fn pages_before_the_sign_in_warn_where_their_forms_would_be_refused() {
    let (desk, server) = public();
    desk.set_up(&server, "Acme AI");
    let get = |head: &str| send(&server, &format!("GET /sign-in HTTP/1.1\r\nHost: {head}"), "");
    let warning = format!("Open Keydesk at <a href=\"{PUBLIC}/\">");
    for host in ["10.0.0.5:8080", "keydesk.lan"] {
        let page = get(host);
        assert!(page.contains(&warning) && page.contains(&format!("You opened it at {host},")), "{page}");
    }
    // At the right address, through a proxy on this machine, and where the browser itself vouches for its forms.
    for head in [
        "keys.example.com",
        "KEYS.example.com",
        "127.0.0.1:8080",
        "localhost",
        "[::1]:8080",
        "keydesk\r\nSec-Fetch-Site: none",
        "keydesk\r\nSec-Fetch-Site: cross-site",
    ] {
        let page = get(head);
        assert!(page.contains("<h1>Sign in") && !page.contains("Open Keydesk at"), "{head}: {page}");
    }
}

#[test]
fn log_lines_of_requests_have_the_address_of_the_client() {
    let desk = Desk::new().with("KEYDESK_TRUSTED_PROXIES", "127.0.0.0/8");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let from = |api: &Api, path: &str, address: &str| {
        let answer = api.send("GET", path, &[("x-forwarded-for", address)], None);
        answer.header("x-request-id").unwrap().to_owned()
    };
    let mut expected = Vec::new();
    for (address, client) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::5]:443", "2001:db8::5"),
        ("evil, 203.0.113.9", "203.0.113.9"),
        ("nonsense", "unknown"),
        ("", "127.0.0.1"),
    ] {
        for path in ["/v1/models", "/sign-in", "/nothing", "/v1/nothing", "/v1/api-keys?x=%00"] {
            expected.push((from(&org.admin, path, address), client));
            expected.push((from(&server.api(""), path, address), client));
        }
    }
    let log = server.whole_log();
    for (id, client) in expected {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("\"client\":\"{client}\"")), "{client}: {}", lines[0]);
    }
}
