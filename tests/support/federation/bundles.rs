//! The federation channel: SPIRE's bundle endpoint, and the client of the other cluster's SPIRE.
//!
//! The SPIFFE standards: "SPIFFE Federation", section 5, with the profile `https_spiffe`; the document is
//! that of "SPIFFE Trust Domain and Bundle", section 4. Both ends are real HTTPS with HTTP/2 or HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use strait::tools::spiffe::tls::{BOTH_VERSIONS, server_verifier};
use strait::tools::spiffe::{SpiffeId, Svid, TrustBundle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::DEADLINE;

/// ALPN of Go's HTTP client and server, and so of SPIRE's.
const HTTPS: &[&str] = &["h2", "http/1.1"];

/// Larger documents are not read; SPIRE's have some kilobytes.
const MAX_DOCUMENT: usize = 1 << 20;

/// A bundle endpoint; serves until it is dropped.
pub struct BundleEndpoint {
    /// The address that it listens on.
    pub address: SocketAddr,
    _running: oneshot::Sender<()>,
}

impl BundleEndpoint {
    /// Serves the trust domain's bundle, authenticated by `svid`.
    pub fn start(bind: SocketAddr, svid: &Svid, bundle: &[TrustBundle]) -> Self {
        let tls = open_server(svid);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let document = document(bundle).to_string();
        let listener = std::net::TcpListener::bind(bind).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (running, ended) = oneshot::channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, acceptor, document) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            _running: running,
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, document: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, document) = (acceptor.clone(), document.clone());
        tokio::spawn(async move {
            // Its client says what is wrong.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let service = service_fn(move |request| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &document)))
            });
            let stream = TokioIo::new(stream);
            if protocol.as_deref() == Some(b"h2") {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(stream, service).await;
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(stream, service).await;
            }
        });
    }
}

/// As SPIRE's (pkg/server/endpoints/bundle).
fn answer(request: &Request<Incoming>, document: &str) -> Response<String> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => (StatusCode::OK, document.to_owned()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, String::new()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The SPIFFE bundle of a trust domain, as JWKS.
pub fn document(bundle: &[TrustBundle]) -> Value {
    let keys: Vec<Value> = bundle.iter().map(|bundle| key(&bundle.root)).collect();
    json!({ "keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300 })
}

fn key(root: &CertificateDer<'_>) -> Value {
    let [x, y] = coordinates(root).expect("the harness's CAs have P-256 keys");
    json!({
        "use": "x509-svid",
        "kty": "EC",
        "crv": "P-256",
        "x": x,
        "y": y,
        "x5c": [BASE64_STANDARD.encode(root)],
    })
}

/// The point of a certificate's P-256 key (RFC 7518 section 6.2.1), the end of its
/// SubjectPublicKeyInfo (RFC 5480 section 2.2). `None` when it is no certificate.
fn coordinates(root: &CertificateDer<'_>) -> Option<[String; 2]> {
    let anchor = webpki::anchor_from_trusted_cert(root).ok()?;
    let key = &anchor.subject_public_key_info;
    let point = key.get(key.len().checked_sub(65)?..)?;
    let (x, y) = point.strip_prefix(&[4])?.split_at(32);
    Some([x, y].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// A server of public things, which asks no client who it is (SPIFFE Federation, section 5.2.2).
fn open_server(svid: &Svid) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(BOTH_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(svid.chain.clone(), svid.key.clone_key())
        .unwrap();
    config.alpn_protocols = protocols(HTTPS);
    config
}

/// A client that shows no certificate, and takes the one server given, by the bundle that it has of its
/// trust domain.
fn nameless_client(bundle: &TrustBundle, expected: &SpiffeId, alpn: &[&str]) -> ClientConfig {
    let verifier = server_verifier(bundle, expected).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(BOTH_VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    config
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.as_bytes().to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The bundle that a client has got.
#[derive(Debug)]
pub struct Fetched {
    /// The protocol that both ends agreed on.
    pub protocol: String,
    /// One for each root.
    pub bundle: Vec<TrustBundle>,
    /// The interval between two fetches, in seconds.
    pub refresh_hint: u64,
}

/// Fetches the bundle of `endpoint`'s trust domain from `https://host/`, whose address is that of a
/// gateway, and trusts the identities that `known` vouches for.
pub fn fetch(
    gateway: SocketAddr,
    host: &str,
    known: &TrustBundle,
    endpoint: &SpiffeId,
    alpn: &[&str],
) -> io::Result<Fetched> {
    let tls = nameless_client(known, endpoint, alpn);
    let connector = TlsConnector::from(Arc::new(tls));
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let request = Request::get(format!("https://{host}/")).header("host", host);
    let request = request.body(String::new()).unwrap();
    runtime().block_on(async {
        let fetched = tokio::time::timeout(DEADLINE, async {
            let stream = TcpStream::connect(gateway).await?;
            let stream = connector.connect(name, stream).await?;
            let protocol = stream.get_ref().1.alpn_protocol().unwrap_or(b"http/1.1");
            let protocol = String::from_utf8_lossy(protocol).into_owned();
            let response = Box::pin(send(request, TokioIo::new(stream), &protocol)).await;
            let body = body(response.map_err(io::Error::other)?).await?;
            parse(&body, endpoint.trust_domain(), protocol)
        });
        Box::pin(fetched).await?
    })
}

/// By SPIRE's client.
pub const SPIRE: &[&str] = HTTPS;

async fn send(
    request: Request<String>,
    stream: TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    protocol: &str,
) -> hyper::Result<Response<Incoming>> {
    if protocol == "h2" {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = Box::pin(builder.handshake(stream)).await?;
        tokio::spawn(connection);
        return sender.send_request(request).await;
    }
    let (mut sender, connection) = Box::pin(hyper::client::conn::http1::handshake(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

async fn body(response: Response<Incoming>) -> io::Result<Vec<u8>> {
    if response.status() != StatusCode::OK {
        return Err(io::Error::other(response.status().to_string()));
    }
    let body = axum::body::Body::new(response.into_body());
    let bytes = axum::body::to_bytes(body, MAX_DOCUMENT).await;
    Ok(bytes.map_err(io::Error::other)?.to_vec())
}

/// Reads a bundle: every X.509 authority must be a certificate, and of the key beside it.
fn parse(text: &[u8], trust_domain: &str, protocol: String) -> io::Result<Fetched> {
    let document: Value = serde_json::from_slice(text)?;
    let keys = document["keys"]
        .as_array()
        .ok_or(io::ErrorKind::InvalidData)?;
    let authorities = keys.iter().filter(|key| key["use"] == "x509-svid");
    let root = |key: &Value| {
        let der = BASE64_STANDARD.decode(key["x5c"][0].as_str()?).ok()?;
        let root = CertificateDer::from(der);
        let same = coordinates(&root)? == [key["x"].as_str()?, key["y"].as_str()?];
        same.then(|| TrustBundle {
            trust_domain: trust_domain.into(),
            root,
        })
    };
    let bundle: Option<Vec<TrustBundle>> = authorities.map(root).collect();
    let bundle = bundle.filter(|bundle| !bundle.is_empty());
    Ok(Fetched {
        protocol,
        bundle: bundle.ok_or(io::ErrorKind::InvalidData)?,
        refresh_hint: document["spiffe_refresh_hint"].as_u64().unwrap_or(0),
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}
