//! A stand-in for OpenID Connect providers. A personality says how a provider's documented responses differ from the
//! plain ones.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Browser, Desk, Page};

pub const CLIENT: &str = "keydesk-client";
pub const SECRET: &str = "a secret & more";

/// What a provider sends besides or instead of the plain members; `null` leaves a member out.
#[derive(Clone)]
pub struct Personality {
    pub name: &'static str,
    /// What follows the origin in the issuer.
    pub issuer: &'static str,
    pub header: Value,
    pub metadata: Value,
    /// Claims of the ID token, given the second of the sign-in.
    pub claims: fn(u64) -> Value,
    pub tokens: Value,
    /// Claims that only the userinfo endpoint has.
    pub userinfo: Value,
    /// Whether addresses have to be trusted by the configuration.
    pub needs_trust: bool,
    /// Whether it reports when a person signed in.
    pub confirms: bool,
    /// Signs with Ed25519 rather than ES256.
    pub uses_ed25519: bool,
}

#[derive(Clone)]
struct Asked {
    nonce: String,
    challenge: String,
    redirect: String,
}

#[derive(Default)]
struct State {
    /// What the next responses have instead; for refusals.
    changes: Value,
    codes: HashMap<String, Asked>,
    tokens: Vec<String>,
    made: u32,
}

#[derive(Clone)]
pub struct Oidc {
    pub origin: String,
    pub issuer: String,
    pub personality: Personality,
    state: Arc<Mutex<State>>,
    ec: Arc<EcdsaKeyPair>,
    ed: Arc<Ed25519KeyPair>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn merge(base: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    if let Some(members) = base.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
}

impl Oidc {
    pub fn start(personality: Personality) -> Oidc {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let ed =
            Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
        let issuer = format!("{origin}{}", personality.issuer);
        let state = Arc::default();
        let oidc = Oidc { origin, issuer, personality, state, ec: Arc::new(ec), ed: Arc::new(ed) };
        let own = oidc.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        oidc
    }

    /// The desk with this provider as the one with this number.
    pub fn add_to(&self, desk: Desk, number: u8) -> Desk {
        let infix = if number == 1 { String::new() } else { format!("{number}_") };
        let variable = |rest: &str| format!("KEYDESK_OIDC_{infix}{rest}");
        let desk = if self.personality.needs_trust { desk.with(&variable("TRUST_EMAIL"), "1") } else { desk };
        desk.with(&variable("ISSUER"), &self.issuer)
            .with(&variable("CLIENT_ID"), CLIENT)
            .with(&variable("CLIENT_SECRET"), SECRET)
            .with(&variable("NAME"), self.personality.name)
    }

    /// Changes the following responses: members `header`, `metadata`, `claims`, `tokens` and `userinfo`, and
    /// `signs_userinfo`.
    pub fn change(&self, changes: Value) {
        self.state.lock().unwrap().changes = changes;
    }

    /// Someone signs in on the page at this address; returns the path at Keydesk to which they are sent back.
    pub fn grant(&self, authorize: &str) -> String {
        let (page, query) = authorize.split_once('?').unwrap();
        assert_eq!(page, format!("{}/authorize", self.origin));
        let query: HashMap<String, String> = serde_html_form::from_str(query).unwrap();
        assert_eq!((query["client_id"].as_str(), query["response_type"].as_str()), (CLIENT, "code"));
        assert_eq!(query["scope"], "openid email profile");
        assert_eq!(query["code_challenge_method"], "S256");
        let mut state = self.state.lock().unwrap();
        state.made += 1;
        let code = format!("code-{}", state.made);
        let [nonce, challenge, redirect] =
            ["nonce", "code_challenge", "redirect_uri"].map(|name| query[name].clone());
        let path = redirect[redirect.find("/sign-in/").unwrap()..].to_owned();
        state.codes.insert(code.clone(), Asked { nonce, challenge, redirect });
        format!("{path}?code={code}&state={}", query["state"])
    }

    /// Goes to the provider by this path of Keydesk, signs in there, and returns.
    pub fn go(&self, browser: &mut Browser, path: &str) -> Page {
        let away = browser.get(path);
        assert_eq!(away.status, 303, "{}", away.body);
        let back = self.grant(away.header("location").unwrap());
        browser.get(&back)
    }

