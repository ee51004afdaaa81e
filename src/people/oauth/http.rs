//! The HTTP client for providers: no redirects, bounded in size and time, TLS except on loopback.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::config::Outbound;
use crate::people::oauth::ProviderError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(8);
/// More than any document of a provider needs, in bytes.
const MAX_RESPONSE: usize = 256 * 1024;

#[derive(Clone)]
pub struct Http(reqwest::Client);

/// Why a request to a provider got no usable response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The provider is unreachable or too slow.
    #[error("{}", root_cause(.0))]
    Unreachable(reqwest::Error),
    #[error("it returned status {0}")]
    Failing(u16),
    /// A redirect, which no provider needs.
    #[error("it returned a redirect ({0})")]
    Redirect(u16),
    /// A larger response than any document needs.
    #[error("its response is too large")]
    TooLarge,
    /// An address that must not be requested.
    #[error("{0} is not allowed: TLS is required except on loopback")]
    Address(String),
}

impl From<HttpError> for ProviderError {
    fn from(error: HttpError) -> ProviderError {
        match error {
            HttpError::Unreachable(_) | HttpError::Failing(_) => {
                ProviderError::Unreachable(error.to_string())
            }
            _ => ProviderError::InvalidResponse(error.to_string()),
        }
    }
}

impl Http {
    /// Creates the client.
    pub fn new(outbound: &Outbound) -> Result<Http, reqwest::Error> {
        let builder = outbound.client().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        Ok(Http(builder.user_agent("keydesk").build()?))
    }

    /// Sends a request.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let address = request.uri().to_string();
        if !is_allowed(&address) {
            return Err(HttpError::Address(address));
        }
        let unreachable = |error: reqwest::Error| HttpError::Unreachable(error.without_url());
        let request = request.try_into().map_err(unreachable)?;
        let answer = self.0.execute(request).await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(HttpError::Redirect(status.as_u16()));
        }
        if status.is_server_error() {
            return Err(HttpError::Failing(status.as_u16()));
        }
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = status;
        *response.headers_mut() = answer.headers().clone();
        let mut stream = answer.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            let part = part.map_err(unreachable)?;
            if bytes.len() + part.len() > MAX_RESPONSE {
                return Err(HttpError::TooLarge);
            }
            bytes.extend_from_slice(&part);
        }
        *response.body_mut() = bytes;
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The innermost cause, such as "Connection refused".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether an address may be requested: over TLS, or on loopback.
pub(super) fn is_allowed(address: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(address) else { return false };
    url.scheme() == "https" || (url.scheme() == "http" && crate::config::is_loopback(&url))
}
