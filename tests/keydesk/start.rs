//! Configuration, start and stop.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use serde_json::json;

use crate::support::{Desk, desk, eventually};

const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const OTHER: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";

#[test]
fn first_start_creates_a_private_secret_and_prints_one_link() {
    let desk = Desk::new();
    let server = desk.start();
    let link = server.setup_link.clone().unwrap();
    assert!(link.starts_with("http://localhost:") && link.contains("/setup?token="), "{link}");
    for entry in std::fs::read_dir(desk.data.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name == "secret" || name.starts_with("keydesk.sqlite3") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
    assert!(desk.data.path().join("secret").exists());
    drop(server);
    let again = desk.start();
    let token = |link: &str| link.split("token=").nth(1).unwrap().to_owned();
    assert_eq!(token(&again.setup_link.clone().unwrap()), token(&link));
    desk.set_up(&again, "Acme");
    drop(again);
    assert_eq!(desk.start().setup_link, None);
}

#[test]
fn a_secret_of_another_database_is_refused() {
    let desk = Desk::new().with("KEYDESK_SECRET", SECRET);
    drop(desk.start());
    let desk = desk.with("KEYDESK_SECRET", OTHER);
    let refused = desk.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("KEYDESK_SECRET does not belong to this database")
    );
}

#[test]
fn a_lost_secret_is_not_replaced_by_another() {
    let desk = Desk::new();
    drop(desk.start());
    std::fs::remove_file(desk.data.path().join("secret")).unwrap();
    let refused = desk.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KEYDESK_SECRET is not set"));
    assert!(!desk.data.path().join("secret").exists());
}

#[test]
fn root_secret_can_be_replaced_while_keys_keep_working() {
    let desk = Desk::new().with("KEYDESK_SECRET", SECRET);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let mut browser = server.signed_in(&org);
    drop(server);
    let desk = desk.with("KEYDESK_SECRET", OTHER).with("KEYDESK_SECRET_PREVIOUS", SECRET);
    let server = desk.start();
    assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
    let mut moved = server.browser();
    moved.cookie = browser.cookie.take();
    assert_eq!(moved.get("/account").status, 303);
    drop(server);
    // The secret was digested again when it was used, so the old root secret is no longer needed.
    let desk = desk.with("KEYDESK_SECRET_PREVIOUS", OTHER);
    assert_eq!(desk.start().api(&org.admin.key).get("/v1/api-keys").status, 200);
}

