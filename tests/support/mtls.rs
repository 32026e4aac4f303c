//! Two trust domains, and mTLS ends that block, for tests of what passes through the gateway.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use strait::tools::spiffe::tls::{BOTH_VERSIONS, ISTIO_HTTP, TlsEnd, verified_peer};
use strait::tools::spiffe::{SpiffeId, Svid, TrustBundle, TrustDomain};

use super::client::connect;
use super::server::Server;

/// A caller's end.
pub type ClientStream = StreamOwned<ClientConnection, TcpStream>;
/// A pod's end.
pub type ServerStream = StreamOwned<ServerConnection, TcpStream>;

/// The identities of the story: svca in alpha calls svcb in beta.
pub struct Pki {
    pub alpha: TrustDomain,
    pub beta: TrustDomain,
    pub svca: Svid,
    pub svcb: Svid,
}

impl Pki {
    pub fn create() -> Self {
        let alpha = TrustDomain::create("alpha.com").unwrap();
        let beta = TrustDomain::create("beta.com").unwrap();
        Self {
            svca: alpha.issue("apps", "svca").unwrap(),
            svcb: beta.issue("apps", "svcb").unwrap(),
            alpha,
            beta,
        }
    }

    /// svcb's end: takes workloads of alpha and of nobody else, and so the foreign bundle only.
    pub fn pod(&self) -> ServerConfig {
        TlsEnd::new(&self.svcb, ISTIO_HTTP)
            .server(&[self.alpha.bundle()])
            .unwrap()
    }

    /// The end of a caller with `svid` that expects svcb of beta.
    pub fn caller(
        &self,
        svid: &Svid,
        versions: &'static [&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut end = TlsEnd::new(svid, ISTIO_HTTP);
        end.versions = versions;
        end.client(&self.beta.bundle(), &self.svcb.id).unwrap()
    }

    /// The bundles that SPIRE gives both clusters' workloads once they are federated.
    pub fn bundles(&self) -> [TrustBundle; 2] {
        [self.alpha.bundle(), self.beta.bundle()]
    }

    /// svca's end.
    pub fn svca(&self) -> ClientConfig {
        self.caller(&self.svca, BOTH_VERSIONS)
    }
}

/// A server behind mTLS that does `serve` with each connection whose handshake succeeds, and tells
/// `refused` why one did not.
pub fn pod(
    tls: ServerConfig,
    serve: impl Fn(ServerStream) + Send + Sync + 'static,
    refused: impl Fn(std::io::Error) + Send + Sync + 'static,
) -> Server {
    let tls = Arc::new(tls);
    Server::start(move |mut socket| {
        let mut session = ServerConnection::new(tls.clone()).unwrap();
        while session.is_handshaking() {
            if let Err(error) = session.complete_io(&mut socket) {
                refused(error);
                // The alert is out; reading on keeps the close from being a reset.
                let _ = socket.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut socket, &mut std::io::sink());
                return;
            }
        }
        serve(StreamOwned::new(session, socket));
    })
}

/// An mTLS connection through `gateway`; nothing is sent before the first read or write.
pub fn dial(gateway: SocketAddr, tls: ClientConfig, server_name: &str) -> ClientStream {
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(tls), name).unwrap();
    StreamOwned::new(session, connect(gateway))
}

/// The caller that a pod verified.
pub fn caller_of(stream: &ServerStream) -> SpiffeId {
    verified_peer(&stream.conn).expect("a verified caller")
}

/// The server that a caller verified.
pub fn server_of(stream: &ClientStream) -> SpiffeId {
    verified_peer(&stream.conn).expect("a verified server")
}
