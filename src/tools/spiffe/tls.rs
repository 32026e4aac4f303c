//! The two ends of a mesh's mTLS, as a sidecar with federated SPIRE bundles would configure them.
//!
//! A peer's identity is its one URI name. It counts only if the certificate chain ends at the root of
//! *that* trust domain's bundle: alpha's CA cannot vouch for a workload in beta. DNS names play no
//! part.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{IdentityError, NotASpiffeId, SpiffeId, Svid, TrustBundle};

/// TLS 1.2 and 1.3.
pub const BOTH_VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
/// TLS 1.2 alone.
pub const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
/// TLS 1.3 alone.
pub const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// ALPN of an HTTP/1.1 call of an Istio sidecar (`docs/src/internals/istio.md#alpn-of-the-mesh`).
pub const ISTIO_HTTP: &[&str] = &["istio-http/1.1", "istio", "http/1.1"];
/// ALPN of a plain TCP call of an Istio sidecar.
pub const ISTIO_TCP: &[&str] = &["istio-peer-exchange", "istio"];

/// A reason to refuse a peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// An X.509-SVID has exactly one URI name.
    #[error("the certificate has {0} URI names, an SVID has one")]
    UriNames(usize),
    /// The URI name is not a SPIFFE ID.
    #[error("the certificate's name {0}")]
    Id(#[from] NotASpiffeId),
    /// The ID belongs to a trust domain, not to a workload.
    #[error("{0} names no workload")]
    NoWorkload(SpiffeId),
    /// There is no bundle of that trust domain: it is not federated.
    #[error("{id}: no trust bundle for {}", .id.trust_domain())]
    ForeignTrustDomain {
        /// The identity that the certificate claims.
        id: SpiffeId,
    },
    /// The chain does not end at the root of its own trust domain.
    #[error("{id} was not signed by the CA of {}: {cause}", .id.trust_domain())]
    Chain {
        /// The identity that the certificate claims.
        id: SpiffeId,
        /// The fault of the chain.
        cause: webpki::Error,
    },
    /// A genuine SVID of another workload.
    #[error("the peer is {presented}, expected {expected}")]
    OtherPeer {
        /// The peer that this side wanted to reach.
        expected: SpiffeId,
        /// The peer that answered.
        presented: SpiffeId,
    },
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        CertificateError::Other(OtherError(Arc::new(error))).into()
    }
}

/// Takes the reason for a refusal out of a TLS stream's error.
pub fn peer_error(error: &std::io::Error) -> Option<&PeerError> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// The SPIFFE ID that a certificate claims. Nothing is verified here.
fn claimed_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, rustls::Error> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let names: Vec<&str> = leaf.valid_uri_names().collect();
    let [name] = names[..] else {
        return Err(PeerError::UriNames(names.len()).into());
    };
    let id = SpiffeId::parse(name).map_err(PeerError::Id)?;
    if !id.has_path() {
        return Err(PeerError::NoWorkload(id).into());
    }
    Ok(id)
}

/// The SPIFFE ID of the peer of a connection whose handshake is done. The handshake verified it.
pub fn verified_peer(connection: &rustls::CommonState) -> Option<SpiffeId> {
    let leaf = connection.peer_certificates()?.first()?;
    claimed_id(leaf).ok()
}

/// Verifies a peer's SVID against the given bundles, each for its own trust domain.
#[derive(Debug)]
struct SvidVerifier {
    roots: HashMap<Arc<str>, TrustAnchor<'static>>,
    /// The only peer to accept. `None`: any workload of these trust domains.
    expected: Option<SpiffeId>,
    provider: Arc<CryptoProvider>,
}

impl SvidVerifier {
    fn new(
        bundles: &[TrustBundle],
        expected: Option<SpiffeId>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let anchor = |bundle: &TrustBundle| {
            let anchor = anchor_from_trusted_cert(&bundle.root)?.to_owned();
            Ok((bundle.trust_domain.clone(), anchor))
        };
        Ok(Self {
            roots: bundles
                .iter()
                .map(anchor)
                .collect::<Result<_, webpki::Error>>()?,
            expected,
            provider,
        })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let id = claimed_id(leaf)?;
        let Some(root) = self.roots.get(id.trust_domain()) else {
            return Err(PeerError::ForeignTrustDomain { id }.into());
        };
        let certificate =
            EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let chain = certificate.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            std::slice::from_ref(root),
            intermediates,
            now,
            usage,
            None,
            None,
        );
        match (chain, &self.expected) {
            (Err(cause), _) => Err(PeerError::Chain { id, cause }.into()),
            (Ok(_), Some(expected)) if *expected != id => Err(PeerError::OtherPeer {
                expected: expected.clone(),
                presented: id,
            }
            .into()),
            (Ok(_), _) => Ok(()),
        }
    }

    fn verify_tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for SvidVerifier {
    /// Empty: a federated server does not show strangers the CAs that it trusts.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// A verifier that accepts the one given server by the one given trust bundle.
///
/// # Errors
/// The bundle cannot be used.
pub fn server_verifier(
    foreign: &TrustBundle,
    expected: &SpiffeId,
) -> Result<Arc<dyn ServerCertVerifier>, IdentityError> {
    let bundles = std::slice::from_ref(foreign);
    let verifier = SvidVerifier::new(bundles, Some(expected.clone()), provider())?;
    Ok(Arc::new(verifier))
}

/// The choices that both ends of an mTLS connection make.
#[derive(Debug, Clone, Copy)]
pub struct TlsEnd<'a> {
    /// The identity of this end.
    pub svid: &'a Svid,
    /// Protocols that a client offers, or that a server accepts.
    pub alpn: &'a [&'a str],
    /// The TLS versions that this end speaks.
    pub versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> TlsEnd<'a> {
    /// An end with the identity `svid` that speaks both versions.
    pub fn new(svid: &'a Svid, alpn: &'a [&'a str]) -> Self {
        Self {
            svid,
            alpn,
            versions: BOTH_VERSIONS,
        }
    }

    /// A server that demands a client certificate of any workload of the `trusted` trust domains.
    ///
    /// # Errors
    /// The SVID or a bundle cannot be used.
    pub fn server(&self, trusted: &[TrustBundle]) -> Result<ServerConfig, IdentityError> {
        let provider = provider();
        let verifier = Arc::new(SvidVerifier::new(trusted, None, provider.clone())?);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.svid.chain.clone(), self.svid.key.clone_key())?;
        config.alpn_protocols = self.protocols();
        Ok(config)
    }

    /// A client that trusts the one given bundle for the one given server. It never resumes a session,
    /// so that every connection proves both identities anew.
    ///
    /// # Errors
    /// The SVID or the bundle cannot be used.
    pub fn client(
        &self,
        foreign: &TrustBundle,
        expected: &SpiffeId,
    ) -> Result<ClientConfig, IdentityError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(server_verifier(foreign, expected)?)
            .with_client_auth_cert(self.svid.chain.clone(), self.svid.key.clone_key())?;
        config.alpn_protocols = self.protocols();
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        protocols(self.alpn)
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.as_bytes().to_vec()).collect()
}

/// The crypto provider. Code passes it explicitly: a process-wide default would decide for the whole
/// program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
