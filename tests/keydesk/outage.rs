//! A lost database: refused for now, and back by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::{Desk, eventually};

/// A way to the database that can be cut and mended.
struct Cable {
    port: u16,
    cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(address: String) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_cut, open) = (cut.clone(), streams.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&address).unwrap();
                open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pump(client.try_clone().unwrap(), server.try_clone().unwrap());
                pump(server, client);
            }
        });
        Cable { port, cut, streams }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

#[test]
fn a_lost_database_is_told_and_comes_back_by_itself() {
    let mut desk = Desk::new();
    // An SQLite file lies on the same machine; there is no way to it that could be cut.
    if !desk.database.is_postgres() {
        return;
    }
    let (server_url, name) = desk
        .database
        .url
        .rsplit_once('/')
        .map(|(server, name)| (server.to_owned(), name.to_owned()))
        .unwrap();
    let (user, address) = server_url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
    let cable = Cable::to(address.to_owned());
    desk = desk.with("KEYDESK_DATABASE_URL", &format!("postgres://{user}@127.0.0.1:{}/{name}", cable.port));
    let server = desk.start();
    let org = desk.set_up(&server, "Acme");
    let mut browser = server.signed_in(&org);
    assert_eq!(server.api("").get("/readyz").status, 200);
    cable.cut();
    let refused = org.admin.get("/v1/api-keys");
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(refused.header("retry-after").is_some());
    assert!(!refused.body.contains("postgres") && !refused.body.contains(&name), "{}", refused.body);
    let made = org.admin.post("/v1/api-keys", &json!({"name": "lost", "scopes": ["inference:read"]}));
    assert_eq!(made.status, 503);
    let page = browser.get(&format!("/o/{}/keys", org.slug));
    assert_eq!(page.status, 503);
    assert!(page.header("retry-after").is_some());
    assert_eq!(page.text("h1"), "Keydesk can't answer right now");
    assert_eq!(server.api("").get("/readyz").status, 503);
    assert_eq!(server.api("").get("/healthz").status, 200);
    cable.mend();
    eventually("the database is back", || org.admin.get("/v1/api-keys").status == 200);
    assert_eq!(browser.get(&format!("/o/{}/keys", org.slug)).status, 200);
    assert_eq!(desk.database.count("SELECT COUNT(*) AS count FROM api_keys WHERE name = 'lost'"), 0);
}
