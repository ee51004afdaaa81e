//! The documents that a provider publishes: its metadata (OpenID Connect Discovery 1.0) and its public keys.

use oauth2::HttpResponse;
use oauth2::http::Request;
use oauth2::http::header::ACCEPT;
use openidconnect::core::CoreJsonWebKey;

use crate::people::oauth::http::{HttpError, is_allowed};
use crate::people::oauth::oidc::lenient::{self, Document};
use crate::people::oauth::{Http, ProviderError, printable};

/// What Keydesk uses of the documents.
pub(super) struct Metadata {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) userinfo_endpoint: Option<String>,
    /// Whether the token endpoint accepts the client secret only in the body of requests.
    pub(super) takes_secret_in_body: bool,
    /// Whether responses contain the issuer (RFC 9207 section 3).
    pub(super) sends_issuer: bool,
    pub(super) keys: Vec<CoreJsonWebKey>,
}

impl Metadata {
    /// Fetches the documents of this issuer. Errors: they name another issuer or lack what sign-in requires.
    pub(super) async fn fetch(issuer: &str, http: &Http) -> Result<Metadata, ProviderError> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = get(http, &address, "metadata").await?;
        let named = document.text("issuer").unwrap_or_default();
        if named != issuer {
            let reason = format!("its metadata names the issuer {:?}, not {issuer:?}", printable(&named));
            return Err(ProviderError::claim("issuer", reason));
        }
        if document.is_true("require_pushed_authorization_requests") {
            let reason = "it requires pushed authorization requests (RFC 9126), which are not supported";
            return Err(ProviderError::claim("require_pushed_authorization_requests", reason));
        }
        let endpoint = |name: &'static str| {
            let missing = || ProviderError::claim(name, format!("its metadata has no {name}"));
            document.text(name).ok_or_else(missing)
        };
        let authorization_endpoint = endpoint("authorization_endpoint")?;
        // The other endpoints are checked when they are requested; browsers are sent to this one.
        if !is_allowed(&authorization_endpoint) {
            return Err(HttpError::Address(printable(&authorization_endpoint)).into());
        }
        let jwks = get(http, &endpoint("jwks_uri")?, "key document").await?;
        let methods = document.texts("token_endpoint_auth_methods_supported");
        let takes = |method: &str| methods.iter().any(|known| known == method);
        Ok(Metadata {
            authorization_endpoint,
            token_endpoint: endpoint("token_endpoint")?,
            userinfo_endpoint: document.text("userinfo_endpoint"),
            takes_secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            sends_issuer: document.is_true("authorization_response_iss_parameter_supported"),
            keys: lenient::keys(&jwks),
        })
    }
}

async fn get(http: &Http, address: &str, name: &str) -> Result<Document, ProviderError> {
    let request = Request::get(address).header(ACCEPT, "application/json").body(Vec::new());
    let request =
        request.map_err(|_| ProviderError::invalid(format!("the address of its {name} is invalid")))?;
    let response: HttpResponse = http.send(request).await?;
    let document = Some(response.body()).filter(|_| response.status().as_u16() == 200);
    document.and_then(|body| Document::parse(body)).ok_or_else(|| {
        let status = response.status().as_u16();
        ProviderError::invalid(format!("its {name} has status {status} or the wrong type"))
    })
}
