//! Every route that can change something, with a request to it that succeeds, for tests that go through the table
//! of permissions. It stays in one file, so that anyone who adds a route finds it.

use keydesk::time::Time;
use serde_json::{Value, json};

use crate::support::client::form_body;
use crate::support::{Answer, Api, Browser, Desk, Org, PASSWORD, Server, eventually, unique};

/// The effect of a request on the log.
pub enum Mark {
    One,
    /// No entry, for this reason.
    None(&'static str),
}
use Mark::One;

/// Tables that the server's background work writes, and tables in which refused requests are counted.
pub const ELSEWHERE: &[&str] = &[
    "audit_checkpoints",
    "audit_register",
    "audit_signers",
    "feed_readers",
    "key_addresses",
    "known_clients",
    "notice_readers",
    "notices",
    "refusals",
    "refused_requests",
    "review_cards",
    "review_findings",
    "review_looks",
    "scope_uses",
    "sessions",
    "sign_in_attempts",
    "usage_callers",
    "usage_counts",
    "usage_journal",
    "usage_latencies",
    "usage_total_latencies",
    "usage_totals",
    "usage_writers",
];
/// The same for columns: times of last use, and the states of queued e-mails.
pub const IN_PASSING: &[&str] = &[
    "api_keys.expiring_at",
    "api_keys.last_used_at",
    "api_keys.notice_at",
    "audit_heads.broken_at",
    "audit_heads.checked",
    "audit_heads.checked_at",
    "audit_heads.epoch",
    "audit_heads.kept",
    "audit_heads.kept_size",
    "audit_heads.mac",
    "audit_heads.origin",
    "audit_heads.whole_at",
    "key_secrets.first_used_at",
    "key_secrets.last_address",
    "key_secrets.last_program",
    "key_secrets.last_used_at",
    "outbox.attempts",
    "outbox.claimed_by",
    "outbox.due_at",
    "outbox.last_error",
    "outbox.lease_until",
    "outbox.sent_at",
    "outbox.state",
    "people.seen_at",
    "sign_in_methods.used_at",
];

/// A desk with an organisation whose owner is signed in.
pub struct Stage {
    pub desk: Desk,
    pub server: Server,
    pub org: Org,
    pub owner: Browser,
}

/// A request that is ready to be sent.
pub enum Call {
    Request(Request),
    /// On a separate desk, with its own checks.
    Apart(Box<dyn FnMut() -> Answer>),
}

/// One request, as its client sends it.
#[derive(Clone)]
pub struct Request {
    pub api: Api,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// Nothing yet, to a server.
    pub fn new(base: &str) -> Request {
        let (path, body) = ("/".to_owned(), String::new());
        Request { api: Api::new(base, ""), method: "GET", path, headers: Vec::new(), body }
    }
}

impl Call {
    /// Sends it.
    pub fn send(&mut self) -> Answer {
        match self {
            Call::Apart(send) => send(),
            Call::Request(Request { api, method, path, headers, body }) => {
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                api.send(method, path, &headers, Some(body))
            }
        }
    }
}

fn form(browser: &Browser, path: impl Into<String>, fields: &[(&str, &str)]) -> Call {
    let cookie = browser.cookie.clone().unwrap_or_default();
    let headers = [
        ("cookie", cookie.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    Call::Request(Request {
        api: Api::new(&browser.base, ""),
        method: "POST",
        path: path.into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: form_body(fields),
    })
}

fn program(api: &Api, method: &'static str, path: impl Into<String>, body: String, kind: &str) -> Call {
    let headers = [("authorization", format!("Bearer {}", api.key)), ("content-type", kind.to_owned())];
    Call::Request(Request {
        api: Api::new(&api.base, ""),
        method,
        path: path.into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body,
    })
}

impl Stage {
    pub fn entries(&self) -> i64 {
        self.desk.database.count("SELECT COUNT(*) AS count FROM audit_entries")
    }

    fn in_org(&self, rest: &str) -> String {
        format!("/o/{}/{rest}", self.org.slug)
    }

    fn with_key(&self, method: &'static str, path: impl Into<String>, body: Option<Value>) -> Call {
        let body = body.map_or_else(|| "{}".to_owned(), |body| body.to_string());
        program(&self.org.admin, method, path, body, "application/json")
    }

    fn as_program(&self, scope: &str, path: &str, body: &str, kind: &str) -> Call {
        let api = self.server.api(&self.desk.key(&self.org.slug, &name(), scope));
        program(&api, "POST", path, body.to_owned(), kind)
    }

    /// A key's id.
    fn key(&self, more: Value) -> String {
        let mut body = json!({"name": name(), "scopes": ["inference:read"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.org.admin.create(&body)["id"].as_str().unwrap().to_owned()
    }

    fn rotating(&self) -> String {
        let id = self.key(json!({}));
        let rotated = self.org.admin.post(&format!("/v1/api-keys/{id}/rotate"), &json!({"overlap": "24h"}));
        assert_eq!(rotated.status, 200);
        id
    }

    /// A member of that role, with their id and a browser.
    fn member(&self, role: &str) -> (String, Browser) {
        let email = format!("{}@example.com", name());
        let id = self.desk.add_member(&self.org, &email, role);
        (id, self.server.signed_in_as(&email))
    }

    /// A member who has asked for a higher limit of their key.
    fn asking(&self) -> (String, Browser) {
        let (person, mut browser) = self.member("member");
        let id = self.key(json!({"owner": person}));
        let asked = browser
            .post(&self.in_org(&format!("keys/{id}/limit")), &[("limit", "900"), ("reason", "Nightly")]);
        assert_eq!(asked.status, 303);
        (id, browser)
    }

    /// Invites someone; returns the address and the link in the e-mail.
    fn invited(&self) -> (String, String) {
        let email = format!("{}@example.com", name());
        let mut owner = self.owner.clone();
        let done = owner.post(&self.in_org("members"), &[("email", &email), ("role", "member")]);
        assert_eq!(done.status, 303);
        let path = self.desk.mailed_path(&email, "invitation", "/invitations/");
        (email, path)
    }

    /// The action on an open invitation, from the members page.
    fn invitation(&self, act: &str) -> String {
        self.desk.database.execute("DELETE FROM invitations");
        self.invited();
        self.desk.database.execute("UPDATE invitations SET sent_at = 1");
        let page = self.owner.clone().get(&self.in_org("members"));
        page.attribute(&format!("form[action$='/{act}']"), "action").unwrap()
    }

    /// The action on a finding about a key that never expires.
    fn finding(&self) -> String {
        let id = self.key(json!({"expires_at": null}));
        self.desk
            .database
            .execute("UPDATE api_keys SET created_at = created_at - 1728000000000 WHERE expires_at IS NULL");
        self.owner.clone().get(&self.in_org("review?card=no_expiry"));
        id
    }

    /// A key in use, with a scope that it has not used for 61 days.
    fn idle(&self) -> String {
        let name = name();
        let scopes = ["inference:read", "analytics:read"];
        let key = self.org.admin.create(&json!({"name": name, "scopes": scopes}));
        self.server.api(key["key"].as_str().unwrap()).get("/v1/models");
        eventually("the use is known", || {
            let uses = format!(
                "SELECT COUNT(*) AS count FROM scope_uses u JOIN api_keys k ON k.id = u.key_id
                 WHERE k.name = '{name}' AND u.scope = 'inference:read'"
            );
            self.desk.database.count(&uses) == 1
        });
        self.desk.database.change(&format!(
            "UPDATE api_keys SET created_at = created_at - 5270400000000 WHERE name = '{name}'"
        ));
        self.owner.clone().get(&self.in_org("review?card=scope_unused"));
        key["id"].as_str().unwrap().to_owned()
    }

    /// Sends a confirmation to an external address; returns the token in the e-mail.
    fn outside(&self) -> String {
        self.desk.database.execute("DELETE FROM mailed_links");
        let email = format!("{}@example.com", name());
        let asked = self.owner.clone().post(&self.in_org("settings/checkpoints"), &[("email", &email)]);
        assert_eq!(asked.status, 303);
        self.mailed(&email, "audit_confirmation", "/checkpoints?")
    }

    /// The token of the link in an e-mail.
    fn mailed(&self, email: &str, event: &str, start: &str) -> String {
        let mut link = None;
        eventually(&format!("a mail of {event} to {email}"), || {
            let mails = self.desk.wait_for_mails(event, 1);
            link = mails.iter().find(|mail| mail.header("To").contains(email)).map(|mail| mail.link(start));
            link.is_some()
        });
        link.unwrap().split_once("token=").unwrap().1.to_owned()
    }

    /// A successful request and its effect.
    pub fn ready(&self, method: &str, pattern: &str) -> (Mark, Call) {
        let checks = Mark::None("it checks and changes nothing");
        let infers = Mark::None("it calls a model; requests are counted, not entered");
        let asks = Mark::None("it sends a mail; nothing changes before its link is used");
        let owner = &self.owner;
        let key = |rest: &str| self.in_org(&format!("keys/{}/{rest}", self.key(json!({}))));
        let api = |rest: &str| format!("/v1/api-keys/{}{rest}", self.key(json!({})));
        let ahead = |hours| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
        match (method, pattern) {
            ("POST", "/v1/api-keys") => {
                let body = json!({"name": name(), "scopes": ["inference:read"]});
                (One, self.with_key("POST", pattern, Some(body)))
            }
            ("PATCH", "/v1/api-keys/{id}") => {
                (One, self.with_key("PATCH", api(""), Some(json!({"description": "Another"}))))
            }
            ("DELETE", "/v1/api-keys/{id}") => (One, self.with_key("DELETE", api(""), None)),
            ("POST", "/v1/api-keys/{id}/revoke") => {
                (One, self.with_key("POST", api("/revoke"), Some(json!({}))))
            }
            ("POST", "/v1/api-keys/{id}/rotate") => {
                (One, self.with_key("POST", api("/rotate"), Some(json!({"overlap": "24h"}))))
            }
            ("POST", "/v1/api-keys/{id}/rotation") => {
                let path = format!("/v1/api-keys/{}/rotation", self.rotating());
                (One, self.with_key("POST", path, Some(json!({"ends_at": ahead(1)}))))
            }
            ("DELETE", "/v1/api-keys/{id}/rotation") => {
                (One, self.with_key("DELETE", format!("/v1/api-keys/{}/rotation", self.rotating()), None))
            }
            ("POST", "/v1/api-keys/verify") => {
                let body = json!({"key": self.org.admin.key}).to_string();
                (checks, self.as_program("keys:verify", pattern, &body, "application/json"))
            }
            ("POST", "/v1/introspect") => {
                let body = format!("token={}", self.org.admin.key);
                let kind = "application/x-www-form-urlencoded";
                (checks, self.as_program("keys:verify", pattern, &body, kind))
            }
            ("ANY", "/v1/authorize") => (checks, self.with_key("POST", pattern, None)),
            ("ANY", "/v1/authorize/{rest:.*}") => (checks, self.with_key("POST", "/v1/authorize/x", None)),
            ("POST", "/v1/inference") => {
                let body = r#"{"model": "echo", "prompt": "Hello"}"#;
                (infers, self.as_program("inference:write", pattern, body, "application/json"))
            }
            ("POST", "/v1/chat/completions") => {
                let body = r#"{"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}"#;
                (infers, self.as_program("inference:write", pattern, body, "application/json"))
            }
            ("POST", "/v1/completions") => {
                let body = r#"{"model": "echo", "prompt": "Hello"}"#;
                (infers, self.as_program("inference:write", pattern, body, "application/json"))
            }
            ("POST", "/v1/embeddings" | "/v1/responses") => {
                let body = r#"{"model": "echo", "input": "Hello"}"#;
                (infers, self.as_program("inference:write", pattern, body, "application/json"))
            }
            // On a separate desk, because it can be done only once.
            ("POST", "/setup") => {
                let desk = Desk::new();
                let server = desk.start();
                let token = server.setup_link.as_ref().unwrap().split("token=").nth(1).unwrap().to_owned();
                let mut browser = server.browser();
                (
                    Mark::None("another desk's, looked at below"),
                    Call::Apart(Box::new(move || {
                        // Both live as long as the request.
                        let (desk, _server) = (&desk, &server);
                        let fields = [
                            ("token", token.as_str()),
                            ("organization", "Acme"),
                            ("name", "Ada"),
                            ("email", "ada@example.com"),
                            ("password", PASSWORD),
                        ];
                        desk.database.refuse_entries();
                        let before = desk.database.state(ELSEWHERE, IN_PASSING);
                        assert_eq!(browser.post("/setup", &fields).status, 500);
                        assert_eq!(desk.database.state(ELSEWHERE, IN_PASSING), before);
                        desk.database.take_entries();
                        let done = browser.post("/setup", &fields);
                        let entries = desk.database.count("SELECT COUNT(*) AS count FROM audit_entries");
                        assert_eq!(entries, 1);
                        done
                    })),
                )
            }
            ("POST", "/sign-in") => {
                let fields = [("email", self.org.email.as_str()), ("password", PASSWORD)];
                (One, form(&self.server.browser(), pattern, &fields))
            }
            ("POST", "/sign-out") => (One, form(&self.member("member").1, pattern, &[])),
            ("POST", "/sign-in/again") => {
                let fields = [("confirm_password", PASSWORD)];
                (Mark::None("who was signed in still is"), form(owner, pattern, &fields))
            }
            ("POST", "/account") => {
                let fields = [("name", name()), ("zone", "Asia/Tokyo".to_owned())];
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                (One, form(&self.member("member").1, pattern, &fields))
            }
            ("POST", "/account/email") => {
                let email = format!("{}@example.com", name());
                (One, form(&self.member("member").1, pattern, &[("email", &email)]))
            }
            ("POST", "/account/email/cancel") => {
                let email = format!("{}@example.com", name());
                let (_, mut browser) = self.member("member");
                assert_eq!(browser.post("/account/email", &[("email", &email)]).status, 303);
                (One, form(&browser, pattern, &[]))
            }
            ("POST", "/cancel-email-change") => {
                let (old, new) = (format!("{}@example.com", name()), format!("{}@example.com", name()));
                self.desk.add_member(&self.org, &old, "member");
                let mut browser = self.server.signed_in_as(&old);
                assert_eq!(browser.post("/account/email", &[("email", &new)]).status, 303);
                let token = self.mailed(&old, "security_notice", "/cancel-email-change?");
                (One, form(&self.server.browser(), pattern, &[("token", &token)]))
            }
            ("POST", "/account/email/verify") => (asks, form(&self.member("member").1, pattern, &[])),
            ("POST", "/verify-email") => {
                let email = format!("{}@example.com", name());
                let (_, mut browser) = self.member("member");
                assert_eq!(browser.post("/account/email", &[("email", &email)]).status, 303);
                let token = self.mailed(&email, "email_verification", "/verify-email?");
                (One, form(&self.server.browser(), pattern, &[("token", &token)]))
            }
            ("POST", "/account/password") => {
                let fields = [("password", PASSWORD), ("new_password", "a wholly new passphrase")];
                (One, form(&self.member("member").1, pattern, &fields))
            }
            ("POST", "/reset-password") => {
                let email = format!("{}@example.com", name());
                self.desk.add_member(&self.org, &email, "member");
                assert_eq!(self.server.browser().post(pattern, &[("email", &email)]).status, 200);
                let token = self.mailed(&email, "password_reset", "/reset-password?");
                let fields = [("token", token.as_str()), ("new_password", "a wholly new passphrase")];
                (One, form(&self.server.browser(), pattern, &fields))
            }
            ("POST", "/account/sessions/end-others" | "/account/sessions/{id}/end") => {
                let email = format!("{}@example.com", name());
                self.desk.add_member(&self.org, &email, "member");
                let (mut here, _other) = (self.server.signed_in_as(&email), self.server.signed_in_as(&email));
                let page = here.get("/account");
                let one = "form[action^='/account/sessions/'][action$='/end']";
                let path = if pattern.contains("{id}") {
                    page.attribute(one, "action").unwrap()
                } else {
                    pattern.to_owned()
                };
                (One, form(&here, path, &[]))
            }
            ("POST", "/account/methods/{id}/disconnect") => {
                let (person, mut browser) = self.member("member");
                self.connect(&person);
                let page = browser.get("/account");
                let link = page.attribute("a[href$='/disconnect']", "href").unwrap();
                (One, form(&browser, link, &[]))
            }
            ("POST", "/account/notices") => {
                (One, form(&self.member("member").1, pattern, &[("mails", "single")]))
            }
            ("POST", "/unsubscribe/{token}") => {
                let (person, _) = self.member("member");
                (One, form(&self.server.browser(), self.unsubscribe_path(&person), &[]))
            }
            ("POST", "/invitations/{token}") => {
                let fields = [("name", "Bo"), ("password", "a wholly new passphrase")];
                let made = Mark::None("someone gets an account, who belongs to no organisation yet");
                (made, form(&self.server.browser(), self.invited().1, &fields))
            }
            ("POST", "/invitations/{token}/accept") => {
                let (mut browser, path) = (self.server.browser(), self.invited().1);
                let fields = [("name", "Bo"), ("password", "a wholly new passphrase")];
                assert_eq!(browser.post(&path, &fields).status, 303);
                (One, form(&browser, format!("{path}/accept"), &[]))
            }
            ("POST", "/o/{org}/keys") => {
                let name = name();
                let fields = [
                    ("name", name.as_str()),
                    ("scopes", "inference:read"),
                    ("expires", "90"),
                    ("requests_per_minute", "60"),
                ];
                (One, form(owner, self.in_org("keys"), &fields))
            }
            ("POST", "/o/{org}/keys/{id}/edit") => {
                let fields = [
                    ("description", "Another"),
                    ("scopes", "inference:read"),
                    ("expires", "keep"),
                    ("requests_per_minute", "600"),
                ];
                (One, form(owner, key("edit"), &fields))
            }
            ("POST", "/o/{org}/keys/{id}/disable") => (One, form(owner, key("disable"), &[])),
            ("POST", "/o/{org}/keys/{id}/enable") => {
                let id = self.key(json!({}));
                let disabled =
                    self.org.admin.patch(&format!("/v1/api-keys/{id}"), &json!({"disabled": true}));
                assert_eq!(disabled.status, 200);
                (One, form(owner, self.in_org(&format!("keys/{id}/enable")), &[]))
            }
            ("POST", "/o/{org}/keys/{id}/rotate") => (One, form(owner, key("rotate"), &[("overlap", "24h")])),
            ("POST", "/o/{org}/keys/{id}/rotation/end") => {
                (One, form(owner, self.in_org(&format!("keys/{}/rotation/end", self.rotating())), &[]))
            }
            ("POST", "/o/{org}/keys/{id}/rotation/move") => {
                let path = self.in_org(&format!("keys/{}/rotation/move", self.rotating()));
                let longer = owner.clone().get(&path).attribute("[name=longer]", "value").unwrap();
                (One, form(owner, path, &[("longer", &longer)]))
            }
            ("POST", "/o/{org}/keys/{id}/owner") => {
                let (person, _) = self.member("member");
                (One, form(owner, key("owner"), &[("owner", &person)]))
            }
            ("POST", "/o/{org}/keys/{id}/revoke") => (One, form(owner, key("revoke"), &[])),
            ("POST", "/o/{org}/keys/{id}/seen") => {
                let id = self.key(json!({"expires_in_days": 1}));
                (One, form(owner, self.in_org(&format!("keys/{id}/seen")), &[]))
            }
            ("POST", "/o/{org}/keys/{id}/limit") => {
                let (person, browser) = self.member("member");
                let path = self.in_org(&format!("keys/{}/limit", self.key(json!({"owner": person}))));
                (One, form(&browser, path, &[("limit", "900"), ("reason", "Nightly")]))
            }
            ("POST", "/o/{org}/keys/{id}/limit/withdraw") => {
                let (id, browser) = self.asking();
                (One, form(&browser, self.in_org(&format!("keys/{id}/limit/withdraw")), &[]))
            }
            ("POST", "/o/{org}/keys/{id}/limit/decision") => {
                let (id, _) = self.asking();
                let path = self.in_org(&format!("keys/{id}/limit/decision"));
                let request = owner.clone().get(&path).attribute("[name=request]", "value").unwrap();
                let fields = [("request", request.as_str()), ("answer", "approve"), ("limit", "800")];
                (One, form(owner, path, &fields))
            }
            ("POST", "/o/{org}/calendar") => (One, form(owner, self.in_org("calendar"), &[])),
            ("POST", "/o/{org}/calendar/end") => {
                assert_eq!(owner.clone().post(&self.in_org("calendar"), &[]).status, 200);
                (One, form(owner, self.in_org("calendar/end"), &[]))
            }
            ("POST", "/o/{org}/mail/test") => (One, form(owner, self.in_org("mail/test"), &[])),
            ("POST", "/o/{org}/mail/{id}/send") => {
                owner.clone().post(&self.in_org("mail/test"), &[]);
                self.rest();
                self.desk.database.execute("UPDATE outbox SET sent_at = 0 WHERE state = 'sent'");
                let page = owner.clone().get(&self.in_org("mail?state=sent"));
                (One, form(owner, page.attribute("form[action$='/send']", "action").unwrap(), &[]))
            }
            ("POST", "/o/{org}/members") => {
                let email = format!("{}@example.com", name());
                (One, form(owner, self.in_org("members"), &[("email", &email), ("role", "member")]))
            }
            ("POST", "/o/{org}/members/{id}/role") => {
                let path = self.in_org(&format!("members/{}/role", self.member("member").0));
                (One, form(owner, path, &[("role", "auditor")]))
            }
            ("POST", "/o/{org}/members/{id}/disable") => {
                (One, form(owner, self.in_org(&format!("members/{}/disable", self.member("member").0)), &[]))
            }
            ("POST", "/o/{org}/members/{id}/enable") => {
                let person = self.member("member").0;
                let disabled = owner.clone().post(&self.in_org(&format!("members/{person}/disable")), &[]);
                assert_eq!(disabled.status, 303);
                (One, form(owner, self.in_org(&format!("members/{person}/enable")), &[]))
            }
            ("POST", "/o/{org}/members/{id}/remove") => {
                (One, form(owner, self.in_org(&format!("members/{}/remove", self.member("member").0)), &[]))
            }
            ("POST", "/o/{org}/leave") => (One, form(&self.member("member").1, self.in_org("leave"), &[])),
            ("POST", "/o/{org}/invitations/{id}/send") => (One, form(owner, self.invitation("send"), &[])),
            ("POST", "/o/{org}/invitations/{id}/withdraw") => {
                (One, form(owner, self.invitation("withdraw"), &[]))
            }
            ("POST", "/o/{org}/service-accounts") => {
                let (name, answerer) = (name(), self.desk.id_of(&self.org.email));
                let fields = [("name", name.as_str()), ("answerers", answerer.as_str())];
                (One, form(owner, self.in_org("service-accounts"), &fields))
            }
            ("POST", "/o/{org}/service-accounts/{id}/edit") => {
                let account = self.desk.add_service_account(&self.org, &name(), "member");
                let (name, answerer) = (name(), self.desk.id_of(&self.org.email));
                let fields = [("name", name.as_str()), ("answerers", answerer.as_str())];
                (One, form(owner, self.in_org(&format!("service-accounts/{account}/edit")), &fields))
            }
            ("POST", "/o/{org}/settings") => {
                (One, form(owner, self.in_org("settings"), &[("name", &name())]))
            }
            ("POST", "/o/{org}/settings/policy") => {
                let day = ahead(48)[..10].to_owned();
                let fields = [
                    ("longest", ""),
                    ("never", "everyone"),
                    ("default_expiry", "30"),
                    ("member_scopes", "inference:read"),
                    ("default_rpm", ""),
                    ("largest_rpm", "1000000"),
                    ("date", day.as_str()),
                ];
                (One, form(owner, self.in_org("settings/policy"), &fields))
            }
            ("POST", "/o/{org}/settings/checkpoints") => {
                let email = format!("{}@example.com", name());
                (One, form(owner, self.in_org("settings/checkpoints"), &[("email", &email)]))
            }
            ("POST", "/o/{org}/settings/checkpoints/end") => {
                self.outside();
                (One, form(owner, self.in_org("settings/checkpoints/end"), &[]))
            }
            ("POST", "/checkpoints") => {
                (One, form(&self.server.browser(), pattern, &[("token", &self.outside())]))
            }
            ("POST", "/o/{org}/review/keep") => {
                let fields = [("key", self.finding()), ("card", "no_expiry".to_owned())];
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                (One, form(owner, self.in_org("review/keep"), &fields))
            }
            ("POST", "/o/{org}/review/reopen") => {
                let key = self.finding();
                let fields = [("key", key.as_str()), ("card", "no_expiry")];
                assert_eq!(owner.clone().post(&self.in_org("review/keep"), &fields).status, 303);
                (One, form(owner, self.in_org("review/reopen"), &fields))
            }
            ("POST", "/o/{org}/review/remove-scope") => {
                let key = self.idle();
                let fields = [("key", key.as_str()), ("scope", "analytics:read")];
                (One, form(owner, self.in_org("review/remove-scope"), &fields))
            }
            ("POST", "/o/{org}/review/restore-scope") => {
                let key = self.idle();
                let fields = [("key", key.as_str()), ("scope", "analytics:read")];
                let removed = owner.clone().post(&self.in_org("review/remove-scope"), &fields);
                assert_eq!(removed.status, 303);
                (One, form(owner, self.in_org("review/restore-scope"), &fields))
            }
            _ => panic!(
                "{method} {pattern} may change something: say here how it is called and what it enters"
            ),
        }
    }

    /// Gives a person a second way to sign in.
    fn connect(&self, person: &str) {
        let id = match self.desk.database.is_postgres() {
            true => "decode(md5(random()::text), 'hex')",
            false => "randomblob(16)",
        };
        self.desk.database.execute(&format!(
            "INSERT INTO sign_in_methods (id, person_id, kind, subject, issuer, label, created_at, updated_at)
                SELECT {id}, person_id, 'oidc', 'someone-{person}', 'https://id.example.com', 'Someone', 1, 1
                FROM sign_in_methods WHERE subject = '{person}'"
        ));
    }

    /// The link that turns off a person's early notices.
    fn unsubscribe_path(&self, person: &str) -> String {
        let text = std::fs::read_to_string(self.desk.data.path().join("secret")).unwrap();
        let keyring = keydesk::crypto::Keyring::new(keydesk::crypto::Root::parse(&text).unwrap(), None);
        format!("/unsubscribe/{}", keyring.link_token("unsubscribe", person))
    }

    /// Waits until no e-mail is queued.
    pub fn rest(&self) {
        eventually("all mails that may leave now have left", || {
            let now = (Time::now().seconds() + 1) * 1_000_000;
            let due =
                format!("SELECT COUNT(*) AS count FROM outbox WHERE state = 'queued' AND due_at <= {now}");
            self.desk.database.count(&due) == 0
        });
    }
}

pub fn name() -> String {
    format!("n{}", unique() as u64)
}
