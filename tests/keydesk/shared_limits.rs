//! Limits of several processes: one bucket with Valkey, shares of it while Valkey is unavailable, and warnings
//! without Valkey.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::support::programs::program;
use crate::support::{Api, Desk, Org, Server, eventually};

/// A private server; `tests/run` names the program.
struct Valkey {
    child: Child,
    port: u16,
    password: Option<&'static str>,
}

impl Valkey {
    fn start(password: Option<&'static str>) -> Valkey {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Valkey::start_at(port, password)
    }

    fn start_at(port: u16, password: Option<&'static str>) -> Valkey {
        let mut command = Command::new(program("redis-server"));
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .args(password.map(|password| ["--requirepass", password]).unwrap_or(["--maxclients", "1000"]));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("Valkey listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Valkey { child, port, password }
    }

    fn url(&self) -> String {
        let password = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}", self.port)
    }

    /// Ends it with all that it knows.
    fn stop(mut self) -> u16 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.port
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three processes that know of each other.
fn three(desk: &Desk) -> (Vec<Server>, Org) {
    let servers: Vec<Server> = (0..3).map(|_| desk.start()).collect();
    let org = desk.set_up(&servers[0], "Acme AI");
    (servers, org)
}

fn limited(org: &Org, limit: u32) -> String {
    let body = json!({"name": format!("limited-{limit}"), "scopes": ["inference:read"], "requests_per_minute": limit});
    org.admin.create(&body)["key"].as_str().unwrap().to_owned()
}

/// Calls each process in turn so often; how many passed. Nothing but "too many" is in the way.
fn calls(servers: &[Server], key: &str, each: usize) -> u32 {
    let mut passed = 0;
    let apis: Vec<Api> = servers.iter().map(|server| server.api(key)).collect();
    for _ in 0..each {
        for api in &apis {
            match api.get("/v1/models").status {
                200 => passed += 1,
                status => assert_eq!(status, 429),
            }
        }
    }
    passed
}

/// How many tokens a bucket of that limit may have got since then.
fn refilled(since: Instant, limit: u32) -> u32 {
    u32::try_from(since.elapsed().as_millis() * u128::from(limit) / 60_000).unwrap() + 1
}

fn is_ready(server: &Server, what: &str) -> bool {
    let ready = server.browser().get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.body);
    ready.body.contains("Valkey is unavailable") == (what == "away")
}

#[test]
fn one_bucket_is_shared_by_all_processes_and_a_restart_does_not_refill_it() {
    let valkey = Valkey::start(Some("open-sesame"));
    let desk = Desk::new().with("KEYDESK_VALKEY_URL", &valkey.url());
    let (mut servers, org) = three(&desk);
    let (began, key) = (Instant::now(), limited(&org, 60));
    let passed = calls(&servers, &key, 40);
    assert!((60..=60 + refilled(began, 60)).contains(&passed), "{passed}");
    servers[1] = desk.start();
    let more = calls(&servers, &key, 5);
    assert!(passed + more <= 60 + refilled(began, 60), "{passed} + {more}");
    let told = servers[1].api(&key).get("/v1/models");
    // It may have got the one token that was refilled on the way.
    assert_eq!(told.header("x-ratelimit-remaining"), Some("0"), "{}", told.status);
    // Verifications for other services count in the same bucket.
    let checker = servers[2].api(&desk.key(&org.slug, "checker", "keys:verify"));
    let fresh = limited(&org, 2);
    assert_eq!(calls(&servers[..2], &fresh, 1), 2);
    let checked = checker.post("/v1/api-keys/verify", &json!({"key": fresh})).json();
    assert_eq!(checked["code"], "rate_limited", "{checked}");
    assert!(servers.iter().all(|server| is_ready(server, "there")));
}

#[test]
fn without_valkey_no_request_fails_and_each_process_has_its_share() {
    let valkey = Valkey::start(None);
    let desk = Desk::new().with("KEYDESK_VALKEY_URL", &valkey.url());
    let (servers, org) = three(&desk);
    eventually("all know of each other", || {
        desk.database.count("SELECT COUNT(*) AS count FROM feed_readers") == 3
    });
    // Each learns of the others when it says that it is there.
    org.admin.create(&json!({"name": "a-change", "scopes": ["inference:read"]}));
    let (began, key) = (Instant::now(), limited(&org, 60));
    let before = calls(&servers, &key, 5);
    assert_eq!(before, 15);
    let port = valkey.stop();
    let away = calls(&servers, &key, 30);
    assert!(servers.iter().all(|server| is_ready(server, "away")));
    servers[0].wait_for_log("Valkey is unavailable");
    // A share is a whole number of tokens, so at most one more for each process.
    let most = 60 + refilled(began, 60) + 3;
    assert!((40..=most).contains(&(before + away)), "{before} + {away}");
    // It has forgotten everything, but the processes have not.
    let _valkey = Valkey::start_at(port, None);
    eventually("it is found again", || servers.iter().all(|server| is_ready(server, "there")));
    let back = calls(&servers, &key, 20);
    let all = before + away + back;
    assert!(all <= 60 + refilled(began, 60) + 3, "{before} + {away} + {back}");
}

