//! Real proxies in front of another service, configured as in the guide. Only addresses, ports and the path of a
//! file are replaced. `tests/run install` installs the programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::programs::program;
use crate::support::{Answer, Api, Desk, Page, Server, eventually, raw};

struct Proxy {
    child: Child,
    base: String,
    _directory: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// How a proxy is started: its configuration as printed, and what to run.
struct Recipe {
    program: &'static str,
    /// Writes the configuration and returns the arguments.
    write: fn(&Page, &Places) -> Vec<String>,
}

/// The replacements for the addresses in the guide.
struct Places {
    directory: String,
    front: u16,
    service: u16,
}

impl Places {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn save(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

/// A configuration with other values for some that stand in it exactly once.
fn replaced(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (printed, value)| {
        assert_eq!(text.matches(printed).count(), 1, "{printed} in {text}");
        text.replace(printed, value)
    })
}

const NGINX: Recipe = Recipe {
    program: "nginx",
    write: |guide, places| {
        let printed = guide.source("#nginx");
        let service = format!("http://127.0.0.1:{}", places.service);
        let locations = replaced(&printed, &[("http://127.0.0.1:9000", service)]);
        let (at, front) = (&places.directory, places.front);
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;\n\
             uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;\n\
             server {{ listen 127.0.0.1:{front};\n{locations}\n}}\n}}\n"
        );
        vec!["-c".into(), places.save("nginx.conf", &text), "-p".into(), at.clone()]
    },
};

const CADDY: Recipe = Recipe {
    program: "caddy",
    write: |guide, places| {
        let printed = guide.source("#caddy");
        let text = replaced(
            &printed,
            &[
                ("service.example.com {", format!("http://:{} {{", places.front)),
                ("127.0.0.1:9000", format!("127.0.0.1:{}", places.service)),
            ],
        );
        let file = places.save("Caddyfile", &format!("{{\nadmin off\ndefault_bind 127.0.0.1\n}}\n{text}"));
        vec!["run".into(), "--adapter".into(), "caddyfile".into(), "--config".into(), file]
    },
};

const HAPROXY: Recipe = Recipe {
    program: "haproxy",
    write: |guide, places| {
        let script = places.save("keydesk.lua", &guide.source("#haproxy-lua"));
        let text = replaced(
            &guide.source("#haproxy"),
            &[
                ("/etc/haproxy/keydesk.lua", script),
                ("bind :8000", format!("bind 127.0.0.1:{}", places.front)),
                ("127.0.0.1:9000", format!("127.0.0.1:{}", places.service)),
            ],
        );
        vec!["-db".into(), "-f".into(), places.save("haproxy.cfg", &text)]
    },
};

const ENVOY: Recipe = Recipe {
    program: "envoy",
    write: |guide, places| {
        let text = replaced(
            &guide.source("#envoy"),
            &[
                (
                    "address: 0.0.0.0, port_value: 8000",
                    format!("address: 127.0.0.1, port_value: {}", places.front),
                ),
                ("port_value: 9000", format!("port_value: {}", places.service)),
            ],
        );
        let file = places.save("envoy.yaml", &text);
        ["-c", &file, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"].map(str::to_owned).into()
    },
};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A service that answers with the request that it got.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while answer(&mut reader, &stream) {}
            });
        }
    });
    port
}

/// Answers one request; `false` when there is no other.
fn answer(reader: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> bool {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&lower);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = format!("{head}body: {length}\r\n");
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
}

