//! Requests to upstreams and sign-in providers through a proxy, with a certificate authority of one's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::support::Desk;
use crate::support::oidc::Oidc;

/// A CA, and the certificate and key of `models.test` and `sso.test`, as files.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Certificates {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("names"), "subjectAltName=DNS:models.test,DNS:sso.test")
            .unwrap();
        for command in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj /CN=Acme -days 2",
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request -subj /CN=test",
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
        ] {
            let output =
                Command::new("openssl").args(command.split(' ')).current_dir(&directory).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Certificates { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Reads a request's head; returns its lines.
fn head(stream: &mut impl BufRead) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            return lines;
        }
        lines.push(line.trim_end().to_owned());
    }
}

fn respond(stream: &mut impl Write, status: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = stream.flush();
}

/// An upstream and a sign-in provider at once, over TLS. Returns its port.
fn tls_server(certificates: &Certificates) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(certificates.file("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificates.file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
                let lines = head(&mut stream);
                let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
                let body = match path {
                    "/.well-known/openid-configuration" => {
                        let issuer = format!("https://sso.test:{port}");
                        json!({"issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys")})
                    }
                    "/keys" => json!({"keys": []}),
                    _ => json!({"object": "list", "data": [{"id": "reached", "object": "model"}]}),
                };
                respond(stream.get_mut(), "200 OK", &body.to_string());
            });
        }
    });
    port
}