    fn serve(&self, mut stream: TcpStream) {
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
            let lines = head.iter().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return };
        let (status, value) = self.answer(path, &header("authorization").unwrap_or_default(), &body);
        let (kind, text) = match value {
            Value::String(token) => ("application/jwt", token),
            value => ("application/json", value.to_string()),
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        );
    }

    fn answer(&self, path: &str, authorization: &str, body: &[u8]) -> (u16, Value) {
        let changes = self.state.lock().unwrap().changes.clone();
        let discovery =
            format!("{}/.well-known/openid-configuration", self.personality.issuer.trim_end_matches('/'));
        match path {
            _ if path == discovery => {
                let mut metadata = json!({
                    "issuer": self.issuer,
                    "authorization_endpoint": format!("{}/authorize", self.origin),
                    "token_endpoint": format!("{}/token", self.origin),
                    "userinfo_endpoint": format!("{}/userinfo", self.origin),
                    "jwks_uri": format!("{}/keys", self.origin),
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                });
                merge(&mut metadata, &self.personality.metadata);
                merge(&mut metadata, &changes["metadata"]);
                (200, metadata)
            }
            "/keys" => (200, self.keys()),
            "/token" => self.token(authorization, body, &changes),
            "/userinfo" => {
                let token = authorization.strip_prefix("Bearer ").unwrap_or_default().to_owned();
                if !self.state.lock().unwrap().tokens.contains(&token) {
                    return (401, json!({"error": "invalid_token"}));
                }
                let mut info = json!({"sub": "person-1"});
                merge(&mut info, &self.personality.userinfo);
                merge(&mut info, &changes["userinfo"]);
                if changes["signs_userinfo"] == true {
                    return (200, self.sign(&info, &changes["header"]).into());
                }
                (200, info)
            }
            _ => (404, json!({})),
        }
    }

    fn keys(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [
            "not a key",
            {"kty": "RSA", "kid": "e", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB", "x5c": [1]},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256",
                "x": encode(&point[1..33]), "y": encode(&point[33..65]), "issuer": "x", "x5t": {}},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "alg": "Ed25519",
                "x": encode(self.ed.public_key().as_ref())},
        ]})
    }

    fn token(&self, authorization: &str, body: &[u8], changes: &Value) -> (u16, Value) {
        let form: HashMap<String, String> = serde_html_form::from_bytes(body).unwrap();
        let basic = STANDARD.encode(format!("{CLIENT}:a+secret+%26+more"));
        let in_body = form.get("client_id").map(String::as_str) == Some(CLIENT)
            && form.get("client_secret").map(String::as_str) == Some(SECRET);
        assert!(authorization == format!("Basic {basic}") || in_body, "{authorization} {form:?}");
        assert_eq!(form["grant_type"], "authorization_code");
        let mut state = self.state.lock().unwrap();
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
        let known = state.codes.remove(&form["code"]);
        let asked = known.filter(|asked| asked.challenge == digest && asked.redirect == form["redirect_uri"]);
        let Some(asked) = asked else {
            return (400, json!({"error": "invalid_grant", "error_description": "no such code"}));
        };
        state.made += 1;
        let access_token = format!("access-{}", state.made);
        state.tokens.push(access_token.clone());
        let now = now();
        let half = &Sha256::digest(access_token.as_bytes())[..16];
        let mut claims = json!({
            "iss": self.issuer,
            "sub": "person-1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.nonce,
            "at_hash": if self.personality.uses_ed25519 { Value::Null } else { URL_SAFE_NO_PAD.encode(half).into() },
        });
        merge(&mut claims, &(self.personality.claims)(now));
        merge(&mut claims, &changes["claims"]);
        let mut tokens = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "id_token": self.sign(&claims, &changes["header"]),
        });
        merge(&mut tokens, &self.personality.tokens);
        merge(&mut tokens, &changes["tokens"]);
        let status = if tokens.get("error").is_some() { 401 } else { 200 };
        (status, tokens)
    }

    fn sign(&self, claims: &Value, changes: &Value) -> String {
        let ed = self.personality.uses_ed25519;
        let mut header =
            if ed { json!({"alg": "Ed25519", "kid": "ed"}) } else { json!({"alg": "ES256", "kid": "ec"}) };
        merge(&mut header, &self.personality.header);
        merge(&mut header, changes);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(claims));
        let signature = if ed {
            URL_SAFE_NO_PAD.encode(self.ed.sign(text.as_bytes()))
        } else {
            URL_SAFE_NO_PAD.encode(self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap())
        };
        format!("{text}.{signature}")
    }
}
