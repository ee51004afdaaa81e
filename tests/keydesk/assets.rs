//! The embedded files, and the headers of every response.

use crate::support::desk;

#[test]
fn assets_are_cached_indefinitely_under_hashed_names_and_compressed() {
    let (_desk, server, _org) = desk();
    let page = server.browser().get("/sign-in");
    let style = page.attribute("link[rel=stylesheet]", "href").unwrap();
    let script = page.attribute("script[src*=htmx]", "src").unwrap();
    for path in [&style, &script] {
        let plain = server.api("").get(path);
        assert_eq!(plain.status, 200, "{path}");
        assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(plain.header("content-encoding"), None);
    }
    assert_eq!(server.api("").get("/assets/app.css").status, 404);
    assert_eq!(server.api("").get(&format!("{style}.gz")).status, 404);
    assert_eq!(server.api("").get("/assets/..%2fCargo.toml").status, 404);
}

#[test]
fn every_response_has_the_headers_that_protect_browsers() {
    let (_desk, server, org) = desk();
    let mut browser = server.signed_in(&org);
    let pages =
        ["/", "/sign-in", "/nothing", "/account", "/healthz", "/v1/models", "/v1/nothing", "/favicon.ico"];
    for path in pages.into_iter().map(str::to_owned).chain([format!("/o/{}/keys", org.slug)]) {
        let page = browser.get(&path);
        let policy = page.header("content-security-policy").unwrap();
        let of_page = "default-src 'none'; script-src 'self'; style-src 'self'";
        let expected = if path.starts_with("/v1/") { "default-src 'none'; frame-ancestors" } else { of_page };
        assert!(policy.starts_with(expected), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("same-origin"), "{path}");
        assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"), "{path}");
        assert_eq!(page.header("strict-transport-security"), None, "only under https");
        assert!(page.header("x-request-id").unwrap().starts_with("req_"), "{path}");
        assert!(!page.body.contains("style=") && !page.body.contains("<style"), "{path}");
        assert!(page.texts("script:not([src])").is_empty(), "{path}");
    }
}

#[test]
fn routes_for_get_also_support_head() {
    let (_desk, server, org) = desk();
    for path in ["/healthz", "/sign-in", "/v1/api-keys/self"] {
        let answer = org.admin.send("HEAD", path, &[], None);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
    }
    assert_eq!(server.api("").send("HEAD", "/v1/models", &[], None).status, 401);
}

#[test]
fn links_use_the_configured_url_and_never_the_request() {
    let (_desk, server, org) = desk();
    let forged =
        [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https")];
    for path in ["/sign-in", "/", "/v1/models"] {
        let answer = server.api(&org.admin.key).send("GET", path, &forged, None);
        let headers: String =
            answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        // A page may say at which address it was opened, but no tag may contain it.
        let tags = answer.body.split('<').filter_map(|rest| rest.split('>').next());
        assert!(
            !headers.contains("evil.example") && tags.into_iter().all(|tag| !tag.contains("evil.example")),
            "{path}"
        );
    }
}
