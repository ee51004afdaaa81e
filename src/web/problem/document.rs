//! The JSON body of a problem.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::FieldError;
use crate::web::problem::Problem;

/// Why a request was refused (RFC 9457). Nothing was changed.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// The kind of problem, as a URN.
    r#type: String,
    /// The kind of problem, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong and what to do.
    detail: &'a str,
    /// This request, as a URN.
    instance: String,
    /// The kind of problem, for programs; it never changes.
    code: &'static str,
    /// The unacceptable values, by field.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The same in the form of the OpenAI API.
    pub(super) error: OpenAiError<'a>,
}

/// A problem in the form of the OpenAI API.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenAiError<'a> {
    /// What is wrong and what to do.
    message: &'a str,
    /// The class of problem.
    r#type: &'static str,
    /// The field, if the problem is about one.
    param: Option<&'static str>,
    /// The same as the outer `code`.
    code: &'static str,
}

impl<'a> Document<'a> {
    /// The document of a problem with this request id.
    pub(super) fn new(problem: &'a Problem, request: &str) -> Document<'a> {
        let (code, status, ..) = problem.code.parts();
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Document {
            r#type: format!("urn:keydesk:problem:{code}"),
            title: problem.title,
            status: problem.status.as_u16(),
            detail: &problem.detail,
            instance: format!("urn:keydesk:request:{request}"),
            code,
            errors: &problem.errors,
            error: OpenAiError {
                message: &problem.detail,
                r#type: kind,
                param: problem.errors.first().map(|error| error.field),
                code,
            },
        }
    }
}