#[test]
fn a_secret_may_come_from_a_file() {
    let desk = Desk::new();
    let file = desk.data.path().join("my-secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let desk = desk.with("KEYDESK_SECRET_FILE", file.to_str().unwrap());
    drop(desk.start());
    assert!(!desk.data.path().join("secret").exists());
    let both = desk.with("KEYDESK_SECRET", SECRET).run(&["serve"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn refusal_of_an_option_names_its_variable() {
    for (variable, value) in [
        ("KEYDESK_SECRET", "short"),
        ("KEYDESK_SECRET", ""),
        ("KEYDESK_SECRET_FILE", "/nonexistent/secret"),
        ("KEYDESK_LISTEN", "0.0.0.0:0"),
        ("KEYDESK_PUBLIC_URL", "http://keys.example.com"),
        ("KEYDESK_DATABASE_URL", "mysql://localhost"),
        ("KEYDESK_DEFAULT_RPM", "none"),
        ("KEYDESK_LOG", "[[["),
    ] {
        let refused = Desk::new().with(variable, value).run(&["serve"]);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{variable}: {message}");
        let named = if variable == "KEYDESK_LISTEN" { "KEYDESK_PUBLIC_URL" } else { variable };
        assert!(message.contains(named), "{variable}: {message}");
    }
    assert_eq!(Desk::new().run(&["serve", "--unknown"]).status.code(), Some(2));
    assert_eq!(Desk::new().run(&["dance"]).status.code(), Some(2));
}

#[test]
fn help_lists_options_and_secrets_without_a_flag() {
    let help = Desk::new().run(&["serve", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    for name in
        ["KEYDESK_LISTEN", "--listen", "KEYDESK_SECRET_FILE", "KEYDESK_UPSTREAM_URL", "KEYDESK_DEFAULT_RPM"]
    {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains("--secret"));
}

#[test]
fn flag_wins_over_its_variable() {
    let desk = Desk::new();
    let refused = desk.with("KEYDESK_DEFAULT_RPM", "5").run(&["serve", "--default-rpm", "0"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("KEYDESK_DEFAULT_RPM is \"0\". Use a number from 1 to 1000000."), "{message}");
}

#[test]
fn misspelt_variable_is_named_even_if_the_configuration_is_refused() {
    let desk =
        Desk::new().with("KEYDESK_LISTEN", "0.0.0.0:0").with("KEYDESK_PUBLIC_ULR", "https://a.example");
    let refused = desk.run(&["serve"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("unknown variable") && message.contains("KEYDESK_PUBLIC_ULR"), "{message}");
    assert!(message.contains("keydesk: KEYDESK_PUBLIC_URL is required"), "{message}");
}

#[test]
fn several_processes_start_together_on_one_database() {
    let desk = Desk::new();
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| desk.start())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let org = desk.set_up(&servers[0], "Acme");
    for server in &servers {
        assert_eq!(server.api(&org.admin.key).get("/v1/api-keys").status, 200);
    }
    // Each process has cached the key, and still learns of its revocation.
    let key = org.admin.create(&json!({"name": "shared", "scopes": ["inference:read"]}));
    let callers: Vec<_> = servers.iter().map(|server| server.api(key["key"].as_str().unwrap())).collect();
    for caller in &callers {
        assert_eq!(caller.get("/v1/models").status, 200);
    }
    org.admin.delete(&format!("/v1/api-keys/{}", key["id"].as_str().unwrap()));
    assert_eq!(callers[0].get("/v1/models").refusal(), (401, "key_revoked".to_owned()));
    for caller in &callers[1..] {
        eventually("the others refuse the revoked key", || caller.get("/v1/models").status == 401);
    }
}

#[test]
fn command_returns_once_the_servers_know_the_change() {
    let desk = Desk::new();
    let servers = [desk.start(), desk.start()];
    let org = desk.set_up(&servers[0], "Acme");
    let secret = desk.key(&org.slug, "shared", "inference:read");
    for round in 0..5 {
        for (act, status) in [("disable", 401), ("enable", 200)] {
            assert_eq!(desk.run(&["key", act, "--org", &org.slug, "shared"]).status.code(), Some(0));
            for server in &servers {
                assert_eq!(server.api(&secret).get("/v1/models").status, status, "{act}, round {round}");
            }
        }
    }
}

#[test]
fn running_request_is_answered_before_the_server_stops() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // If unread data is left when a socket closes, the kernel resets it and the response is lost.
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).unwrap();
            assert_ne!(read, 0, "the request ended early");
            request.extend_from_slice(&part[..read]);
        }
        begun.send(()).unwrap();
        released.recv().unwrap();
        let body = r#"{"id":"c","choices":[{"message":{"content":"late"}}]}"#;
        let head = "content-type: application/json\r\nconnection: close";
        write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let desk = Desk::new().with("KEYDESK_UPSTREAM_URL", &url);
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let api = server.api(&desk.key(&org.slug, "caller", "inference:write"));
    let call = std::thread::spawn(move || api.post("/v1/inference", &json!({"model": "m", "prompt": "p"})));
    has_begun.recv().unwrap();
    let address = server.base.strip_prefix("http://").unwrap().to_owned();
    server.ask_to_stop();
    eventually("no new connection is taken", || TcpStream::connect(&address).is_err());
    release.send(()).unwrap();
    let answer = call.join().unwrap();
    assert_eq!((answer.status, answer.json()["output"].clone()), (200, json!("late")));
    assert_eq!(server.wait(), Some(0));
    let counted = "SELECT CAST(SUM(requests) AS BIGINT) AS count FROM all_usage_counts WHERE width = 3600 AND scope = 'inference:write'";
    assert_eq!(desk.database.count(counted), 1);
}

#[test]
fn log_line_about_a_request_names_the_key_and_never_shows_the_secret() {
    let (_desk, server, org) = desk();
    org.admin.get("/v1/api-keys");
    let log = server.whole_log();
    assert!(log.contains("\"key_name\":\"admin-key\""));
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(!log.contains(&org.admin.key));
}

#[test]
fn older_version_refuses_incompatible_tables() {
    let desk = Desk::new();
    desk.start().stop();
    let upgrade = |oldest: &str| {
        desk.database.execute(&format!(
            "DELETE FROM __diesel_schema_migrations WHERE version LIKE '2999%';
             INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000010');
             UPDATE schema_compatibility SET oldest = '{oldest}'"
        ));
    };
    upgrade("29991231000010");
    let refused = desk.run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("upgraded by a later version of Keydesk"), "{said}");
    // If the later version says that this one is compatible, it continues and says so.
    upgrade("20261130000180");
    let server = desk.start();
    assert_eq!(server.api("").get("/readyz").status, 200);
    assert!(server.whole_log().contains("with which this one still works"));
    assert_eq!(
        desk.database
            .count("SELECT COUNT(*) AS count FROM schema_compatibility WHERE oldest = '20261130000180'"),
        1
    );
}

#[test]
fn a_stopping_server_is_not_ready_but_serves_until_balancers_have_noticed() {
    let desk = Desk::new().with("KEYDESK_DRAIN", "2s");
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    assert_eq!(server.api("").get("/readyz").status, 200);
    server.ask_to_stop();
    let mut ready = server.api("").get("/readyz");
    eventually("it is not ready", || {
        ready = server.api("").get("/readyz");
        ready.status == 503
    });
    assert!(ready.body.contains("this process is stopping"), "{}", ready.body);
    // On a separate connection, as each client of these tests has.
    let served = server.api(&org.admin.key).get("/v1/api-keys");
    assert_eq!((served.status, served.header("connection")), (200, Some("close")));
    assert_eq!(server.api("").get("/healthz").status, 200);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn replacement_takes_over_the_address_of_a_stopping_server_without_a_refused_connection() {
    let desk = Desk::new().with("KEYDESK_DRAIN", "3s");
    let first = desk.start();
    let org = desk.set_up(&first, "Acme AI");
    let address = first.base.strip_prefix("http://").unwrap().to_owned();
    let desk = desk.with("KEYDESK_LISTEN", &address);
    let refused = desk.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2), "a server that is not stopping keeps its address");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("KEYDESK_LISTEN"), "{message}");
    first.ask_to_stop();
    eventually("it is stopping", || first.api("").get("/readyz").status == 503);
    let second = desk.start();
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || ended.send(first.wait()));
    let status = loop {
        TcpStream::connect(&address).unwrap();
        if let Ok(status) = has_ended.try_recv() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert_eq!(status, Some(0));
    assert_eq!(second.api("").get("/readyz").status, 200);
    assert_eq!(second.api(&org.admin.key).get("/v1/api-keys").status, 200);
}