/// A proxy that resolves every name to this machine and asks for a password.
#[derive(Clone)]
struct Proxy {
    address: String,
    /// The first lines of the requests that it served.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap().to_string(), requests: Arc::default() };
        let own = proxy.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        proxy
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        let lines = head(&mut reader);
        let Some(first) = lines.first() else { return };
        // user:hunter2
        let allowed =
            lines.iter().any(|line| line.eq_ignore_ascii_case("proxy-authorization: Basic dXNlcjpodW50ZXIy"));
        if !allowed {
            return respond(&mut stream, "407 Proxy Authentication Required", "");
        }
        self.requests.lock().unwrap().push(first.clone());
        let Some(target) = first.strip_prefix("CONNECT ") else {
            return respond(
                &mut stream,
                "200 OK",
                r#"{"object":"list","data":[{"id":"by-proxy","object":"model"}]}"#,
            );
        };
        let port = target.split(' ').next().unwrap().rsplit_once(':').unwrap().1;
        let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from, mut to) = (server.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
        });
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            if server.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    }

    /// Its address with the password.
    fn url(&self) -> String {
        format!("http://user:hunter2@{}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn with_upstream(desk: Desk, port: u16, ca: &Path) -> Desk {
    desk.with("KEYDESK_UPSTREAM_URL", &format!("https://models.test:{port}/v1"))
        .with("KEYDESK_OIDC_ISSUER", &format!("https://sso.test:{port}"))
        .with("KEYDESK_OIDC_CLIENT_ID", "id")
        .with("KEYDESK_OIDC_CLIENT_SECRET", "secret")
        .with("SSL_CERT_FILE", ca.to_str().unwrap())
}

/// The first model that the upstream lists, or the status.
fn first_model(desk: &Desk) -> Result<String, u16> {
    let server = desk.start();
    let org = desk.set_up(&server, "Acme AI");
    let answer = server.api(&desk.key(&org.slug, "reader", "inference:read")).get("/v1/models");
    let log = server.log();
    assert!(!log.contains("hunter2"), "{log}");
    match answer.status {
        200 => Ok(answer.json()["data"][0]["id"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}

#[test]
fn upstream_and_provider_are_reached_through_the_proxy_with_the_private_authority() {
    let certificates = Certificates::make();
    let port = tls_server(&certificates);
    let ca = certificates.file("ca.pem");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let proxy = Proxy::start();
        let desk = with_upstream(Desk::new(), port, &ca).with(variable, &proxy.url());
        assert_eq!(first_model(&desk), Ok("reached".to_owned()), "{variable}");
        let server = desk.start();
        let away = server.browser().get("/sign-in/oidc");
        assert_eq!(away.status, 303, "{variable}: {}", server.log());
        let requests = proxy.requests();
        for host in ["models.test", "sso.test"] {
            let expected = format!("CONNECT {host}:{port} ");
            assert!(requests.iter().any(|line| line.starts_with(&expected)), "{variable}: {requests:?}");
        }
    }
    // Without its authority, the server is not trusted.
    let proxy = Proxy::start();
    let desk =
        with_upstream(Desk::new(), port, &ca).with("HTTPS_PROXY", &proxy.url()).without("SSL_CERT_FILE");
    assert_eq!(first_model(&desk), Err(502));
}

#[test]
fn destinations_in_no_proxy_are_requested_directly() {
    let certificates = Certificates::make();
    let port = tls_server(&certificates);
    // The name resolves at the proxy only, so a direct request fails.
    for (list, expected) in [
        ("models.test", Err(502)),
        (".test", Err(502)),
        ("other.test, test", Err(502)),
        ("*", Err(502)),
        ("other.test,10.0.0.0/8", Ok("reached".to_owned())),
        ("dels.test", Ok("reached".to_owned())),
    ] {
        let proxy = Proxy::start();
        let desk = with_upstream(Desk::new(), port, &certificates.file("ca.pem"))
            .with("HTTPS_PROXY", &proxy.url())
            .with("NO_PROXY", list);
        assert_eq!(first_model(&desk), expected, "{list}");
        assert_eq!(proxy.requests().is_empty(), expected.is_err(), "{list}");
    }
}

#[test]
fn plain_requests_use_their_proxy_but_never_those_to_this_machine() {
    let proxy = Proxy::start();
    let desk =
        Desk::new().with("KEYDESK_UPSTREAM_URL", "http://models.test/v1").with("HTTP_PROXY", &proxy.url());
    assert_eq!(first_model(&desk), Ok("by-proxy".to_owned()));
    assert!(proxy.requests()[0].starts_with("GET http://models.test/v1/models "), "{:?}", proxy.requests());
    // A proxy for https is none for http.
    let desk = Desk::new()
        .with("KEYDESK_UPSTREAM_URL", "http://models.test/v1")
        .with("HTTPS_PROXY", &Proxy::start().url());
    assert_eq!(first_model(&desk), Err(502));

    let proxy = Proxy::start();
    let oidc = Oidc::start(crate::oidc_personalities::plain());
    let desk = oidc.add_to(Desk::new(), 1).with("ALL_PROXY", &proxy.url());
    let server = desk.start();
    assert_eq!(server.browser().get("/sign-in/oidc").status, 303);
    assert!(proxy.requests().is_empty());
}

#[test]
fn unusable_proxy_or_authority_is_refused_at_start_and_not_quoted() {
    let desk = Desk::new();
    let empty = desk.data.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (variable, value, words) in [
        ("HTTPS_PROXY", "ftp://user:hunter2@proxy", "is not valid"),
        ("ALL_PROXY", "http://user:hunter2@proxy:port", "is not valid"),
        ("http_proxy", "http://", "is not valid"),
        ("SSL_CERT_FILE", "/nonexistent/ca.pem", "can't be read"),
        ("SSL_CERT_FILE", empty.to_str().unwrap(), "without a certificate"),
    ] {
        let output = Desk::new().with(variable, value).run(&["serve"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variable}={value}: {errors}");
        assert!(errors.contains(&format!("keydesk: {variable} ")) && errors.contains(words), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn empty_variables_count_as_unset() {
    let desk = ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"]
        .into_iter()
        .fold(Desk::new(), |desk, variable| desk.with(variable, ""));
    let server = desk.start();
    assert_eq!(server.browser().get("/healthz").status, 200);
}
