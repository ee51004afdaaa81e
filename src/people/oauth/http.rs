//! The client for providers: no redirects, bounded in size and time, TLS but on loopback.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::people::oauth::Refusal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(8);
/// More than any document of a provider needs.
const MAX_ANSWER: usize = 256 * 1024;

/// The client.
#[derive(Clone)]
pub struct Http(reqwest::Client);

/// Why a call to a provider gave no answer to look at.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It can't be reached, or not in time.
    #[error("{0}")]
    Unreachable(reqwest::Error),
    /// It fails on its side.
    #[error("it answers with status {0}")]
    Failing(u16),
    /// It sends us elsewhere, which no provider has to.
    #[error("it answers with a redirect ({0})")]
    Redirect(u16),
    /// It sends more than any document needs.
    #[error("its answer is too large")]
    TooLarge,
    /// An address that is not to be called.
    #[error("{0} is not an address to call: TLS is needed off loopback")]
    Address(String),
}

impl From<HttpError> for Refusal {
    fn from(error: HttpError) -> Refusal {
        match error {
            HttpError::Unreachable(_) | HttpError::Failing(_) => Refusal::Unreachable(error.to_string()),
            _ => Refusal::Answer(error.to_string()),
        }
    }
}

impl Http {
    /// A client.
    pub fn new() -> Result<Http, reqwest::Error> {
        // Whoever installs the process's provider first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("keydesk")
            .no_proxy()
            .build()?;
        Ok(Http(client))
    }

    /// Makes a call.
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
            if bytes.len() + part.len() > MAX_ANSWER {
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

/// Whether an address is called at all: over TLS, or on this machine.
pub(super) fn is_allowed(address: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(address) else { return false };
    url.scheme() == "https" || (url.scheme() == "http" && crate::config::is_loopback(&url))
}
