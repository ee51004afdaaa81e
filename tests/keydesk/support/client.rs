//! Clients: a program with a key, and a browser without scripts.

use scraper::{Html, Selector};
use serde_json::Value;

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(std::time::Duration::from_secs(60)))
        .build();
    ureq::Agent::new_with_config(config)
}

/// A response.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let body = response.body_mut().read_to_string().unwrap();
        Answer { status: response.status().as_u16(), headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["error"]["code"], problem["code"]);
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status and code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// The fields that a problem document complains about.
    pub fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// A program with a key.
#[derive(Clone)]
pub struct Api {
    agent: ureq::Agent,
    pub base: String,
    pub key: String,
}

impl Api {
    pub fn new(base: &str, key: &str) -> Api {
        Api { agent: agent(), base: base.to_owned(), key: key.to_owned() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(&body.to_string()))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], Some(&body.to_string()))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Makes a key and returns its object, secret included.
    pub fn create(&self, body: &Value) -> Value {
        let answer = self.post("/v1/api-keys", body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        self.try_send(method, path, headers, body).unwrap()
    }

    /// The same where the server may be gone.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).unwrap())?,
            None => self.agent.run(request.body(()).unwrap())?,
        };
        Ok(Answer::read(response))
    }
}

/// A page with what a test wants to know of it.
pub type Page = Answer;

impl Answer {
    /// The texts of the elements that a selector finds.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let document = Html::parse_document(&self.body);
        let selector = Selector::parse(selector).unwrap();
        let squeezed = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        document.select(&selector).map(|element| squeezed(element.text().collect())).collect()
    }

    /// The text of the one element that a selector finds.
    pub fn text(&self, selector: &str) -> String {
        let texts = self.texts(selector);
        assert_eq!(texts.len(), 1, "{selector} in {}", self.body);
        texts[0].clone()
    }

    /// The text of the one element that a selector finds, with its white space.
    pub fn source(&self, selector: &str) -> String {
        let document = Html::parse_document(&self.body);
        let selector = Selector::parse(selector).unwrap();
        let texts: Vec<String> = document.select(&selector).map(|element| element.text().collect()).collect();
        assert_eq!(texts.len(), 1, "{selector:?} in {}", self.body);
        texts[0].clone()
    }

    /// Names and values of the fields that a selector finds.
    pub fn inputs(&self, selector: &str) -> Vec<(String, String)> {
        let document = Html::parse_document(&self.body);
        let attribute = |element: &scraper::ElementRef<'_>, name| {
            element.value().attr(name).unwrap_or_default().to_owned()
        };
        document
            .select(&Selector::parse(selector).unwrap())
            .map(|element| (attribute(&element, "name"), attribute(&element, "value")))
            .collect()
    }

    /// An attribute of the first element that a selector finds.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let document = Html::parse_document(&self.body);
        let found = document.select(&Selector::parse(selector).unwrap()).next()?;
        found.value().attr(name).map(str::to_owned)
    }
}

/// Fields as forms send them.
pub fn form_body(fields: &[(&str, &str)]) -> String {
    serde_html_form::to_string(fields).unwrap()
}

/// A browser without scripts: cookies, no redirects followed, forms as browsers send them.
#[derive(Clone)]
pub struct Browser {
    agent: ureq::Agent,
    pub base: String,
    pub cookie: Option<String>,
    /// The cookies of sign-ins that were started at a provider.
    started: Vec<String>,
}

impl Browser {
    pub fn new(base: &str) -> Browser {
        Browser { agent: agent(), base: base.to_owned(), cookie: None, started: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, &[], None)
    }

    /// As htmx asks for a fragment.
    pub fn get_fragment(&mut self, path: &str) -> Page {
        self.send("GET", path, &[("hx-request", "true"), ("hx-request-type", "partial")], None)
    }

    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_with(path, fields, &[("sec-fetch-site", "same-origin")])
    }

    /// Any method: fields go with every one but GET.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Page {
        if method == "GET" {
            return self.send(method, path, headers, None);
        }
        let body = form_body(fields);
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(method, path, &[headers, &[kind]].concat(), Some(body))
    }

    pub fn post_with(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        self.request("POST", path, fields, headers)
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Page {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let cookies: Vec<&str> = self.cookie.iter().chain(&self.started).map(String::as_str).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()).unwrap(),
            None => self.agent.run(request.body(()).unwrap()).unwrap(),
        };
        let page = Answer::read(response);
        for (_, set) in page.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let cookie = set.split(';').next().unwrap().to_owned();
            let (name, value) = cookie.split_once('=').unwrap();
            if !name.contains("-sign-in-") {
                self.cookie = Some(cookie);
                continue;
            }
            self.started.retain(|known| !known.starts_with(name));
            if !value.is_empty() {
                self.started.push(cookie);
            }
        }
        page
    }
}
