//! The client's end of TLS, as the arguments ask for it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::LoadArguments;
use crate::tools::spiffe::TrustBundle;
use crate::tools::spiffe::tls::{BOTH_VERSIONS, ISTIO_TCP, server_verifier};

/// The client's TLS settings. A connection never resumes a session: it makes a full handshake.
pub(super) fn config(arguments: &LoadArguments) -> Result<ClientConfig, Box<dyn Error>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(BOTH_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(arguments, provider)?);
    let mut config = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(certificates(cert)?, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(&arguments.alpn);
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn protocols(given: &[String]) -> Vec<Vec<u8>> {
    let spelled_out = given.iter().flat_map(|one| match one.as_str() {
        "istio" => ISTIO_TCP.to_vec(),
        other => vec![other],
    });
    spelled_out.map(|one| one.as_bytes().to_vec()).collect()
}

fn verifier(
    arguments: &LoadArguments,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Box<dyn Error>> {
    let Some(path) = &arguments.ca else {
        return Ok(Arc::new(AnyServer(provider)));
    };
    let roots = certificates(path)?;
    let Some(id) = &arguments.spiffe_id else {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|error| unusable(path, &error))?;
        }
        return Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build()?);
    };
    let Ok([root]) = <[_; 1]>::try_from(roots) else {
        return Err(unusable(path, &"--spiffe-id takes one CA certificate"));
    };
    let bundle = TrustBundle {
        trust_domain: id.trust_domain().into(),
        root,
    };
    Ok(server_verifier(&bundle, id)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let all: Vec<_> = all.map_err(|error| unusable(path, &error))?;
    match all.is_empty() {
        true => Err(unusable(path, &"no certificate in it")),
        false => Ok(all),
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Box<dyn Error> {
    format!("{}: {why}", path.display()).into()
}

/// Accepts any certificate whose key the server has. The command sends no secret, and measures only the
/// path.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
