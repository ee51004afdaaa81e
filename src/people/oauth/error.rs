//! Why a sign-in through a provider failed.

use oauth2::{ErrorResponse, RequestTokenError};

use crate::people::oauth::http::HttpError;

/// Why a sign-in through a provider failed. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider is unreachable or too slow.
    #[error("the provider is unreachable: {0}")]
    Unreachable(String),
    /// The provider's response is invalid.
    #[error("the provider's response is invalid: {0}")]
    InvalidResponse(String),
    /// A claim or another named member of the provider's response is invalid.
    #[error("the provider's response is invalid: {reason}")]
    Claim { claim: &'static str, reason: String },
    /// The person or the provider declined.
    #[error("the provider refused: {0}")]
    Denied(String),
}

impl ProviderError {
    pub(super) fn invalid(reason: impl Into<String>) -> ProviderError {
        ProviderError::InvalidResponse(reason.into())
    }

    pub(super) fn claim(claim: &'static str, reason: impl Into<String>) -> ProviderError {
        ProviderError::Claim { claim, reason: reason.into() }
    }

    /// The member of the response that is invalid, if it is known.
    pub fn invalid_claim(&self) -> Option<&'static str> {
        match self {
            ProviderError::Claim { claim, .. } => Some(claim),
            _ => None,
        }
    }
}

/// Describes why the token endpoint refused the code.
pub(super) fn token_error<R: ErrorResponse + 'static>(
    error: RequestTokenError<HttpError, R>,
) -> ProviderError {
    let returned =
        |code: String| ProviderError::claim("error", format!("the token endpoint returned {code}"));
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(response) => {
            let value = serde_json::to_value(&response).unwrap_or_default();
            let words = value["error_description"].as_str().map(printable).unwrap_or_default();
            returned(format!("{} {words}", code_of(&value).unwrap_or_default()).trim().to_owned())
        }
        // GitHub reports errors with status 200.
        RequestTokenError::Parse(_, body) => {
            let code = serde_json::from_slice(&body).ok().and_then(|value| code_of(&value));
            let unreadable = || ProviderError::invalid("the token endpoint's response can't be parsed");
            code.map_or_else(unreadable, returned)
        }
        RequestTokenError::Other(reason) => ProviderError::invalid(format!("the token endpoint: {reason}")),
    }
}

/// The `error` of a response, cleaned for the log.
fn code_of(value: &serde_json::Value) -> Option<String> {
    value["error"].as_str().map(printable)
}

/// A provider's text, cleaned for the log.
pub fn printable(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(80).collect()
}
