//! A real nginx in front of another service, asking Keydesk who may pass.

use std::net::TcpListener;
use std::process::{Child, Command};

use serde_json::json;

use crate::support::{Answer, Api, Browser, Page, desk, eventually};

struct Nginx {
    child: Child,
    base: String,
    _directory: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The configuration as the guide prints it, with a service behind it that says who
/// it was told calls.
fn nginx(program: &str, guide: &Page) -> Nginx {
    let directory = tempfile::TempDir::new().unwrap();
    let free = |listener: TcpListener| listener.local_addr().unwrap().port();
    let (front, service) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (front, service) = (free(front), free(service));
    let at = directory.path().display();
    let locations = guide.text("#nginx");
    assert!(locations.contains("http://127.0.0.1:9000"), "{locations}");
    let locations = locations.replace("http://127.0.0.1:9000", &format!("http://127.0.0.1:{service}"));
    let configuration = format!(
        r#"daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
  server {{
    listen 127.0.0.1:{service};
    location / {{ return 200 "id=$http_x_keydesk_key_id org=$http_x_keydesk_org scopes=$http_x_keydesk_scopes key=$http_authorization"; }}
  }}
  server {{
    listen 127.0.0.1:{front};
    {locations}
  }}
}}
"#
    );
    std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
    let file = directory.path().join("nginx.conf");
    let child = Command::new(program).arg("-c").arg(file).arg("-p").arg(directory.path()).spawn().unwrap();
    let base = format!("http://127.0.0.1:{front}");
    eventually("nginx answers", || Api::new(&base, "").try_send("GET", "/", &[], None).is_ok());
    Nginx { child, base, _directory: directory }
}

#[test]
fn nginx_lets_through_whom_keydesk_lets_through() {
    // Only `tests/run` installs nginx, and always names it here.
    let Ok(program) = std::env::var("KEYDESK_TEST_NGINX") else { return };
    let (_desk, server, org) = desk();
    let nginx = nginx(&program, &Browser::new(&server.base).get("/docs/proxies"));
    let create = |name: &str, scope: &str, limit: u32| {
        let key = org.admin.create(&json!({"name": name, "scopes": [scope], "requests_per_minute": limit}));
        (key["id"].as_str().unwrap().to_owned(), Api::new(&nginx.base, key["key"].as_str().unwrap()))
    };
    let get =
        |api: &Api| -> Answer { api.send("GET", "/some/page", &[("x-keydesk-key-id", "forged")], None) };
    let (id, writer) = create("writer", "inference:write", 600);
    let passed = get(&writer);
    assert_eq!(
        (passed.status, passed.body.as_str()),
        (200, format!("id={id} org={} scopes=inference:write key=", org.slug).as_str())
    );
    let (_, reader) = create("reader", "inference:read", 600);
    assert_eq!(get(&reader).status, 403);
    assert_eq!(get(&Api::new(&nginx.base, "")).status, 401);
    assert_eq!(get(&Api::new(&nginx.base, "kd_nonsense")).status, 401);
    let (_, limited) = create("limited", "inference:write", 2);
    let statuses: Vec<u16> = (0..3).map(|_| get(&limited).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert!(get(&limited).header("retry-after").is_some());
    org.admin.delete(&format!("/v1/api-keys/{id}"));
    assert_eq!(get(&writer).status, 401);
}
