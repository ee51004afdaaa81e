//! Error pages.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::path;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::{Code, Problem};
use crate::web::session::is_partial;

/// An error page for a signed-in person, with the navigation.
#[derive(Template)]
#[template(path = "portal/kit/error.html", blocks = ["content"])]
struct ErrorPage<'a> {
    layout: Layout,
    text: ProblemText<'a>,
    request: &'a str,
}

/// An error page without navigation.
#[derive(Template)]
#[template(path = "portal/kit/error_alone.html")]
struct BareErrorPage<'a> {
    layout: Layout,
    text: ProblemText<'a>,
    request: &'a str,
}

/// The text of an error page.
struct ProblemText<'a> {
    problem: &'a Problem,
}

impl ProblemText<'_> {
    fn icon(&self) -> &'static str {
        match self.problem.code {
            Code::NotFound => "search",
            Code::Unavailable => "unplug",
            Code::Forbidden => "ban",
            _ => "circle-alert",
        }
    }

    fn title(&self) -> &'static str {
        match self.problem.code {
            Code::NotFound => "Page not found",
            code => code.title(),
        }
    }

    fn words(&self) -> &str {
        match self.problem.code {
            Code::NotFound => {
                "It may belong to another organisation, or the address is incomplete. Nothing was changed."
            }
            Code::RequestTimeout => {
                "What you sent took too long to arrive, and nothing was changed. Go back and send it again."
            }
            Code::PayloadTooLarge => {
                "What you sent is larger than this page accepts, and nothing was changed. Go back and shorten it."
            }
            _ => &self.problem.detail,
        }
    }
}

/// The error page, or only its content for htmx.
pub fn whole(request: &HttpRequest, problem: &Problem, id: &str) -> HttpResponse {
    let layout = Layout::of(request, NavSection::None);
    if layout.person.is_none() {
        return bare(problem, id);
    }
    let page = ErrorPage { layout, text: ProblemText { problem }, request: id };
    respond(problem, if is_partial(request) { page.as_content().render() } else { page.render() })
}

/// The error page without navigation.
pub fn bare(problem: &Problem, id: &str) -> HttpResponse {
    let layout = Layout {
        person: None,
        org: None,
        role: None,
        orgs: Vec::new(),
        section: NavSection::None,
        flash: None,
        findings: 0,
        host: String::new(),
        wrong_host: None,
    };
    respond(problem, BareErrorPage { layout, text: ProblemText { problem }, request: id }.render())
}

fn respond(problem: &Problem, text: askama::Result<String>) -> HttpResponse {
    let mut response = HttpResponse::build(problem.code.status());
    response.content_type("text/html; charset=utf-8").insert_header((header::VARY, "HX-Request-Type"));
    problem.add_headers(&mut response);
    response.body(text.unwrap_or_default())
}
