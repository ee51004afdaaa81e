//! Parts of a page that htmx puts in their places.

use actix_web::HttpResponse;
use actix_web::http::header;
use askama::Template;

use crate::error::Error;
use crate::path::Href;
use crate::web::problem::Problem;

/// An answer to htmx: a part for the target of the request, and parts for other elements.
pub struct Fragments {
    html: String,
    address: Option<String>,
}

impl Fragments {
    /// `main` is for the target of the request.
    pub fn new(main: &impl Template) -> Result<Fragments, Problem> {
        Ok(Fragments { html: main.render().map_err(Error::internal)?, address: None })
    }

    /// Replaces the element with this id.
    pub fn replacing(mut self, id: &str, part: &impl Template) -> Result<Fragments, Problem> {
        let part = part.render().map_err(Error::internal)?;
        self.add(id, "outerHTML", &part);
        Ok(self)
    }

    /// Replaces the text of the element with this id. The text must need no escaping.
    pub fn with_text(mut self, id: &str, text: &str) -> Fragments {
        self.add(id, "textContent", text);
        self
    }

    /// Shows this address in the browser.
    pub fn at(self, address: &Href) -> Fragments {
        Fragments { address: Some(address.to_string()), ..self }
    }

    fn add(&mut self, id: &str, swap: &str, part: &str) {
        self.html += &format!("<hx-partial hx-target=\"#{id}\" hx-swap=\"{swap}\">{part}</hx-partial>");
    }

    pub fn respond(self) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.content_type("text/html; charset=utf-8").insert_header((header::VARY, "HX-Request-Type"));
        if let Some(address) = self.address {
            response.insert_header(("HX-Replace-Url", address));
        }
        response.body(self.html)
    }
}
