//! What a route requires of a request with a key.

use actix_web::HttpRequest;
use actix_web::http::{StatusCode, header};

use crate::path::Pattern;
use crate::scope::{Scope, Scopes};
use crate::web::form::Fields;
use crate::web::permission::Permission;
use crate::web::principal::Schemes;
use crate::web::problem::Problem;

/// The challenge of HTTP Basic (RFC 7617).
const BASIC: &str = "Basic realm=\"keydesk\", charset=\"UTF-8\"";

/// The requirements of an API request.
#[derive(Clone, Copy)]
pub(super) struct Requirement {
    pub(super) scopes: Scopes,
    /// Whether the key in the path needs none of the scopes.
    pub(super) or_itself: bool,
    /// Whether the request is only about the calling key, for which no scope is needed.
    pub(super) of_itself: bool,
    /// Whether every refusal has to be a 403, for proxies that support no other status.
    deny_as_403: bool,
    pub(super) schemes: Schemes,
}

impl Requirement {
    pub(super) fn of(permission: Permission, request: &HttpRequest) -> Result<Requirement, Problem> {
        let is_introspection = request.path() == Pattern::v1_introspect.as_str();
        let schemes = if is_introspection { Schemes::BearerOrBasic } else { Schemes::Bearer };
        let need =
            |scopes| Requirement { scopes, or_itself: false, of_itself: false, deny_as_403: false, schemes };
        match permission {
            Permission::Key(scope) => Ok(need(Scopes::from_iter([scope]))),
            Permission::AdminOrSelf => {
                Ok(Requirement { or_itself: true, ..need(Scopes::from_iter([Scope::Admin])) })
            }
            // Some proxies append the requested path to the bare route; its query is the client's and
            // does not say what is needed.
            Permission::ScopesInQuery if request.match_info().get("rest").is_none() => {
                Requirement::asked(request)
            }
            Permission::AnyKey => Ok(Requirement { of_itself: true, ..need(Scopes::NONE) }),
            _ => Ok(need(Scopes::NONE)),
        }
    }

    fn asked(request: &HttpRequest) -> Result<Requirement, Problem> {
        let query = Fields::of_query(request);
        let names = query.all("scope");
        let scopes: Option<Vec<Scope>> = names
            .iter()
            .flat_map(|text| text.split([' ', ',']))
            .filter(|name| !name.is_empty())
            .map(Scope::parse)
            .collect();
        let scopes =
            scopes.ok_or_else(|| Problem::bad_request("scope: use the names of existing scopes."))?;
        let deny = query.all("deny");
        if deny.len() > 1 || deny.iter().any(|status| status != "403") {
            return Err(Problem::bad_request("deny: use 403 or leave it out."));
        }
        let deny_as_403 = !deny.is_empty();
        Ok(Requirement {
            scopes: scopes.into_iter().collect(),
            or_itself: false,
            of_itself: false,
            deny_as_403,
            schemes: Schemes::Bearer,
        })
    }

    /// The scope under which the request is counted.
    pub(super) fn counted_as(&self) -> Option<Scope> {
        self.scopes.iter().next()
    }

    /// Converts a refusal as this request requires.
    pub(super) fn refusal(&self, problem: Problem) -> Problem {
        let is_refusal = problem.code.status().is_client_error();
        if self.schemes == Schemes::BearerOrBasic && problem.code.status() == StatusCode::UNAUTHORIZED {
            return problem.with_header(header::WWW_AUTHENTICATE, BASIC);
        }
        if self.deny_as_403 && is_refusal { problem.as_403() } else { problem }
    }
}
