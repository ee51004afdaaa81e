//! A substitute for GitHub: its documented web application flow, and the two requests that identify a user. It
//! checks requests as strictly as GitHub.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Desk;

pub const CLIENT: &str = "keydesk-client";
pub const SECRET: &str = "keydesk-secret";

/// Someone with an account there.
#[derive(Clone)]
pub struct User {
    pub id: u64,
    pub login: &'static str,
    pub emails: Value,
}

impl User {
    /// Someone with one primary address that is verified.
    pub fn new(id: u64, login: &'static str, email: &str) -> User {
        let emails = json!([
            {"email": format!("other-{email}"), "primary": false, "verified": true, "visibility": null},
            {"email": email, "primary": true, "verified": true, "visibility": "private"},
        ]);
        User { id, login, emails }
    }
}

/// How the substitute misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    BadCode,
    Html,
    Redirect,
    Failing,
    Huge,
    NoId,
    EmailsForbidden,
    EvilToken,
}

#[derive(Default)]
struct State {
    mood: Option<Mood>,
    /// Codes with whom and with which challenge.
    codes: HashMap<String, (User, String)>,
    tokens: HashMap<String, User>,
    made: u32,
}

/// The stand-in.
#[derive(Clone)]
pub struct GitHub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl GitHub {
    pub fn start() -> GitHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let github = GitHub { url, state: Arc::default() };
        let own = github.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        github
    }

    /// A desk whose people sign in here.
    pub fn desk(&self) -> Desk {
        Desk::new()
            .with("KEYDESK_GITHUB_URL", &self.url)
            .with("KEYDESK_GITHUB_CLIENT_ID", CLIENT)
            .with("KEYDESK_GITHUB_CLIENT_SECRET", SECRET)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = Some(mood);
    }

    /// Someone says yes on the page that `authorize` leads to; the path at Keydesk to which they
    /// are sent back.
    pub fn grant(&self, authorize: &str, user: &User) -> String {
        let (page, query) = authorize.split_once('?').unwrap();
        assert_eq!(page, format!("{}/login/oauth/authorize", self.url));
        let query: HashMap<String, String> = serde_html_form::from_str(query).unwrap();
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["scope"], "user:email");
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["state"].len() >= 22 && query["code_challenge"].len() == 43);
        let mut state = self.state.lock().unwrap();
        state.made += 1;
        let code = format!("code-{}", state.made);
        state.codes.insert(code.clone(), (user.clone(), query["code_challenge"].clone()));
        let redirect = query["redirect_uri"].as_str();
        let path = &redirect[redirect.find("/sign-in/").unwrap()..];
        format!("{path}?code={code}&state={}", query["state"])
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let Some(first) = head.first() else { return };
        let path = first.split(' ').nth(1).unwrap();
        let mood = self.state.lock().unwrap().mood.unwrap_or(Mood::Well);
        let (status, kind, answer) = match mood {
            Mood::Html => ("200 OK", "text/html", "<h1>Not JSON</h1>".to_owned()),
            Mood::Redirect => ("302 Found\r\nlocation: /elsewhere", "text/plain", String::new()),
            Mood::Failing => ("502 Bad Gateway", "text/html", "busy".to_owned()),
            Mood::Huge => ("200 OK", "application/json", format!("[{}0]", "0,".repeat(1_000_000))),
            _ => {
                let token = header("authorization").unwrap_or_default();
                let (status, answer) = self.answer(mood, path, &token, &body);
                (status, "application/json; charset=utf-8", answer.to_string())
            }
        };
        let mut stream = stream;
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        );
    }

    fn answer(&self, mood: Mood, path: &str, token: &str, body: &[u8]) -> (&'static str, Value) {
        let mut state = self.state.lock().unwrap();
        match path {
            "/login/oauth/access_token" => {
                let form: HashMap<String, String> = serde_html_form::from_bytes(body).unwrap();
                assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), (CLIENT, SECRET));
                let known = state.codes.remove(&form["code"]).filter(|_| mood != Mood::BadCode);
                let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
                let Some((user, _)) = known.filter(|(_, challenge)| *challenge == digest) else {
                    // GitHub tells errors with status 200.
                    return ("200 OK", json!({"error": "bad_verification_code"}));
                };
                state.made += 1;
                let token = if mood == Mood::EvilToken {
                    "gho\nx: y".to_owned()
                } else {
                    format!("gho_{}", state.made)
                };
                state.tokens.insert(token.clone(), user);
                ("200 OK", json!({"access_token": token, "scope": "user:email", "token_type": "bearer"}))
            }
            "/api/v3/user" | "/api/v3/user/emails" => {
                let Some(user) = token.strip_prefix("Bearer ").and_then(|token| state.tokens.get(token))
                else {
                    return ("401 Unauthorized", json!({"message": "Bad credentials"}));
                };
                match (path.ends_with("/emails"), mood) {
                    (true, Mood::EmailsForbidden) => ("403 Forbidden", json!({"message": "no"})),
                    (true, _) => ("200 OK", user.emails.clone()),
                    (false, Mood::NoId) => ("200 OK", json!({"login": user.login})),
                    (false, _) => ("200 OK", json!({"id": user.id, "login": user.login, "name": null})),
                }
            }
            _ => ("404 Not Found", json!({"message": "Not Found"})),
        }
    }
}
