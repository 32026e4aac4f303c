//! The API is reached by TLS that trusts the kubeconfig's authority and nobody else, as in a cluster.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::objects::served;
use crate::support;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;

/// An authority, and a server certificate of it for 127.0.0.1.
struct Authority {
    pem: String,
    server: Arc<rustls::ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self {
            pem: authority.pem(),
            server: Arc::new(server),
        }
    }
}

/// Takes TLS off in front of `api`, on a thread that ends with the process.
fn terminate(server: Arc<rustls::ServerConfig>, api: SocketAddr) -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let acceptor = TlsAcceptor::from(server);
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inner = TcpStream::connect(api).await?;
                    let mut outer = acceptor.accept(stream).await?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
    });
    address.recv_timeout(support::DEADLINE).unwrap()
}

fn config(api: &ApiServer, server: SocketAddr, authority: &str) -> ConfigText {
    let mut text = std::fs::read_to_string(api.kubeconfig()).unwrap();
    let plain = format!("server: 'http://{}'", api.address);
    let data = STANDARD.encode(authority);
    let secure = format!("server: 'https://{server}', certificate-authority-data: {data}");
    text = text.replace(&plain, &secure);
    let path = api.folder().join("kubeconfig-tls");
    std::fs::write(&path, &text).unwrap();
    let mut yaml = String::from("listeners: [{ name: east-west, bind: '127.0.0.1:0' }]\n");
    let export = "export: { mode: all, alpn: any }";
    writeln!(
        yaml,
        "kubernetes: {{ kubeconfig: '{}', {export} }}",
        path.display()
    )
    .unwrap();
    ConfigText::verbatim(&yaml)
}

#[test]
fn the_api_is_reached_by_tls_that_the_kubeconfigs_authority_vouches_for() {
    let api = ApiServer::start();
    api.put_all(served("apps", "web", 80, ([127, 0, 0, 1], 1).into()));
    let (right, wrong) = (Authority::new(), Authority::new());
    let server = terminate(right.server.clone(), api.address);
    let gateway = TestGateway::start(&config(&api, server, &right.pem));
    gateway.wait_ready();
    assert_eq!(
        gateway.dump("/upstreams")["upstreams"][0]["name"],
        "apps/web:80"
    );

    let before = api.requests("list", "services");
    let gateway = TestGateway::start(&config(&api, server, &wrong.pem));
    support::wait_until("the certificate is refused", || {
        let reason = [("kind", "service"), ("reason", "connection")];
        gateway.metric("strait_kubernetes_errors_total", &reason) >= 1.0
    });
    assert_eq!(gateway.health("/healthz/ready").unwrap().0, 503);
    assert_eq!(
        api.requests("list", "services"),
        before,
        "nobody but the authority's server is asked"
    );
}