fn start(recipe: &Recipe, server: &Server) -> Proxy {
    let directory = TempDir::new().unwrap();
    let places =
        Places { directory: directory.path().display().to_string(), front: free_port(), service: service() };
    let arguments = (recipe.write)(&server.browser().get("/docs/proxies"), &places);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let child = Command::new(program(recipe.program))
        .args(arguments)
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("XDG_DATA_HOME", directory.path())
        .env("XDG_CONFIG_HOME", directory.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let base = format!("http://127.0.0.1:{}", places.front);
    eventually(&format!("the proxy answers: {}", places.directory), || {
        Api::new(&base, "").try_send("GET", "/", &[], None).is_ok()
    });
    Proxy { child, base, _directory: directory }
}

/// Whether a header of this name reached the service.
fn reached(answer: &Answer, name: &str) -> bool {
    answer.body.lines().any(|line| line.split(':').next() == Some(name))
}

/// The proxy's response to these bytes, in lower case.
fn whole_answer(proxy: &Proxy, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.to_lowercase()
}

/// The properties that every configuration must have.
fn holds(recipe: &Recipe) {
    let desk = Desk::new().with("KEYDESK_TRUSTED_PROXIES", "127.0.0.1");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let proxy = start(recipe, &server);
    let create = |name: &str, scope: &str, limit: u32, networks: &[&str]| {
        let key = org.admin.create(
            &json!({"name": name, "scopes": [scope], "requests_per_minute": limit, "allowed_ips": networks}),
        );
        (key["id"].as_str().unwrap().to_owned(), Api::new(&proxy.base, key["key"].as_str().unwrap()))
    };
    let get = |api: &Api| api.send("GET", "/some/page?scope=none", &[], None);

    let (id, writer) = create("writer", "inference:write", 600, &[]);
    let forged = [
        ("x-keydesk-key-id", "forged"),
        ("X-Keydesk-Scopes", "admin"),
        ("x-keydesk-code", "forged"),
        ("X_Keydesk_Key_Id", "forged"),
        ("x-keydesk_org", "forged"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-api-key", writer.key.as_str()),
    ];
    let passed = writer.send("GET", "/some/page?a=b", &forged, None);
    assert_eq!(passed.status, 200, "{}", passed.body);
    for line in [
        "get /some/page?a=b http/1.",
        &format!("x-keydesk-key-id: {id}"),
        &format!("x-keydesk-org: {}", org.slug),
        "x-keydesk-scopes: inference:write",
        "x-keydesk-key-name: writer",
        "x-forwarded-for: 127.0.0.1\r\n",
    ] {
        assert_eq!(passed.body.matches(line).count(), 1, "{line} in {}", passed.body);
    }
    assert!(!passed.body.contains("forged") && !passed.body.contains("9.9.9.9"), "{}", passed.body);
    assert!(!passed.body.contains(&writer.key.to_lowercase()), "{}", passed.body);
    assert!(!reached(&passed, "authorization") && !reached(&passed, "x-api-key"), "{}", passed.body);
    // No client takes from a request what says whom it is for.
    let naming = format!(
        "GET /some/page HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close, X-Keydesk-Key-Id, x-keydesk-org\r\n\r\n",
        writer.key
    );
    let named = whole_answer(&proxy, &naming);
    let is_whole = named.contains(&format!("x-keydesk-key-id: {id}")) && named.contains("x-keydesk-org: ");
    assert!(named.starts_with("http/1.1 400") || is_whole, "{named}");
    let sent = writer.send("POST", "/some/page", &[], Some(&"x".repeat(300_000)));
    assert!(sent.status == 200 && sent.body.contains("body: 300000"), "{}", sent.body);

    let refused = |answer: Answer, status: u16, code: &str| {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.body);
        assert_eq!(answer.json()["code"], code);
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        assert_eq!(
            challenge.starts_with("Bearer realm=\"keydesk\""),
            status == 401 || code == "insufficient_scope"
        );
        answer
    };
    refused(get(&Api::new(&proxy.base, "")), 401, "missing_credential");
    let unknown = refused(get(&Api::new(&proxy.base, "kd_nonsense")), 401, "invalid_token");
    assert!(unknown.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let (_, reader) = create("reader", "inference:read", 600, &[]);
    let missing = refused(get(&reader), 403, "insufficient_scope");
    assert!(missing.header("www-authenticate").unwrap().contains("scope=\"inference:write\""));
    let (_, limited) = create("limited", "inference:write", 2, &[]);
    let statuses: Vec<u16> = (0..2).map(|_| get(&limited).status).collect();
    assert_eq!(statuses, [200, 200]);
    assert!(refused(get(&limited), 429, "rate_limited").header("retry-after").is_some());

    let (_, bound) = create("bound", "inference:write", 600, &["127.0.0.9"]);
    let bearer = format!("Bearer {}", bound.key);
    let from = |source: &str, forwarded: &str| {
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", forwarded)];
        let headers = if forwarded.is_empty() { &headers[..1] } else { &headers };
        raw::request_from(source, &proxy.base, "GET", "/", headers, "")
    };
    assert_eq!(from("127.0.0.9", ""), 200, "an honest client at its address");
    assert_eq!(from("127.0.0.9", "203.0.113.7"), 200);
    for forwarded in ["", "127.0.0.9", "127.0.0.9, 127.0.0.1", "127.0.0.9:80", "nonsense"] {
        assert_eq!(from("127.0.0.1", forwarded), 403, "{forwarded}");
    }
    let (_, elsewhere) = create("elsewhere", "inference:write", 600, &["203.0.113.7"]);
    refused(get(&elsewhere), 403, "ip_not_allowed");
    for forwarded in ["203.0.113.7", "203.0.113.7, 127.0.0.1", "127.0.0.1", "203.0.113.7:80", "nonsense"] {
        let spoofed = elsewhere.send("GET", "/", &[("x-forwarded-for", forwarded)], None);
        assert_eq!(spoofed.status, 403, "{forwarded}: {}", spoofed.body);
    }
    let bearer = format!("Bearer {}", elsewhere.key);
    let twice = [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
        ("Authorization", bearer.as_str()),
    ];
    assert_eq!(raw::request(&proxy.base, "GET", "/", &twice, ""), 403);

    org.admin.delete(&format!("/v1/api-keys/{id}"));
    refused(get(&writer), 401, "key_revoked");
    unreachable(&server, &proxy, &limited);
}

/// Without Keydesk nothing passes, and clients can tell that it is not their fault.
fn unreachable(server: &Server, proxy: &Proxy, key: &Api) {
    server.kill_now();
    eventually("the proxy notices", || {
        let answer = key.send("GET", "/", &[], None);
        assert!(!answer.body.contains("get / http"), "{}", answer.body);
        answer.status == 503
    });
    assert!(matches!(Api::new(&proxy.base, "").get("/").status, 503));
}

#[test]
fn nginx_passes_only_requests_that_keydesk_allows() {
    holds(&NGINX);
}

#[test]
fn caddy_passes_only_requests_that_keydesk_allows() {
    holds(&CADDY);
}

#[test]
fn haproxy_passes_only_requests_that_keydesk_allows() {
    holds(&HAPROXY);
}

#[test]
fn envoy_passes_only_requests_that_keydesk_allows() {
    holds(&ENVOY);
}

#[test]
fn traefik_configuration_strips_the_key_and_trusts_no_client() {
    // Not installable, so only what its documentation says is checked.
    let desk = Desk::new();
    let printed = desk.start().browser().get("/docs/proxies").source("#traefik");
    for line in [
        "trustForwardHeader: false",
        r#"authRequestHeaders: ["Authorization", "X-Api-Key"]"#,
        r#"authResponseHeadersRegex: "(?i)^X[-_]Keydesk""#,
        r#"Authorization: """#,
        r#"X-Api-Key: """#,
        r#"middlewares: ["keydesk", "without-key"]"#,
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
}