#[test]
fn process_started_while_valkey_is_down_has_its_share() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let desk = Desk::new().with("KEYDESK_VALKEY_URL", &format!("redis://127.0.0.1:{port}"));
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let key = limited(&org, 5);
    assert_eq!(calls(std::slice::from_ref(&server), &key, 9), 5);
    assert!(is_ready(&server, "away"));
    let page = server.signed_in(&org).get(&format!("/o/{}/settings", org.slug));
    assert!(page.body.contains("Valkey is unavailable."), "{}", page.body);
    let _valkey = Valkey::start_at(port, None);
    eventually("it is found", || is_ready(&server, "there"));
    let page = server.signed_in(&org).get(&format!("/o/{}/settings", org.slug));
    assert!(!page.body.contains("Valkey"), "{}", page.body);
}

#[test]
fn foreign_values_in_valkey_fail_no_request_and_are_ignored() {
    let valkey = Valkey::start(None);
    let desk = Desk::new().with("KEYDESK_VALKEY_URL", &valkey.url());
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let key =
        org.admin.create(&json!({"name": "limited", "scopes": ["inference:read"], "requests_per_minute": 3}));
    let place = format!("keydesk:limit:{}", key["id"].as_str().unwrap());
    for command in ["SET # nan", "SET # inf", "SET # 1e300", "SET # -5", "SET # x", "LPUSH # a", "SADD # a"] {
        let mut link = TcpStream::connect(("127.0.0.1", valkey.port)).unwrap();
        let forged = format!("DEL {place}\r\n{}\r\nQUIT\r\n", command.replace('#', &place));
        link.write_all(forged.as_bytes()).unwrap();
        link.read_to_string(&mut String::new()).unwrap();
        let passed = calls(std::slice::from_ref(&server), key["key"].as_str().unwrap(), 5);
        assert_eq!(passed, 3, "{command}");
        assert!(is_ready(&server, "there"), "{command}");
    }
}

#[test]
fn server_that_is_not_valkey_counts_as_unavailable() {
    // It says that the script has another name, or answers with numbers that can't be.
    for answers in [
        ["$40\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"; 2],
        ["*2\r\n:1\r\n:9223372036854775807\r\n"; 2],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut bytes = [0; 8192];
                    while let Ok(1..) = client.read(&mut bytes) {
                        if client.write_all(answers[0].as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let desk = Desk::new().with("KEYDESK_VALKEY_URL", &url);
        let server = desk.start();
        let org = desk.set_up(&server, "Acme AI");
        assert_eq!(calls(std::slice::from_ref(&server), &limited(&org, 4), 6), 4);
        assert!(is_ready(&server, "away"));
    }
}

#[test]
fn without_valkey_a_second_process_is_reported_in_log_and_settings() {
    let desk = Desk::new();
    let one = desk.start();
    let org = desk.set_up(&one, "Acme AI");
    let settings = |server: &Server| server.signed_in(&org).get(&format!("/o/{}/settings", org.slug)).body;
    assert!(!settings(&one).contains("limits requests separately"));
    let two = desk.start();
    two.wait_for_log("limits are per process");
    let page = settings(&two);
    assert!(page.contains("Each of 2 processes limits requests separately"), "{page}");
    assert!(page.contains("hash $http_authorization consistent;"), "{page}");
}

#[test]
fn unusable_url_is_refused_without_repeating_its_password() {
    for url in ["http://:open-sesame@127.0.0.1", "redis://:open-sesame@127.0.0.1:port", "open-sesame"] {
        let refused = Desk::new().with("KEYDESK_VALKEY_URL", url).run(&["serve"]);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{url}: {message}");
        assert!(
            message.contains("KEYDESK_VALKEY_URL") && !message.contains("open-sesame"),
            "{url}: {message}"
        );
    }
    let refused = Desk::new().run(&["serve", "--valkey-url", "redis://:open-sesame@127.0.0.1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("open-sesame"));
}
